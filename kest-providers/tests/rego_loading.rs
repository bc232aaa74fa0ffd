//! Rego in this process: what is loaded, what is refused, and how a new set takes over.
#![cfg(feature = "rego")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/engine.rs"]
mod engine;
#[path = "support/folder.rs"]
mod folder;
#[path = "support/log.rs"]
mod log;
#[path = "support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use engine::{DATA_ACCESS, allows, policy, shipped};
use folder::Folder;
use kest_core::error::PolicyErrorKind;
use kest_providers::policy::RegoEngine;
use support::Call;

fn refusal(body: &str) -> String {
    let error = policy(body).unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::Load, "{error}");
    error.to_string()
}

#[test]
fn v0_sources_warn_and_v1_sources_do_not() {
    let load = |text: &'static str| {
        log::logged(move || drop(RegoEngine::from_sources([("kest/check_data_access", text)]).unwrap()))
    };
    let warnings = load(DATA_ACCESS);
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with("WARN policy file `kest/check_data_access.rego` is written in Rego v0"),
        "{warnings:?}"
    );
    assert!(load("package kest.check_data_access\ndefault allow := false\nallow if input.x").is_empty());
    assert!(load("package kest.check_data_access\nimport rego.v1\ndefault allow := false").is_empty());
}

#[test]
fn missing_built_ins_are_refused_by_file_line_and_name() {
    for call in [
        "http.send({\"url\": \"https://example.com\", \"method\": \"get\"})",
        "io.jwt.decode(input.identity)",
        "io.jwt.decode_verify(input.identity, {})",
        "opa.runtime()",
        "net.lookup_ip_addr(\"example.com\")",
        "print(input)",
        "trace(\"x\")",
        "crypto.sha256(\"x\")",
        "rego.parse_module(\"a\", \"b\")",
        "nosuch(input)",
        "__builtin_host_await(1, 2)",
        "yaml.unmarshal(\"a\")",
    ] {
        let name = call.split('(').next().unwrap();
        let places = [
            (6, format!("default allow := false\nallow if {{\n\n {call}\n}}")),
            (5, format!("default allow := false\nallow if {{ not\n {call}\n}}")),
            (5, format!("default allow := false\n\nallow if [x | x := {call}] == []")),
            (5, format!("default allow := false\n\nallow if every x in [1] {{ x == {call} }}")),
            (5, format!("default allow := false\n\nallow if {{ input.a[{call}] }}")),
            (5, format!("default allow := false\n\nf(x) := {call}")),
            (5, format!("default allow := false\n\nallow if input.a with input.b as {call}")),
        ];
        for (line, body) in places {
            let expected = format!("t.rego:{line}: this engine has no built-in `{name}`");
            let message = refusal(&body);
            assert!(message.starts_with(&expected), "{body}: {message}");
        }
    }
}

#[test]
fn data_that_nobody_defines_is_refused() {
    for body in [
        "default allow := false\nallow if not data.blocklist[input.identity]",
        "import data.blocklist\ndefault allow := false\nallow if not blocklist[input.identity]",
        "import data.blocklist as b\ndefault allow := false\nallow if not b.x",
        "default allow := false\nallow if not data.t.missing",
    ] {
        let message = refusal(body);
        assert!(message.contains("nothing defines `data."), "{message}");
    }
}

#[test]
fn recursion_is_refused() {
    for body in [
        "default allow := false\nallow if a\na if b\nb if a",
        "default allow := false\nallow if allow",
        "default allow := false\nallow if f(1)\nf(x) if g(x)\ng(x) if f(x)",
        "default allow := false\nallow if data.t.allow",
        "default allow := false\nallow if data[input.identity].allow",
        "import data.t as me\ndefault allow := false\nallow if me.allow",
    ] {
        let message = refusal(body);
        assert!(message.contains("depends on itself"), "{body}: {message}");
    }
    // A local variable is not the rule of the same name.
    let shadow = "default allow := false\nallow if { reason := input.trust_score; reason > 1 }\nreason := \"no\" if not allow";
    assert!(allows(&policy(shadow).unwrap(), "t", &Call::new(40)));
}

