//! What comes of an answer of Verified Permissions, or of its absence.

use std::error::Error;
use std::time::Duration;

use aws_sdk_verifiedpermissions::config::http::HttpResponse;
use aws_sdk_verifiedpermissions::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_verifiedpermissions::operation::is_authorized::IsAuthorizedOutput;
use http_body_util::LengthLimitError;
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::text::{Quoted, Safe};

use super::client::Store;
use super::whole::NotWhole;
use crate::aws::{Failure, FailureKind, Request, cause, code, cut, find};
use crate::bridge::BridgeError;
use crate::policy::cedar_form::ACTION;

/// What was asked about, and of whom.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) policy: &'a str,
    pub(super) place: &'a str,
    pub(super) timeout: Duration,
}

impl<'a> Asked<'a> {
    pub(super) fn is_authorized(&self) -> Request<'a> {
        self.request("verifiedpermissions:IsAuthorized")
    }

    pub(super) fn list_policies(&self) -> Request<'a> {
        self.request("verifiedpermissions:ListPolicies")
    }

    fn request(&self, action: &'static str) -> Request<'a> {
        Request { action, place: self.place, timeout: self.timeout }
    }
}

/// An answer that can be believed.
pub(super) enum Said {
    Allow,
    /// By policies that forbid, and why.
    Forbidden(String),
    /// No policy permits it. There may be none of this name.
    NotPermitted,
}

/// # Errors
/// When a policy failed, or the answer is no decision.
pub(super) fn read(answer: &IsAuthorizedOutput, asked: &Asked<'_>) -> Result<Said, PolicyUnavailable> {
    let (policy, place) = (Quoted(asked.policy), asked.place);
    // Cedar leaves out a policy that fails, a `forbid` too: what remains may say ALLOW.
    if let Some(first) = answer.errors().first() {
        let (count, first) = (answer.errors().len(), Safe(cut(first.error_description())));
        return Err(PolicyUnavailable::new(
            PolicyErrorKind::Evaluation,
            format!(
                "policy {policy} could not be evaluated by {place}: {count} of the store's policies failed, the first \
                 with: {first}"
            ),
        ));
    }
    match answer.decision().as_str() {
        // Nothing is allowed by no policy.
        "ALLOW" if answer.determining_policies().is_empty() => Err(PolicyUnavailable::new(
            PolicyErrorKind::MalformedAnswer,
            format!(
                "{place} answered for policy {policy} with `ALLOW` by no policy; check that the endpoint is AWS"
            ),
        )),
        "ALLOW" => Ok(Said::Allow),
        "DENY" => Ok(match answer.determining_policies() {
            [] => Said::NotPermitted,
            forbids => {
                let ids: Vec<_> =
                    forbids.iter().take(3).map(|policy| Quoted(policy.policy_id()).to_string()).collect();
                Said::Forbidden(format!("forbidden by {} of the policy store", ids.join(", ")))
            }
        }),
        other => Err(PolicyUnavailable::new(
            PolicyErrorKind::MalformedAnswer,
            format!(
                "{place} answered for policy {policy} with the decision {}, which is neither `ALLOW` nor `DENY`; check \
                 that the endpoint is AWS",
                Quoted(other)
            ),
        )),
    }
}

/// Nobody names the policy.
pub(super) fn unknown(asked: &Asked<'_>, store: &Store) -> PolicyUnavailable {
    let (policy, place, id) = (Quoted(asked.policy), asked.place, &store.id);
    PolicyUnavailable::new(
        PolicyErrorKind::UnknownPolicy,
        format!(
            "no policy in `{id}` of {place} is for {policy}; create one with `action == {ACTION}::\"…\"` of that name \
             in its scope"
        ),
    )
}

/// Too many others are before it.
pub(super) fn no_turn(asked: &Asked<'_>, max_connections: usize) -> PolicyUnavailable {
    let Asked { policy, place, timeout } = asked;
    PolicyUnavailable::new(
        PolicyErrorKind::Timeout,
        format!(
            "policy {} could not be asked of {place}: its turn did not come in time ({timeout:?}) behind \
             {max_connections} requests under way; raise `max_connections` or `timeout`, or ask less often",
            Quoted(policy)
        ),
    )
}

