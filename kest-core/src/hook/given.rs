//! What the attribute gives, checked: context, labels, taints, policy names. Spec §6 steps 4 and 6.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::call::Invocation;
use crate::canonical;
use crate::config::check_policy_name;
use crate::error::{CanonicalizationError, ConfigurationError, ConfigurationErrorKind, Error};
use crate::identity::IdentityProvider;
use crate::lineage::scope::{IdentityContext, ScopeEnv};
use crate::lineage::{Member, baggage_identity, effective_identity};
use crate::runtime::Kest;
use crate::taint;

/// Name and value of a label of the user's own.
pub(super) type Label = (Cow<'static, str>, Cow<'static, str>);

/// A sorted set of taints that a call adds or removes.
pub(super) type OwnTaints = Vec<Arc<str>>;

/// Most taints of one entry. Spec §17.
pub(super) const MAX_TAINTS: usize = 256;

/// Most bytes of one taint. Spec §17.
const MAX_TAINT_BYTES: usize = 256;

pub(super) fn identity_context(
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
pub(super) fn identity_json(context: &IdentityContext) -> Result<Option<String>, Error> {
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

pub(super) fn json(place: &str, value: &Value) -> Result<String, Error> {
    canonical::to_string(value).map_err(|error| CanonicalizationError::new(place, error).into())
}

pub(super) fn labels(invocation: &mut Invocation) -> Result<Vec<Label>, Error> {
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
pub(super) fn own_taints(
    invocation: &Invocation,
    trust_override: Option<u8>,
) -> Result<(OwnTaints, OwnTaints), Error> {
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

pub(super) fn policy_names(invocation: &mut Invocation, operation: &str) -> Result<Vec<String>, Error> {
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

pub(super) fn attribute(message: String) -> Error {
    ConfigurationError::new(ConfigurationErrorKind::Attribute, message).into()
}

pub(super) fn too_many_taints(what: &str, found: usize) -> Error {
    taint_error(format!("`{what}` would carry {found} taints, more than {MAX_TAINTS}; sanitise some first"))
}

pub(super) fn taint_error(message: String) -> Error {
    ConfigurationError::new(ConfigurationErrorKind::Taints, message).into()
}
