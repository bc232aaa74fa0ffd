//! What AWS answers, and what it means: a kind to branch on, what failed, and what to do.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::config::http::HttpResponse;
use aws_sdk_sts::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use kest_core::text::{Quoted, Safe};

/// Why AWS gave no answer, or is not asked at all.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    pub(crate) cause: Option<String>,
}

/// Kinds of [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// A setting cannot be used.
    Setting,
    /// An endpoint is `http` to another machine.
    Plaintext,
    /// There are no credentials.
    NoCredentials,
    /// The credentials may not do this.
    Denied,
    /// The credentials are not accepted.
    Refused,
    /// The credentials are too old.
    Expired,
    /// AWS asks to slow down.
    Throttled,
    /// No answer in time.
    Late,
    /// Nobody there.
    Unreachable,
    /// The answer broke off.
    BrokenOff,
    /// The answer, of this status, is none of AWS: a proxy's, say.
    Foreign(u16),
    /// AWS cannot answer now.
    Unavailable,
    /// An error that has no kind of its own.
    Other,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: String) -> Self {
        Self { kind, message, cause: None }
    }
}

/// What was asked, of whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The name that IAM policies have for it.
    pub(crate) action: &'static str,
    /// The service's endpoint or region.
    pub(crate) place: &'a str,
    pub(crate) timeout: Duration,
}

impl Request<'_> {
    /// Why the request failed.
    pub(crate) fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (kind, message) = match error {
            SdkError::ServiceError(_) => {
                let status = error.raw_response().map_or(0, |answer| answer.status().as_u16());
                self.refused(code(error), status)
            }
            SdkError::ResponseError(_) => self.broken_off(),
            SdkError::TimeoutError(_) => self.late(),
            // Not sent: no credentials, no connection, or a kind of failure that the SDK has not had before.
            _ => self.unsent(error),
        };
        Failure { kind, message, cause: Some(cause(error)) }
    }

    /// The whole operation took too long.
    pub(crate) fn timed_out(&self) -> Failure {
        let (kind, message) = self.late();
        Failure::new(kind, message)
    }

    fn late(&self) -> (FailureKind, String) {
        let Self { action, place, timeout } = self;
        let message = format!(
            "`{action}` at {place} was not answered within {timeout:?}; check the endpoint and the network (without \
             credentials, the SDK looks for an instance role and waits for it)"
        );
        (FailureKind::Late, message)
    }

    fn unsent(&self, error: &(dyn Error + 'static)) -> (FailureKind, String) {
        let action = self.action;
        if let Some(refused) = find(error, |e| e.downcast_ref::<AssumeRoleError>().and_then(|e| e.code()))
            .or_else(|| {
                find(error, |e| e.downcast_ref::<AssumeRoleWithWebIdentityError>().and_then(|e| e.code()))
            })
        {
            let kind = if is_expired(refused) { FailureKind::Expired } else { FailureKind::Refused };
            let refused = Quoted(refused);
            let message = format!(
                "no AWS credentials for `{action}`: STS refused the role with {refused}; check the role's trust policy \
                 and the token that is exchanged for it"
            );
            return (kind, message);
        }
        let credentials = find(error, |e| e.downcast_ref::<CredentialsError>());
        // The SDK wraps every failure before sending in one of these: only those further in tell.
        let unreachable =
            credentials.is_some_and(|e| find(e, |e| e.downcast_ref::<ConnectorError>()).is_some());
        match credentials {
            Some(CredentialsError::CredentialsNotLoaded(_)) => (
                FailureKind::NoCredentials,
                format!(
                    "there are no AWS credentials for `{action}`; give the workload a role (task role, pod identity, \
                     instance profile), or set `AWS_PROFILE`"
                ),
            ),
            Some(CredentialsError::InvalidConfiguration(_)) => (
                FailureKind::NoCredentials,
                format!(
                    "the AWS credentials for `{action}` are configured wrongly; check profile and variables"
                ),
            ),
            Some(CredentialsError::ProviderTimedOut(_)) => self.late(),
            Some(_) if unreachable => (
                FailureKind::Unreachable,
                format!(
                    "no AWS credentials for `{action}`: who gives them cannot be reached; check the network"
                ),
            ),
            Some(_) => (
                FailureKind::Refused,
                format!("no AWS credentials for `{action}` could be had; check the role of the workload"),
            ),
            None => {
                let place = self.place;
                let message =
                    format!("`{action}` at {place} cannot be reached; check the endpoint and the network");
                (FailureKind::Unreachable, message)
            }
        }
    }

    /// By the error codes that all services have in common, and by the status where there is none.
    fn refused(&self, code: &str, status: u16) -> (FailureKind, String) {
        let Self { action, place, .. } = self;
        match code {
            "AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "UnauthorizedOperation" => (
                FailureKind::Denied,
                format!("AWS refuses `{action}`; allow it in the IAM policy of the workload's role"),
            ),
            code if is_expired(code) => (
                FailureKind::Expired,
                format!(
                    "the AWS credentials for `{action}` have expired; renew them, or use a role that renews them"
                ),
            ),
            "RequestExpired" | "RequestTimeTooSkewed" => (
                FailureKind::Refused,
                format!(
                    "AWS refuses `{action}` because of the time it was signed at; check this machine's clock"
                ),
            ),
            code if is_of_credentials(code) => (
                FailureKind::Refused,
                format!(
                    "AWS does not accept the credentials for `{action}`; check that they belong to this partition \
                     and region, and this machine's clock"
                ),
            ),
            "ThrottlingException"
            | "Throttling"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "SlowDown"
            | "LimitExceededException"
            | "PriorRequestNotComplete" => self.throttled(),
            _ if status == 429 => self.throttled(),
            "InternalFailure"
            | "InternalServerException"
            | "InternalServiceError"
            | "ServiceUnavailable"
            | "ServiceUnavailableException" => self.unavailable(),
            _ if status >= 500 => self.unavailable(),
            "" => self.foreign(status),
            other => (FailureKind::Other, format!("`{action}` at {place} failed with {}", Quoted(other))),
        }
    }

    fn broken_off(&self) -> (FailureKind, String) {
        let Self { action, place, .. } = self;
        let message = format!(
            "the answer to `{action}` at {place} broke off; check the network, and what stands in between"
        );
        (FailureKind::BrokenOff, message)
    }

    fn foreign(&self, status: u16) -> (FailureKind, String) {
        let Self { action, place, .. } = self;
        let message = format!(
            "`{action}` at {place} gave an answer of status {status} that cannot be read; check that the endpoint is \
             AWS, and what stands in between"
        );
        (FailureKind::Foreign(status), message)
    }

    fn throttled(&self) -> (FailureKind, String) {
        let Self { action, place, .. } = self;
        let message = format!(
            "{place} asks for fewer `{action}` requests; spread the calls, or ask AWS for a higher quota"
        );
        (FailureKind::Throttled, message)
    }

    fn unavailable(&self) -> (FailureKind, String) {
        let message = format!("`{}` at {} is unavailable; try again", self.action, self.place);
        (FailureKind::Unavailable, message)
    }
}

