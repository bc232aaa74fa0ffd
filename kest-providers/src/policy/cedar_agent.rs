//! cedar-agent, over its REST API. Spec §11.

mod applies;
mod builder;

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use hyper::body::Bytes;
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{BoxFuture, Decision, PolicyEngine, PolicyInput, PolicyRequest};
use kest_core::text::Quoted;
use serde_json::{Value, json};

use self::applies::{Applies, applies};
pub use self::builder::CedarAgentEngineBuilder;
use super::cedar_form;
use super::listing::{Listing, Listings, nobody_permits};
use super::name;
use super::rest::{self, Answer, Rest, Turn};

/// Asks a cedar-agent: `POST {url}/v1/is_authorized`.
///
/// The policy `a/b` is every Cedar policy of the agent's store that applies to the action `Action::"a/b"`. The
/// principal is `Workload::"<id>"`, the resource `Resource::"<id>"` or `Resource::"*"`, the context the same as that of
/// an engine in this process. The store holds the policies of all names, so each must say for which it is:
/// `action == Action::"a/b"`.
///
/// Only `Allow` without any error allows. The agent itself skips a `forbid` that fails, so an error of any policy that
/// applies is an error here. When nothing permits and nothing forbids, the agent's list of policies, which is kept for ten
/// seconds, is looked through for one that may be meant: if there is none, the policy is unknown. What entities the agent's own data holds counts too.
///
/// Nothing is tried twice, and no redirect is followed. Constructors do not connect.
///
/// ```no_run
/// # use kest_providers::policy::CedarAgentEngine;
/// let engine = CedarAgentEngine::new("http://127.0.0.1:8180")?;
/// # Ok::<_, kest_core::error::PolicyUnavailable>(())
/// ```
#[derive(Clone)]
pub struct CedarAgentEngine {
    rest: Rest,
    path: Arc<str>,
    listings: Arc<Listings>,
}

const PATH: &str = "/v1/is_authorized";
const POLICIES: &str = "/v1/policies";

impl CedarAgentEngine {
    /// The agent at `url`, with the default path and limits and without a token.
    ///
    /// # Errors
    /// When the address is none, or is `http` to another machine.
    pub fn new(url: impl Into<String>) -> Result<Self, PolicyUnavailable> {
        Self::builder().url(url).build()
    }

    /// Settings for an engine.
    pub fn builder() -> CedarAgentEngineBuilder {
        CedarAgentEngineBuilder::new()
    }

    fn question(
        &self,
        request: &PolicyRequest<'_>,
    ) -> Result<impl Future<Output = Result<Decision, PolicyUnavailable>> + Send + 'static, PolicyUnavailable>
    {
        let policy = name::checked(request.policy)?.to_owned();
        let body = body(&policy, request.input)?;
        let engine = self.clone();
        Ok(async move {
            let turn = engine.rest.turn(&policy).await?;
            let answer = turn.post(&engine.path, body).await?;
            match verdict(&turn, &answer)? {
                Verdict::Allow => Ok(Decision::allow()),
                Verdict::Forbidden => Ok(Decision::deny()),
                Verdict::NotPermitted if *engine.path != *PATH => Ok(Decision::deny()),
                Verdict::NotPermitted => engine.not_permitted(&turn, &policy).await,
            }
        })
    }
}

impl CedarAgentEngine {
    /// Nothing permits it: because a policy says so, or because there is none.
    async fn not_permitted(&self, turn: &Turn, policy: &str) -> Result<Decision, PolicyUnavailable> {
        let late = || "the agent's list of policies did not come in time".to_owned();
        match &*self.listings.latest(turn.deadline(), listing(turn), late).await {
            Listing::Names(names) if !names.contains(policy) => {
                let action = cedar_form::literal(cedar_form::ACTION, policy);
                let why = format!(
                    "none of its policies is for `{action}`; load the policy there, with `action == {action}`"
                );
                Err(turn.fail(PolicyErrorKind::UnknownPolicy, why))
            }
            Listing::Names(_) | Listing::Any => Ok(Decision::deny()),
            // Whether it is unknown too cannot be said; it is a no in any case.
            Listing::Unread(why) => Ok(Decision::Deny { reason: Some(nobody_permits(why)) }),
        }
    }
}

impl fmt::Debug for CedarAgentEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CedarAgentEngine").field("rest", &self.rest).field("path", &self.path).finish()
    }
}

