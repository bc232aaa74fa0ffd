//! A call made ready: identity, engine, lineage, context, trust and taints resolved. Spec §6 steps 1–6.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::given::{self, Label};
use super::plan::{Plan, kests_in_force};
use super::snapshot::all_taints;
use super::trust::{Question, Trust};
use super::{Sealer, completion, write};
use crate::call::{CallSpec, Invocation};
use crate::canonical;
use crate::clock::{self, Clock};
use crate::error::{
    AuditError, AuditErrorKind, CanonicalizationError, ConfigurationError, ConfigurationErrorKind, Error,
};
use crate::identity::IdentityProvider;
use crate::jws::hex;
use crate::lineage::scope::{self, Scope, ScopeEnv};
use crate::passport::Tips;
use crate::policy::PolicyEngine;
use crate::runtime::{self, Kest};
use crate::taint::{self, TaintSet};
use crate::telemetry::CallSpan;

/// Everything the pipeline knows of a call.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) call: &'static CallSpec,
    pub(super) operation: Cow<'static, str>,
    pub(super) entry_id: String,
    pub(super) timestamp_ms: u64,
    pub(super) classification: Cow<'static, str>,
    pub(super) identity: Arc<dyn IdentityProvider>,
    pub(super) workload: Arc<str>,
    pub(super) kest: Option<Kest>,
    pub(super) scope: Option<Arc<Scope>>,
    /// What the body's scope shares: this call's identity context is what calls inside inherit.
    pub(super) env: Arc<ScopeEnv>,
    /// Oldest first.
    pub(super) parents: Tips,
    /// Newest first; `["0"]` for a root.
    pub(super) parent_hashes: Vec<String>,
    pub(super) identity_json: Option<String>,
    pub(super) resource_id: Option<String>,
    pub(super) resource_attr: Value,
    pub(super) resource_attr_json: Option<String>,
    pub(super) labels: Vec<Label>,
    pub(super) trust: Trust,
    pub(super) trust_override: Option<u8>,
    pub(super) trust_model: Arc<str>,
    pub(super) inherited_taints: TaintSet,
    pub(super) added_taints: Vec<Arc<str>>,
    pub(super) removed_taints: Vec<Arc<str>>,
    pub(super) taints: TaintSet,
    pub(super) input_hash: String,
    pub(super) otel: Option<(String, String)>,
    pub(super) plan: Plan,
    pub(super) digests: Vec<(String, Arc<str>)>,
}

impl Prepared {
    pub(super) fn new(mut invocation: Invocation, span: &CallSpan) -> Result<Self, Error> {
        if let Some(error) = invocation.error.take() {
            return Err(*error);
        }
        let call = invocation.call;
        let scope = scope::current();
        let outer = scope.as_ref().map_or_else(Arc::<ScopeEnv>::default, |s| Arc::clone(s.env()));
        let global = runtime::global();
        let ambient = runtime::identity_in_force(&outer.kests, global.as_ref());
        let kests = kests_in_force(&outer.kests, global);
        let kest = kests.last().cloned();
        refuse_lost_configuration(call, &kests)?;
        refuse_lost_audit(call, &kests)?;

        let identity = resolve_identity(&mut invocation, ambient, kest.as_ref())?;
        let engine = resolve_engine(&mut invocation, kest.as_ref())?;
        let workload = identity.workload_id()?;
        let operation = invocation.operation.take().unwrap_or(Cow::Borrowed(call.operation));
        let classification = invocation.classification.take().unwrap_or(Cow::Borrowed(call.classification));
        for (name, value) in [("operation", &operation), ("classification", &classification)] {
            if value.is_empty() {
                return Err(given::attribute(format!("`{name}` is empty; give it a name or leave it away")));
            }
        }

        if matches!(&*classification, "completion" | "snapshot" | "denial") {
            return Err(given::attribute(format!(
                "classification `{classification}` is kest's own; choose another, such as `data`"
            )));
        }

        let context = given::identity_context(&mut invocation, &outer, &*identity, kest.as_ref())?;
        let identity_json = given::identity_json(&context)?;
        let resource_attr_json =
            invocation.resource_attr.as_ref().map(|v| given::json("resource_attr", v)).transpose()?;
        let labels = given::labels(&mut invocation)?;
        let input_hash = match &invocation.inputs {
            Some(inputs) => completion::sha256_hex(
                &canonical::to_vec(inputs).map_err(|e| CanonicalizationError::new("hash_input", e))?,
            ),
            None => String::new(),
        };

        let parents = scope.as_ref().map(|s| s.tips()).unwrap_or_default();
        let default_model;
        let model = match &kest {
            Some(kest) => kest.trust_model(),
            None => {
                default_model = crate::trust::TrustModel::guide();
                &default_model
            }
        };
        let (evaluator, trust_model) = match (&invocation.trust_evaluator, &kest) {
            (Some(own), _) => (own, model.name_with(&**own)?),
            (None, Some(kest)) => (kest.evaluator(), Arc::clone(kest.model_name())),
            (None, None) => (model.evaluator(), Arc::from(model.name())),
        };
        let trust_override = invocation.trust_override.or(call.trust_override);
        let trust = Question {
            source: invocation.source_type.as_deref().or(call.source_type),
            trust_override,
            parents: &parents,
            env: &outer,
            model,
            evaluator: &**evaluator,
            kest: kest.as_ref(),
            scoped: scope.is_some(),
            operation: &operation,
        }
        .answer()?;

        let (added_taints, removed_taints) = given::own_taints(&invocation, trust_override)?;
        let inherited_taints = all_taints(&parents);
        let taints =
            taint::accumulate(std::slice::from_ref(&inherited_taints), &added_taints, &removed_taints);
        if taints.len() > given::MAX_TAINTS {
            return Err(given::too_many_taints(&operation, taints.len()));
        }

        let policies = given::policy_names(&mut invocation, &operation)?;
        let plan = Plan::new(&kests, call.function, policies, &engine);

        let system = Clock::System;
        let clock = kest.as_ref().map_or(&system, |k| k.clock());
        let (id, timestamp_ms) = clock.entry_id();
        let otel = span.span_context().map(|cx| (cx.trace_id().to_string(), cx.span_id().to_string()));
        let trace_id = match (&otel, &outer.trace_id, clock) {
            (Some((trace_id, _)), _, _) => Arc::from(trace_id.as_str()),
            (None, _, Clock::Fixed { start_ms, .. }) => Arc::from(format!("{start_ms:032x}")),
            (None, known, Clock::System) if !known.is_empty() => Arc::clone(known),
            (None, _, Clock::System) => clock::random_trace_id(),
        };
        let env = Arc::new(ScopeEnv {
            kests: outer.kests.clone(),
            trace_id,
            inherited: context,
            ambient: outer.ambient.clone(),
            invalid: None,
            jwt: outer.jwt.clone(),
            root_source: outer.root_source.clone(),
            ingress: outer.ingress,
        });

        let mut prepared = Self {
            call,
            operation,
            entry_id: write::text(&id),
            timestamp_ms,
            classification,
            identity,
            workload,
            kest,
            scope,
            env,
            parents,
            parent_hashes: Vec::new(),
            identity_json,
            resource_id: invocation.resource_id.take(),
            resource_attr: invocation
                .resource_attr
                .take()
                .unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            resource_attr_json,
            labels,
            trust,
            trust_override,
            trust_model,
            inherited_taints,
            added_taints,
            removed_taints,
            taints,
            input_hash,
            otel,
            plan,
            digests: Vec::new(),
        };
        prepared.name_parents();
        Ok(prepared)
    }

