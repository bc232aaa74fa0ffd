//! cedar-agent: what it is asked, and what its answers mean.
#![cfg(feature = "cedar-agent")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod server_support;

use kest_core::error::PolicyErrorKind::{
    Evaluation, Input, Load, MalformedAnswer, Refused, Status, UnknownPolicy,
};
use kest_core::policy::{Decision, InputDocument, PolicyEngine, PolicyRequest};
use kest_providers::policy::CedarAgentEngine;
use serde_json::{Value, json};
use server_support::ask::{POLICY, ask, ask_for, kind, said};
use server_support::{Reply, Server};

const ALLOW: &str = r#"{"decision":"Allow","diagnostics":{"reason":["p"],"errors":[]}}"#;
const NOT_PERMITTED: &str = r#"{"decision":"Deny","diagnostics":{"reason":[],"errors":[]}}"#;

fn allowing() -> (Server, CedarAgentEngine) {
    let server = Server::start(Reply::json(ALLOW));
    let engine = CedarAgentEngine::new(server.url()).unwrap();
    (server, engine)
}

/// The agent's list of policies.
fn list(texts: &[&str]) -> Reply {
    let policies: Vec<Value> = texts.iter().map(|text| json!({"id": "p", "content": text})).collect();
    Reply::json(&Value::from(policies).to_string())
}

