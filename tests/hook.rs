//! What happens around a protected call (spec §6): what is refused, what is recorded, and when the body runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use kest::error::{ConfigurationErrorKind, IdentityError, IdentityErrorKind};
use kest::identity::{BoxFuture, IdentityProvider, StaticIdentity};
use kest::jws::Jws;
use kest::keys::Jwks;
use kest::policy::MockPolicyEngine;
use kest::trust::TrustEvaluator;
use kest::{Error, Kest, kest_verified};
use kest_tests::{CALL, kest, payloads, verify, workload};
use serde_json::json;

fn allow() -> Kest {
    kest(&workload("w"), MockPolicyEngine::allow())
}

fn configuration(error: &Error) -> ConfigurationErrorKind {
    match error {
        Error::Configuration(error) => error.kind(),
        other => panic!("{other}"),
    }
}

#[test]
fn without_a_kest_nothing_runs() {
    #[kest_verified(policy = "kest", source_type = "system")]
    fn protected() -> Result<(), Error> {
        panic!("the body ran")
    }
    let error = protected().unwrap_err();
    assert_eq!(configuration(&error), ConfigurationErrorKind::MissingKest);
    assert!(error.to_string().contains("kest::configure"), "{error}");
}

#[test]
fn a_misspelt_source_is_an_error_before_any_policy() {
    #[kest_verified(policy = "kest", source_type = String::from("interal"))]
    fn protected() -> Result<(), Error> {
        panic!("the body ran")
    }
    let engine = MockPolicyEngine::allow();
    let kest = kest(&workload("w"), engine.clone());
    let _scope = kest.enter();
    let error = protected().unwrap_err();
    assert_eq!(configuration(&error), ConfigurationErrorKind::UnknownSource);
    assert!(error.to_string().contains("did you mean `internal`?"), "{error}");
    assert!(engine.calls().is_empty());
}

#[test]
fn an_override_out_of_range_is_an_error_and_never_clamped() {
    #[kest_verified(policy = "kest", source_type = "system", trust_override = score)]
    fn protected(score: i32) -> Result<(), Error> {
        Ok(())
    }
    let kest = allow();
    let _scope = kest.enter();
    for score in [101, -1, 300] {
        assert_eq!(configuration(&protected(score).unwrap_err()), ConfigurationErrorKind::TrustOverride);
    }
    protected(100).unwrap();
    protected(0).unwrap();
}

