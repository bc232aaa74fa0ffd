//! A call made ready: identity, engine, lineage, context, trust and taints resolved. Spec §6 steps 1–6.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::KeyValue;
use serde_json::Value;
use uuid::Uuid;

use super::plan::{Plan, kests_in_force};
use super::trust::{Question, Trust};
use super::{Draft, Sealer, completion};
use crate::call::{CallSpec, Invocation};
use crate::canonical;
use crate::clock::{self, Clock};
use crate::config::check_policy_name;
use crate::error::{
    CanonicalizationError, ConfigurationError, ConfigurationErrorKind, Error, PolicyDenied, PolicyUnavailable,
};
use crate::identity::IdentityProvider;
use crate::jws::hex;
use crate::lineage::scope::{self, IdentityContext, Scope, ScopeEnv};
use crate::lineage::{Member, baggage_identity, effective_identity};
use crate::passport::{Node, Tips};
use crate::payload::{Completes, Payload, PolicyLists};
use crate::policy::{Decision, Environment, Object, PolicyEngine, PolicyInput, Subject};
use crate::runtime::{self, Kest};
use crate::taint::{self, TaintSet};
use crate::telemetry::CallSpan;

/// Most taints of one entry, and the most bytes of one taint. Spec §17.
const MAX_TAINTS: usize = 256;
const MAX_TAINT_BYTES: usize = 256;

/// Everything the pipeline knows of a call.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) call: &'static CallSpec,
    pub(super) operation: Cow<'static, str>,
    pub(super) entry_id: String,
    timestamp_ms: u64,
    classification: Cow<'static, str>,
    identity: Arc<dyn IdentityProvider>,
    workload: Arc<str>,
    kest: Option<Kest>,
    pub(super) scope: Option<Arc<Scope>>,
    /// What the body's scope shares: this call's identity context is what calls inside inherit.
    pub(super) env: Arc<ScopeEnv>,
    /// Oldest first.
    pub(super) parents: Tips,
    /// Newest first; `["0"]` for a root.
    parent_hashes: Vec<String>,
    identity_json: Option<String>,
    resource_id: Option<String>,
    resource_attr: Value,
    resource_attr_json: Option<String>,
    labels: Vec<Label>,
    trust: Trust,
    trust_override: Option<u8>,
    trust_model: Arc<str>,
    inherited_taints: TaintSet,
    added_taints: Vec<Arc<str>>,
    removed_taints: Vec<Arc<str>>,
    taints: TaintSet,
    input_hash: String,
    otel: Option<(String, String)>,
    plan: Plan,
    digests: Vec<(String, Arc<str>)>,
}

impl Prepared {
    pub(super) fn new(mut invocation: Invocation, span: &CallSpan) -> Result<Self, Error> {
        if let Some(error) = invocation.error.take() {
            return Err(*error);
        }
        let call = invocation.call;
        let scope = scope::current();
        let outer = scope.as_ref().map_or_else(Arc::<ScopeEnv>::default, |s| Arc::clone(s.env()));
        let kests = kests_in_force(&outer.kests, runtime::global());
        let kest = kests.last().cloned();
        refuse_lost_configuration(call, &kests)?;

        let identity = resolve_identity(&mut invocation, kest.as_ref())?;
        let engine = resolve_engine(&mut invocation, kest.as_ref())?;
        let workload = identity.workload_id()?;
        let operation = invocation.operation.take().unwrap_or(Cow::Borrowed(call.operation));
        let classification = invocation.classification.take().unwrap_or(Cow::Borrowed(call.classification));
        for (name, value) in [("operation", &operation), ("classification", &classification)] {
            if value.is_empty() {
                return Err(attribute(format!("`{name}` is empty; give it a name or leave it away")));
            }
        }

        if matches!(&*classification, "completion" | "snapshot" | "denial") {
            return Err(attribute(format!(
                "classification `{classification}` is kest's own; choose another, such as `data`"
            )));
        }

        let context = identity_context(&mut invocation, &outer, &*identity, kest.as_ref())?;
        let identity_json = identity_json(&context)?;
        let resource_attr_json =
            invocation.resource_attr.as_ref().map(|v| json("resource_attr", v)).transpose()?;
        let labels = labels(&mut invocation)?;
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
            (Some(own), _) => (own, Arc::from(format!("{}/{}", model.name(), own.name()))),
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
            operation: &operation,
        }
        .answer()?;

        let (added_taints, removed_taints) = own_taints(&invocation, trust_override)?;
        let sets: smallvec::SmallVec<[TaintSet; 1]> =
            parents.iter().map(|n| Arc::clone(n.taints())).collect();
        let inherited_taints = taint::accumulate(&sets, &[], &[]);
        let taints =
            taint::accumulate(std::slice::from_ref(&inherited_taints), &added_taints, &removed_taints);
        if taints.len() > MAX_TAINTS {
            return Err(taint_error(format!(
                "`{operation}` would carry {} taints, more than {MAX_TAINTS}; sanitise some first",
                taints.len()
            )));
        }

