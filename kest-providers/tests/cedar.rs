//! Cedar in this process: what it decides.
#![cfg(feature = "cedar")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{Decision, InputDocument, PolicyEngine, PolicyRequest};
use kest_providers::policy::CedarEngine;
use serde_json::json;
use support::Call;

const ALLOW_TRUSTED: &str = r#"@reason("the call's trust score must be at least 40")
permit (principal, action == Action::"kest/allow_trusted", resource)
when { context.trust_score >= 40 };
"#;

/// An engine with one policy `t`.
fn policy(text: &str) -> CedarEngine {
    CedarEngine::from_sources([("t", text)]).unwrap()
}

fn ask(engine: &CedarEngine, policy: &str, call: &Call) -> Result<Decision, PolicyUnavailable> {
    engine.evaluate(&PolicyRequest { policy, input: &call.input().as_input() })
}

/// Whether the condition allows the call.
fn allows(condition: &str, call: &Call) -> bool {
    match ask(&policy(&format!("permit (principal, action, resource) when {{ {condition} }};")), "t", call)
        .unwrap()
    {
        Decision::Allow { .. } => true,
        Decision::Deny { .. } => false,
    }
}

fn reason(text: &str, call: &Call) -> Option<String> {
    match ask(&policy(text), "t", call).unwrap() {
        Decision::Allow { .. } => panic!("allowed"),
        Decision::Deny { reason } => reason,
    }
}

#[test]
fn an_allow_says_by_which_text_and_a_denial_why() {
    let engine = CedarEngine::from_sources([("kest/allow_trusted", ALLOW_TRUSTED)]).unwrap();
    let Decision::Allow { digest } = ask(&engine, "kest/allow_trusted", &Call::new(40)).unwrap() else {
        panic!("denied");
    };
    let hex = <sha2::Sha256 as sha2::Digest>::digest(ALLOW_TRUSTED);
    let hex: String = hex.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest.as_deref(), Some(format!("sha256:{hex}").as_str()));
    assert_eq!(engine.digest("kest/allow_trusted"), digest);
    assert_eq!(engine.digest("kest"), None);
    let denied = Decision::Deny { reason: Some("the call's trust score must be at least 40".to_owned()) };
    assert_eq!(ask(&engine, "kest/allow_trusted", &Call::new(39)).unwrap(), denied);
}

#[test]
fn the_async_form_decides_the_same() {
    let engine = CedarEngine::from_sources([("kest/allow_trusted", ALLOW_TRUSTED)]).unwrap();
    let run = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for score in [39, 40] {
        let call = Call::new(score).input();
        let request = PolicyRequest { policy: "kest/allow_trusted", input: &call.as_input() };
        assert_eq!(
            run.block_on(engine.evaluate_async(&request)).unwrap(),
            engine.evaluate(&request).unwrap()
        );
    }
}

