//! A future or stream that runs, and is dropped, inside a scope.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::scope::{OpenScope, Parked};

pin_project! {
    /// The value, and the scope it is polled and dropped in; without one it runs where it is polled.
    #[derive(Debug)]
    pub(super) struct Inside<T> {
        #[pin]
        inner: Option<T>,
        // INVARIANT: the scope closes, and so flows back, when its last owner lets go of it.
        open: Option<Arc<OpenScope>>,
        parked: Parked,
    }

    impl<T> PinnedDrop for Inside<T> {
        fn drop(this: Pin<&mut Self>) {
            this.finish();
        }
    }
}

impl<T> Inside<T> {
    pub(super) fn new(inner: T, open: Option<Arc<OpenScope>>) -> Self {
        Self { inner: Some(inner), open, parked: Parked::default() }
    }

    /// Sets the scope, before the first poll.
    pub(super) fn open(self: Pin<&mut Self>, open: OpenScope) {
        *self.project().open = Some(Arc::new(open));
    }

    pub(super) fn inner(&self) -> Option<&T> {
        self.inner.as_ref()
    }

    /// Calls `f` with the value inside the scope; `None` when the value has ended.
    pub(super) fn within<R>(self: Pin<&mut Self>, f: impl FnOnce(Pin<&mut T>) -> R) -> Option<R> {
        let this = self.project();
        let inner = this.inner.as_pin_mut()?;
        let entered = this.open.as_ref().map(|open| open.enter());
        if let Some(entered) = &entered {
            entered.resume(this.parked);
        }
        let result = f(inner);
        if let Some(entered) = entered {
            entered.suspend(this.parked);
        }
        Some(result)
    }

    /// Hands what has happened so far to the scope around.
    pub(super) fn flow(&self) {
        if let Some(open) = &self.open {
            open.scope.flow();
        }
    }

    /// Drops the value inside the scope and gives the scope back. What destructors call belongs to the lineage.
    pub(super) fn finish(self: Pin<&mut Self>) -> Option<Arc<OpenScope>> {
        let mut this = self.project();
        let entered = this.open.as_ref().map(|open| open.enter());
        this.inner.set(None);
        drop(entered);
        this.open.take()
    }
}

impl<F: Future> Future for Inside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let polled = self.as_mut().within(|future| future.poll(cx)).unwrap_or(Poll::Pending);
        if polled.is_ready() {
            self.finish();
        }
        polled
    }
}