        let policies = policy_names(&mut invocation, &operation)?;
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
            root_source: outer.root_source.clone(),
            ingress: outer.ingress,
        });

        let mut prepared = Self {
            call,
            operation,
            entry_id: text(&id),
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

    pub(super) fn checks(&self) -> usize {
        self.plan.checks.len()
    }

    /// The engine, the input and the policy of one check.
    pub(super) fn question(&self, index: usize) -> (Arc<dyn PolicyEngine>, PolicyInput<'_>, &str) {
        // `index` comes from `0..self.checks()`.
        #[allow(clippy::indexing_slicing, reason = "the pipeline counts up to `checks()`")]
        let check = &self.plan.checks[index];
        let identity = &self.env.inherited;
        let input = PolicyInput {
            subject: Subject {
                workload: &self.workload,
                user: identity.user.as_deref(),
                agent: identity.agent.as_deref(),
                task: identity.task.as_deref(),
                trust_score: self.trust.score,
                taints: &self.taints,
            },
            object: Object { id: self.resource_id.as_deref(), attributes: &self.resource_attr },
            environment: Environment {
                is_root: self.parents.is_empty(),
                source_type: self.trust.source.as_deref(),
                operation: &self.operation,
                function: self.call.function,
                parent_hash: self.parent_hashes.first().map_or("0", String::as_str),
                parent_hashes: &self.parent_hashes,
                inherited_trust_score: self.trust.inherited,
                inherited_taints: &self.inherited_taints,
                trust_override: self.trust_override,
                removed_taints: &self.removed_taints,
                policy_names: self.plan.lists.of(check.tier),
                policy_tier: check.tier,
                active_deviations: &self.plan.active,
            },
            identity: &self.workload,
            trust_score: self.trust.score,
        };
        (Arc::clone(&check.engine), input, &check.policy)
    }

    /// Takes an engine's answer; anything but an allow ends the call.
    pub(super) fn judge(
        &mut self,
        index: usize,
        answer: Result<Decision, PolicyUnavailable>,
    ) -> Result<(), Error> {
        #[allow(clippy::indexing_slicing, reason = "the pipeline counts up to `checks()`")]
        let check = &self.plan.checks[index];
        match answer {
            Ok(Decision::Allow { digest }) => {
                if let Some(digest) = digest {
                    self.digests.push((check.policy.clone(), digest));
                }
                Ok(())
            }
            Ok(Decision::Deny { reason }) => {
                let hint = self.trust.defaulted.then(|| {
                    format!(
                        "the lineage starts here without a source, so its trust score is {}: \
                         give `source_type = \"…\"`, or open the scope with `.source(\"…\")`",
                        self.trust.score
                    )
                });
                tracing::warn!(
                    target: "kest",
                    entry_id = %self.entry_id,
                    policy = %check.policy,
                    tier = %check.tier,
                    workload_id = %self.workload,
                    operation = %self.operation,
                    reason = reason.as_deref().unwrap_or(""),
                    "denied"
                );
                let tier = check.tier.as_str();
                Err(PolicyDenied::new(&check.policy, tier, reason, &self.entry_id, &self.operation, hint)
                    .into())
            }
            Err(error) => {
                tracing::error!(
                    target: "kest",
                    entry_id = %self.entry_id,
                    policy = %check.policy,
                    tier = %check.tier,
                    workload_id = %self.workload,
                    operation = %self.operation,
                    %error,
                    "no decision, so the call did not run"
                );
                Err(error.into())
            }
        }
    }

    /// Who signs this call's entries, and where they are kept.
    pub(super) fn sealer(&self) -> Sealer {
        Sealer {
            identity: Arc::clone(&self.identity),
            audit: self.kest.as_ref().and_then(|kest| kest.audit().cloned()),
        }
    }

    /// The entry of the call itself.
    pub(super) fn draft(&self) -> Draft {
        let payload = self.write(Written {
            entry_id: &self.entry_id,
            timestamp_ms: self.timestamp_ms,
            operation: &self.operation,
            classification: &self.classification,
            parent_ids: &self.parent_hashes,
            trust_score: self.trust.score,
            taints: &self.taints,
            own: true,
            completes: None,
            content_hash: "",
        });
        Draft {
            entry_id: self.entry_id.clone(),
            payload,
            parents: self.parents.clone(),
            trust: self.trust.score,
            taints: Arc::clone(&self.taints),
        }
    }

    /// An entry that Kest adds by itself around the call's own: a join, or a completion.
    #[allow(clippy::too_many_arguments, reason = "each is one member of the entry")]
    pub(super) fn side_entry(
        &self,
        operation: &str,
        classification: &str,
        parents: Tips,
        trust: u8,
        taints: TaintSet,
        completes: Option<Completes<'_>>,
        content_hash: &str,
    ) -> Draft {
        let system = Clock::System;
        let (id, timestamp_ms) = self.kest.as_ref().map_or(&system, |k| k.clock()).entry_id();
        let entry_id = text(&id);
        let parent_ids: Vec<String> = parents.iter().rev().map(|n| hex(n.hash())).collect();
        let payload = self.write(Written {
            entry_id: &entry_id,
            timestamp_ms,
            operation,
            classification,
            parent_ids: &parent_ids,
            trust_score: trust,
            taints: &taints,
            own: false,
            completes,
            content_hash,
        });
        Draft { entry_id, payload, parents, trust, taints }
    }

    fn write(&self, written: Written<'_>) -> Vec<u8> {
        let nothing = PolicyLists::default();
        let own = written.own;
        let mut labels: Vec<(&str, &str)> = Vec::with_capacity(self.labels.len() + 5);
        labels.push(("principal", &self.workload));
        labels.push(("trace_id", &self.env.trace_id));
        labels.extend(self.identity_json.as_deref().map(|json| ("kest.identity", json)));
        let mut digests = Vec::new();
        if own {
            labels.extend(self.resource_attr_json.as_deref().map(|json| ("kest.resource_attr", json)));
            labels.extend(self.resource_id.as_deref().map(|id| ("kest.resource_id", id)));
            labels.extend(self.labels.iter().map(|(name, value)| (&**name, &**value)));
            digests.extend(self.digests.iter().map(|(name, digest)| (name.as_str(), &**digest)));
        }
        Payload {
            entry_id: written.entry_id,
            timestamp_ms: written.timestamp_ms,
            operation: written.operation,
            classification: written.classification,
            trust_score: written.trust_score,
            parent_ids: written.parent_ids,
            added_taints: if own { &self.added_taints } else { &[] },
            removed_taints: if own { &self.removed_taints } else { &[] },
            taints: written.taints,
            labels,
            policies: if own { &self.plan.lists } else { &nothing },
            deviations: if own { &self.plan.deviations } else { &[] },
            otel: self.otel.as_ref().map(|(trace, span)| (trace.as_str(), span.as_str())),
            function: self.call.function,
            trust_source: if own { self.trust.source.as_deref() } else { None },
            trust_override: if own { self.trust_override } else { None },
            trust_model: &self.trust_model,
            digests,
            completes: written.completes,
            content_hash: written.content_hash,
            input_hash: if own { &self.input_hash } else { "" },
        }
        .write()
    }

    /// Attributes of a span that is recorded.
    pub(super) fn attributes(&self, entry: &Arc<Node>) -> Vec<KeyValue> {
        let lists = &self.plan.lists;
        let ids: Vec<&str> = [&lists.enterprise, &lists.platform, &lists.application, &lists.function]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        vec![
            KeyValue::new("kest.allowed", true),
            KeyValue::new("kest.entry_id", self.entry_id.clone()),
            KeyValue::new("kest.operation", self.operation.to_string()),
            KeyValue::new("kest.parent_hash", self.parent_hashes.first().cloned().unwrap_or_default()),
            KeyValue::new("kest.policy_ids", ids.join(",")),
            KeyValue::new("kest.signature", entry.jws().to_owned()),
            KeyValue::new("kest.trust_score", i64::from(self.trust.score)),
            KeyValue::new("kest.workload_id", self.workload.to_string()),
        ]
    }
}

