//! What `#[kest_verified]` calls: the pipeline of spec §6, top to bottom.
//!
//! identity, engine, lineage, context (`given`), trust, taints (`prepare`) → policies, tier by tier (`plan`,
//! `decide`) → **sign** (`write`) → audit → append → **run the body** (`live`) → completion → flow back.

mod completion;
mod decide;
mod denial;
mod given;
mod live;
mod plan;
mod prepare;
mod snapshot;
mod trust;
mod write;

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub(crate) use denial::DenialBudget;
pub use live::{Live, in_scope, in_scope_recorded};

use crate::audit::{AuditRecord, AuditSink};
use crate::call::{Invocation, Recorded};
use crate::error::{Error, IdentityError, IdentityErrorKind, LineageError, LineageErrorKind};
use crate::identity::IdentityProvider;
use crate::jws::Jws;
use crate::passport::{Node, Tips};
use crate::taint::TaintSet;
use crate::telemetry::CallSpan;
use prepare::Prepared;

/// Largest entry, in bytes of its compact JWS. Spec §17.
const MAX_ENTRY_BYTES: usize = 64 * 1024;

/// Everything before the body of a protected call of a function that is not async.
///
/// # Errors
/// Why the body must not run.
pub fn begin_sync(invocation: Invocation) -> Result<Live, Error> {
    now(begin_as(invocation, Mode::Blocking))
}

/// Runs the body of a function that is not async in the scope of its call.
pub fn run_in_scope<R>(live: Live, is_error: impl FnOnce(&R) -> bool, body: impl FnOnce() -> R) -> R {
    live.run(is_error, body)
}

/// A protected call with `record_output` of a function that is not async.
pub fn call_sync_recorded<R: Recorded>(
    invocation: Invocation,
    denied: impl FnOnce(Error) -> R,
    body: impl FnOnce() -> R,
) -> R {
    match begin_sync(invocation) {
        Err(error) => denied(error),
        Ok(live) => match live.run_recorded(body) {
            (value, Ok(())) => value,
            (_, Err(error)) => denied(error),
        },
    }
}

/// Everything before the body of a protected call of an async function.
pub fn begin(invocation: Invocation) -> Begin {
    Begin(Box::pin(begin_as(invocation, Mode::Async)))
}

/// The future of [`begin`]; boxed, so that it does not swell the future of the protected function.
#[must_use = "futures do nothing unless polled"]
pub struct Begin(Pin<Box<dyn Future<Output = Result<Live, Error>> + Send>>);

impl Future for Begin {
    type Output = Result<Live, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Begin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Begin")
    }
}

/// How a step waits for providers, engines and sinks.
#[derive(Debug, Clone, Copy)]
enum Mode {
    /// On the calling thread. INVARIANT: a pipeline in this mode never suspends, see [`now`].
    Blocking,
    /// By suspending.
    Async,
}

/// Runs a pipeline in blocking mode: one text serves sync and async calls, so that they cannot drift apart.
fn now<T>(pipeline: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match pin!(pipeline).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(IdentityError::new(
            IdentityErrorKind::Signing,
            "a blocking call was suspended; this is a defect of kest, please report it",
        )
        .into()),
    }
}

async fn begin_as(invocation: Invocation, mode: Mode) -> Result<Live, Error> {
    let span = CallSpan::start(invocation.span_name());
    match decide_and_sign(invocation, mode, &span).await {
        Ok((call, entry)) => Ok(Live::new(call, entry, span)),
        Err(error) => {
            span.refused(&error);
            Err(error)
        }
    }
}

async fn decide_and_sign(
    mut invocation: Invocation,
    mode: Mode,
    span: &CallSpan,
) -> Result<(Box<Prepared>, Arc<Node>), Error> {
    if let Mode::Async = mode
        && let Some(identity) = prepare::identity_in_force(&invocation)
    {
        if let Some(ready) = identity.ready() {
            ready.await?;
        }
        // INVARIANT: who was waited for is who signs, also if another one came to be in force meanwhile.
        invocation.identity = Some(identity);
    }
    // Boxed at once: it moves on into the body's scope, and is large.
    let mut call = Box::new(Prepared::new(invocation, span)?);
    while let Some(snapshot) = call.next_snapshot()? {
        let node = snapshot.draft.seal(&call.sealer(), mode).await?;
        call.adopt(snapshot.group, node);
    }
    for index in 0..call.checks() {
        let decision = {
            let (engine, input, policy) = call.question(index);
            let request = crate::policy::PolicyRequest { policy, input: &input };
            match mode {
                Mode::Blocking => engine.evaluate(&request),
                Mode::Async => engine.evaluate_async(&request).await,
            }
        };
        if let Err(error) = call.judge(index, decision) {
            if let Error::PolicyDenied(denial) = &error {
                call.keep_receipt(denial, mode).await;
            }
            return Err(error);
        }
    }
    let entry = call.draft().seal(&call.sealer(), mode).await?;
    Ok((call, entry))
}

/// An entry that is written and not yet signed.
#[derive(Debug)]
struct Draft {
    entry_id: String,
    payload: Vec<u8>,
    parents: Tips,
    trust: u8,
    taints: TaintSet,
}

/// Who signs, and where signed entries are kept.
#[derive(Debug, Clone)]
struct Sealer {
    identity: Arc<dyn IdentityProvider>,
    /// The name under which verifiers look for its keys.
    workload: Arc<str>,
    audit: Option<Arc<dyn AuditSink>>,
}

impl Draft {
    /// Signs the entry and hands it to the audit sink. There is no way on without both.
    async fn seal(self, sealer: &Sealer, mode: Mode) -> Result<Arc<Node>, Error> {
        // INVARIANT: Kest signs nothing that its own verifier would refuse for its size (spec §17).
        if self.taints.len() > given::MAX_TAINTS {
            return Err(given::too_many_taints(&self.entry_id, self.taints.len()));
        }
        let jws = match mode {
            Mode::Blocking => sealer.identity.sign(&self.payload),
            Mode::Async => sealer.identity.sign_async(&self.payload).await,
        }?;
        check_signed(&jws, &self.payload)?;
        let hash = jws.hash();
        if let Some(sink) = &sealer.audit {
            let record =
                AuditRecord::new(jws.as_str(), &hash, &self.entry_id, &sealer.workload, &*sealer.identity);
            match mode {
                Mode::Blocking => sink.append(&record),
                Mode::Async => sink.append_async(&record).await,
            }?;
        }
        let mut parents = self.parents;
        // Scopes keep tips oldest first, entries name them newest first (spec §2).
        parents.reverse();
        Ok(Node::new(jws.into_string(), hash, parents, self.trust, self.taints))
    }
}

/// A provider that answers with another payload, or with something too large to be verified, has not signed.
fn check_signed(jws: &Jws, payload: &[u8]) -> Result<(), Error> {
    if !jws.carries(payload) {
        return Err(IdentityError::new(
            IdentityErrorKind::Signing,
            "the identity provider returned a JWS of another payload; check the provider",
        )
        .into());
    }
    let size = jws.as_str().len();
    if size > MAX_ENTRY_BYTES {
        return Err(LineageError::new(
            LineageErrorKind::TooLarge,
            format!(
                "the entry takes {size} bytes, more than the {MAX_ENTRY_BYTES} that verifiers accept; \
                 record less in `user`, `resource_attr` or `labels`"
            ),
        )
        .into());
    }
    Ok(())
}
