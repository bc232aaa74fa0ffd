//! The input of a policy on its own, as it stands in tables of cases and in the logs of policy servers. Spec §11.

use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::input::{Kept, Memo};
use super::{Environment, Object, PolicyInput, Subject, Tier};

/// An input that belongs to nobody's call: to try policies and engines with.
///
/// Reads the JSON document of spec §11. Every member may be left out: the call is then a root of score 0 without a
/// source, a user, an agent, a task, an object or taints, by `spiffe://example.org/workload`. `identity` and
/// `trust_score` say the same as `subject.workload` and `subject.trust_score`, so one of the two is enough.
///
/// ```
/// # use kest_core::policy::InputDocument;
/// let document: InputDocument = serde_json::from_str(r#"{"trust_score": 40, "object": {"attributes": {"n": 1}}}"#)?;
/// let input = document.as_input();
/// assert_eq!(input.subject.trust_score, 40);
/// assert!(input.environment.is_root);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct InputDocument {
    workload: String,
    user: Option<Value>,
    agent: Option<Value>,
    task: Option<Value>,
    trust_score: u8,
    taints: Vec<Arc<str>>,
    object_id: Option<String>,
    attributes: Value,
    environment: RawEnvironment,
    inherited_taints: Vec<Arc<str>>,
    removed_taints: Vec<Arc<str>>,
}

impl InputDocument {
    /// As an engine is asked with it in a call: what engines [share](PolicyInput::shared) of it is kept until `ask`
    /// returns, for all policies that it asks.
    pub fn with_input<R>(&self, ask: impl FnOnce(&PolicyInput<'_>) -> R) -> R {
        let memo = Memo::default();
        // By reference, so that nobody changes the input after something was made of it.
        ask(&PolicyInput { memo: Kept(Some(&memo)), ..self.as_input() })
    }

    /// As an engine is asked with it.
    #[must_use]
    pub fn as_input(&self) -> PolicyInput<'_> {
        let env = &self.environment;
        PolicyInput {
            subject: Subject {
                workload: &self.workload,
                user: self.user.as_ref(),
                agent: self.agent.as_ref(),
                task: self.task.as_ref(),
                trust_score: self.trust_score,
                taints: &self.taints,
            },
            object: Object { id: self.object_id.as_deref(), attributes: &self.attributes },
            environment: Environment {
                is_root: env.is_root.unwrap_or_default(),
                source_type: env.source_type.as_deref(),
                operation: &env.operation,
                function: &env.function,
                parent_hash: env.parent_hash.as_deref().unwrap_or_default(),
                parent_hashes: env.parent_hashes.as_deref().unwrap_or_default(),
                inherited_trust_score: env.inherited_trust_score,
                inherited_taints: &self.inherited_taints,
                trust_override: env.trust_override,
                removed_taints: &self.removed_taints,
                policy_names: &env.policy_names,
                policy_tier: env.policy_tier,
                active_deviations: &env.active_deviations,
            },
            identity: &self.workload,
            trust_score: self.trust_score,
            memo: Kept::default(),
        }
    }
}

impl Default for InputDocument {
    fn default() -> Self {
        Self {
            workload: "spiffe://example.org/workload".to_owned(),
            user: None,
            agent: None,
            task: None,
            trust_score: 0,
            taints: Vec::new(),
            object_id: None,
            attributes: json!({}),
            environment: RawEnvironment {
                is_root: Some(true),
                parent_hash: Some("0".to_owned()),
                parent_hashes: Some(vec!["0".to_owned()]),
                ..RawEnvironment::default()
            },
            inherited_taints: Vec::new(),
            removed_taints: Vec::new(),
        }
    }
}

impl Serialize for InputDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_input().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for InputDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        let empty = Self::default();
        let RawSubject { workload, user, agent, task, trust_score, taints } = raw.subject;
        let workload =
            one(workload, raw.identity, "subject.workload", "identity").map_err(D::Error::custom)?;
        let trust_score = one(trust_score, raw.trust_score, "subject.trust_score", "trust_score")
            .map_err(D::Error::custom)?
            .unwrap_or_default();
        let mut environment = raw.environment;
        for (name, score) in [
            ("trust_score", Some(trust_score)),
            ("inherited_trust_score", environment.inherited_trust_score),
            ("trust_override", environment.trust_override),
        ] {
            if let Some(score) = score.filter(|score| *score > 100) {
                return Err(D::Error::custom(format!("`{name}` is {score}; a score is 0 to 100")));
            }
        }
        let attributes = raw.object.attributes.unwrap_or(empty.attributes);
        if !attributes.is_object() {
            return Err(D::Error::custom("`object.attributes` is not an object"));
        }
        for (name, who) in [("user", &user), ("agent", &agent), ("task", &task)] {
            if !matches!(who, None | Some(Value::String(_) | Value::Object(_))) {
                return Err(D::Error::custom(format!("`subject.{name}` is no string, object or null")));
            }
        }
        let hashes = environment
            .parent_hashes
            .take()
            .unwrap_or_else(|| vec![environment.parent_hash.clone().unwrap_or_else(|| "0".to_owned())]);
        environment.parent_hash = environment.parent_hash.or_else(|| hashes.first().cloned());
        environment.is_root = environment.is_root.or(Some(hashes == ["0"]));
        environment.parent_hashes = Some(hashes);
        Ok(Self {
            workload: workload.unwrap_or(empty.workload),
            user,
            agent,
            task,
            trust_score,
            taints: shared(taints),
            object_id: raw.object.id,
            attributes,
            inherited_taints: shared(std::mem::take(&mut environment.inherited_taints)),
            removed_taints: shared(std::mem::take(&mut environment.removed_taints)),
            environment,
        })
    }
}

