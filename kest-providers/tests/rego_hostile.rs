//! Rego in this process: texts that could decide otherwise than they read, or take the process with them.
#![cfg(feature = "rego")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/engine.rs"]
mod engine;
#[path = "support/mod.rs"]
mod support;

use std::fmt::Write;

use engine::{DATA_ACCESS, allows, ask, policy, shipped};
use kest_core::error::PolicyErrorKind;
use kest_core::policy::{Decision, PolicyEngine, PolicyRequest};
use kest_providers::policy::RegoEngine;
use support::Call;

fn refusal(text: &str) -> String {
    let error = RegoEngine::from_sources([("t", text)]).expect_err(text);
    assert_eq!(error.kind(), PolicyErrorKind::Load, "{error}");
    error.to_string()
}

#[test]
fn a_text_of_v1_is_never_read_as_v0() {
    for (text, v1_line, mark) in [
        (
            "default allow := false\nallow if { input.trust_score > 90 }\nallow { input.x }",
            4,
            "line 2 of `t.rego` has `default … :=`",
        ),
        ("allow if { input.trust_score > 90 }\nhelper { true }", 3, "line 2 of `t.rego` has `if`"),
        ("allow = true if input.x\nq { 1 }", 3, "line 2 of `t.rego` has `if`"),
        (
            "import future.keywords.in\nallow { not \"pii\" in input.subject.taints }",
            3,
            "line 2 of `t.rego` has `import future.keywords`",
        ),
        ("allow contains x if { x := 1 }\nq { 1 }", 3, "line 2 of `t.rego` has `contains`"),
        ("allow", 2, "line 2 of `t.rego` has a rule without body and value"),
        ("default allow = false\nallow { input.x }\nallow", 3, "line 4 of `t.rego` has a rule without body"),
        ("allow { input.x }\nallow[\"x\"]", 2, "line 3 of `t.rego` has a rule without body"),
        (
            "allow { input.x }\ncontains(x) { x }",
            2,
            "line 3 of `t.rego` has a rule named like a word of Rego v1",
        ),
    ] {
        let message = refusal(&format!("package t\n{text}"));
        assert!(message.starts_with(&format!("t.rego:{v1_line}:")), "{text}: {message}");
        assert!(message.contains(mark) && message.contains("`import rego.v1`, and `if` before"), "{message}");
    }
    // A text that says what it is has one error only.
    let message = refusal("package t\nimport rego.v1\nallow if { true }\nhelper { true }");
    assert_eq!(message, "t.rego:4:8: `if` keyword is required before rule body");
    let both = refusal("package t\ndefault allow = false\nallow { input.x");
    assert!(both.starts_with("t.rego:3:") && both.contains("(read as Rego v1: t.rego:3:"), "{both}");

    let old = RegoEngine::from_sources([("kest/check_data_access", DATA_ACCESS)]).unwrap();
    assert!(!allows(&old, "kest/check_data_access", &Call::new(50)));
    let contains = "package t\nallow { contains(input.identity, \"orders\"); x := 1; x == 1 }";
    let old = RegoEngine::from_sources([("t", contains)]).unwrap();
    assert!(allows(&old, "t", &Call::new(50)), "the built-in is no word of v1");
}

#[test]
fn rules_in_conflict_are_refused() {
    for (body, place) in [
        ("allow if not x\nx := true\nx.y := 1", "t.rego:5: rule `t.x.y` conflicts with rule `t.x` of line 4"),
        ("allow if not x\nx.y := 1\nx := true", "t.rego:4: rule `t.x.y` conflicts with rule `t.x` of line 5"),
        ("allow.foo := true\nallow if input.x", "t.rego:3: rule `t.allow.foo` conflicts with rule `t.allow`"),
        ("allow if input.x\nallow[k] := 1 if some k in [1]", "t.rego:4: rule `t.allow` conflicts"),
        (
            "allow if not b\nb if input.x\nb contains 1",
            "t.rego:5: rule `t.b` conflicts with rule `t.b` of line 4",
        ),
        ("allow if not b\nb if input.x\nb[\"x\"] := 1", "t.rego:5: rule `t.b.x` conflicts"),
        ("allow if f(1)\nf(x) if x\nf := 1", "t.rego:5: rule `t.f` conflicts"),
        ("allow if f(1)\nf(x) if x\nf(x, y) if x == y", "t.rego:5: rule `t.f` conflicts"),
        ("default allow := true\ndefault allow := false", "t.rego:4: rule `t.allow` has a second default"),
        (
            "import data.t as input\nallow if input.trust_score > 5\ntrust_score := 100",
            "t.rego:3: `input` already",
        ),
        ("import input.object as x\nx := 5\nallow if x == 5", "t.rego:3: `x` already has a meaning"),
    ] {
        let message = refusal(&format!("package t\nimport rego.v1\n{body}"));
        assert!(message.starts_with(place), "{body}: {message}");
    }
    let old = refusal("package t\ninput = {\"trust_score\": 100} { true }\nallow { input.trust_score > 90 }");
    assert!(old.starts_with("t.rego:2: `input` already has a meaning"), "{old}");
    let apart = policy("allow if not x.z\nx.y := 1\nx.z := false if input.a\nv1 := 1").unwrap();
    assert!(allows(&apart, "t", &Call::new(50)));
}

