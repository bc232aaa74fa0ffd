//! What every policy engine is held to: the same names, inputs and decisions, whatever decides. Spec §11.
//!
//! Give an engine the [`samples`], in Rego or in Cedar, and [`check`] it. One that asks a server is held to
//! [`check_failures`] too, with a server that fails in every way.
//!
//! ```
//! # #[cfg(feature = "rego")] {
//! use kest_providers::conformance::policy;
//! use kest_providers::policy::RegoEngine;
//!
//! let engine = RegoEngine::from_sources(policy::samples().iter().map(|s| (s.name, s.rego)))?;
//! policy::check_with(engine, 1).map_err(|failure| failure.to_string()).unwrap();
//! # }
//! # Ok::<_, kest_core::error::PolicyUnavailable>(())
//! ```

mod failures;
mod hostile;
mod samples;

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{Decision, PolicyEngine, PolicyInput, PolicyRequest};

pub use self::failures::{Protocol, check_failures};
use self::samples::{FOLDER, Held, NO_NAMES, Question, UNKNOWN, Wanted, questions};
pub use self::samples::{Sample, samples};
use super::executor::{begin_and_drop, block_on};

/// One rule of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// Every case of the table has its answer, and the same one each time.
    Decision,
    /// A name that the engine does not hold is an error of kind `UnknownPolicy`.
    UnknownName,
    /// The async form answers as the sync one does, on any executor.
    AsyncForm,
    /// Both forms answer inside a run-time of one thread.
    InsideRunTime,
    /// A snapshot answers as the engine does.
    Snapshot,
    /// What is kept for the other policies of a call follows from the input alone.
    Kept,
    /// Many threads can ask at once.
    Concurrency,
    /// An async question that is dropped leaves nothing behind.
    Dropped,
    /// A digest is `sha256:` and 64 hexadecimal digits, and one policy has one.
    Digest,
    /// `Debug` is short.
    Debug,
    /// A server that fails is an error of its own kind, never a decision.
    Failure,
}

/// A rule that an engine breaks.
pub type ConformanceFailure = super::ConformanceFailure<Check>;

const ROUNDS: usize = 4;
const THREADS: usize = 8;
/// Longer than any rule takes, so an engine that waits for itself fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(300);

/// Holds an engine that has been given all [`samples`] to every rule. It asks some 4,000 times: see [`check_with`] for
/// one that pays for each.
///
/// Give a clone of an `Arc` to keep the engine. Reasons of denials may differ between engines and are not compared.
///
/// # Errors
/// The first rule that the engine breaks, with the policy and the case.
pub fn check(engine: impl PolicyEngine + 'static) -> Result<(), ConformanceFailure> {
    check_with(engine, ROUNDS)
}

/// [`check`], where each of eight threads goes through the table so many times.
///
/// # Errors
/// The first rule that the engine breaks.
pub fn check_with(engine: impl PolicyEngine + 'static, rounds: usize) -> Result<(), ConformanceFailure> {
    let engine: Arc<dyn PolicyEngine> = Arc::new(engine);
    let questions: Arc<[Question]> = questions().map_err(|error| broken(Check::Decision, error))?.into();
    let stage = |check, run: fn(&dyn PolicyEngine, &[Question]) -> Result<(), ConformanceFailure>| {
        let (engine, questions) = (Arc::clone(&engine), Arc::clone(&questions));
        patiently(check, move || run(&*engine, &questions))?
    };
    stage(Check::Decision, |engine, all| {
        each(all, |q| q.ask(engine).map_err(|e| broken(Check::Decision, e)))
    })?;
    stage(Check::AsyncForm, |engine, all| {
        each(all, |q| q.ask_async(engine).map_err(|e| broken(Check::AsyncForm, e)))
    })?;
    stage(Check::UnknownName, |engine, _| unknown_names(engine))?;
    stage(Check::InsideRunTime, inside_run_time)?;
    stage(Check::Snapshot, snapshot)?;
    stage(Check::Kept, kept)?;
    stage(Check::Dropped, dropped)?;
    stage(Check::Digest, digests)?;
    stage(Check::Debug, |engine, _| debug(engine))?;
    patiently(Check::Concurrency, move || concurrent(&*engine, &questions, rounds))?
}

fn broken(check: Check, detail: impl fmt::Display) -> ConformanceFailure {
    ConformanceFailure::new("the policy engine", check, detail)
}

