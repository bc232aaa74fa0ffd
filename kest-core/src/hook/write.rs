//! The entries of a call, written and not yet signed. Spec §2.

use std::sync::Arc;

use opentelemetry::KeyValue;
use uuid::Uuid;

use super::Draft;
use super::prepare::Prepared;
use crate::clock::Clock;
use crate::error::PolicyDenied;
use crate::identity::OidcSubject;
use crate::jws::hex;
use crate::passport::{Node, Tips};
use crate::payload::{Completes, Denied, Payload, PolicyLists};
use crate::taint::TaintSet;

impl Prepared {
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
            denied: None,
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

    /// The receipt of a denial: what the call's entry would have said, under its id, and who said no.
    pub(super) fn receipt(&self, denial: &PolicyDenied) -> Vec<u8> {
        self.write(Written {
            entry_id: &self.entry_id,
            timestamp_ms: self.timestamp_ms,
            operation: &self.operation,
            classification: "denial",
            parent_ids: &self.parent_hashes,
            trust_score: self.trust.score,
            taints: &self.taints,
            own: true,
            completes: None,
            denied: Some(Denied { policy: denial.policy(), tier: denial.tier(), reason: denial.reason() }),
            content_hash: "",
        })
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
            denied: None,
            content_hash,
        });
        Draft { entry_id, payload, parents, trust, taints }
    }

    fn write(&self, written: Written<'_>) -> Vec<u8> {
        let nothing = PolicyLists::default();
        let own = written.own;
        let mut labels: Vec<(&str, &str)> = Vec::with_capacity(self.labels.len() + 7);
        labels.push(("principal", &self.workload));
        labels.push(("trace_id", &self.env.trace_id));
        labels.extend(self.identity_json.as_deref().map(|json| ("kest.identity", json)));
        let oidc = self.identity.attributes().and_then(|attributes| attributes.oidc.as_ref());
        if let Some(OidcSubject { issuer, subject }) = oidc {
            labels.extend([("kest.oidc.iss", &**issuer), ("kest.oidc.sub", &**subject)]);
        }
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
            denied: written.denied,
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
    denied: Option<Denied<'a>>,
    content_hash: &'a str,
}

/// A UUID with hyphens, lower-case.
pub(super) fn text(id: &Uuid) -> String {
    id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned()
}
