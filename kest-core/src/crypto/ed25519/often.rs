//! Keys that sign often get tables.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use ed25519_dalek::VerifyingKey;

use super::BackEnd;
use super::tables::Tables;

/// A library, and from its sixty-fourth good signature on the tables of the key, if there is room for them.
///
/// INVARIANT: both accept and refuse the same behind the checks of [`super::Ed25519`], so that nobody can tell from a
/// verdict how often a key was used.
#[derive(Clone)]
pub(in crate::crypto) struct Often<B>(Arc<Key<B>>);

struct Key<B> {
    library: B,
    point: VerifyingKey,
    /// Signatures that were good; goes round.
    good: AtomicU32,
    tables: OnceLock<Counted>,
}

/// By then tables have not cost more than they will save.
const OFTEN: u32 = 64;

impl<B: BackEnd> BackEnd for Often<B> {
    fn new(point: VerifyingKey) -> Option<Self> {
        let library = B::new(point)?;
        Some(Self(Arc::new(Key { library, point, good: AtomicU32::new(0), tables: OnceLock::new() })))
    }

    fn verify(&self, input: &[u8], signature: &[u8; 64]) -> bool {
        let Self(key) = self;
        if let Some(Counted(tables)) = key.tables.get() {
            return tables.verify(input, signature);
        }
        let good = key.library.verify(input, signature);
        // Only signatures that are good: nobody without the key makes others pay for its tables.
        if good && key.good.fetch_add(1, Ordering::Relaxed) % OFTEN == OFTEN - 1 {
            key.prepare();
        }
        good
    }
}

impl<B> Key<B> {
    fn prepare(&self) {
        if let Some(tables) = Counted::new(self.point) {
            let _ = self.tables.set(tables);
        }
    }
}

impl<B: fmt::Debug> fmt::Debug for Often<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key) = self;
        let tables = key.tables.get().is_some();
        f.debug_struct("Often").field("library", &key.library).field("tables", &tables).finish()
    }
}

/// Tables that count against what the process may keep.
struct Counted(Tables);

/// Tables that a process keeps at most: 8.4 MB.
const MOST: usize = 64;

static KEPT: AtomicUsize = AtomicUsize::new(0);

impl Counted {
    /// None where there are enough.
    fn new(point: VerifyingKey) -> Option<Self> {
        let room = |kept| (kept < MOST).then_some(kept + 1);
        KEPT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        let tables = Tables::new(point).map(Self);
        if tables.is_none() {
            KEPT.fetch_sub(1, Ordering::Relaxed);
        }
        tables
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::super::dalek::Dalek;
    use super::*;

    /// Counts what reaches the library.
    struct Asked(Dalek, AtomicU32);

    impl BackEnd for Asked {
        fn new(point: VerifyingKey) -> Option<Self> {
            Dalek::new(point).map(|library| Self(library, AtomicU32::new(0)))
        }

        fn verify(&self, input: &[u8], signature: &[u8; 64]) -> bool {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.verify(input, signature)
        }
    }

    #[test]
    fn only_good_signatures_count_and_then_the_library_is_left_alone() {
        let signing = SigningKey::from_bytes(&[7; 32]);
        let key = Often::<Asked>::new(signing.verifying_key()).unwrap();
        let signature = signing.sign(b"said").to_bytes();
        for _ in 0..2 * OFTEN {
            assert!(!key.verify(b"never said", &signature));
        }
        assert!(key.0.tables.get().is_none(), "wrong signatures made tables");
        for _ in 0..OFTEN {
            assert!(key.verify(b"said", &signature));
        }
        assert!(key.0.tables.get().is_some());
        assert!(key.verify(b"said", &signature) && !key.verify(b"never said", &signature));
        assert_eq!(key.0.library.1.load(Ordering::Relaxed), 3 * OFTEN);
    }
}
