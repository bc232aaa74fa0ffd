//! Who decides: the trait every policy engine implements, and what it is asked. Spec §11.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::error::PolicyUnavailable;
pub use crate::identity::BoxFuture;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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

/// The input of every policy, spec §11. Serialises to the documented JSON object.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyInput<'a> {
    /// Who acts, on whose behalf.
    pub subject: Subject<'a>,
    /// On what.
    pub object: Object<'a>,
    /// Under which circumstances.
    pub environment: Environment<'a>,
    /// The workload id again, for policies written against the flat form.
    pub identity: &'a str,
    /// The trust score again, for policies written against the flat form.
    pub trust_score: u8,
}

/// `subject` of [`PolicyInput`].
#[derive(Debug, Clone, Serialize)]
pub struct Subject<'a> {
    /// The workload id.
    pub workload: &'a str,
    /// A string, an object, or null.
    pub user: Option<&'a Value>,
    /// A string, an object, or null.
    pub agent: Option<&'a Value>,
    /// A string, an object, or null.
    pub task: Option<&'a Value>,
    /// Score of this call, 0–100.
    pub trust_score: u8,
    /// Taints of this call, sorted.
    pub taints: &'a [Arc<str>],
}

/// `object` of [`PolicyInput`].
#[derive(Debug, Clone, Serialize)]
pub struct Object<'a> {
    /// `resource_id`, or null.
    pub id: Option<&'a str>,
    /// `resource_attr`; an empty object when none was given.
    pub attributes: &'a Value,
}

/// `environment` of [`PolicyInput`].
#[derive(Debug, Clone, Serialize)]
pub struct Environment<'a> {
    /// Whether the call has no parents.
    pub is_root: bool,
    /// The source in force; null for a child without one.
    pub source_type: Option<&'a str>,
    /// Name of the operation.
    pub operation: &'a str,
    /// `module_path!()::fn`.
    pub function: &'a str,
    /// Hash of the newest parent, `"0"` for a root.
    pub parent_hash: &'a str,
    /// Hashes of all parents, newest first, `["0"]` for a root.
    pub parent_hashes: &'a [String],
    /// Lowest score of the parents; null for a root.
    pub inherited_trust_score: Option<u8>,
    /// Taints of the parents, sorted.
    pub inherited_taints: &'a [Arc<str>],
    /// The override, or null.
    pub trust_override: Option<u8>,
    /// Taints this call removes, sorted.
    pub removed_taints: &'a [Arc<str>],
    /// Names of the tier that is being evaluated.
    pub policy_names: &'a [String],
    /// The tier that is being evaluated.
    pub policy_tier: Tier,
    /// Names of the policies that a deviation lifts from this call.
    pub active_deviations: &'a [String],
}
