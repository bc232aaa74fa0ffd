//! The mock policy engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{Decision, PolicyEngine, PolicyRequest, Tier};
use kest_providers::policy::MockPolicyEngine;
use support::Call;

fn ask(engine: &MockPolicyEngine, policy: &str, call: &Call) -> Result<Decision, PolicyUnavailable> {
    engine.evaluate(&PolicyRequest { policy, input: &call.input().as_input() })
}

#[test]
fn it_says_what_it_was_told() {
    let call = Call::new(40);
    assert_eq!(ask(&MockPolicyEngine::allow(), "a", &call).unwrap(), Decision::allow());
    assert_eq!(ask(&MockPolicyEngine::deny(), "a", &call).unwrap(), Decision::deny());
    let some = MockPolicyEngine::allowing(["a", "b/c"]);
    assert_eq!(ask(&some, "b/c", &call).unwrap(), Decision::allow());
    assert_eq!(ask(&some, "b", &call).unwrap(), Decision::deny());
    let closure = MockPolicyEngine::new(|request| match request.input.trust_score {
        0..40 => Ok(Decision::Deny { reason: Some(format!("`{}` wants more", request.policy)) }),
        40.. => Err(PolicyUnavailable::new(PolicyErrorKind::Timeout, "late")),
    });
    assert_eq!(ask(&closure, "a", &call).unwrap_err().kind(), PolicyErrorKind::Timeout);
    let Decision::Deny { reason } = ask(&closure, "a", &Call::new(1)).unwrap() else { panic!("allowed") };
    assert_eq!(reason.as_deref(), Some("`a` wants more"));
}

#[test]
fn it_keeps_what_it_was_asked_up_to_a_bound() {
    let engine = MockPolicyEngine::allow();
    let shared = engine.clone();
    ask(&engine, "first", &Call { tier: Tier::Enterprise, ..Call::new(7) }).unwrap();
    let calls = shared.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].policy.as_str(), calls[0].tier), ("first", Tier::Enterprise));
    assert_eq!(calls[0].input["subject"]["trust_score"], 7);
    assert_eq!(calls[0].input["environment"]["policy_tier"], "enterprise");

    for turn in 0..1_000 {
        ask(&engine, &format!("p{turn}"), &Call::new(40)).unwrap();
    }
    let calls = engine.calls();
    assert_eq!(calls.len(), 1_000);
    assert_eq!((calls[0].policy.as_str(), calls[999].policy.as_str()), ("p0", "p999"));

    let quiet = MockPolicyEngine::allow().without_recording();
    ask(&quiet, "a", &Call::new(40)).unwrap();
    assert!(quiet.calls().is_empty());
}
