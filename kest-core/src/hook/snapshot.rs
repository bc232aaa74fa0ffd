//! Joins that Kest signs by itself when a call would have too many parents. Spec §5.

use std::sync::Arc;

use super::Draft;
use super::given::{MAX_TAINTS, too_many_taints};
use super::prepare::Prepared;
use crate::error::Error;
use crate::passport::{Node, Tips};
use crate::taint::{self, TaintSet};

/// Most parents of one entry. Spec §17.
pub(super) const MAX_PARENTS: usize = 256;

/// A join of the oldest tips.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) group: Tips,
    pub(super) draft: Draft,
}

impl Prepared {
    /// The next join to sign, until the call's parents fit into one entry.
    pub(super) fn next_snapshot(&self) -> Result<Option<Snapshot>, Error> {
        self.snapshot_of(&self.parents)
    }

    /// A join of the oldest of `tips`, if they are too many for one entry; no more than whose taints fit into one.
    pub(super) fn snapshot_of(&self, tips: &[Arc<Node>]) -> Result<Option<Snapshot>, Error> {
        if tips.len() <= MAX_PARENTS {
            return Ok(None);
        }
        let (mut group, mut taints) = (Tips::new(), TaintSet::default());
        for tip in tips.iter().take(MAX_PARENTS) {
            let united = taint::accumulate(&[Arc::clone(&taints), Arc::clone(tip.taints())], &[], &[]);
            if united.len() > MAX_TAINTS {
                break;
            }
            group.push(Arc::clone(tip));
            taints = united;
        }
        if group.len() < 2 {
            return Err(too_many_taints("kest.snapshot", MAX_TAINTS + 1));
        }
        let trust = lowest_trust(&group);
        let draft = self.side_entry("kest.snapshot", "snapshot", group.clone(), trust, taints, None, "");
        Ok(Some(Snapshot { group, draft }))
    }

    /// Puts a signed join in the place of what it joins, here and in the scope: it holds whether the call is allowed or not.
    pub(super) fn adopt(&mut self, group: Tips, join: Arc<Node>) {
        if let Some(scope) = &self.scope {
            scope.replace(&group, &join);
        }
        self.parents.retain(|tip| !group.iter().any(|joined| joined.hash() == tip.hash()));
        self.parents.push(join);
        self.name_parents();
    }
}

/// What a join is worth.
pub(super) fn lowest_trust(tips: &[Arc<Node>]) -> u8 {
    tips.iter().map(|tip| tip.trust()).min().unwrap_or(0)
}

/// Everything its parents carry.
pub(super) fn all_taints(tips: &[Arc<Node>]) -> TaintSet {
    let sets: smallvec::SmallVec<[TaintSet; 1]> = tips.iter().map(|tip| Arc::clone(tip.taints())).collect();
    taint::accumulate(&sets, &[], &[])
}
