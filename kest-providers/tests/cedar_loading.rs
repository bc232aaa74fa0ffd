//! Cedar in this process: what is loaded, and what is refused.
#![cfg(feature = "cedar")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;
use std::thread;

use folder::Folder;
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{Decision, PolicyEngine, PolicyRequest};
use kest_providers::policy::CedarEngine;
use support::Call;

const ANY: &str = "permit (principal, action, resource);";
const GROUPS: &str = "write `==`; workloads and resources have no groups";

fn refusal(engine: Result<CedarEngine, PolicyUnavailable>) -> String {
    let error = engine.unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::Load, "{error}");
    error.to_string()
}

fn allows(engine: &dyn PolicyEngine, policy: &str, call: &Call) -> Result<bool, PolicyUnavailable> {
    Ok(match engine.evaluate(&PolicyRequest { policy, input: &call.input().as_input() })? {
        Decision::Allow { .. } => true,
        Decision::Deny { .. } => false,
    })
}

#[test]
fn wrong_files_are_refused_each_for_its_reason() {
    for (name, text, expected) in [
        ("a/b", "permit (principal, action, resource)\n\n", "a/b.cedar:1:37: unexpected end of input"),
        (
            "a",
            "permit (principal, action, resource);\n  forbid (principal action, resource);",
            "a.cedar:2:21: unexpected token `action`",
        ),
        ("a", "permit (principal, action, resource) when { nosuch(1) };", "a.cedar:1:"),
        ("a", "permit (principal, action, resource) when { context.object.nosuch() };", "a.cedar:1:"),
        ("a", "permit (principal, action, resource) when { 99999999999999999999 == 1 };", "a.cedar:1:"),
        ("a", "", "`a.cedar` holds no policy; write a `permit`"),
        ("a", "// permit (principal, action, resource);", "`a.cedar` holds no policy"),
        (
            "a",
            "permit (principal, action, resource);\npermit (principal == ?principal, action, resource);",
            "a.cedar:2: nothing fills this template in",
        ),
        (
            "a",
            "permit (principal, action, resource in ?resource);",
            "a.cedar:1: nothing fills this template in",
        ),
        ("a.b", ANY, "`a.b` is no policy name; use letters, digits, `_` and `-`"),
        ("../a", ANY, "`..` is no policy name"),
        ("a//b", ANY, "`` is no policy name"),
        ("", ANY, "`` is no policy name"),
        ("a/ä", ANY, "`ä` is no policy name"),
        ("a b", ANY, "`a b` is no policy name"),
    ] {
        let message = refusal(CedarEngine::from_sources([(name, text)]));
        assert!(message.contains(expected), "{text}: {message}");
    }
    let message = refusal(CedarEngine::builder().build());
    assert_eq!(message, "no policy is given; name a folder or a source");
    let message = refusal(CedarEngine::from_sources([("a", ANY), ("a.cedar", ANY)]));
    assert_eq!(message, "policy `a` is given twice; leave one");
    let large = format!("{ANY}//{}", " ".repeat(1024 * 1024));
    assert!(refusal(CedarEngine::from_sources([("a", large)])).contains("a policy may have 1048576 bytes"));
}