/// Runs work on a thread of its own: an engine that panics or never comes back breaks the rule.
fn patiently<T: Send + 'static>(
    check: Check,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ConformanceFailure> {
    let (done, result) = mpsc::sync_channel(1);
    let work = move || {
        // Nobody waits any more if this fails.
        let _ = done.send(work());
    };
    thread::Builder::new().name("kest-conformance".to_owned()).spawn(work).map_err(|e| broken(check, e))?;
    result.recv_timeout(PATIENCE).map_err(|error| match error {
        RecvTimeoutError::Timeout => broken(check, format!("the engine gave no answer in {PATIENCE:?}")),
        RecvTimeoutError::Disconnected => broken(check, "the engine panicked"),
    })
}

fn each<T>(
    all: &[Question],
    mut ask: impl FnMut(&Question) -> Result<T, ConformanceFailure>,
) -> Result<(), ConformanceFailure> {
    all.iter().try_for_each(|question| ask(question).map(drop))
}

type Answer = Result<Decision, PolicyUnavailable>;

impl Question {
    fn ask(&self, engine: &dyn PolicyEngine) -> Result<Answer, String> {
        self.judged(engine.evaluate(&PolicyRequest { policy: self.policy, input: &self.input.as_input() }))
    }

    fn ask_async(&self, engine: &dyn PolicyEngine) -> Result<Answer, String> {
        let input = self.input.as_input();
        self.judged(block_on(engine.evaluate_async(&PolicyRequest { policy: self.policy, input: &input })))
    }

    fn judged(&self, answer: Answer) -> Result<Answer, String> {
        let right = match (self.wanted, &answer) {
            (Wanted::Allow | Wanted::InputOr(Held::Allow), Ok(Decision::Allow { .. }))
            | (Wanted::Deny | Wanted::InputOr(Held::Deny), Ok(Decision::Deny { .. })) => true,
            (Wanted::Fails, Err(error)) => error.kind() == PolicyErrorKind::Evaluation,
            (Wanted::InputOr(_), Err(error)) => error.kind() == PolicyErrorKind::Input,
            (Wanted::Allow | Wanted::InputOr(Held::Allow), Ok(Decision::Deny { .. }))
            | (Wanted::Deny | Wanted::InputOr(Held::Deny), Ok(Decision::Allow { .. }))
            | (Wanted::Fails, Ok(Decision::Allow { .. } | Decision::Deny { .. }))
            | (Wanted::Allow | Wanted::Deny, Err(_)) => false,
        };
        if right {
            return Ok(answer);
        }
        let Self { policy, name, wanted, .. } = self;
        Err(format!("policy `{policy}`, case `{name}`: expected {wanted}, got {}", Shown(&answer)))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Fails => "an error of kind Evaluation",
            Self::InputOr(Held::Allow) => "allow, or an error of kind Input",
            Self::InputOr(Held::Deny) => "deny, or an error of kind Input",
        })
    }
}

/// An answer in a message.
struct Shown<'a>(&'a Answer);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(Decision::Allow { .. }) => f.write_str("allow"),
            Ok(Decision::Deny { reason: None }) => f.write_str("deny"),
            Ok(Decision::Deny { reason: Some(reason) }) => write!(f, "deny ({})", reason.escape_debug()),
            Err(error) => write!(f, "an error of kind {:?} ({error})", error.kind()),
        }
    }
}

fn unknown_names(engine: &dyn PolicyEngine) -> Result<(), ConformanceFailure> {
    let input = kest_core::policy::InputDocument::default();
    let input = &input.as_input();
    for policy in UNKNOWN.into_iter().chain(NO_NAMES).chain([FOLDER]) {
        let request = PolicyRequest { policy, input };
        for answer in [engine.evaluate(&request), block_on(engine.evaluate_async(&request))] {
            let right = match &answer {
                Ok(Decision::Allow { .. }) => false,
                Ok(Decision::Deny { .. }) => policy == FOLDER,
                // What is no name at all may be refused as such.
                Err(error) => error.kind() == PolicyErrorKind::UnknownPolicy || NO_NAMES.contains(&policy),
            };
            if !right {
                return Err(broken(
                    Check::UnknownName,
                    format!("`{policy}`: expected an error of kind UnknownPolicy, got {}", Shown(&answer)),
                ));
            }
        }
    }
    Ok(())
}

#[cfg(any(
    feature = "jwks",
    feature = "spire",
    feature = "aws",
    feature = "opa",
    feature = "cedar-agent",
    feature = "avp"
))]
fn inside_run_time(engine: &dyn PolicyEngine, all: &[Question]) -> Result<(), ConformanceFailure> {
    let fail = |error| broken(Check::InsideRunTime, error);
    let run_time = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| fail(error.to_string()))?;
    run_time.block_on(async {
        for question in all {
            drop(question.ask(engine).map_err(fail)?);
            let input = question.input.as_input();
            let request = PolicyRequest { policy: question.policy, input: &input };
            drop(question.judged(engine.evaluate_async(&request).await).map_err(fail)?);
        }
        Ok(())
    })
}

