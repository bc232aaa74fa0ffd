//! What can go wrong, one kind per cause. Spec §16.
//!
//! Messages are lower case, without a full stop, with the user's input in backticks and the fix named. `Debug`, which is what
//! `main` prints of an error that it returns, is the message, with such causes as it does not tell.

#[macro_use]
mod detail;
mod configuration;
mod identity;
mod lineage;
mod policy;
mod record;

use std::error::Error as StdError;
use std::fmt;

pub use configuration::{ConfigurationError, ConfigurationErrorKind};
pub use identity::{IdentityError, IdentityErrorKind};
pub use lineage::{LineageError, LineageErrorKind, PropagationError, PropagationErrorKind};
pub use policy::{PolicyDenied, PolicyErrorKind, PolicyUnavailable};
pub use record::{AuditError, AuditErrorKind, CanonicalizationError, CompletionError};

use crate::text;

/// Why a protected function did not run, or (see [`Error::already_executed`]) could not be recorded.
#[non_exhaustive]
pub enum Error {
    /// No identity, or one that cannot sign.
    Identity(IdentityError),
    /// A policy said no.
    PolicyDenied(PolicyDenied),
    /// A policy could not be asked, or gave no usable answer.
    PolicyUnavailable(PolicyUnavailable),
    /// Wrong or missing configuration, or a wrong attribute value.
    Configuration(ConfigurationError),
    /// A lineage that cannot be read, continued or trusted.
    Lineage(LineageError),
    /// A lineage that cannot be sent to another service, or received from one.
    Propagation(PropagationError),
    /// The durable audit sink did not take the entry.
    Audit(AuditError),
    /// A value that JCS (RFC 8785) cannot carry.
    Canonicalization(CanonicalizationError),
    /// The function ran, and its `completion` entry could not be made.
    Completion(CompletionError),
}

impl Error {
    /// Whether a policy itself said no. An engine that could not answer is not a denial.
    ///
    /// A protected function that passes on the error of a call it made with `?` returns *that* call's denial, and
    /// has itself run: [`PolicyDenied::operation`] says whose denial it is.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::PolicyDenied(_))
    }

    /// Whether something is known to have run: the protected function, whose output could not be recorded, or a call to
    /// another service, whose lineage could not be joined ([`PropagationError::call_was_made`]). Such a call must not
    /// be retried. An error that the function itself returned, a denial of a call inside it included, says nothing
    /// about this.
    #[must_use]
    pub fn already_executed(&self) -> bool {
        match self {
            Self::Completion(_) => true,
            Self::Propagation(error) => error.call_was_made(),
            Self::Identity(_)
            | Self::PolicyDenied(_)
            | Self::PolicyUnavailable(_)
            | Self::Configuration(_)
            | Self::Lineage(_)
            | Self::Audit(_)
            | Self::Canonicalization(_) => false,
        }
    }

    /// The denial, when a policy said no.
    #[must_use]
    pub fn denial(&self) -> Option<&PolicyDenied> {
        match self {
            Self::PolicyDenied(denial) => Some(denial),
            _ => None,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::debug(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(e) => e.fmt(f),
            Self::PolicyDenied(e) => e.fmt(f),
            Self::PolicyUnavailable(e) => e.fmt(f),
            Self::Configuration(e) => e.fmt(f),
            Self::Lineage(e) => e.fmt(f),
            Self::Propagation(e) => e.fmt(f),
            Self::Audit(e) => e.fmt(f),
            Self::Canonicalization(e) => e.fmt(f),
            Self::Completion(e) => e.fmt(f),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Identity(e) => e.source(),
            Self::PolicyDenied(e) => e.source(),
            Self::PolicyUnavailable(e) => e.source(),
            Self::Configuration(e) => e.source(),
            Self::Lineage(e) => e.source(),
            Self::Propagation(e) => e.source(),
            Self::Audit(e) => e.source(),
            Self::Canonicalization(e) => e.source(),
            Self::Completion(e) => e.source(),
        }
    }
}
