//! A call that is allowed and signed: its body runs, and what happened flows back. Spec §5, §6 steps 10–11.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::{fmt, mem};

use opentelemetry::KeyValue;
use pin_project_lite::pin_project;

use super::prepare::Prepared;
use super::{Mode, now};
use crate::call::Recorded;
use crate::error::Error;
use crate::lineage::scope::{Entered, OpenScope, Parked, Scope};
use crate::passport::Node;
use crate::telemetry::{CallSpan, Outcome};

/// A call whose entry is signed. Dropping it ends it: its scope flows back, its span gets its outcome.
pub struct Live(Box<State>);

struct State {
    open: OpenScope,
    call: Box<Prepared>,
    span: CallSpan,
    /// What the span says when nobody says otherwise: the body was dropped.
    outcome: Outcome,
    /// Scopes that the body entered and, while it is suspended, has not left.
    parked: Parked,
}

impl Live {
    pub(super) fn new(call: Box<Prepared>, entry: Arc<Node>, span: CallSpan) -> Self {
        let scope =
            Scope::body(call.scope.as_ref(), Arc::clone(&call.env), call.parents.clone(), Arc::clone(&entry));
        if span.is_recording() {
            span.set(call.attributes(&entry));
            if call.shows_passport() {
                span.set([KeyValue::new("kest.passport", scope.passport().serialize())]);
            }
        }
        if entry.depth() == LONG_CHAIN {
            tracing::warn!(
                target: "kest",
                operation = %call.operation,
                "the lineage is {LONG_CHAIN} entries long and stays in memory as a whole: \
                 start one with `kest::root(…)` for each job of a loop"
            );
        }
        let open = OpenScope::under(scope, span.context());
        Self(Box::new(State { open, call, span, outcome: Outcome::Cancelled, parked: Parked::default() }))
    }

    fn enter(&self) -> Entered {
        self.0.open.enter()
    }

    pub(super) fn run<R>(mut self, is_error: impl FnOnce(&R) -> bool, body: impl FnOnce() -> R) -> R {
        // What a panic leaves behind; unwinding drops `self`.
        self.0.outcome = Outcome::Panic;
        let entered = self.enter();
        let value = body();
        drop(entered);
        self.0.outcome = if is_error(&value) { Outcome::Error } else { Outcome::Ok };
        value
    }

    pub(super) fn run_recorded<R: Recorded>(mut self, body: impl FnOnce() -> R) -> (R, Result<(), Error>) {
        self.0.outcome = Outcome::Panic;
        let entered = self.enter();
        let value = body();
        drop(entered);
        let output = value.recorded();
        self.0.outcome = if matches!(output, Ok(None)) { Outcome::Error } else { Outcome::Ok };
        let completed = now(self.0.call.complete(&self.0.open.scope, output, Mode::Blocking));
        (value, completed)
    }
}

/// Depth at which a lineage gets a warning. Spec §17.
const LONG_CHAIN: u32 = 10_000;

impl Drop for State {
    fn drop(&mut self) {
        self.span.end(self.outcome);
        // `open` closes the scope when it is dropped with the other fields.
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("operation", &self.0.call.operation).finish_non_exhaustive()
    }
}

/// Runs the body of an async function in the scope of its call.
pub fn in_scope<F: Future>(live: Live, is_error: fn(&F::Output) -> bool, body: F) -> InScope<F> {
    InScope { body: Some(body), live: Some(live), is_error }
}

pin_project! {
    /// The future of [`in_scope`].
    #[must_use = "futures do nothing unless polled"]
    pub struct InScope<F: Future> {
        #[pin]
        body: Option<F>,
        live: Option<Live>,
        is_error: fn(&F::Output) -> bool,
    }

    impl<F: Future> PinnedDrop for InScope<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            drop_in_scope(this.body.as_mut(), this.live.as_ref());
        }
    }
}

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let polled = poll_in_scope(this.body.as_mut(), this.live.as_mut(), cx);
        if let Poll::Ready(value) = &polled {
            let outcome = if (this.is_error)(value) { Outcome::Error } else { Outcome::Ok };
            drop_in_scope(this.body.as_mut(), this.live.as_ref());
            if let Some(mut live) = this.live.take() {
                live.0.outcome = outcome;
            }
        }
        polled
    }
}

