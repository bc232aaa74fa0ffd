//! What may be a policy's name.

#[cfg(any(feature = "opa", feature = "cedar-agent", feature = "avp"))]
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
#[cfg(any(feature = "opa", feature = "cedar-agent", feature = "avp"))]
use kest_core::text::Quoted;

/// Words of Rego, which no segment of a package can be.
#[cfg(feature = "rego")]
const KEYWORDS: &[&str] = &[
    "as", "contains", "default", "else", "every", "false", "if", "import", "in", "not", "null", "package",
    "some", "true", "with",
];

/// Whether a package may have this segment.
#[cfg(feature = "rego")]
pub(super) fn is_rego(segment: &str) -> bool {
    let mut letters = segment.bytes();
    let starts = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_');
    let continues = letters.all(|c| c.is_ascii_alphanumeric() || c == b'_');
    starts && continues && !KEYWORDS.contains(&segment)
}

/// The name, if it is one: what else it might say to a URL path or a Cedar literal is nobody's policy.
#[cfg(any(feature = "cedar-agent", feature = "avp"))]
pub(super) fn checked(name: &str) -> Result<&str, PolicyUnavailable> {
    checked_by(is_segment, name, "letters, digits, `_` and `-`")
}

/// The name, if it can be that of a package. OPA reads a segment of digits as a number, of an array it may be.
#[cfg(feature = "opa")]
pub(super) fn checked_package(name: &str) -> Result<&str, PolicyUnavailable> {
    let good = |segment: &str| is_segment(segment) && !segment.bytes().all(|c| c.is_ascii_digit());
    checked_by(good, name, "letters, digits, `_` and `-`, of which no part is all digits")
}

#[cfg(any(feature = "opa", feature = "cedar-agent", feature = "avp"))]
fn is_segment(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-'))
}

#[cfg(any(feature = "opa", feature = "cedar-agent", feature = "avp"))]
fn checked_by<'a>(
    good: impl Fn(&str) -> bool,
    name: &'a str,
    what: &str,
) -> Result<&'a str, PolicyUnavailable> {
    if name.split('/').all(good) {
        return Ok(name);
    }
    Err(PolicyUnavailable::new(
        PolicyErrorKind::UnknownPolicy,
        format!(
            "{} is not a policy name; a name is a path such as `kest/allow_trusted` of {what}",
            Quoted(name)
        ),
    ))
}
