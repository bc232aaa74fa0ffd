//! `kest show`: the drawing, its marks, and entries that mean harm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use serde_json::json;
use support::{Lineage, PRINCIPAL, SHOW, VERIFY, kest, piped, run, run_in};

#[test]
fn forks_and_joins_are_drawn() {
    let run = run(&["show", "fan_in.passport.json", "--oneline"]);
    assert_eq!(run.code, 0);
    assert_eq!(
        run.stdout,
        "○ 03617badaaf5 branch_a  spiffe://kest.internal/workload/w1  trust 90  +a\n\
         │ ○ 1ecdba6c1166 branch_b  spiffe://kest.internal/workload/w2  trust 60  +b\n\
         ○─┘ bd5498ecae31 join  spiffe://kest.internal/workload/w3  trust 60  b a\n\
         ○ 6a4b5044d533 after_join  spiffe://kest.internal/workload/w4  trust 60  b a\n\
         4 entries; not verified: give --anchors or --bundle\n"
    );
}

#[test]
fn details_stand_under_their_entry() {
    let mut lineage = Lineage::new();
    lineage.add(&[], |payload| {
        payload["labels"]["kest.identity"] =
            json!(r#"{"agent":"web","task":"order-7","user":{"name":"al ice"}}"#);
        payload["labels"]["kest.resource_id"] = json!("doc-1");
        payload["labels"]["kest.resource_attr"] = json!(r#"{"level":3}"#);
        payload["policy_context"]["platform_policies"] = json!(["payments/limit"]);
        payload["policy_context"]["deviations"] =
            json!([{"policy": "payments/pci", "tier": "platform", "reason": "pilot", "approver": "cto"}]);
        payload["added_taints"] = json!(["pii", "raw"]);
        payload["taints"] = json!(["pii", "raw"]);
    });
    lineage.add(&[0], |payload| {
        payload["classification"] = json!("sanitizer");
        payload["removed_taints"] = json!(["raw"]);
        payload["taints"] = json!(["pii"]);
    });
    let folder = lineage.write();
    let run = run_in(&folder, &SHOW);
    assert_eq!(run.code, 0, "{}", run.stdout);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].starts_with("● ") && lines[0].ends_with("trust 40  +pii +raw"), "{}", run.stdout);
    assert_eq!(
        lines[1],
        r#"│   user {"name":"al ice"}  agent web  task order-7  resource doc-1  attributes {"level":3}"#
    );
    assert_eq!(lines[2], "│   allowed by platform: payments/limit; function: kest/allow_trusted");
    assert_eq!(lines[3], "│   deviates from payments/pci (platform): pilot, approved by cto");
    assert!(
        lines[4].ends_with("step1  spiffe://example.org/orders  trust 40  sanitizer  −raw pii"),
        "{}",
        lines[4]
    );
}

#[test]
fn what_counts_stands_beside_what_is_declared() {
    let mut lineage = Lineage::new();
    lineage.add(&[], |payload| {
        payload["added_taints"] = json!(["pii"]);
        payload["taints"] = json!(["pii"]);
    });
    lineage.add(&[0], |payload| {
        payload["classification"] = json!("sanitizer");
        payload["removed_taints"] = json!(["pii"]);
    });
    let folder = lineage.write();
    let rule = format!("[verification.authority]\n\"{PRINCIPAL}\" = {{ ceiling = 10 }}\n");
    std::fs::write(folder.join("rules.toml"), rule).unwrap();
    let args = [&SHOW[..], &["--config", "rules.toml"]].concat();
    let run = run_in(&folder, &args);
    let lines: Vec<&str> = run.stdout.lines().filter(|line| line.starts_with('●')).collect();
    assert!(lines[0].ends_with("trust 40→10  +pii"), "{}", run.stdout);
    assert!(lines[1].ends_with("trust 40→10  sanitizer  −pii →pii"), "{}", run.stdout);
    assert!(run.stdout.contains("declares trust score 40, and counts as 10"), "{}", run.stdout);
    let json = run_in(&folder, &[&args[..], &["--json"]].concat()).json();
    let last = &json["lineage"][1];
    assert_eq!((&last["trust_score"], &last["effective_trust_score"]), (&json!(40), &json!(10)));
    assert_eq!((&last["taints"], &last["effective_taints"]), (&json!([]), &json!(["pii"])));
    let claimed = run_in(&folder, &["show", "passport.json", "--json"]).json();
    assert!(claimed["lineage"][1]["effective_trust_score"].is_null());
    assert!(claimed["lineage"][1]["effective_taints"].is_null());
}

