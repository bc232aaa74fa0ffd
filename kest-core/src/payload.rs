//! The payload of an entry, written straight in canonical form: RFC 8785, spec §2.
//!
//! Members are written in the order of their keys' UTF-16 code units. The form is fixed, so no tree is
//! built; property tests hold the writer to a general canonicaliser.

use std::sync::Arc;

use crate::canonical::{cmp_keys, write_str, write_u64};
use crate::config::Deviation;
use crate::policy::Tier;

/// The schema this library writes.
pub const SCHEMA_VERSION: &str = "0.3.0";
/// `runtime.name` of entries made by this library.
pub const RUNTIME_NAME: &str = "kest-rust";
/// `runtime.version` of entries made by this library.
pub const RUNTIME_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Names of policies as evaluated, by tier.
#[derive(Debug, Clone, Default)]
pub(crate) struct PolicyLists {
    pub(crate) enterprise: Vec<String>,
    pub(crate) platform: Vec<String>,
    pub(crate) application: Vec<String>,
    pub(crate) function: Vec<String>,
}

impl PolicyLists {
    pub(crate) fn of(&self, tier: Tier) -> &Vec<String> {
        match tier {
            Tier::Enterprise => &self.enterprise,
            Tier::Platform => &self.platform,
            Tier::Application => &self.application,
            Tier::Function => &self.function,
        }
    }

    pub(crate) fn of_mut(&mut self, tier: Tier) -> &mut Vec<String> {
        match tier {
            Tier::Enterprise => &mut self.enterprise,
            Tier::Platform => &mut self.platform,
            Tier::Application => &mut self.application,
            Tier::Function => &mut self.function,
        }
    }
}

/// What only a `completion` entry says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completes<'a> {
    pub(crate) entry_id: &'a str,
    pub(crate) outcome: &'static str,
}

/// What only the receipt of a denial says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Denied<'a> {
    pub(crate) policy: &'a str,
    pub(crate) tier: &'a str,
    pub(crate) reason: Option<&'a str>,
}

/// Everything an entry says.
#[derive(Debug)]
pub(crate) struct Payload<'a> {
    pub(crate) entry_id: &'a str,
    pub(crate) timestamp_ms: u64,
    pub(crate) operation: &'a str,
    pub(crate) classification: &'a str,
    pub(crate) trust_score: u8,
    /// Newest first; `["0"]` for a root.
    pub(crate) parent_ids: &'a [String],
    pub(crate) added_taints: &'a [Arc<str>],
    pub(crate) removed_taints: &'a [Arc<str>],
    pub(crate) taints: &'a [Arc<str>],
    pub(crate) labels: Vec<(&'a str, &'a str)>,
    pub(crate) policies: &'a PolicyLists,
    pub(crate) deviations: &'a [Deviation],
    /// Trace id and span id, when a span is active.
    pub(crate) otel: Option<(&'a str, &'a str)>,
    pub(crate) function: &'a str,
    pub(crate) trust_source: Option<&'a str>,
    pub(crate) trust_override: Option<u8>,
    pub(crate) trust_model: &'a str,
    /// Name and digest, of the policies whose text the engine knows.
    pub(crate) digests: Vec<(&'a str, &'a str)>,
    pub(crate) completes: Option<Completes<'a>>,
    pub(crate) denied: Option<Denied<'a>>,
    pub(crate) content_hash: &'a str,
    pub(crate) input_hash: &'a str,
}

