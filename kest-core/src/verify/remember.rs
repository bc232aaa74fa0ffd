//! What was checked before, so that a lineage that comes in again costs its new entries. Spec §12, §13.
//!
//! Only facts are kept that hold forever, each under all that it follows from:
//!
//! - **An entry**, under the SHA-256 of its compact JWS: how it reads, and the one key under which its signature was
//!   good. How a text reads follows from the text. What else decides, the limits and whether mock entries are accepted,
//!   is looked at again. Whether a signature is good follows from the text, which names the algorithm, and the key.
//! - **A certificate chain**, under the digests of the chain, of the authorities and of the principal: the leaf's key,
//!   and from when to when it holds. At another time it is validated anew.
//! - **A key**, under its SubjectPublicKeyInfo: what is worked out of it.
//!
//! INVARIANT: nothing here says whose key it is. Keys and authorities of principals are asked for in every
//! verification, and links, semantics, authority, limits and time are checked as ever. So whatever is forgotten,
//! replaced or pushed out by others costs time, and changes no verdict.

mod recent;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use self::recent::Recent;
use super::certificate::SpeaksUntil;
use super::jose::Parsed;
use super::key::{Key, KeyPrint};
use crate::jws::sha256;
use crate::keys::{Jwk, KeyError};

/// A bounded memory of signatures that were good, shared by its clones and by all verifiers that were
/// [given it](super::VerifierBuilder::remember). A verification with it has the same verdict and the same report as
/// one without.
///
/// What an entry takes counts too: on average there is room for 4 KiB, so that of larger ones fewer are remembered.
#[derive(Clone)]
pub struct Remembered(Arc<Memory>);

struct Memory {
    /// By the first byte of the hash. Never none.
    entries: Box<[Mutex<Recent<Parsed>>]>,
    chains: Mutex<Recent<Arc<SpeaksUntil>>>,
    keys: Mutex<Recent<Arc<Key>>>,
}

/// What an entry may take that counts as one.
const ENTRY_BYTES: usize = 4_096;
/// Entries of a part, from which on there are several.
const PART: usize = 512;
const PARTS: usize = 16;
const CHAINS: usize = 1_024;
const KEYS: usize = 256;

impl Remembered {
    /// Remembers at most so many entries: those that were seen last. (Many are kept in several parts, which fill up one
    /// sooner than the other.)
    #[must_use]
    pub fn new(entries: usize) -> Self {
        let parts = (entries / PART).clamp(1, PARTS);
        let each = entries / parts;
        let part = || Mutex::new(Recent::new(each, each.saturating_mul(ENTRY_BYTES)));
        Self(Arc::new(Memory {
            entries: (0..parts).map(|_| part()).collect(),
            chains: Mutex::new(Recent::new(CHAINS.min(entries), usize::MAX)),
            keys: Mutex::new(Recent::new(KEYS, usize::MAX)),
        }))
    }

    /// How many entries are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.entries.iter().map(|part| part.lock().len()).sum()
    }

    /// Whether no entry is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.0.entries.iter().for_each(|part| part.lock().clear());
        self.0.chains.lock().clear();
        self.0.keys.lock().clear();
    }

    /// The entry of that hash, as it was read.
    pub(super) fn entry(&self, hash: &[u8; 32]) -> Option<Parsed> {
        self.part(hash)?.lock().get(hash)
    }

    /// Whether [`Self::entry`] would have found it. Nothing counts as asked for by this.
    pub(super) fn knows(&self, hash: &[u8; 32]) -> bool {
        self.part(hash).is_some_and(|part| part.lock().knows(hash))
    }

    /// Remembers that the signature of an entry is good under this key.
    pub(super) fn good(&self, parsed: &Parsed, under: KeyPrint) {
        let mut kept = parsed.clone();
        kept.good_under = Some(under);
        if let Some(part) = self.part(&parsed.hash) {
            part.lock().insert(parsed.hash, kept, parsed.weight());
        }
    }

    fn part(&self, hash: &[u8; 32]) -> Option<&Mutex<Recent<Parsed>>> {
        let parts = &self.0.entries;
        let [first, ..] = hash;
        parts.get(usize::from(*first) % parts.len())
    }

    pub(super) fn chain(&self, id: &ChainId) -> Option<Arc<SpeaksUntil>> {
        self.0.chains.lock().get(&id.0)
    }

    /// Remembers that a chain was validated.
    pub(super) fn speaks(&self, id: &ChainId, speaks: &Arc<SpeaksUntil>) {
        self.0.chains.lock().insert(id.0, Arc::clone(speaks), 1);
    }

    /// The key, ready to be used.
    pub(super) fn key(&self, jwk: Jwk) -> Result<Arc<Key>, KeyError> {
        let print = KeyPrint::of(&jwk);
        // The same key may be there for another algorithm or under another `kid`.
        let known = self.0.keys.lock().get(print.bytes()).filter(|known| known.jwk == jwk);
        if let Some(known) = known {
            return Ok(known);
        }
        let key = Arc::new(Key::new(jwk)?);
        self.0.keys.lock().insert(*print.bytes(), Arc::clone(&key), 1);
        Ok(key)
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").field("entries", &self.len()).finish()
    }
}

/// What the validity of a chain follows from, but for the time.
pub(super) struct ChainId([u8; 32]);

impl ChainId {
    pub(super) fn new(chain: &[u8; 32], authorities: &[u8; 32], principal: &str) -> Self {
        Self(sha256(&[&chain[..], &authorities[..], principal.as_bytes()].concat()))
    }
}

#[cfg(test)]
mod tests;