#[test]
fn an_allow_that_is_no_boolean_is_refused() {
    for (rules, line, what) in [
        ("allow contains \"x\" if input.x", 3, "a set"),
        ("allow contains true", 3, "a set"),
        ("allow[x] if { some x in input.subject.taints }", 3, "an object"),
        ("allow[x] := true if { some x in input.subject.taints }", 3, "an object"),
        ("allow := \"yes\"", 3, "no boolean"),
        ("allow := `true` if input.x", 3, "no boolean"),
        ("allow := 1", 3, "no boolean"),
        ("allow := null", 3, "no boolean"),
        ("allow := {\"a\": 1}", 3, "no boolean"),
        ("allow := [true]", 3, "no boolean"),
        ("allow := {true}", 3, "no boolean"),
        ("allow := [x | some x in input.y]", 3, "no boolean"),
        ("allow := {x | some x in input.y}", 3, "no boolean"),
        ("allow := {x: x | some x in input.y}", 3, "no boolean"),
        ("allow := -input.trust_score", 3, "no boolean"),
        ("allow := input.trust_score + 1", 3, "no boolean"),
        ("allow := input.a | input.b", 3, "no boolean"),
        ("default allow := \"no\"\nallow if input.x", 3, "no boolean"),
        ("default allow := false\nallow := \"yes\" if input.x", 4, "no boolean"),
        ("default allow := false\n\nallow if { input.x } else := \"yes\" if { input.y }", 5, "no boolean"),
    ] {
        let text = format!("package t\nimport rego.v1\n{rules}");
        let error = RegoEngine::from_sources([("t", text)]).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::Load, "{rules}: {error}");
        assert_eq!(
            error.to_string(),
            format!(
                "t.rego:{line}: `allow` is {what}, and only the boolean `true` allows; write `allow if …`"
            ),
            "{rules}"
        );
    }
    for rules in [
        "allow := true",
        "allow = false",
        "allow := input.trust_score > 1",
        "allow := \"x\" in input.subject.taints",
        "allow := startswith(input.identity, \"x\")",
        "allow := input.object.attributes.ok",
        "allow if { input.x } else := false",
        "default allow := false\nreason := \"no\"\ntaints contains 1\nnames[x] := 1 if some x in [1]",
    ] {
        policy(rules).unwrap();
    }
}

#[test]
fn wrong_files_are_refused_each_for_its_reason() {
    let load = |name: &str, text: &str| {
        let error = RegoEngine::from_sources([(name, text)]).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::Load, "{error}");
        error.to_string()
    };
    let table = [
        (
            "a/b",
            "package a.c\nimport rego.v1\ndefault allow := false",
            "a/b.rego:1: package `a.c` does not match the path of policy `a/b`; write `package a.b`",
        ),
        ("a", "package a\nimport rego.v1\ndefault alow := false", "`a.rego` has no rule `allow`"),
        ("a", "package a\nimport rego.v1\nallow(x) := true", "`a.rego` has no rule `allow`"),
        ("a", "package a\nimport rego.v1\nallow.b := true", "`a.rego` has no rule `allow`"),
        ("a", "package a\nimport rego.v1\n\nallow if {", "a.rego:4:"),
        ("a", "package a\ndefault allow = false\nallow { input.x", "a.rego:3:"),
        ("a", "package a\nimport rego.v1\nallow if x == 1", "a.rego:3:10: use of undefined variable `x`"),
        ("a", "", "a.rego:1:"),
        ("a-b", "package a", "`a-b` is no Rego name"),
        ("../a", "package a", "`..` is no Rego name"),
        ("a//b", "package a", "`` is no Rego name"),
        ("", "package a", "`` is no Rego name"),
        ("a/default", "package a", "`default` is no Rego name"),
    ];
    for (name, text, expected) in table {
        let message = load(name, text);
        assert!(message.contains(expected), "{name}: {message}");
    }
    let none = RegoEngine::builder().build().unwrap_err();
    assert!(none.to_string().contains("no policy is given"), "{none}");
    let allow = "import rego.v1\ndefault allow := false";
    let twice = RegoEngine::from_sources([
        ("a", format!("package a\n{allow}")),
        ("a.rego", format!("package a\n{allow}")),
    ]);
    assert!(twice.unwrap_err().to_string().contains("given twice"));
    let inside = RegoEngine::from_sources([
        ("a", format!("package a\n{allow}\nb.extra := true")),
        ("a/b", format!("package a.b\n{allow}")),
    ]);
    let message = inside.unwrap_err().to_string();
    assert!(message.contains("rule `a.b.extra` overlaps the package of `a/b.rego`"), "{message}");
}

