//! Packed forms that were written lately: several calls of one scope send the same lineage.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::settings::Packed;

/// By SHA-256 of the form and the whole text, from which alone the packed form follows. Shared by clones.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Generations>>);

/// What was asked for or written since the last change, and what was before.
#[derive(Default)]
struct Generations {
    young: HashMap<[u8; 32], Form>,
    old: HashMap<[u8; 32], Form>,
}

/// What became of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Value(Arc<str>),
    /// So many bytes, more than any value may have.
    TooLong(usize),
}

/// Of a generation: with two of them and 4 KiB a value, half a MiB.
const MOST: usize = 64;

impl Kept {
    /// The packed form of a text, of at most `limit` bytes; made by `pack` if it is not known.
    pub(super) fn form<E>(
        &self,
        packed: Packed,
        text: &str,
        limit: usize,
        pack: impl FnOnce() -> Result<String, E>,
    ) -> Result<Form, E> {
        let kind: u8 = match packed {
            Packed::Zlib => 0,
            Packed::Dense => 1,
        };
        let key: [u8; 32] = Sha256::new().chain_update([kind]).chain_update(text).finalize().into();
        if let Some(known) = self.get(&key) {
            return Ok(known);
        }
        let value = pack()?;
        let form = match value.len() {
            length if length > limit => Form::TooLong(length),
            _ => Form::Value(value.into()),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(key, form.clone());
        Ok(form)
    }

    fn get(&self, key: &[u8; 32]) -> Option<Form> {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = generations.young.get(key) {
            return Some(known.clone());
        }
        let known = generations.old.remove(key)?;
        generations.put(*key, known.clone());
        Some(known)
    }
}

impl Generations {
    fn put(&mut self, key: [u8; 32], form: Form) {
        if self.young.len() >= MOST {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, form);
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kept: &Kept, packed: Packed, text: &str, made: &str) -> Form {
        kept.form(packed, text, 8, || Ok::<_, ()>(made.to_owned())).unwrap()
    }

    #[test]
    fn a_text_is_packed_once_in_each_form() {
        let kept = Kept::default();
        assert_eq!(of(&kept, Packed::Zlib, "a", "1"), Form::Value("1".into()));
        assert_eq!(of(&kept.clone(), Packed::Zlib, "a", "2"), Form::Value("1".into()));
        assert_eq!(of(&kept, Packed::Dense, "a", "3"), Form::Value("3".into()));
        assert_eq!(of(&kept, Packed::Zlib, "b", "4"), Form::Value("4".into()));
        assert_eq!(kept.form(Packed::Zlib, "c", 8, || Err("no")), Err("no"));
        assert_eq!(of(&kept, Packed::Zlib, "c", "5"), Form::Value("5".into()));
    }

    #[test]
    fn of_what_is_too_long_the_length_is_kept() {
        let kept = Kept::default();
        assert_eq!(of(&kept, Packed::Zlib, "a", "12345678"), Form::Value("12345678".into()));
        assert_eq!(of(&kept, Packed::Zlib, "b", "123456789"), Form::TooLong(9));
        assert_eq!(of(&kept, Packed::Zlib, "b", ""), Form::TooLong(9));
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let kept = Kept::default();
        for number in 0..10 * MOST {
            of(&kept, Packed::Zlib, &number.to_string(), "1");
            assert_eq!(of(&kept, Packed::Zlib, "0", "2"), Form::Value("1".into()), "{number}");
            let generations = kept.0.lock().unwrap();
            assert!(generations.young.len() <= MOST && generations.old.len() <= MOST, "{number}");
        }
        assert_eq!(of(&kept, Packed::Zlib, "1", "2"), Form::Value("2".into()));
    }
}
