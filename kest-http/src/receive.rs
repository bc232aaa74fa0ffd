//! From the headers of a request to a lineage that is believed. Spec §12.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::lineage::OnBehalfOf;
use kest_core::verify::{
    UnverifiedPassport, Verdict, VerifiedPassport, Verifier, VerifyError, VerifyFailure,
};
use memchr::memmem;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::bind::{Believed, Binding, problem_of};
use crate::peer::PeerIdentity;
use crate::problem::{Problem, ProblemKind};
use crate::wire::{Arrived, Wire};

/// As many new entries as a thread of the run-time may check in passing: about a millisecond.
const CHECKED_IN_PASSING: usize = 32;
/// And as many bytes of entries, new or not, as it may hash for that.
const HASHED_IN_PASSING: usize = 256 * 1024;

/// Everything that decides about what arrives.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    pub(crate) wire: Wire,
    pub(crate) verifier: Verifier,
    pub(crate) binding: Binding,
    pub(crate) max_age: Duration,
    pub(crate) require_lineage: bool,
    /// Whether strings of plain baggage count where the lineage says nothing.
    pub(crate) trust_baggage: bool,
    pub(crate) clock: Clock,
    pub(crate) gate: Gate,
}

/// What came.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) lineage: Option<Believed>,
    /// On whose behalf, as far as it is believed.
    pub(crate) said: OnBehalfOf,
}

/// Epoch milliseconds.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    pub(crate) fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    pub(crate) fn system() -> Self {
        Self::new(|| {
            // A clock before 1970 makes every lineage one from the future.
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// How many requests may hold more memory, or a thread, than their headers take: those that inflate, redeem a claim,
/// or verify on a thread of their own. The others wait, with nothing but their headers and what these say in plain.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    verifications: Arc<Semaphore>,
    /// Apart, so that a cache that hangs holds up nobody but those who need it.
    claims: Arc<Semaphore>,
    patience: Duration,
}

impl Gate {
    pub(crate) fn new(at_once: usize, patience: Duration) -> Self {
        let semaphore = || Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS)));
        Self { verifications: semaphore(), claims: semaphore(), patience }
    }

    async fn enter(&self, semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
        if let Ok(permit) = Arc::clone(semaphore).try_acquire_owned() {
            return Ok(permit);
        }
        let Some(patience) = self.timer() else {
            tracing::error!(
                target: "kest",
                "a `LineageLayer` cannot wait for its turn: it runs in no tokio run-time with a timer; build the \
                 run-time with `enable_time()`"
            );
            let why = "the service cannot wait until other lineages are verified: its run-time has no timer";
            return Err(Problem::new(ProblemKind::Misconfigured, why));
        };
        let busy =
            || Problem::new(ProblemKind::Busy, "too many lineages are being verified; try again later");
        // The permit first: who gets it at the last moment goes on.
        let mut waiting = pin!(Arc::clone(semaphore).acquire_owned());
        let mut patience = pin!(patience);
        poll_fn(|cx| match waiting.as_mut().poll(cx) {
            Poll::Ready(permit) => Poll::Ready(permit.map_err(|_| busy())),
            Poll::Pending => patience.as_mut().poll(cx).map(|()| Err(busy())),
        })
        .await
    }

    /// For how long to wait; none where the run-time has no timer, which tokio tells by a panic alone.
    fn timer(&self) -> Option<Sleep> {
        Handle::try_current().ok()?;
        catch_unwind(AssertUnwindSafe(|| tokio::time::sleep(self.patience))).ok()
    }
}

impl Receiver {
    /// Reads, verifies and binds what stands in the headers.
    pub(crate) async fn receive(
        &self,
        headers: &HeaderMap,
        peer: Option<&PeerIdentity>,
    ) -> Result<Received, Problem> {
        let lines: Vec<&[u8]> = headers.get_all("baggage").iter().map(http::HeaderValue::as_bytes).collect();
        let permit = match Costs::of(&lines) {
            Costs::Claim => Some(self.gate.enter(&self.gate.claims).await?),
            Costs::Inflating => Some(self.gate.enter(&self.gate.verifications).await?),
            Costs::Plain if self.verifier.may_block() => {
                Some(self.gate.enter(&self.gate.verifications).await?)
            }
            Costs::Plain | Costs::Nothing => None,
        };
        let arrived = match lines.is_empty() {
            true => Arrived::default(),
            false => self.wire.read(&lines).await.map_err(|error| unreadable(&error))?,
        };
        let Arrived { lineage, user, agent, task, .. } = arrived;
        let hearsay = match self.trust_baggage {
            true => of_strings(user, agent, task),
            false => OnBehalfOf::new(),
        };
        let Some(lineage) = lineage.filter(|lineage| !lineage.is_empty()) else {
            if self.require_lineage {
                let why = "the service takes no calls without lineage; make the call through an outbound layer of Kest, \
                           inside a protected function";
                return Err(Problem::new(ProblemKind::MissingLineage, why));
            }
            return Ok(Received { lineage: None, said: hearsay });
        };
        let now_ms = (self.clock.0)();
        let verified = self.verify(lineage, now_ms, permit).await?;
        let believed = self.binding.judge(verified, peer, now_ms)?;
        // INVARIANT: what nobody signed never stands in for what is signed and is not believed, or not agreed on.
        let said = match believed.silent {
            true => hearsay,
            false => believed.said.clone(),
        };
        Ok(Received { lineage: Some(believed), said })
    }

