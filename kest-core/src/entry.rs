//! An entry, read from its payload: the schema of spec §2 as a type.

mod context;
mod departures;
mod error;
mod own;
mod read;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use smallvec::SmallVec;
use uuid::Uuid;

pub use self::error::EntryError;
use crate::identity::qualified;
use crate::jws::hex;
use crate::payload::RUNTIME_NAME;
use crate::taint::TaintSet;
use crate::text::Quoted;

/// Labels of an identity of OpenID Connect. Spec §2.
const OIDC_ISSUER: &str = "kest.oidc.iss";
const OIDC_SUBJECT: &str = "kest.oidc.sub";

/// One signed record of one authorised invocation, as its payload says it. Who says so is the verifier's to find out.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KestEntry {
    /// Who made the record.
    pub runtime: Runtime,
    /// UUID v7, unique per invocation.
    pub entry_id: Uuid,
    /// What was done.
    pub operation: Box<str>,
    /// `system`, `data`, `critic`, `sanitizer`, `snapshot`, `completion`, `denial`, or the user's own.
    pub classification: Box<str>,
    /// The declared score, 0–100.
    pub trust_score: u8,
    /// SHA-256 of each parent's compact JWS, newest first; empty for a root.
    pub parents: SmallVec<[[u8; 32]; 1]>,
    /// Taints this call adds, sorted.
    pub added_taints: Vec<Arc<str>>,
    /// Taints this call removes, sorted.
    pub removed_taints: Vec<Arc<str>>,
    /// The declared taints, sorted.
    pub taints: TaintSet,
    /// Labels, in canonical order. Values of own entries are strings; one of a foreign entry that is none is null.
    pub labels: Vec<(Box<str>, Value)>,
    /// The policies that allowed the call.
    pub policy_context: PolicyContext,
    /// `environment` as JSON text.
    pub environment: Box<str>,
    /// `otel_context` as JSON text.
    pub otel_context: Box<str>,
    /// What an own entry records for its verifier; none for foreign entries.
    pub metadata: Option<Metadata>,
    /// `metadata` of a foreign entry as JSON text.
    pub foreign_metadata: Option<Box<str>>,
    /// SHA-256 of the output, if it is recorded.
    pub content_hash: Option<[u8; 32]>,
    /// SHA-256 of the input, if it is recorded.
    pub input_hash: Option<[u8; 32]>,
    /// Epoch milliseconds. Information only, never used for order.
    pub timestamp_ms: u64,
    /// Where a foreign entry departs from the schema in a way that is tolerated. Always empty for own entries.
    /// At most eight; the others are counted in [`Self::more_departures`].
    pub departures: Vec<EntryError>,
    /// Departures beyond those that are kept.
    pub more_departures: usize,
}

/// `runtime`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Runtime {
    /// `kest-rust` for own entries.
    pub name: Box<str>,
    /// Version of the library that made the entry.
    pub version: Box<str>,
}

/// `policy_context`: names of the policies as evaluated, by tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyContext {
    /// Enterprise tier.
    pub enterprise_policies: Vec<Box<str>>,
    /// Platform tier.
    pub platform_policies: Vec<Box<str>>,
    /// Application tier.
    pub app_policies: Vec<Box<str>>,
    /// Function tier.
    pub function_policies: Vec<Box<str>>,
    /// Policies that were lifted.
    pub deviations: Vec<DeviationRecord>,
}

/// One lifted policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviationRecord {
    /// The policy.
    pub policy: Box<str>,
    /// Its tier.
    pub tier: Box<str>,
    /// Why.
    pub reason: Option<Box<str>>,
    /// Who agreed.
    pub approver: Option<Box<str>>,
}

/// `metadata` of an own entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// `module_path!()::fn`.
    pub function: Box<str>,
    /// `trust.source_type`.
    pub source_type: Option<Box<str>>,
    /// `trust.override`.
    pub trust_override: Option<u8>,
    /// `trust.model`.
    pub model: Box<str>,
    /// Digests of the policies as evaluated, by name.
    pub policies: Vec<(Box<str>, Box<str>)>,
    /// What a `completion` entry completes.
    pub completion: Option<Completion>,
    /// Who said no, in the receipt of a denial.
    pub denied: Option<DenialRecord>,
}

/// What only the receipt of a denial says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DenialRecord {
    /// The policy that said no.
    pub policy: Box<str>,
    /// Its tier.
    pub tier: Box<str>,
    /// What it gave as its reason.
    pub reason: Option<Box<str>>,
}

/// What only a `completion` entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completion {
    /// `entry_id` of the entry whose body has ended.
    pub completes: Uuid,
    /// How it ended.
    pub outcome: Box<str>,
}

