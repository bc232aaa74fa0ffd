//! What AWS answers, as errors of Kest: a kind to branch on, what failed, and what to do.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text::{Quoted, Safe};

use crate::bridge::BridgeError;

/// What was asked, of whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) action: Action,
    /// The key, where one is asked for.
    pub(super) key: &'a str,
    /// The service's endpoint or region.
    pub(super) place: &'a str,
    pub(super) timeout: Duration,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    GetCallerIdentity,
    GetPublicKey,
    Sign,
}

impl Action {
    /// The name that IAM policies have for it.
    fn iam(self) -> &'static str {
        match self {
            Self::GetCallerIdentity => "sts:GetCallerIdentity",
            Self::GetPublicKey => "kms:GetPublicKey",
            Self::Sign => "kms:Sign",
        }
    }
}

impl Call<'_> {
    /// Why the call failed.
    pub(super) fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> IdentityError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (kind, message) = match error {
            SdkError::ServiceError(_) => {
                let status = error.raw_response().map_or(0, |answer| answer.status().as_u16());
                self.refused(code(error), status)
            }
            SdkError::ResponseError(_) => self.unreadable(),
            SdkError::TimeoutError(_) => self.late(),
            // Not sent: no credentials, no connection, or a kind of failure that the SDK has not had before.
            _ => self.unsent(error),
        };
        let cause = match (error, error.message()) {
            (SdkError::ServiceError(_), text) => told(code(error), text.unwrap_or_default()),
            _ => Safe(causes(error)).to_string(),
        };
        IdentityError::new(kind, message).with_source(cause)
    }

    /// The whole operation took too long.
    pub(super) fn timed_out(&self) -> IdentityError {
        let (kind, message) = self.late();
        IdentityError::new(kind, message)
    }

    fn late(&self) -> (IdentityErrorKind, String) {
        let (action, place, timeout) = (self.action.iam(), self.place, self.timeout);
        let message = format!(
            "`{action}` at {place} was not answered within {timeout:?}; check the endpoint and the network (without \
             credentials, the SDK looks for an instance role and waits for it)"
        );
        (IdentityErrorKind::Connection, message)
    }

    fn unsent(&self, error: &(dyn Error + 'static)) -> (IdentityErrorKind, String) {
        let action = self.action.iam();
        if let Some(refused) = find(error, |e| e.downcast_ref::<AssumeRoleError>().and_then(|e| e.code()))
            .or_else(|| {
                find(error, |e| e.downcast_ref::<AssumeRoleWithWebIdentityError>().and_then(|e| e.code()))
            })
        {
            let kind =
                if is_expired(refused) { IdentityErrorKind::SvidExpired } else { IdentityErrorKind::Refused };
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
                IdentityErrorKind::Missing,
                format!(
                    "there are no AWS credentials for `{action}`; give the workload a role (task role, pod identity, \
                     instance profile), or set `AWS_PROFILE`"
                ),
            ),
            Some(CredentialsError::InvalidConfiguration(_)) => (
                IdentityErrorKind::Missing,
                format!(
                    "the AWS credentials for `{action}` are configured wrongly; check profile and variables"
                ),
            ),
            Some(CredentialsError::ProviderTimedOut(_)) => self.late(),
            Some(_) if unreachable => (
                IdentityErrorKind::Connection,
                format!(
                    "no AWS credentials for `{action}`: who gives them cannot be reached; check the network"
                ),
            ),
            Some(_) => (
                IdentityErrorKind::Refused,
                format!("no AWS credentials for `{action}` could be had; check the role of the workload"),
            ),
            None => {
                let place = self.place;
                let message =
                    format!("`{action}` at {place} cannot be reached; check the endpoint and the network");
                (IdentityErrorKind::Connection, message)
            }
        }
    }

    /// By the error codes of KMS (API Reference: Sign, GetPublicKey, Common Errors) and STS.
    fn refused(&self, code: &str, status: u16) -> (IdentityErrorKind, String) {
        let (action, place, key) = (self.action.iam(), self.place, Quoted(self.key));
        match code {
            "DisabledException" => (
                IdentityErrorKind::Signing,
                format!(
                    "KMS key {key} is disabled; enable it with `aws kms enable-key`, or name another key"
                ),
            ),
            "KMSInvalidStateException" => (
                IdentityErrorKind::Signing,
                format!(
                    "KMS key {key} cannot be used in its state, such as pending deletion or import; restore it with \
                     `aws kms cancel-key-deletion` and `aws kms enable-key`, or name another key"
                ),
            ),
            "NotFoundException" => (
                IdentityErrorKind::Missing,
                format!("there is no KMS key {key} at {place}; check its name, the region and the account"),
            ),
            "InvalidKeyUsageException" | "UnsupportedOperationException" | "InvalidArnException" => (
                IdentityErrorKind::Signing,
                format!(
                    "KMS key {key} does not sign; name an asymmetric key with the usage `SIGN_VERIFY` and the spec \
                     `ECC_NIST_P256`"
                ),
            ),
            "AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "UnauthorizedOperation" => (
                IdentityErrorKind::Refused,
                match self.action {
                    Action::GetCallerIdentity => {
                        format!("AWS refuses `{action}`; check for a policy that denies it")
                    }
                    Action::GetPublicKey | Action::Sign => format!(
                        "AWS refuses `{action}` on {key}; allow it in the IAM policy of the workload's role, and in \
                         the key's policy where that does not leave it to IAM"
                    ),
                },
            ),
            code if is_expired(code) => (
                IdentityErrorKind::SvidExpired,
                format!(
                    "the AWS credentials for `{action}` have expired; renew them, or use a role that renews them"
                ),
            ),
            "RequestExpired" | "RequestTimeTooSkewed" => (
                IdentityErrorKind::Refused,
                format!(
                    "AWS refuses `{action}` because of the time it was signed at; check this machine's clock"
                ),
            ),
            code if is_of_credentials(code) => (
                IdentityErrorKind::Refused,
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
            "KMSInternalException"
            | "KeyUnavailableException"
            | "DependencyTimeoutException"
            | "InternalFailure"
            | "InternalServiceError"
            | "ServiceUnavailable"
            | "ServiceUnavailableException" => self.unavailable(),
            _ if status >= 500 => self.unavailable(),
            // Not of AWS, such as a proxy's.
            "" => self.unreadable(),
            other => (
                IdentityErrorKind::Signing,
                format!("`{action}` at {place} failed with {} for key {key}", Quoted(other)),
            ),
        }
    }

    fn unreadable(&self) -> (IdentityErrorKind, String) {
        let (action, place) = (self.action.iam(), self.place);
        let message = format!(
            "`{action}` at {place} gave an answer that cannot be read; check that the endpoint is AWS, and what \
             stands in between"
        );
        (IdentityErrorKind::Connection, message)
    }

    fn throttled(&self) -> (IdentityErrorKind, String) {
        let (action, place) = (self.action.iam(), self.place);
        let message = format!(
            "{place} asks for fewer `{action}` requests; spread the calls, or ask AWS for a higher quota of this key \
             type"
        );
        (IdentityErrorKind::Throttled, message)
    }

    fn unavailable(&self) -> (IdentityErrorKind, String) {
        let message = format!("`{}` at {} is unavailable; try again", self.action.iam(), self.place);
        (IdentityErrorKind::Connection, message)
    }
}

/// A future did not run on the network thread.
pub(super) fn not_run(error: BridgeError) -> IdentityError {
    let message = format!("AWS could not be asked: {error}");
    IdentityError::new(IdentityErrorKind::Connection, message).with_source(error)
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
fn code<E: ProvideErrorMetadata>(error: &E) -> &str {
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
fn cut(text: &str) -> String {
    const TOKEN: &str = "x-amz-security-token";
    let line = text.lines().next().unwrap_or_default();
    let end = line.to_ascii_lowercase().find(TOKEN).map_or(line.len(), |at| at + TOKEN.len());
    let kept: String = line.get(..end).unwrap_or_default().chars().take(200).collect();
    if kept.len() < text.len() { format!("{kept}…") } else { kept }
}

/// The first of the causes in which `pick` finds something.
fn find<'a, T>(
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
