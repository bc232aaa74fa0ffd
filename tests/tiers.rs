//! Code cannot lift a tier (spec §11).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use kest::config::Config;
use kest::error::{ConfigurationErrorKind, PolicyUnavailable};
use kest::identity::BoxFuture;
use kest::policy::{Decision, MockPolicyEngine, PolicyEngine, PolicyRequest};
use kest::{Error, Kest, kest_verified};
use kest_tests::{kest, workload};
use serde_json::json;

/// The global `Kest` is one for the whole process, so these tests take turns.
fn global(config: &str, engine: MockPolicyEngine) -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    kest::reconfigure(
        Kest::builder()
            .identity(workload("global"))
            .engine(engine)
            .config(Config::parse(config).unwrap())
            .build()
            .unwrap(),
    )
    .unwrap();
    turn
}

const BASELINE: &str = "[policies]\nenterprise = [\"baseline\"]";

fn denied_by(result: Result<(), Error>) -> String {
    let error = result.unwrap_err();
    let denial = error.denial().unwrap_or_else(|| panic!("{error}"));
    format!("{} {}", denial.tier(), denial.policy())
}

#[test]
fn a_per_call_engine_judges_the_function_tier_alone() {
    #[kest_verified(policy = "kest", source_type = "system", engine = MockPolicyEngine::allow())]
    fn protected() -> Result<(), Error> {
        Ok(())
    }
    let _turn = global(BASELINE, MockPolicyEngine::deny());
    assert_eq!(denied_by(protected()), "enterprise baseline");
}

#[test]
fn a_per_call_engine_may_say_no_where_the_deployment_allows() {
    #[kest_verified(policy = "kest", source_type = "system", engine = MockPolicyEngine::deny())]
    fn protected() -> Result<(), Error> {
        Ok(())
    }
    let _turn = global(BASELINE, MockPolicyEngine::allow());
    assert_eq!(denied_by(protected()), "function kest");
}

#[test]
fn a_scopes_own_kest_adds_to_the_global_tiers() {
    #[kest_verified(policy = "kest", source_type = "system")]
    fn protected() -> Result<(), Error> {
        Ok(())
    }
    let _turn = global(BASELINE, MockPolicyEngine::deny());
    let lenient = kest(&workload("scope"), MockPolicyEngine::allow());
    let _scope = lenient.enter();
    assert_eq!(denied_by(protected()), "enterprise baseline");
}

#[test]
fn nested_scopes_keep_the_tiers_of_those_around_them() {
    #[kest_verified(policy = "kest", source_type = "system")]
    fn protected() -> Result<(), Error> {
        Ok(())
    }
    let _turn = global("", MockPolicyEngine::allow());
    let strict = Kest::builder()
        .identity(workload("outer"))
        .engine(MockPolicyEngine::deny())
        .config(Config::parse("[policies]\nplatform = [\"pci\"]").unwrap())
        .build()
        .unwrap();
    let _outer = strict.enter();
    let lenient = kest(&workload("inner"), MockPolicyEngine::allow());
    let _inner = lenient.enter();
    assert_eq!(denied_by(protected()), "platform pci");
}

#[test]
fn replacing_the_tiers_needs_to_be_said_dangerously() {
    #[kest_verified(policy = "kest", source_type = "system")]
    fn protected() -> Result<(), Error> {
        Ok(())
    }
    let _turn = global(BASELINE, MockPolicyEngine::deny());
    let replacing = Kest::builder()
        .identity(workload("scope"))
        .engine(MockPolicyEngine::allow())
        .without_config()
        .dangerous()
        .replace_outer_tiers()
        .build()
        .unwrap();
    let _scope = replacing.enter();
    protected().unwrap();
}

#[test]
fn an_operation_label_is_no_deviation_scope() {
    #[kest_verified(policy = "kest", source_type = "system", operation = "tiers::exempt")]
    fn protected() -> Result<(), Error> {
        Ok(())
    }
    let config = "[policies]\nplatform = [\"pci\"]\n[[deviations]]\nscope = \"tiers::exempt\"\n\
                  policy = \"pci\"\ntier = \"platform\"";
    let _turn = global(config, MockPolicyEngine::allowing(["kest"]));
    assert_eq!(denied_by(protected()), "platform pci");
}

#[test]
fn a_deviation_does_not_lift_the_function_tier() {
    #[kest_verified(policy = unchecked("pci"), source_type = "system")]
    fn exempt() -> Result<(), Error> {
        Ok(())
    }
    let config = "[policies]\nplatform = [\"pci\"]\n[[deviations]]\nscope = \"tiers\"\n\
                  policy = \"pci\"\ntier = \"platform\"";
    let _turn = global(config, MockPolicyEngine::deny());
    assert_eq!(denied_by(exempt()), "function pci");
}

