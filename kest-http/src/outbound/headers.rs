//! Headers of a request, before anything of ours is in them.

use http::header::{AUTHORIZATION, COOKIE, HOST, PROXY_AUTHORIZATION, TE};
use http::{HeaderMap, HeaderName, HeaderValue};
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::lineage::Jwt;
use opentelemetry::propagation::Injector;
use opentelemetry::{Context, global};

use super::{ASKS, RETURNED};
use crate::Parcel;

const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// What a propagator has no say in.
const NOT_ITS: [HeaderName; 4] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, HOST];
/// W3C Trace Context §3.2.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Takes every header away whose name is ours.
pub(super) fn take_ours_away(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("kest-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Whether a member of `baggage` may be ours, in whatever spelling. Where none can be, what others wrote stays as it is.
pub(super) fn may_have_ours(headers: &HeaderMap) -> bool {
    let mentioned = |value: &[u8]| {
        value.contains(&b'%') || value.windows(4).any(|part| part.eq_ignore_ascii_case(b"kest"))
    };
    headers.get_all(BAGGAGE).iter().any(|value| mentioned(value.as_bytes()))
}

/// Takes the values of all `baggage` headers away.
pub(super) fn take_baggage(headers: &mut HeaderMap) -> Result<Vec<String>, PropagationError> {
    let values = headers
        .get_all(BAGGAGE)
        .iter()
        .map(|value| {
            value.to_str().map(str::to_owned).map_err(|error| {
                PropagationError::new(
                    PropagationErrorKind::Malformed,
                    "the request has a `baggage` header that is not in ASCII; percent-encode its values",
                )
                .with_source(error)
            })
        })
        .collect();
    headers.remove(BAGGAGE);
    values
}

/// Puts the one `baggage` header there.
pub(super) fn put_baggage(headers: &mut HeaderMap, value: &str) -> Result<(), PropagationError> {
    if !value.is_empty() {
        headers.insert(BAGGAGE, secret(value)?);
    }
    Ok(())
}

/// Lets the application's propagators write the trace context, and gives the `baggage` that they wrote. Where the
/// request has a trace context already, they have been asked.
pub(super) fn inject(headers: &mut HeaderMap) -> Option<String> {
    if headers.contains_key(TRACEPARENT) {
        return None;
    }
    let mut written = Written(HeaderMap::new());
    global::get_text_map_propagator(|propagator| {
        // Of ours, a `KestPropagator` among them would write what is written below.
        propagator.inject_context(&Context::current_with_value(Parcel::new()), &mut written)
    });
    let baggage = written.0.remove(BAGGAGE).and_then(|value| value.to_str().map(str::to_owned).ok());
    take_ours_away(&mut written.0);
    for (name, value) in written.0 {
        if let Some(name) = name.filter(|name| !headers.contains_key(name) && !NOT_ITS.contains(name)) {
            headers.insert(name, value);
        }
    }
    baggage
}

/// What propagators write into.
struct Written(HeaderMap);

impl Injector for Written {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// RFC 6750 §2.1.
pub(super) fn put_token(headers: &mut HeaderMap, jwt: &Jwt) -> Result<(), PropagationError> {
    headers.insert(AUTHORIZATION, secret(&format!("Bearer {}", jwt.reveal()))?);
    Ok(())
}

/// Whether the request has credentials of its own or the token.
pub(super) enum Credentials {
    None,
    Token,
    Others,
}

pub(super) fn credentials(headers: &HeaderMap, jwt: &Jwt) -> Credentials {
    let mut values = headers.get_all(AUTHORIZATION).iter().peekable();
    if values.peek().is_none() {
        return Credentials::None;
    }
    // Wherever in the value: `Bearer`, `bearer`, `Token`, and what a service has made up.
    let token = jwt.reveal().as_bytes();
    let has_token = |value: &HeaderValue| {
        !token.is_empty() && value.as_bytes().windows(token.len()).any(|part| part == token)
    };
    if values.any(has_token) { Credentials::Token } else { Credentials::Others }
}

pub(super) fn take_token_away(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
}

/// Asks for the lineage of what the callee does, in a header or a trailer.
pub(super) fn ask(headers: &mut HeaderMap) {
    headers.insert(ASKS, HeaderValue::from_static("1"));
    // RFC 9110 §10.1.4: without it a server of HTTP/1.1 sends no trailers.
    if !headers.contains_key(TE) {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Takes the lineage out of what came back.
pub(super) fn take_returned(headers: &mut HeaderMap) -> Vec<HeaderValue> {
    let values = headers.get_all(RETURNED).iter().cloned().collect();
    headers.remove(RETURNED);
    values
}

/// A value that stays out of logs, and out of the tables of HPACK (RFC 7541 §7.1.3).
fn secret(value: &str) -> Result<HeaderValue, PropagationError> {
    let mut value = HeaderValue::try_from(value).map_err(|error| {
        PropagationError::new(
            PropagationErrorKind::Malformed,
            "the token has characters that a header cannot carry (RFC 6750 §2.1)",
        )
        .with_source(error)
    })?;
    value.set_sensitive(true);
    Ok(value)
}
