//! Branches: futures, streams and threads that take the tips when they are made. Spec §5.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_core::Stream;
use pin_project_lite::pin_project;

use super::inside::Inside;
use super::scope::{self, Entered, OpenScope, Scope};

/// A branch of the current scope; `None` outside any scope, where each call is its own root.
pub(super) fn branch() -> Option<Arc<OpenScope>> {
    let parent = scope::current()?;
    let env = Arc::clone(parent.env());
    Some(Arc::new(OpenScope::new(Scope::branch(&parent, env))))
}

/// Carries the lineage into futures and streams that run elsewhere or later.
pub trait LineageExt: Sized {
    /// Takes the tips **now**: what runs inside comes after them, whatever its siblings do in between,
    /// and flows back when it ends; what a stream has done flows back with each item. Spec §5.
    fn in_lineage(self) -> InLineage<Self> {
        InLineage { inside: Inside::new(self, branch()) }
    }
}

impl<T> LineageExt for T {}

pin_project! {
    /// A future or a stream in a branch of its own. Made by [`LineageExt::in_lineage`].
    #[derive(Debug)]
    #[must_use = "futures and streams do nothing unless polled"]
    pub struct InLineage<T> {
        #[pin]
        inside: Inside<T>,
    }
}

impl<F: Future> Future for InLineage<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.project().inside.poll(cx)
    }
}

impl<S: Stream> Stream for InLineage<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let mut inside = self.project().inside;
        let polled = inside.as_mut().within(|stream| stream.poll_next(cx)).unwrap_or(Poll::Ready(None));
        match &polled {
            // Whoever works on the item comes after what made it.
            Poll::Ready(Some(_)) => inside.flow(),
            Poll::Ready(None) => drop(inside.finish()),
            Poll::Pending => {}
        }
        polled
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inside.inner().map_or((0, Some(0)), Stream::size_hint)
    }
}

/// A branch to be entered on other threads. What happens in it flows back whenever a guard is dropped.
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
        Self(branch())
    }

    /// Enters the branch on the calling thread until the guard is dropped.
    pub fn enter(&self) -> LineageGuard {
        LineageGuard { _entered: self.0.as_ref().map(|branch| branch.enter()), branch: self.0.clone() }
    }
}

/// Keeps the calling thread in a captured branch. Fields drop in order: left first, then closed.
#[derive(Debug)]
#[must_use = "the branch is left when the guard is dropped"]
pub struct LineageGuard {
    _entered: Option<Entered>,
    branch: Option<Arc<OpenScope>>,
}

impl Drop for LineageGuard {
    fn drop(&mut self) {
        // The handle may live on; who waits for the thread must not wait for the handle.
        if let Some(branch) = &self.branch {
            branch.scope.flow();
        }
    }
}