/// What a request needs was not found in its time. It is still looked for.
pub(super) fn not_ready(request: &Request<'_>, what: &str) -> PolicyUnavailable {
    let Request { action, place, timeout } = request;
    PolicyUnavailable::new(
        PolicyErrorKind::Timeout,
        format!(
            "`{action}` could not be sent to {place}: no {what} came within {timeout:?}; later requests use what is \
             still looked for, so await `initialize()` at the start, or raise `timeout`"
        ),
    )
}

/// Why a request failed.
pub(super) fn failed<E>(
    request: &Request<'_>,
    store: &Store,
    error: &SdkError<E, HttpResponse>,
) -> PolicyUnavailable
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let (id, Request { action, place, .. }) = (&store.id, request);
    if find(error, |error| error.downcast_ref::<LengthLimitError>()).is_some() {
        let limit = store.max_bytes;
        return PolicyUnavailable::new(
            PolicyErrorKind::TooLarge,
            format!("the answer to `{action}` at {place} is larger than {limit} bytes; raise `max_bytes`"),
        );
    }
    if let Some(NotWhole(why)) = find(error, |error| error.downcast_ref::<NotWhole>()) {
        return PolicyUnavailable::new(
            PolicyErrorKind::MalformedAnswer,
            format!(
                "the answer to `{action}` at {place} is no decision: {why}; check that the endpoint is AWS"
            ),
        );
    }
    let own = match error {
        SdkError::ServiceError(_) => match code(error) {
            "ResourceNotFoundException" => Some((
                PolicyErrorKind::UnknownPolicy,
                format!(
                    "there is no policy store `{id}` at {place}; check its id, the region and the account"
                ),
            )),
            "ValidationException" => Some((
                PolicyErrorKind::Input,
                format!(
                    "`{action}` at {place} does not take the request; check it against the schema of `{id}`, and that \
                     workload and resource ids are no longer than 612 characters and the whole input than 1 MB"
                ),
            )),
            _ => None,
        },
        _ => None,
    };
    match own {
        Some((kind, message)) => PolicyUnavailable::new(kind, message).with_source(cause(error)),
        None => request.failed(error).into(),
    }
}

impl From<Failure> for PolicyUnavailable {
    fn from(failure: Failure) -> Self {
        let kind = match failure.kind {
            FailureKind::Setting | FailureKind::Plaintext => PolicyErrorKind::Load,
            FailureKind::NoCredentials
            | FailureKind::Denied
            | FailureKind::Refused
            | FailureKind::Expired
            | FailureKind::Foreign(401 | 403) => PolicyErrorKind::Refused,
            FailureKind::Throttled => PolicyErrorKind::Throttled,
            FailureKind::Late => PolicyErrorKind::Timeout,
            FailureKind::Unreachable | FailureKind::BrokenOff => PolicyErrorKind::Connection,
            FailureKind::Foreign(200..300) => PolicyErrorKind::MalformedAnswer,
            FailureKind::Foreign(_) | FailureKind::Unavailable | FailureKind::Other => {
                PolicyErrorKind::Status
            }
        };
        let error = Self::new(kind, failure.message);
        match failure.cause {
            Some(cause) => error.with_source(cause),
            None => error,
        }
    }
}

/// A future did not run on the network thread.
pub(super) fn not_run(error: BridgeError) -> PolicyUnavailable {
    let message = format!("Verified Permissions could not be asked: {error}");
    PolicyUnavailable::new(PolicyErrorKind::Connection, message).with_source(error)
}

/// A request that lacks a part.
pub(super) fn unbuilt(error: BuildError) -> PolicyUnavailable {
    PolicyUnavailable::new(PolicyErrorKind::Input, format!("the request cannot be made: {error}"))
}
