//! The reason of a denial, as it may stand in an error and a log. Spec §17.

const MAX_REASON: usize = 1024;

/// The first 1,024 bytes, in whole characters.
pub(super) fn bounded(reason: &str) -> String {
    let end = reason.floor_char_boundary(MAX_REASON);
    reason.get(..end).unwrap_or_default().to_owned()
}
