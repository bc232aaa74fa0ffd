//! Where and at which step a passport fails.

use std::error::Error as StdError;
use std::fmt;

use super::failure::VerifyFailure;
use super::report::Report;

/// The steps of spec §13, in their order. Each runs over all entries before the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Compact JWS, header and payload can be read, within the limits. Spec §3.
    Parse,
    /// The payload is an entry. Spec §2.
    Schema,
    /// Every parent was seen earlier, nothing comes twice.
    Links,
    /// The keys of every principal are known.
    Principals,
    /// Every signature is that of its principal.
    Signatures,
    /// Trust and taints are what they can be.
    Semantics,
    /// Every principal may do what it did.
    Authority,
    /// The tips are the expected one, and the lineage is linear where that is asked for.
    Completeness,
    /// The tips are young enough.
    Time,
}

impl Step {
    /// The name of the step.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Schema => "schema",
            Self::Links => "links",
            Self::Principals => "principals",
            Self::Signatures => "signatures",
            Self::Semantics => "semantics",
            Self::Authority => "authority",
            Self::Completeness => "completeness",
            Self::Time => "time",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A passport does not verify: where, at which step, why, and what was found until then.
pub struct VerifyError {
    entry: Option<usize>,
    step: Step,
    failure: VerifyFailure,
    report: Box<Report>,
}

impl VerifyError {
    pub(super) fn new(entry: Option<usize>, step: Step, failure: VerifyFailure, report: Report) -> Self {
        Self { entry, step, failure, report: Box::new(report) }
    }

    /// Index of the entry, unless the passport as a whole fails.
    #[must_use]
    pub fn entry(&self) -> Option<usize> {
        self.entry
    }

    /// The step that failed.
    #[must_use]
    pub fn step(&self) -> Step {
        self.step
    }

    /// What was found.
    #[must_use]
    pub fn failure(&self) -> &VerifyFailure {
        &self.failure
    }

    /// The report, up to the failure.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl fmt::Debug for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::text::debug(self, f)
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            Some(entry) => write!(f, "entry {entry} fails at step {}: {}", self.step, self.failure),
            None => write!(f, "the passport fails at step {}: {}", self.step, self.failure),
        }
    }
}

impl StdError for VerifyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.failure)
    }
}
