//! [`PolicyInput`] as a Rego value, member by member and without a detour through JSON text.

use std::collections::BTreeMap;
use std::sync::Arc;

use kest_core::policy::{Environment, Object, PolicyInput, Subject, Tier};
use once_cell::sync::OnceCell;
use regorus::Value;
use serde_json::Value as Json;

/// A number that a Rego value cannot hold.
#[derive(Debug)]
pub(super) struct Unrepresentable(String);

impl Unrepresentable {
    pub(super) fn number(&self) -> &str {
        &self.0
    }
}

/// Names of members, made once per thread: shared ones would make threads contend for their counters.
macro_rules! names {
    ($($name:ident)*) => {
        struct Names { $($name: Value),* }

        impl Names {
            fn new() -> Self {
                Self { $($name: Value::from(stringify!($name))),* }
            }
        }
    };
}

names! {
    active_deviations agent application attributes enterprise environment function id identity inherited_taints
    inherited_trust_score is_root object operation parent_hash parent_hashes platform policy_names policy_tier
    removed_taints source_type subject taints task trust_override trust_score user workload
}

thread_local! {
    static NAMES: Names = Names::new();
}

/// The members of the input that a policy can see at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Members {
    environment: bool,
    identity: bool,
    object: bool,
    subject: bool,
    trust_score: bool,
}

impl Members {
    pub(super) const ALL: Self =
        Self { environment: true, identity: true, object: true, subject: true, trust_score: true };

    pub(super) fn add(&mut self, member: &str) {
        match member {
            "environment" => self.environment = true,
            "identity" => self.identity = true,
            "object" => self.object = true,
            "subject" => self.subject = true,
            "trust_score" => self.trust_score = true,
            // No such member: undefined, whatever is built.
            _ => {}
        }
    }
}

/// The input document of spec §11, as far as it is asked for.
///
/// What takes time to build is built once for all policies of a call and tier.
pub(super) fn document(input: &PolicyInput<'_>, members: Members) -> Result<Value, Unrepresentable> {
    if members.environment || members.object || members.subject {
        let forms = input.shared(Forms::default);
        if members == Members::ALL {
            return forms.whole.get_or_try_init(|| forms.document(input, members)).cloned();
        }
        return forms.document(input, members);
    }
    Forms::default().document(input, members)
}

/// The members of one input as Rego values, each built when a policy first reads it.
///
/// INVARIANT: they follow from the input alone, see [`PolicyInput::shared`]. Which policy asks first, and for which
/// members, decides only when they are built.
#[derive(Default)]
struct Forms {
    environment: OnceCell<Value>,
    object: OnceCell<Value>,
    subject: OnceCell<Value>,
    whole: OnceCell<Value>,
}

impl Forms {
    fn document(&self, input: &PolicyInput<'_>, members: Members) -> Result<Value, Unrepresentable> {
        NAMES.with(|n| {
            let mut all = BTreeMap::new();
            if members.environment {
                let value = self.environment.get_or_init(|| environment(n, &input.environment));
                all.insert(n.environment.clone(), value.clone());
            }
            if members.identity {
                all.insert(n.identity.clone(), Value::from(input.identity));
            }
            if members.object {
                let value = self.object.get_or_try_init(|| object(n, &input.object))?;
                all.insert(n.object.clone(), value.clone());
            }
            if members.subject {
                let value = self.subject.get_or_try_init(|| subject(n, &input.subject))?;
                all.insert(n.subject.clone(), value.clone());
            }
            if members.trust_score {
                all.insert(n.trust_score.clone(), score(input.trust_score));
            }
            Ok(Value::from(all))
        })
    }
}

// In each array the names are sorted: a `BTreeMap` is then built in one pass.

fn subject(n: &Names, subject: &Subject<'_>) -> Result<Value, Unrepresentable> {
    let key = Value::clone;
    Ok(Value::from(BTreeMap::from([
        (key(&n.agent), optional(subject.agent)?),
        (key(&n.taints), shared(subject.taints)),
        (key(&n.task), optional(subject.task)?),
        (key(&n.trust_score), score(subject.trust_score)),
        (key(&n.user), optional(subject.user)?),
        (key(&n.workload), Value::from(subject.workload)),
    ])))
}

fn object(n: &Names, object: &Object<'_>) -> Result<Value, Unrepresentable> {
    Ok(Value::from(BTreeMap::from([
        (n.attributes.clone(), json(object.attributes)?),
        (n.id.clone(), text(object.id)),
    ])))
}

fn environment(n: &Names, env: &Environment<'_>) -> Value {
    let key = Value::clone;
    let tier = match env.policy_tier {
        Tier::Enterprise => &n.enterprise,
        Tier::Platform => &n.platform,
        Tier::Application => &n.application,
        Tier::Function => &n.function,
    };
    Value::from(BTreeMap::from([
        (key(&n.active_deviations), strings(env.active_deviations)),
        (key(&n.function), Value::from(env.function)),
        (key(&n.inherited_taints), shared(env.inherited_taints)),
        (key(&n.inherited_trust_score), env.inherited_trust_score.map_or(Value::Null, score)),
        (key(&n.is_root), Value::from(env.is_root)),
        (key(&n.operation), Value::from(env.operation)),
        (key(&n.parent_hash), Value::from(env.parent_hash)),
        (key(&n.parent_hashes), strings(env.parent_hashes)),
        (key(&n.policy_names), strings(env.policy_names)),
        (key(&n.policy_tier), key(tier)),
        (key(&n.removed_taints), shared(env.removed_taints)),
        (key(&n.source_type), text(env.source_type)),
        (key(&n.trust_override), env.trust_override.map_or(Value::Null, score)),
    ]))
}

fn score(score: u8) -> Value {
    Value::from(u64::from(score))
}

fn text(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

fn shared(list: &[Arc<str>]) -> Value {
    Value::from(list.iter().map(|item| Value::String(Arc::clone(item))).collect::<Vec<_>>())
}

fn strings(list: &[String]) -> Value {
    Value::from(list.iter().map(|item| Value::from(item.as_str())).collect::<Vec<_>>())
}

fn optional(value: Option<&Json>) -> Result<Value, Unrepresentable> {
    value.map_or(Ok(Value::Null), json)
}

fn json(value: &Json) -> Result<Value, Unrepresentable> {
    Ok(match value {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::from(*b),
        Json::Number(number) => {
            if let Some(n) = number.as_u64() {
                Value::from(n)
            } else if let Some(n) = number.as_i64() {
                Value::from(n)
            } else if let Some(n) = number.as_f64().filter(|n| n.is_finite()) {
                Value::from(n)
            } else {
                return Err(Unrepresentable(number.to_string()));
            }
        }
        Json::String(s) => Value::from(s.as_str()),
        Json::Array(items) => Value::from(items.iter().map(json).collect::<Result<Vec<_>, _>>()?),
        Json::Object(members) => Value::from(
            members
                .iter()
                .map(|(name, value)| Ok((Value::from(name.as_str()), json(value)?)))
                .collect::<Result<BTreeMap<_, _>, _>>()?,
        ),
    })
}
