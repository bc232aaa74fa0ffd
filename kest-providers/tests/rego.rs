//! Rego in this process: what it decides.
#![cfg(feature = "rego")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/engine.rs"]
mod engine;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use engine::{DATA_ACCESS, allows, ask, policy, shipped};
use kest_core::error::PolicyErrorKind;
use kest_core::policy::{Decision, PolicyEngine, PolicyRequest, Tier};
use kest_providers::policy::RegoEngine;
use serde_json::json;
use support::Call;

const ALLOW_TRUSTED: &str = include_str!("../../policies/kest/allow_trusted.rego");

#[test]
fn the_shipped_policies_decide_by_the_trust_score() {
    let engine = shipped();
    assert!(engine.names().contains(&"kest".to_owned()));
    for (score, base, trusted) in [
        (0, false, false),
        (9, false, false),
        (10, true, false),
        (39, true, false),
        (40, true, true),
        (100, true, true),
    ] {
        let call = Call::new(score);
        assert_eq!(allows(&engine, "kest", &call), base, "kest at {score}");
        assert_eq!(allows(&engine, "kest/allow_trusted", &call), trusted, "kest/allow_trusted at {score}");
    }
}

#[test]
fn a_denial_says_why_and_an_allow_says_by_which_text() {
    let engine = shipped();
    let Decision::Deny { reason } = ask(&engine, "kest/allow_trusted", &Call::new(39)).unwrap() else {
        panic!("allowed");
    };
    assert_eq!(reason.as_deref(), Some("the call's trust score is 39 and must be at least 40"));
    let Decision::Allow { digest } = ask(&engine, "kest/allow_trusted", &Call::new(40)).unwrap() else {
        panic!("denied");
    };
    let hex = <sha2::Sha256 as sha2::Digest>::digest(ALLOW_TRUSTED);
    let hex: String = hex.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest.as_deref(), Some(format!("sha256:{hex}").as_str()));
    assert_eq!(engine.digest("kest/allow_trusted"), digest);
}

#[test]
fn the_async_form_decides_the_same() {
    let engine = shipped();
    let run = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for score in [39, 40] {
        let call = Call::new(score);
        let input = call.input();
        let request = PolicyRequest { policy: "kest/allow_trusted", input: &input.as_input() };
        assert_eq!(
            run.block_on(engine.evaluate_async(&request)).unwrap(),
            engine.evaluate(&request).unwrap()
        );
    }
}

#[test]
fn v0_sources_decide_on_user_and_resource() {
    let engine = RegoEngine::from_sources([("kest/check_data_access", DATA_ACCESS)]).unwrap();
    let table = [
        (json!({"role": "admin"}), json!({"sensitivity": "confidential"}), true),
        (json!({"role": "admin"}), json!({"sensitivity": "top_secret"}), false),
        (json!({"role": "admin"}), json!({}), false),
        (json!({"role": "clerk"}), json!({"sensitivity": "confidential"}), false),
        (json!({"role": "clerk", "department": "finance"}), json!({"department": "finance"}), true),
        (json!({"role": "clerk", "department": "legal"}), json!({"department": "finance"}), false),
        (json!({}), json!({}), false),
        (json!("admin"), json!({"sensitivity": "confidential"}), false),
    ];
    for (user, attributes, expected) in table {
        let call = Call { user: Some(user.clone()), attributes: attributes.clone(), ..Call::new(40) };
        assert_eq!(allows(&engine, "kest/check_data_access", &call), expected, "{user} {attributes}");
    }
    assert!(!allows(&engine, "kest/check_data_access", &Call::new(100)));
}

#[test]
fn only_the_boolean_true_allows() {
    let call = Call::new(40);
    for body in [
        "allow := input.identity",
        "allow := input.trust_score",
        "allow := input.object",
        "allow := input.subject.agent",
        "x := [true]\nallow := x",
        "allow := f(1)\nf(x) := \"true\"",
    ] {
        let engine = policy(body).unwrap();
        let error = ask(&engine, "t", &call).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::MalformedAnswer, "{body}: {error}");
    }
    for body in
        ["allow := false", "allow if input.nothing", "default allow := false", "allow if input.nothing == 1"]
    {
        assert!(!allows(&policy(body).unwrap(), "t", &call), "{body}");
    }
    assert!(allows(&policy("allow := true").unwrap(), "t", &call));
}

