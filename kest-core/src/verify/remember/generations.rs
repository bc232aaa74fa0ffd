//! A map that forgets what was not asked for lately.

use std::collections::HashMap;
use std::mem;

/// Two generations: what is new or was asked for is in the young one. When that is full it becomes the old one, and
/// what was in the old one is forgotten.
///
/// INVARIANT: at most `most` values, and values that weigh at most `weight`, in the two together.
pub(super) struct Generations<V> {
    young: Generation<V>,
    old: Generation<V>,
    most: usize,
    weight: usize,
}

struct Generation<V> {
    values: HashMap<[u8; 32], (V, usize)>,
    weight: usize,
}

impl<V> Default for Generation<V> {
    fn default() -> Self {
        Self { values: HashMap::new(), weight: 0 }
    }
}

impl<V: Clone> Generations<V> {
    pub(super) fn new(most: usize, weight: usize) -> Self {
        Self { young: Generation::default(), old: Generation::default(), most, weight }
    }

    pub(super) fn get(&mut self, key: &[u8; 32]) -> Option<V> {
        if let Some((value, _)) = self.young.values.get(key) {
            return Some(value.clone());
        }
        let (value, weight) = self.old.values.remove(key)?;
        self.old.weight = self.old.weight.saturating_sub(weight);
        self.put(*key, value.clone(), weight);
        Some(value)
    }

    /// Keeps a value, in the place of one that had its key.
    pub(super) fn insert(&mut self, key: [u8; 32], value: V, weight: usize) {
        for generation in [&mut self.young, &mut self.old] {
            if let Some((_, weight)) = generation.values.remove(&key) {
                generation.weight = generation.weight.saturating_sub(weight);
            }
        }
        self.put(key, value, weight);
    }

    fn put(&mut self, key: [u8; 32], value: V, weight: usize) {
        let (most, heaviest) = (self.most / 2, self.weight / 2);
        if most == 0 || weight > heaviest {
            return;
        }
        if self.young.values.len() >= most || self.young.weight.saturating_add(weight) > heaviest {
            self.old = mem::take(&mut self.young);
        }
        self.young.weight += weight;
        self.young.values.insert(key, (value, weight));
    }

    pub(super) fn len(&self) -> usize {
        self.young.values.len() + self.old.values.len()
    }

    pub(super) fn clear(&mut self) {
        (self.young, self.old) = (Generation::default(), Generation::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> [u8; 32] {
        [number; 32]
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten() {
        let mut kept = Generations::new(8, usize::MAX);
        for number in 0..100 {
            kept.insert(key(number), number, 1);
            assert_eq!(kept.get(&key(0)), Some(0), "{number}");
            assert!(kept.len() <= 8, "{number}");
        }
        assert_eq!(kept.get(&key(50)), None);
        assert_eq!(kept.get(&key(99)), Some(99));
        kept.clear();
        assert_eq!((kept.len(), kept.get(&key(99))), (0, None));
    }

    #[test]
    fn weight_is_bounded_whatever_is_replaced() {
        let mut kept = Generations::new(1_000, 100);
        for number in 0..100_u8 {
            for weight in [30, 10, 50] {
                kept.insert(key(number % 7), weight, weight);
                let sum = |generation: &Generation<usize>| {
                    generation.values.values().map(|(_, weight)| weight).sum::<usize>()
                };
                assert_eq!((kept.young.weight, kept.old.weight), (sum(&kept.young), sum(&kept.old)));
                assert!(kept.young.weight <= 50 && kept.old.weight <= 50);
                assert_eq!(kept.get(&key(number % 7)), Some(weight));
            }
        }
        kept.insert(key(200), 51, 51);
        assert_eq!(kept.get(&key(200)), None, "heavier than a generation");
    }

    #[test]
    fn one_that_became_too_heavy_is_gone() {
        let mut kept = Generations::new(8, 100);
        kept.insert(key(1), 1, 1);
        kept.insert(key(1), 2, 51);
        assert_eq!(kept.get(&key(1)), None, "the value before is no answer either");
    }

    #[test]
    fn nothing_fits_into_nothing() {
        let mut kept = Generations::new(1, 100);
        kept.insert(key(1), 1, 1);
        assert_eq!((kept.len(), kept.get(&key(1))), (0, None));
    }
}
