//! Who decides: the trait every policy engine implements, and what it is asked. Spec §11.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::PolicyUnavailable;
pub use crate::identity::BoxFuture;

pub use self::document::InputDocument;
pub use self::input::{Environment, Object, PolicyInput, Subject};
pub(crate) use self::input::{Kept, Memo};

mod document;
mod input;

/// Decides one policy at a time.
///
/// An engine answers for the names it knows; a name it does not know, an evaluation that fails
/// and an answer that is no decision are errors, never an allow.
pub trait PolicyEngine: fmt::Debug + Send + Sync {
    /// Evaluates one policy. May block.
    ///
    /// # Errors
    /// When the engine cannot answer, see [`PolicyErrorKind`](crate::error::PolicyErrorKind).
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable>;

    /// [`Self::evaluate`] without blocking the calling thread.
    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>>;

    /// The engine as it stands now, for all policies of one call, so that a reload between two of them
    /// cannot mix two sets of policies. `None`, the default, for engines that do not reload.
    fn snapshot(&self) -> Option<Arc<dyn PolicyEngine>> {
        None
    }
}

impl<T: PolicyEngine + ?Sized> PolicyEngine for Arc<T> {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        (**self).evaluate(request)
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        (**self).evaluate_async(request)
    }

    fn snapshot(&self) -> Option<Arc<dyn PolicyEngine>> {
        (**self).snapshot()
    }
}

/// One question: a policy name and the input, which is the same for every engine.
#[derive(Debug, Clone, Copy)]
pub struct PolicyRequest<'a> {
    /// The policy, a slash path such as `kest/allow_trusted`.
    pub policy: &'a str,
    /// What is known of the call.
    pub input: &'a PolicyInput<'a>,
}

/// An engine's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The policy allows.
    Allow {
        /// `sha256:<hex>` of the policy as evaluated, where the engine knows it.
        digest: Option<Arc<str>>,
    },
    /// The policy's own no.
    Deny {
        /// Why, if the policy says.
        reason: Option<String>,
    },
}

impl Decision {
    /// An allow by a policy whose text the engine does not know.
    #[must_use]
    pub fn allow() -> Self {
        Self::Allow { digest: None }
    }

    /// A denial without a reason.
    #[must_use]
    pub fn deny() -> Self {
        Self::Deny { reason: None }
    }
}

/// Where a policy comes from, in the order of evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Deployment configuration: every call.
    Enterprise,
    /// Deployment configuration: a platform or group of services.
    Platform,
    /// Deployment configuration: one application.
    Application,
    /// The attribute's own policies.
    Function,
}

impl Tier {
    /// The name in policy inputs, entries and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enterprise => "enterprise",
            Self::Platform => "platform",
            Self::Application => "application",
            Self::Function => "function",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
