//! Where an OpenID Connect issuer publishes its keys. OpenID Connect Discovery 1.0.

use kest_core::canonical::parse_strict;
use reqwest::Url;

use super::JwksError;
use super::remote::{Limits, bounded};
use crate::address::is_loopback;
use crate::bridge;
use crate::http::{Http, key_url};

/// What Kest takes from an issuer's `/.well-known/openid-configuration`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OidcDiscovery {
    issuer: String,
    jwks_uri: Url,
}

impl OidcDiscovery {
    /// Asks an issuer, with the limits that [`JwksUrl`](super::JwksUrl) has by default.
    ///
    /// # Errors
    /// When the issuer is no `https` address (or `http` to this machine), has a query or a fragment, cannot be
    /// reached, names itself otherwise, or gives no usable `jwks_uri`.
    pub async fn fetch(issuer: &str) -> Result<Self, JwksError> {
        let issuer = Issuer::parse(issuer)?;
        let limits = Limits::default();
        let http = Http::new(limits.bytes, Vec::new());
        bridge::run(
            async move { bounded(&issuer.well_known, limits.timeout, Self::get(&http, &issuer)).await },
        )
        .await
        .map_err(JwksError::network)?
    }

    /// The issuer, as it names itself.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where its keys are.
    #[must_use]
    pub fn jwks_uri(&self) -> &str {
        self.jwks_uri.as_str()
    }

    pub(super) fn into_jwks_uri(self) -> Url {
        self.jwks_uri
    }

    pub(super) async fn get(http: &Http, issuer: &Issuer) -> Result<Self, JwksError> {
        let text = http.get(&issuer.well_known).await?;
        Self::read(issuer, &text)
    }

    fn read(issuer: &Issuer, text: &[u8]) -> Result<Self, JwksError> {
        let malformed = || JwksError::Malformed {
            url: issuer.well_known.to_string(),
            what: "an OpenID Connect discovery document with `issuer` and `jwks_uri`",
            source: None,
        };
        let document = parse_strict(text).map_err(|_| malformed())?;
        let member = |name| document.get(name).and_then(|value| value.as_str()).ok_or_else(malformed);
        let found = member("issuer")?;
        // OpenID Connect Discovery §4.3: exactly, so that no issuer speaks for another.
        if found != issuer.name {
            return Err(JwksError::Issuer { expected: issuer.name.clone(), found: found.to_owned() });
        }
        let jwks_uri = key_url(member("jwks_uri")?)?;
        // Another machine must not choose what is asked on this one.
        if jwks_uri.scheme() == "http" && !is_loopback(&issuer.well_known) {
            let why = "is `http` to this machine, for an issuer elsewhere; use `https`";
            return Err(JwksError::Url { url: jwks_uri.to_string(), why });
        }
        Ok(Self { issuer: found.to_owned(), jwks_uri })
    }
}

/// An issuer that may be asked.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    pub(crate) name: String,
    pub(super) well_known: Url,
}

impl Issuer {
    pub(crate) fn parse(name: &str) -> Result<Self, JwksError> {
        key_url(name)?;
        let refuse = |why| Err(JwksError::Url { url: name.to_owned(), why });
        // OpenID Connect Discovery §2: an issuer has neither. A `?` without anything behind it is one too.
        if name.contains(['?', '#']) {
            return refuse("has a query or a fragment, which no issuer has");
        }
        if name.trim() != name || name.chars().any(char::is_control) {
            return refuse("has white space; leave it away");
        }
        // §4: a path's last `/` goes before the well-known part is appended.
        let well_known = format!("{}/.well-known/openid-configuration", name.trim_end_matches('/'));
        Ok(Self { name: name.to_owned(), well_known: key_url(&well_known)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_an_address_without_query_and_fragment() {
        let well_known = |name| Issuer::parse(name).unwrap().well_known.to_string();
        let expected = "https://example.org/.well-known/openid-configuration";
        assert_eq!(well_known("https://example.org"), expected);
        assert_eq!(well_known("https://example.org/"), expected);
        let expected = "https://example.org/a/b/.well-known/openid-configuration";
        assert_eq!(well_known("https://example.org/a/b"), expected);
        assert_eq!(well_known("https://example.org/a/b/"), expected);
        for bad in [
            "https://example.org?a=b",
            "https://example.org?",
            "https://example.org#",
            "https://example.org#a",
            "http://example.org",
            " https://example.org",
            "https://example.org\n",
            "example.org",
        ] {
            assert!(Issuer::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_document_speaks_for_its_own_issuer_only() {
        let issuer = Issuer::parse("https://example.org/a").unwrap();
        let read = |text: &str| OidcDiscovery::read(&issuer, text.as_bytes());
        let good = r#"{"issuer":"https://example.org/a","jwks_uri":"https://keys.example.org/j","x":1}"#;
        assert_eq!(read(good).unwrap().jwks_uri(), "https://keys.example.org/j");
        for other in ["https://example.org/a/", "https://example.org", "https://Example.org/a", ""] {
            let text = good.replacen("https://example.org/a", other, 1);
            assert!(matches!(read(&text), Err(JwksError::Issuer { .. })), "{other}");
        }
        for plain in ["http://keys.example.org", "http://127.0.0.1:1", "http://[::1]", "http://localhost"] {
            let text = good.replace("https://keys.example.org", plain);
            assert!(matches!(read(&text), Err(JwksError::Url { .. })), "{plain}");
        }
        let here = good.replace("https://example.org/a", "http://localhost:1");
        let here = here.replace("https://keys.example.org", "http://127.0.0.1:1");
        OidcDiscovery::read(&Issuer::parse("http://localhost:1").unwrap(), here.as_bytes()).unwrap();
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"issuer":"https://example.org/a"}"#,
            r#"{"jwks_uri":"https://keys.example.org/j"}"#,
            r#"{"issuer":1,"jwks_uri":"https://keys.example.org/j"}"#,
            r#"{"issuer":"https://example.org/a","jwks_uri":"https://a/","jwks_uri":"https://b/"}"#,
        ] {
            assert!(matches!(read(bad), Err(JwksError::Malformed { .. })), "{bad}");
        }
    }
}
