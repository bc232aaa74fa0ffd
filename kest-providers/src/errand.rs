//! Work that one task does for all who ask, and goes on with when nobody waits any more.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bridge::BridgeError;

/// One piece of work on the bridge, done once at a time. Whoever stops waiting for it does not end it: where it takes longer than
/// anybody waits, it is done all the same, and once.
#[derive(Debug)]
pub(crate) struct Errand<T> {
    latest: Mutex<Option<Run<T>>>,
    /// How long an outcome that came when nobody waited is good for whoever asks next.
    kept: Duration,
}

#[derive(Clone, Debug)]
struct Run<T> {
    outcome: watch::Receiver<Option<(Instant, T)>>,
    /// Whether somebody has the outcome.
    taken: Arc<AtomicBool>,
}

const KEPT: Duration = Duration::from_secs(10);

impl<T> Default for Errand<T> {
    fn default() -> Self {
        Self { latest: Mutex::new(None), kept: KEPT }
    }
}

impl<T: Clone + Send + Sync + 'static> Errand<T> {
    /// What comes of the work: that which is under way, or a new one. `late` says whether an outcome may be given to
    /// somebody who asks after it came.
    ///
    /// # Errors
    /// When the work panicked.
    pub(crate) async fn outcome<F>(
        &self,
        late: fn(&T) -> bool,
        work: impl FnOnce() -> F,
    ) -> Result<T, BridgeError>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let Run { mut outcome, taken } = {
            let mut latest = self.latest.lock();
            match latest.as_ref().filter(|run| run.serves(self.kept, late)) {
                Some(run) => run.clone(),
                None => latest.insert(Run::begin(work(), false)).clone(),
            }
        };
        let done = outcome.wait_for(Option::is_some).await;
        let done = done.ok().and_then(|done| done.as_ref().map(|(_, outcome)| outcome.clone()));
        taken.store(true, Ordering::Relaxed);
        done.ok_or(BridgeError::Panicked)
    }

    /// Sees to it that the work is under way. Its outcome is for those who ask meanwhile.
    #[cfg(feature = "avp")]
    pub(crate) fn begin<F>(&self, work: impl FnOnce() -> F)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut latest = self.latest.lock();
        if !latest.as_ref().is_some_and(Run::under_way) {
            *latest = Some(Run::begin(work(), true));
        }
    }
}

impl<T: Send + Sync + 'static> Run<T> {
    fn begin(work: impl Future<Output = T> + Send + 'static, taken: bool) -> Self {
        let (done, outcome) = watch::channel(None);
        tokio::spawn(async move {
            let outcome = work.await;
            // Nobody asks any more if this fails.
            let _ = done.send(Some((Instant::now(), outcome)));
        });
        Self { outcome, taken: Arc::new(AtomicBool::new(taken)) }
    }

    #[cfg(any(test, feature = "avp"))]
    fn under_way(&self) -> bool {
        // Its sender is gone where it panicked.
        self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok()
    }

    fn serves(&self, kept: Duration, late: fn(&T) -> bool) -> bool {
        match &*self.outcome.borrow() {
            Some((at, outcome)) => {
                !self.taken.load(Ordering::Relaxed) && at.elapsed() < kept && late(outcome)
            }
            None => self.outcome.has_changed().is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::*;

    /// Work that counts, and ends when it is let go.
    #[derive(Clone)]
    struct Work {
        begun: Arc<AtomicUsize>,
        go: Arc<Semaphore>,
    }

    impl Work {
        fn new() -> Self {
            Self { begun: Arc::default(), go: Arc::new(Semaphore::new(0)) }
        }

        async fn run(self) -> usize {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            self.go.acquire().await.unwrap().forget();
            number
        }

        async fn waited(&self, errand: &Errand<usize>) -> usize {
            errand.outcome(|_| true, || self.clone().run()).await.unwrap()
        }

        /// For a moment.
        async fn asked(&self, errand: &Errand<usize>, late: bool) -> Option<usize> {
            let late: fn(&usize) -> bool = if late { |_| true } else { |_| false };
            let outcome = errand.outcome(late, || self.clone().run());
            timeout(Duration::from_millis(20), outcome).await.ok().map(Result::unwrap)
        }
    }

    #[tokio::test]
    async fn who_stops_waiting_does_not_end_the_work() {
        let (errand, work) = (Errand::default(), Work::new());
        for _ in 0..5 {
            assert_eq!(work.asked(&errand, true).await, None);
        }
        assert_eq!(work.begun.load(Ordering::SeqCst), 1);
        let both = async { tokio::join!(work.waited(&errand), work.waited(&errand)) };
        let (both, ()) = tokio::join!(biased; both, async { work.go.add_permits(1) });
        assert_eq!(both, (1, 1));
        // It is not a cache: what somebody has is old for the next.
        assert_eq!(work.asked(&errand, true).await, None);
        assert_eq!(work.begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn what_came_when_nobody_waited_is_for_the_next_and_for_a_while() {
        for (kept, late, given) in [(KEPT, true, true), (KEPT, false, false), (Duration::ZERO, true, false)] {
            let (errand, work) = (Errand { kept, ..Errand::default() }, Work::new());
            assert_eq!(work.asked(&errand, late).await, None);
            work.go.add_permits(1);
            while errand.latest.lock().as_ref().unwrap().under_way() {
                tokio::task::yield_now().await;
            }
            assert_eq!(work.asked(&errand, late).await, given.then_some(1), "{kept:?} {late}");
            assert_eq!(work.asked(&errand, late).await, None);
            assert_eq!(work.begun.load(Ordering::SeqCst), 2);
        }
    }

    #[cfg(feature = "avp")]
    #[tokio::test]
    async fn what_is_begun_ahead_is_for_who_asks_meanwhile() {
        let (errand, work) = (Errand::default(), Work::new());
        for _ in 0..3 {
            errand.begin(|| work.clone().run());
        }
        let (waited, ()) = tokio::join!(biased; work.waited(&errand), async { work.go.add_permits(1) });
        assert_eq!((waited, work.begun.load(Ordering::SeqCst)), (1, 1));
        errand.begin(|| work.clone().run());
        work.go.add_permits(1);
        while errand.latest.lock().as_ref().unwrap().under_way() {
            tokio::task::yield_now().await;
        }
        assert_eq!(work.asked(&errand, true).await, None);
        assert_eq!(work.begun.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_next_work_begins() {
        let errand = Errand::default();
        let failed = errand.outcome(|_: &u8| true, || async { panic!("on purpose") }).await;
        assert!(matches!(failed, Err(BridgeError::Panicked)));
        assert_eq!(errand.outcome(|_| true, || async { 1 }).await.unwrap(), 1);
    }
}