#[test]
fn only_what_verified_is_marked_so() {
    let good = run(&["show", "hop3.passport.json", "--anchors", "hop3.anchors.json"]);
    assert_eq!(good.code, 0);
    assert_eq!(good.stdout.matches('●').count(), 3);
    assert!(good.stdout.contains("completeness not checked"), "{}", good.stdout);

    let name = "neg_payload_tampered";
    let (passport, anchors) = (format!("{name}.passport.json"), format!("{name}.anchors.json"));
    let bad = run(&["show", &passport, "--anchors", &anchors]);
    assert_eq!(bad.code, 1);
    assert!(!bad.stdout.contains('●'), "{}", bad.stdout);
    let lines: Vec<&str> = bad.stdout.lines().collect();
    let failed = lines.iter().position(|line| line.starts_with("✗ a07f10700f37 op1")).unwrap();
    assert_eq!(lines[failed + 1], "    fails at step signatures: the signature is wrong");
    assert!(bad.stdout.contains("○ 0a5e63345d73 op0"), "{}", bad.stdout);

    let claimed = run(&["show", &passport]);
    assert!(
        claimed.stdout.ends_with("2 entries; not verified: give --anchors or --bundle\n"),
        "{}",
        claimed.stdout
    );
}

#[test]
fn broken_entries_are_shown_as_far_as_they_can_be_read() {
    let missing = run(&["show", "neg_truncated_front.passport.json"]);
    assert_eq!(missing.code, 1);
    assert!(missing.stdout.contains("✗ d2da05e5388f op1"), "{}", missing.stdout);
    assert!(missing.stdout.contains("broken: parent `0a5e63345d73"), "{}", missing.stdout);

    // {"operation":"half","trust_score":"high"}
    let half = "e30.eyJvcGVyYXRpb24iOiJoYWxmIiwidHJ1c3Rfc2NvcmUiOiJoaWdoIn0.AA";
    let run = piped(&["show", "-"], json!([half, half, "x"]).to_string().as_bytes());
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains(" half  ?  trust ?"), "{}", run.stdout);
    assert!(run.stdout.contains("broken: no compact JWS"), "{}", run.stdout);
    assert!(run.stdout.contains("3 entries, 3 broken; not verified"), "{}", run.stdout);
}

