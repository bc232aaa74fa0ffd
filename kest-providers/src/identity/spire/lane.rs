//! One stream of the Workload API, as its users see it: what it brought last, and how to wait for the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::trouble::Trouble;

/// What a stream brings, swapped whole: no reader waits for a writer.
pub(super) struct Lane<T> {
    held: ArcSwapOption<T>,
    trouble: ArcSwapOption<Trouble>,
    progress: watch::Sender<Progress>,
    /// Wakes the stream's task from its pause between two attempts.
    retry: Notify,
    /// Whether somebody has waited in vain: then the next waits for one attempt only.
    in_vain: AtomicBool,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    holds: bool,
    settled: bool,
    attempts: u64,
}

impl<T> Lane<T> {
    pub(super) fn new() -> Self {
        Self {
            held: ArcSwapOption::empty(),
            trouble: ArcSwapOption::empty(),
            progress: watch::Sender::new(Progress::default()),
            retry: Notify::new(),
            in_vain: AtomicBool::new(false),
        }
    }

    /// What is held, without a lock and without touching its reference count.
    pub(super) fn load(&self) -> arc_swap::Guard<Option<Arc<T>>> {
        self.held.load()
    }

    /// What the agent answered last, if that was not what was asked for.
    pub(super) fn trouble(&self) -> Option<Arc<Trouble>> {
        self.trouble.load_full()
    }

    /// Holds something new, and gives back what was held before.
    pub(super) fn hold(&self, new: Arc<T>) -> Option<Arc<T>> {
        let old = self.held.swap(Some(new));
        self.trouble.store(None);
        self.in_vain.store(false, Ordering::Relaxed);
        self.progress.send_modify(|progress| {
            progress.holds = true;
            progress.settled = false;
            progress.attempts += 1;
        });
        old
    }

    /// Keeps what is held, and remembers what happened. Whether it is news is given back.
    pub(super) fn fail(&self, trouble: Trouble) -> bool {
        let settled = trouble.settled;
        let new = Arc::new(trouble);
        let old = self.trouble.swap(Some(Arc::clone(&new)));
        self.progress.send_modify(|progress| {
            progress.settled = settled;
            progress.attempts += 1;
        });
        old.is_none_or(|old| old != new)
    }

    /// Lets go of what is held, and of everybody who waits.
    pub(super) fn clear(&self, trouble: Trouble) {
        self.held.store(None);
        self.fail(trouble);
        self.progress.send_modify(|progress| progress.holds = false);
    }

    /// What tells those who wait when the stream's task has ended, in whatever way.
    pub(super) fn followed(&self) -> Followed<'_, T> {
        self.progress.send_modify(|progress| progress.settled = false);
        Followed(self)
    }

    /// Waits until something is held, the agent has settled that there is nothing, the stream's task has ended, or
    /// time is up.
    pub(super) async fn settle(&self, limit: Duration) {
        let mut progress = self.progress.subscribe();
        let before = progress.borrow().attempts;
        self.retry.notify_one();
        let in_vain = self.in_vain.load(Ordering::Relaxed);
        let settled = progress.wait_for(|now| now.holds || now.settled || (in_vain && now.attempts > before));
        if timeout(limit, settled).await.is_err() {
            self.in_vain.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until it is time for another attempt, or somebody wants one now.
    pub(super) async fn pause(&self, backoff: Duration) {
        // However many ask at once, the agent is not called more often than this.
        tokio::time::sleep(SHORTEST_PAUSE).await;
        // Time being up is as good as being asked.
        let _ = timeout(backoff.saturating_sub(SHORTEST_PAUSE), self.retry.notified()).await;
    }
}

/// Held by a stream's task for as long as it lives.
pub(super) struct Followed<'a, T>(&'a Lane<T>);

impl<T> Drop for Followed<'_, T> {
    fn drop(&mut self) {
        self.0.fail(Trouble { settled: true, ..Trouble::panicked() });
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    #[test]
    fn nobody_waits_for_a_task_that_has_ended() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let lane = Arc::new(Lane::<()>::new());
            let task = {
                let lane = Arc::clone(&lane);
                tokio::spawn(async move {
                    let _followed = lane.followed();
                    lane.retry.notified().await;
                    panic!("on purpose");
                })
            };
            timeout(WAIT, lane.settle(Duration::MAX)).await.unwrap();
            assert!(lane.trouble().unwrap().message.contains("panicked"));
            task.await.unwrap_err();
            // Another task, and those who wait are patient again.
            let _followed = lane.followed();
            timeout(Duration::from_millis(50), lane.settle(Duration::MAX)).await.unwrap_err();
        });
    }
}
