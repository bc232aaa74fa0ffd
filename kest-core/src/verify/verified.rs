//! A passport that was checked.

use super::report::Report;
use crate::entry::KestEntry;
use crate::passport::{Passport, PassportEntry};

/// A passport that verified. Only [`UnverifiedPassport::verify`](super::UnverifiedPassport::verify) makes one.
///
/// Scores and taints of [`Self::passport`] are the effective ones: lowered to each principal's authority, and never
/// without a taint that was not removed by somebody who may.
#[derive(Clone, Debug)]
pub struct VerifiedPassport {
    passport: Passport,
    entries: Vec<KestEntry>,
    report: Report,
}

impl VerifiedPassport {
    pub(super) fn new(passport: Passport, entries: Vec<KestEntry>, report: Report) -> Self {
        Self { passport, entries, report }
    }

    /// The passport, to be continued.
    #[must_use]
    pub fn passport(&self) -> &Passport {
        &self.passport
    }

    /// What was checked, and what was found.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The entries, in the order they came.
    #[must_use]
    pub fn entries(&self) -> &[KestEntry] {
        &self.entries
    }

    /// The entries that no other entry names as parent, oldest first, with their effective scores and taints.
    #[must_use]
    pub fn tips(&self) -> Vec<PassportEntry> {
        self.passport.tips()
    }
}
