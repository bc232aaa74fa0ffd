//! What a policy server answered.

use hyper::StatusCode;
use kest_core::canonical::parse_strict;
use kest_core::error::PolicyErrorKind;
use kest_core::text::Quoted;
use serde_json::Value;

/// A status and a body.
pub(in crate::policy) struct Answer {
    pub(in crate::policy) status: StatusCode,
    /// The whole body of a 200; of another status what there was of it, bounded.
    pub(in crate::policy) body: Vec<u8>,
}

impl Answer {
    /// The JSON of a 200. No member may be there twice: readers would differ over which one counts.
    pub(in crate::policy) fn json(&self) -> Result<Value, String> {
        parse_strict(&self.body).map_err(|error| {
            let head = self.shown().unwrap_or_else(|| "nothing".to_owned());
            format!("it answered with {head}, which is not usable as JSON ({error}); check that this is its address")
        })
    }

    /// What a status other than 200 means, and what to do about it.
    pub(in crate::policy) fn failure(&self) -> (PolicyErrorKind, String) {
        let said = match self.shown() {
            Some(text) => format!("status {}, {text}", self.status.as_u16()),
            None => format!("status {}", self.status.as_u16()),
        };
        match self.status.as_u16() {
            401 | 403 => (
                PolicyErrorKind::Refused,
                format!("it refused this client ({said}); check the token and its rights"),
            ),
            429 => (PolicyErrorKind::Throttled, format!("it asks to slow down ({said})")),
            300..=399 => (
                PolicyErrorKind::Status,
                format!(
                    "it answered with a redirect ({said}), which is not followed; give the final address"
                ),
            ),
            404 => (PolicyErrorKind::Status, format!("it knows no such path ({said}); check the address")),
            _ => (PolicyErrorKind::Status, format!("it answered with {said}; its log may say why")),
        }
    }

    fn shown(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim();
        (!text.is_empty()).then(|| Quoted(text).to_string())
    }
}
