//! `kest policy test`: tables of cases, and answers that are not the expected ones.
#![cfg(feature = "rego")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[cfg(feature = "opa")]
#[path = "support/server.rs"]
mod server;
mod support;
#[path = "support/tree.rs"]
mod tree;

use serde_json::json;
use tree::{CASES, Tree, rego};

fn tree() -> Tree {
    Tree::new(&[
        ("policies/base.rego", &rego("base", 10)),
        ("policies/orders/refund.rego", &rego("orders/refund", 40)),
        ("policies/orders/refund.cases", CASES),
    ])
}

#[test]
fn a_table_that_holds() {
    let run = tree().policy(&["test"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    assert_eq!(
        run.stdout,
        "pass orders/refund (rego) 2 cases\nnone base has no table of cases\n\
         2 cases asked of 1 policy: all as expected; 1 policy without a table\n"
    );
    let json = tree().policy(&["test", "orders/refund", "--json"]).json();
    assert_eq!(
        json,
        json!({
            "passed": true, "summary": "2 cases asked of 1 policy: all as expected",
            "runs": [{"policy": "orders/refund", "engine": "rego", "cases": 2, "differences": []}],
            "not_run": [], "without_cases": [],
        })
    );
}

#[test]
fn a_policy_without_a_table_fails_where_that_is_asked_for() {
    let run = tree().policy(&["test", "--require-cases"]);
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert_eq!(tree().policy(&["test", "--require-cases", "orders/refund"]).code, 0);
    let named = tree().policy(&["test", "orders/refund", "base"]);
    assert_eq!(named.code, 1, "{}", named.stdout);
    assert!(named.stdout.contains("none base has no table of cases\n"), "{}", named.stdout);
}

#[test]
fn an_answer_that_is_not_the_expected_one() {
    let policy = "package base\nimport rego.v1\ndefault allow := false\nallow if input.trust_score >= 10\n\
                  allow if to_number(input.object.id) > 1\nreason := \"too low\"\n";
    let cases = r#"{"cases": [
        {"name": "allowed", "input": {"trust_score": 9, "object": {"id": "1"}}, "decision": "allow"},
        {"name": "denied", "input": {"trust_score": 10, "object": {"id": "1"}}, "decision": "deny"},
        {"name": "reason", "input": {"object": {"id": "1"}}, "decision": "deny", "reason": "low"},
        {"name": "error", "input": {"object": {"id": "x"}}, "decision": "deny"},
        {"name": "right", "input": {"object": {"id": "x"}}, "decision": "error"}
    ]}"#;
    let tree = tree().with("policies/base.rego", policy).with("policies/base.cases", cases);
    let run = tree.policy(&["test", "--json"]);
    assert_eq!(run.code, 1);
    let json = run.json();
    assert_eq!(json["passed"], false);
    let differences = json["runs"][0]["differences"].as_array().unwrap();
    let seen: Vec<_> =
        differences.iter().map(|one| (one["case"].as_str().unwrap(), one["got"].as_str().unwrap())).collect();
    assert_eq!(seen, [("allowed", "deny"), ("denied", "allow"), ("reason", "deny"), ("error", "error")]);
    assert_eq!(differences[0]["reason"], "too low");
    assert!(
        differences[3]["reason"].as_str().unwrap().contains("could not parse string as number"),
        "{json}"
    );
    let text = tree.policy(&["test"]);
    assert_eq!(text.code, 1);
    assert!(
        text.stdout.starts_with(
            "fail base (rego) 4 of 5 cases\n     case     allowed\n     expected allow\n     got      deny because `too low`\n\
             \u{20}    case     denied\n     expected deny\n     got      allow\n"
        ),
        "{}",
        text.stdout
    );
    assert!(text.stdout.ends_with("7 cases asked of 2 policies: 4 not as expected\n"), "{}", text.stdout);
}

#[test]
fn nothing_to_test_is_no_success() {
    let tree = tree();
    tree.policy(&["test", "base"])
        .unusable("nothing was tested: there is no table of cases in `policies` for `base`");
    tree.policy(&["test", "orders/refnd"])
        .unusable("unknown policy `orders/refnd`; did you mean `orders/refund`?");
    Tree::new(&[("policies/base.rego", &rego("base", 1))]).policy(&["test"]).unusable("nothing was tested");
    Tree::new(&[]).policy(&["test"]).unusable("there is no policy folder");
}

#[test]
fn what_cannot_be_used() {
    let broken = tree().with("policies/base.rego", "package base\nallow if {\n");
    broken.policy(&["test"]).unusable("`kest policy check` shows all that is wrong");
    let table = tree().with("policies/base.cases", "{\"cases\": []}");
    table.policy(&["test"]).unusable("the table has no cases");
    table.policy(&["test", "orders/refund"]);
    let keys = tree().with(
        "policies/base.cases",
        r#"{"cases": [{"name": "a", "input": {}, "decision": "deny", "x": 1}]}"#,
    );
    keys.policy(&["test"]).unusable("unknown field `x`");
    tree().policy(&["test", "--token-file", "t"]).unusable("--token-file is for the server of --opa");
    tree().policy(&["test", "--ca", "t"]).unusable("--ca is for the server of --opa");
}

#[test]
fn a_table_that_no_engine_was_asked_with_fails() {
    let tree = tree()
        .with("kest.toml", "[policies]\nknown = [\"payments-pci/x\"]\n")
        .with("policies/payments-pci/x.cases", CASES);
    let run = tree.policy(&["test"]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("fail payments-pci/x: no engine in this process holds it"), "{}", run.stdout);
    assert_eq!(tree.policy(&["test", "--json"]).json()["not_run"], json!(["payments-pci/x"]));
}

