//! Why keys could not be had from a URL.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kest_core::error::IdentityErrorKind;
use kest_core::keys::KeyError;
use kest_core::text::{Quoted, Safe};

/// Why keys could not be had from a URL. It is shared by all who waited for the same fetch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JwksError {
    /// A setting cannot be used.
    Setting {
        /// What is wrong, and the fix.
        why: &'static str,
    },
    /// A pattern of the allow list cannot be used.
    Pattern {
        /// Why.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// An address cannot be used.
    Url {
        /// The address.
        url: String,
        /// What is wrong, and the fix.
        why: &'static str,
    },
    /// The server could not be reached, or broke off.
    Connection {
        /// The address.
        url: String,
        /// What happened.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The server did not answer in time.
    Timeout {
        /// The address.
        url: String,
        /// How long it had.
        after: Duration,
    },
    /// The server answered with another status than 200.
    Status {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// The server points elsewhere. Keys come from the address that was configured, or not at all.
    Redirect {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// The answer is larger than the limit.
    TooLarge {
        /// The address.
        url: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer is no JWK set, or no discovery document.
    Malformed {
        /// The address.
        url: String,
        /// What it should have been.
        what: &'static str,
        /// Why it is not, where more is known.
        source: Option<Arc<KeyError>>,
    },
    /// The set has more keys than the limit.
    TooManyKeys {
        /// The address.
        url: String,
        /// How many there are.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// None of the set's keys can verify a signature.
    NoUsableKeys {
        /// The address.
        url: String,
        /// How many there are.
        found: usize,
    },
    /// The discovery document is another issuer's. OpenID Connect Discovery §4.3.
    Issuer {
        /// The issuer that was asked for.
        expected: String,
        /// The one that the document names.
        found: String,
    },
    /// Kest's network thread failed.
    Network {
        /// How.
        source: Arc<dyn StdError + Send + Sync>,
    },
}

impl JwksError {
    /// The kind it has as an identity's error.
    #[must_use]
    pub fn kind(&self) -> IdentityErrorKind {
        match self {
            Self::Status { status: 429, .. } => IdentityErrorKind::Throttled,
            Self::Connection { .. } | Self::Timeout { .. } | Self::Status { .. } | Self::Network { .. } => {
                IdentityErrorKind::Connection
            }
            Self::Setting { .. } | Self::Pattern { .. } | Self::Url { .. } => IdentityErrorKind::Refused,
            Self::Redirect { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::TooManyKeys { .. }
            | Self::NoUsableKeys { .. }
            | Self::Issuer { .. } => IdentityErrorKind::Untrusted,
        }
    }

    pub(crate) fn network(error: impl StdError + Send + Sync + 'static) -> Self {
        Self::Network { source: Arc::new(error) }
    }
}

impl fmt::Display for JwksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { why } => f.write_str(why),
            Self::Pattern { source } => write!(f, "the allow list cannot be used: {}", Safe(source)),
            Self::Url { url, why } => write!(f, "address {} {why}", Quoted(url)),
            Self::Connection { url, source } => {
                write!(f, "{} cannot be reached: {}", Quoted(url), Safe(source))
            }
            Self::Timeout { url, after } => {
                write!(f, "{} did not answer within {} ms", Quoted(url), after.as_millis())
            }
            Self::Status { url, status } => write!(f, "{} answered with status {status}", Quoted(url)),
            Self::Redirect { url, status } => write!(
                f,
                "{} redirects (status {status}), which is not followed; configure the address that it points to",
                Quoted(url)
            ),
            Self::TooLarge { url, limit } => {
                write!(f, "the answer of {} is larger than {limit} bytes", Quoted(url))
            }
            Self::Malformed { url, what, source: None } => write!(f, "{} does not give {what}", Quoted(url)),
            Self::Malformed { url, what, source: Some(source) } => {
                write!(f, "{} does not give {what}: {source}", Quoted(url))
            }
            Self::TooManyKeys { url, found, limit } => {
                write!(f, "{} gives {found} keys, which is more than {limit}", Quoted(url))
            }
            Self::NoUsableKeys { url, found } => write!(
                f,
                "of the {found} keys at {} none is an Ed25519, P-256, P-384 or RSA key for signatures",
                Quoted(url)
            ),
            Self::Issuer { expected, found } => write!(
                f,
                "the discovery document of {} is that of {}; configure the issuer exactly as it names itself",
                Quoted(expected),
                Quoted(found)
            ),
            Self::Network { source } => Safe(source).fmt(f),
        }
    }
}

impl StdError for JwksError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Pattern { source } | Self::Connection { source, .. } | Self::Network { source } => {
                Some(&**source)
            }
            Self::Malformed { source, .. } => source.as_deref().map(|s| s as &(dyn StdError + 'static)),
            Self::Setting { .. }
            | Self::Url { .. }
            | Self::Timeout { .. }
            | Self::Status { .. }
            | Self::Redirect { .. }
            | Self::TooLarge { .. }
            | Self::TooManyKeys { .. }
            | Self::NoUsableKeys { .. }
            | Self::Issuer { .. } => None,
        }
    }
}
