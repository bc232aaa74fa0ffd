//! The Open Policy Agent: what it is asked, and what its answers mean.
#![cfg(feature = "opa")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod server_support;

use std::fs;
use std::time::Duration;

use kest_core::error::PolicyErrorKind::{Evaluation, Load, MalformedAnswer, Refused, Status, UnknownPolicy};
use kest_core::policy::Decision;
use kest_providers::policy::{OpaEngine, OpaEngineBuilder};
use serde_json::{Value, json};
use server_support::ask::{POLICY, ask, ask_async, ask_for, document, kind, said};
use server_support::{Reply, Server};

const ALLOW: &str = r#"{"result":{"allow":true}}"#;

fn allowing() -> (Server, OpaEngine) {
    let server = Server::start(Reply::json(ALLOW));
    let engine = OpaEngine::new(server.url()).unwrap();
    (server, engine)
}

#[test]
fn the_input_goes_to_the_package_of_the_policy() {
    let (server, engine) = allowing();
    assert_eq!(ask(&engine).unwrap(), Decision::allow());
    let request = &server.requests()[0];
    assert_eq!(request.method, "POST");
    assert_eq!(request.target, "/v1/data/kest/allow_trusted?strict-builtin-errors=true");
    assert_eq!(request.header("host"), Some(server.address().to_string().as_str()));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("authorization"), None);
    assert_eq!(request.header("accept-encoding"), None);
    let sent: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(sent, json!({ "input": document() }));
}

#[test]
fn a_path_may_come_before_that_of_the_api() {
    let server = Server::start(Reply::json(ALLOW));
    for url in [format!("{}/opa", server.url()), format!("{}/opa/", server.url())] {
        ask(&OpaEngine::new(url).unwrap()).unwrap();
    }
    for request in server.requests() {
        assert_eq!(request.target, "/opa/v1/data/kest/allow_trusted?strict-builtin-errors=true");
    }
}