#[test]
fn who_acts_how_and_on_what() {
    let call = Call::new(40);
    for (condition, expected) in [
        (r#"principal == Workload::"spiffe://kest.internal/orders""#, true),
        (r#"principal == Workload::"orders""#, false),
        (r#"action == Action::"t""#, true),
        (r#"resource == Resource::"DOC-456""#, true),
        (r#"resource == Resource::"*""#, false),
        (r#"principal is Workload && resource is Resource"#, true),
    ] {
        assert_eq!(allows(condition, &call), expected, "{condition}");
    }
    let engine =
        policy(r#"permit (principal, action, resource == Resource::"*") unless { context.object has id };"#);
    let nobodys = InputDocument::default();
    let request = PolicyRequest { policy: "t", input: &nobodys.as_input() };
    assert!(matches!(engine.evaluate(&request).unwrap(), Decision::Allow { .. }));
}

#[test]
fn the_context_is_the_input() {
    let mut call = Call::new(40);
    call.user = Some(json!({"sub": "alice", "roles": ["admin", "clerk"], "team": null}));
    call.attributes = json!({"amount": 4200.0, "owner": {"name": "bob", "e.mail": "b@example.org"}});
    call.taints = vec!["a".into(), "b".into()];
    for condition in [
        "context.trust_score == 40 && context.subject.trust_score == 40",
        r#"context["subject.trust_score"] == 40"#,
        r#"context.identity == "spiffe://kest.internal/orders""#,
        r#"context["subject.user.sub"] == "alice" && context.subject.user.roles.contains("admin")"#,
        r#"!(context.subject.user has team) && !(context has "subject.user.team") && !(context.subject has agent)"#,
        r#"context["object.attributes.amount"] == 4200 && context.object.attributes.owner.name == "bob""#,
        r#"context["object.attributes.owner.name"] == "bob""#,
        r#"context.object.attributes.owner["e.mail"] == "b@example.org""#,
        r#"!(context has "object.attributes.owner.e.mail") && !(context has "object.attributes.owner")"#,
        r#"context.subject.taints.containsAll(["a", "b"]) && context["subject.taints"] == ["b", "a"]"#,
        r#"context.environment.is_root && context["environment.policy_tier"] == "function""#,
        r#"context.environment.parent_hashes == ["0"] && context["environment.source_type"] == "user_input""#,
        r#"!(context.environment has inherited_trust_score)"#,
        // Not by members: the whole context.
        r#"context == context && context != {} && (if true then context else {trust_score: 1}).trust_score == 40"#,
    ] {
        assert!(allows(condition, &call), "{condition}");
    }
}

#[test]
fn an_attribute_does_not_pass_for_another() {
    let mut call = Call::new(10);
    call.attributes = json!({"a.b": 1, "trust_score": 100});
    for condition in [
        r#"context["object.attributes.a.b"] == 1"#,
        "context.object.attributes.a.b == 1",
        r#"context["object.attributes.b"] == 1"#,
    ] {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let error = ask(&policy(&text), "t", &call).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::Evaluation, "{condition}: {error}");
    }
}

#[test]
fn a_failing_statement_is_an_error_and_never_an_allow() {
    for text in [
        // By the language alone this is an allow: the `forbid` is skipped.
        "permit (principal, action, resource);\n\nforbid (principal, action, resource) when { context.object.attributes.nosuch == 1 };",
        "permit (principal, action, resource);\n\npermit (principal, action, resource) when { context.object.attributes.nosuch == 1 };",
        "forbid (principal, action, resource);\n\npermit (principal, action, resource) when { context.object.attributes.nosuch == 1 };",
        "permit (principal, action, resource);\n\nforbid (principal, action, resource) when { context.trust_score > \"1\" };",
        "permit (principal, action, resource);\n\nforbid (principal, action, resource) when { context.trust_score };",
        "permit (principal, action, resource);\n\nforbid (principal, action, resource) \
         when { context.trust_score + 9223372036854775807 > 0 };",
        "permit (principal, action, resource);\n\nforbid (principal, action, resource) when { ip(\"x\").isIpv4() };",
    ] {
        let error = ask(&policy(text), "t", &Call::new(40)).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::Evaluation, "{text}: {error}");
        assert!(error.to_string().starts_with("policy `t.cedar` failed: "), "{error}");
        assert!(error.to_string().contains("t.cedar:3"), "{error}");
    }
}

#[test]
fn an_input_that_cedar_cannot_hold_is_an_error_whatever_the_policy_reads() {
    let always = policy("permit (principal, action, resource);");
    let whole = policy("permit (principal, action, resource) when { context == context };");
    for attributes in [
        json!({"a": 1.5}),
        json!({"a": [null]}),
        json!({"a": {"__extn": {"fn": "ip", "arg": "1.1.1.1"}}}),
        json!({"a": u64::MAX}),
    ] {
        let mut call = Call::new(40);
        call.attributes = attributes;
        for engine in [&always, &whole] {
            let error = ask(engine, "t", &call).unwrap_err();
            assert_eq!(error.kind(), PolicyErrorKind::Input, "{error}");
            assert!(error.to_string().starts_with("`object.attributes.a"), "{error}");
        }
    }
}

#[test]
fn a_deep_input_does_not_exhaust_the_stack() {
    let whole = policy("permit (principal, action, resource) when { context == context };");
    let mut call = Call::new(40);
    call.attributes = (0..120).fold(json!({}), |inner, _| json!({"a": inner}));
    assert!(matches!(ask(&whole, "t", &call), Ok(Decision::Allow { .. })));
}

#[test]
fn reasons() {
    let call = Call::new(40);
    let forbid = |reason: &str, condition: bool| {
        format!("@reason(\"{reason}\") forbid (principal, action, resource) when {{ {condition} }};\n")
    };
    let permit = |reason: &str| {
        format!("@reason(\"{reason}\") permit (principal, action, resource) when {{ false }};")
    };
    let bare = "forbid (principal, action, resource);";
    for (text, expected) in [
        (forbid("one", false) + &forbid("two", true) + &forbid("three", true), Some("two")),
        (forbid("one", true) + &permit("none"), Some("one")),
        (forbid("one", false) + &permit("none"), Some("none")),
        (permit("none") + &permit("other"), None),
        (permit("none") + "permit (principal, action, resource) when { false };", Some("none")),
        // The `forbid` that held has no reason of its own; why nothing permits is another matter.
        (permit("none") + bare, None),
        (forbid("", true), None),
        (bare.to_owned(), None),
    ] {
        assert_eq!(reason(&text, &call).as_deref(), expected, "{text}");
    }
    let long = "ä".repeat(600);
    assert_eq!(reason(&forbid(&long, true), &call).map(|reason| reason.len()), Some(1024));
}

#[test]
fn each_name_is_decided_by_its_own_file() {
    let engine = CedarEngine::from_sources([
        ("a", "permit (principal, action, resource);"),
        ("a/b", "permit (principal, action, resource) when { context.trust_score >= 70 };"),
        ("a/c-d", "permit (principal, action, resource); forbid (principal, action, resource);"),
    ])
    .unwrap();
    assert_eq!(engine.names(), ["a", "a/b", "a/c-d"]);
    for (name, expected) in [("a", true), ("a/b", false), ("a/c-d", false)] {
        let allowed = matches!(ask(&engine, name, &Call::new(40)).unwrap(), Decision::Allow { .. });
        assert_eq!(allowed, expected, "{name}");
    }
}

#[test]
fn a_name_that_is_not_there_is_an_error_with_those_near_it() {
    let engine = CedarEngine::from_sources([("kest/allow_trusted", ALLOW_TRUSTED)]).unwrap();
    for (name, expected) in [
        (
            "kest/allow_trsted",
            "unknown policy `kest/allow_trsted`; did you mean `kest/allow_trusted`? (loaded from given sources)",
        ),
        ("", "unknown policy ``; 1 policies are loaded (loaded from given sources)"),
        (
            "kest/allow_trusted.cedar",
            "unknown policy `kest/allow_trusted.cedar`; did you mean `kest/allow_trusted`? (loaded from given sources)",
        ),
    ] {
        let error = ask(&engine, name, &Call::new(100)).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::UnknownPolicy);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_snapshot_keeps_its_set() {
    let engine = policy("permit (principal, action, resource);");
    let snapshot = engine.snapshot().unwrap();
    let call = Call::new(0).input();
    let request = PolicyRequest { policy: "t", input: &call.as_input() };
    engine.reload().unwrap();
    drop(engine);
    assert!(matches!(snapshot.evaluate(&request).unwrap(), Decision::Allow { .. }));
}

#[test]
fn debug_names_policies_without_their_texts() {
    let shown = format!("{:?}", CedarEngine::from_sources([("kest/allow_trusted", ALLOW_TRUSTED)]).unwrap());
    assert_eq!(shown, "CedarEngine { policies: [\"kest/allow_trusted\"], .. }");
}
