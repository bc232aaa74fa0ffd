//! Work that many may ask for and one does.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Gives all who ask while the work is under way the same result.
#[derive(Debug)]
pub(crate) struct Flight<T> {
    landed: AtomicU64,
    last: Mutex<Option<T>>,
}

impl<T: Clone> Flight<T> {
    pub(crate) fn new() -> Self {
        Self { landed: AtomicU64::new(0), last: Mutex::new(None) }
    }

    /// Does the work, or waits for the result of whoever is at it.
    pub(crate) async fn join<F: Future<Output = T>>(&self, work: impl FnOnce() -> F) -> T {
        let seen = self.landed.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        if let Some(result) = last.as_ref().filter(|_| self.landed.load(Ordering::Acquire) != seen) {
            return result.clone();
        }
        self.land(&mut last, work().await)
    }

    /// Does the work from its beginning, after whoever is at it.
    pub(crate) async fn anew<F: Future<Output = T>>(&self, work: impl FnOnce() -> F) -> T {
        let mut last = self.last.lock().await;
        self.land(&mut last, work().await)
    }

    /// Does the work, unless somebody is at it.
    pub(crate) async fn alone<F: Future<Output = T>>(&self, work: impl FnOnce() -> F) -> Option<T> {
        let mut last = self.last.try_lock().ok()?;
        Some(self.land(&mut last, work().await))
    }

    fn land(&self, last: &mut Option<T>, result: T) -> T {
        *last = Some(result.clone());
        self.landed.fetch_add(1, Ordering::Release);
        result
    }
}