/// The value of two members that say the same.
fn one<T: PartialEq>(a: Option<T>, b: Option<T>, a_name: &str, b_name: &str) -> Result<Option<T>, String> {
    match (a, b) {
        (Some(a), Some(b)) if a != b => Err(format!("`{a_name}` and `{b_name}` differ; give one of them")),
        (a, b) => Ok(a.or(b)),
    }
}

fn shared(texts: Vec<String>) -> Vec<Arc<str>> {
    texts.into_iter().map(Arc::from).collect()
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    subject: RawSubject,
    object: RawObject,
    environment: RawEnvironment,
    identity: Option<String>,
    trust_score: Option<u8>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSubject {
    workload: Option<String>,
    user: Option<Value>,
    agent: Option<Value>,
    task: Option<Value>,
    trust_score: Option<u8>,
    taints: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawObject {
    id: Option<String>,
    attributes: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawEnvironment {
    is_root: Option<bool>,
    source_type: Option<String>,
    operation: String,
    function: String,
    parent_hash: Option<String>,
    parent_hashes: Option<Vec<String>>,
    inherited_trust_score: Option<u8>,
    inherited_taints: Vec<String>,
    trust_override: Option<u8>,
    removed_taints: Vec<String>,
    policy_names: Vec<String>,
    policy_tier: Tier,
    active_deviations: Vec<String>,
}

impl Default for RawEnvironment {
    fn default() -> Self {
        Self {
            is_root: None,
            source_type: None,
            operation: String::new(),
            function: String::new(),
            parent_hash: None,
            parent_hashes: None,
            inherited_trust_score: None,
            inherited_taints: Vec::new(),
            trust_override: None,
            removed_taints: Vec::new(),
            policy_names: Vec::new(),
            policy_tier: Tier::Function,
            active_deviations: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<InputDocument, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let document = read(json!({
            "subject": {"workload": "w", "user": {"sub": "alice"}, "agent": "a", "trust_score": 40, "taints": ["t"]},
            "object": {"id": "17", "attributes": {"amount": 4200}},
            "environment": {
                "source_type": "user_input", "operation": "charge", "function": "shop::charge",
                "parent_hash": "aa", "parent_hashes": ["aa", "bb"], "inherited_trust_score": 40,
                "inherited_taints": ["t"], "removed_taints": ["u"], "trust_override": 90,
                "policy_names": ["p"], "policy_tier": "platform", "active_deviations": ["d"],
            },
        }))
        .unwrap();
        let written = serde_json::to_value(&document).unwrap();
        assert_eq!(written["identity"], "w");
        assert_eq!(written["environment"]["is_root"], false);
        assert_eq!(serde_json::to_value(read(written.clone()).unwrap()).unwrap(), written);
    }

    #[test]
    fn nothing_is_a_root_of_score_0() {
        let read = serde_json::to_value(read(json!({})).unwrap()).unwrap();
        assert_eq!(read, serde_json::to_value(InputDocument::default()).unwrap());
        assert_eq!(read["environment"]["parent_hashes"], json!(["0"]));
        assert_eq!(read["object"], json!({"id": null, "attributes": {}}));
    }

    #[test]
    fn what_engines_share_is_kept_while_they_are_asked() {
        let document = InputDocument::default();
        document.with_input(|input| {
            let first = input.shared(|| vec![1]);
            assert!(Arc::ptr_eq(&first, &input.shared(|| vec![2])));
        });
        assert_eq!(document.with_input(|input| input.shared(|| vec![3])).as_slice(), [3]);
        assert_eq!(document.as_input().shared(|| vec![4]).as_slice(), [4]);
    }

    #[test]
    fn refused() {
        for (document, wanted) in [
            (json!({"trust_score": 101}), "0 to 100"),
            (json!({"environment": {"trust_override": 101}}), "0 to 100"),
            (json!({"trust_score": 1, "subject": {"trust_score": 2}}), "differ"),
            (json!({"identity": "a", "subject": {"workload": "b"}}), "differ"),
            (json!({"object": {"attributes": []}}), "not an object"),
            (json!({"subject": {"user": 5}}), "`subject.user`"),
            (json!({"subjct": {}}), "unknown field `subjct`"),
            (json!({"environment": {"policy_tier": "galaxy"}}), "galaxy"),
        ] {
            let error = read(document).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