impl KestEntry {
    /// How many texts, hashes and values it keeps one by one.
    pub(crate) fn pieces(&self) -> usize {
        let PolicyContext {
            enterprise_policies,
            platform_policies,
            app_policies,
            function_policies,
            deviations,
        } = &self.policy_context;
        let lists = [enterprise_policies, platform_policies, app_policies, function_policies];
        let digests = self.metadata.as_ref().map_or(0, |metadata| metadata.policies.len());
        self.labels.len()
            + self.parents.len()
            + self.added_taints.len()
            + self.removed_taints.len()
            + self.taints.len()
            + lists.map(Vec::len).iter().sum::<usize>()
            + 4 * deviations.len()
            + digests
            + self.departures.len()
    }

    /// Reads a payload: canonical JSON with exactly the members of spec §2.
    ///
    /// # Errors
    /// When the text is not canonical, or is no entry. Foreign entries may depart from the schema where spec §3
    /// says so; what they do is kept in [`Self::departures`].
    pub fn from_payload(payload: &[u8]) -> Result<Self, EntryError> {
        read::entry(payload)
    }

    /// Whether this library made the record. Spec §1.
    #[must_use]
    pub fn is_own(&self) -> bool {
        &*self.runtime.name == RUNTIME_NAME
    }

    /// Whether the entry has no parent.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.parents.is_empty()
    }

    /// The workload id that the entry claims.
    #[must_use]
    pub fn principal(&self) -> &str {
        // INVARIANT: `read` takes no entry without it.
        self.label("principal").unwrap_or_default()
    }

    /// The name under which a verifier looks for the principal's keys, authority and entries: the principal, and for
    /// an identity of OpenID Connect `<issuer>#<subject>`, as a subject is unique only within its issuer. Spec §10.
    #[must_use]
    pub fn anchored_as(&self) -> Cow<'_, str> {
        // INVARIANT: `read` takes no entry with this label whose `kest.oidc.sub` is not its principal.
        match self.label(OIDC_ISSUER) {
            Some(issuer) => Cow::Owned(qualified(issuer, self.principal())),
            None => Cow::Borrowed(self.principal()),
        }
    }

    /// A label's value, where it is a string.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| **label == *name).and_then(|(_, value)| value.as_str())
    }

    /// `parent_ids` as the payload has them.
    #[must_use]
    pub fn parent_ids(&self) -> Vec<String> {
        if self.is_root() { vec!["0".to_owned()] } else { self.parents.iter().map(hex).collect() }
    }
}

impl fmt::Display for KestEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} by {}", self.entry_id, Quoted(&self.operation), Quoted(self.principal()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Deviation;
    use crate::payload::{Completes, Payload, PolicyLists};

    #[test]
    fn reads_what_the_hook_writes() {
        let id = "019a0b0c-0d0e-7f10-8112-000000000001";
        let hash = "ab".repeat(32);
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let taints = crate::taint::set(["pii", "raw"]);
        for full in [false, true] {
            let parents = [if full { hash.clone() } else { "0".to_owned() }];
            let deviation = Deviation {
                scope: "a::b".into(),
                policy: "kest/allow".into(),
                tier: "platform".into(),
                reason: Some("legacy".into()),
                approver: None,
            };
            let function = if full { vec![] } else { vec!["kest/allow".into()] };
            let policies = PolicyLists { function, ..PolicyLists::default() };
            let payload = Payload {
                entry_id: id,
                timestamp_ms: 1_795_304_503_000,
                operation: "process",
                classification: if full { "completion" } else { "system" },
                trust_score: 40,
                parent_ids: &parents,
                added_taints: &[],
                removed_taints: &[],
                taints: &taints,
                labels: vec![("trace_id", trace), ("principal", "spiffe://a/b")],
                policies: &policies,
                deviations: if full { &[] } else { std::slice::from_ref(&deviation) },
                otel: full.then_some((trace, span)),
                function: "a::b",
                trust_source: (!full).then_some("user_input"),
                trust_override: (!full).then_some(40),
                trust_model: "guide",
                digests: if full { vec![] } else { vec![("kest/allow", "sha256:00")] },
                completes: full.then_some(Completes { entry_id: id, outcome: "ok" }),
                denied: None,
                content_hash: if full { &hash } else { "" },
                input_hash: "",
            };
            let entry = KestEntry::from_payload(&payload.write()).unwrap();
            assert!(entry.is_own() && entry.departures.is_empty());
            assert_eq!((entry.parent_ids(), entry.is_root()), (parents.to_vec(), !full));
            assert_eq!((entry.principal(), entry.trust_score), ("spiffe://a/b", 40));
            assert_eq!(entry.content_hash.is_some(), full);
            let metadata = entry.metadata.unwrap();
            assert_eq!(
                (metadata.trust_override, metadata.completion.is_some()),
                ((!full).then_some(40), full)
            );
            assert_eq!(metadata.source_type.as_deref(), (!full).then_some("user_input"));
        }
    }
}