/// Name and value of a label of the user's own.
type Label = (Cow<'static, str>, Cow<'static, str>);

/// A sorted set of taints that a call adds or removes.
type OwnTaints = Vec<Arc<str>>;

/// A UUID with hyphens, lower-case.
fn text(id: &Uuid) -> String {
    id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned()
}

/// What differs between a call's entry and those Kest adds.
#[derive(Debug)]
struct Written<'a> {
    entry_id: &'a str,
    timestamp_ms: u64,
    operation: &'a str,
    classification: &'a str,
    parent_ids: &'a [String],
    trust_score: u8,
    taints: &'a [Arc<str>],
    /// Whether it is the call's own entry, with the call's policies, taints and labels.
    own: bool,
    completes: Option<Completes<'a>>,
    content_hash: &'a str,
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

fn resolve_identity(
    invocation: &mut Invocation,
    kest: Option<&Kest>,
) -> Result<Arc<dyn IdentityProvider>, Error> {
    invocation
        .identity
        .take()
        .or_else(|| kest.map(|k| Arc::clone(k.identity())))
        .ok_or_else(|| missing("identity"))
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

fn identity_context(
    invocation: &mut Invocation,
    env: &ScopeEnv,
    provider: &dyn IdentityProvider,
    kest: Option<&Kest>,
) -> Result<IdentityContext, Error> {
    if let Some(invalid) = &env.invalid {
        let (member, error) = &**invalid;
        return Err(error.clone().in_attribute("attribute", member).into());
    }
    let fixed = provider.attributes();
    let believes_baggage = kest.is_some_and(|k| k.config().propagation.trust_baggage_identity);
    let resolve = |explicit: Option<Value>, fixed: Option<&Value>, member: Member| {
        explicit.or_else(|| fixed.cloned()).map(Arc::new).or_else(|| effective_identity(env, member)).or_else(
            || {
                believes_baggage
                    .then(|| baggage_identity(member))
                    .flatten()
                    .map(|v| Arc::new(Value::String(v)))
            },
        )
    };
    Ok(IdentityContext {
        user: resolve(invocation.user.take(), fixed.and_then(|f| f.user.as_ref()), Member::User),
        agent: resolve(invocation.agent.take(), fixed.and_then(|f| f.agent.as_ref()), Member::Agent),
        task: resolve(invocation.task.take(), fixed.and_then(|f| f.task.as_ref()), Member::Task),
    })
}

/// The given members only, in canonical order: agent, task, user.
fn identity_json(context: &IdentityContext) -> Result<Option<String>, Error> {
    let mut out = String::new();
    for member in [Member::Agent, Member::Task, Member::User] {
        if let Some(value) = member.of(context) {
            out.push(if out.is_empty() { '{' } else { ',' });
            out.push('"');
            out.push_str(member.name());
            out.push_str("\":");
            out.push_str(&json(member.name(), value)?);
        }
    }
    if out.is_empty() {
        return Ok(None);
    }
    out.push('}');
    Ok(Some(out))
}

fn json(place: &str, value: &Value) -> Result<String, Error> {
    canonical::to_string(value).map_err(|error| CanonicalizationError::new(place, error).into())
}

fn labels(invocation: &mut Invocation) -> Result<Vec<Label>, Error> {
    let mut labels: Vec<Label> = invocation
        .call
        .labels
        .iter()
        .map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value)))
        .collect();
    labels.extend(invocation.labels.drain(..).map(|(name, value)| (name, Cow::Owned(value))));
    let refuse =
        |message: String| Err(ConfigurationError::new(ConfigurationErrorKind::Labels, message).into());
    for (index, (name, _)) in labels.iter().enumerate() {
        if name.starts_with("kest.") || matches!(&**name, "principal" | "trace_id") {
            return refuse(format!("label `{name}` is reserved; choose a name outside `kest.*`"));
        }
        if labels.iter().skip(index + 1).any(|(other, _)| other == name) {
            return refuse(format!("label `{name}` is given twice"));
        }
    }
    Ok(labels)
}

