//! The Open Policy Agent, over its REST API. Spec §11.

mod builder;

use std::env;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use hyper::body::Bytes;
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{BoxFuture, Decision, PolicyEngine, PolicyInput, PolicyRequest};
use kest_core::text::Quoted;
use serde::Serialize;
use serde_json::{Map, Value};

pub use self::builder::OpaEngineBuilder;
use super::name::checked_package;
use super::reason::bounded;
use super::rest::{self, Answer, Rest, Turn, refuse};

/// Asks an Open Policy Agent: `POST {url}/v1/data/{name}`.
///
/// The policy `a/b` is the package `a.b` there, and its rule `allow` decides, as in
/// [`RegoEngine`](super::RegoEngine): only the boolean `true` allows, `false` and undefined deny, anything else is an
/// error. A package that the server does not have is an unknown policy. A denial's reason is what the package's rule
/// `reason` (or `deny_reason`) gives, if that is a string. Built-in errors are errors.
///
/// OPA evaluates all rules of the package for an answer, and all packages below it: an error in any of them is an
/// error of the policy.
///
/// Nothing is tried twice, and no redirect is followed. Constructors do not connect.
///
/// ```no_run
/// # use kest_providers::policy::OpaEngine;
/// let engine = OpaEngine::new("http://127.0.0.1:8181")?;
/// # Ok::<_, kest_core::error::PolicyUnavailable>(())
/// ```
#[derive(Clone)]
pub struct OpaEngine {
    rest: Rest,
    decision: Arc<DecisionPath>,
}

impl OpaEngine {
    /// The server at `url`, with the default limits and without a token.
    ///
    /// # Errors
    /// When the address is none, or is `http` to another machine.
    pub fn new(url: impl Into<String>) -> Result<Self, PolicyUnavailable> {
        Self::builder().url(url).build()
    }

    /// The server that `KEST_OPA_URL` names.
    ///
    /// # Errors
    /// When the variable is not set or empty; as [`Self::new`].
    pub fn from_env() -> Result<Self, PolicyUnavailable> {
        Self::builder().url_from_env()?.build()
    }

    /// Settings for an engine.
    pub fn builder() -> OpaEngineBuilder {
        OpaEngineBuilder::new()
    }

    fn question(
        &self,
        request: &PolicyRequest<'_>,
    ) -> Result<impl Future<Output = Result<Decision, PolicyUnavailable>> + Send + 'static, PolicyUnavailable>
    {
        let policy = checked_package(request.policy)?.to_owned();
        let body = body(request.input)?;
        let engine = self.clone();
        Ok(async move {
            let turn = engine.rest.turn(&policy).await?;
            let answer = turn.post(&format!("/v1/data/{policy}?strict-builtin-errors=true"), body).await?;
            engine.decision.of(&policy, &turn, &answer)
        })
    }
}

impl fmt::Debug for OpaEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpaEngine").field("rest", &self.rest).field("decision", &self.decision).finish()
    }
}

impl PolicyEngine for OpaEngine {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        rest::wait(request, self.question(request)?)
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        Box::pin(async move { rest::follow(request, self.question(request)?).await })
    }
}

/// `{"input": …}`, written once for all policies of a call and tier.
fn body(input: &PolicyInput<'_>) -> Result<Bytes, PolicyUnavailable> {
    struct Body(Result<Bytes, String>);
    #[derive(Serialize)]
    struct Document<'a> {
        input: &'a PolicyInput<'a>,
    }
    let body = input.shared(|| {
        Body(serde_json::to_vec(&Document { input }).map(Bytes::from).map_err(|error| error.to_string()))
    });
    body.0.clone().map_err(|error| {
        PolicyUnavailable::new(PolicyErrorKind::Input, format!("the input cannot be sent to OPA: {error}"))
    })
}

/// Where in an answer the decision is.
#[derive(Debug)]
struct DecisionPath {
    /// The members below `result`.
    below: Vec<String>,
}

impl DecisionPath {
    fn parse(text: &str) -> Result<Self, PolicyUnavailable> {
        let mut members = text.split('.').map(str::to_owned);
        let first = members.next();
        let below: Vec<String> = members.collect();
        if first.as_deref() != Some("result") || below.iter().any(String::is_empty) {
            return Err(refuse(format!(
                "the decision path {} does not lead into OPA's answer; give one such as `result.allow`",
                Quoted(text)
            )));
        }
        Ok(Self { below })
    }