#[test]
fn the_call_becomes_a_cedar_request() {
    let (server, engine) = allowing();
    let document: InputDocument = serde_json::from_value(json!({
        "subject": {"workload": "spiffe://example.org/o\"\n", "user": {"sub": "alice"}, "trust_score": 40},
        "object": {"id": "a\\b", "attributes": {"amount": 17}},
    }))
    .unwrap();
    let input = document.as_input();
    let request = PolicyRequest { policy: POLICY, input: &input };
    assert_eq!(engine.evaluate(&request).unwrap(), Decision::allow());
    let request = &server.requests()[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/is_authorized"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("authorization"), None);
    let sent: Value = serde_json::from_str(&request.body).unwrap();
    let members: Vec<&str> = sent.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members.len(), 4, "{members:?}");
    assert_eq!(sent["principal"], r#"Workload::"spiffe://example.org/o\"\n""#);
    assert_eq!(sent["action"], r#"Action::"kest/allow_trusted""#);
    assert_eq!(sent["resource"], r#"Resource::"a\\b""#);
    assert_eq!(sent["context"]["trust_score"], 40);
    assert_eq!(sent["context"]["subject"]["user"]["sub"], "alice");
    assert_eq!(sent["context"]["subject.user.sub"], "alice");
    assert_eq!(sent["context"]["object.attributes.amount"], 17);
    assert_eq!(sent["context"].get("subject.agent"), None);
    ask(&engine).unwrap();
    let sent: Value = serde_json::from_str(&server.requests()[1].body).unwrap();
    assert_eq!(sent["resource"], r#"Resource::"*""#);
}

#[test]
fn an_input_that_cedar_cannot_hold_is_not_sent() {
    let (server, engine) = allowing();
    for attributes in [json!({"a": 1.5}), json!({"a": [null]}), json!({"__entity": {"type": "A", "id": "b"}})]
    {
        let document: InputDocument =
            serde_json::from_value(json!({"object": {"attributes": attributes}})).unwrap();
        let answer = engine.evaluate(&PolicyRequest { policy: POLICY, input: &document.as_input() });
        assert_eq!(kind(&answer), Some(Input), "{attributes}");
    }
    assert_eq!(server.accepted(), 0);
}

#[test]
fn only_allow_without_an_error_allows() {
    let (server, engine) = allowing();
    for (decision, reason, errors, wanted) in [
        (json!("Allow"), json!(["p"]), json!([]), Ok(Decision::allow())),
        (json!("Deny"), json!(["p"]), json!([]), Ok(Decision::deny())),
        (json!("Allow"), json!(["p"]), json!(["a `forbid` failed"]), Err(Evaluation)),
        (json!("Allow"), json!(["p"]), json!([{"policyId": "q"}]), Err(Evaluation)),
        (json!("Deny"), json!([]), json!(["a `permit` failed"]), Err(Evaluation)),
        (json!("Deny"), json!(["p"]), json!(["another failed"]), Err(Evaluation)),
        (json!("allow"), json!(["p"]), json!([]), Err(MalformedAnswer)),
        (json!("Allow "), json!(["p"]), json!([]), Err(MalformedAnswer)),
        (json!("deny"), json!([]), json!([]), Err(MalformedAnswer)),
        (json!(true), json!(["p"]), json!([]), Err(MalformedAnswer)),
        (json!(null), json!(["p"]), json!([]), Err(MalformedAnswer)),
        (json!("Allow"), json!(["p"]), json!(null), Err(MalformedAnswer)),
        (json!("Allow"), json!(["p"]), json!({}), Err(MalformedAnswer)),
        (json!("Allow"), json!("p"), json!([]), Err(MalformedAnswer)),
        // By no policy.
        (json!("Allow"), json!([]), json!([]), Err(MalformedAnswer)),
        (json!("Allow"), json!([null]), json!([]), Err(MalformedAnswer)),
    ] {
        let answer = json!({"decision": decision, "diagnostics": {"reason": reason, "errors": errors}});
        server.always(Reply::json(&answer.to_string()));
        assert_eq!(ask(&engine).map_err(|error| error.kind()), wanted, "{answer}");
    }
    for answer in [
        r#"{"decision":"Allow"}"#,
        r#"{"decision":"Allow","diagnostics":{}}"#,
        r#"{"decision":"Allow","diagnostics":{"reason":["p"]}}"#,
        r#"{"diagnostics":{"reason":[],"errors":[]}}"#,
        r#"{"decision":"Deny","decision":"Allow","diagnostics":{"reason":["p"],"errors":[]}}"#,
        r#"["Allow"]"#,
        r#""Allow""#,
    ] {
        server.always(Reply::json(answer));
        assert_eq!(kind(&ask(&engine)), Some(MalformedAnswer), "{answer}");
    }
}

#[test]
fn an_error_says_what_failed() {
    let (server, engine) = allowing();
    server.always(Reply::json(
        r#"{"decision":"Allow","diagnostics":{"reason":["p"],"errors":["while evaluating `q`:\nno attribute"]}}"#,
    ));
    let error = ask(&engine).unwrap_err().to_string();
    assert!(
        error.contains(POLICY) && error.contains("while evaluating \\u{60}q\\u{60}:\\nno attribute"),
        "{error}"
    );
}

#[test]
fn a_policy_that_the_agent_does_not_have_is_unknown() {
    let server = Server::start(Reply::json(NOT_PERMITTED));
    for (texts, known) in [
        (
            vec![r#"permit(principal, action == Action::"kest/allow_trusted", resource) when { false };"#],
            true,
        ),
        (
            vec![
                r#"permit(principal, action == Action::"c", resource);"#,
                "forbid(principal, action, resource);",
            ],
            true,
        ),
        (vec![r#"permit(principal, action in Action::"all", resource);"#], true),
        (vec![r#"permit(principal, action == Other::Action::"kest/allow_trusted", resource);"#], false),
        (vec![r#"permit(principal, action == Action::"kest/allow_trusted2", resource);"#], false),
        (vec![], false),
    ] {
        server.then(Reply::json(NOT_PERMITTED));
        server.then(list(&texts));
        let answer = ask(&CedarAgentEngine::new(server.url()).unwrap());
        let request = server.requests().pop().unwrap();
        assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/v1/policies"));
        assert_eq!(request.header("content-type"), None);
        match known {
            true => assert_eq!(answer.unwrap(), Decision::deny(), "{texts:?}"),
            false => {
                assert_eq!(kind(&answer), Some(UnknownPolicy), "{texts:?}");
                let said = said(answer);
                assert!(said.contains("is for `Action::\"kest/allow_trusted\"`"), "{said}");
            }
        }
    }
}

/// Whether it is the denial of an engine that cannot tell an unknown name.
fn is_open_no(answer: &Decision) -> bool {
    let Decision::Deny { reason: Some(reason) } = answer else { return false };
    reason.starts_with("no policy of the store permits it; whether one is for this name is not known: ")
        && !reason.contains(POLICY)
}

#[test]
fn without_the_list_it_is_a_no_all_the_same() {
    let server = Server::start(Reply::json(NOT_PERMITTED));
    for reply in [
        Reply::Http(404, String::new()),
        Reply::Http(401, "no".to_owned()),
        Reply::Http(500, "no".to_owned()),
        Reply::json("<html>"),
        Reply::json(r#"{"policies":[]}"#),
        Reply::json(r#"[{"id":"p"}]"#),
        Reply::json(r#"[{"id":"p","content":1}]"#),
        Reply::json(ALLOW),
        Reply::json(&format!("[\"{}\"]", "x".repeat(1024 * 1024))),
        Reply::Reset(Vec::new()),
        Reply::last("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]"),
    ] {
        server.then(Reply::json(NOT_PERMITTED));
        server.then(reply.clone());
        let engine = CedarAgentEngine::new(server.url()).unwrap();
        let shown = format!("{reply:?}").chars().take(100).collect::<String>();
        for _ in 0..2 {
            let answer = ask(&engine).unwrap();
            assert!(is_open_no(&answer), "{shown}: {answer:?}");
        }
    }
    let lists = server.requests().iter().filter(|request| request.method == "GET").count();
    assert_eq!(lists, 11, "each is read once");
}

#[test]
fn many_denials_at_once_read_one_list() {
    let server = Server::start(Reply::json(NOT_PERMITTED));
    let engine = CedarAgentEngine::builder()
        .url(server.url())
        .timeout(std::time::Duration::from_secs(60))
        .max_connections(8)
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..100).map(|_| scope.spawn(|| ask(&engine).unwrap())).collect();
        for answer in asked {
            assert!(is_open_no(&answer.join().unwrap()));
        }
    });
    let lists = server.requests().iter().filter(|request| request.method == "GET").count();
    assert_eq!((server.requests().len() - lists, lists), (100, 1));
}

#[test]
fn the_list_is_within_the_time_of_the_question() {
    let server = Server::start(Reply::json(NOT_PERMITTED));
    let time = std::time::Duration::from_millis(200);
    let engine = CedarAgentEngine::builder().url(server.url()).timeout(time).build().unwrap();
    server.then(Reply::json(NOT_PERMITTED));
    server.then(Reply::Silent(Vec::new()));
    assert!(is_open_no(&ask(&engine).unwrap()));
    server.wait_for_connections(0);
}

#[test]
fn another_path_has_no_list() {
    let server = Server::start(Reply::json(NOT_PERMITTED));
    let engine = CedarAgentEngine::builder().url(server.url()).path("/is_authorized").build().unwrap();
    assert_eq!(ask(&engine).unwrap(), Decision::deny());
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.requests()[0].target, "/is_authorized");
    for path in ["", "v1", "/a?b", "/a#b", "/a b", "/a\r\nb"] {
        let error = CedarAgentEngine::builder().url(server.url()).path(path).build().unwrap_err();
        assert_eq!(error.kind(), Load, "{path}");
    }
}

#[test]
fn a_token_is_sent_as_it_is_and_shown_nowhere() {
    let server = Server::start(Reply::json(ALLOW));
    let builder = CedarAgentEngine::builder().url(server.url()).token("s3cret");
    assert!(!format!("{builder:?}").contains("s3cret"));
    let engine = builder.build().unwrap();
    assert!(!format!("{engine:?}").contains("s3cret"));
    ask(&engine).unwrap();
    assert_eq!(server.requests()[0].header("authorization"), Some("s3cret"));
    server.always(Reply::Http(401, String::new()));
    let answer = ask(&engine);
    assert_eq!(kind(&answer), Some(Refused));
    assert!(!said(answer).contains("s3cret"));
}

#[test]
fn a_refused_request_shows_why() {
    let (server, engine) = allowing();
    server.always(Reply::Http(400, r#"{"reason":"malformed","description":"bad entity"}"#.to_owned()));
    let answer = ask(&engine);
    assert_eq!(kind(&answer), Some(Status));
    assert!(said(answer).contains("bad entity"));
}

#[test]
fn a_name_that_is_none_is_not_asked_for() {
    let (server, engine) = allowing();
    for name in ["", "a//b", "a\"", "a\\", "a b", "a.b", "é"] {
        assert_eq!(kind(&ask_for(&engine, name)), Some(UnknownPolicy), "{name}");
    }
    assert_eq!(server.accepted(), 0);
}
