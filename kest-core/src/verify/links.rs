//! The third step: every parent was seen earlier, and nothing comes twice.

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;
use uuid::Uuid;

use super::error::Step;
use super::failure::VerifyFailure;
use super::jose::Parsed;
use super::signature::Principals;
use crate::jws::hex;

/// How the entries hang together.
pub(super) struct Links {
    /// Indices of each entry's parents, newest first as the entry names them.
    pub(super) parents: Vec<SmallVec<[usize; 1]>>,
    /// Number of each entry's principal.
    principals: Vec<usize>,
    /// Index of an entry by its principal's number and its id.
    ids: HashMap<(usize, Uuid), usize>,
    /// Entries that no other names, oldest first.
    pub(super) tips: Vec<usize>,
}

impl Links {
    /// The entry of that id by the principal of entry `of`.
    pub(super) fn by_id(&self, of: usize, entry_id: Uuid) -> Option<usize> {
        self.ids.get(&(*self.principals.get(of)?, entry_id)).copied()
    }

    /// Whether `ancestor` is in the history of entry `of`.
    pub(super) fn descends(&self, of: usize, ancestor: usize) -> bool {
        let mut seen = HashSet::new();
        let mut stack = vec![of];
        while let Some(index) = stack.pop() {
            for parent in self.parents.get(index).into_iter().flatten() {
                match parent.cmp(&ancestor) {
                    Ordering::Equal => return true,
                    // Parents come before their children, so the way leads past the ancestor.
                    Ordering::Less => {}
                    Ordering::Greater if seen.insert(*parent) => stack.push(*parent),
                    Ordering::Greater => {}
                }
            }
        }
        false
    }
}

pub(super) fn check(
    entries: &[Parsed],
    principals: &Principals<'_>,
) -> Result<Links, (usize, Step, VerifyFailure)> {
    let mut by_hash: HashMap<&[u8; 32], usize> = HashMap::with_capacity(entries.len());
    let mut ids = HashMap::with_capacity(entries.len());
    let mut parents = Vec::with_capacity(entries.len());
    let mut is_tip = vec![true; entries.len()];
    for ((index, parsed), principal) in entries.iter().enumerate().zip(&principals.of) {
        let failed = |failure| Err((index, Step::Links, failure));
        let mut of_entry = SmallVec::with_capacity(parsed.entry.parents.len());
        for parent in &parsed.entry.parents {
            let Some(&position) = by_hash.get(parent) else {
                return failed(VerifyFailure::UnknownParent { parent: hex(parent) });
            };
            of_entry.push(position);
            if let Some(tip) = is_tip.get_mut(position) {
                *tip = false;
            }
        }
        match by_hash.entry(&parsed.hash) {
            Entry::Vacant(free) => free.insert(index),
            Entry::Occupied(taken) => return failed(VerifyFailure::DuplicateEntry { first: *taken.get() }),
        };
        match ids.entry((*principal, parsed.entry.entry_id)) {
            Entry::Vacant(free) => free.insert(index),
            Entry::Occupied(taken) => return failed(VerifyFailure::RepeatedEntryId { first: *taken.get() }),
        };
        parents.push(of_entry);
    }
    let tips = is_tip.iter().enumerate().filter(|(_, tip)| **tip).map(|(index, _)| index).collect();
    Ok(Links { parents, principals: principals.of.clone(), ids, tips })
}