impl<F: Future> fmt::Debug for InScope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InScope").field("live", &self.live).finish_non_exhaustive()
    }
}

/// Polls the body inside its scope; a panic is told from a drop by the outcome it leaves behind.
fn poll_in_scope<F: Future>(
    body: Pin<&mut Option<F>>,
    live: Option<&mut Live>,
    cx: &mut TaskContext<'_>,
) -> Poll<F::Output> {
    let (Some(body), Some(live)) = (body.as_pin_mut(), live) else { return Poll::Pending };
    let before = mem::replace(&mut live.0.outcome, Outcome::Panic);
    let entered = live.enter();
    entered.resume(&mut live.0.parked);
    let polled = body.poll(cx);
    entered.suspend(&mut live.0.parked);
    live.0.outcome = before;
    polled
}

/// Drops the body inside its scope, so that what its destructors call belongs to the lineage.
fn drop_in_scope<F>(mut body: Pin<&mut Option<F>>, live: Option<&Live>) {
    if body.is_some() {
        let entered = live.map(Live::enter);
        body.set(None);
        drop(entered);
    }
}

/// [`in_scope`] with `record_output`.
pub fn in_scope_recorded<F, D>(live: Live, denied: D, body: F) -> InScopeRecorded<F, D>
where
    F: Future,
    F::Output: Recorded,
    D: FnOnce(Error) -> F::Output,
{
    InScopeRecorded {
        body: Some(body),
        live: Some(live),
        denied: Some(denied),
        value: None,
        completing: None,
    }
}

/// Gives the call back with the result of signing its completion.
type Completing = Pin<Box<dyn Future<Output = (Live, Result<(), Error>)> + Send>>;

pin_project! {
    /// The future of [`in_scope_recorded`].
    #[must_use = "futures do nothing unless polled"]
    pub struct InScopeRecorded<F: Future, D> {
        #[pin]
        body: Option<F>,
        live: Option<Live>,
        denied: Option<D>,
        value: Option<F::Output>,
        completing: Option<Completing>,
    }

    impl<F: Future, D> PinnedDrop for InScopeRecorded<F, D> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            drop_in_scope(this.body.as_mut(), this.live.as_ref());
        }
    }
}

impl<F, D> Future for InScopeRecorded<F, D>
where
    F: Future,
    F::Output: Recorded,
    D: FnOnce(Error) -> F::Output,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if this.completing.is_none() {
            let Poll::Ready(value) = poll_in_scope(this.body.as_mut(), this.live.as_mut(), cx) else {
                return Poll::Pending;
            };
            drop_in_scope(this.body.as_mut(), this.live.as_ref());
            let output = value.recorded();
            *this.value = Some(value);
            if let Some(mut live) = this.live.take() {
                live.0.outcome = if matches!(output, Ok(None)) { Outcome::Error } else { Outcome::Ok };
                *this.completing = Some(Box::pin(async move {
                    let completed = live.0.call.complete(&live.0.open.scope, output, Mode::Async).await;
                    (live, completed)
                }));
            }
        }
        let Some(completing) = this.completing else { return Poll::Pending };
        let Poll::Ready((live, completed)) = completing.as_mut().poll(cx) else { return Poll::Pending };
        drop(live);
        *this.completing = None;
        match (completed, this.value.take(), this.denied.take()) {
            (Err(error), _, Some(denied)) => Poll::Ready(denied(error)),
            (Ok(()), Some(value), _) => Poll::Ready(value),
            // Polled again after it was ready.
            (Ok(()), None, _) | (Err(_), _, None) => Poll::Pending,
        }
    }
}

impl<F: Future, D> fmt::Debug for InScopeRecorded<F, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InScopeRecorded").field("live", &self.live).finish_non_exhaustive()
    }
}
