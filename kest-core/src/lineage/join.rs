//! `join!`: futures that run side by side, each in a branch of its own. Spec §5.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::{InLineage, LineageExt};

pin_project! {
    /// A branch and, once it has ended, its value. What [`join!`](crate::join) is made of.
    #[derive(Debug)]
    #[doc(hidden)]
    pub struct MaybeDone<F: Future> {
        #[pin]
        future: InLineage<F>,
        value: Option<F::Output>,
        done: bool,
    }
}

impl<F: Future> MaybeDone<F> {
    /// Takes the tips now.
    pub fn new(future: F) -> Self {
        Self { future: future.in_lineage(), value: None, done: false }
    }

    /// Polls until done; true when done.
    pub fn poll_done(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let this = self.project();
        if !*this.done
            && let Poll::Ready(value) = this.future.poll(cx)
        {
            *this.value = Some(value);
            *this.done = true;
        }
        *this.done
    }

    /// The value, once.
    pub fn take(self: Pin<&mut Self>) -> Option<F::Output> {
        self.project().value.take()
    }
}

/// Waits for several futures, each a branch that takes its tips when `join!` is reached.
///
/// Gives a tuple of their values. The next protected call has the last entries of all branches as parents.
/// Unlike with `tokio::join!`, branches fork even when one of them ends without suspending.
///
/// ```
/// # async fn a() -> u8 { 1 } async fn b() -> u8 { 2 }
/// # async fn run() {
/// let (x, y) = kest_core::join!(a(), b());
/// # }
/// ```
#[macro_export]
macro_rules! join {
    // One name for each future, made by hygiene: every recursion brings a fresh `branch`.
    (@munch [$(($name:ident $done:expr))*]) => {{
        $(let mut $name = ::core::pin::pin!($done);)*
        ::core::future::poll_fn(|cx| {
            let mut all_done = true;
            $(all_done &= $name.as_mut().poll_done(cx);)*
            if all_done {
                if let ($(::core::option::Option::Some($name),)*) = ($($name.as_mut().take(),)*) {
                    return ::core::task::Poll::Ready(($($name,)*));
                }
            }
            ::core::task::Poll::Pending
        })
        .await
    }};
    (@munch [$($done:tt)*] $next:expr $(, $rest:expr)*) => {
        $crate::join!(@munch [$($done)* (branch $crate::lineage::MaybeDone::new($next))] $($rest),*)
    };
    ($($future:expr),+ $(,)?) => {
        $crate::join!(@munch [] $($future),+)
    };
}
