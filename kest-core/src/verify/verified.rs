//! A passport that was checked.

use std::sync::Arc;

use super::Done;
use super::report::Report;
use crate::entry::KestEntry;
use crate::passport::{Node, Passport, PassportEntry};
use crate::taint::TaintSet;

/// A passport that verified. Only [`UnverifiedPassport::verify`](super::UnverifiedPassport::verify) makes one.
///
/// Scores and taints of [`Self::passport`], [`Self::tips`] and [`Self::effective`] are the effective ones: lowered to
/// each principal's authority, and never without a taint that was not removed by somebody who may. Those of
/// [`Self::entries`] are what the signers declare.
#[derive(Clone, Debug)]
pub struct VerifiedPassport {
    passport: Passport,
    entries: Vec<Arc<KestEntry>>,
    effective: Vec<Effective>,
    /// Indices of the tips, oldest first.
    tips: Vec<usize>,
    report: Report,
}

/// What an entry counts for under the authority of its principal and everybody before it. Spec §13.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effective {
    /// The score, 0–100.
    pub trust_score: u8,
    /// The taints, sorted.
    pub taints: TaintSet,
}

impl Effective {
    pub(super) fn of(node: &Node) -> Self {
        Self { trust_score: node.trust(), taints: node.taints().clone() }
    }
}

impl VerifiedPassport {
    pub(super) fn new(done: Done, report: Report) -> Self {
        let Done { passport, entries, effective, tips } = done;
        Self { passport, entries, effective, tips, report }
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

    /// What the signers declare, in the order it came. A declared score may be higher than the one that counts, and
    /// declared taints fewer: see [`Self::effective`].
    #[must_use]
    pub fn entries(&self) -> &[Arc<KestEntry>] {
        &self.entries
    }

    /// What each of [`Self::entries`] counts for, in the same order.
    #[must_use]
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }

    /// What the signers of the tips declare, oldest first: the same entries as [`Self::tips`].
    pub fn tip_entries(&self) -> impl Iterator<Item = &KestEntry> {
        self.tips.iter().filter_map(|tip| self.entries.get(*tip).map(|entry| &**entry))
    }

    /// The same passport, whose tips count for no more than `ceiling`: so does whatever goes on from it. Spec §12,
    /// `unbound_ceiling`.
    #[must_use]
    pub fn capped(mut self, ceiling: u8) -> Self {
        self.passport = Passport::from_tips(self.passport.tip_nodes().iter().map(|tip| tip.capped(ceiling)));
        for tip in &self.tips {
            if let Some(effective) = self.effective.get_mut(*tip) {
                effective.trust_score = effective.trust_score.min(ceiling);
            }
        }
        self
    }

    /// The entries that no other entry names as parent, oldest first, with their effective scores and taints.
    #[must_use]
    pub fn tips(&self) -> Vec<PassportEntry> {
        self.passport.tips()
    }
}
