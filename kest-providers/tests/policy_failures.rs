//! The failure table of the public suite finds what an engine that asks a server can get wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use kest_core::canonical::parse_strict;
use kest_core::error::PolicyErrorKind::{
    Connection, Evaluation, MalformedAnswer, Refused, Status, Throttled, Timeout, TooLarge,
};
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{BoxFuture, Decision, PolicyEngine, PolicyRequest};
use kest_providers::conformance::policy::{Check, Protocol, check_failures};
use parking_lot::Mutex;
use serde_json::Value;

type Answer = Result<Decision, PolicyUnavailable>;

/// What the engine of this file gets wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    IgnoresStatus,
    TakesStrings,
    DeniesOnError,
    AsksTwice,
    RetriesClosed,
    TakesDuplicates,
    BlocksItsFuture,
    ReadsEverything,
    StopsAtHalf,
    TimesOutTooLate,
    CallsAllConnection,
}

/// Asks an OPA over a plain socket, one connection a question.
#[derive(Debug, Clone)]
struct Plain {
    address: Arc<str>,
    fault: Fault,
}

const LIMIT: Duration = Duration::from_millis(400);
const MAX_BYTES: usize = 1024 * 1024;
const NOTHING: &str = "the connection ended before anything came";

fn fail(kind: PolicyErrorKind) -> PolicyUnavailable {
    PolicyUnavailable::new(kind, "failed on purpose of the test")
}

impl Plain {
    fn ask(&self) -> Answer {
        let mut answer = self.ask_once();
        if self.fault == Fault::AsksTwice && answer.is_err() {
            answer = self.ask_once();
        }
        // What came before the end counts as an answer.
        let closed = matches!(&answer, Err(error) if error.to_string() == NOTHING);
        if self.fault == Fault::RetriesClosed && closed {
            answer = self.ask_once();
        }
        match (self.fault, answer) {
            (Fault::DeniesOnError, Err(_)) => Ok(Decision::deny()),
            (Fault::CallsAllConnection, Err(_)) => Err(fail(Connection)),
            (_, answer) => answer,
        }
    }

    fn ask_once(&self) -> Answer {
        let (status, body) = self.exchange()?;
        if self.fault != Fault::IgnoresStatus || status < 400 {
            match status {
                200 => {}
                401 | 403 => return Err(fail(Refused)),
                429 => return Err(fail(Throttled)),
                500 if String::from_utf8_lossy(&body).contains("eval_builtin_error") => {
                    return Err(fail(Evaluation));
                }
                _ => return Err(fail(Status)),
            }
        }
        let answer: Option<Value> = match self.fault {
            Fault::TakesDuplicates => serde_json::from_slice(&body).ok(),
            _ => parse_strict(&body).ok(),
        };
        let answer = answer.ok_or_else(|| fail(MalformedAnswer))?;
        match answer.get("result").and_then(|result| result.get("allow")) {
            Some(Value::Bool(true)) => Ok(Decision::allow()),
            Some(Value::Bool(false)) => Ok(Decision::deny()),
            Some(Value::String(text)) if self.fault == Fault::TakesStrings => {
                Ok(if text == "deny" { Decision::deny() } else { Decision::allow() })
            }
            _ => Err(fail(MalformedAnswer)),
        }
    }

    fn exchange(&self) -> Result<(u16, Vec<u8>), PolicyUnavailable> {
        let limit = if self.fault == Fault::TimesOutTooLate { LIMIT * 30 } else { LIMIT };
        let begun = Instant::now();
        let end = begun + limit;
        let broken = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => fail(Timeout),
            _ => fail(Connection),
        };
        let mut stream = TcpStream::connect(&*self.address).map_err(broken)?;
        let question = "POST /v1/data/x HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(question.as_bytes()).map_err(broken)?;
        let mut answer = Vec::new();
        let mut part = vec![0; 64 * 1024];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(fail(Timeout));
            }
            stream.set_read_timeout(Some(left)).map_err(broken)?;
            let read = match stream.read(&mut part) {
                Ok(0) | Err(_) if answer.is_empty() && begun.elapsed() < LIMIT => {
                    return Err(PolicyUnavailable::new(Connection, NOTHING));
                }
                read => read.map_err(broken)?,
            };
            answer.extend_from_slice(&part[..read]);
            if answer.len() > MAX_BYTES && self.fault != Fault::ReadsEverything {
                return Err(fail(TooLarge));
            }
            if read == 0 {
                return self.whole(&answer);
            }
        }
    }

    /// Status and body of what was received when the other side closed.
    fn whole(&self, answer: &[u8]) -> Result<(u16, Vec<u8>), PolicyUnavailable> {
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| fail(Connection))?;
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| fail(Connection))?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or_default();
        let body = &answer[end + 4..];
        if body.len() < length && self.fault == Fault::StopsAtHalf {
            return Ok((status, br#"{"result":{"allow":false}}"#.to_vec()));
        }
        if body.len() < length { Err(fail(Connection)) } else { Ok((status, body.to_vec())) }
    }
}

