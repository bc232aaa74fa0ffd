//! Every way in which a server can fail, and the error that each must be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kest_core::error::PolicyErrorKind::{
    self, Connection, Evaluation, MalformedAnswer, Refused, Status, Throttled, Timeout, TooLarge,
};
use kest_core::policy::{Decision, InputDocument, PolicyEngine, PolicyRequest};

use super::hostile::{Hostile, Reply, nobody};
use super::{Answer, Check, ConformanceFailure, Shown, broken, patiently};
use crate::conformance::executor::block_on_timed;

/// How an engine's server answers, so that the suite can answer in its place.
#[derive(Debug, Clone)]
#[must_use]
pub struct Protocol {
    content_type: String,
    /// JSON with a `$` where the decision stands.
    template: String,
    allow: String,
    deny: String,
    wrong: Vec<String>,
    failing: Vec<(u16, String)>,
    malformed: Vec<String>,
}

impl Protocol {
    /// Answers of that form: JSON in which `$` stands for the decision, and the JSON of an allow and of a denial.
    ///
    /// Strings in other letters, `true` in a string, numbers, null, arrays and objects are no decisions in any
    /// protocol; add what is none in this one by [`wrong`](Self::wrong).
    pub fn new(template: &str, allow: &str, deny: &str) -> Self {
        let wrong =
            [r#""deny""#, r#""true""#, r#""""#, "1", "0", "null", "[]", "[true]", "{}", r#"{"a":true}"#];
        Self {
            content_type: "application/json".to_owned(),
            template: template.to_owned(),
            allow: allow.to_owned(),
            deny: deny.to_owned(),
            wrong: wrong.map(str::to_owned).to_vec(),
            failing: Vec::new(),
            malformed: Vec::new(),
        }
    }

    /// The Open Policy Agent's data API, with `result.allow` as the decision.
    pub fn opa() -> Self {
        Self::new(r#"{"result":{"allow":$}}"#, "true", "false").wrong(r#""allow""#).failing(
            500,
            r#"{"code":"internal_error","message":"error(s) occurred while evaluating query","errors":[
                {"code":"eval_builtin_error","message":"div: divide by zero","location":{"file":"a.rego","row":3,"col":1}}]}"#,
        )
        .malformed(r#"{"result":{"allow":false,"allow":true}}"#)
        .malformed(r#"{"result":{"allow":false},"result":{"allow":true}}"#)
    }

    /// cedar-agent's `is_authorized`.
    pub fn cedar_agent() -> Self {
        Self::new(
            r#"{"decision":$,"diagnostics":{"reason":["policy0"],"errors":[]}}"#,
            r#""Allow""#,
            r#""Deny""#,
        )
        .wrong(r#""allow""#)
        .wrong("true")
        .failing(
            200,
            r#"{"decision":"Allow","diagnostics":{"reason":["policy0"],"errors":["while evaluating policy policy1: …"]}}"#,
        )
        .malformed(r#"{"decision":"Allow"}"#)
        .malformed(r#"{"decision":"Allow","diagnostics":{"errors":[]}}"#)
        .malformed(r#"{"decision":"Allow","diagnostics":{"reason":["policy0"]}}"#)
        .malformed(r#"{"decision":"Allow","diagnostics":{"reason":[],"errors":[]}}"#)
        .malformed(
            r#"{"decision":"Allow","diagnostics":{"reason":["policy0"],"errors":["policy1 failed"],"errors":[]}}"#,
        )
        .malformed(
            r#"{"decision":"Deny","decision":"Allow","diagnostics":{"reason":["policy0"],"errors":[]}}"#,
        )
    }

    /// `IsAuthorized` of AWS Verified Permissions.
    pub fn verified_permissions() -> Self {
        Self::new(
            r#"{"decision":$,"determiningPolicies":[{"policyId":"p"}],"errors":[]}"#,
            r#""ALLOW""#,
            r#""DENY""#,
        )
        .content_type("application/x-amz-json-1.0")
        .wrong(r#""Allow""#)
        .wrong("true")
        .failing(
            200,
            r#"{"decision":"ALLOW","determiningPolicies":[{"policyId":"p"}],"errors":[{"errorDescription":"a policy failed"}]}"#,
        )
        .malformed(r#"{"decision":"ALLOW"}"#)
        .malformed(r#"{"decision":"ALLOW","errors":[]}"#)
        .malformed(r#"{"decision":"ALLOW","determiningPolicies":[{"policyId":"p"}]}"#)
        .malformed(r#"{"decision":"ALLOW","determiningPolicies":[{"policyId":"p"}],"errors":null}"#)
        .malformed(r#"{"decision":"ALLOW","determiningPolicies":[{"policyId":"p"}],"errors":[null]}"#)
        .malformed(r#"{"decision":"ALLOW","determiningPolicies":[],"errors":[]}"#)
        .malformed(
            r#"{"decision":"ALLOW","determiningPolicies":[{"policyId":"p"}],"errors":[{"errorDescription":"a"}],"errors":[]}"#,
        )
        .malformed(
            r#"{"decision":"DENY","determiningPolicies":[{"policyId":"p"}],"errors":[],"decision":"ALLOW"}"#,
        )
    }

    /// The content type of answers; `application/json` unless said otherwise.
    pub fn content_type(mut self, content_type: &str) -> Self {
        content_type.clone_into(&mut self.content_type);
        self
    }

    /// Adds the JSON of what looks like a decision and is none.
    pub fn wrong(mut self, decision: &str) -> Self {
        self.wrong.push(decision.to_owned());
        self
    }

    /// Adds an answer that tells of an error inside a policy.
    pub fn failing(mut self, status: u16, body: &str) -> Self {
        self.failing.push((status, body.to_owned()));
        self
    }

    /// Adds the body of an answer that lacks a part, says something twice, or contradicts itself.
    pub fn malformed(mut self, body: &str) -> Self {
        self.malformed.push(body.to_owned());
        self
    }

    fn answer(&self, decision: &str) -> String {
        self.template.replace('$', decision)
    }

    fn respond(&self, status: u16, body: &str) -> Reply {
        bytes(response(status, &self.content_type, body))
    }
}

/// Holds engines that ask a server to every failure: each must be an error of its own kind in both forms, in time,
/// asked once, and the same engine must answer again when the server does.
///
/// `make_engine` makes an engine for a loopback URL without a path. A time limit below its default makes the check
/// quicker; 200 ms is enough.
///
/// # Errors
/// The first failure that is taken for something else.
pub fn check_failures<E>(
    make_engine: impl Fn(&str) -> E,
    protocol: &Protocol,
) -> Result<(), ConformanceFailure>
where
    E: PolicyEngine + 'static,
{
    let fail = |error| broken(Check::Failure, format!("the suite's server: {error}"));
    let server = Hostile::start().map_err(fail)?;
    let engine: Arc<dyn PolicyEngine> = Arc::new(make_engine(&server.url()));
    for case in cases(protocol) {
        server.replies(case.reply.clone());
        case.hold(&engine, &server)?;
        // What is left of a failure must not reach the next answer.
        server.replies(protocol.respond(200, &protocol.answer(&protocol.deny)));
        decides(&engine, false, case.name)?;
    }
    server.replies(protocol.respond(200, &protocol.answer(&protocol.allow)));
    decides(&engine, true, "all failures")?;

    let refused = Case::new("a connection that is refused", Reply::Close, &[Connection]);
    let nobody: Arc<dyn PolicyEngine> = Arc::new(make_engine(&nobody().map_err(fail)?));
    refused.hold_without(&nobody)?;
    drop(server);
    Case { name: "a server that has gone away", ..refused }.hold_without(&engine)
}

/// The server's own answer, which shows that failures are not simply refused along with everything else.
fn decides(engine: &Arc<dyn PolicyEngine>, allow: bool, after: &str) -> Result<(), ConformanceFailure> {
    for form in [Form::Sync, Form::Async] {
        let (answer, _) = form.ask(engine)?;
        let right = match &answer {
            Ok(Decision::Allow { .. }) => allow,
            Ok(Decision::Deny { .. }) => !allow,
            Err(_) => false,
        };
        if !right {
            let wanted = if allow { "allow" } else { "deny" };
            return Err(broken(
                Check::Failure,
                format!("a good answer after {after}, {form:?}: expected {wanted}, got {}", Shown(&answer)),
            ));
        }
    }
    Ok(())
}

/// A failure and what it may be taken for.
struct Case {
    name: &'static str,
    detail: String,
    reply: Reply,
    kinds: &'static [PolicyErrorKind],
}

impl Case {
    fn new(name: &'static str, reply: Reply, kinds: &'static [PolicyErrorKind]) -> Self {
        Self { name, detail: String::new(), reply, kinds }
    }

    fn hold(&self, engine: &Arc<dyn PolicyEngine>, server: &Hostile) -> Result<(), ConformanceFailure> {
        for form in [Form::Sync, Form::Async] {
            let before = server.connections();
            self.ask(engine, form)?;
            let asked = server.connections() - before;
            if asked > 1 {
                return Err(self.broken(form, &format!("the server was asked {asked} times instead of once")));
            }
        }
        Ok(())
    }

    fn hold_without(&self, engine: &Arc<dyn PolicyEngine>) -> Result<(), ConformanceFailure> {
        [Form::Sync, Form::Async].into_iter().try_for_each(|form| self.ask(engine, form))
    }

    fn ask(&self, engine: &Arc<dyn PolicyEngine>, form: Form) -> Result<(), ConformanceFailure> {
        let (answer, took) = form.ask(engine)?;
        let right = match &answer {
            Ok(Decision::Allow { .. } | Decision::Deny { .. }) => false,
            Err(error) => self.kinds.contains(&error.kind()),
        };
        if !right {
            let kinds: Vec<String> = self.kinds.iter().map(|kind| format!("{kind:?}")).collect();
            let wanted = kinds.join(" or ");
            return Err(
                self.broken(form, &format!("expected an error of kind {wanted}, got {}", Shown(&answer)))
            );
        }
        if took.all > LATEST {
            return Err(self.broken(form, &format!("the answer took {:?}", took.all)));
        }
        // Only what waited long shows whether the waiting blocked.
        if took.longest_poll > BLOCKED && took.longest_poll > took.all / 2 {
            let longest = took.longest_poll;
            return Err(self.broken(form, &format!("the future blocked its thread for {longest:?}")));
        }
        Ok(())
    }

    fn broken(&self, form: Form, what: &str) -> ConformanceFailure {
        broken(Check::Failure, format!("{}{}, {form:?}: {what}", self.name, self.detail))
    }
}

/// Time limits are seconds at most; whoever waits longer has none.
const LATEST: Duration = Duration::from_secs(10);
const BLOCKED: Duration = Duration::from_millis(150);

/// What is asked.
const POLICY: &str = "conformance/trusted";

#[derive(Debug, Clone, Copy)]
enum Form {
    Sync,
    Async,
}

struct Took {
    all: Duration,
    longest_poll: Duration,
}

impl Form {
    fn ask(self, engine: &Arc<dyn PolicyEngine>) -> Result<(Answer, Took), ConformanceFailure> {
        let engine = Arc::clone(engine);
        patiently(Check::Failure, move || {
            let input = InputDocument::default();
            let input = input.as_input();
            let request = PolicyRequest { policy: POLICY, input: &input };
            let begun = Instant::now();
            let (answer, longest_poll) = match self {
                Self::Sync => (engine.evaluate(&request), Duration::ZERO),
                Self::Async => block_on_timed(engine.evaluate_async(&request)),
            };
            (answer, Took { all: begun.elapsed(), longest_poll })
        })
    }
}

fn bytes(text: impl Into<Vec<u8>>) -> Reply {
    Reply::Bytes(text.into().into())
}

fn response(status: u16, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}

const HTML: &str =
    "<!DOCTYPE html><html><body><h1>It works: {\"result\":{\"allow\":true}}</h1></body></html>";
/// More than any answer may have.
const HUGE: usize = 8 * 1024 * 1024;

fn cases(protocol: &Protocol) -> Vec<Case> {
    let allow = protocol.answer(&protocol.allow);
    let good = response(200, &protocol.content_type, &allow);
    let half = good.get(..good.len() - allow.len() / 2).unwrap_or_default();
    let cut = allow.get(..allow.len() - 1).unwrap_or_default();
    let kind = &protocol.content_type;
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{allow}",
        allow.len()
    );
    let mut all = vec![
        Case::new("a connection that is closed at once", Reply::Close, &[Connection]),
        Case::new("no answer", Reply::Hang, &[Timeout]),
        Case::new(
            "a head that drips",
            Reply::Drip(Arc::from(*b"HTTP/1.1 200 OK\r\n"), Arc::from(*b"x-more: 1\r\n")),
            &[Timeout],
        ),
        Case::new(
            "a body that drips",
            Reply::Drip(chunked.as_bytes().into(), Arc::from(*b"1\r\n \r\n")),
            &[Timeout],
        ),
        Case::new("half a body", bytes(half), &[Connection]),
        Case::new("half a head", bytes("HTTP/1.1 200 OK\r\ncontent-ty"), &[Connection]),
        Case::new("another protocol", bytes("SSH-2.0-OpenSSH_9.9\r\n"), &[Connection, MalformedAnswer]),
        Case::new("a page", bytes(response(200, "text/html", HTML)), &[MalformedAnswer]),
        Case::new("a page that says it is JSON", protocol.respond(200, HTML), &[MalformedAnswer]),
        Case::new("an empty body", protocol.respond(200, ""), &[MalformedAnswer]),
        Case::new("cut JSON of its own length", protocol.respond(200, cut), &[MalformedAnswer]),
        Case::new(
            "an answer and another",
            protocol.respond(200, &format!("{allow}{allow}")),
            &[MalformedAnswer],
        ),
        Case::new("an array", protocol.respond(200, &format!("[{allow}]")), &[MalformedAnswer]),
        Case::new("a bare allow", protocol.respond(200, &protocol.allow), &[MalformedAnswer]),
        Case::new(
            "an answer that is no UTF-8",
            Reply::Bytes(
                [response(200, kind, "??").trim_end_matches('?').as_bytes(), &[0xff, 0xfe]].concat().into(),
            ),
            &[MalformedAnswer],
        ),
        Case::new(
            "a huge allow",
            protocol.respond(200, &format!("{}{allow}", " ".repeat(HUGE))),
            &[TooLarge],
        ),
        Case::new(
            "an endless answer",
            Reply::Endless(chunked.into_bytes().into(), chunk.into_bytes().into()),
            &[TooLarge],
        ),
        Case::new("a redirection", bytes(redirect), &[Status]),
    ];
    let wrong = protocol.wrong.iter().map(|decision| Case {
        detail: format!(" `{decision}`"),
        ..Case::new("the decision", protocol.respond(200, &protocol.answer(decision)), &[MalformedAnswer])
    });
    all.extend(wrong);
    let statuses: [(u16, &'static [PolicyErrorKind]); 10] = [
        (201, &[Status, MalformedAnswer]),
        (204, &[Status, MalformedAnswer]),
        (400, &[Status]),
        (401, &[Refused]),
        (403, &[Refused]),
        (404, &[Status]),
        (429, &[Throttled]),
        (500, &[Status]),
        (502, &[Status]),
        (503, &[Status]),
    ];
    for (status, kinds) in statuses {
        let page = |detail: &str, reply| Case {
            detail: format!(" {status}{detail}"),
            ..Case::new("status", reply, kinds)
        };
        if status >= 400 {
            // A status other than success makes even a good body no decision.
            all.push(page(" and an allow", protocol.respond(status, &allow)));
        }
        let body = if status == 204 { "" } else { HTML };
        all.push(page(" and a page", bytes(response(status, "text/html", body))));
    }
    let failing = protocol.failing.iter().map(|(status, body)| {
        Case::new("an error inside a policy", protocol.respond(*status, body), &[Evaluation])
    });
    all.extend(failing);
    let malformed = protocol.malformed.iter().map(|body| Case {
        detail: format!(" {body}"),
        ..Case::new("the answer", protocol.respond(200, body), &[MalformedAnswer])
    });
    all.extend(malformed);
    all
}
