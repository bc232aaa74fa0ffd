//! Why a connection could not be made.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use kest_core::error::IdentityError;

/// Why a connection could not be made.
pub struct ConnectError {
    kind: ConnectErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Kinds of [`ConnectError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The address cannot be used.
    Address,
    /// Nobody accepts connections there.
    Unreachable,
    /// Connecting, or the handshake, took too long.
    TimedOut,
    /// The handshake failed: the server is not one that is allowed, or does not accept us.
    Handshake,
    /// The server's certificate names no workload.
    NoIdentity,
    /// The server does not speak HTTP/2, which was asked for.
    Protocol,
}

impl ConnectError {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ConnectErrorKind {
        self.kind
    }

    pub(super) fn address(message: String) -> Self {
        Self { kind: ConnectErrorKind::Address, message, source: None }
    }

    pub(super) fn unreachable(authority: &str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let message = format!("`{authority}` cannot be reached");
        Self { kind: ConnectErrorKind::Unreachable, message, source: Some(source.into()) }
    }

    pub(super) fn timed_out(authority: &str, limit: Duration) -> Self {
        let message = format!(
            "no connection to `{authority}` within {limit:?}; `SpiffeConnector::timeout` sets how long it may take"
        );
        Self { kind: ConnectErrorKind::TimedOut, message, source: None }
    }

    pub(super) fn handshake(authority: &str, source: io::Error) -> Self {
        let message = format!("the TLS handshake with `{authority}` failed");
        Self { kind: ConnectErrorKind::Handshake, message, source: Some(Box::new(source)) }
    }

    pub(super) fn no_identity(authority: &str, source: Option<IdentityError>) -> Self {
        Self {
            kind: ConnectErrorKind::NoIdentity,
            message: format!("the certificate of `{authority}` names no workload; it must be an X.509-SVID"),
            source: source.map(Into::into),
        }
    }

    pub(super) fn protocol(authority: &str) -> Self {
        let message = format!("`{authority}` does not offer HTTP/2, which this connector was told to speak");
        Self { kind: ConnectErrorKind::Protocol, message, source: None }
    }
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        kest_core::text::debug(self, f)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        // The clients that wrap it show one level of sources at most.
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
