//! Taints: sorted, unique, non-empty strings that travel down a lineage. Spec §9.

use std::sync::Arc;

/// A sorted set without duplicates, shared between entries that have the same taints.
pub type TaintSet = Arc<[Arc<str>]>;

/// `(inherited ∪ added) − removed`, sorted by UTF-8 (which is Unicode code point order).
#[must_use]
pub fn accumulate(inherited: &[TaintSet], added: &[Arc<str>], removed: &[Arc<str>]) -> TaintSet {
    if let ([only], [], []) = (inherited, added, removed) {
        return Arc::clone(only);
    }
    let mut all: Vec<Arc<str>> = inherited.iter().flat_map(|set| set.iter()).chain(added).cloned().collect();
    all.sort_unstable();
    all.dedup();
    all.retain(|taint| !removed.contains(taint));
    all.into()
}

/// A sorted set of the given names.
#[must_use]
pub fn set<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Vec<Arc<str>> {
    let mut all: Vec<Arc<str>> = names.into_iter().map(|name| Arc::from(name.as_ref())).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(set: &[Arc<str>]) -> Vec<&str> {
        set.iter().map(|t| &**t).collect()
    }

    #[test]
    fn accumulates_then_removes() {
        let parents = [set(["a", "b"]).into(), set(["b", "d"]).into()];
        let taints = accumulate(&parents, &set(["c"]), &set(["b"]));
        assert_eq!(names(&taints), ["a", "c", "d"]);
    }

    #[test]
    fn removing_wins_over_adding_in_the_same_call() {
        let taints = accumulate(&[set(["a"]).into()], &set(["a", "b"]), &set(["a"]));
        assert_eq!(names(&taints), ["b"]);
    }

    #[test]
    fn an_unchanged_set_is_shared() {
        let parent: TaintSet = set(["a"]).into();
        assert!(Arc::ptr_eq(&accumulate(std::slice::from_ref(&parent), &[], &[]), &parent));
    }
}
