//! Where a call waits for its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use crate::audit::failure::Failure;

/// Where one call waits.
#[derive(Default)]
pub(super) struct Slot {
    done: AtomicBool,
    pub(super) inner: Mutex<Inner>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) result: Option<Result<(), Failure>>,
    pub(super) waker: Option<Waker>,
    pub(super) queued: bool,
    pub(super) in_room: bool,
    /// Has its deadline.
    pub(super) timed: bool,
}

impl Slot {
    pub(super) fn finish(&self, result: Result<(), Failure>) {
        let waker = {
            let mut inner = self.inner.lock();
            if self.done.swap(true, Ordering::AcqRel) {
                return;
            }
            inner.result = Some(result);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub(super) fn has_room(&self) {
        let waker = {
            let mut inner = self.inner.lock();
            inner.in_room = false;
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A call that waits; when it gives up, the writer need not write.
pub(super) struct Waiting(pub(super) Arc<Slot>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::Release);
    }
}