#[test]
fn nothing_reaches_the_terminal_raw() {
    let evil = "pay\u{1b}[2J\u{1b}]0;pwned\u{7}\u{9b}31m\r\n● fake\u{202e}\u{2066}\u{200b}";
    let mut lineage = Lineage::new();
    lineage.add(&[], |payload| {
        payload["operation"] = json!(evil);
        payload["classification"] = json!(evil);
        payload["labels"]["principal"] = json!(evil);
        payload["labels"]["kest.identity"] =
            json!(json!({"user": evil, "agent": {evil: evil}, "task": evil}).to_string());
        payload["labels"]["kest.resource_id"] = json!(evil);
        payload["policy_context"]["function_policies"] = json!([evil]);
        payload["policy_context"]["deviations"] =
            json!([{"policy": evil, "tier": evil, "reason": evil, "approver": evil}]);
        payload["added_taints"] = json!([evil]);
        payload["taints"] = json!([evil]);
        payload["metadata"]["trust"]["source_type"] = json!(evil);
    });
    let folder = lineage.write_for(evil);
    let elsewhere = lineage.write();
    let json_form = [&SHOW[..], &["--json"]].concat();
    for (folder, args) in [
        (&folder, &SHOW[..]),
        (&folder, &VERIFY[..]),
        (&folder, &json_form[..]),
        (&elsewhere, &SHOW[..]),
        (&elsewhere, &VERIFY[..]),
        (&elsewhere, &[&VERIFY[..], &["--json"]].concat()),
    ] {
        let run = run_in(folder, args);
        for c in run.stdout.chars().chain(run.stderr.chars()) {
            let raw = c.is_control() && c != '\n';
            assert!(
                !raw && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'),
                "{c:?} in {}",
                run.stdout
            );
        }
        assert!(!run.stdout.lines().any(|line| line.starts_with("● fake")), "{}", run.stdout);
    }
    let shown = run_in(&folder, &SHOW);
    assert!(
        shown.stdout.contains(r#""pay\u{1b}[2J\u{1b}]0;pwned\u{7}\u{9b}31m\r\n● fake"#),
        "{}",
        shown.stdout
    );
    // Nothing is lost where a program reads it.
    let json = run_in(&folder, &json_form).json();
    assert_eq!(json["lineage"][0]["operation"], evil);
}

#[test]
fn a_name_cannot_pass_for_other_columns() {
    let mut lineage = Lineage::new();
    lineage.add(&[], |payload| payload["operation"] = json!("pay  spiffe://example.org/bank  trust 100"));
    let run = run_in(&lineage.write(), &SHOW);
    assert!(run.stdout.contains(r#""pay  spiffe://example.org/bank  trust 100"  spiffe"#), "{}", run.stdout);
}

#[test]
fn long_values_are_cut() {
    let mut lineage = Lineage::new();
    lineage.add(&[], |payload| {
        payload["operation"] = json!("o".repeat(5000));
        payload["added_taints"] = json!((0..50).map(|n| format!("t{n:02}")).collect::<Vec<_>>());
        payload["taints"] = payload["added_taints"].clone();
    });
    let run = run_in(&lineage.write(), &SHOW);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.stdout.contains("ooo…  spiffe"), "{}", run.stdout);
    assert!(run.stdout.contains("+t11 and 38 more"), "{}", run.stdout);
    assert!(run.stdout.lines().all(|line| line.chars().count() < 400), "{}", run.stdout);
}

#[test]
fn a_lineage_too_wide_to_draw_names_the_parents() {
    let mut lineage = Lineage::new();
    for _ in 0..40 {
        lineage.add(&[], |_| {});
    }
    lineage.add(&(0..40).collect::<Vec<_>>(), |_| {});
    let run = run_in(&lineage.write(), &SHOW);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.stdout.starts_with("too many branches to draw"), "{}", run.stdout);
    assert!(run.stdout.contains("and 28 more"), "{}", run.stdout);
}

#[test]
fn colours_are_not_for_pipes() {
    let args = ["show", "taints.passport.json", "--anchors", "taints.anchors.json"];
    let coloured = |more: &[&str], no_color: Option<&str>| {
        let mut command = kest(&[&args[..], more].concat());
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        (text.contains("\u{1b}["), text)
    };
    assert!(!coloured(&[], None).0);
    assert!(!coloured(&["--color", "never"], None).0);
    assert!(!coloured(&["--color", "auto"], Some("1")).0);
    let (always, text) = coloured(&["--color", "always"], Some("1"));
    assert!(always);
    // The colours add nothing but colours.
    let mut plain = String::new();
    for piece in text.split('\u{1b}') {
        plain.push_str(piece.strip_prefix('[').map_or(piece, |code| code.split_once('m').unwrap().1));
    }
    assert_eq!(plain, coloured(&[], None).1);
}

#[test]
fn the_members_of_the_json_form_are_stable() {
    let bare = run(&["show", "taints.passport.json", "--json"]).json();
    assert_eq!(bare["verification"], json!(null));
    let mut names: Vec<&String> = bare["lineage"][0].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "added_taints",
            "agent",
            "classification",
            "denied",
            "deviations",
            "effective_taints",
            "effective_trust_score",
            "entry_id",
            "hash",
            "index",
            "oidc",
            "operation",
            "parents",
            "policies",
            "principal",
            "problem",
            "removed_taints",
            "resource_attr",
            "resource_id",
            "runtime",
            "status",
            "taints",
            "task",
            "timestamp_ms",
            "trace_id",
            "trust_score",
            "user",
        ]
    );
    assert_eq!(bare["lineage"][0]["status"], "not verified");
    assert_eq!(bare["lineage"][1]["parents"], json!([bare["lineage"][0]["hash"]]));

    let mut lineage = Lineage::new();
    lineage.add(&[], |_| {}).add(&[0], |payload| payload["trust_score"] = json!(50));
    let run = run_in(&lineage.write(), &[&SHOW[..], &["--json"]].concat());
    assert_eq!(run.code, 1);
    let answer = run.json();
    assert_eq!(answer["verification"]["accepted"], false);
    assert_eq!(answer["lineage"][0]["status"], "not verified");
    assert_eq!(answer["lineage"][1]["status"], "failed");
    assert_eq!(answer["lineage"][1]["principal"], PRINCIPAL);
    assert_eq!(answer["lineage"][1]["policies"]["function"], json!(["kest/allow_trusted"]));
}

