//! A JWK set as others publish it.

use std::sync::Arc;

use kest_core::canonical::parse_strict;
use kest_core::keys::{Jwk, Jwks, KeyError};
use reqwest::Url;
use serde_json::Value;

use super::JwksError;

/// The keys of a set that can verify signatures.
///
/// A server publishes its keys for others too: for encryption, of types that Kest does not use. Those are left out,
/// so that nothing verifies with them. RFC 7517 §5 asks for that.
pub(super) fn read(url: &Url, text: &[u8], limit: usize) -> Result<Jwks, JwksError> {
    let malformed = |source| JwksError::Malformed {
        url: url.to_string(),
        what: "a JWK set",
        source: Some(Arc::new(source)),
    };
    let set = parse_strict(text).map_err(|error| malformed(KeyError::Json(Box::new(error))))?;
    let members = set.as_object().ok_or_else(|| malformed(KeyError::NotAnObject { what: "a JWK set" }))?;
    let keys = match members.get("keys") {
        Some(Value::Array(keys)) => keys,
        Some(_) => return Err(malformed(KeyError::Malformed { member: "keys", why: "is not a list" })),
        None => return Err(malformed(KeyError::Missing { member: "keys" })),
    };
    if keys.len() > limit {
        return Err(JwksError::TooManyKeys { url: url.to_string(), found: keys.len(), limit });
    }
    let mut usable = Vec::with_capacity(keys.len());
    for key in keys {
        match Jwk::from_json(key) {
            Ok(key) => usable.push(key),
            Err(error @ KeyError::Private { .. }) => {
                tracing::warn!(target: "kest", url = url.as_str(), %error, "A key of a JWK set is left out");
            }
            Err(error) => {
                tracing::debug!(target: "kest", url = url.as_str(), %error, "A key of a JWK set is left out");
            }
        }
    }
    if usable.is_empty() {
        return Err(JwksError::NoUsableKeys { url: url.to_string(), found: keys.len() });
    }
    Ok(Jwks(usable))
}
