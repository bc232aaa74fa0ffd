//! What every cache for claim checks keeps to. Spec §12.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kest_core::claim::{ClaimCache, ClaimId, TTL};

use super::executor::block_on;

/// One rule of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// What was kept is given back byte for byte, as often as it is asked for: small, large, and not ASCII.
    Kept,
    /// A claim that was never given is none, and no error.
    Unknown,
    /// One claim does not answer for another.
    Apart,
    /// What is kept under a claim is never replaced.
    Once,
    /// After its time it is gone.
    Ends,
    /// The async forms do the same, on no particular run-time.
    AsyncForm,
    /// Many threads can use it at once.
    Concurrency,
    /// `Debug` shows no passport and no claim.
    Debug,
}

/// A rule that a cache breaks.
pub type ConformanceFailure = super::ConformanceFailure<Check>;

/// Holds a cache to every rule. It keeps some hundred claims, of at most 1 MiB each, for [`TTL`].
///
/// # Errors
/// The first rule that the cache breaks.
pub fn run(cache: &dyn ClaimCache) -> Result<(), ConformanceFailure> {
    kept(cache)?;
    unknown(cache)?;
    once(cache)?;
    ends(cache)?;
    async_form(cache)?;
    concurrency(cache)?;
    debug(cache)
}

const SMALL: &str = "[\"a.b.c\"]";

fn failed(check: Check, detail: impl fmt::Display) -> ConformanceFailure {
    ConformanceFailure::new("the claim cache", check, detail)
}

fn put(cache: &dyn ClaimCache, check: Check, text: &str) -> Result<ClaimId, ConformanceFailure> {
    let claim = ClaimId::random();
    cache.put(&claim, text, TTL).map_err(|error| failed(check, error))?;
    Ok(claim)
}

fn gives(
    cache: &dyn ClaimCache,
    check: Check,
    claim: &ClaimId,
    expected: &str,
) -> Result<(), ConformanceFailure> {
    match cache.get(claim).map_err(|error| failed(check, error))? {
        Some(text) if &*text == expected => Ok(()),
        Some(text) => {
            Err(failed(check, format!("of {} bytes it gives back {} others", expected.len(), text.len())))
        }
        None => Err(failed(check, "what was kept is not there")),
    }
}

fn kept(cache: &dyn ClaimCache) -> Result<(), ConformanceFailure> {
    let mut all = Vec::new();
    for text in [SMALL.to_owned(), "ä\r\n\0€".to_owned(), "x".repeat(1 << 20)] {
        all.push((put(cache, Check::Kept, &text)?, text));
    }
    for _ in 0..2 {
        for (claim, text) in &all {
            gives(cache, Check::Kept, claim, text)?;
        }
    }
    let one = put(cache, Check::Apart, "[1]")?;
    let other = put(cache, Check::Apart, "[2]")?;
    gives(cache, Check::Apart, &one, "[1]")?;
    gives(cache, Check::Apart, &other, "[2]")
}

fn unknown(cache: &dyn ClaimCache) -> Result<(), ConformanceFailure> {
    match cache.get(&ClaimId::random()) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(failed(Check::Unknown, "it gives something for a claim that was never given")),
        Err(error) => Err(failed(Check::Unknown, error)),
    }
}

fn once(cache: &dyn ClaimCache) -> Result<(), ConformanceFailure> {
    let claim = put(cache, Check::Once, SMALL)?;
    if cache.put(&claim, "[]", TTL).is_ok() {
        return Err(failed(Check::Once, "it takes a second passport under the same claim"));
    }
    gives(cache, Check::Once, &claim, SMALL)
}

fn ends(cache: &dyn ClaimCache) -> Result<(), ConformanceFailure> {
    let claim = ClaimId::random();
    let deadline = Instant::now() + Duration::from_secs(10);
    cache.put(&claim, SMALL, Duration::from_millis(50)).map_err(|error| failed(Check::Ends, error))?;
    while cache.get(&claim).map_err(|error| failed(Check::Ends, error))?.is_some() {
        if Instant::now() > deadline {
            return Err(failed(Check::Ends, "a claim for 50 ms is still there after 10 s"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn async_form(cache: &dyn ClaimCache) -> Result<(), ConformanceFailure> {
    let claim = ClaimId::random();
    let wrong = |error| failed(Check::AsyncForm, error);
    block_on(cache.put_async(&claim, SMALL, TTL)).map_err(wrong)?;
    gives(cache, Check::AsyncForm, &claim, SMALL)?;
    match block_on(cache.get_async(&claim)).map_err(wrong)? {
        Some(text) if &*text == SMALL => {}
        _ => return Err(failed(Check::AsyncForm, "it does not give back what was kept")),
    }
    match block_on(cache.get_async(&ClaimId::random())).map_err(wrong)? {
        None => Ok(()),
        Some(_) => Err(failed(Check::AsyncForm, "it gives something for a claim that was never given")),
    }
}

fn concurrency(cache: &dyn ClaimCache) -> Result<(), ConformanceFailure> {
    const THREADS: usize = 8;
    const CLAIMS: usize = 16;
    let work = |thread: usize| {
        let mut all = Vec::new();
        for number in 0..CLAIMS {
            let text: Arc<str> = Arc::from(format!("[{thread},{number}]"));
            all.push((put(cache, Check::Concurrency, &text)?, text));
        }
        all.iter().try_for_each(|(claim, text)| gives(cache, Check::Concurrency, claim, text))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| failed(Check::Concurrency, "a thread that used it panicked"))?
        })
    })
}

fn debug(cache: &dyn ClaimCache) -> Result<(), ConformanceFailure> {
    const TEXT: &str = "[\"eyJzZWNyZXQiOnRydWV9.e30.c2VjcmV0\"]";
    let claim = put(cache, Check::Debug, TEXT)?;
    let shown = format!("{cache:?}");
    if shown.contains("eyJzZWNyZXQi") || shown.contains(&claim.to_wire()) || shown.len() > 1_000 {
        return Err(failed(Check::Debug, "it shows what it keeps, or too much"));
    }
    Ok(())
}
