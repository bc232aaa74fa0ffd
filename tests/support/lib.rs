//! Shared helpers of the behaviour tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kest::identity::{IdentityProvider, LocalEd25519Provider};
use kest::policy::{PolicyEngine, RegoEngine};
use kest::verify::{Anchors, UnverifiedPassport, VerifiedPassport, Verifier};
use kest::{Kest, Passport};
use serde_json::Value;

/// A workload with a key of its own.
#[must_use]
pub fn workload(name: &str) -> Arc<LocalEd25519Provider> {
    Arc::new(LocalEd25519Provider::new().unwrap().with_workload_id(format!("spiffe://kest.internal/{name}")))
}

/// A `Kest` without configuration file.
#[must_use]
pub fn kest(identity: &Arc<LocalEd25519Provider>, engine: impl PolicyEngine + 'static) -> Kest {
    Kest::builder().identity(Arc::clone(identity)).engine(engine).without_config().build().unwrap()
}

/// The repository's policies, evaluated by the embedded engine.
#[must_use]
pub fn rego() -> RegoEngine {
    RegoEngine::from_dir(repository().join("policies")).unwrap()
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Trust anchors of the workloads.
#[must_use]
pub fn anchors(workloads: &[&Arc<LocalEd25519Provider>]) -> Anchors {
    let mut all = Anchors::new();
    for workload in workloads {
        all.merge(Anchors::from_provider(&***workload as &dyn IdentityProvider).unwrap()).unwrap();
    }
    all
}

/// Verifies strictly, through the serialised form.
#[allow(clippy::must_use_candidate, reason = "most tests only want it to pass")]
pub fn verify(passport: &Passport, workloads: &[&Arc<LocalEd25519Provider>]) -> VerifiedPassport {
    let verifier = Verifier::builder().keys(anchors(workloads)).strict().build();
    UnverifiedPassport::deserialize(&passport.serialize()).unwrap().verify(&verifier).unwrap()
}

/// The payload of every entry, in order.
#[must_use]
pub fn payloads(passport: &Passport) -> Vec<Value> {
    passport.entries().iter().map(|entry| payload(entry.jws())).collect()
}

/// The payload of a compact JWS.
#[must_use]
pub fn payload(jws: &str) -> Value {
    let segment = jws.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(segment).unwrap()).unwrap()
}

/// A serialised passport in which the payload of entry `index` has `from` replaced by `to`.
#[must_use]
pub fn tampered(passport: &Passport, index: usize, from: &str, to: &str) -> String {
    let mut entries: Vec<String> = serde_json::from_str(&passport.serialize()).unwrap();
    let parts: Vec<&str> = entries[index].split('.').collect();
    let base64 = base64_simd::URL_SAFE_NO_PAD;
    let text = String::from_utf8(base64.decode_to_vec(parts[1]).unwrap()).unwrap();
    assert!(text.contains(from), "`{from}` is not in {text}");
    let changed = format!("{}.{}.{}", parts[0], base64.encode_to_string(text.replace(from, to)), parts[2]);
    entries[index] = changed;
    serde_json::to_string(&entries).unwrap()
}

/// A lineage without an end: the hash of its last entry.
#[must_use]
pub fn tip(passport: &Passport) -> String {
    passport.tips().last().unwrap().hash()
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the macro writes for a function without arguments to the attribute but a policy.
pub const CALL: kest::__private::CallSpec = kest::__private::CallSpec {
    operation: "pay",
    span: "kest.verified.pay",
    function: "shop::pay",
    policies: &["kest"],
    classification: "system",
    source_type: Some("system"),
    added_taints: &[],
    removed_taints: &[],
    trust_override: None,
    sanitizer: false,
    labels: &[],
    config_seen: None,
};
