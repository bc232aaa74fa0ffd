//! The lab's seventeen tests, by their names, over the public API.
//!
//! `Lab` is the only place that knows which identities and engines there are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::cell::Cell;
use std::sync::Arc;

use kest::config::Config;
use kest::error::ConfigurationErrorKind;
use kest::identity::LocalEd25519Provider;
use kest::policy::MockPolicyEngine;
use kest::verify::UnverifiedPassport;
use kest::{Error, Kest, Passport, kest_verified, register_origin_trust};
use kest_tests::{anchors, kest, payloads, rego, tampered, verify, workload};
use serde_json::json;

/// Three workloads and one policy engine.
struct Lab {
    hops: [Arc<LocalEd25519Provider>; 3],
}

impl Lab {
    fn new() -> Self {
        Self { hops: ["hop1", "hop2", "hop3"].map(workload) }
    }

    fn hop(&self, index: usize) -> Kest {
        kest(&self.hops[index], rego())
    }

    fn verify(&self, passport: &Passport) -> kest::verify::VerifiedPassport {
        let [a, b, c] = &self.hops;
        verify(passport, &[a, b, c])
    }

    /// What the next service does with what it receives: verify, then go on.
    fn receive(&self, passport: &Passport) -> kest::verify::VerifiedPassport {
        self.verify(passport)
    }
}

#[kest_verified(policy = "kest", source_type = "system")]
fn ingest() -> Result<&'static str, Error> {
    Ok("ok")
}

#[kest_verified(policy = "kest", source_type = "internal")]
fn process() -> Result<&'static str, Error> {
    Ok("ok")
}

#[kest_verified(policy = "kest", source_type = "user_input")]
fn answer() -> Result<&'static str, Error> {
    Ok("ok")
}

/// One entry a hop, each hop a workload of its own that verified what it was sent.
fn chain(lab: &Lab, length: usize) -> Passport {
    let calls: [fn() -> Result<&'static str, Error>; 3] = [ingest, process, answer];
    let mut passport = {
        let kest = lab.hop(0);
        let scope = kest.enter();
        calls[0]().unwrap();
        scope.passport()
    };
    for (hop, call) in calls.iter().enumerate().take(length).skip(1) {
        let kest = lab.hop(hop);
        let _service = kest.enter();
        let scope = lab.receive(&passport).enter();
        call().unwrap();
        passport = scope.passport();
    }
    passport
}

#[test]
fn test_root_entry_creation() {
    let lab = Lab::new();
    let passport = chain(&lab, 1);
    let entry = &payloads(&passport)[0];
    assert_eq!(entry["parent_ids"], json!(["0"]));
    assert_eq!(entry["schema_version"], "0.3.0");
    assert_eq!(entry["runtime"]["name"], "kest-rust");
    assert_eq!(entry["operation"], "ingest");
    assert_eq!(entry["labels"]["principal"], "spiffe://kest.internal/hop1");
    assert_eq!(entry["policy_context"]["function_policies"], json!(["kest"]));
    assert_eq!(entry["policy_context"]["deviations"], json!([]));
    assert_eq!(lab.verify(&passport).entries().len(), 1);
}

#[test]
fn test_2hop_chain() {
    let lab = Lab::new();
    let passport = chain(&lab, 2);
    let hashes: Vec<String> = passport.entries().iter().map(|e| e.hash()).collect();
    let entries = payloads(&passport);
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1]["parent_ids"], json!([hashes[0]]));
    assert_eq!(entries[1]["labels"]["principal"], "spiffe://kest.internal/hop2");
    lab.verify(&passport);
}

#[test]
fn test_3hop_chain() {
    let lab = Lab::new();
    let passport = chain(&lab, 3);
    let hashes: Vec<String> = passport.entries().iter().map(|e| e.hash()).collect();
    let entries = payloads(&passport);
    assert_eq!(entries.len(), 3);
    for hop in 1..3 {
        assert_eq!(entries[hop]["parent_ids"], json!([hashes[hop - 1]]));
    }
    let report = lab.verify(&passport).report().clone();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn test_taint_propagation() {
    #[kest_verified(policy = "kest", source_type = "user_input", added_taints = ["pii", "unverified"])]
    fn read() -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(policy = "kest", added_taints = ["llm_generated"])]
    fn summarise() -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(policy = "kest", removed_taints = ["unverified"], sanitizer)]
    fn check() -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(policy = "kest")]
    fn store() -> Result<(), Error> {
        Ok(())
    }
    let lab = Lab::new();
    let kest = lab.hop(0);
    let scope = kest.enter();
    read().unwrap();
    summarise().unwrap();
    check().unwrap();
    store().unwrap();
    let taints: Vec<_> = payloads(&scope.passport()).iter().map(|e| e["taints"].clone()).collect();
    assert_eq!(
        taints,
        [
            json!(["pii", "unverified"]),
            json!(["llm_generated", "pii", "unverified"]),
            json!(["llm_generated", "pii"]),
            json!(["llm_generated", "pii"]),
        ]
    );
    lab.verify(&scope.passport());
}