#[test]
fn a_scopes_deviation_lifts_only_that_scopes_tiers() {
    #[kest_verified(policy = "kest", source_type = "system")]
    fn exempt() -> Result<(), Error> {
        Ok(())
    }
    let _turn = global("[policies]\nplatform = [\"pci\"]", MockPolicyEngine::allowing(["kest"]));
    let config = "[policies]\nplatform = [\"pci\"]\n[[deviations]]\nscope = \"tiers\"\n\
                  policy = \"pci\"\ntier = \"platform\"";
    let planted = Kest::builder()
        .identity(workload("scope"))
        .engine(MockPolicyEngine::allow())
        .config(Config::parse(config).unwrap())
        .build()
        .unwrap();
    let _scope = planted.enter();
    assert_eq!(denied_by(exempt()), "platform pci");
}

#[test]
fn the_input_says_which_tier_asks_and_what_is_lifted() {
    #[kest_verified(policy = "kest", source_type = "system", resource_attr = json!({"a": 1}))]
    fn protected() -> Result<(), Error> {
        Ok(())
    }
    let engine = MockPolicyEngine::allow();
    let config = "[policies]\nenterprise = [\"baseline\"]\nplatform = [\"pci\"]\n[[deviations]]\n\
                  scope = \"tiers\"\npolicy = \"pci\"\ntier = \"platform\"";
    let _turn = global(config, engine.clone());
    protected().unwrap();
    let calls = engine.calls();
    let inputs: Vec<_> = calls.iter().map(|call| call.input.clone()).collect();
    assert_eq!(inputs[0]["environment"]["policy_tier"], "enterprise");
    assert_eq!(inputs[0]["environment"]["policy_names"], json!(["baseline"]));
    assert_eq!(inputs[1]["environment"]["policy_tier"], "function");
    assert_eq!(inputs[1]["environment"]["active_deviations"], json!(["pci"]));
    assert_eq!(
        inputs[1]["subject"],
        json!({
            "workload": "spiffe://kest.internal/global", "user": null, "agent": null, "task": null,
            "trust_score": 100, "taints": [],
        })
    );
    assert_eq!(inputs[1]["object"], json!({ "id": null, "attributes": { "a": 1 } }));
    assert_eq!(inputs[1]["environment"]["function"], "tiers::protected");
}

#[test]
fn an_unknown_name_in_a_tier_is_an_error_and_no_skip() {
    #[kest_verified(policy = "kest", source_type = "system")]
    fn protected() -> Result<(), Error> {
        panic!("the body ran")
    }
    let _turn = global("", MockPolicyEngine::allow());
    let kest = Kest::builder()
        .identity(workload("w"))
        .engine(kest_tests::rego())
        .config(Config::parse("[policies]\nenterprise = [\"baseline/missing\"]").unwrap())
        .build()
        .unwrap();
    let scope = kest.enter();
    let error = protected().unwrap_err();
    assert!(matches!(error, Error::PolicyUnavailable(_)), "{error}");
    assert!(error.to_string().contains("baseline/missing"), "{error}");
    assert!(scope.passport().is_empty());
}

/// Answers by the set of policies it stands for.
#[derive(Debug, Clone)]
struct Reloading(Arc<RwLock<Vec<&'static str>>>);

impl Reloading {
    fn decide(allowed: &[&str], policy: &str) -> Decision {
        if allowed.contains(&policy) { Decision::allow() } else { Decision::deny() }
    }
}

impl PolicyEngine for Reloading {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        Ok(Self::decide(&self.0.read().unwrap(), request.policy))
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        Box::pin(async move { self.evaluate(request) })
    }

    fn snapshot(&self) -> Option<Arc<dyn PolicyEngine>> {
        let now = self.0.read().unwrap().clone();
        let live = Arc::clone(&self.0);
        Some(Arc::new(MockPolicyEngine::new(move |request| {
            // A reload right after the first question: neither set allows both policies.
            *live.write().unwrap() = vec!["b"];
            Ok(Self::decide(&now, request.policy))
        })))
    }
}

#[test]
fn one_call_is_judged_by_one_set_of_policies() {
    #[kest_verified(policy = unchecked(["a", "b"]), source_type = "system")]
    fn protected() -> Result<(), Error> {
        panic!("the body ran")
    }
    let _turn = global("", MockPolicyEngine::allow());
    let kest = kest(&workload("w"), Reloading(Arc::new(RwLock::new(vec!["a"]))));
    let _scope = kest.enter();
    assert_eq!(protected().unwrap_err().denial().unwrap().policy(), "b");
}

#[test]
fn two_texts_under_one_name_are_an_error() {
    fn engine(digest: &'static str) -> MockPolicyEngine {
        MockPolicyEngine::new(move |_| Ok(Decision::Allow { digest: Some(Arc::from(digest)) }))
    }
    #[kest_verified(policy = "kest", source_type = "system", engine = engine("sha256:b"))]
    fn protected() -> Result<(), Error> {
        panic!("the body ran")
    }
    let _turn = global("", MockPolicyEngine::allow());
    let kest = Kest::builder()
        .identity(workload("w"))
        .engine(engine("sha256:a"))
        .config(Config::parse("[policies]\nenterprise = [\"kest\"]").unwrap())
        .build()
        .unwrap();
    let _scope = kest.enter();
    let error = protected().unwrap_err();
    assert!(
        matches!(&error, Error::Configuration(e) if e.kind() == ConfigurationErrorKind::PolicyNames),
        "{error}"
    );
    assert!(error.to_string().contains("another name"), "{error}");
}
