//! Sets of taints, each kept once, so that equal sets are the same set and uniting them costs nothing.

use std::collections::HashSet;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::taint::TaintSet;

#[derive(Default)]
pub(super) struct Sets {
    known: HashSet<TaintSet>,
}

impl Sets {
    /// The one set that is equal to this one, and whether it is new.
    pub(super) fn intern(&mut self, set: TaintSet) -> (TaintSet, bool) {
        if let Some(known) = self.known.get(&set) {
            return (Arc::clone(known), false);
        }
        self.known.insert(Arc::clone(&set));
        (set, true)
    }

    /// `(∪ sets ∪ added) − removed`, spec §9; none when it, or what is removed from, grows over `most`.
    ///
    /// INVARIANT: no step costs more than `most` and the size of one more set, however many sets there are.
    pub(super) fn derive(
        &mut self,
        sets: &[TaintSet],
        added: &[Arc<str>],
        removed: &[Arc<str>],
        most: usize,
    ) -> Option<TaintSet> {
        let mut distinct: SmallVec<[&TaintSet; 4]> = sets.iter().collect();
        distinct.sort_unstable_by_key(|set| set.as_ptr());
        distinct.dedup_by(|a, b| Arc::ptr_eq(a, b));
        if let ([only], [], []) = (distinct.as_slice(), added, removed) {
            return Some(Arc::clone(only)).filter(|only| only.len() <= most);
        }
        let before_removal = most.saturating_add(removed.len());
        let mut all: Vec<Arc<str>> = added.to_vec();
        for set in distinct {
            all = merge(&all, set);
            if all.len() > before_removal {
                return None;
            }
        }
        all.retain(|taint| removed.binary_search(taint).is_err());
        (all.len() <= most).then(|| self.intern(all.into()).0)
    }
}

/// The union of two sorted sets.
fn merge(one: &[Arc<str>], other: &[Arc<str>]) -> Vec<Arc<str>> {
    let mut all = Vec::with_capacity(one.len() + other.len());
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let order = a.cmp(b);
        let next = if order.is_gt() { right.next() } else { left.next() };
        if order.is_eq() {
            right.next();
        }
        all.extend(next.cloned());
    }
    all.extend(left.chain(right).cloned());
    all
}

/// Those of `of` that are not in `from`; both are sorted.
pub(super) fn missing<'a>(from: &'a TaintSet, of: &'a TaintSet) -> impl Iterator<Item = &'a Arc<str>> {
    let same = Arc::ptr_eq(from, of);
    of.iter().filter(move |taint| !same && from.binary_search(taint).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::taint::{accumulate, set};

    #[test]
    fn derives_what_the_hook_accumulates() {
        let mut sets = Sets::default();
        let given: [TaintSet; 4] =
            [set(["a", "c"]).into(), set(["b", "c", "d"]).into(), set(["a", "c"]).into(), Arc::default()];
        for added in [set(Vec::<&str>::new()), set(["x"]), set(["a", "b"])] {
            for removed in [set(Vec::<&str>::new()), set(["c"]), set(["a", "x"])] {
                for count in 0..=given.len() {
                    let expected = accumulate(&given[..count], &added, &removed);
                    assert_eq!(sets.derive(&given[..count], &added, &removed, 9), Some(expected));
                }
            }
        }
    }

    #[test]
    fn equal_sets_are_one_and_large_ones_are_refused() {
        let mut sets = Sets::default();
        let (one, new) = sets.intern(set(["a", "b"]).into());
        let (other, again) = sets.intern(set(["a", "b"]).into());
        assert!(new && !again && Arc::ptr_eq(&one, &other));
        let derived = sets.derive(&[one, set(["a"]).into()], &[], &[], 2).unwrap();
        assert!(Arc::ptr_eq(&derived, &other));
        assert_eq!(sets.derive(&[derived], &set(["c"]), &[], 2), None);
        assert_eq!(sets.derive(&[other], &set(["c"]), &set(["c"]), 2).unwrap().len(), 2);
    }
}