    fn of(&self, policy: &str, turn: &Turn, answer: &Answer) -> Result<Decision, PolicyUnavailable> {
        if answer.status.as_u16() != 200 {
            let (kind, why) = evaluation_error(answer).unwrap_or_else(|| answer.failure());
            return Err(turn.fail(kind, why));
        }
        let malformed = |why: String| turn.fail(PolicyErrorKind::MalformedAnswer, why);
        let Value::Object(mut document) = answer.json().map_err(malformed)? else {
            return Err(malformed(
                "its answer is no JSON object; check that this is OPA's address".to_owned(),
            ));
        };
        let Some(result) = document.remove("result") else {
            if document.keys().any(|key| !matches!(key.as_str(), "decision_id" | "metrics" | "warning")) {
                return Err(malformed(
                    "its answer has no `result`; check that this is OPA's address".to_owned(),
                ));
            }
            let why = match self.below.is_empty() {
                false => format!("it has no package `{}`; load the policy there", policy.replace('/', ".")),
                true => format!(
                    "it has no rule `{}`, or that is undefined; load the policy there, and give the rule a default",
                    policy.replace('/', ".")
                ),
            };
            return Err(turn.fail(PolicyErrorKind::UnknownPolicy, why));
        };
        let mut beside = Map::new();
        let mut found = result;
        for member in &self.below {
            let Value::Object(members) = found else {
                return Err(malformed(format!(
                    "its answer has {} where an object with `{member}` is due",
                    kind(&found)
                )));
            };
            beside = members;
            match beside.remove(member) {
                Some(value) => found = value,
                // The package is there and its rule is undefined.
                None => return Ok(Decision::Deny { reason: reason(&beside) }),
            }
        }
        match found {
            Value::Bool(true) => Ok(Decision::allow()),
            Value::Bool(false) => Ok(Decision::Deny { reason: reason(&beside) }),
            other @ (Value::Null
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_)) => Err(malformed(format!(
                "it answers with {} where a boolean is due; make the rule true or false",
                kind(&other)
            ))),
        }
    }
}

/// The policy's own failure: OPA answers 500 and says in which rule.
fn evaluation_error(answer: &Answer) -> Option<(PolicyErrorKind, String)> {
    if answer.status.as_u16() != 500 {
        return None;
    }
    let document = answer.json().ok()?;
    if !matches!(document.get("code")?.as_str()?, "internal_error" | "evaluation_error") {
        return None;
    }
    let first = document.get("errors").and_then(|errors| errors.get(0));
    let message = first.and_then(|error| error.get("message")).or_else(|| document.get("message"));
    let message = Quoted(message.and_then(Value::as_str).unwrap_or("no message")).to_string();
    let location = first.and_then(|error| error.get("location"));
    let row = location.and_then(|location| location.get("row")).and_then(Value::as_u64);
    let file = location.and_then(|location| location.get("file")).and_then(Value::as_str);
    let place = match (file, row) {
        (Some(file), Some(row)) => format!(" (line {row} of {})", Quoted(file)),
        _ => String::new(),
    };
    Some((
        PolicyErrorKind::Evaluation,
        format!("its evaluation failed: {message}{place}; correct the policy"),
    ))
}

fn reason(beside: &Map<String, Value>) -> Option<String> {
    ["reason", "deny_reason"].iter().find_map(|name| beside.get(*name))?.as_str().map(bounded)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The variable's value, if it is one.
fn url_from(value: Option<std::ffi::OsString>) -> Result<String, PolicyUnavailable> {
    const NAME: &str = "KEST_OPA_URL";
    match value.map(std::ffi::OsString::into_string) {
        None => Err(refuse(format!(
            "`{NAME}` is not set; set it to OPA's address, such as `http://127.0.0.1:8181`"
        ))),
        Some(Ok(url)) if !url.trim().is_empty() => Ok(url.trim().to_owned()),
        Some(_) => Err(refuse(format!("`{NAME}` is empty or no text; set it to OPA's address"))),
    }
}

fn environment() -> Result<String, PolicyUnavailable> {
    url_from(env::var_os("KEST_OPA_URL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_environment_is_said_or_missed() {
        assert_eq!(url_from(Some(" http://127.0.0.1:8181\n".into())).unwrap(), "http://127.0.0.1:8181");
        for (value, wanted) in
            [(None, "`KEST_OPA_URL` is not set"), (Some(" ".into()), "`KEST_OPA_URL` is empty")]
        {
            let error = url_from(value).unwrap_err();
            assert_eq!(error.kind(), PolicyErrorKind::Load);
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }
}
