//! Work that many may ask for and one does.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Gives all who ask while the work is under way the same result.
#[derive(Debug)]
pub(crate) struct Flight<T> {
    begun: AtomicU64,
    landed: AtomicU64,
    /// The last result, and the number of its beginning.
    last: Mutex<Option<(u64, T)>>,
}

impl<T: Clone> Flight<T> {
    pub(crate) fn new() -> Self {
        Self { begun: AtomicU64::new(0), landed: AtomicU64::new(0), last: Mutex::new(None) }
    }

    /// Does the work, or waits for the result of whoever is at it.
    pub(crate) async fn join<F: Future<Output = T>>(&self, work: impl FnOnce() -> F) -> T {
        let seen = self.landed.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        if let Some((_, result)) = last.as_ref().filter(|_| self.landed.load(Ordering::Acquire) != seen) {
            return result.clone();
        }
        self.fly(&mut last, work).await
    }

    /// Does the work after whoever is at it, or takes the result of who began after this was called: all who wait
    /// share the next one.
    pub(crate) async fn anew<F: Future<Output = T>>(&self, work: impl FnOnce() -> F) -> T {
        let asked = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some((_, result)) = last.as_ref().filter(|(begun, _)| *begun > asked) {
            return result.clone();
        }
        self.fly(&mut last, work).await
    }

    /// Does the work, unless somebody is at it.
    pub(crate) async fn alone<F: Future<Output = T>>(&self, work: impl FnOnce() -> F) -> Option<T> {
        let mut last = self.last.try_lock().ok()?;
        Some(self.fly(&mut last, work).await)
    }

    async fn fly<F: Future<Output = T>>(&self, last: &mut Option<(u64, T)>, work: impl FnOnce() -> F) -> T {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let result = work().await;
        *last = Some((number, result.clone()));
        self.landed.fetch_add(1, Ordering::Release);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_anew_share_the_next_work() {
        let (flight, gate, done) = (Flight::new(), Notify::new(), Cell::new(0));
        let work = || async {
            gate.notified().await;
            done.set(done.get() + 1);
            done.get()
        };
        let (under_way, later) =
            (flight.anew(work), (flight.anew(work), flight.anew(work), flight.anew(work)));
        // Polled in this order: the first begins before the others ask. Its result is too old for them.
        let opened = async {
            gate.notify_one();
            tokio::task::yield_now().await;
            gate.notify_one();
        };
        let (first, second, third, fourth, ()) =
            tokio::join!(biased; under_way, later.0, later.1, later.2, opened);
        assert_eq!((first, second, third, fourth), (1, 2, 2, 2));
        gate.notify_one();
        assert_eq!(flight.anew(work).await, 3, "who asks after that gets none of them");
    }
}
