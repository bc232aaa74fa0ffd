//! Why a token does not count, kept for all who ask.

use std::fmt;
use std::sync::Arc;

use kest_core::error::{IdentityError, IdentityErrorKind};

use crate::bridge::BridgeError;
use crate::jwks::JwksError;

/// A refusal that several callers get.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    kind: IdentityErrorKind,
    message: Arc<str>,
    source: Option<JwksError>,
}

impl Failure {
    pub(super) fn new(kind: IdentityErrorKind, message: impl Into<Arc<str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(super) fn untrusted(message: impl Into<Arc<str>>) -> Self {
        Self::new(IdentityErrorKind::Untrusted, message)
    }

    /// Whether the issuer's keys could not be had, so that nothing is known.
    pub(super) fn is_of_keys(&self) -> bool {
        self.source.is_some()
    }

    pub(super) fn kind(&self) -> IdentityErrorKind {
        self.kind
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<JwksError> for Failure {
    fn from(error: JwksError) -> Self {
        let message = match error.kind() {
            IdentityErrorKind::Refused => format!("the issuer cannot be used: {error}"),
            _ => format!("the issuer's keys cannot be had: {error}"),
        };
        Self { kind: error.kind(), message: message.into(), source: Some(error) }
    }
}

impl From<Failure> for IdentityError {
    fn from(failure: Failure) -> Self {
        let error = Self::new(failure.kind, &*failure.message);
        match failure.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

pub(super) fn bridged(error: BridgeError) -> IdentityError {
    IdentityError::new(IdentityErrorKind::Connection, error.to_string()).with_source(error)
}
