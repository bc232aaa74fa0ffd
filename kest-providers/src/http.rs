//! One bounded HTTP GET: `https`, or `http` to this machine; no redirects; never more than so many bytes.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use once_cell::sync::OnceCell;
use reqwest::{Certificate, Client, Url, redirect};

use crate::address::{Plain, checked, is_loopback};
use crate::jwks::JwksError;
use crate::masked::masked;

/// Fetches documents that keys come from.
pub(crate) struct Http {
    direct: OnceCell<Client>,
    outward: OnceCell<Client>,
    roots: Vec<Certificate>,
    limit: usize,
}

impl Http {
    /// Bodies of at most `limit` bytes. `roots` are believed beside the system's authorities.
    pub(crate) fn new(limit: usize, roots: Vec<Certificate>) -> Self {
        Self { direct: OnceCell::new(), outward: OnceCell::new(), roots, limit }
    }

    /// The body of a 200 answer. The caller bounds the time.
    pub(crate) async fn get(&self, url: &Url) -> Result<Vec<u8>, JwksError> {
        let failed =
            |error: reqwest::Error| JwksError::Connection { url: url.to_string(), source: cause(error) };
        let request = self.client(url).map_err(failed)?.get(url.clone());
        let mut answer = request.header("accept", "application/json").send().await.map_err(failed)?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(JwksError::Redirect { url: url.to_string(), status: status.as_u16() });
        }
        if status.as_u16() != 200 {
            return Err(JwksError::Status { url: url.to_string(), status: status.as_u16() });
        }
        let too_large = || JwksError::TooLarge { url: url.to_string(), limit: self.limit };
        if answer.content_length().is_some_and(|length| length > self.limit as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        // A length is only what the server says; of a chunked body not even that is known.
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > self.limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn client(&self, url: &Url) -> Result<&Client, reqwest::Error> {
        // What is sent in the clear must not leave the machine through a proxy.
        let direct = is_loopback(url);
        let slot = if direct { &self.direct } else { &self.outward };
        slot.get_or_try_init(|| {
            let builder = Client::builder()
                .redirect(redirect::Policy::none())
                // Minutes pass between two fetches: an idle connection would only be stale.
                .pool_max_idle_per_host(0)
                .referer(false)
                .tls_certs_merge(self.roots.iter().cloned());
            if direct { builder.no_proxy().build() } else { builder.build() }
        })
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// An address that keys may come from: `https`, or `http` to this machine.
pub(crate) fn key_url(text: &str) -> Result<Url, JwksError> {
    checked(text, Plain::Here).map_err(|why| JwksError::Url { url: masked(text), why })
}

/// Authorities in PEM, RFC 7468 §5.
pub(crate) fn root_certificates(pem: &[u8]) -> Result<Vec<Certificate>, JwksError> {
    let refuse =
        || JwksError::Setting { why: "the root certificates are not PEM; give `BEGIN CERTIFICATE` blocks" };
    match Certificate::from_pem_bundle(pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(refuse()),
    }
}

/// The error without the URL, which its message would repeat, and with what lies under it.
fn cause(error: reqwest::Error) -> Arc<dyn StdError + Send + Sync> {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut under = error.source();
    while let Some(next) = under {
        text = format!("{text}: {next}");
        under = next.source();
    }
    Arc::new(Caused { text, error })
}

#[derive(Debug)]
struct Caused {
    text: String,
    error: reqwest::Error,
}

impl fmt::Display for Caused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Caused {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_by_https_or_from_this_machine() {
        for good in [
            "https://example.org/jwks.json",
            "https://example.org:8443/a?b=c",
            "http://127.0.0.1:18500/jwks",
            "http://127.9.9.9/jwks",
            "http://[::1]:80/jwks",
            "http://localhost:1/jwks",
        ] {
            key_url(good).unwrap();
        }
        for bad in [
            "http://example.org/jwks.json",
            "http://127.0.0.1.example.org/",
            "http://localhost.example.org/",
            "http://[::ffff:7f00:1]/",
            "http://10.0.0.1/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "jwks.json",
            "",
            "https://user@example.org/",
            "https://:word@example.org/",
            "https://example.org/#a",
        ] {
            assert!(key_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_in_an_address_are_not_repeated() {
        let error = key_url("https://user:s3cret@example.org/").unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"));
    }

    #[test]
    fn root_certificates_must_be_some() {
        assert!(root_certificates(b"").is_err());
        assert!(root_certificates(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END").is_err());
    }
}
