//! The examples of docs/policies, through the hook: what the policies of the library make of real calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::sync::Arc;

use kest::config::Config;
use kest::policy::{CedarEngine, PolicyEngine, RegoEngine};
use kest::{Error, Kest, kest_verified};
use kest_tests::{kest, payloads, rego, repository, workload};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn library() -> Kest {
    kest(&workload("library"), rego())
}

/// Why a call was denied.
fn denied<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    let error = result.unwrap_err();
    let denial = error.denial().unwrap_or_else(|| panic!("{error}"));
    format!("{}: {}", denial.policy(), denial.reason().unwrap_or_default())
}

#[test]
fn the_internet_stays_the_internet() {
    #[kest_verified(policy = "kest", source_type = "internet")]
    fn read_feed() -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(policy = "kest/allow_trusted", resource_id = item)]
    fn publish(item: &str) -> Result<(), Error> {
        Ok(())
    }
    let kest = library();
    let _scope = kest.enter();
    read_feed().unwrap();
    assert_eq!(
        denied(publish("17")),
        "kest/allow_trusted: the call's trust score is 10 and must be at least 40"
    );
}

#[test]
fn what_was_read_at_secret_is_not_written_at_confidential() {
    #[kest_verified(
        policy = "bell_lapadula",
        source_type = "internal",
        user = analyst,
        resource_attr = json!({"access": "read", "level": level, "categories": ["nato"]}),
        added_taints = vec![format!("label:{level}"), "label:nato".to_owned()],
    )]
    fn read(analyst: &Value, level: &str) -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(
        policy = "bell_lapadula",
        user = clerk,
        resource_attr = json!({"access": "append", "level": level, "categories": ["nato"]}),
    )]
    fn brief(clerk: &Value, level: &str) -> Result<(), Error> {
        Ok(())
    }
    let analyst = json!({"sub": "ann", "level": "secret", "categories": ["nato"]});
    let clerk = json!({"sub": "bob", "level": "unclassified", "categories": []});
    let kest = library();
    let _scope = kest.enter();
    assert!(denied(read(&analyst, "top_secret")).contains("no read up"));
    read(&analyst, "secret").unwrap();
    assert!(denied(brief(&clerk, "confidential")).contains("the flow has met"));
    brief(&clerk, "secret").unwrap();
}

#[test]
fn a_models_word_is_of_low_integrity() {
    #[kest_verified(policy = "kest", source_type = "user_input", added_taints = taints)]
    fn receive(taints: Vec<String>) -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(policy = "biba", resource_attr = json!({"access": "write", "integrity": "medium"}))]
    fn update_stock() -> Result<(), Error> {
        Ok(())
    }
    let kest = library();
    {
        let _scope = kest.enter();
        receive(vec![]).unwrap();
        update_stock().unwrap();
    }
    let _scope = kest.enter();
    receive(vec!["llm_generated".to_owned()]).unwrap();
    assert!(denied(update_stock()).contains("no write up"));
}

#[test]
fn the_certified_procedure_is_the_function_whatever_it_calls_itself() {
    #[kest_verified(
        policy = "clark_wilson",
        source_type = "internal",
        operation = operation,
        user = json!({"sub": "ann"}),
        resource_id = "ledger-7",
        resource_attr = json!({"verified": true, "certificate": {
            "user": "ann", "tp": tp, "cdi": "ledger-7", "certifier": "carl", "takes_unconstrained": false,
        }}),
    )]
    fn post(tp: &str, operation: &'static str) -> Result<(), Error> {
        Ok(())
    }
    let kest = library();
    let _scope = kest.enter();
    let own = concat!(module_path!(), "::post");
    post(own, "ledger.post").unwrap();
    assert!(denied(post("bank::ledger::void", "bank::ledger::void")).contains("no certificate"));
}

fn own_domain(user: &Value) -> &str {
    user["domain"].as_str().unwrap()
}

fn marks(domains: &[&str]) -> Vec<String> {
    domains.iter().map(|domain| format!("domain:{domain}")).collect()
}