#[test]
fn the_value_of_a_relation_is_refused() {
    let message = refusal("package t\nimport rego.v1\nallow if not bad\nbad if { x := walk(input) }");
    assert!(message.starts_with("t.rego:4: this engine does not know the expression"), "{message}");
    let walk = policy("allow if { walk(input.subject, [_, v]); v == 50 }").unwrap();
    assert!(allows(&walk, "t", &Call::new(50)) && !allows(&walk, "t", &Call::new(40)));
}

#[test]
fn a_text_can_neither_hang_nor_overflow_the_process() {
    let around = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    for (what, limit) in [
        (around("[", "]", 30), "too often"),
        (around("[", "]", 500), "too often"),
        (around("(", ")", 500), "brackets may be nested 32 deep"),
        (format!("input{}", ".a".repeat(500)), "a reference may have 64 parts"),
        (format!("1{}", "\n + 1".repeat(20_000)), "line count"),
        (format!("1{}", "\n + 1".repeat(10_000)), "64 brackets and operators deep"),
    ] {
        let message = refusal(&format!("package t\nimport rego.v1\nallow if 1 == {what}"));
        assert!(message.contains(limit), "{message}");
    }
    assert!(shipped().names().len() > 3, "what is shipped keeps to all limits");
    let size = refusal(&format!("package t\nimport rego.v1\nallow if 1 == 1\n#{}", "x\n#".repeat(600_000)));
    assert!(size.contains("a policy may have 1048576"), "{size}");
    let loops = (0..200).fold(String::new(), |mut text, i| {
        writeln!(text, " some x{i} in [1]").unwrap();
        text
    });
    let loops = refusal(&format!("package t\nimport rego.v1\nallow if {{\n{loops}}}"));
    assert!(loops.starts_with("t.rego:3: rule `t.allow` stands on a row of 1 rules"), "{loops}");
}

/// `allow`, and below it as many rules as said, each in terms of the next.
fn row(rules: usize, body: &str) -> Result<RegoEngine, String> {
    let mut text = "allow if r1\n".to_owned();
    for i in 1..rules - 1 {
        writeln!(text, "r{i} if {}", body.replace("NEXT", &format!("r{}", i + 1))).unwrap();
    }
    writeln!(text, "r{} := true", rules - 1).unwrap();
    policy(&text).map_err(|error| error.to_string())
}

#[test]
fn rows_of_rules_are_limited_and_those_allowed_are_evaluated() {
    for body in ["NEXT", "{ x := NEXT; x }"] {
        assert!(allows(&row(32, body).unwrap(), "t", &Call::new(50)), "{body}");
        let message = row(33, body).unwrap_err();
        assert!(message.starts_with("t.rego:3: rule `t.allow` stands on a row of 33 rules"), "{message}");
    }
    // The deepest there may be fit into a thread's stack.
    let every = format!("{{ {}NEXT{} }}", "every x in [1] { ".repeat(8), "}".repeat(8));
    let sum = format!("{{ x := NEXT; {}1{} > 0 }}", "(1 + ".repeat(28), ")".repeat(28));
    let lists = format!("{{ x := {}NEXT{} }}", "[y | y := ".repeat(3), "]".repeat(3));
    for (body, least) in [(every, 5), (sum, 3), (lists, 5)] {
        let most = (3..33).take_while(|rules| row(*rules, &body).is_ok()).last().unwrap_or(0);
        assert!(most >= least && most < 32, "{most} rules of {body}");
        assert!(allows(&row(most, &body).unwrap(), "t", &Call::new(50)), "{body}");
    }
}

#[test]
fn a_snapshot_keeps_its_policies_through_a_reload() {
    let folder = std::env::temp_dir().join(format!("kest-rego-snapshot-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |limit: u8| {
        let text = format!(
            "package t\nimport rego.v1\ndefault allow := false\nallow if input.trust_score >= {limit}"
        );
        std::fs::write(folder.join("t.rego"), text).unwrap();
    };
    write(40);
    let engine = RegoEngine::from_dir(&folder).unwrap();
    let before = engine.snapshot().unwrap();
    let digest = engine.digest("t").unwrap();
    write(60);
    engine.reload().unwrap();
    let after = engine.snapshot().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();

    let call = Call::new(50);
    let input = call.input();
    let request = PolicyRequest { policy: "t", input: &input.as_input() };
    assert_eq!(before.evaluate(&request).unwrap(), Decision::Allow { digest: Some(digest) });
    assert_eq!(ask(&engine, "t", &call).unwrap(), Decision::deny());
    assert_eq!(after.evaluate(&request).unwrap(), Decision::deny());
    let unknown = before.evaluate(&PolicyRequest { policy: "u", input: &input.as_input() }).unwrap_err();
    assert_eq!(unknown.kind(), PolicyErrorKind::UnknownPolicy);
    assert!(unknown.to_string().contains("did you mean `t`?"), "{unknown}");
}
