//! Of policies: those that say no, and those that say nothing.

use std::error::Error as StdError;
use std::fmt;

use super::Error;
use crate::text;

/// A policy said no. The function did not run, and nothing was appended to the passport.
pub struct PolicyDenied(Box<Denial>);

struct Denial {
    policy: String,
    tier: &'static str,
    reason: Option<String>,
    entry_id: String,
    operation: String,
    hint: Option<String>,
}

impl PolicyDenied {
    pub(crate) fn new(
        policy: &str,
        tier: &'static str,
        reason: Option<String>,
        entry_id: &str,
        operation: &str,
        hint: Option<String>,
    ) -> Self {
        Self(Box::new(Denial {
            policy: policy.to_owned(),
            tier,
            reason,
            entry_id: entry_id.to_owned(),
            operation: operation.to_owned(),
            hint,
        }))
    }

    /// Name of the policy.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.0.policy
    }

    /// Tier of the policy: `enterprise`, `platform`, `application` or `function`.
    #[must_use]
    pub fn tier(&self) -> &str {
        self.0.tier
    }

    /// What the policy gave as its reason, if it gave one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The id under which the denial was logged.
    #[must_use]
    pub fn entry_id(&self) -> &str {
        &self.0.entry_id
    }

    /// The operation that did not run.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.0.operation
    }
}

impl fmt::Debug for PolicyDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::debug(self, f)
    }
}

impl fmt::Display for PolicyDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = &self.0;
        write!(f, "{} policy `{}` denied `{}`", d.tier, d.policy, d.operation)?;
        if let Some(reason) = &d.reason {
            write!(f, ": {reason}")?;
        }
        if let Some(hint) = &d.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl StdError for PolicyDenied {}

impl From<PolicyDenied> for Error {
    fn from(error: PolicyDenied) -> Self {
        Self::PolicyDenied(error)
    }
}

/// Kinds of [`PolicyUnavailable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicyErrorKind {
    /// The engine does not know the policy.
    UnknownPolicy,
    /// The policy failed while it was evaluated.
    Evaluation,
    /// The call's input has something that the engine cannot hold, such as a fraction for Cedar.
    Input,
    /// The answer is not a decision.
    MalformedAnswer,
    /// The answer is larger than allowed.
    TooLarge,
    /// A remote engine answered with a status other than success.
    Status,
    /// A remote engine did not accept the credentials.
    Refused,
    /// A remote engine asks to slow down.
    Throttled,
    /// The engine did not answer in time.
    Timeout,
    /// The engine could not be reached, or the connection broke.
    Connection,
    /// A policy cannot be used.
    Load,
}

detail!(
    /// A policy could not be asked, or gave no usable answer. The function did not run.
    PolicyUnavailable,
    PolicyErrorKind,
    PolicyUnavailable
);