/// The taints the call adds and removes, each a sorted set.
fn own_taints(invocation: &Invocation, trust_override: Option<u8>) -> Result<(OwnTaints, OwnTaints), Error> {
    let call = invocation.call;
    let given = |run_time: &Option<Vec<String>>, literal: &[&str]| match run_time {
        Some(names) => taint::set(names),
        None => taint::set(literal),
    };
    let added = given(&invocation.added_taints, call.added_taints);
    let removed = given(&invocation.removed_taints, call.removed_taints);
    for name in added.iter().chain(&removed) {
        if name.is_empty() {
            return Err(taint_error("a taint is empty; give it a name".to_owned()));
        }
        if name.len() > MAX_TAINT_BYTES {
            return Err(taint_error(format!("taint `{name}` is longer than {MAX_TAINT_BYTES} bytes")));
        }
    }
    if !removed.is_empty() && !call.sanitizer && trust_override.is_none() {
        return Err(taint_error(format!(
            "`{}` removes taints without being a sanitiser; add `sanitizer` or `trust_override = …`",
            call.function
        )));
    }
    Ok((added, removed))
}

fn policy_names(invocation: &mut Invocation, operation: &str) -> Result<Vec<String>, Error> {
    let names = match invocation.policies.take() {
        Some(names) => {
            names.iter().try_for_each(|name| check_policy_name(name))?;
            names
        }
        None => invocation.call.policies.iter().map(|name| (*name).to_owned()).collect(),
    };
    if names.is_empty() {
        return Err(ConfigurationError::new(
            ConfigurationErrorKind::PolicyNames,
            format!("`{operation}` has an empty policy list; name at least one policy"),
        )
        .into());
    }
    Ok(names)
}

fn attribute(message: String) -> Error {
    ConfigurationError::new(ConfigurationErrorKind::Attribute, message).into()
}

fn taint_error(message: String) -> Error {
    ConfigurationError::new(ConfigurationErrorKind::Taints, message).into()
}
