//! [`PolicyInput`] as a Rego value, member by member and without a detour through JSON text.

use std::collections::BTreeMap;
use std::sync::Arc;

use kest_core::policy::{Environment, Object, PolicyInput, Subject};
use once_cell::sync::OnceCell;
use regorus::Value;
use serde_json::Value as Json;

use super::reads::Reads;

/// A number that a Rego value cannot hold.
#[derive(Debug)]
pub(super) struct Unrepresentable(String);

impl Unrepresentable {
    pub(super) fn number(&self) -> &str {
        &self.0
    }
}

/// The input document of spec §11, as far as it is read.
///
/// The whole document, and its members that are read as a whole, are built once for all policies of a call and tier.
pub(super) fn document(input: &PolicyInput<'_>, reads: &Reads) -> Result<Value, Unrepresentable> {
    match reads {
        Reads::Whole => {
            let forms = input.shared(Forms::default);
            let whole = || NAMES.with(|names| part(&names.input, |name, reads| member(input, name, reads)));
            forms.whole.get_or_try_init(whole).cloned()
        }
        Reads::Members(members) => part(members, |name, reads| member(input, name, reads)),
    }
}

/// Parts of one input as Rego values, each built when a policy first reads it as a whole.
///
/// INVARIANT: they follow from the input alone, see [`PolicyInput::shared`]. Which policy asks first decides only when
/// they are built. What a policy reads of a part is built for that policy.
#[derive(Default)]
struct Forms {
    environment: OnceCell<Value>,
    object: OnceCell<Value>,
    subject: OnceCell<Value>,
    whole: OnceCell<Value>,
}

type Members = [(Arc<str>, Reads)];

/// Names of all members, made once per thread: shared ones would make threads contend for their counters.
struct Names {
    environment: Box<Members>,
    input: Box<Members>,
    object: Box<Members>,
    subject: Box<Members>,
}

thread_local! {
    static NAMES: Names = Names::new();
}

impl Names {
    fn new() -> Self {
        let all = |names: &[&str]| names.iter().map(|&name| (name.into(), Reads::Whole)).collect();
        Self {
            environment: all(&[
                "active_deviations",
                "function",
                "inherited_taints",
                "inherited_trust_score",
                "is_root",
                "operation",
                "parent_hash",
                "parent_hashes",
                "policy_names",
                "policy_tier",
                "removed_taints",
                "source_type",
                "trust_override",
            ]),
            input: all(&["environment", "identity", "object", "subject", "trust_score"]),
            object: all(&["attributes", "id"]),
            subject: all(&["agent", "taints", "task", "trust_score", "user", "workload"]),
        }
    }
}

/// An object of those members that are there.
fn part(
    members: &Members,
    get: impl Fn(&str, &Reads) -> Result<Option<Value>, Unrepresentable>,
) -> Result<Value, Unrepresentable> {
    let mut all = BTreeMap::new();
    for (name, reads) in members {
        if let Some(value) = get(name, reads)? {
            all.insert(Value::String(Arc::clone(name)), value);
        }
    }
    Ok(Value::from(all))
}

// INVARIANT: a member that is there is never left out, for whatever reads say; and below a value that is no object
// there is nothing to read, so it is given as it is.

fn member(input: &PolicyInput<'_>, name: &str, reads: &Reads) -> Result<Option<Value>, Unrepresentable> {
    let forms = || input.shared(Forms::default);
    let (subject_of, object_of, environment_of) = (&input.subject, &input.object, &input.environment);
    Ok(Some(match (name, reads) {
        ("environment", Reads::Members(members)) => {
            part(members, |name, _| environment(environment_of, name))?
        }
        ("environment", Reads::Whole) => {
            let all = |names: &Names| part(&names.environment, |name, _| environment(environment_of, name));
            forms().environment.get_or_try_init(|| NAMES.with(all))?.clone()
        }
        ("object", Reads::Members(members)) => part(members, |name, reads| object(object_of, name, reads))?,
        ("object", Reads::Whole) => {
            let all = |names: &Names| part(&names.object, |name, reads| object(object_of, name, reads));
            forms().object.get_or_try_init(|| NAMES.with(all))?.clone()
        }
        ("subject", Reads::Members(members)) => {
            part(members, |name, reads| subject(subject_of, name, reads))?
        }
        ("subject", Reads::Whole) => {
            let all = |names: &Names| part(&names.subject, |name, reads| subject(subject_of, name, reads));
            forms().subject.get_or_try_init(|| NAMES.with(all))?.clone()
        }
        ("identity", _) => Value::from(input.identity),
        ("trust_score", _) => score(input.trust_score),
        // No such member: undefined, whatever is built.
        _ => return Ok(None),
    }))
}

fn subject(subject: &Subject<'_>, name: &str, reads: &Reads) -> Result<Option<Value>, Unrepresentable> {
    Ok(Some(match name {
        "agent" => optional(subject.agent, reads)?,
        "taints" => shared(subject.taints),
        "task" => optional(subject.task, reads)?,
        "trust_score" => score(subject.trust_score),
        "user" => optional(subject.user, reads)?,
        "workload" => Value::from(subject.workload),
        _ => return Ok(None),
    }))
}

fn object(object: &Object<'_>, name: &str, reads: &Reads) -> Result<Option<Value>, Unrepresentable> {
    Ok(Some(match name {
        "attributes" => json(object.attributes, reads)?,
        "id" => text(object.id),
        _ => return Ok(None),
    }))
}

fn environment(env: &Environment<'_>, name: &str) -> Result<Option<Value>, Unrepresentable> {
    Ok(Some(match name {
        "active_deviations" => strings(env.active_deviations),
        "function" => Value::from(env.function),
        "inherited_taints" => shared(env.inherited_taints),
        "inherited_trust_score" => env.inherited_trust_score.map_or(Value::Null, score),
        "is_root" => Value::from(env.is_root),
        "operation" => Value::from(env.operation),
        "parent_hash" => Value::from(env.parent_hash),
        "parent_hashes" => strings(env.parent_hashes),
        "policy_names" => strings(env.policy_names),
        "policy_tier" => Value::from(env.policy_tier.as_str()),
        "removed_taints" => shared(env.removed_taints),
        "source_type" => text(env.source_type),
        "trust_override" => env.trust_override.map_or(Value::Null, score),
        _ => return Ok(None),
    }))
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

fn optional(value: Option<&Json>, reads: &Reads) -> Result<Value, Unrepresentable> {
    value.map_or(Ok(Value::Null), |value| json(value, reads))
}

fn json(value: &Json, reads: &Reads) -> Result<Value, Unrepresentable> {
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
        Json::Array(items) => {
            Value::from(items.iter().map(|item| json(item, &Reads::Whole)).collect::<Result<Vec<_>, _>>()?)
        }
        Json::Object(all) => match reads {
            Reads::Members(members) => {
                part(members, |name, reads| all.get(name).map(|value| json(value, reads)).transpose())?
            }
            Reads::Whole => Value::from(
                all.iter()
                    .map(|(name, value)| Ok((Value::from(name.as_str()), json(value, reads)?)))
                    .collect::<Result<BTreeMap<_, _>, _>>()?,
            ),
        },
    })
}

#[cfg(test)]
mod tests;
