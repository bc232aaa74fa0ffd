//! The cache in memory, and that the suite for caches finds what is wrong with one (spec §12).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kest_core::claim::{BoxFuture, ClaimCache, ClaimId};
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_providers::cache::MemoryCache;
use kest_providers::conformance::cache::{Check, run};

#[test]
fn the_cache_in_memory_conforms() {
    run(&MemoryCache::new()).unwrap();
    run(&Arc::new(MemoryCache::new().shared_in_process())).unwrap();
}

#[test]
fn what_it_keeps_is_bounded() {
    for cache in [MemoryCache::new().max_entries(10), MemoryCache::new().max_bytes(30)] {
        let ttl = Duration::from_secs(300);
        let kept = (0..1000).filter(|_| cache.put(&ClaimId::random(), "[1]", ttl).is_ok()).count();
        assert_eq!(kept, 10);
        let error = cache.put(&ClaimId::random(), "[1]", ttl).unwrap_err();
        assert_eq!(error.kind(), PropagationErrorKind::Cache);
    }
}

/// A cache that breaks one rule.
struct Broken {
    how: Check,
    kept: Mutex<HashMap<String, Arc<str>>>,
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.how {
            Check::Debug => write!(f, "{:?}", self.kept),
            _ => f.write_str("Broken"),
        }
    }
}

impl ClaimCache for Broken {
    fn put(&self, claim: &ClaimId, passport: &str, ttl: Duration) -> Result<(), PropagationError> {
        let key = match self.how {
            Check::Apart => passport.len().to_string(),
            _ => claim.key(),
        };
        let mut kept = self.kept.lock().unwrap();
        if kept.contains_key(&key) && !matches!(self.how, Check::Once | Check::Apart) {
            return Err(PropagationError::new(PropagationErrorKind::Cache, "taken"));
        }
        // Long enough for a claim of 300 s, and none at all for one of 50 ms.
        if ttl > Duration::from_secs(1) || self.how == Check::Ends {
            let text = if self.how == Check::Kept { passport.trim_end_matches('x') } else { passport };
            kept.insert(key, Arc::from(text));
        }
        Ok(())
    }

    fn get(&self, claim: &ClaimId) -> Result<Option<Arc<str>>, PropagationError> {
        let kept = self.kept.lock().unwrap();
        match self.how {
            Check::Unknown if !kept.contains_key(&claim.key()) => Ok(Some(Arc::from("[]"))),
            Check::Apart => Ok(kept.values().next().cloned()),
            _ => Ok(kept.get(&claim.key()).cloned()),
        }
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
        Box::pin(async move { if self.how == Check::AsyncForm { Ok(None) } else { self.get(claim) } })
    }

    fn is_shared(&self) -> bool {
        true
    }
}

#[test]
fn a_cache_that_breaks_a_rule_is_found_out() {
    for how in [Check::Kept, Check::Unknown, Check::Once, Check::AsyncForm, Check::Debug] {
        let broken = Broken { how, kept: Mutex::default() };
        let failure = run(&broken).unwrap_err();
        assert_eq!(failure.check(), how, "{failure}");
    }
    let one_for_all = Broken { how: Check::Apart, kept: Mutex::default() };
    assert!(matches!(run(&one_for_all).unwrap_err().check(), Check::Apart | Check::Kept));
}
