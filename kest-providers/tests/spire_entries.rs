//! What a `SpireProvider` signs, verified by another workload with the bundles of its own agent.
#![cfg(feature = "spire")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/spire/mod.rs"]
mod support;

use std::time::Duration;

use kest_core::canonical;
use kest_core::identity::IdentityProvider;
use kest_core::jws::Jws;
use kest_core::verify::{UnverifiedPassport, Verifier, VerifyError};
use kest_providers::identity::spire::SpireProvider;
use serde_json::json;
use support::pki::{Ca, now_ms};
use support::{Agent, eventually};

/// An entry of this workload after `parents`, as a hook writes it.
fn entry(provider: &SpireProvider, number: u64, parents: &[&Jws]) -> Jws {
    let principal = provider.workload_id().unwrap();
    let hashes: Vec<String> = parents.iter().map(|parent| parent.hash_hex()).collect();
    let source = if parents.is_empty() { json!("internal") } else { json!(null) };
    let payload = json!({
        "added_taints": [], "removed_taints": [], "taints": [], "trust_score": 80,
        "classification": "system", "content_hash": "", "input_hash": "",
        "entry_id": format!("0198f0e0-0000-7000-8000-{number:012x}"),
        "environment": {}, "otel_context": {},
        "labels": {"principal": &*principal, "trace_id": "0af7651916cd43dd8448eb211c80319c"},
        "metadata": {
            "function": "shop::process", "policies": {},
            "trust": {"model": "guide", "override": null, "source_type": source},
        },
        "operation": "process",
        "parent_ids": if hashes.is_empty() { vec!["0".to_owned()] } else { hashes },
        "policy_context": {
            "app_policies": [], "deviations": [], "enterprise_policies": [], "platform_policies": [],
            "function_policies": ["kest/allow_trusted"],
        },
        "runtime": {"name": "kest-rust", "version": "0.1.0"},
        "schema_version": "0.3.0",
        "timestamp_ms": now_ms(),
    });
    provider.sign(&canonical::to_vec(&payload).unwrap()).unwrap()
}

fn verify(verifier: &Verifier, entries: &[&Jws]) -> Result<(), VerifyError> {
    let text = json!(entries.iter().map(|jws| jws.as_str()).collect::<Vec<_>>()).to_string();
    UnverifiedPassport::deserialize(&text).unwrap().verify(verifier).map(drop)
}

#[test]
fn entries_across_rotations_and_trust_domains_are_verified_with_live_bundles() {
    let (own, peer) = (Ca::new("own.test"), Ca::new("peer.test"));
    let (der, intermediate) = own.intermediate(|_| {});
    let signer_agent = Agent::with(&own.update(&own.svid("/a")));
    let peer_agent = Agent::with(&peer.update(&peer.svid("/b")));
    let verifier_update = own.update(&own.svid("/c"));
    let verifier_agent = Agent::with(&verifier_update.clone().federated("peer.test", peer.der.clone()));
    let (signer, other) = (signer_agent.provider(), peer_agent.provider());
    let checker = verifier_agent.provider();
    let verifier = Verifier::builder()
        .keys(checker.key_source())
        .ingress(now_ms(), Duration::from_secs(600), Duration::from_secs(60))
        .build();

    let first = entry(&signer, 1, &[]);
    let kid = signer.public_keys().unwrap().0[0].thumbprint();
    let mut update = own.update(&intermediate.svid("/a").through(&[&der]));
    update.svids[0].bundle = own.der.clone();
    signer_agent.send(&update);
    eventually("it rotates", || signer.public_keys().unwrap().0[0].thumbprint() != kid);
    let second = entry(&signer, 2, &[&first]);
    let third = entry(&other, 3, &[&second]);
    verify(&verifier, &[&first, &second, &third]).unwrap();

    // An authority of the same name is another's.
    let stranger_ca = Ca::new("own.test");
    let stranger_agent = Agent::with(&stranger_ca.update(&stranger_ca.svid("/a")));
    verify(&verifier, &[&entry(&stranger_agent.provider(), 4, &[])]).unwrap_err();

    // Federation ends: what comes from there is refused by the same verifier.
    verifier_agent.send(&verifier_update);
    eventually("the bundle is withdrawn", || verify(&verifier, &[&first, &second, &third]).is_err());
    verify(&verifier, &[&first, &second]).unwrap();
}

#[tokio::test]
async fn exported_bundles_verify_without_an_agent() {
    let own = Ca::new("own.test");
    let agent = Agent::with(&own.update(&own.svid("/a")));
    let provider = agent.provider();
    let bundles = provider.trust_bundles().await.unwrap();
    let signed = entry(&provider, 1, &[]);
    provider.shutdown().await;
    drop(agent);
    verify(&Verifier::new(bundles), &[&signed]).unwrap();
}
