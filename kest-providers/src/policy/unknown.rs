//! What an engine says of a policy that it does not have.

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};

/// The error for a name that is not among `names`, with those that are near it. `from` says where they come from.
pub(super) fn unknown(name: &str, names: &[&str], from: &str) -> PolicyUnavailable {
    let mut ranked: Vec<(usize, &str)> =
        names.iter().map(|known| (strsim::damerau_levenshtein(known, name), *known)).collect();
    ranked.sort_unstable();
    let near: Vec<String> = ranked
        .iter()
        .filter(|(distance, _)| *distance <= (name.len() / 3).max(2))
        .take(3)
        .map(|(_, known)| format!("`{known}`"))
        .collect();
    let hint = if near.is_empty() {
        format!("{} policies are loaded", names.len())
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    PolicyUnavailable::new(
        PolicyErrorKind::UnknownPolicy,
        format!("unknown policy `{name}`; {hint} (loaded from {from})"),
    )
}
