//! Of what is recorded: values, entries, completions.

use std::error::Error as StdError;
use std::fmt;

use super::Error;
use crate::canonical::CanonicalError;
use crate::text;

/// Kinds of [`AuditError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuditErrorKind {
    /// The store is full, or has more to do than it may keep waiting.
    Full,
    /// The store cannot be written.
    Write,
    /// The sink has been closed.
    Closed,
    /// The store did not acknowledge in time.
    Timeout,
    /// The store cannot be opened.
    Open,
    /// Another writer has the store open.
    Locked,
    /// Somebody else has moved, deleted, replaced or changed a file of the store while it was written.
    Changed,
    /// The configuration names a store, and nobody has opened it.
    NotOpen,
    /// The public keys that belong beside the entry cannot be had.
    Keys,
    /// What is to be recorded is no entry.
    Malformed,
}

detail!(
    /// The durable audit sink did not take the entry. The function did not run.
    AuditError,
    AuditErrorKind,
    Audit
);

/// A value that JCS (RFC 8785) cannot carry. The function did not run, and no policy was asked.
pub struct CanonicalizationError {
    place: String,
    source: CanonicalError,
}

impl CanonicalizationError {
    /// The error of the value at `place`.
    #[must_use]
    pub fn new(place: impl Into<String>, source: CanonicalError) -> Self {
        Self { place: place.into(), source }
    }

    /// Where the value stands, such as `user`.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl fmt::Debug for CanonicalizationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::debug(self, f)
    }
}

impl fmt::Display for CanonicalizationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` cannot be recorded: {}", self.place, self.source)
    }
}

impl StdError for CanonicalizationError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}

impl From<CanonicalizationError> for Error {
    fn from(error: CanonicalizationError) -> Self {
        Self::Canonicalization(error)
    }
}

impl CanonicalError {
    /// The error of an attribute value.
    pub(crate) fn in_attribute(self, attribute: &str, name: &str) -> CanonicalizationError {
        match attribute {
            "attribute" => CanonicalizationError::new(name, self),
            other => CanonicalizationError::new(format!("{other}({name})"), self),
        }
    }
}

/// The function has run, and its `completion` entry could not be made. Do not retry the call. Spec §6.
pub struct CompletionError {
    operation: String,
    entry_id: String,
    source: Box<Error>,
}

impl CompletionError {
    pub(crate) fn new(operation: &str, entry_id: &str, source: Error) -> Self {
        Self { operation: operation.to_owned(), entry_id: entry_id.to_owned(), source: Box::new(source) }
    }

    /// The id of the entry of the call that has run.
    #[must_use]
    pub fn entry_id(&self) -> &str {
        &self.entry_id
    }
}

impl fmt::Debug for CompletionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::debug(self, f)
    }
}

impl fmt::Display for CompletionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` has run, but its output could not be recorded; do not retry it: {}",
            self.operation, self.source
        )
    }
}

impl StdError for CompletionError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

impl From<CompletionError> for Error {
    fn from(error: CompletionError) -> Self {
        Self::Completion(error)
    }
}