impl PolicyEngine for CedarAgentEngine {
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

/// The request document; all but the action is made once for all policies of a call and tier.
fn body(policy: &str, input: &PolicyInput<'_>) -> Result<Bytes, PolicyUnavailable> {
    struct Form(Result<String, (PolicyErrorKind, String)>);
    let form = input.shared(|| {
        Form(match cedar_form::context(input) {
            Ok(context) => {
                let principal = cedar_form::literal(cedar_form::PRINCIPAL, cedar_form::principal(input));
                let resource = cedar_form::literal(cedar_form::RESOURCE, cedar_form::resource(input));
                let context = cedar_form::to_json(&context);
                let form = json!({"principal": principal, "resource": resource, "context": context});
                Ok(form.to_string())
            }
            Err(error) => Err((error.kind(), error.to_string())),
        })
    });
    let form = form.0.as_ref().map_err(|(kind, message)| PolicyUnavailable::new(*kind, message))?;
    // A policy's name has nothing that JSON would escape.
    let action = Value::from(cedar_form::literal(cedar_form::ACTION, policy));
    let members = form.strip_prefix('{').unwrap_or_default();
    Ok(Bytes::from(format!("{{\"action\":{action},{members}")))
}

/// What the agent says.
enum Verdict {
    Allow,
    /// A policy forbids it.
    Forbidden,
    /// No policy forbids it, and none permits it.
    NotPermitted,
}

fn verdict(turn: &Turn, answer: &Answer) -> Result<Verdict, PolicyUnavailable> {
    if answer.status.as_u16() != 200 {
        let (kind, why) = answer.failure();
        return Err(turn.fail(kind, why));
    }
    let malformed = |why: String| turn.fail(PolicyErrorKind::MalformedAnswer, why);
    let document = answer.json().map_err(malformed)?;
    let diagnostics = document.get("diagnostics");
    let list = |name: &str| match diagnostics.and_then(|diagnostics| diagnostics.get(name)) {
        Some(Value::Array(items)) => Ok(items.as_slice()),
        _ => Err(malformed(format!(
            "its answer has no list `diagnostics.{name}`; check that this is the address of a cedar-agent"
        ))),
    };
    let (errors, reason) = (list("errors")?, list("reason")?);
    if let Some(first) = errors.first() {
        let text = first.as_str().map_or_else(|| first.to_string(), str::to_owned);
        let why = format!("its evaluation failed: {}; correct the policy", Quoted(&text));
        return Err(turn.fail(PolicyErrorKind::Evaluation, why));
    }
    match document.get("decision").and_then(Value::as_str) {
        // Nothing is allowed by no policy.
        Some("Allow") if !reason.iter().any(Value::is_string) => Err(malformed(
            "it allows, and names no policy that does; check that this is the address of a cedar-agent"
                .to_owned(),
        )),
        Some("Allow") => Ok(Verdict::Allow),
        Some("Deny") if reason.is_empty() => Ok(Verdict::NotPermitted),
        Some("Deny") => Ok(Verdict::Forbidden),
        Some(other) => {
            Err(malformed(format!("it decides {}, which is neither `Allow` nor `Deny`", Quoted(other))))
        }
        None => Err(malformed("its answer has no `decision` that is a text".to_owned())),
    }
}

/// Which names the agent has policies for.
async fn listing(turn: &Turn) -> Result<Listing, String> {
    let unread = |why: String| format!("the agent's list of policies cannot be read: {why}");
    // Others are told of it as well: it must not name this question's policy.
    let answer = turn.get(POLICIES).await.map_err(|error| unread(format!("{:?}", error.kind())))?;
    if answer.status.as_u16() != 200 {
        return Err(unread(answer.failure().1));
    }
    // Up to a megabyte; all connections live on this thread.
    let read = tokio::task::spawn_blocking(move || names(&answer)).await;
    read.map_err(|error| unread(error.to_string()))?
        .ok_or_else(|| unread("it is not of the form that is known".to_owned()))
}

fn names(answer: &Answer) -> Option<Listing> {
    let Value::Array(policies) = answer.json().ok()? else { return None };
    let (mut names, mut any) = (HashSet::new(), false);
    for policy in &policies {
        match applies(policy.get("content")?.as_str()?) {
            Applies::To(name) => drop(names.insert(name)),
            Applies::ToNoName => {}
            Applies::ToAny => any = true,
        }
    }
    Some(if any { Listing::Any } else { Listing::Names(names) })
}
