//! An executor of nobody's run-time: what runs on it may not lean on one.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Runs a future on this thread.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    block_on_timed(future).0
}

/// [`block_on`], and how long the longest poll took: a future that blocks takes all its time in one.
pub(super) fn block_on_timed<F: Future>(future: F) -> (F::Output, Duration) {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let mut longest = Duration::ZERO;
    loop {
        let begun = Instant::now();
        let poll = future.as_mut().poll(&mut context);
        longest = longest.max(begun.elapsed());
        match poll {
            Poll::Ready(output) => return (output, longest),
            Poll::Pending => thread::park(),
        }
    }
}

/// Polls a future once and drops it, as a caller does who gives up.
pub(super) fn begin_and_drop<F: Future>(future: F) {
    let mut context = Context::from_waker(Waker::noop());
    // Whether it is ready says nothing here.
    let _ = pin!(future).as_mut().poll(&mut context);
}
