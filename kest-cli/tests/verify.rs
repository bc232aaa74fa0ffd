//! `kest verify`: verdicts, their explanation, the JSON form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{Lineage, VERIFY, piped, run, run_in, verify};

#[test]
fn good_passports_are_accepted() {
    for vector in ["hop1", "hop1_no_sdk", "hop3", "taints", "fan_in"] {
        let run = verify(vector, &[]);
        assert_eq!(run.code, 0, "{vector}: {}", run.stdout);
        assert!(run.stdout.contains("signatures    pass "), "{vector}: {}", run.stdout);
        assert!(run.stdout.contains("links         pass "), "{vector}: {}", run.stdout);
        let summary = run.stdout.lines().last().unwrap();
        assert!(summary.contains("signatures pass, links pass, identity pass"), "{summary}");
        assert!(summary.contains("completeness not checked (no --tip)"), "{summary}");
    }
}

#[test]
fn bad_passports_are_refused_with_their_entry_and_cause() {
    for (vector, entry, step, cause) in [
        ("alg_mock", 0, "parse", "`mock` is not accepted"),
        ("spire_rsa", 0, "signatures", "does not fit the principal's key"),
        ("neg_payload_tampered", 1, "signatures", "the signature is wrong"),
        ("neg_reordered", 0, "links", "is no earlier entry"),
        ("neg_truncated_front", 0, "links", "is no earlier entry"),
    ] {
        let run = verify(vector, &[]);
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{vector}");
        assert!(run.stdout.contains(&format!("failed        entry {entry}, operation ")), "{}", run.stdout);
        assert!(run.stdout.contains(", by spiffe://"), "{}", run.stdout);
        assert!(run.stdout.contains(&format!("step          {step}\n")), "{}", run.stdout);
        let line = run.stdout.lines().find(|line| line.starts_with("cause ")).unwrap();
        assert!(line.contains(cause), "{line}");
        assert!(run.stdout.contains("\nto do         "), "{}", run.stdout);
        let summary = run.stdout.lines().last().unwrap();
        assert!(summary.starts_with("refused: "), "{summary}");

        let answer = verify(vector, &["--json"]).json();
        assert_eq!(answer["accepted"], false);
        assert_eq!((&answer["failure"]["entry"], &answer["failure"]["step"]), (&json!(entry), &json!(step)));
    }
}

#[test]
fn an_expected_tip_is_compared() {
    let tips = verify("hop3", &["--json"]).json()["tips"].clone();
    let tip = tips[0].as_str().unwrap();
    let good = verify("hop3", &["--tip", tip]);
    assert_eq!(good.code, 0);
    assert!(good.stdout.contains("completeness  pass "), "{}", good.stdout);
    assert!(!good.stdout.contains("--tip"), "{}", good.stdout);

    let bad = verify("hop1", &["--tip", tip]);
    assert_eq!(bad.code, 1);
    assert!(bad.stdout.contains("completeness  fail "), "{}", bad.stdout);
    assert!(bad.stdout.contains("the passport as a whole"), "{}", bad.stdout);

    verify("hop1", &["--tip", "abc"]).unusable("`abc` is no SHA-256");
}

#[test]
fn linear_refuses_a_join() {
    assert_eq!(verify("hop3", &["--linear"]).code, 0);
    let run = verify("fan_in", &["--linear"]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("leave --linear out"), "{}", run.stdout);
}

#[test]
fn strict_refuses_what_is_else_a_finding() {
    let mut lineage = Lineage::new();
    lineage.add(&[], |payload| {
        payload["added_taints"] = json!(["pii"]);
        payload["taints"] = json!(["pii"]);
    });
    lineage.add(&[0], |payload| {
        payload["metadata"] = Value::Null;
        payload["runtime"] = json!({"name": "kest-python", "version": "0.3.0"});
    });
    let folder = lineage.write();
    let lenient = run_in(&folder, &VERIFY);
    assert_eq!(lenient.code, 0);
    assert!(lenient.stdout.contains("finding       entry 1: tolerated in a foreign"), "{}", lenient.stdout);
    let strict = run_in(&folder, &[&VERIFY[..], &["--strict"]].concat());
    assert_eq!(strict.code, 1);
    assert!(strict.stdout.contains("semantics     fail "), "{}", strict.stdout);
    assert!(strict.stdout.contains("without --strict this is a finding"), "{}", strict.stdout);
}

#[test]
fn a_foreign_principal_is_named_with_the_fix() {
    let run = run(&["verify", "hop3.passport.json", "--anchors", "hop1.anchors.json"]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("identity      fail "), "{}", run.stdout);
    let fix = "get the public keys of `spiffe://kest.internal/workload/w1`";
    assert!(run.stdout.contains(fix), "{}", run.stdout);
}