#[test]
fn only_the_boolean_true_allows() {
    let (server, engine) = allowing();
    let deny = Ok(Decision::deny());
    let because = |reason: &str| Ok(Decision::Deny { reason: Some(reason.to_owned()) });
    let long = "é".repeat(600);
    for (answer, wanted) in [
        (r#"{"result":{"allow":true}}"#, Ok(Decision::allow())),
        (r#"{"result":{"allow":true,"reason":"fine"},"decision_id":"1"}"#, Ok(Decision::allow())),
        (r#"{"result":{"allow":false}}"#, deny.clone()),
        (r#"{"result":{"allow":false,"reason":"too low"}}"#, because("too low")),
        (r#"{"result":{"allow":false,"deny_reason":"too low"}}"#, because("too low")),
        (r#"{"result":{"allow":false,"reason":["too low"]}}"#, deny.clone()),
        // The rule is undefined.
        (r#"{"result":{}}"#, deny.clone()),
        (r#"{"result":{"reason":"nothing said"}}"#, because("nothing said")),
        (r#"{}"#, Err(UnknownPolicy)),
        (r#"{"decision_id":"1","warning":{"code":"api_usage_warning"}}"#, Err(UnknownPolicy)),
        (r#"{"status":"ok"}"#, Err(MalformedAnswer)),
        (r#"{"result":null}"#, Err(MalformedAnswer)),
        (r#"{"result":true}"#, Err(MalformedAnswer)),
        (r#"{"result":[{"allow":true}]}"#, Err(MalformedAnswer)),
        (r#"{"result":{"allow":null}}"#, Err(MalformedAnswer)),
        (r#"{"result":{"allow":1}}"#, Err(MalformedAnswer)),
        (r#"{"result":{"allow":"true"}}"#, Err(MalformedAnswer)),
        (r#"{"result":{"allow":"deny"}}"#, Err(MalformedAnswer)),
        (r#"{"result":{"allow":[true]}}"#, Err(MalformedAnswer)),
        (r#"{"result":{"allow":{"allow":true}}}"#, Err(MalformedAnswer)),
        (r#"{"allow":true}"#, Err(MalformedAnswer)),
        (r#"true"#, Err(MalformedAnswer)),
        (r#"{"result":{"allow":true,"allow":false}}"#, Err(MalformedAnswer)),
        (r#"{"result":{"allow":false},"result":{"allow":true}}"#, Err(MalformedAnswer)),
        (r#"{"result":{"allow":true}} {"#, Err(MalformedAnswer)),
        (&format!(r#"{{"result":{{"allow":false,"reason":"{long}"}}}}"#), because(&"é".repeat(512))),
    ] {
        server.always(Reply::json(answer));
        assert_eq!(ask(&engine).map_err(|error| error.kind()), wanted, "{answer}");
    }
}

#[test]
fn the_decision_may_be_elsewhere() {
    let server = Server::start(Reply::json(ALLOW));
    let at = |path: &str| OpaEngine::builder().url(server.url()).decision_path(path).build();
    for (path, answer, wanted) in [
        ("result", r#"{"result":true}"#, Ok(Decision::allow())),
        ("result", r#"{"result":false}"#, Ok(Decision::deny())),
        ("result", r#"{"result":{"allow":true}}"#, Err(MalformedAnswer)),
        // OPA says the same of a rule that it does not have and of one that is undefined.
        ("result", r#"{}"#, Err(UnknownPolicy)),
        ("result.a.b", r#"{"result":{"a":{"b":true}}}"#, Ok(Decision::allow())),
        ("result.a.b", r#"{"result":{"a":{"c":true}}}"#, Ok(Decision::deny())),
        ("result.a.b", r#"{"result":{"c":{"b":true}}}"#, Ok(Decision::deny())),
        ("result.a.b", r#"{"result":{"a":true}}"#, Err(MalformedAnswer)),
        ("result.a.b", r#"{"result":{"allow":true}}"#, Ok(Decision::deny())),
    ] {
        server.always(Reply::json(answer));
        assert_eq!(ask(&at(path).unwrap()).map_err(|error| error.kind()), wanted, "{path} {answer}");
    }
    for path in ["", "allow", "result.", "result..a", ".result", "results.allow"] {
        assert_eq!(at(path).unwrap_err().kind(), Load, "{path}");
    }
}

#[test]
fn a_failed_evaluation_names_the_policy_and_the_line() {
    let (server, engine) = allowing();
    let failed = json!({
        "code": "internal_error", "message": "error(s) occurred while evaluating query",
        "errors": [{"code": "eval_conflict_error", "message": "complete rules must not produce\nmultiple outputs",
                    "location": {"file": "kest/allow_trusted.rego", "row": 7, "col": 1}}],
    });
    server.always(Reply::Http(500, failed.to_string()));
    let answer = ask(&engine);
    assert_eq!(kind(&answer), Some(Evaluation));
    assert_eq!(
        answer.unwrap_err().to_string(),
        format!(
            "policy `kest/allow_trusted` could not be asked of OPA at `{}`: its evaluation failed: `complete rules must \
             not produce\\nmultiple outputs` (line 7 of `kest/allow_trusted.rego`); correct the policy",
            server.url()
        )
    );
    server.always(Reply::Http(500, r#"{"code":"evaluation_error","message":"no"}"#.to_owned()));
    assert_eq!(kind(&ask(&engine)), Some(Evaluation));
    // A failure of the server, or of something before it.
    for other in ["", "oops", r#"{"code":"resource_conflict"}"#, r#"{"message":"internal_error"}"#] {
        server.always(Reply::Http(500, other.to_owned()));
        assert_eq!(kind(&ask(&engine)), Some(Status), "{other}");
    }
}

#[test]
fn what_the_server_says_is_shown_and_cannot_forge_a_message() {
    let (server, engine) = allowing();
    server.always(Reply::Http(503, format!("down`; all is well\n\u{1b}[31m{}", "x".repeat(10_000))));
    let error = ask(&engine).unwrap_err().to_string();
    assert!(error.contains("503") && error.contains("`down\\u{60}; all is well\\n\\u{1b}[31mxxx"), "{error}");
    assert!(error.len() < 600 && !error.contains('\n') && !error.contains('\u{1b}'), "{error}");
    assert!(error.contains(POLICY) && error.contains(&server.url()), "{error}");
}

#[test]
fn a_name_that_is_none_is_not_asked_for() {
    let (server, engine) = allowing();
    for name in [
        "",
        "/",
        "a//b",
        "../v1/policies",
        "a?x=1",
        "a#b",
        "a%2fb",
        "a b",
        "a\r\nX: y",
        "a.b",
        "é",
        "a/..",
        // OPA takes digits for a place in an array.
        "0",
        "a/0",
        "a/17/b",
    ] {
        assert_eq!(kind(&ask_for(&engine, name)), Some(UnknownPolicy), "{name}");
    }
    assert_eq!(server.accepted(), 0);
    for name in ["payments-pci/a_1", "a/default", "1a"] {
        ask_for(&engine, name).unwrap();
    }
}

#[test]
fn a_token_is_sent_and_shown_nowhere() {
    let server = Server::start(Reply::json(ALLOW));
    let builder = OpaEngine::builder().url(server.url()).bearer_token("s3cret-token");
    assert!(!format!("{builder:?}").contains("s3cret"));
    let engine = builder.build().unwrap();
    assert!(!format!("{engine:?}").contains("s3cret"));
    ask(&engine).unwrap();
    assert_eq!(server.requests()[0].header("authorization"), Some("Bearer s3cret-token"));
    server.always(Reply::Http(401, r#"{"code":"unauthorized"}"#.to_owned()));
    let answer = ask(&engine);
    assert_eq!(kind(&answer), Some(Refused));
    assert!(!said(answer).contains("s3cret"));
    server.always(Reply::Reset(Vec::new()));
    assert!(!said(ask(&engine)).contains("s3cret"));
}

#[test]
fn a_token_file_may_be_replaced_at_any_time() {
    let folder = tempdir("rotation");
    let file = folder.join("token");
    let server = Server::start(Reply::json(ALLOW));
    let engine = OpaEngine::builder().url(server.url()).bearer_token_file(&file).build().unwrap();
    for (content, sent) in [("first\n", "first"), ("other\n", "other"), (" last ", "last")] {
        fs::write(&file, content).unwrap();
        ask(&engine).unwrap();
        let wanted = format!("Bearer {sent}");
        assert_eq!(server.requests().last().unwrap().header("authorization"), Some(wanted.as_str()));
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_token_file_that_cannot_be_used_ends_the_question() {
    let folder = tempdir("refused");
    let file = folder.join("token");
    let server = Server::start(Reply::json(ALLOW));
    let engine = OpaEngine::builder().url(server.url()).bearer_token_file(&file).build().unwrap();
    let refused = |wanted: &str| {
        let answer = ask(&engine);
        assert_eq!(kind(&answer), Some(Refused), "{wanted}");
        let said = said(answer);
        assert!(said.contains(wanted), "{said}");
        said
    };
    refused("cannot be read");
    for (content, wanted) in
        [("", "is empty"), (" \n", "is empty"), ("s3cret\ntwo", "no token has"), ("é", "no token")]
    {
        fs::write(&file, content).unwrap();
        assert!(!refused(wanted).contains("s3cret"));
    }
    fs::write(&file, "a".repeat(64 * 1024 + 1)).unwrap();
    refused("larger than 65536 bytes");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    refused("no regular file");
    fs::remove_dir(&file).unwrap();
    #[cfg(unix)]
    {
        // A pipe that nobody writes to.
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        refused("no regular file");
    }
    assert_eq!(server.accepted(), 0);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn settings_that_cannot_be_used_are_refused() {
    let at = |url: &str| OpaEngine::builder().url(url);
    let here = || at("http://127.0.0.1:8181");
    type Setting = (OpaEngineBuilder, &'static str);
    let settings: [Setting; 14] = [
        (OpaEngine::builder(), ".url("),
        (at("opa:8181"), "is not `https`"),
        (at("nowhere"), "is no URL"),
        (at("http://opa.example.org:8181"), ".allow_plain_http()"),
        (at("ftp://127.0.0.1/"), "is not `https`"),
        (at("https://user:s3cret@opa.example.org"), "`***@opa.example.org` carries credentials"),
        (at("https://opa.example.org/#a"), "has a fragment"),
        (at("https://opa.example.org/?a"), "has a query"),
        (here().timeout(Duration::ZERO), "`timeout`"),
        (here().queue_timeout(Duration::ZERO), "`queue_timeout`"),
        (here().max_connections(0), "`max_connections`"),
        (here().bearer_token(" "), "is empty"),
        (here().bearer_token("s3cret\r\nX: y"), "no token has"),
        (here().root_certificates_pem(b"nonsense"), "not PEM"),
    ];
    for (builder, wanted) in settings {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), Load, "{wanted}");
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
    at("http://opa.example.org:8181").allow_plain_http().build().unwrap();
    at("http://[::1]:8181").build().unwrap();
}

#[tokio::test]
async fn localhost_is_this_machine() {
    let server = Server::start(Reply::json(ALLOW));
    let url = format!("http://localhost:{}", server.address().port());
    assert_eq!(ask_async(&OpaEngine::new(url).unwrap()).await.unwrap(), Decision::allow());
}

fn tempdir(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("kest-opa-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    folder
}