impl Payload<'_> {
    /// The canonical bytes.
    pub(crate) fn write(mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1_024);
        let o = &mut out;
        raw(o, "{\"added_taints\":");
        strings(o, self.added_taints);
        raw(o, ",\"classification\":");
        write_str(o, self.classification);
        raw(o, ",\"content_hash\":\"");
        raw(o, self.content_hash);
        raw(o, "\",\"entry_id\":\"");
        raw(o, self.entry_id);
        raw(o, "\",\"environment\":{},\"input_hash\":\"");
        raw(o, self.input_hash);
        raw(o, "\",\"labels\":");
        self.labels.sort_unstable_by(|(a, _), (b, _)| cmp_keys(a, b));
        pairs(o, &self.labels);
        raw(o, ",\"metadata\":{");
        if let Some(completes) = self.completes {
            raw(o, "\"completes\":\"");
            raw(o, completes.entry_id);
            raw(o, "\",");
        }
        if let Some(denied) = self.denied {
            raw(o, "\"denied\":{\"policy\":");
            write_str(o, denied.policy);
            raw(o, ",\"reason\":");
            nullable(o, denied.reason);
            raw(o, ",\"tier\":");
            write_str(o, denied.tier);
            raw(o, "},");
        }
        raw(o, "\"function\":");
        write_str(o, self.function);
        if let Some(completes) = self.completes {
            raw(o, ",\"outcome\":\"");
            raw(o, completes.outcome);
            raw(o, "\"");
        }
        raw(o, ",\"policies\":");
        self.digests.sort_unstable_by(|(a, _), (b, _)| cmp_keys(a, b));
        pairs(o, &self.digests);
        raw(o, ",\"trust\":{\"model\":");
        write_str(o, self.trust_model);
        raw(o, ",\"override\":");
        match self.trust_override {
            Some(score) => write_u64(o, score.into()),
            None => raw(o, "null"),
        }
        raw(o, ",\"source_type\":");
        nullable(o, self.trust_source);
        raw(o, "}},\"operation\":");
        write_str(o, self.operation);
        raw(o, ",\"otel_context\":{");
        if let Some((trace_id, span_id)) = self.otel {
            raw(o, "\"span_id\":\"");
            raw(o, span_id);
            raw(o, "\",\"trace_id\":\"");
            raw(o, trace_id);
            raw(o, "\"");
        }
        raw(o, "},\"parent_ids\":");
        // Hex digits: nothing to escape.
        list(o, self.parent_ids, |o, id| {
            raw(o, "\"");
            raw(o, id);
            raw(o, "\"");
        });
        raw(o, ",\"policy_context\":{\"app_policies\":");
        strings(o, &self.policies.application);
        raw(o, ",\"deviations\":");
        list(o, self.deviations, |o, deviation| {
            raw(o, "{\"approver\":");
            nullable(o, deviation.approver.as_deref());
            raw(o, ",\"policy\":");
            write_str(o, &deviation.policy);
            raw(o, ",\"reason\":");
            nullable(o, deviation.reason.as_deref());
            raw(o, ",\"tier\":");
            write_str(o, &deviation.tier);
            raw(o, "}");
        });
        raw(o, ",\"enterprise_policies\":");
        strings(o, &self.policies.enterprise);
        raw(o, ",\"function_policies\":");
        strings(o, &self.policies.function);
        raw(o, ",\"platform_policies\":");
        strings(o, &self.policies.platform);
        raw(o, "},\"removed_taints\":");
        strings(o, self.removed_taints);
        raw(o, ",\"runtime\":{\"name\":\"");
        raw(o, RUNTIME_NAME);
        raw(o, "\",\"version\":\"");
        raw(o, RUNTIME_VERSION);
        raw(o, "\"},\"schema_version\":\"");
        raw(o, SCHEMA_VERSION);
        raw(o, "\",\"taints\":");
        strings(o, self.taints);
        raw(o, ",\"timestamp_ms\":");
        write_u64(o, self.timestamp_ms);
        raw(o, ",\"trust_score\":");
        write_u64(o, self.trust_score.into());
        raw(o, "}");
        out
    }
}

fn raw(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn nullable(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => write_str(out, text),
        None => raw(out, "null"),
    }
}

fn list<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn strings<S: AsRef<str>>(out: &mut Vec<u8>, items: &[S]) {
    list(out, items, |out, item| write_str(out, item.as_ref()));
}

fn pairs(out: &mut Vec<u8>, items: &[(&str, &str)]) {
    out.push(b'{');
    for (index, (name, value)) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_str(out, name);
        out.push(b':');
        write_str(out, value);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taints(names: &[String]) -> Vec<Arc<str>> {
        crate::taint::set(names)
    }

    proptest! {
        #[test]
        fn is_canonical_whatever_it_carries(
            text in any::<String>(), names in prop::collection::btree_set("\\PC{1,8}", 0..4),
            labels in prop::collection::btree_map(any::<String>(), any::<String>(), 0..5),
            trust_override in prop::option::of(0..=100_u8), flag in any::<bool>(),
        ) {
            let names: Vec<String> = names.into_iter().collect();
            let set = taints(&names);
            let parent_ids = ["0".to_owned()];
            let deviations = [Deviation {
                scope: String::new(), policy: text.clone(), tier: "platform".into(),
                reason: flag.then(|| text.clone()), approver: None,
            }];
            let payload = Payload {
                entry_id: "id", timestamp_ms: 1_795_304_503_210, operation: &text, classification: &text,
                trust_score: 40, parent_ids: &parent_ids, added_taints: &set, removed_taints: &set, taints: &set,
                labels: labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
                policies: &PolicyLists { function: names.clone(), ..PolicyLists::default() },
                deviations: &deviations, otel: flag.then_some(("aa", "bb")), function: "a::b",
                trust_source: flag.then_some(text.as_str()), trust_override, trust_model: "guide",
                digests: names.iter().map(|n| (n.as_str(), "sha256:00")).collect(),
                completes: flag.then_some(Completes { entry_id: "id", outcome: "ok" }),
                denied: flag.then_some(Denied { policy: &text, tier: "function", reason: Some(&text) }),
                content_hash: "", input_hash: "",
            };
            let written = payload.write();
            let tree: serde_json::Value = serde_json::from_slice(&written).unwrap();
            let oracle = serde_json_canonicalizer::to_vec(&tree).unwrap();
            prop_assert_eq!(String::from_utf8(written).unwrap(), String::from_utf8(oracle).unwrap());
            prop_assert_eq!(tree.as_object().unwrap().len(), 18);
        }
    }
}