#[test]
fn what_jcs_cannot_carry_is_refused_before_any_policy() {
    #[kest_verified(policy = "kest", source_type = "system", resource_attr = json)]
    fn protected<T: serde::Serialize>(json: T) -> Result<(), Error> {
        panic!("the body ran")
    }
    let engine = MockPolicyEngine::allow();
    let kest = kest(&workload("w"), engine.clone());
    let _scope = kest.enter();
    let not_a_number = protected(f64::NAN).unwrap_err();
    let too_large = protected(u64::MAX).unwrap_err();
    for error in [not_a_number, too_large] {
        assert!(matches!(error, Error::Canonicalization(_)), "{error}");
        assert!(error.to_string().contains("`resource_attr`"), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
    assert!(engine.calls().is_empty());
}

#[test]
fn an_entry_too_large_for_verifiers_is_refused() {
    #[kest_verified(policy = "kest", source_type = "system", resource_attr = text)]
    fn protected(text: String) -> Result<(), Error> {
        panic!("the body ran")
    }
    let kest = allow();
    let scope = kest.enter();
    let error = protected("x".repeat(64 * 1024)).unwrap_err();
    assert!(matches!(error, Error::Lineage(_)), "{error}");
    assert!(scope.passport().is_empty());
}

#[test]
fn too_many_and_too_long_taints_are_refused() {
    #[kest_verified(policy = "kest", source_type = "system", added_taints = taints)]
    fn protected(taints: Vec<String>) -> Result<(), Error> {
        Ok(())
    }
    let kest = allow();
    let _scope = kest.enter();
    let many = (0..257).map(|n| n.to_string()).collect();
    for taints in [many, vec!["x".repeat(257)], vec![String::new()]] {
        assert_eq!(configuration(&protected(taints).unwrap_err()), ConfigurationErrorKind::Taints);
    }
    protected((0..256).map(|n| n.to_string()).collect()).unwrap();
}

#[test]
fn taints_go_only_where_somebody_says_so() {
    use kest::__private::{CallSpec, Invocation, begin_sync};
    // The attribute refuses this at compile time; the run-time does not rely on it.
    static SPEC: CallSpec = CallSpec { removed_taints: &["a"], ..CALL };
    let kest = allow();
    let _scope = kest.enter();
    let error = begin_sync(Invocation::new(&SPEC)).unwrap_err();
    assert_eq!(configuration(&error), ConfigurationErrorKind::Taints);
    begin_sync(Invocation::new(&SPEC).trust_override(40)).unwrap();
}

#[test]
fn a_root_without_a_source_counts_as_unauthenticated_and_the_denial_says_how_to_name_one() {
    #[kest_verified(policy = "kest/allow_trusted")]
    fn protected() -> Result<(), Error> {
        Ok(())
    }
    let kest = kest(&workload("w"), kest_tests::rego());
    let _scope = kest.enter();
    let message = protected().unwrap_err().to_string();
    assert!(message.contains("trust score is 10"), "{message}");
    assert!(message.contains("`source_type = \"…\"`") && message.contains("`.source(\"…\")`"), "{message}");
}

#[tokio::test]
async fn a_root_without_a_source_takes_its_scopes() {
    #[kest_verified(policy = "kest")]
    async fn protected() -> Result<(), Error> {
        Ok(())
    }
    let (result, passport) = allow().scope(protected()).source("partner").with_passport().await;
    result.unwrap();
    let entry = &payloads(&passport)[0];
    assert_eq!(
        (&entry["trust_score"], &entry["metadata"]["trust"]["source_type"]),
        (&json!(60), &json!("partner"))
    );

    let error = allow().scope(protected()).source("partnr").await.unwrap_err();
    assert_eq!(configuration(&error), ConfigurationErrorKind::UnknownSource);
}

#[tokio::test]
async fn what_serves_the_outside_cannot_start_as_an_inside() {
    #[kest_verified(policy = "kest", source_type = "system")]
    async fn system() -> Result<(), Error> {
        panic!("the body ran")
    }
    #[kest_verified(policy = "kest")]
    async fn unnamed() -> Result<(), Error> {
        Ok(())
    }
    let error = allow().scope(system()).ingress().await.unwrap_err();
    assert_eq!(configuration(&error), ConfigurationErrorKind::RootSource);
    // Nor by opening a lineage of its own inside.
    let error = allow().scope(kest::root(system())).ingress().await.unwrap_err();
    assert_eq!(configuration(&error), ConfigurationErrorKind::RootSource);
    let (result, passport) = allow().scope(unnamed()).ingress().with_passport().await;
    result.unwrap();
    assert_eq!(payloads(&passport)[0]["metadata"]["trust"]["source_type"], "unauthenticated");
}

#[test]
fn no_evaluator_exceeds_the_lowest_parent() {
    #[derive(Debug)]
    struct Generous;
    impl TrustEvaluator for Generous {
        fn calculate(&self, _: u8, _: &[u8]) -> u8 {
            255
        }
        fn name(&self) -> &str {
            "generous"
        }
    }
    #[kest_verified(policy = "kest", source_type = "internet")]
    fn low() -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(policy = "kest", source_type = "system", trust_evaluator = Generous)]
    fn high() -> Result<(), Error> {
        Ok(())
    }
    let identity = workload("w");
    let kest = kest(&identity, MockPolicyEngine::allow());
    let scope = kest.enter();
    low().unwrap();
    high().unwrap();
    let entry = payloads(&scope.passport())[1].clone();
    assert_eq!(entry["trust_score"], 10);
    assert_eq!(entry["metadata"]["trust"]["model"], "guide/generous");
    verify(&scope.passport(), &[&identity]);
}

#[test]
fn context_comes_from_the_attribute_then_the_provider_then_the_enclosing_call() {
    #[kest_verified(policy = "kest", source_type = "system", user = "explicit", task = "t")]
    fn outer() -> Result<(), Error> {
        inner()
    }
    #[kest_verified(policy = "kest", agent = Option::<String>::None)]
    fn inner() -> Result<(), Error> {
        Ok(())
    }
    let identity = StaticIdentity::new("spiffe://kest.internal/static").unwrap().agent("fixed");
    let kest = Kest::builder()
        .identity(identity)
        .engine(MockPolicyEngine::allow())
        .without_config()
        .build()
        .unwrap();
    let scope = kest.enter();
    outer().unwrap();
    for entry in payloads(&scope.passport()) {
        assert_eq!(entry["labels"]["kest.identity"], r#"{"agent":"fixed","task":"t","user":"explicit"}"#);
    }
}

/// A provider that fails in the way it is told to.
#[derive(Debug)]
struct Broken(fn(&[u8]) -> Result<Jws, IdentityError>);

impl IdentityProvider for Broken {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        Ok(Arc::from("spiffe://kest.internal/broken"))
    }
    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        (self.0)(payload)
    }
    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(async move { self.sign(payload) })
    }
    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        Ok(Jwks(Vec::new()))
    }
}