#[test]
fn what_billing_saw_in_the_north_does_not_show_in_the_south() {
    #[kest_verified(
        policy = "goguen_meseguer",
        source_type = "internal",
        user = user,
        resource_attr = json!({"command": "observe", "domain": tenant}),
        added_taints = marks(&[own_domain(user), tenant]),
    )]
    fn read_usage(user: &Value, tenant: &str) -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(
        policy = "goguen_meseguer",
        user = user,
        resource_attr = json!({"command": "alter", "domain": "south"}),
        added_taints = marks(&[own_domain(user)]),
    )]
    fn notify_south(user: &Value) -> Result<(), Error> {
        Ok(())
    }
    let (billing, south) =
        (json!({"sub": "ann", "domain": "billing"}), json!({"sub": "sid", "domain": "south"}));
    let kest = library();
    let _scope = kest.enter();
    read_usage(&billing, "north").unwrap();
    read_usage(&billing, "south").unwrap();
    assert!(denied(notify_south(&billing)).contains("may not be seen"));
    // Nor for the tenant itself, in a flow that has met the other.
    assert!(denied(notify_south(&south)).contains("may not be seen"));
}

#[test]
fn a_platform_lets_nobody_raise_trust_without_approval() {
    #[kest_verified(policy = "kest", source_type = "user_input", added_taints = ["unverified_input"],
                    resource_attr = json!({"privileged": false}))]
    fn receive() -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(
        policy = "kest",
        user = json!({"sub": "ann", "role": "reviewer"}),
        resource_attr = json!({"privileged": false, "approval": approval}),
        trust_override = 70,
        sanitizer,
        removed_taints = ["unverified_input"],
    )]
    fn review(approval: Option<Value>) -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(policy = "kest/allow_trusted", user = "operator")]
    fn set_config() -> Result<(), Error> {
        Ok(())
    }
    let config = Config::parse("[policies]\nplatform = [\"security\"]").unwrap();
    let kest = Kest::builder().identity(workload("platform")).engine(rego()).config(config).build().unwrap();
    let _scope = kest.enter();
    receive().unwrap();
    assert!(denied(set_config()).starts_with("security: a privileged call"));
    assert!(denied(review(None)).starts_with("security: somebody else must approve"));
    let function = concat!(module_path!(), "::review");
    assert!(denied(review(Some(json!({"by": "ann", "function": function})))).contains("somebody else"));
    review(Some(json!({"by": "max", "function": function}))).unwrap();
    // Reviewed is not yet good enough for what is privileged.
    assert_eq!(denied(set_config()), "security: a privileged call needs a trust score of 80");
}

#[test]
fn break_glass_leaves_its_mark_in_all_that_follows() {
    #[kest_verified(
        policy = "healthcare",
        source_type = "authenticated_user",
        user = json!({"sub": "dr-lee", "role": "physician"}),
        resource_id = "patient-17",
        resource_attr = json!({
            "purpose": "emergency", "sections": ["medications", "results"],
            "break_glass": {"reason": "life_threatening", "incident": "INC-4711"},
        }),
        added_taints = taints,
    )]
    fn open_in_emergency(taints: Vec<String>) -> Result<(), Error> {
        Ok(())
    }
    #[kest_verified(policy = "kest")]
    fn prescribe() -> Result<(), Error> {
        Ok(())
    }
    let kest = library();
    let scope = kest.enter();
    assert!(denied(open_in_emergency(vec![])).contains("taint `break_glass`"));
    open_in_emergency(vec!["break_glass".to_owned()]).unwrap();
    prescribe().unwrap();
    let payloads = kest_tests::payloads(&scope.passport());
    assert_eq!(payloads.last().unwrap()["taints"], json!(["break_glass"]));
}

#[test]
fn either_language_decides_and_the_digest_of_the_text_that_did_is_signed() {
    #[kest_verified(policy = "kest/allow_trusted", source_type = source)]
    fn publish(source: &'static str) -> Result<(), Error> {
        Ok(())
    }
    let policies = repository().join("policies");
    let engines: [(&str, Arc<dyn PolicyEngine>); 2] = [
        ("rego", Arc::new(RegoEngine::from_dir(&policies).unwrap())),
        ("cedar", Arc::new(CedarEngine::from_dir(&policies).unwrap())),
    ];
    for (language, engine) in engines {
        let digest = |name: &str| {
            let text = fs::read(policies.join(format!("{name}.{language}"))).unwrap();
            let hex: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("sha256:{hex}")
        };
        let kest = Kest::builder()
            .identity(workload("library"))
            .engine(engine)
            .config(Config::parse("[policies]\nenterprise = [\"kest\"]").unwrap())
            .build()
            .unwrap();
        let scope = kest.enter();
        assert!(publish("internet").unwrap_err().is_denied());
        publish("user_input").unwrap();
        assert_eq!(
            payloads(&scope.passport())[0]["metadata"]["policies"],
            json!({"kest": digest("kest"), "kest/allow_trusted": digest("kest/allow_trusted")}),
            "{language}"
        );
    }
}
