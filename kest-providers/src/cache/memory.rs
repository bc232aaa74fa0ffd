//! Claims in this process.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kest_core::claim::{BoxFuture, ClaimCache, ClaimId};
use kest_core::error::{PropagationError, PropagationErrorKind};
use parking_lot::Mutex;

const ENTRIES: usize = 10_000;
const BYTES: usize = 64 << 20;

/// Keeps claims in this process: at most 10,000 and 64 MiB of them.
///
/// What is kept stays until its time is over; when there is no room, a new claim is refused. Other services cannot
/// read it, so that it serves for reading claims that this process wrote, and for tests.
pub struct MemoryCache {
    entries: usize,
    bytes: usize,
    readers: Readers,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readers {
    Own,
    ServicesInProcess,
}

#[derive(Default)]
struct State {
    kept: HashMap<ClaimId, Kept>,
    /// What ends when; the number tells apart what ends at the same time.
    ends: BTreeMap<(Instant, u64), ClaimId>,
    bytes: usize,
    number: u64,
}

struct Kept {
    passport: Arc<str>,
    end: Instant,
}

impl MemoryCache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self { entries: ENTRIES, bytes: BYTES, readers: Readers::Own, state: Mutex::default() }
    }

    /// The most claims that are kept at once: 10,000.
    #[must_use]
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.entries = entries;
        self
    }

    /// The most bytes of passports that are kept at once: 64 MiB.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Says that all receivers of claim checks run in this process and read this very cache.
    #[must_use]
    pub fn shared_in_process(mut self) -> Self {
        self.readers = Readers::ServicesInProcess;
        self
    }

    fn put_at(
        &self,
        now: Instant,
        claim: &ClaimId,
        passport: &str,
        ttl: Duration,
    ) -> Result<(), PropagationError> {
        let Some(end) = now.checked_add(ttl) else {
            return Err(refused("a claim cannot be kept for that long; lower `claim_ttl`"));
        };
        let mut state = self.state.lock();
        state.forget(now);
        if state.kept.contains_key(claim) {
            return Err(refused("another passport is kept under this claim"));
        }
        let bytes = state.bytes.saturating_add(passport.len());
        if state.kept.len() >= self.entries || bytes > self.bytes {
            return Err(refused(&format!(
                "the claim cache in memory is full ({} claims, {} bytes); raise `max_entries` or `max_bytes`, or \
                 lower `claim_ttl`",
                state.kept.len(),
                state.bytes
            )));
        }
        state.bytes = bytes;
        state.number += 1;
        let number = state.number;
        state.ends.insert((end, number), claim.clone());
        state.kept.insert(claim.clone(), Kept { passport: Arc::from(passport), end });
        Ok(())
    }

    fn get_at(&self, now: Instant, claim: &ClaimId) -> Option<Arc<str>> {
        let state = self.state.lock();
        state.kept.get(claim).filter(|kept| kept.end > now).map(|kept| Arc::clone(&kept.passport))
    }
}

impl State {
    /// Drops what has ended.
    fn forget(&mut self, now: Instant) {
        while let Some(first) = self.ends.first_entry() {
            if first.key().0 > now {
                return;
            }
            if let Some(kept) = self.kept.remove(&first.remove()) {
                self.bytes = self.bytes.saturating_sub(kept.passport.len());
            }
        }
    }
}

impl Default for MemoryCache {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCache")
            .field("max_entries", &self.entries)
            .field("max_bytes", &self.bytes)
            .field("readers", &self.readers)
            .finish_non_exhaustive()
    }
}

impl ClaimCache for MemoryCache {
    fn put(&self, claim: &ClaimId, passport: &str, ttl: Duration) -> Result<(), PropagationError> {
        self.put_at(Instant::now(), claim, passport, ttl)
    }

    fn get(&self, claim: &ClaimId) -> Result<Option<Arc<str>>, PropagationError> {
        Ok(self.get_at(Instant::now(), claim))
    }

    fn put_async<'a>(
        &'a self,
        claim: &'a ClaimId,
        passport: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), PropagationError>> {
        Box::pin(async move { self.put(claim, passport, ttl) })
    }

    fn get_async<'a>(
        &'a self,
        claim: &'a ClaimId,
    ) -> BoxFuture<'a, Result<Option<Arc<str>>, PropagationError>> {
        Box::pin(ready(self.get(claim)))
    }

    fn is_shared(&self) -> bool {
        match self.readers {
            Readers::Own => false,
            Readers::ServicesInProcess => true,
        }
    }
}

fn refused(message: &str) -> PropagationError {
    PropagationError::new(PropagationErrorKind::Cache, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_claim_is_kept_until_its_time_is_over_and_no_longer() {
        let (cache, now, claim) = (MemoryCache::new(), Instant::now(), ClaimId::random());
        cache.put_at(now, &claim, "[]", second(300)).unwrap();
        for _ in 0..2 {
            assert_eq!(cache.get_at(now + second(299), &claim).as_deref(), Some("[]"));
        }
        assert_eq!(cache.get_at(now + second(300), &claim), None);
        assert_eq!(cache.get_at(now, &ClaimId::random()), None);
    }

    #[test]
    fn when_it_is_full_a_new_claim_is_refused_until_one_has_ended() {
        let now = Instant::now();
        for cache in [MemoryCache::new().max_entries(2), MemoryCache::new().max_bytes(5)] {
            let first = ClaimId::random();
            cache.put_at(now, &first, "[1]", second(1)).unwrap();
            cache.put_at(now, &ClaimId::random(), "[]", second(9)).unwrap();
            let error = cache.put_at(now, &ClaimId::random(), "[]", second(9)).unwrap_err();
            assert_eq!(error.kind(), PropagationErrorKind::Cache);
            assert!(error.to_string().contains("`max_entries` or `max_bytes`"), "{error}");
            assert_eq!(
                cache.get_at(now, &first).as_deref(),
                Some("[1]"),
                "nothing made room for what was refused"
            );
            cache.put_at(now + second(1), &ClaimId::random(), "[]", second(9)).unwrap();
            assert_eq!(cache.state.lock().bytes, 4);
        }
    }

    #[test]
    fn a_claim_is_never_replaced_and_never_kept_for_ever() {
        let (cache, now, claim) = (MemoryCache::new(), Instant::now(), ClaimId::random());
        cache.put_at(now, &claim, "[]", second(300)).unwrap();
        let error = cache.put_at(now, &claim, "[1]", second(300)).unwrap_err();
        assert!(error.to_string().contains("under this claim"), "{error}");
        assert_eq!(cache.get_at(now, &claim).as_deref(), Some("[]"));
        let error = cache.put_at(now, &ClaimId::random(), "[]", Duration::MAX).unwrap_err();
        assert!(error.to_string().contains("`claim_ttl`"), "{error}");
    }

    #[test]
    fn nobody_else_reads_it_unless_that_is_said() {
        assert!(!MemoryCache::new().is_shared());
        assert!(MemoryCache::new().shared_in_process().is_shared());
    }
}