#[cfg(feature = "cedar")]
#[test]
fn a_denial_without_a_reason_says_so() {
    let tree = tree()
        .with(
            "policies/orders/refund.rego",
            "package orders.refund\nimport rego.v1\ndefault allow := false\n",
        )
        .with(
            "policies/orders/refund.cases",
            r#"{"cases": [{"name": "n", "input": {}, "decision": "deny", "reason": "too little"}]}"#,
        );
    let run = tree.policy(&["test", "orders/refund"]);
    assert_eq!(run.code, 1, "{}", run.stdout);
    let wanted = "     expected deny because `too little`\n     got      deny without a reason\n";
    assert!(run.stdout.contains(wanted), "{}", run.stdout);
}

#[test]
fn both_forms_of_a_policy_have_to_answer_alike() {
    let tree = tree().with("policies/orders/refund.cedar", &tree::cedar("orders/refund", 40));
    let run = tree.policy(&["test", "orders/refund"]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(
        run.stdout.starts_with("pass orders/refund (rego) 2 cases\npass orders/refund (cedar) 2 cases\n")
    );
    let tree = tree.with("policies/orders/refund.cedar", &tree::cedar("orders/refund", 30));
    let run = tree.policy(&["test", "orders/refund"]);
    assert_eq!(run.code, 1, "{}", run.stdout);
    let wanted = "pass orders/refund (rego) 2 cases\nfail orders/refund (cedar) 1 of 2 cases\n     case     too little\n\
                  \u{20}    expected deny\n     got      allow\n";
    assert!(run.stdout.starts_with(wanted), "{}", run.stdout);
}

#[cfg(feature = "opa")]
mod of_a_server {
    use super::*;
    use server::Server;

    #[test]
    fn that_answers() {
        // It allows from 40 on, as the table says.
        let server = Server::start(|request| {
            if request.head.starts_with("GET /v1/policies ") {
                return Server::json(200, &holding(&["orders.refund"]));
            }
            assert!(request.head.starts_with("POST /v1/data/orders/refund"), "{}", request.head);
            let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
            let allow = body["input"]["trust_score"].as_u64().unwrap() >= 40;
            Server::json(200, &json!({"result": {"allow": allow}}))
        });
        let run = tree().policy(&["test", "--opa", &server.url]);
        assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.starts_with("pass orders/refund (opa) 2 cases\n"), "{}", run.stdout);
        let asked = server.requests().iter().filter(|request| request.head.starts_with("GET ")).count();
        assert_eq!(asked, 1);
    }

    /// What a server says that has these packages, each with a rule `allow`.
    fn holding(packages: &[&str]) -> serde_json::Value {
        let module = |package: &&str| {
            let term = |name: &str| json!({"type": "string", "value": name});
            let path: Vec<_> = ["data"].into_iter().chain(package.split('.')).map(term).collect();
            let rule = json!({"head": {"name": "allow", "value": {}}});
            json!({"id": package, "raw": "", "ast": {"package": {"path": path}, "rules": [rule]}})
        };
        json!({"result": packages.iter().map(module).collect::<Vec<_>>()})
    }

    /// It holds other policies, and answers what a table may take for a policy's error or denial.
    #[test]
    fn that_does_not_hold_the_policy() {
        for expected in ["error", "refused", "deny"] {
            let cases = format!(r#"{{"cases": [{{"name": "a", "input": {{}}, "decision": "{expected}"}}]}}"#);
            let tree = tree().with("policies/orders/refund.cases", &cases);
            for body in [json!({}), json!({"result": {}}), json!({"result": {"allow": false}})] {
                let server =
                    Server::start(move |request| match request.head.starts_with("GET /v1/policies ") {
                        true => Server::json(200, &holding(&["base"])),
                        false => Server::json(200, &body),
                    });
                let run = tree.policy(&["test", "--opa", &server.url]);
                assert_eq!(run.code, 1, "{}", run.stdout);
                let wanted = "fail orders/refund: OPA does not hold `data.orders.refund.allow`\n";
                assert!(run.stdout.contains(wanted), "{}", run.stdout);
            }
        }
    }

    #[test]
    fn that_is_no_opa() {
        let cases = r#"{"cases": [{"name": "a", "input": {}, "decision": "error"}]}"#;
        let tree = tree().with("policies/orders/refund.cases", cases);
        let server = Server::start(|_| Server::text(200, "text/html", "<html></html>"));
        tree.policy(&["test", "--opa", &server.url]).unusable("is it an Open Policy Agent?");
    }

    #[test]
    fn that_is_away_is_not_the_error_that_a_table_expects() {
        let cases = r#"{"cases": [{"name": "fails", "input": {}, "decision": "error"}]}"#;
        let tree = tree().with("policies/orders/refund.cases", cases);
        let server = Server::start(|request| match request.head.starts_with("GET /v1/policies ") {
            true => Server::json(200, &holding(&["orders.refund"])),
            false => Server::json(500, &json!({})),
        });
        let run = tree.policy(&["test", "--opa", &server.url]);
        assert_eq!(run.code, 1, "it fails: {}", run.stdout);
        assert!(run.stdout.contains("got      error: "), "{}", run.stdout);
        tree.policy(&["test", "--opa", &server::nobody()]).unusable("cannot be reached");
    }

    #[test]
    fn with_an_address_that_cannot_be_used() {
        let run = tree().policy(&["test", "--opa", "http://opa.example.org"]);
        assert!(!run.stderr.contains("allow_plain_http"), "{}", run.stderr);
        run.unusable("opa.example.org` is `http` to another machine; use `https`");
    }
}