#[tokio::test]
async fn if_signing_fails_the_body_does_not_run() {
    #[kest_verified(policy = "kest", source_type = "system", identity = Broken(how))]
    fn protected(how: fn(&[u8]) -> Result<Jws, IdentityError>) -> Result<(), Error> {
        panic!("the body ran")
    }
    #[kest_verified(policy = "kest", source_type = "system", identity = Broken(how))]
    async fn protected_async(how: fn(&[u8]) -> Result<Jws, IdentityError>) -> Result<(), Error> {
        panic!("the body ran")
    }
    let refuses: fn(&[u8]) -> _ = |_| Err(IdentityError::new(IdentityErrorKind::SvidExpired, "svid expired"));
    let signs_something_else: fn(&[u8]) -> _ = |_| workload("other").sign(b"{}");
    let kest = allow();
    for how in [refuses, signs_something_else] {
        let scope = kest.enter();
        assert!(matches!(protected(how).unwrap_err(), Error::Identity(_)));
        assert!(matches!(protected_async(how).await.unwrap_err(), Error::Identity(_)));
        assert!(scope.passport().is_empty());
    }
}

#[test]
fn a_call_compiled_with_a_configuration_refuses_to_run_without_one() {
    use kest::__private::{CallSpec, Invocation, begin_sync};
    static SPEC: CallSpec = CallSpec { config_seen: Some("kest.toml"), ..CALL };
    let pay = || begin_sync(Invocation::new(&SPEC)).map(drop);
    // This package's folder has no `kest.toml`, so the run finds none.
    let lost = Kest::builder().identity(workload("w")).engine(MockPolicyEngine::allow()).build().unwrap();
    {
        let _scope = lost.enter();
        let error = pay().unwrap_err();
        assert_eq!(configuration(&error), ConfigurationErrorKind::MissingConfig);
        assert!(error.to_string().contains("KEST_CONFIG"), "{error}");
    }
    let agreed = allow();
    let _scope = agreed.enter();
    pay().unwrap();
}

#[test]
fn per_call_identity_and_engine_are_enough() {
    #[kest_verified(
        policy = "kest", source_type = "system",
        identity = workload("own"), engine = MockPolicyEngine::allow(),
    )]
    fn protected() -> Result<kest::Passport, Error> {
        Ok(kest::get_current_passport().unwrap())
    }
    let passport = protected().unwrap();
    assert_eq!(payloads(&passport)[0]["labels"]["principal"], "spiffe://kest.internal/own");
}

#[test]
fn labels_of_ones_own_are_signed() {
    #[kest_verified(policy = "kest", source_type = "system", labels = {"team": "risk", "ticket": format!("T-{n}")})]
    fn protected(n: u8) -> Result<(), Error> {
        Ok(())
    }
    let kest = allow();
    let scope = kest.enter();
    protected(7).unwrap();
    let labels = payloads(&scope.passport())[0]["labels"].clone();
    assert_eq!((&labels["team"], &labels["ticket"]), (&json!("risk"), &json!("T-7")));
}

#[test]
fn an_evaluator_needs_a_name() {
    #[derive(Debug)]
    struct Nameless;
    impl TrustEvaluator for Nameless {
        fn calculate(&self, _: u8, _: &[u8]) -> u8 {
            0
        }
        fn name(&self) -> &str {
            ""
        }
    }
    let builder = Kest::builder().identity(workload("w")).engine(MockPolicyEngine::allow()).without_config();
    assert!(builder.trust_evaluator(Nameless).build().unwrap_err().to_string().contains("empty name"));
}
