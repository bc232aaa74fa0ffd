//! Trust bundles in JSON. SPIFFE Trust Domain and Bundle §4.

use base64_simd::STANDARD;
use serde_json::{Map, Value};

use super::BundleError;
use crate::canonical::parse_strict;

/// Strict JSON of at most so many bytes.
pub(super) fn json(text: &[u8], limit: usize) -> Result<Value, BundleError> {
    if text.len() > limit {
        return Err(BundleError::TooLarge { limit });
    }
    parse_strict(text).map_err(BundleError::Json)
}

/// The bundles of a map, by trust domain.
pub(super) fn map(text: &[u8], limit: usize) -> Result<Map<String, Value>, BundleError> {
    let Value::Object(mut members) = json(text, limit)? else {
        return Err(BundleError::NotAnObject { what: "a map of trust bundles" });
    };
    match members.remove("trust_domains") {
        Some(Value::Object(bundles)) => Ok(bundles),
        Some(_) => Err(BundleError::Member { member: "trust_domains", why: "is not an object" }),
        None => Err(BundleError::Member { member: "trust_domains", why: "is missing" }),
    }
}

/// The certificates of a bundle's authorities.
pub(super) fn certificates(bundle: &Value) -> Result<Vec<Vec<u8>>, BundleError> {
    let malformed = |member, why| BundleError::Member { member, why };
    let members = bundle.as_object().ok_or(BundleError::NotAnObject { what: "a trust bundle" })?;
    // §4.1.1 and §4.1.2: about the bundle, and without a meaning here.
    for member in ["spiffe_sequence", "spiffe_refresh_hint"] {
        if members.get(member).is_some_and(|value| value.as_u64().is_none()) {
            return Err(malformed(member, "is not a whole number"));
        }
    }
    let keys = members.get("keys").ok_or(malformed("keys", "is missing"))?;
    let keys = keys.as_array().ok_or(malformed("keys", "is not a list"))?;
    let mut all = Vec::new();
    for key in keys {
        let key = key.as_object().ok_or(BundleError::NotAnObject { what: "a key of a trust bundle" })?;
        // §4.2.2: keys without a use, or with one that is not known, are ignored.
        match key.get("use") {
            Some(Value::String(purpose)) if purpose == "x509-svid" => {}
            Some(Value::String(_)) | None => continue,
            Some(_) => return Err(malformed("use", "is not a string")),
        }
        if !key.get("kty").is_some_and(Value::is_string) {
            return Err(malformed("kty", "is missing or not a string"));
        }
        // X509-SVID §6.1: exactly one certificate.
        let [certificate] = key.get("x5c").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) else {
            return Err(malformed("x5c", "has not exactly one certificate"));
        };
        // RFC 7517 §4.7: standard base64, with padding.
        let der = certificate.as_str().and_then(|text| STANDARD.decode_to_vec(text.as_bytes()).ok());
        all.push(der.ok_or(malformed("x5c", "is not base64"))?);
    }
    Ok(all)
}