impl PolicyEngine for Plain {
    fn evaluate(&self, _: &PolicyRequest<'_>) -> Answer {
        self.ask()
    }

    fn evaluate_async<'a>(&'a self, _: &'a PolicyRequest<'a>) -> BoxFuture<'a, Answer> {
        if self.fault == Fault::BlocksItsFuture {
            return Box::pin(async move { self.ask() });
        }
        let state: Arc<Mutex<(Option<Answer>, Option<Waker>)>> = Arc::default();
        let (engine, done) = (self.clone(), Arc::clone(&state));
        std::thread::spawn(move || {
            let answer = engine.ask();
            let mut done = done.lock();
            done.0 = Some(answer);
            if let Some(waker) = done.1.take() {
                waker.wake();
            }
        });
        Box::pin(poll_fn(move |context| {
            let mut state = state.lock();
            match state.0.take() {
                Some(answer) => Poll::Ready(answer),
                None => {
                    state.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }
}

fn check(fault: Fault) -> Result<(), (Check, String)> {
    let make = |url: &str| Plain { address: url.trim_start_matches("http://").into(), fault };
    check_failures(make, &Protocol::opa()).map_err(|failure| (failure.check(), failure.to_string()))
}

fn broken(fault: Fault, wanted: &[&str]) {
    let (rule, message) = check(fault).unwrap_err();
    assert_eq!(rule, Check::Failure);
    for wanted in wanted {
        assert!(message.contains(wanted), "{fault:?}: {message}");
    }
}

#[test]
fn an_engine_that_tells_failures_apart_conforms() {
    check(Fault::None).unwrap();
}

#[test]
fn each_fault_is_found_and_named() {
    broken(Fault::IgnoresStatus, &["status 400 and an allow", "Status, got allow"]);
    broken(
        Fault::TakesStrings,
        &["the decision `\"deny\"`, Sync: expected an error of kind MalformedAnswer, got deny"],
    );
    broken(Fault::DeniesOnError, &["a connection that is closed at once, Sync", "Connection, got deny"]);
    broken(Fault::AsksTwice, &["the server was asked 2 times instead of once"]);
    broken(
        Fault::RetriesClosed,
        &["a connection that is closed at once, Sync: the server was asked 2 times instead of once"],
    );
    broken(
        Fault::TakesDuplicates,
        &["the answer {\"result\":{\"allow\":false,\"allow\":true}}, Sync", "got allow"],
    );
    broken(Fault::BlocksItsFuture, &["no answer, Async: the future blocked its thread for"]);
    broken(Fault::ReadsEverything, &["a huge allow", "TooLarge, got allow"]);
    broken(Fault::StopsAtHalf, &["half a body", "got deny"]);
    broken(Fault::CallsAllConnection, &["no answer, Sync", "Timeout, got an error of kind Connection"]);
}

#[test]
fn an_engine_without_a_limit_of_time_is_found() {
    broken(Fault::TimesOutTooLate, &["no answer, Sync: the answer took"]);
}

#[test]
#[cfg(feature = "opa")]
fn opa_tells_failures_apart() {
    use kest_providers::policy::OpaEngine;
    let make = |url: &str| OpaEngine::builder().url(url).timeout(LIMIT).build().unwrap();
    check_failures(make, &Protocol::opa()).unwrap();
}

#[test]
#[cfg(feature = "cedar-agent")]
fn cedar_agent_tells_failures_apart() {
    use kest_providers::policy::CedarAgentEngine;
    let make = |url: &str| CedarAgentEngine::builder().url(url).timeout(LIMIT).build().unwrap();
    check_failures(make, &Protocol::cedar_agent()).unwrap();
}

#[test]
#[cfg(feature = "avp")]
fn verified_permissions_tells_failures_apart() {
    use aws_credential_types::Credentials;
    use kest_providers::policy::AvpEngine;
    let make = |url: &str| {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
        let builder = AvpEngine::builder().policy_store_id("PSEXAMPLEabcdefg111111").region("eu-west-1");
        builder.endpoint_url(url).credentials_provider(credentials).timeout(LIMIT).build().unwrap()
    };
    check_failures(make, &Protocol::verified_permissions()).unwrap();
}
