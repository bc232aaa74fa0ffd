//! Signed entries as a service makes them, as many as it takes.

use std::sync::Arc;

use kest::audit::AuditRecord;
use kest::identity::{IdentityProvider as _, LocalEd25519Provider};
use kest::jws::Jws;
use serde_json::json;

use crate::Result;

/// Somebody who signs entries.
#[derive(Debug)]
pub(super) struct Signer {
    identity: LocalEd25519Provider,
    workload: Arc<str>,
}

/// A signed entry.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    pub(super) jws: Jws,
    hash: [u8; 32],
    signer: &'a Signer,
}

impl Signer {
    pub(super) fn new(name: &str) -> Result<Self> {
        let identity = LocalEd25519Provider::new()?.with_workload_id(format!("spiffe://example.org/{name}"));
        let workload = identity.workload_id()?;
        Ok(Self { identity, workload })
    }

    /// The key that checks its signatures.
    pub(super) fn key(&self) -> Result<ed25519_dalek::VerifyingKey> {
        let jwks = self.identity.public_keys()?.to_json();
        let x = jwks.pointer("/keys/0/x").and_then(|x| x.as_str()).ok_or("no key")?;
        let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(x)?;
        Ok(ed25519_dalek::VerifyingKey::from_bytes(bytes.as_slice().try_into()?)?)
    }

    /// The entry with that number: 50 operations, 1,000 users, each eighth tainted, each hundredth a denial.
    pub(super) fn sign(&self, number: u64) -> Result<Signed<'_>> {
        let taints: &[&str] = if number.is_multiple_of(8) { &["unverified_input"] } else { &[] };
        let denied = number % 100 == 99;
        let mut metadata = json!({
            "function": "shop::orders::pay", "policies": {},
            "trust": { "model": "guide", "override": null, "source_type": "system" },
        });
        if denied {
            let denial = json!({ "policy": "kest/allow_trusted", "reason": null, "tier": "function" });
            metadata.as_object_mut().ok_or("metadata")?.insert("denied".to_owned(), denial);
        }
        // Hashes differ as those of real parents do.
        let parent = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let payload = json!({
            "added_taints": taints, "classification": if denied { "denial" } else { "system" },
            "content_hash": "", "entry_id": format!("01900000-0000-7000-8000-{number:012x}"),
            "environment": {}, "input_hash": "",
            "labels": {
                "kest.identity": format!("{{\"user\":\"user-{}\"}}", number % 1_000),
                "principal": &*self.workload,
                "trace_id": format!("{:016x}{parent:016x}", number / 7),
            },
            "metadata": metadata, "operation": format!("shop.orders.step-{}", number % 50),
            "otel_context": {}, "parent_ids": [format!("{parent:064x}")],
            "policy_context": {
                "app_policies": [], "deviations": [], "enterprise_policies": [],
                "function_policies": ["kest/allow_trusted"], "platform_policies": [],
            },
            "removed_taints": [], "runtime": { "name": "kest-rust", "version": env!("CARGO_PKG_VERSION") },
            "schema_version": "0.3.0", "taints": taints,
            "timestamp_ms": 1_795_304_503_000_u64 + number, "trust_score": 100,
        });
        let jws = self.identity.sign(&kest::canonical::to_vec(&payload)?)?;
        Ok(Signed { hash: jws.hash(), jws, signer: self })
    }
}

impl Signed<'_> {
    pub(super) fn record(&self) -> AuditRecord<'_> {
        let Signer { identity, workload } = self.signer;
        AuditRecord::new(self.jws.as_str(), &self.hash, "id", workload, identity)
    }
}
