//! The public specification's normative test cases, by their names.
//!
//! TC-11 (claim check) is also in `lab/tests/wire/claims.rs`, against Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::cell::Cell;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use kest::cache::MemoryCache;
use kest::error::{PolicyErrorKind, PropagationErrorKind};
use kest::http::{Parcel, Wire};
use kest::policy::{MockPolicyEngine, OpaEngine};
use kest::trust::{TrustEvaluator, TrustModel};
use kest::verify::{UnverifiedPassport, Verifier, VerifyFailure};
use kest::{Error, Kest, canonical, kest_verified};
use kest_tests::{anchors, kest, payloads, tampered, workload};
use serde_json::json;

#[kest_verified(policy = "kest", source_type = "system")]
fn root() -> Result<(), Error> {
    Ok(())
}

#[kest_verified(policy = "kest")]
fn step() -> Result<(), Error> {
    Ok(())
}

#[test]
fn tc_01_root_entry_hash() {
    let identity = workload("w");
    let kest = kest(&identity, MockPolicyEngine::allow());
    let scope = kest.enter();
    root().unwrap();
    let passport = scope.passport();
    assert_eq!(payloads(&passport)[0]["parent_ids"], json!(["0"]));
    kest_tests::verify(&passport, &[&identity]);
}

#[test]
fn tc_02_merkle_chain_break_detection() {
    let identity = workload("w");
    let kest = kest(&identity, MockPolicyEngine::allow());
    let scope = kest.enter();
    root().unwrap();
    step().unwrap();
    step().unwrap();
    let text = tampered(&scope.passport(), 1, "\"operation\":\"step\"", "\"operation\":\"stop\"");
    let verifier = Verifier::builder().keys(anchors(&[&identity])).build();
    let error = UnverifiedPassport::deserialize(&text).unwrap().verify(&verifier).unwrap_err();
    assert_eq!(error.entry(), Some(2), "the third entry names a parent that is not there: {error}");
    assert!(matches!(error.failure(), VerifyFailure::UnknownParent { .. }), "{error}");
}

#[test]
fn tc_03_jws_signature_tampering_detection() {
    let identity = workload("w");
    let kest = kest(&identity, MockPolicyEngine::allow());
    let scope = kest.enter();
    root().unwrap();
    let mut entries: Vec<String> = serde_json::from_str(&scope.passport().serialize()).unwrap();
    let dot = entries[0].rfind('.').unwrap();
    let other = if entries[0].as_bytes()[dot + 1] == b'A' { "B" } else { "A" };
    entries[0].replace_range(dot + 1..dot + 2, other);
    let verifier = Verifier::builder().keys(anchors(&[&identity])).build();
    let text = serde_json::to_string(&entries).unwrap();
    let error = UnverifiedPassport::deserialize(&text).unwrap().verify(&verifier).unwrap_err();
    assert_eq!(error.step().as_str(), "signatures", "{error}");
}

#[test]
fn tc_04_trust_score_weakest_link() {
    #[kest_verified(policy = "kest", source_type = "internet")]
    fn fetch() -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(policy = "kest", source_type = "internal")]
    fn handle() -> Result<(), Error> {
        Ok(())
    }
    for model in [TrustModel::guide(), TrustModel::spec_v0_3()] {
        let kest = Kest::builder()
            .identity(workload("w"))
            .engine(MockPolicyEngine::allow())
            .without_config()
            .trust_model(model)
            .build()
            .unwrap();
        let scope = kest.enter();
        fetch().unwrap();
        handle().unwrap();
        let scores: Vec<_> = payloads(&scope.passport()).iter().map(|e| e["trust_score"].clone()).collect();
        assert_eq!(scores, [10, 10]);
    }
    assert_eq!(TrustModel::spec_v0_3().evaluator().calculate(33, &[50, 90]), 16, "integer floor");
}

#[test]
fn tc_05_trust_override_bypasses_evaluator() {
    #[kest_verified(policy = "kest", source_type = "internet")]
    fn fetch() -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(policy = "kest", trust_override = 100)]
    fn vouch() -> Result<(), Error> {
        Ok(())
    }
    let kest = kest(&workload("w"), MockPolicyEngine::allow());
    let scope = kest.enter();
    fetch().unwrap();
    vouch().unwrap();
    assert_eq!(payloads(&scope.passport())[1]["trust_score"], 100);
}

#[test]
fn tc_06_taint_accumulation() {
    #[kest_verified(policy = "kest", source_type = "system", added_taints = ["b", "a"])]
    fn parent() -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(policy = "kest", added_taints = ["c"], removed_taints = ["b"], sanitizer)]
    fn child() -> Result<(), Error> {
        Ok(())
    }
    let kest = kest(&workload("w"), MockPolicyEngine::allow());
    let scope = kest.enter();
    parent().unwrap();
    child().unwrap();
    assert_eq!(payloads(&scope.passport())[1]["taints"], json!(["a", "c"]));
}

#[test]
fn tc_07_authorization_error_halts_execution() {
    #[kest_verified(policy = "kest", source_type = "system")]
    fn protected(ran: &Cell<bool>) -> Result<(), Error> {
        ran.set(true);
        Ok(())
    }
    let kest = kest(&workload("w"), MockPolicyEngine::deny());
    let _scope = kest.enter();
    let ran = Cell::new(false);
    assert!(protected(&ran).unwrap_err().is_denied());
    assert!(!ran.get());
}