    /// Writes the parents' hashes anew.
    pub(super) fn name_parents(&mut self) {
        self.parent_hashes = match self.parents.is_empty() {
            true => vec!["0".to_owned()],
            false => self.parents.iter().rev().map(|n| hex(n.hash())).collect(),
        };
    }

    /// Who signs this call's entries, and where they are kept.
    pub(super) fn sealer(&self) -> Sealer {
        let oidc = self.identity.attributes().and_then(|attributes| attributes.oidc.as_ref());
        Sealer {
            identity: Arc::clone(&self.identity),
            workload: oidc.map_or_else(|| Arc::clone(&self.workload), |oidc| oidc.anchored_as().into()),
            audit: self.kest.as_ref().and_then(|kest| kest.audit().cloned()),
        }
    }
}

/// Tiers must not vanish with the working directory (spec §15).
fn refuse_lost_configuration(call: &CallSpec, kests: &[Kest]) -> Result<(), Error> {
    let Some(seen) = call.config_seen else { return Ok(()) };
    if kests.iter().any(Kest::config_settled) {
        return Ok(());
    }
    Err(ConfigurationError::new(
        ConfigurationErrorKind::MissingConfig,
        format!(
            "`{}` was compiled with `{seen}`, but none was found at run time: set `KEST_CONFIG` to its path, \
             or say `.without_config()` when building the `Kest`",
            call.function
        ),
    )
    .into())
}

/// A deployment that wants its entries kept must not run without the store (spec §15).
fn refuse_lost_audit(call: &CallSpec, kests: &[Kest]) -> Result<(), Error> {
    if kests.iter().all(|kest| kest.audit().is_some() || kest.config().audit.sink.is_none()) {
        return Ok(());
    }
    Err(AuditError::new(
        AuditErrorKind::NotOpen,
        format!(
            "`{}` did not run: the configuration has an audit sink that nobody has opened; pass the `Kest` through \
             `kest::configure` or `kest::reconfigure`, which do it, or give it one with `.audit(sink)`: the `audit()` \
             of a `Kest` of this process that has the same store open, else what `kest::audit::open(&config)?` opens",
            call.function
        ),
    )
    .into())
}

/// The identity that [`Prepared::new`] will ask, if there is one.
pub(super) fn identity_in_force(invocation: &Invocation) -> Option<Arc<dyn IdentityProvider>> {
    invocation.identity.clone().or_else(runtime::get_active_identity)
}

fn resolve_identity(
    invocation: &mut Invocation,
    ambient: Option<Arc<dyn IdentityProvider>>,
    kest: Option<&Kest>,
) -> Result<Arc<dyn IdentityProvider>, Error> {
    invocation.identity.take().or(ambient).ok_or_else(|| match kest {
        Some(_) => runtime::missing_identity().into(),
        None => missing("identity"),
    })
}

fn resolve_engine(invocation: &mut Invocation, kest: Option<&Kest>) -> Result<Arc<dyn PolicyEngine>, Error> {
    invocation.engine.take().or_else(|| kest.map(|k| Arc::clone(k.engine()))).ok_or_else(|| missing("engine"))
}

fn missing(what: &str) -> Error {
    ConfigurationError::new(
        ConfigurationErrorKind::MissingKest,
        format!(
            "no {what} is configured: call `kest::configure(…)` at start-up, \
             run the call in `kest.scope(…)`, or give `{what} = …` in the attribute"
        ),
    )
    .into()
}