/// Without a provider that brings tokio there is no run-time to be inside of, but an executor.
#[cfg(not(any(
    feature = "jwks",
    feature = "spire",
    feature = "aws",
    feature = "opa",
    feature = "cedar-agent",
    feature = "avp"
)))]
fn inside_run_time(engine: &dyn PolicyEngine, all: &[Question]) -> Result<(), ConformanceFailure> {
    block_on(async { each(all, |q| q.ask(engine).map_err(|e| broken(Check::InsideRunTime, e))) })
}

fn snapshot(engine: &dyn PolicyEngine, all: &[Question]) -> Result<(), ConformanceFailure> {
    let Some(snapshot) = engine.snapshot() else { return Ok(()) };
    let fail = |error| broken(Check::Snapshot, error);
    each(all, |question| {
        drop(question.ask(&*snapshot).map_err(fail)?);
        question.ask_async(&*snapshot).map_err(fail)
    })?;
    unknown_names(&*snapshot).map_err(|failure| broken(Check::Snapshot, failure.detail))
}

/// Policies of one call share what engines made of its input. Each asks for another part of it.
fn kept(engine: &dyn PolicyEngine, all: &[Question]) -> Result<(), ConformanceFailure> {
    each(all, |question| {
        let ask =
            |input: &PolicyInput<'_>| engine.evaluate(&PolicyRequest { policy: question.policy, input });
        let others = |input: &PolicyInput<'_>| {
            for policy in ["conformance", "conformance/trusted", "conformance/tiers", "conformance/texts"] {
                // Whatever they say of this input: what counts is that they were asked.
                drop(engine.evaluate(&PolicyRequest { policy, input }));
            }
        };
        for answer in [
            question.input.with_input(|input| {
                others(input);
                ask(input)
            }),
            question.input.with_input(|input| {
                drop(ask(input));
                others(input);
                ask(input)
            }),
        ] {
            drop(question.judged(answer).map_err(|error| broken(Check::Kept, error))?);
        }
        Ok(())
    })
}

fn dropped(engine: &dyn PolicyEngine, all: &[Question]) -> Result<(), ConformanceFailure> {
    each(all, |question| {
        let input = question.input.as_input();
        begin_and_drop(engine.evaluate_async(&PolicyRequest { policy: question.policy, input: &input }));
        question.ask_async(engine).map_err(|error| broken(Check::Dropped, error))
    })
}

fn digests(engine: &dyn PolicyEngine, all: &[Question]) -> Result<(), ConformanceFailure> {
    let mut known: Vec<(&str, Option<Arc<str>>)> = Vec::new();
    for question in all {
        let answer = question.ask(engine).map_err(|error| broken(Check::Digest, error))?;
        let Ok(Decision::Allow { digest }) = answer else { continue };
        let fail = |what| broken(Check::Digest, format!("policy `{}`: {what}", question.policy));
        if let Some(digest) = &digest {
            let hex = digest.strip_prefix("sha256:").unwrap_or_default();
            if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(fail(format!("`{}` is no digest", digest.escape_debug())));
            }
        }
        match known.iter().find(|(policy, _)| *policy == question.policy) {
            Some((_, first)) if *first != digest => {
                return Err(fail("two allows have different digests".to_owned()));
            }
            Some(_) => {}
            None => known.push((question.policy, digest)),
        }
    }
    Ok(())
}

fn debug(engine: &dyn PolicyEngine) -> Result<(), ConformanceFailure> {
    for shown in [format!("{engine:?}"), format!("{engine:#?}")] {
        if shown.len() > 4_096 {
            return Err(broken(Check::Debug, "`Debug` is long"));
        }
    }
    Ok(())
}

fn concurrent(engine: &dyn PolicyEngine, all: &[Question], rounds: usize) -> Result<(), ConformanceFailure> {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|worker| {
                scope.spawn(move || {
                    let fail = |error| broken(Check::Concurrency, error);
                    for turn in 0..rounds {
                        // Each begins elsewhere, so that different questions meet.
                        let (behind, before) = all.split_at(worker * all.len() / THREADS);
                        for (index, question) in before.iter().chain(behind).enumerate() {
                            let asked = if (index + turn) % 2 == 0 {
                                question.ask(engine)
                            } else {
                                question.ask_async(engine)
                            };
                            drop(asked.map_err(fail)?);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap_or_else(|_| Err(broken(Check::Concurrency, "a thread panicked")))?;
        }
        Ok(())
    })
}