#[test]
fn test_trust_degradation() {
    let lab = Lab::new();
    let scores: Vec<_> = payloads(&chain(&lab, 3)).iter().map(|e| e["trust_score"].clone()).collect();
    assert_eq!(scores, [json!(100), json!(80), json!(40)]);
}

#[test]
fn test_signature_verification() {
    let lab = Lab::new();
    let verified = lab.verify(&chain(&lab, 3));
    let (_, signatures) = verified.report().axes()[0];
    assert_eq!(signatures.verdict, kest::verify::Verdict::Pass);
    // The same bytes under another workload's key do not pass.
    let strangers = Lab::new();
    let [a, b, c] = &strangers.hops;
    let verifier = kest::verify::Verifier::builder().keys(anchors(&[a, b, c])).build();
    let text = verified.passport().serialize();
    assert!(UnverifiedPassport::deserialize(&text).unwrap().verify(&verifier).is_err());
}

#[test]
fn test_security_halt_on_tamper() {
    let lab = Lab::new();
    let passport = chain(&lab, 2);
    let [a, b, c] = &lab.hops;
    let verifier = kest::verify::Verifier::builder().keys(anchors(&[a, b, c])).build();
    let text = tampered(&passport, 0, "\"operation\":\"ingest\"", "\"operation\":\"ingess\"");
    let ran = Cell::new(false);
    let outcome = UnverifiedPassport::deserialize(&text).unwrap().verify(&verifier).map(|verified| {
        let _scope = verified.enter();
        ran.set(true);
    });
    assert!(outcome.is_err());
    assert!(!ran.get(), "the next hop ran on a tampered lineage");
}

#[test]
fn test_policy_denial_blocks() {
    let kest = kest(&workload("hop1"), MockPolicyEngine::deny());
    let scope = kest.enter();
    let ran = Cell::new(false);
    #[kest_verified(policy = "kest", source_type = "system")]
    fn protected(ran: &Cell<bool>) -> Result<(), Error> {
        ran.set(true);
        Ok(())
    }
    let error = protected(&ran).unwrap_err();
    assert!(error.is_denied());
    assert!(!ran.get());
    assert!(scope.passport().is_empty());
}

#[test]
fn test_empty_policy_rejected() {
    // A literal empty list does not compile (see `tests/ui`); one made at run time is refused before anything runs.
    #[kest_verified(policy = unchecked(Vec::<String>::new()), source_type = "system")]
    fn protected() -> Result<(), Error> {
        panic!("the body ran")
    }
    let kest = Lab::new().hop(0);
    let _scope = kest.enter();
    match protected().unwrap_err() {
        Error::Configuration(error) => assert_eq!(error.kind(), ConfigurationErrorKind::PolicyNames),
        other => panic!("{other}"),
    }
}

#[test]
fn test_custom_source_type() {
    register_origin_trust("lab_fax", 23).unwrap();
    #[kest_verified(policy = "kest", source_type = String::from("lab_fax"))]
    fn receive_fax() -> Result<(), Error> {
        Ok(())
    }
    let lab = Lab::new();
    let kest = lab.hop(0);
    let scope = kest.enter();
    receive_fax().unwrap();
    process().unwrap();
    let entries = payloads(&scope.passport());
    assert_eq!(entries[0]["trust_score"], 23);
    assert_eq!(entries[1]["trust_score"], 23);
    assert_eq!(entries[0]["metadata"]["trust"]["source_type"], "lab_fax");
}

#[test]
fn test_taint_sanitization() {
    #[kest_verified(policy = "kest", source_type = "user_input", added_taints = ["a", "b"])]
    fn dirty() -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(policy = "kest", removed_taints = ["b"], sanitizer)]
    fn clean() -> Result<(), Error> {
        Ok(())
    }
    let lab = Lab::new();
    let kest = lab.hop(0);
    let scope = kest.enter();
    dirty().unwrap();
    clean().unwrap();
    let entries = payloads(&scope.passport());
    assert_eq!(entries[1]["removed_taints"], json!(["b"]));
    assert_eq!(entries[1]["taints"], json!(["a"]));
    assert_eq!(entries[1]["classification"], "sanitizer");
    lab.verify(&scope.passport());
}

