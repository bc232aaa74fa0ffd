//! SPIFFE IDs, read strictly. SPIFFE-ID §2.

use std::fmt;

use crate::text::Quoted;

/// A SPIFFE ID: `spiffe://<trust domain>/<path>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId<'a> {
    text: &'a str,
    trust_domain: &'a str,
}

/// SPIFFE-ID §2.3.
const LONGEST_ID: usize = 2_048;
/// SPIFFE-ID §2.1: RFC 3986 leaves it at 255.
const LONGEST_DOMAIN: usize = 255;

impl<'a> SpiffeId<'a> {
    /// Reads an id: nothing is normalised, so that two spellings are never one id.
    ///
    /// # Errors
    /// When the text is no SPIFFE ID.
    pub fn parse(text: &'a str) -> Result<Self, SpiffeIdError> {
        let refuse = |why| SpiffeIdError { found: text.to_owned(), why };
        if text.len() > LONGEST_ID {
            return Err(refuse("is longer than 2048 bytes"));
        }
        let rest = text.strip_prefix("spiffe://").ok_or_else(|| refuse("does not start with `spiffe://`"))?;
        let (trust_domain, path) = match rest.split_once('/') {
            Some((trust_domain, path)) => (trust_domain, Some(path)),
            None => (rest, None),
        };
        check_domain(trust_domain).map_err(refuse)?;
        for segment in path.iter().flat_map(|path| path.split('/')) {
            // SPIFFE-ID §2.2: no empty or relative segments, and so no slash at the end; no percent-encoding.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            if matches!(segment, "" | "." | "..") {
                return Err(refuse("has an empty or relative path segment"));
            }
            if !segment.bytes().all(plain) {
                return Err(refuse(
                    "has a path with other characters than letters, digits, `.`, `-` and `_`",
                ));
            }
        }
        Ok(Self { text, trust_domain })
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The trust domain: `example.org` of `spiffe://example.org/orders`.
    #[must_use]
    pub fn trust_domain(&self) -> &'a str {
        self.trust_domain
    }

    /// The path with its slash, empty for the id of a trust domain itself.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.text.get("spiffe://".len() + self.trust_domain.len()..).unwrap_or_default()
    }
}

impl fmt::Display for SpiffeId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// A trust domain on its own.
pub(super) fn trust_domain(name: &str) -> Result<&str, SpiffeIdError> {
    check_domain(name).map(|()| name).map_err(|why| SpiffeIdError { found: name.to_owned(), why })
}

/// SPIFFE-ID §2.1.
fn check_domain(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("has no trust domain");
    }
    if name.len() > LONGEST_DOMAIN {
        return Err("has a trust domain of more than 255 bytes");
    }
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if name.bytes().all(plain) {
        Ok(())
    } else {
        Err("has a trust domain with other characters than lower-case letters, digits, `.`, `-` and `_`")
    }
}

/// Text that is no SPIFFE ID, or no trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiffeIdError {
    found: String,
    why: &'static str,
}

impl fmt::Display for SpiffeIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is no SPIFFE ID (`spiffe://<trust domain>/<path>`): it {}",
            Quoted(&self.found),
            self.why
        )
    }
}

impl std::error::Error for SpiffeIdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_apart() {
        let id = SpiffeId::parse("spiffe://prod.example-1.org/ns/shop/sa/Orders_v1.2").unwrap();
        assert_eq!(id.trust_domain(), "prod.example-1.org");
        assert_eq!(id.path(), "/ns/shop/sa/Orders_v1.2");
        let id = SpiffeId::parse("spiffe://example.org").unwrap();
        assert_eq!((id.trust_domain(), id.path()), ("example.org", ""));
        // Three dots are a name like any other.
        assert!(SpiffeId::parse("spiffe://example.org/.../a").is_ok());
    }

    #[test]
    fn nothing_else_is_an_id() {
        for text in [
            "",
            "spiffe:",
            "spiffe://",
            "spiffe:///a",
            "SPIFFE://example.org/a",
            "https://example.org/a",
            "spiffe://Example.org/a",
            "spiffe://example.org:8443/a",
            "spiffe://user@example.org/a",
            "spiffe://exämple.org/a",
            "spiffe://example.org/",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/./a",
            "spiffe://example.org/a/..",
            "spiffe://example.org/%61",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org?b",
            "spiffe://example.org/a b",
            "spiffe://example.org/ä",
            " spiffe://example.org/a",
        ] {
            let error = SpiffeId::parse(text).unwrap_err().to_string();
            assert!(error.contains("is no SPIFFE ID"), "{text}: {error}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let of = |length: usize| format!("spiffe://d/{}", "a".repeat(length - 11));
        assert!(SpiffeId::parse(&of(2_048)).is_ok());
        assert!(SpiffeId::parse(&of(2_049)).is_err());
        assert!(trust_domain(&"a".repeat(255)).is_ok());
        assert!(trust_domain(&"a".repeat(256)).is_err());
        assert!(trust_domain("a/b").is_err());
    }
}
