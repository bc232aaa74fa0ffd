//! What AWS answers, as errors of identities.

use std::error::Error;
use std::time::Duration;

use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text::Quoted;

use crate::aws::{Failure, FailureKind, Request, cause, code};
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
        let own = match error {
            SdkError::ServiceError(_) => self.refused(code(error)),
            _ => None,
        };
        match own {
            Some((kind, message)) => IdentityError::new(kind, message).with_source(cause(error)),
            None => {
                let mut failure = self.request().failed(error);
                if failure.kind == FailureKind::Other {
                    failure.message = format!("{} for key {}", failure.message, Quoted(self.key));
                }
                failure.into()
            }
        }
    }

    /// The whole operation took too long.
    pub(super) fn timed_out(&self) -> IdentityError {
        self.request().timed_out().into()
    }

    fn request(&self) -> Request<'_> {
        Request { action: self.action.iam(), place: self.place, timeout: self.timeout }
    }

    /// By the error codes that are of KMS alone. API Reference: Sign, GetPublicKey.
    fn refused(&self, code: &str) -> Option<(IdentityErrorKind, String)> {
        let (action, place, key) = (self.action.iam(), self.place, Quoted(self.key));
        Some(match code {
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
            "KMSInternalException" | "KeyUnavailableException" | "DependencyTimeoutException" => {
                (IdentityErrorKind::Connection, format!("`{action}` at {place} is unavailable; try again"))
            }
            _ => return None,
        })
    }
}

impl From<Failure> for IdentityError {
    fn from(failure: Failure) -> Self {
        let kind = match failure.kind {
            FailureKind::Setting | FailureKind::NoCredentials => IdentityErrorKind::Missing,
            FailureKind::Plaintext | FailureKind::Denied | FailureKind::Refused => IdentityErrorKind::Refused,
            FailureKind::Expired => IdentityErrorKind::SvidExpired,
            FailureKind::Throttled => IdentityErrorKind::Throttled,
            FailureKind::Late
            | FailureKind::Unreachable
            | FailureKind::BrokenOff
            | FailureKind::Foreign(_)
            | FailureKind::Unavailable => IdentityErrorKind::Connection,
            FailureKind::Other => IdentityErrorKind::Signing,
        };
        let error = Self::new(kind, failure.message);
        match failure.cause {
            Some(cause) => error.with_source(cause),
            None => error,
        }
    }
}

/// A future did not run on the network thread.
pub(super) fn not_run(error: BridgeError) -> IdentityError {
    let message = format!("AWS could not be asked: {error}");
    IdentityError::new(IdentityErrorKind::Connection, message).with_source(error)
}
