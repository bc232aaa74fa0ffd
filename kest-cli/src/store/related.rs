//! Entries of a store with all that they build on.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use kest_providers::audit::{Filter, Store, Stored};

use super::{position, unreadable};
use crate::entry::Shown;
use crate::input::Unusable;

type Hash = [u8; 32];

/// Entries, every parent before its children.
#[derive(Debug)]
pub(crate) struct Related {
    pub(crate) entries: Vec<Shown>,
    pub(crate) stored: Vec<Stored>,
    /// Of each entry the parents that are there, by index.
    pub(crate) parents: Vec<Vec<usize>>,
    /// Of each entry the parents that are not in the store.
    pub(crate) outside: Vec<Vec<String>>,
    /// How many places that were come across could not be read.
    pub(crate) unread: u64,
}

/// Gathers entries, and everything in the store that they build on.
///
/// # Errors
/// When the store cannot be read, or there are more than `most`.
pub(crate) fn gather(store: &Store, start: Vec<Stored>, most: usize) -> Result<Related, Unusable> {
    let mut found = Found { known: HashMap::new(), wanted: HashSet::new(), most, unread: 0 };
    for stored in start {
        found.add(stored)?;
    }
    found.wanted.retain(|hash| !found.known.contains_key(hash));
    // A store has nearly every parent before its children, so that one walk back finds them all.
    let back = Filter { newest_first: true, ..Filter::default() };
    let mut more = !found.wanted.is_empty();
    while more {
        more = false;
        let mut listing = store.list(&back).map_err(unreadable)?;
        for stored in listing.by_ref() {
            let stored = stored.map_err(unreadable)?;
            if found.wanted.remove(&stored.hash) {
                found.add(stored)?;
                more = !found.wanted.is_empty();
            }
            if found.wanted.is_empty() {
                break;
            }
        }
        // Each walk goes over the same places.
        found.unread = found.unread.max(listing.unread());
    }
    Ok(found.in_order())
}

struct Found {
    known: HashMap<Hash, (Stored, Shown)>,
    wanted: HashSet<Hash>,
    most: usize,
    unread: u64,
}

impl Found {
    fn add(&mut self, stored: Stored) -> Result<(), Unusable> {
        let mut shown = Shown::read(0, &stored.jws);
        // INVARIANT: the hash that was computed, so that no entry comes before itself.
        let Some(hash) = unhex(&shown.hash) else { return Ok(()) };
        if hash != stored.hash {
            shown.problem = Some("the store has it under another hash: it was edited".to_owned());
        }
        self.wanted.extend(
            shown
                .parents
                .iter()
                .filter_map(|parent| unhex(parent))
                .filter(|parent| !self.known.contains_key(parent)),
        );
        self.known.entry(hash).or_insert((stored, shown));
        if self.known.len() > self.most {
            return Err(Unusable(format!(
                "that is more than {} entries; ask for fewer, such as by --entry or a shorter time",
                self.most
            )));
        }
        Ok(())
    }

    fn in_order(self) -> Related {
        let mut all: Vec<(Stored, Shown)> = self.known.into_values().collect();
        all.sort_by_cached_key(|(stored, _)| position(&stored.place));
        let places: HashMap<&str, usize> =
            all.iter().enumerate().map(|(index, (_, shown))| (shown.hash.as_str(), index)).collect();
        let mut parents = Vec::with_capacity(all.len());
        let mut outside = Vec::with_capacity(all.len());
        for (_, shown) in &all {
            let mut distinct = HashSet::new();
            let (mut here, mut gone) = (Vec::new(), Vec::new());
            for parent in shown.parents.iter().filter(|parent| distinct.insert(parent.as_str())) {
                match places.get(parent.as_str()) {
                    Some(index) => here.push(*index),
                    None => gone.push(parent.clone()),
                }
            }
            parents.push(here);
            outside.push(gone);
        }
        let order = order(&parents);
        let mut rank = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            if let Some(rank) = rank.get_mut(*old) {
                *rank = new;
            }
        }
        let mut slots: Vec<_> = all.into_iter().zip(parents).zip(outside).map(Some).collect();
        let mut related = Related {
            entries: Vec::with_capacity(order.len()),
            stored: Vec::with_capacity(order.len()),
            parents: Vec::with_capacity(order.len()),
            outside: Vec::with_capacity(order.len()),
            unread: self.unread,
        };
        for (new, old) in order.into_iter().enumerate() {
            let Some((((stored, mut shown), parents), gone)) = slots.get_mut(old).and_then(Option::take)
            else {
                continue;
            };
            shown.index = new;
            related.entries.push(shown);
            related.stored.push(stored);
            related.parents.push(parents.iter().filter_map(|parent| rank.get(*parent).copied()).collect());
            related.outside.push(gone);
        }
        related
    }
}

/// Every parent before its children, else as they stand in the store.
fn order(parents: &[Vec<usize>]) -> Vec<usize> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); parents.len()];
    let mut missing: Vec<usize> = parents.iter().map(Vec::len).collect();
    for (child, parents) in parents.iter().enumerate() {
        for parent in parents {
            if let Some(children) = children.get_mut(*parent) {
                children.push(child);
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        missing.iter().enumerate().filter(|(_, missing)| **missing == 0).map(|(at, _)| Reverse(at)).collect();
    let mut order = Vec::with_capacity(parents.len());
    while let Some(Reverse(next)) = ready.pop() {
        order.push(next);
        for child in children.get(next).into_iter().flatten() {
            if let Some(missing) = missing.get_mut(*child) {
                *missing -= 1;
                if *missing == 0 {
                    ready.push(Reverse(*child));
                }
            }
        }
    }
    order
}

/// 32 bytes of 64 lowercase hex digits.
pub(crate) fn unhex(text: &str) -> Option<Hash> {
    let nibble = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut hash = [0; 32];
    if pairs.len() != hash.len() {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(hash)
}

/// A hash in lowercase hex.
pub(crate) fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_else_the_order_stays() {
        let of =
            |parents: &[&[usize]]| order(&parents.iter().map(|parents| parents.to_vec()).collect::<Vec<_>>());
        assert_eq!(of(&[&[], &[0], &[], &[2, 1]]), [0, 1, 2, 3]);
        assert_eq!(of(&[&[1], &[2], &[]]), [2, 1, 0]);
        assert_eq!(of(&[&[3], &[], &[], &[]]), [1, 2, 3, 0]);
    }

    #[test]
    fn hashes_are_read_in_one_form() {
        let hash = [0xab; 32];
        assert_eq!(unhex(&hex(&hash)), Some(hash));
        for text in ["", "ab", &hex(&hash).to_uppercase(), &format!("{}a", hex(&hash))] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }
}