#[test]
fn all_axes_of_an_own_lineage_pass_but_time() {
    let mut lineage = Lineage::new();
    lineage.add(&[], |_| {}).add(&[0], |_| {});
    let folder = lineage.write();
    let run = run_in(&folder, &[&VERIFY[..], &["--strict", "--linear", "--tip", &lineage.tip()]].concat());
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert_eq!(
        run.stdout.lines().last().unwrap(),
        "2 entries: signatures pass, links pass, identity pass, semantics pass, completeness pass; time not checked"
    );
}

#[test]
fn an_own_entry_that_raises_trust_is_refused() {
    let mut lineage = Lineage::new();
    lineage.add(&[], |_| {}).add(&[0], |payload| payload["trust_score"] = json!(41));
    let run = run_in(&lineage.write(), &VERIFY);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("failed        entry 1, operation step1"), "{}", run.stdout);
    assert!(run.stdout.contains("step          semantics"), "{}", run.stdout);
}

/// Names and types of all members, sorted.
fn shape(value: &Value, path: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| shape(value, &format!("{path}.{name}"), out));
        }
        Value::Array(items) => items.iter().take(1).for_each(|item| shape(item, &format!("{path}[]"), out)),
        Value::Null => out.push(format!("{path} null")),
        Value::Bool(_) => out.push(format!("{path} bool")),
        Value::Number(_) => out.push(format!("{path} number")),
        Value::String(_) => out.push(format!("{path} string")),
    }
    out.sort();
}

#[test]
fn the_same_finding_about_many_entries_is_one_line() {
    let mut lineage = Lineage::new();
    for _ in 0..7 {
        lineage.add(&[], |payload| {
            payload["metadata"] = Value::Null;
            payload["runtime"] = json!({"name": "kest-python", "version": "0.3.0"});
            payload["labels"].as_object_mut().unwrap().remove("trace_id");
        });
    }
    let folder = lineage.write();
    let run = run_in(&folder, &VERIFY);
    let line = "finding       entries 0, 1, 2, 3 and 3 more: label `trace_id` is missing\n";
    assert!(run.stdout.contains(line), "{}", run.stdout);
    assert_eq!(run.stdout.matches("trace_id").count(), 1, "{}", run.stdout);
    let json = run_in(&folder, &[&VERIFY[..], &["--json"]].concat()).json();
    let all = json["findings"].as_array().unwrap().iter();
    assert_eq!(all.filter(|finding| finding["text"] == "label `trace_id` is missing").count(), 7);
}

#[test]
fn too_many_strings_are_refused_before_they_take_memory() {
    let many = |count: usize| format!("[{}]", vec!["\"\""; count].join(","));
    let args = ["verify", "-", "--anchors", "hop1.anchors.json"];
    piped(&args, many(1_000_001).as_bytes()).unusable("more than 1,000,000 entries");
    let fewer = piped(&args, many(300_000).as_bytes());
    assert_eq!(fewer.code, 1);
    assert!(fewer.stdout.contains("failed        entry 0\n"), "{}", fewer.stdout);
    piped(&["show", "-"], many(100_001).as_bytes()).unusable("`kest verify` checks it");
    // Quotes and commas in a string are no more of them.
    let odd = format!("[\"{}\"]", "\\\",".repeat(1_000_001));
    assert_eq!(piped(&args, odd.as_bytes()).code, 1);
}

#[test]
fn the_members_of_the_json_form_are_stable() {
    let axes = ["completeness", "identity", "links", "semantics", "signatures", "time"];
    let axes = axes
        .iter()
        .flat_map(|axis| [format!(".axes.{axis}.reason string"), format!(".axes.{axis}.verdict string")]);
    let mut common: Vec<String> = axes.collect();
    common.extend(
        [
            ".accepted bool",
            ".entries number",
            ".more_findings number",
            ".passport string",
            ".summary string",
            ".findings[].entry number",
            ".findings[].text string",
        ]
        .map(str::to_owned),
    );
    let check = |vector: &str, more: &[&str]| {
        let mut found = Vec::new();
        shape(&verify(vector, &["--json"]).json(), "", &mut found);
        let mut expected =
            [common.clone(), more.iter().map(|member| (*member).to_owned()).collect()].concat();
        expected.sort();
        assert_eq!(found, expected, "{vector}");
    };
    check("hop1", &[".failure null", ".tips[] string"]);
    check(
        "neg_payload_tampered",
        &[
            ".failure.cause string",
            ".failure.entry number",
            ".failure.fix string",
            ".failure.oidc null",
            ".failure.operation string",
            ".failure.principal string",
            ".failure.step string",
            ".tips null",
        ],
    );
    let answer = verify("hop3", &["--json"]).json();
    assert_eq!(answer["axes"]["signatures"]["verdict"], "pass");
    assert_eq!(answer["axes"]["completeness"]["verdict"], "not checked");
    assert_eq!((&answer["entries"], &answer["accepted"]), (&json!(3), &json!(true)));
}
