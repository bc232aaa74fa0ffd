//! The third step: every parent was seen earlier, and nothing comes twice.

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
    /// The run of each entry: its first entry, and the place in it. A run goes from an entry to its first child for
    /// as long as that has no other parent.
    runs: Vec<(usize, usize)>,
}

/// Steps that looking for ancestors may take. Linear in the size of the passport.
pub(super) struct Steps {
    limit: u64,
    left: u64,
}

impl Steps {
    fn take(&mut self) -> Result<(), VerifyFailure> {
        self.left = self.left.checked_sub(1).ok_or(VerifyFailure::TooManySteps { limit: self.limit })?;
        Ok(())
    }
}

impl Links {
    /// The entry of that id by the principal of entry `of`.
    pub(super) fn by_id(&self, of: usize, entry_id: Uuid) -> Option<usize> {
        self.ids.get(&(*self.principals.get(of)?, entry_id)).copied()
    }

    /// The steps that all calls of [`Self::descends`] may take together.
    pub(super) fn steps(&self) -> Steps {
        let size = self.parents.iter().map(|parents| parents.len() + 1).sum::<usize>();
        let limit = u64::try_from(size).unwrap_or(u64::MAX).saturating_mul(64).saturating_add(1_000_000);
        Steps { limit, left: limit }
    }

    /// Whether `ancestor` is in the history of entry `of`. Goes from run to run, so that a chain costs one step.
    ///
    /// # Errors
    /// When there are no steps left: then nobody knows.
    pub(super) fn descends(
        &self,
        of: usize,
        ancestor: usize,
        steps: &mut Steps,
    ) -> Result<bool, VerifyFailure> {
        let Some(&(run, place)) = self.runs.get(ancestor).filter(|_| ancestor < of) else { return Ok(false) };
        let mut seen = HashSet::new();
        let mut stack = vec![of];
        while let Some(index) = stack.pop() {
            steps.take()?;
            let Some(&(start, at)) = self.runs.get(index) else { continue };
            if start == run && at >= place {
                return Ok(true);
            }
            // Parents come before their children, so what is before the ancestor leads past it.
            if start > ancestor && seen.insert(start) {
                for parent in self.parents.get(start).into_iter().flatten() {
                    steps.take()?;
                    if *parent >= ancestor {
                        stack.push(*parent);
                    }
                }
            }
        }
        Ok(false)
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
    let mut runs: Vec<(usize, usize)> = Vec::with_capacity(entries.len());
    for ((index, parsed), principal) in entries.iter().enumerate().zip(&principals.of) {
        let failed = |failure| Err((index, Step::Links, failure));
        let mut run = (index, 0);
        let mut of_entry = SmallVec::with_capacity(parsed.entry.parents.len());
        for parent in &parsed.entry.parents {
            let Some(&position) = by_hash.get(parent) else {
                return failed(VerifyFailure::UnknownParent { parent: hex(parent) });
            };
            of_entry.push(position);
            if let Some(tip) = is_tip.get_mut(position) {
                if let (true, 1, Some((start, place))) =
                    (*tip, parsed.entry.parents.len(), runs.get(position))
                {
                    run = (*start, place + 1);
                }
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
        runs.push(run);
    }
    let tips = is_tip.iter().enumerate().filter(|(_, tip)| **tip).map(|(index, _)| index).collect();
    Ok(Links { parents, principals: principals.of.clone(), ids, tips, runs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(parents: &[&[usize]]) -> Links {
        let mut continued = vec![false; parents.len()];
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (index, of) in parents.iter().enumerate() {
            runs.push(match of {
                [one] if !continued[*one] => (runs[*one].0, runs[*one].1 + 1),
                _ => (index, 0),
            });
            of.iter().for_each(|parent| continued[*parent] = true);
        }
        let parents = parents.iter().map(|of| of.iter().copied().collect()).collect();
        Links { parents, principals: Vec::new(), ids: HashMap::new(), tips: Vec::new(), runs }
    }

    /// By every way there is.
    fn plainly(parents: &[&[usize]], of: usize, ancestor: usize) -> bool {
        parents[of].iter().any(|parent| *parent == ancestor || plainly(parents, *parent, ancestor))
    }

    #[test]
    fn going_from_run_to_run_finds_what_every_way_finds() {
        let lineages: [&[&[usize]]; 4] = [
            &[&[], &[0], &[1], &[2]],
            &[&[], &[0], &[0], &[2, 1], &[3], &[1], &[5], &[6, 4], &[7]],
            &[&[], &[0], &[1], &[1], &[3], &[2], &[4], &[], &[7, 5], &[8, 6]],
            &[&[], &[], &[1], &[0], &[2, 3], &[2], &[5], &[4]],
        ];
        for parents in lineages {
            let links = links(parents);
            for of in 0..parents.len() {
                for ancestor in 0..parents.len() {
                    let found = links.descends(of, ancestor, &mut links.steps()).unwrap();
                    assert_eq!(found, plainly(parents, of, ancestor), "{parents:?} {of} {ancestor}");
                }
            }
        }
    }

    #[test]
    fn a_chain_costs_one_step_and_no_steps_are_an_error() {
        let links = links(&[&[], &[0], &[1], &[2]]);
        let mut steps = Steps { limit: 1, left: 1 };
        assert!(links.descends(3, 0, &mut steps).unwrap());
        let error = links.descends(3, 0, &mut steps).unwrap_err();
        assert!(matches!(error, VerifyFailure::TooManySteps { limit: 1 }), "{error}");
    }
}