#[test]
fn tc_08_multi_policy_logical_and() {
    #[kest_verified(policy = unchecked(["allow_all", "deny_all"]), source_type = "system")]
    fn protected(ran: &Cell<bool>) -> Result<(), Error> {
        ran.set(true);
        Ok(())
    }
    let kest = kest(&workload("w"), MockPolicyEngine::allowing(["allow_all"]));
    let _scope = kest.enter();
    let ran = Cell::new(false);
    let error = protected(&ran).unwrap_err();
    assert_eq!(error.denial().unwrap().policy(), "deny_all");
    assert!(!ran.get());
}

#[test]
fn tc_09_sidecar_timeout_is_denial() {
    #[kest_verified(policy = "kest", source_type = "system")]
    fn protected() -> Result<(), Error> {
        panic!("the body ran")
    }
    #[kest_verified(policy = "kest", source_type = "system")]
    async fn protected_async() -> Result<(), Error> {
        panic!("the body ran")
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let silent = OpaEngine::builder().url(format!("http://{address}")).timeout(Duration::from_millis(50));
    let run_time = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ends_with = |wanted: PolicyErrorKind| {
        let kest = kest(&workload("w"), silent.clone().build().unwrap());
        let scope = kest.enter();
        for error in [protected().unwrap_err(), run_time.block_on(protected_async()).unwrap_err()] {
            let Error::PolicyUnavailable(unavailable) = &error else { panic!("{error}") };
            assert_eq!(unavailable.kind(), wanted, "{error}");
            assert!(!error.is_denied(), "a server that is not there has not said no");
        }
        assert!(scope.passport().is_empty());
    };
    // Connections are taken, and nobody answers; then nobody is there.
    ends_with(PolicyErrorKind::Timeout);
    drop(listener);
    ends_with(PolicyErrorKind::Connection);
}

#[test]
fn tc_10_rfc8785_determinism() {
    let value = json!({ "z": 3, "a": 1, "m": 2 });
    assert_eq!(canonical::to_string(&value).unwrap(), r#"{"a":1,"m":2,"z":3}"#);
}

#[tokio::test]
async fn tc_11_claim_check_round_trip() {
    let kest = kest(&workload("w"), MockPolicyEngine::allow());
    let scope = kest.enter();
    root().unwrap();
    for _ in 0..50 {
        step().unwrap();
    }
    let passport = scope.passport();
    let parcel = Parcel::of(passport.clone());

    // A cache that the receiver does not read would lose the lineage.
    let wire = |cache: MemoryCache| Wire::builder().cache(Arc::new(cache)).build();
    let error = wire(MemoryCache::new()).write(&parcel, &[]).await.unwrap_err();
    assert_eq!(error.kind(), PropagationErrorKind::NoSharedCache, "{error}");

    let wire = wire(MemoryCache::new().shared_in_process());
    let header = wire.write(&parcel, &[]).await.unwrap();
    assert!(header.contains("kest.claim_check=") && !header.contains("kest.passport"), "{header}");
    let restored = wire.read(&[header.as_bytes()]).await.unwrap().lineage.unwrap();
    assert_eq!(restored.serialize(), passport.serialize());

    // A claim that nobody holds is an error, never an empty passport.
    let elsewhere = Wire::builder().cache(Arc::new(MemoryCache::new().shared_in_process())).build();
    let error = elsewhere.read(&[header.as_bytes()]).await.unwrap_err();
    assert_eq!(error.kind(), PropagationErrorKind::ClaimNotFound, "{error}");
}

#[tokio::test]
async fn tc_12_context_accessor_fallback() {
    #[kest_verified(policy = "kest", source_type = "system")]
    async fn protected() -> Result<Option<serde_json::Value>, Error> {
        Ok(kest::get_current_user())
    }
    let kest = kest(&workload("w"), MockPolicyEngine::allow());
    let (user, passport) = kest.scope(kest::with_user("alice", protected())).with_passport().await;
    assert_eq!(user.unwrap(), Some(json!("alice")));
    assert_eq!(payloads(&passport)[0]["labels"]["kest.identity"], r#"{"user":"alice"}"#);
}

#[tokio::test]
async fn tc_12_plain_baggage_is_believed_only_when_told_to() {
    use opentelemetry::KeyValue;
    use opentelemetry::baggage::BaggageExt;
    use opentelemetry::context::FutureExt;

    #[kest_verified(policy = "kest", source_type = "system")]
    async fn protected() -> Result<Option<serde_json::Value>, Error> {
        Ok(kest::get_current_user())
    }
    let stranger = || opentelemetry::Context::current_with_baggage([KeyValue::new("kest.user", "mallory")]);
    let wary = kest(&workload("w"), MockPolicyEngine::allow());
    assert_eq!(wary.scope(protected().with_context(stranger())).await.unwrap(), None);

    let config = kest::config::Config::parse("[propagation]\ntrust_baggage_identity = true").unwrap();
    let believing = Kest::builder()
        .identity(workload("w"))
        .engine(MockPolicyEngine::allow())
        .config(config)
        .build()
        .unwrap();
    let (user, passport) = believing.scope(protected().with_context(stranger())).with_passport().await;
    assert_eq!(user.unwrap(), Some(json!("mallory")));
    assert_eq!(payloads(&passport)[0]["labels"]["kest.identity"], r#"{"user":"mallory"}"#);
}
