//! Joins that Kest signs by itself when a call would have too many parents. Spec §5.

use std::sync::Arc;

use super::Draft;
use super::prepare::Prepared;
use crate::passport::{Node, Tips};
use crate::taint;

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
    pub(super) fn next_snapshot(&self) -> Option<Snapshot> {
        if self.parents.len() <= MAX_PARENTS {
            return None;
        }
        let group: Tips = self.parents.iter().take(MAX_PARENTS).cloned().collect();
        let trust = group.iter().map(|n| n.trust()).min().unwrap_or(0);
        let sets: Vec<_> = group.iter().map(|n| Arc::clone(n.taints())).collect();
        let taints = taint::accumulate(&sets, &[], &[]);
        let draft = self.side_entry("kest.snapshot", "snapshot", group.clone(), trust, taints, None, "");
        Some(Snapshot { group, draft })
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
