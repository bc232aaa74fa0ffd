//! What a suite says of a provider that does not keep to it.

use std::error::Error as StdError;
use std::fmt;

/// A rule that a provider breaks. `Check` is the suite's list of rules.
pub struct ConformanceFailure<Check> {
    subject: &'static str,
    check: Check,
    pub(super) detail: String,
}

impl<Check: Copy> ConformanceFailure<Check> {
    pub(super) fn new(subject: &'static str, check: Check, detail: impl fmt::Display) -> Self {
        Self { subject, check, detail: detail.to_string() }
    }

    /// The rule.
    #[must_use]
    pub fn check(&self) -> Check {
        self.check
    }
}

impl<Check: fmt::Debug> fmt::Debug for ConformanceFailure<Check> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<Check: fmt::Debug> fmt::Display for ConformanceFailure<Check> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not conform ({:?}): {}", self.subject, self.check, self.detail)
    }
}

impl<Check: fmt::Debug> StdError for ConformanceFailure<Check> {}
