//! What can be read of an entry, believed or not.
//!
//! The verifier takes an entry whole or not at all. To show a broken one this reads what is there, member by member.

use base64_simd::URL_SAFE_NO_PAD;
use kest_core::canonical::parse_strict;
use kest_core::entry::KestEntry;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::text;

/// An entry as it says of itself. Absent is what is missing or of another type.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Shown {
    pub(crate) index: usize,
    /// SHA-256 of the compact JWS.
    pub(crate) hash: String,
    /// Hashes of the parents; empty for a root.
    pub(crate) parents: Vec<String>,
    pub(crate) entry_id: Option<String>,
    pub(crate) trace_id: Option<String>,
    pub(crate) operation: Option<String>,
    /// For an identity of OpenID Connect `<issuer>#<subject>`: whoever runs an issuer chooses its subjects.
    pub(crate) principal: Option<String>,
    pub(crate) oidc: Option<Oidc>,
    pub(crate) classification: Option<String>,
    pub(crate) trust_score: Option<u64>,
    pub(crate) taints: Vec<String>,
    pub(crate) added_taints: Vec<String>,
    pub(crate) removed_taints: Vec<String>,
    pub(crate) user: Value,
    pub(crate) agent: Value,
    pub(crate) task: Value,
    pub(crate) resource_id: Option<String>,
    pub(crate) resource_attr: Value,
    pub(crate) policies: Policies,
    pub(crate) deviations: Vec<Deviation>,
    /// Who said no, in the receipt of a denial.
    pub(crate) denied: Option<Denied>,
    pub(crate) runtime: Option<String>,
    pub(crate) timestamp_ms: Option<u64>,
    /// Why the entry is none, or cannot stand where it stands.
    pub(crate) problem: Option<String>,
}

/// Where an entry says that its principal comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Oidc {
    pub(crate) iss: Option<String>,
    pub(crate) sub: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Policies {
    pub(crate) enterprise: Vec<String>,
    pub(crate) platform: Vec<String>,
    pub(crate) application: Vec<String>,
    pub(crate) function: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Deviation {
    pub(crate) policy: Option<String>,
    pub(crate) tier: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) approver: Option<String>,
}

/// Of the receipt of a denial.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Denied {
    pub(crate) policy: Option<String>,
    pub(crate) tier: Option<String>,
    pub(crate) reason: Option<String>,
}

impl Shown {
    /// Reads a compact JWS as far as it can be read.
    pub(crate) fn read(index: usize, jws: &str) -> Self {
        let mut shown = Self { index, hash: hash(jws), ..Self::default() };
        match payload(jws) {
            Err(problem) => shown.problem = Some(problem.to_owned()),
            Ok(payload) => {
                let entry = KestEntry::from_payload(&payload);
                match parse_strict(&payload) {
                    Ok(Value::Object(members)) => shown.take(&members),
                    Ok(_) => shown.problem = Some("the payload is no JSON object".to_owned()),
                    Err(error) => shown.problem = Some(format!("the payload cannot be read: {error}")),
                }
                match entry {
                    Ok(entry) => shown.principal = Some(entry.anchored_as().into_owned()),
                    Err(error) => shown.problem = shown.problem.or_else(|| Some(error.to_string())),
                }
            }
        }
        shown
    }

