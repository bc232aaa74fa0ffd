//! Tables of cases: what is read, what is refused, what a difference looks like.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::Decision;
use kest_providers::policy::MockPolicyEngine;
use kest_providers::policy::cases::{CaseTable, Expected};

const TABLE: &str = r#"{"cases": [
    {"name": "high", "input": {"trust_score": 80}, "decision": "allow"},
    {"name": "middle", "input": {"trust_score": 40}, "decision": "deny"},
    {"name": "low", "input": {"trust_score": 10}, "decision": "deny", "reason": "10 is low"},
    {"name": "none", "input": {}, "decision": "error"}
]}"#;

/// Answers as [`TABLE`] asks it to.
fn right() -> MockPolicyEngine {
    MockPolicyEngine::new(|request| match request.input.trust_score {
        0 => Err(PolicyUnavailable::new(PolicyErrorKind::Evaluation, "division by zero")),
        score @ 1..40 => Ok(Decision::Deny { reason: Some(format!("{score} is low")) }),
        40..80 => Ok(Decision::Deny { reason: Some("any".to_owned()) }),
        80.. => Ok(Decision::Allow { digest: Some("sha256:00".into()) }),
    })
}

#[test]
fn an_engine_that_answers_so_passes() {
    let table = CaseTable::parse(TABLE).unwrap();
    assert_eq!(table.cases().len(), 4);
    assert_eq!(table.cases()[2].expected, Expected::Deny { reason: Some("10 is low".to_owned()) });
    let engine = right();
    let report = table.run("a/b", &engine);
    assert!(report.passed(), "{report}");
    assert_eq!(report.to_string(), "policy `a/b`: 4 cases as expected");
    assert!(engine.calls().iter().all(|call| call.policy == "a/b"));
    assert_eq!(engine.calls()[0].input["subject"]["trust_score"], 80);
}

#[test]
fn every_difference_is_told() {
    let table = CaseTable::parse(TABLE).unwrap();
    let report = table.run("a/b", &MockPolicyEngine::allow());
    assert!(!report.passed());
    assert_eq!(
        report.to_string(),
        "policy `a/b`: 3 of 4 cases not as expected\n  \
         `middle`: expected deny, got allow\n  \
         `low`: expected deny because `10 is low`, got allow\n  \
         `none`: expected error, got allow"
    );
    let report = table.run("a/b", &MockPolicyEngine::deny());
    assert_eq!(
        report.failures().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "`high`: expected allow, got deny without a reason",
            "`low`: expected deny because `10 is low`, got deny without a reason",
            "`none`: expected error, got deny without a reason",
        ]
    );
    let failing =
        MockPolicyEngine::new(|_| Err(PolicyUnavailable::new(PolicyErrorKind::Timeout, "no answer")));
    let report = table.run("a/b", &failing);
    let told: Vec<_> = report.failures().map(ToString::to_string).collect();
    assert_eq!(told.len(), 4, "a server that is late has not judged anything: {told:?}");
    assert_eq!(told[1], "`middle`: expected deny, got error (Timeout): no answer");
}

#[test]
fn another_reason_is_a_difference() {
    let table = r#"{"cases": [{"name": "n", "input": {}, "decision": "deny", "reason": "a\nb"}]}"#;
    let engine = MockPolicyEngine::new(|_| Ok(Decision::Deny { reason: Some("a".to_owned()) }));
    let report = CaseTable::parse(table).unwrap().run("p", &engine);
    assert_eq!(
        report.to_string(),
        "policy `p`: 1 of 1 case not as expected\n  `n`: expected deny because `a\\nb`, got deny because `a`"
    );
}