#[test]
fn the_input_is_the_documented_object() {
    let call = Call {
        user: Some(
            json!({"sub": "alice", "big": 9_007_199_254_740_991_i64, "neg": -3, "half": 0.5, "list": [1, null, true]}),
        ),
        attributes: json!({"document_id": "DOC-456"}),
        taints: vec!["contains_pii".into(), "raw".into()],
        tier: Tier::Enterprise,
        ..Call::new(40)
    };
    let input = serde_json::to_string(&call.input().as_input()).unwrap();
    let engine = policy(&format!("default allow := false\nallow if input == {input}")).unwrap();
    assert!(allows(&engine, "t", &call));
    let other = Call { taints: vec!["raw".into()], ..call };
    assert!(!allows(&engine, "t", &other));
}

#[test]
fn each_member_of_the_input_is_there_by_its_path() {
    let call = Call {
        user: Some(json!({"role": "admin"})),
        attributes: json!({"level": 3}),
        taints: vec!["raw".into()],
        tier: Tier::Platform,
        ..Call::new(40)
    };
    for condition in [
        "input.subject.workload == \"spiffe://kest.internal/orders\"",
        "input.subject.user.role == \"admin\"",
        "input.subject.agent == null",
        "input.subject.task == null",
        "input.subject.trust_score == 40",
        "\"raw\" in input.subject.taints",
        "input.object.id == \"DOC-456\"",
        "input[\"object\"].attributes.level == 3",
        "input.environment.is_root",
        "input.environment.source_type == \"user_input\"",
        "input.environment.operation == \"orders.process\"",
        "input.environment.function == \"shop::orders::process\"",
        "input.environment.parent_hash == \"0\"",
        "input.environment.parent_hashes == [\"0\"]",
        "input.environment.inherited_trust_score == null",
        "input.environment.inherited_taints == []",
        "input.environment.trust_override == null",
        "input.environment.removed_taints == []",
        "input.environment.policy_names == [\"kest/allow_trusted\"]",
        "input.environment.policy_tier == \"platform\"",
        "input.environment.active_deviations == []",
        "input.identity == \"spiffe://kest.internal/orders\"",
        "input.trust_score == 40",
        "input[\"trust_score\"] == input.subject.trust_score",
        "input != 1",
    ] {
        // With a comparison alone, and beside a built-in, which takes another path through the engine.
        for extra in ["", "; count([1]) == 1"] {
            let engine =
                policy(&format!("default allow := false\nallow if {{ {condition}{extra} }}")).unwrap();
            assert!(allows(&engine, "t", &call), "{condition}{extra}");
            let engine =
                policy(&format!("default allow := false\nallow if {{ not {condition}{extra} }}")).unwrap();
            assert!(!allows(&engine, "t", &call), "not {condition}{extra}");
        }
    }
}

#[test]
fn an_unknown_name_lists_its_nearest() {
    let error = ask(&shipped(), "kest/allow_trsted", &Call::new(40)).unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::UnknownPolicy);
    assert!(error.to_string().contains("did you mean `kest/allow_trusted`?"), "{error}");
    for name in
        ["", "/", "kest/", "kest/allow_trusted/", "KEST", "data.kest", "../kest", "kest.allow_trusted"]
    {
        let error = ask(&shipped(), name, &Call::new(100)).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::UnknownPolicy, "{name}: {error}");
    }
}