    async fn verify(
        &self,
        lineage: UnverifiedPassport,
        now_ms: u64,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<VerifiedPassport, Problem> {
        let verifier = self.verifier.for_ingress(now_ms, self.max_age, self.binding.skew);
        let few = || {
            lineage.len() <= CHECKED_IN_PASSING
                || lineage.bytes() <= HASHED_IN_PASSING && lineage.new_to(&verifier) <= CHECKED_IN_PASSING
        };
        let at_once = !verifier.may_block() && few();
        let verified = match Handle::try_current() {
            Ok(handle) if !at_once => {
                // What stood in plain has needed none so far.
                let permit = match permit {
                    Some(permit) => permit,
                    None => self.gate.enter(&self.gate.verifications).await?,
                };
                let verifying = handle.spawn_blocking(move || {
                    let verified = lineage.verify(&verifier);
                    drop(permit);
                    verified
                });
                verifying.await.map_err(|error| {
                    tracing::error!(target: "kest", %error, "A verification panicked; please report it");
                    Problem::new(
                        ProblemKind::KeysUnavailable,
                        "the verification broke off; nothing was decided",
                    )
                })?
            }
            Ok(_) | Err(_) => {
                let verified = lineage.verify(&verifier);
                drop(permit);
                verified
            }
        };
        let verified = verified.map_err(|error| unverified(&error))?;
        // INVARIANT: the layer was built with a verifier that skips signatures, or every entry's was checked.
        let agreed = self.verifier.skips_signatures() || self.verifier.accepts_mock();
        match verified.report().signatures.verdict {
            Verdict::Pass => Ok(verified),
            Verdict::NotChecked if agreed => Ok(verified),
            Verdict::NotChecked | Verdict::Fail => {
                let why = "the signatures of the lineage were not checked";
                Err(Problem::new(ProblemKind::UnverifiedLineage, why))
            }
        }
    }
}

/// What reading headers may cost beyond them, by the dearest that may stand in them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Costs {
    Nothing,
    Plain,
    Inflating,
    Claim,
}

impl Costs {
    /// A name counts wherever it stands, also where it is none.
    fn of(lines: &[&[u8]]) -> Self {
        const NAMES: [(&[u8], Costs); 4] = [
            (b"claim_check", Costs::Claim),
            (b"passport_z", Costs::Inflating),
            (b"passport_d", Costs::Inflating),
            (b"passport", Costs::Plain),
        ];
        let ours = |line: &&[u8]| -> Self {
            let names = memmem::find_iter(line, b"kest.").filter_map(|at| line.get(at + 5..));
            let cost =
                |name: &[u8]| NAMES.iter().find(|(known, _)| name.starts_with(known)).map(|(_, cost)| *cost);
            names.filter_map(cost).max().unwrap_or(Self::Nothing)
        };
        lines.iter().map(ours).max().unwrap_or(Self::Nothing)
    }
}

fn of_strings(user: Option<String>, agent: Option<String>, task: Option<String>) -> OnBehalfOf {
    let mut said = OnBehalfOf::new();
    (said.user, said.agent, said.task) =
        (user.map(Value::String), agent.map(Value::String), task.map(Value::String));
    said
}

fn unreadable(error: &PropagationError) -> Problem {
    match error.kind() {
        PropagationErrorKind::TooLarge => Problem::new(ProblemKind::OversizedLineage, error),
        PropagationErrorKind::ClaimNotFound | PropagationErrorKind::NoSharedCache => {
            Problem::new(ProblemKind::UnknownClaim, error)
        }
        PropagationErrorKind::Cache => {
            // Names of servers are nothing for strangers.
            tracing::warn!(target: "kest", %error, "A claim check could not be redeemed");
            Problem::new(
                ProblemKind::CacheUnavailable,
                "the cache of claim checks cannot be asked; try again later",
            )
        }
        // Also the default: whatever else is wrong with it, it is no lineage.
        _ => Problem::new(ProblemKind::MalformedLineage, error),
    }
}

fn unverified(error: &VerifyError) -> Problem {
    let kind = problem_of(error.step(), error.failure());
    let problem = match error.failure() {
        VerifyFailure::Keys { .. } => {
            tracing::warn!(target: "kest", %error, "A lineage could not be verified");
            Problem::new(kind, "the keys of a principal of the lineage cannot be had; try again later")
        }
        failure => Problem::new(kind, failure),
    };
    problem.at(error.entry(), error.step())
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    /// A gate that is full, and who holds the place.
    fn full(patience: Duration) -> (Gate, OwnedSemaphorePermit) {
        let gate = Gate::new(1, patience);
        let permit = Arc::clone(&gate.verifications).try_acquire_owned().unwrap();
        (gate, permit)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn who_would_have_to_wait_without_a_timer_is_refused() {
        let (gate, permit) = full(LONG);
        let bare = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let refused = bare.block_on(gate.enter(&gate.verifications)).unwrap_err();
        assert_eq!(refused.kind(), ProblemKind::Misconfigured);
        let mut waiting = Box::pin(gate.enter(&gate.verifications));
        let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Err(problem)) if problem.kind() == ProblemKind::Misconfigured));
        drop((waiting, permit));
        drop(bare.block_on(gate.enter(&gate.verifications)).unwrap());
    }

    #[tokio::test]
    async fn others_wait_for_their_turn_and_not_for_ever() {
        let (gate, permit) = full(Duration::from_millis(10));
        let refused = gate.enter(&gate.verifications).await.unwrap_err();
        assert_eq!(refused.kind(), ProblemKind::Busy);
        // Claims wait for claims alone.
        drop(gate.enter(&gate.claims).await.unwrap());
        drop(permit);
        let (gate, permit) = full(LONG);
        let mut waiting = pin!(gate.enter(&gate.verifications));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(permit);
        drop(waiting.await.unwrap());
    }
}