#[test]
fn an_error_is_one_of_the_policy_or_its_input_and_no_other() {
    let table = CaseTable::parse(r#"{"cases": [{"name": "n", "input": {}, "decision": "error"}]}"#).unwrap();
    let passes = |kind| {
        let engine = MockPolicyEngine::new(move |_| Err(PolicyUnavailable::new(kind, "no")));
        table.run("p", &engine).passed()
    };
    for kind in [PolicyErrorKind::Evaluation, PolicyErrorKind::Input, PolicyErrorKind::MalformedAnswer] {
        assert!(passes(kind), "{kind:?}");
    }
    for kind in [
        PolicyErrorKind::UnknownPolicy,
        PolicyErrorKind::Connection,
        PolicyErrorKind::Timeout,
        PolicyErrorKind::Status,
        PolicyErrorKind::Refused,
        PolicyErrorKind::Throttled,
        PolicyErrorKind::TooLarge,
        PolicyErrorKind::Load,
    ] {
        assert!(!passes(kind), "{kind:?}");
    }
}

#[test]
fn refused_is_a_denial_or_an_error_of_the_input_and_no_other() {
    let table = r#"{"cases": [{"name": "n", "input": {}, "decision": "refused"}]}"#;
    let table = CaseTable::parse(table).unwrap();
    assert_eq!(table.cases()[0].expected, Expected::Refused);
    let failing = |kind| MockPolicyEngine::new(move |_| Err(PolicyUnavailable::new(kind, "no")));
    for engine in
        [MockPolicyEngine::deny(), failing(PolicyErrorKind::Evaluation), failing(PolicyErrorKind::Input)]
    {
        assert!(table.run("p", &engine).passed());
    }
    for (engine, wanted) in [
        (MockPolicyEngine::allow(), "`n`: expected refused, got allow"),
        (failing(PolicyErrorKind::UnknownPolicy), "got error (UnknownPolicy)"),
        (failing(PolicyErrorKind::Connection), "got error (Connection)"),
    ] {
        let report = table.run("p", &engine);
        assert!(!report.passed());
        assert!(report.to_string().contains(wanted), "{report}");
    }
}

#[test]
fn what_is_no_table_is_refused() {
    let case = |more: &str| format!(r#"{{"cases": [{{"name": "n", "input": {{}}{more}}}]}}"#);
    let twice = r#"{"name": "n", "input": {}, "decision": "allow"}"#;
    for (text, wanted) in [
        ("[]".to_owned(), "cannot be read"),
        ("{}".to_owned(), "missing field `cases`"),
        (r#"{"cases": []}"#.to_owned(), "no cases"),
        (r#"{"cases": [], "more": 1}"#.to_owned(), "unknown field `more`"),
        (case(""), "missing field `decision`"),
        (case(r#", "decision": "perhaps""#), "perhaps"),
        (case(r#", "decision": true"#), "cannot be read"),
        (case(r#", "decision": "allow", "reson": "x""#), "unknown field `reson`"),
        (case(r#", "decision": "allow", "decision": "deny""#), "duplicate field `decision`"),
        (case(r#", "decision": "allow", "reason": "x""#), "case `n` has a `reason` and no denial"),
        (case(r#", "decision": "error", "reason": "x""#), "no denial"),
        (case(r#", "decision": "refused", "reason": "x""#), "no denial"),
        (case(r#", "decision": "allow"}], "cases": [{"#), "duplicate field `cases`"),
        (format!(r#"{{"cases": [{twice}, {twice}]}}"#), "two cases are named `n`"),
        (twice.replace("\"n\"", "\" \"").replace('{', r#"{"cases": [{"#), "cannot be read"),
        (format!(r#"{{"cases": [{}]}}"#, twice.replace("\"n\"", "\" \"")), "empty name"),
        (format!(r#"{{"cases": [{}]}}"#, twice.replace("{}", r#"{"truts_score": 1}"#)), "`truts_score`"),
        (format!(r#"{{"cases": [{}]}}"#, twice.replace("{}", r#"{"trust_score": 101}"#)), "0 to 100"),
        (
            format!(
                r#"{{"cases": [{}]}}"#,
                twice.replace("{}", r#"{"object": {"attributes": {"amount": 1, "amount": 9000}}}"#)
            ),
            "member `amount` stands twice in one object",
        ),
        (
            format!(
                r#"{{"cases": [{}]}}"#,
                twice.replace("{}", r#"{"subject": {"user": {"a": {"b": 1, "b": 1}}}}"#)
            ),
            "member `b` stands twice in one object",
        ),
        (" ".repeat(1024 * 1024 + 1), "longer than 1048576 bytes"),
    ] {
        let error = CaseTable::parse(&text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn files_are_read_within_bounds_and_named_in_errors() {
    let dir = std::env::temp_dir().join(format!("kest-cases-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("p.cases");
    std::fs::write(&path, TABLE).unwrap();
    assert!(CaseTable::read(&path).unwrap().run("p", &right()).passed());

    let refused = |text: &str, wanted: &str| {
        std::fs::write(&path, text).unwrap();
        let error = CaseTable::read(&path).unwrap_err().to_string();
        assert!(error.contains("p.cases") && error.contains(wanted), "{error}");
    };
    refused("{", "cannot be read");
    refused(&" ".repeat(2 * 1024 * 1024), "longer than");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(CaseTable::read(&path).unwrap_err().to_string().contains("UTF-8"));
    std::fs::remove_dir_all(&dir).unwrap();
    let error = CaseTable::read(&path).unwrap_err().to_string();
    assert!(error.contains("p.cases") && error.contains("cannot be read"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let path = std::env::temp_dir().join(format!("kest-cases-pipe-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let error = CaseTable::read(&path).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(error.contains("it is no regular file"), "{error}");
}