#[test]
fn a_reload_takes_over_whole_or_not_at_all() {
    let folder = Folder::new("rego-reload");
    let text = |limit: u8| {
        format!("package t\nimport rego.v1\ndefault allow := false\nallow if input.trust_score >= {limit}")
    };
    folder.write("t.rego", &text(40));
    let engine = RegoEngine::from_dir(&folder.0).unwrap();
    assert!(!allows(&engine, "t", &Call::new(20)));

    folder.write("t.rego", &text(10));
    folder.write("broken.rego", "package broken\nallow if {");
    let error = engine.reload().unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::Load);
    assert!(!allows(&engine, "t", &Call::new(20)), "the old set stays");

    folder.remove("broken.rego");
    engine.reload().unwrap();
    assert!(allows(&engine, "t", &Call::new(20)));
    folder.remove("t.rego");
    assert!(engine.reload().is_err());
    assert!(allows(&engine, "t", &Call::new(20)));
}

#[test]
fn a_reload_under_load_never_fails_a_call() {
    let folder = Folder::new("rego-load");
    let write = |round: u8| {
        let text = format!(
            "package t\nimport rego.v1\ndefault allow := false\nallow if input.trust_score >= {}",
            40 + round % 2
        );
        folder.write("t.rego", &text);
    };
    write(0);
    let engine = RegoEngine::from_dir(&folder.0).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut calls = 0;
                    while !done.load(Ordering::Relaxed) || calls < 100 {
                        assert!(allows(&engine, "t", &Call::new(50)));
                        assert!(!allows(&engine, "t", &Call::new(30)));
                        calls += 1;
                    }
                })
            })
            .collect();
        for round in 0..50 {
            write(round);
            engine.reload().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn folders_are_read_safely() {
    let folder = Folder::new("rego-folders");
    let outside = Folder::new("rego-outside");
    let text = |package: &str| format!("package {package}\nimport rego.v1\ndefault allow := true");
    assert!(
        RegoEngine::from_dir(folder.0.join("absent")).unwrap_err().to_string().contains("cannot be read")
    );
    assert!(RegoEngine::from_dir(&folder.0).unwrap_err().to_string().contains("holds no policy"));

    folder.write("a/b/c.rego", &text("a.b.c"));
    folder.write("a/b/c_test.rego", "this is not Rego");
    folder.write("notes.txt", "nor is this");
    // A mounted ConfigMap: links to files in a hidden folder.
    folder.write("..2026/d.rego", &text("d"));
    std::os::unix::fs::symlink(folder.0.join("..2026/d.rego"), folder.0.join("d.rego")).unwrap();
    assert_eq!(RegoEngine::from_dir(&folder.0).unwrap().names(), ["a/b/c", "d"]);

    outside.write("e.rego", &text("e"));
    std::os::unix::fs::symlink(outside.0.join("e.rego"), folder.0.join("e.rego")).unwrap();
    assert!(
        RegoEngine::from_dir(&folder.0).unwrap_err().to_string().contains("link out of the policy folder")
    );
    folder.remove("e.rego");
    std::os::unix::fs::symlink(folder.0.join("a"), folder.0.join("loop")).unwrap();
    assert!(RegoEngine::from_dir(&folder.0).unwrap_err().to_string().contains("link to a folder"));
    folder.remove("loop");

    folder.write("payments-pci.rego", "package x");
    assert!(
        RegoEngine::from_dir(&folder.0).unwrap_err().to_string().contains("`payments-pci` is no Rego name")
    );
    folder.remove("payments-pci.rego");
    folder.write("big.rego", &format!("package big\n#{}", "x\n#".repeat(600_000)));
    assert!(RegoEngine::from_dir(&folder.0).unwrap_err().to_string().contains("a policy may have"));
}

#[test]
fn debug_names_policies_without_their_texts() {
    let shown = format!("{:?}", shipped());
    assert!(shown.contains("kest/allow_trusted") && !shown.contains("trust_score"), "{shown}");
}
