//! How the entries of a passport hang together, and what is known of each.

use std::collections::{HashMap, HashSet};

use crate::entry::Shown;
use crate::verdict::Answer;

/// What the verifier says of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Verified,
    NotVerified,
    Failed,
}

impl Status {
    pub(crate) fn of(entry: &Shown, answer: Option<&Answer>) -> Self {
        match answer {
            Some(Answer { accepted: true, .. }) => Self::Verified,
            Some(Answer { failure: Some(failure), .. }) if failure.entry == Some(entry.index) => Self::Failed,
            Some(_) | None => Self::NotVerified,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::NotVerified => "not verified",
            Self::Failed => "failed",
        }
    }
}

/// Finds each entry's parents among the entries before it, and notes what is not there.
pub(crate) fn link(entries: &mut [Shown]) -> Vec<Vec<usize>> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut all = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut parents = Vec::new();
        let mut problem = None;
        let mut distinct = HashSet::new();
        for parent in entry.parents.iter().filter(|parent| distinct.insert(parent.as_str())) {
            match seen.get(parent) {
                Some(index) => parents.push(*index),
                None => problem = Some(format!("parent `{parent}` is no earlier entry")),
            }
        }
        if let Some(first) = seen.get(&entry.hash) {
            problem = Some(format!("the same entry as number {first}"));
        }
        seen.entry(entry.hash.clone()).or_insert(entry.index);
        entry.problem = entry.problem.take().or(problem);
        all.push(parents);
    }
    all
}