#[test]
fn a_scope_that_can_never_match_is_refused_by_file_and_line() {
    for (scope, expected) in [
        (
            r#"principal, action == Action::"a/c", resource"#,
            r#"the action of this policy is never `Action::"a/b"`; write `action == Action::"a/b"`"#,
        ),
        (r#"principal, action == Action::"a/b ", resource"#, "the action of this policy"),
        (r#"principal, action == Kest::Action::"a/b", resource"#, "the action of this policy"),
        (r#"principal, action in [Action::"a", Action::"a/c"], resource"#, "the action of this policy"),
        (r#"principal, action in Action::"a", resource"#, "the action of this policy"),
        (r#"principal, action in [], resource"#, "the action of this policy"),
        (r#"principal == User::"w", action, resource"#, "the principal of this policy is never a `Workload`"),
        (r#"principal in Group::"w", action, resource"#, GROUPS),
        (r#"principal in Workload::"w", action, resource"#, GROUPS),
        (r#"principal is User, action, resource"#, "the principal of this policy"),
        (r#"principal is Workload in Group::"w", action, resource"#, GROUPS),
        (r#"principal is Workload in Workload::"w", action, resource"#, GROUPS),
        (r#"principal is Kest::Workload, action, resource"#, "the principal of this policy"),
        (
            r#"principal, action, resource == Document::"d""#,
            "the resource of this policy is never a `Resource`",
        ),
        (r#"principal, action, resource in Folder::"d""#, GROUPS),
        (r#"principal, action, resource in Resource::"d""#, GROUPS),
        (r#"principal, action, resource is Document"#, "the resource of this policy"),
        (r#"principal, action, resource is Resource in Folder::"d""#, GROUPS),
        (r#"principal, action, resource is Resource in Resource::"d""#, GROUPS),
    ] {
        for effect in ["permit", "forbid"] {
            let text = format!("{ANY}\n\n// why\n@reason(\"x\")\n{effect} ({scope});");
            let message = refusal(CedarEngine::from_sources([("a/b", text)]));
            assert!(message.starts_with("a/b.cedar:4: "), "{message}");
            assert!(message.contains(expected), "{scope}: {message}");
        }
    }
    for scope in [
        r#"principal, action == Action::"a/b", resource"#,
        r#"principal, action in [Action::"a/c", Action::"a/b"], resource"#,
        r#"principal, action in Action::"a/b", resource"#,
        r#"principal == Workload::"spiffe://kest.internal/orders", action, resource"#,
        r#"principal is Workload, action, resource is Resource"#,
        r#"principal is Workload, action, resource == Resource::"DOC-456""#,
    ] {
        let engine = CedarEngine::from_sources([("a/b", format!("permit ({scope});"))]).unwrap();
        assert!(allows(&engine, "a/b", &Call::new(0)).unwrap(), "{scope}");
    }
}

/// Without the check each of these is a wrong allow: the `forbid` never holds.
#[test]
fn a_forbid_that_can_never_hold_is_refused_by_file_and_line() {
    for (condition, expected) in [
        (r#"Switch::"all" has off && Switch::"all".off"#, "read the `context`; principal, action"),
        (r#"Switch::"all".hasTag("off")"#, "read the `context`; principal, action"),
        (r#"(if context.trust_score > 1 then Switch::"a" else Switch::"b") has off"#, "read the `context`"),
        (r#"action in Action::"all""#, r#"the action of this policy is never `Action::"a/b"`"#),
        (r#"false || action in Action::"all""#, "the action of this policy is never"),
        ("principal is User", "`is User` never holds for a `Workload`"),
        (r#"principal == User::"x""#, "`==` compares a `Workload` with a `User`"),
        (r#"resource == Document::"x""#, "`==` compares a `Resource` with a `Document`"),
        (r#"resource == context["object.id"]"#, "`==` compares a `Resource` with what is no entity"),
        (
            r#"context has "subject.taint" && context["subject.taint"].contains("x")"#,
            "did you mean `subject.taints`?",
        ),
        (r#"context has "Environment.source_type""#, "did you mean `environment.source_type`?"),
        ("context.subject has taint", "did you mean `subject.taints`?"),
    ] {
        let text = format!("{ANY}\n\nforbid (principal, action, resource)\nwhen {{ {condition} }};");
        let message = refusal(CedarEngine::from_sources([("a/b", text)]));
        assert!(message.starts_with("a/b.cedar:3: ") && message.contains(expected), "{condition}: {message}");
    }
}

#[test]
fn what_is_allowed_to_nest_and_chain_does_not_exhaust_the_stack() {
    let whole = |condition: String| format!("permit (principal, action, resource) when {{ {condition} }};");
    let nested =
        |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(60), close.repeat(60));
    for condition in [
        nested("(", "true", ")"),
        nested("[", "1", "]") + " != []",
        nested("{a: ", "1", "}") + " != {}",
        nested("if true then (", "true", ") else false"),
        vec!["true"; 490].join(" && "),
        vec!["context.trust_score == 40"; 300].join(" && "),
        vec!["context.trust_score == 40"; 300].join(" || "),
        vec!["1"; 900].join(" + ") + " == 900",
        vec!["1"; 900].join(" * ") + " == 1",
        format!("context.object.attributes{} == 1", ".a".repeat(900)),
        "if true then true else ".repeat(900) + "true",
        "true } when { ".repeat(900) + "true",
    ] {
        let engine = CedarEngine::from_sources([("t", whole(condition.clone()))]).unwrap();
        let expected = allows(&engine, "t", &Call::new(40)).map_err(|error| error.to_string());
        match &expected {
            Ok(allowed) => assert!(*allowed, "{condition}"),
            Err(error) => assert!(error.contains("does not have the attribute"), "{condition}: {error}"),
        }
        // On the stack of a thread, and on a smaller one; the last to hold the policies frees them.
        for (stack, engine) in [(2 * 1024 * 1024, engine.snapshot().unwrap()), (512 * 1024, Arc::new(engine))]
        {
            let answer = move || {
                let answer = allows(&*engine, "t", &Call::new(40)).map_err(|error| error.to_string());
                drop(engine);
                answer
            };
            let thread = thread::Builder::new().stack_size(stack).spawn(answer).unwrap();
            assert_eq!(thread.join().unwrap(), expected, "{condition}");
        }
    }
    for condition in [
        nested("((", "true", "))"),
        vec!["true"; 1000].join(" && "),
        format!("{}true", "!".repeat(2000)),
        format!("context{} == 1", ".a".repeat(2000)),
        "if true then false else ".repeat(2000) + "true",
        format!("context{} == 1", "[\"a\"]".repeat(2000)),
        "true } when { ".repeat(12_000) + "true",
    ] {
        let message = refusal(CedarEngine::from_sources([("t", whole(condition))]));
        assert!(message.starts_with("t.cedar:1: ") && message.ends_with("; divide it"), "{message}");
    }
    // Many policies, and many members of one set, are neither.
    let many = ANY.repeat(5_000);
    let set = format!(
        "[{}].contains(context.trust_score)",
        (0..5_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",")
    );
    for text in [many, whole(set)] {
        assert!(allows(&CedarEngine::from_sources([("t", text)]).unwrap(), "t", &Call::new(40)).unwrap());
    }
}

#[test]
fn folders_are_read_safely() {
    let folder = Folder::new("cedar-folders");
    let outside = Folder::new("cedar-outside");
    let load = || CedarEngine::from_dir(&folder.0);
    assert!(refusal(CedarEngine::from_dir(folder.0.join("absent"))).contains("cannot be read"));
    assert!(refusal(load()).contains("holds no policy; a policy `a/b` is the file `a/b.cedar` in it"));
    folder.write("a/b-c.cedar", ANY);
    folder.write("a/x.rego", "another language");
    folder.write("notes.cedarschema", "nor this");
    folder.write("..2026/d.cedar", ANY);
    std::os::unix::fs::symlink(folder.0.join("..2026/d.cedar"), folder.0.join("d.cedar")).unwrap();
    assert_eq!(load().unwrap().names(), ["a/b-c", "d"]);

    outside.write("e.cedar", ANY);
    std::os::unix::fs::symlink(outside.0.join("e.cedar"), folder.0.join("e.cedar")).unwrap();
    assert!(refusal(load()).contains("link out of the policy folder"));
    folder.remove("e.cedar");
    folder.write("a b.cedar", ANY);
    assert!(refusal(load()).contains("`a b` is no policy name"));
    folder.remove("a b.cedar");
    folder.write("big.cedar", &format!("{ANY}//{}", " ".repeat(1024 * 1024)));
    assert!(refusal(load()).contains("a policy may have"));
    folder.remove("big.cedar");
    std::fs::write(folder.0.join("latin.cedar"), b"// \xe4").unwrap();
    assert!(refusal(load()).contains("latin.cedar"));
    folder.remove("latin.cedar");
    // Opening it would wait for somebody to write.
    let _socket = std::os::unix::net::UnixListener::bind(folder.0.join("s.cedar")).unwrap();
    assert!(refusal(load()).contains("no regular file"));
}

#[test]
fn a_reload_takes_over_whole_or_not_at_all() {
    let folder = Folder::new("cedar-reload");
    let text = |limit: u8| {
        format!("permit (principal, action, resource) when {{ context.trust_score >= {limit} }};")
    };
    folder.write("t.cedar", &text(40));
    let engine = CedarEngine::from_dir(&folder.0).unwrap();
    let call = Call::new(20);
    assert!(!allows(&engine, "t", &call).unwrap());
    folder.write("t.cedar", &text(10));
    folder.write("broken.cedar", "permit (");
    assert_eq!(engine.reload().unwrap_err().kind(), PolicyErrorKind::Load);
    assert!(!allows(&engine, "t", &call).unwrap(), "the old set stays");
    folder.remove("broken.cedar");
    engine.reload().unwrap();
    assert!(allows(&engine, "t", &call).unwrap());
    folder.remove("t.cedar");
    assert!(engine.reload().is_err());
    assert!(allows(&engine, "t", &call).unwrap());
}
