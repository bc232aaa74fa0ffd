//! Branches: futures, streams and threads that take the tips when they are made. Spec §5.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_core::Stream;
use pin_project_lite::pin_project;

use super::scope::{self, Entered, OpenScope, Scope};

/// A branch of the current scope; `None` outside any scope, where each call is its own root.
pub(super) fn branch() -> Option<OpenScope> {
    let parent = scope::current()?;
    let env = Arc::clone(parent.env());
    Some(OpenScope::new(Scope::branch(&parent, env)))
}

/// Carries the lineage into futures and streams that run elsewhere or later.
pub trait LineageExt: Sized {
    /// Takes the tips **now**: what runs inside comes after them, whatever its siblings do in between,
    /// and flows back when it ends. Spec §5.
    fn in_lineage(self) -> InLineage<Self> {
        InLineage { inner: Some(self), branch: branch() }
    }
}

impl<T> LineageExt for T {}

pin_project! {
    /// A future or a stream in a branch of its own. Made by [`LineageExt::in_lineage`].
    #[derive(Debug)]
    #[must_use = "futures and streams do nothing unless polled"]
    pub struct InLineage<T> {
        #[pin]
        inner: Option<T>,
        branch: Option<OpenScope>,
    }

    impl<T> PinnedDrop for InLineage<T> {
        fn drop(this: Pin<&mut Self>) {
            this.finish();
        }
    }
}

impl<T> InLineage<T> {
    /// Drops the inner value inside the branch, then closes the branch.
    fn finish(self: Pin<&mut Self>) {
        let mut this = self.project();
        let entered = this.branch.as_ref().map(OpenScope::enter);
        this.inner.set(None);
        drop(entered);
        this.branch.take();
    }
}

impl<F: Future> Future for InLineage<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        let entered = this.branch.as_ref().map(OpenScope::enter);
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Pending };
        let polled = inner.poll(cx);
        drop(entered);
        if polled.is_ready() {
            self.finish();
        }
        polled
    }
}

impl<S: Stream> Stream for InLineage<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let this = self.as_mut().project();
        let entered = this.branch.as_ref().map(OpenScope::enter);
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
        let polled = inner.poll_next(cx);
        drop(entered);
        if matches!(polled, Poll::Ready(None)) {
            self.finish();
        }
        polled
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.as_ref().map_or((0, Some(0)), Stream::size_hint)
    }
}

/// A branch to be entered on other threads. It flows back when the last handle and guard are dropped.
///
/// ```
/// # use kest_core::lineage::Lineage;
/// let lineage = Lineage::capture();
/// std::thread::spawn(move || {
///     let _in_lineage = lineage.enter();
///     // protected calls made here come after those made before `capture`
/// });
/// ```
#[derive(Debug, Clone)]
#[must_use = "a captured lineage does nothing until it is entered"]
pub struct Lineage(Option<Arc<OpenScope>>);

impl Lineage {
    /// Takes the tips now. Outside any scope there is nothing to take, and entering changes nothing.
    pub fn capture() -> Self {
        Self(branch().map(Arc::new))
    }

    /// Enters the branch on the calling thread until the guard is dropped.
    pub fn enter(&self) -> LineageGuard {
        LineageGuard { _entered: self.0.as_ref().map(|branch| branch.enter()), _branch: self.0.clone() }
    }
}

/// Keeps the calling thread in a captured branch. Fields drop in order: left first, then closed.
#[derive(Debug)]
#[must_use = "the branch is left when the guard is dropped"]
pub struct LineageGuard {
    _entered: Option<Entered>,
    _branch: Option<Arc<OpenScope>>,
}
