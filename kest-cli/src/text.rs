//! Foreign text on a terminal.

pub(crate) use kest_core::text::{field, id, json, message};

/// The first twelve digits of a hash.
pub(crate) fn short_hash(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