#[test]
fn what_fails_is_an_error_and_never_undefined() {
    let call = Call { attributes: json!({"pattern": "[", "zero": 0, "word": "x"}), ..Call::new(40) };
    for body in [
        "default allow := false\nallow if not regex.match(input.object.attributes.pattern, \"a\")",
        "default allow := false\nallow if not bad\nbad if regex.match(input.object.attributes.pattern, \"a\")",
        "default allow := false\nallow if not bad\nbad if 1 / input.object.attributes.zero > 5",
        "default allow := false\nallow if not bad\nbad if to_number(input.object.attributes.word) > 5",
        "default allow := false\nallow if not bad\nbad := true if input.trust_score > 1\nbad := false if input.trust_score > 2",
        "allow := true if input.trust_score > 1\nallow := false if input.trust_score > 2",
    ] {
        let error = ask(&policy(body).unwrap(), "t", &call).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::Evaluation, "{body}: {error}");
        assert!(error.to_string().starts_with("t.rego:"), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn an_evaluation_that_takes_too_long_is_a_timeout() {
    let body = "package t\nimport rego.v1\ndefault allow := false\n\
                allow if { some i in numbers.range(1, 3000); some j in numbers.range(1, 3000); i * j == 0 }";
    let engine =
        RegoEngine::builder().source("t", body).time_limit(Duration::from_millis(20)).build().unwrap();
    let error = ask(&engine, "t", &Call::new(40)).unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::Timeout, "{error}");
}

#[test]
fn a_digest_covers_what_decides() {
    let helper = |limit: u8| format!("package lib\nimport rego.v1\ndefault allow := false\nlimit := {limit}");
    let user = "package t\nimport rego.v1\nimport data.lib\ndefault allow := false\nallow if input.trust_score >= lib.limit";
    let alone =
        "package u\nimport rego.v1\ndefault allow := false\nallow if data.u.x\nx if input.trust_score > 1";
    let build = |limit| {
        RegoEngine::from_sources([("lib", helper(limit)), ("t", user.to_owned()), ("u", alone.to_owned())])
            .unwrap()
    };
    let (low, high) = (build(10), build(50));
    assert!(allows(&low, "t", &Call::new(40)));
    assert!(!allows(&high, "t", &Call::new(40)));
    assert_ne!(low.digest("t"), high.digest("t"));
    assert_eq!(low.digest("u"), high.digest("u"));
    assert_eq!(low.digest("nope"), None);
    // A package below is another one, although its path begins alike.
    let above = |least: u8| {
        let own = "package t\nimport rego.v1\nallow if input.trust_score >= data.t.limits.least";
        let limits = format!("package t.limits\nimport rego.v1\ndefault allow := false\nleast := {least}");
        RegoEngine::from_sources([("t", own.to_owned()), ("t/limits", limits)]).unwrap()
    };
    assert_ne!(above(30).digest("t"), above(50).digest("t"));
}

#[test]
fn a_reason_is_a_bounded_string_or_none() {
    let reason = |body: &str| match ask(&policy(body).unwrap(), "t", &Call::new(40)).unwrap() {
        Decision::Deny { reason } => reason,
        Decision::Allow { .. } => panic!("allowed"),
    };
    assert_eq!(reason("allow := false\nreason := \"because\"").as_deref(), Some("because"));
    assert_eq!(reason("allow := false\ndeny_reason := \"because\"").as_deref(), Some("because"));
    assert_eq!(reason("allow := false\nreason := 7"), None);
    assert_eq!(reason("allow := false\nreason := \"x\" if input.nothing"), None);
    assert_eq!(reason("allow := false\nreason := \"x\" if to_number(\"y\") > 1"), None);
    assert_eq!(reason("allow := false\nreason(x) := x"), None);
    let long =
        reason("allow := false\nreason := concat(\"\", [x | some i in numbers.range(1, 600); x := \"äx\"])")
            .unwrap();
    assert!(long.len() <= 1024 && long.len() > 1000, "{}", long.len());
}

#[test]
fn threads_agree() {
    let body = "default allow := false\nallow if input.trust_score >= 40\nallow if { some t in input.subject.taints; t == \"vip\" }";
    let engine = RegoEngine::from_sources([
        ("t", format!("package t\nimport rego.v1\n{body}")),
        ("kest/allow_trusted", ALLOW_TRUSTED.to_owned()),
    ])
    .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let engine = &engine;
            scope.spawn(move || {
                for turn in 0..2_000_u32 {
                    let score = u8::try_from((turn + u32::from(thread) * 13) % 101).unwrap();
                    let vip = turn % 3 == 0;
                    let taints = if vip { vec!["vip".into()] } else { Vec::new() };
                    let call = Call { taints, ..Call::new(score) };
                    assert_eq!(allows(engine, "kest/allow_trusted", &call), score >= 40);
                    assert_eq!(allows(engine, "t", &call), score >= 40 || vip);
                }
            });
        }
    });
}
