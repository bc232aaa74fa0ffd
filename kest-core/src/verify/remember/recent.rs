//! A map that forgets what was not asked for longest.

use std::collections::HashMap;

/// Values by the order in which they were put in or asked for last.
///
/// One goes where one comes, and not many at a time: allocators then find room of the same size.
///
/// INVARIANT: at most `most` values, and values that weigh at most `heaviest`, together.
pub(super) struct Recent<V> {
    places: HashMap<[u8; 32], usize>,
    slots: Vec<Slot<V>>,
    free: Vec<usize>,
    newest: Option<usize>,
    oldest: Option<usize>,
    weight: usize,
    most: usize,
    heaviest: usize,
}

/// A place for a value, between the one that was asked for after it and the one before.
struct Slot<V> {
    key: [u8; 32],
    /// None where the place is free.
    value: Option<V>,
    weight: usize,
    newer: Option<usize>,
    older: Option<usize>,
}

impl<V: Clone> Recent<V> {
    pub(super) fn new(most: usize, heaviest: usize) -> Self {
        Self {
            places: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: None,
            oldest: None,
            weight: 0,
            most,
            heaviest,
        }
    }

    pub(super) fn get(&mut self, key: &[u8; 32]) -> Option<V> {
        let place = *self.places.get(key)?;
        self.unlink(place);
        self.link(place);
        self.slots.get(place)?.value.clone()
    }

    /// Whether [`Self::get`] would find it. Nothing counts as asked for by this.
    pub(super) fn knows(&self, key: &[u8; 32]) -> bool {
        self.places.contains_key(key)
    }

    /// Keeps a value, in the place of one that had its key. One that is too heavy is not kept.
    pub(super) fn insert(&mut self, key: [u8; 32], value: V, weight: usize) {
        self.remove(&key);
        if self.most == 0 || weight > self.heaviest {
            return;
        }
        while self.places.len() >= self.most || self.weight.saturating_add(weight) > self.heaviest {
            let oldest = self.oldest.and_then(|oldest| self.slots.get(oldest)).map(|slot| slot.key);
            match oldest {
                Some(oldest) => self.remove(&oldest),
                None => return,
            }
        }
        let slot = Slot { key, value: Some(value), weight, newer: None, older: None };
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(free) = self.slots.get_mut(place) {
                    *free = slot;
                }
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.weight += weight;
        self.places.insert(key, place);
        self.link(place);
    }

    fn remove(&mut self, key: &[u8; 32]) {
        let Some(place) = self.places.remove(key) else { return };
        self.unlink(place);
        if let Some(slot) = self.slots.get_mut(place) {
            self.weight = self.weight.saturating_sub(slot.weight);
            slot.value = None;
        }
        self.free.push(place);
    }

    /// Takes a slot out of the order.
    fn unlink(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        let (newer, older) = (slot.newer.take(), slot.older.take());
        match newer.and_then(|newer| self.slots.get_mut(newer)) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        match older.and_then(|older| self.slots.get_mut(older)) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
    }

    /// Puts one that is in no order before all others.
    fn link(&mut self, place: usize) {
        let before = self.newest.replace(place);
        if let Some(slot) = self.slots.get_mut(place) {
            slot.older = before;
        }
        match before.and_then(|before| self.slots.get_mut(before)) {
            Some(before) => before.newer = Some(place),
            None => self.oldest = Some(place),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.most, self.heaviest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> [u8; 32] {
        [number; 32]
    }

    /// Newest first, by the one way and by the other.
    fn order<V: Clone>(kept: &Recent<V>) -> Vec<[u8; 32]> {
        let mut found = Vec::new();
        let mut next = kept.newest;
        while let Some(place) = next {
            let slot = &kept.slots[place];
            assert!(slot.value.is_some() && kept.places[&slot.key] == place);
            found.push(slot.key);
            next = slot.older;
        }
        let mut back = Vec::new();
        let mut next = kept.oldest;
        while let Some(place) = next {
            back.push(kept.slots[place].key);
            next = kept.slots[place].newer;
        }
        back.reverse();
        assert_eq!(found, back);
        assert_eq!((found.len(), kept.slots.len()), (kept.len(), kept.len() + kept.free.len()));
        found
    }

    proptest! {
        #[test]
        fn what_was_seen_last_is_kept_as_a_list_would_keep_it(
            most in 0_usize..6,
            steps in prop::collection::vec((0_u8..9, prop::option::of(0_usize..9)), 0..60),
        ) {
            const HEAVIEST: usize = 16;
            let mut kept = Recent::new(most, HEAVIEST);
            // Newest first: key, value, weight.
            let mut list: Vec<(u8, usize, usize)> = Vec::new();
            for (step, (number, weight)) in steps.into_iter().enumerate() {
                let at = list.iter().position(|(known, ..)| *known == number);
                let before = at.map(|at| list.remove(at));
                prop_assert_eq!(kept.knows(&key(number)), before.is_some());
                match weight.map(|weight| weight * 2 + 1) {
                    None => {
                        prop_assert_eq!(kept.get(&key(number)), before.map(|(_, value, _)| value));
                        list.splice(0..0, before);
                    }
                    Some(weight) => {
                        kept.insert(key(number), step, weight);
                        if most > 0 && weight <= HEAVIEST {
                            list.insert(0, (number, step, weight));
                        }
                        while list.len() > most || list.iter().map(|(.., weight)| weight).sum::<usize>() > HEAVIEST {
                            list.pop();
                        }
                    }
                }
                let expected: Vec<_> = list.iter().map(|(number, ..)| key(*number)).collect();
                prop_assert_eq!(order(&kept), expected);
                prop_assert_eq!(kept.weight, list.iter().map(|(.., weight)| weight).sum::<usize>());
            }
        }
    }

    #[test]
    fn what_is_cleared_is_gone_and_there_is_room_again() {
        let mut kept = Recent::new(2, 10);
        for number in 0..5 {
            kept.insert(key(number), number, 5);
        }
        assert_eq!((kept.len(), kept.get(&key(3)), kept.get(&key(2))), (2, Some(3), None));
        kept.clear();
        assert_eq!((kept.len(), kept.get(&key(3)), kept.weight), (0, None, 0));
        kept.insert(key(7), 7, 10);
        assert_eq!(order(&kept), [key(7)]);
    }

    #[test]
    fn one_that_became_too_heavy_is_gone() {
        let mut kept = Recent::new(8, 100);
        kept.insert(key(1), 1, 1);
        kept.insert(key(1), 2, 101);
        assert_eq!(kept.get(&key(1)), None, "the value before is no answer either");
    }

    #[test]
    fn nothing_fits_into_nothing() {
        let mut kept = Recent::new(0, 100);
        kept.insert(key(1), 1, 1);
        assert_eq!((kept.len(), kept.get(&key(1))), (0, None));
    }
}