#[test]
fn test_trust_override() {
    #[kest_verified(policy = "kest", source_type = "internet")]
    fn fetch() -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(policy = "kest/allow_trusted", trust_override = 80)]
    fn vouch() -> Result<(), Error> {
        Ok(())
    }
    let lab = Lab::new();
    let kest = lab.hop(0);
    let scope = kest.enter();
    fetch().unwrap();
    vouch().unwrap();
    process().unwrap();
    let entries = payloads(&scope.passport());
    assert_eq!(entries[0]["trust_score"], 10);
    assert_eq!(entries[1]["trust_score"], 80);
    assert_eq!(entries[1]["metadata"]["trust"]["override"], 80);
    assert_eq!(entries[2]["trust_score"], 80);
    lab.verify(&scope.passport());
}

fn tiers(text: &str, engine: &MockPolicyEngine) -> Kest {
    Kest::builder()
        .identity(workload("hop1"))
        .engine(engine.clone())
        .config(Config::parse(text).unwrap())
        .build()
        .unwrap()
}

fn asked(engine: &MockPolicyEngine) -> Vec<String> {
    engine.calls().iter().map(|call| call.policy.clone()).collect()
}

#[test]
fn test_enterprise_baseline_first() {
    let engine = MockPolicyEngine::allow();
    let kest = tiers(
        "[policies]\napp = [\"app/c\"]\nplatform = [\"platform/b\"]\nenterprise = [\"baseline/a\"]",
        &engine,
    );
    let _scope = kest.enter();
    ingest().unwrap();
    assert_eq!(asked(&engine), ["baseline/a", "platform/b", "app/c", "kest"]);
}

#[test]
fn test_function_supplements_enterprise() {
    let engine = MockPolicyEngine::allowing(["kest"]);
    let kest = tiers("[policies]\nenterprise = [\"baseline/a\"]", &engine);
    let _scope = kest.enter();
    let error = ingest().unwrap_err();
    assert_eq!(error.denial().map(|d| (d.policy(), d.tier())), Some(("baseline/a", "enterprise")));
    assert_eq!(asked(&engine), ["baseline/a"], "a denial ends the evaluation");
}

#[test]
fn test_deviation_recorded() {
    let engine = MockPolicyEngine::allowing(["kest", "baseline/a"]);
    let kest = tiers(
        "[policies]\nenterprise = [\"baseline/a\"]\nplatform = [\"payments-pci\"]\n\
         [[deviations]]\nscope = \"lab::ingest\"\npolicy = \"payments-pci\"\ntier = \"platform\"\n\
         reason = \"cleared already\"\napprover = \"security-team\"",
        &engine,
    );
    let scope = kest.enter();
    ingest().unwrap();
    let context = payloads(&scope.passport())[0]["policy_context"].clone();
    assert_eq!(
        context,
        json!({
            "enterprise_policies": ["baseline/a"], "platform_policies": [], "app_policies": [],
            "function_policies": ["kest"],
            "deviations": [{
                "policy": "payments-pci", "tier": "platform",
                "reason": "cleared already", "approver": "security-team",
            }],
        })
    );
    // Its scope is the function: the next one is not exempt.
    let error = process().unwrap_err();
    assert_eq!(error.denial().map(|d| d.policy()), Some("payments-pci"));
}

#[test]
fn test_identity_context_recorded() {
    fn current_user() -> serde_json::Value {
        json!({ "sub": "alice", "role": "admin" })
    }
    #[kest_verified(
        policy = "kest/allow_trusted", source_type = "internal",
        user = || current_user(), agent = "checkout-web-app", task = format!("process-order-{order}"),
    )]
    fn process_order(order: u32) -> Result<(), Error> {
        Ok(())
    }
    let lab = Lab::new();
    let kest = lab.hop(0);
    let scope = kest.enter();
    process_order(123).unwrap();
    assert_eq!(
        payloads(&scope.passport())[0]["labels"]["kest.identity"],
        r#"{"agent":"checkout-web-app","task":"process-order-123","user":{"role":"admin","sub":"alice"}}"#
    );
}

#[test]
fn test_resource_attributes_recorded() {
    #[kest_verified(
        policy = "kest/allow_trusted", source_type = "internal", resource_id = document,
        resource_attr = json!({ "sensitivity": "confidential", "department": "finance" }),
    )]
    fn read_document(document: &str) -> Result<(), Error> {
        let _ = document;
        Ok(())
    }
    let lab = Lab::new();
    let kest = lab.hop(0);
    let scope = kest.enter();
    read_document("DOC-456").unwrap();
    let labels = payloads(&scope.passport())[0]["labels"].clone();
    assert_eq!(labels["kest.resource_attr"], r#"{"department":"finance","sensitivity":"confidential"}"#);
    assert_eq!(labels["kest.resource_id"], "DOC-456");
}