/// What lies under a failure, as far as it may be shown.
pub(crate) fn cause<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match (error, error.message()) {
        (SdkError::ServiceError(_), text) => told(code(error), text.unwrap_or_default()),
        _ => Safe(causes(error)).to_string(),
    }
}

fn is_expired(code: &str) -> bool {
    matches!(code, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired")
}

fn is_of_credentials(code: &str) -> bool {
    matches!(
        code,
        "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "InvalidAccessKeyId"
            | "OptInRequired"
    )
}

/// The error's code, if it is as short as one: it is shown, and an endpoint may put anything there.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &E) -> &str {
    error.code().filter(|code| code.len() <= 64).unwrap_or_default()
}

/// What a service says of a failure. Of credentials it says nothing but the code: the text repeats the request that was
/// signed, and a session token stands in that.
fn told(code: &str, text: &str) -> String {
    let shown = Safe(if code.is_empty() { "no code" } else { code });
    let silent = is_expired(code) || is_of_credentials(code) || code == "RequestExpired";
    if silent || text.is_empty() { shown.to_string() } else { format!("{shown}: {}", Safe(cut(text))) }
}

/// The beginning of a text that others wrote, without a session token.
pub(crate) fn cut(text: &str) -> String {
    const TOKEN: &str = "x-amz-security-token";
    let line = text.lines().next().unwrap_or_default();
    let end = line.to_ascii_lowercase().find(TOKEN).map_or(line.len(), |at| at + TOKEN.len());
    let kept: String = line.get(..end).unwrap_or_default().chars().take(200).collect();
    if kept.len() < text.len() { format!("{kept}…") } else { kept }
}

/// The first of the causes in which `pick` finds something.
pub(crate) fn find<'a, T>(
    error: &'a (dyn Error + 'static),
    pick: impl Fn(&'a (dyn Error + 'static)) -> Option<T>,
) -> Option<T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = pick(error) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The messages of an error and its causes. Never their `Debug`, which holds whole answers.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = cut(&error.to_string());
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&cut(&error.to_string()));
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_others_say_a_beginning_is_kept() {
        assert_eq!(told("Some", "short"), "Some: short");
        assert_eq!(told("", ""), "no code");
        assert_eq!(told("SignatureDoesNotMatch", "anything"), "SignatureDoesNotMatch");
        assert_eq!(told("Some", "first\nX-Amz-Security-Token:abc"), "Some: first…");
        assert_eq!(told("Some", "a X-Amz-Security-Token:abc b"), "Some: a X-Amz-Security-Token…");
        assert_eq!(told("Some", &"ü".repeat(201)), format!("Some: {}…", "ü".repeat(200)));
    }
}
