//! AWS Verified Permissions. Spec §11.

mod answer;
mod client;
mod credentials;
mod listing;
mod question;
mod settings;
mod statements;
mod whole;

use std::fmt;
use std::sync::Arc;

use kest_core::error::PolicyUnavailable;
use kest_core::policy::{BoxFuture, Decision, PolicyEngine, PolicyRequest};

use self::client::Shared;
use self::question::Question;
pub use self::settings::AvpEngineBuilder;
use self::settings::Settings;
#[doc(hidden)]
pub use self::statements::StoredPolicy;
use crate::bridge;

/// Asks a policy store of AWS Verified Permissions: `IsAuthorized`.
///
/// The policy `a/b` is the action `Action::"a/b"`, the workload is the principal `Workload::"<id>"`, the call's object
/// is the resource `Resource::"<id or *>"`. The context is the whole input document, nested
/// (`context.subject.trust_score`) and flattened (`context["subject.trust_score"]`), as for
/// the other Cedar engines. `ALLOW` allows, `DENY` denies; an answer with evaluation errors is an error, also beside
/// `ALLOW`.
///
/// All policies of a store are asked at once, so each of them must say which name it is for: `action ==
/// Action::"a/b"`. A `permit` without that allows every name.
///
/// A denial by no policy in particular may mean that the store has none of this name. The store's list of policies
/// tells, where it may be read (`verifiedpermissions:ListPolicies`), and is kept for ten seconds: the error is then
/// [`UnknownPolicy`](kest_core::error::PolicyErrorKind::UnknownPolicy). Where it may not be read, the answer stays a
/// denial, and its reason says so.
///
/// Nothing is contacted before the first use, or [`Self::initialize`]. Nothing is tried twice. Credentials are looked
/// for by one task for all decisions, and renewed before they expire; one that takes longer than a decision may is
/// there for a later one.
///
/// ```no_run
/// # use kest_providers::policy::AvpEngine;
/// let engine = AvpEngine::builder().policy_store_id("PSEXAMPLEabcdefg111111").region("eu-west-1").build()?;
/// # Ok::<_, kest_core::error::PolicyUnavailable>(())
/// ```
#[derive(Clone)]
pub struct AvpEngine(Arc<Shared>);

impl AvpEngine {
    /// The engine of a policy store: its id, or `policy-store-alias/<name>`. Everything else comes from where the AWS
    /// SDK looks for it.
    ///
    /// # Errors
    /// When that is neither.
    pub fn new(policy_store_id: impl Into<String>) -> Result<Self, PolicyUnavailable> {
        Self::builder().policy_store_id(policy_store_id).build()
    }

    /// The engine of the policy store that `KEST_AVP_POLICY_STORE_ID` names.
    ///
    /// # Errors
    /// When the variable is missing or names no policy store.
    pub fn from_env() -> Result<Self, PolicyUnavailable> {
        Self::builder().build()
    }

    /// An engine with settings of its own.
    pub fn builder() -> AvpEngineBuilder {
        AvpEngineBuilder(Settings::default())
    }

    /// Finds credentials and connects now, in up to ten seconds, rather than within the time limit of the first
    /// decisions: until credentials are there, these fail. Reads the store's list of policies for that, if it may.
    ///
    /// # Errors
    /// When there are no credentials, or the store cannot be asked.
    pub async fn initialize(&self) -> Result<(), PolicyUnavailable> {
        let shared = Arc::clone(&self.0);
        bridge::run_wanted(async move { shared.initialize().await }).await.map_err(answer::not_run)?
    }
}

impl PolicyEngine for AvpEngine {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        let (shared, question) = (Arc::clone(&self.0), Question::new(request)?);
        bridge::block_on(async move { shared.decide(question).await }).map_err(answer::not_run)?
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        Box::pin(async move {
            let (shared, question) = (Arc::clone(&self.0), Question::new(request)?);
            bridge::run_wanted(async move { shared.decide(question).await }).await.map_err(answer::not_run)?
        })
    }
}

impl fmt::Debug for AvpEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AvpEngine").field("settings", self.0.settings()).finish_non_exhaustive()
    }
}
