//! `spawn`: a tokio task in a branch of its own. Spec §5.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::{AbortHandle, JoinError};

use super::branch::branch;
use super::inside::Inside;
use super::scope::OpenScope;

/// Spawns a tokio task that keeps the lineage: it takes the tips **now**, and its own entries flow back
/// when it is joined, or, if its handle was dropped, when it ends.
///
/// A bare `tokio::spawn` carries no lineage: what runs there is a root.
///
/// # Panics
/// Outside a tokio runtime, as `tokio::spawn` does.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let branch = branch();
    let task = tokio::spawn(Inside::new(future, branch.clone()));
    JoinHandle { task, branch }
}

/// Waits for a task started by [`spawn`]. Dropping it detaches the task, which goes on.
#[derive(Debug)]
pub struct JoinHandle<T> {
    task: tokio::task::JoinHandle<T>,
    // INVARIANT: the branch closes, and so flows back, when both sides have let go of it.
    branch: Option<Arc<OpenScope>>,
}

impl<T> JoinHandle<T> {
    /// Cancels the task, as [`tokio::task::JoinHandle::abort`] does.
    pub fn abort(&self) {
        self.task.abort();
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// A handle that can cancel the task from elsewhere.
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        self.task.abort_handle()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.task).poll(cx);
        if polled.is_ready() {
            self.branch = None;
        }
        polled
    }
}