/// Whoever runs an issuer can give out any subject.
#[test]
fn a_subject_is_never_shown_as_a_workload_of_that_name() {
    let subject = |iss: &'static str| {
        move |payload: &mut serde_json::Value| {
            payload["labels"]["kest.oidc.iss"] = json!(iss);
            payload["labels"]["kest.oidc.sub"] = json!(PRINCIPAL);
        }
    };
    let qualified = format!("https://b.example#{PRINCIPAL}");
    let oidc = json!({"iss": "https://b.example", "sub": PRINCIPAL});
    let mut lineage = Lineage::new();
    lineage.add(&[], subject("https://b.example"));
    let folder = lineage.write_for(&qualified);
    let shown = run_in(&folder, &SHOW);
    assert_eq!(shown.code, 0, "{}", shown.stdout);
    assert!(shown.stdout.contains(&format!("step0  {qualified}  trust 40")), "{}", shown.stdout);
    let json = run_in(&folder, &[&SHOW[..], &["--json"]].concat()).json();
    let entry = &json["lineage"][0];
    assert_eq!((&entry["principal"], &entry["oidc"]), (&json!(qualified), &oidc));

    // The workload of that name is anchored, and is somebody else.
    let folder = lineage.write();
    let refused = run_in(&folder, &VERIFY);
    assert_eq!(refused.code, 1);
    assert!(refused.stdout.contains(&format!(", by {qualified}\n")), "{}", refused.stdout);
    let json = run_in(&folder, &[&VERIFY[..], &["--json"]].concat()).json();
    let failure = &json["failure"];
    assert_eq!((&failure["principal"], &failure["oidc"]), (&json!(qualified), &oidc));

    // However long the issuer is, it does not end where the subject would stand alone.
    let mut lineage = Lineage::new();
    let long = "https://login.example/0123456789abcdef0123456789abcdef0123456789abcdef/v2.0";
    lineage.add(&[], subject(long));
    let shown = run_in(&lineage.write(), &["show", "passport.json"]).stdout;
    assert!(
        shown.contains("  https://login.example/01…") && shown.contains(&format!("/v2.0#{PRINCIPAL}  ")),
        "{shown}"
    );

    // Half a name is none, and the entry is broken.
    for (label, name) in [("kest.oidc.sub", "https://b.example"), ("kest.oidc.iss", "?")] {
        let mut lineage = Lineage::new();
        lineage.add(&[], |payload| {
            subject("https://b.example")(payload);
            payload["labels"].as_object_mut().unwrap().remove(label);
        });
        let run = run_in(&lineage.write(), &["show", "passport.json", "--json"]);
        assert_eq!(run.code, 1);
        let entry = &run.json()["lineage"][0];
        assert_eq!(entry["principal"], format!("{name}#{PRINCIPAL}"), "{label}");
    }
    let mut lineage = Lineage::new();
    lineage.add(&[], |_| {});
    let json = run_in(&lineage.write(), &["show", "passport.json", "--json"]).json();
    assert_eq!(json["lineage"][0]["principal"], PRINCIPAL);
    assert_eq!(json["lineage"][0]["oidc"], json!(null));
}