    fn take(&mut self, members: &Map<String, Value>) {
        self.parents = strings(members.get("parent_ids"));
        self.parents.retain(|parent| parent != "0");
        self.entry_id = string(members.get("entry_id"));
        self.operation = string(members.get("operation"));
        self.classification = string(members.get("classification"));
        self.trust_score = members.get("trust_score").and_then(Value::as_u64);
        self.taints = strings(members.get("taints"));
        self.added_taints = strings(members.get("added_taints"));
        self.removed_taints = strings(members.get("removed_taints"));
        self.runtime = members.get("runtime").and_then(|runtime| string(runtime.get("name")));
        self.timestamp_ms = members.get("timestamp_ms").and_then(Value::as_u64);
        if let Some(labels) = members.get("labels") {
            self.take_principal(labels);
            self.trace_id = string(labels.get("trace_id"));
            self.resource_id = string(labels.get("kest.resource_id"));
            self.resource_attr = embedded(labels.get("kest.resource_attr"));
            let identity = embedded(labels.get("kest.identity"));
            let of = |name| identity.get(name).cloned().unwrap_or_default();
            (self.user, self.agent, self.task) = (of("user"), of("agent"), of("task"));
        }
        if let Some(denied) = members.get("metadata").and_then(|metadata| metadata.get("denied")) {
            let of = |name: &str| string(denied.get(name));
            self.denied = Some(Denied { policy: of("policy"), tier: of("tier"), reason: of("reason") });
        }
        if let Some(context) = members.get("policy_context") {
            self.policies = Policies {
                enterprise: strings(context.get("enterprise_policies")),
                platform: strings(context.get("platform_policies")),
                application: strings(context.get("app_policies")),
                function: strings(context.get("function_policies")),
            };
            let deviations = context.get("deviations").and_then(Value::as_array);
            self.deviations = deviations.into_iter().flatten().map(Deviation::read).collect();
        }
    }
}

impl Shown {
    /// Whether it says of itself that it is the receipt of a denial.
    pub(crate) fn is_denial(&self) -> bool {
        self.classification.as_deref() == Some("denial")
    }

    /// Of a broken entry too: with half of what qualifies it, a subject is no name either.
    fn take_principal(&mut self, labels: &Value) {
        let principal = string(labels.get("principal"));
        let (iss, sub) = (labels.get("kest.oidc.iss"), labels.get("kest.oidc.sub"));
        if iss.is_none() && sub.is_none() {
            self.principal = principal;
            return;
        }
        let oidc = Oidc { iss: string(iss), sub: string(sub) };
        let issuer = oidc.iss.as_deref().unwrap_or(UNKNOWN);
        self.principal = Some(format!("{issuer}#{}", principal.as_deref().unwrap_or(UNKNOWN)));
        self.oidc = Some(oidc);
    }
}

const UNKNOWN: &str = "?";

/// A principal on a terminal. Of an issuer and of its subject both ends are left.
pub(crate) fn named(principal: Option<&str>, oidc: Option<&Oidc>, longest: usize) -> Option<String> {
    let principal = principal?;
    let issuer = oidc.and_then(|oidc| oidc.iss.as_deref());
    let parts = issuer.and_then(|issuer| Some((issuer, principal.strip_prefix(issuer)?.strip_prefix('#')?)));
    Some(match parts {
        Some((issuer, subject)) => format!("{}#{}", text::id(issuer, longest), text::id(subject, longest)),
        None => text::id(principal, longest),
    })
}

impl Deviation {
    fn read(record: &Value) -> Self {
        let of = |name: &str| string(record.get(name));
        Self { policy: of("policy"), tier: of("tier"), reason: of("reason"), approver: of("approver") }
    }
}

/// SHA-256 in lowercase hex: what a child names in `parent_ids`. Spec §2.
fn hash(jws: &str) -> String {
    Sha256::digest(jws.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn payload(jws: &str) -> Result<Vec<u8>, &'static str> {
    let mut segments = jws.split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return Err("no compact JWS: that has three segments");
    };
    URL_SAFE_NO_PAD
        .decode_to_vec(payload.as_bytes())
        .map_err(|_| "the payload is not canonical unpadded base64url")
}

fn string(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// JSON in a label. What is no JSON is shown as it is.
fn embedded(label: Option<&Value>) -> Value {
    match label {
        Some(Value::String(text)) => {
            parse_strict(text.as_bytes()).unwrap_or_else(|_| Value::String(text.clone()))
        }
        Some(other) => other.clone(),
        None => Value::Null,
    }
}
