//! Verified Permissions: what is sent, and what comes of each answer. Spec §11.
#![cfg(feature = "avp")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod credentials;
mod fake;

use std::env;
use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{Decision, InputDocument, PolicyEngine, PolicyRequest};
use kest_providers::policy::AvpEngine;
use serde_json::json;

use self::fake::{Fake, Reply, SECRET, STORE, TOKEN, answered, ask, ask_with, decided, policy, refused};

fn expect(error: &PolicyUnavailable, kind: PolicyErrorKind, parts: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
    }
    let shown = format!("{error} {error:?} {}", error.source().map(ToString::to_string).unwrap_or_default());
    for secret in [SECRET, TOKEN, "AKIDEXAMPLE", "\u{1b}"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(!error.to_string().ends_with('.') && error.to_string().len() < 700, "{error}");
}

/// The error that this answer comes to.
fn failing(reply: impl Fn() -> Reply + Send + Sync + 'static) -> PolicyUnavailable {
    let fake = Fake::saying(reply);
    let error = ask(&fake.engine(), "a/b").unwrap_err();
    assert_eq!(fake.count("isauthorized"), 1, "nothing is tried twice: {error}");
    error
}

#[test]
fn the_whole_input_is_sent() {
    let fake = Fake::saying(|| answered("ALLOW", &["SP1"], &[]));
    let document = json!({
        "subject": {"workload": "spiffe://example.org/w", "user": {"sub": "alice", "x.y": 1}, "trust_score": 40,
                    "taints": ["t"]},
        "object": {"id": "17", "attributes": {"amount": 4200, "lines": [{"n": 1}], "ok": true, "none": null}},
    });
    assert_eq!(ask_with(&fake.engine(), "kest/allow_trusted", document).unwrap(), Decision::allow());
    let body = &fake.bodies("isauthorized")[0];
    assert_eq!(body["policyStoreId"], STORE);
    assert_eq!(body["principal"], json!({"entityType": "Workload", "entityId": "spiffe://example.org/w"}));
    assert_eq!(body["action"], json!({"actionType": "Action", "actionId": "kest/allow_trusted"}));
    assert_eq!(body["resource"], json!({"entityType": "Resource", "entityId": "17"}));
    let context = &body["context"]["contextMap"];
    assert_eq!(context["subject"]["record"]["trust_score"], json!({"long": 40}));
    assert_eq!(context["subject.trust_score"], json!({"long": 40}));
    assert_eq!(context["subject.user.sub"], json!({"string": "alice"}));
    assert_eq!(context["subject"]["record"]["user"]["record"]["x.y"], json!({"long": 1}));
    assert!(context.get("subject.user.x.y").is_none());
    assert_eq!(context["subject.taints"], json!({"set": [{"string": "t"}]}));
    assert_eq!(context["object.attributes.lines"], json!({"set": [{"record": {"n": {"long": 1}}}]}));
    assert_eq!(context["object.attributes.ok"], json!({"boolean": true}));
    assert!(context.get("object.attributes.none").is_none());
    assert_eq!(context["environment.policy_tier"], json!({"string": "function"}));
    assert_eq!(context["trust_score"], json!({"long": 40}));
    ask(&fake.engine(), "a").unwrap();
    assert_eq!(fake.bodies("isauthorized")[1]["resource"]["entityId"], "*");
}

#[test]
fn what_a_context_cannot_hold_is_not_sent() {
    let fake = Fake::saying(|| answered("ALLOW", &["SP1"], &[]));
    for value in [json!(1.5), json!([null]), json!({"__entity": {"type": "Role", "id": "admin"}})] {
        let document = json!({"object": {"attributes": {"value": value}}});
        let error = ask_with(&fake.engine(), "a/b", document).unwrap_err();
        expect(&error, PolicyErrorKind::Input, &["object.attributes.value"]);
    }
    assert_eq!(fake.count("isauthorized"), 0);
}

#[test]
fn both_ways_of_asking_agree_and_need_no_run_time_of_their_own() {
    let fake = Fake::saying(|| answered("ALLOW", &["SP1"], &[]));
    let engine = fake.engine();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let document = InputDocument::default();
    let input = document.as_input();
    let request = PolicyRequest { policy: "a/b", input: &input };
    assert_eq!(runtime.block_on(engine.evaluate_async(&request)).unwrap(), Decision::allow());
    assert_eq!(runtime.block_on(async { engine.evaluate(&request) }).unwrap(), Decision::allow());
    runtime.block_on(engine.initialize()).unwrap();
}

#[test]
fn a_denial_is_one_and_says_by_whom() {
    let fake = Fake::saying(|| answered("DENY", &["SP1", "SP2"], &[]));
    let Decision::Deny { reason: Some(reason) } = ask(&fake.engine(), "a/b").unwrap() else { panic!() };
    assert_eq!(reason, "forbidden by `SP1`, `SP2` of the policy store");
    assert_eq!(fake.count("listpolicies"), 0);
    let fake = Fake::saying(|| decided("DENY"));
    let engine = fake.engine();
    for _ in 0..3 {
        assert_eq!(ask(&engine, "a/b").unwrap(), Decision::deny());
    }
    assert_eq!((fake.count("isauthorized"), fake.count("listpolicies")), (3, 1));
}

#[test]
fn a_name_that_no_policy_has_is_unknown() {
    use PolicyErrorKind::UnknownPolicy;
    let fake = Fake::listing(|request| match request.body["nextToken"].as_str() {
        None => Reply::Json(200, json!({"policies": [policy(Some("a/b"), "Permit")], "nextToken": "2"})),
        Some(_) => {
            Reply::Json(200, json!({"policies": [policy(Some("c"), "Permit"), policy(Some("d"), "Forbid")]}))
        }
    });
    let engine = fake.engine();
    expect(&ask(&engine, "a/c").unwrap_err(), UnknownPolicy, &["`a/c`", STORE, "`action == Action::"]);
    for known in ["a/b", "c", "d"] {
        assert_eq!(ask(&engine, known).unwrap(), Decision::deny());
    }
    assert_eq!(fake.count("listpolicies"), 2, "two pages, once");
    let empty = Fake::listing(|_| Reply::Json(200, json!({"policies": []})));
    expect(&ask(&empty.engine(), "a/b").unwrap_err(), UnknownPolicy, &["`a/b`"]);
    // Another type of action is another action.
    let mut other = policy(Some("a/b"), "Permit");
    other["actions"][0]["actionType"] = json!("Other::Action");
    let fake = Fake::listing(move |_| Reply::Json(200, json!({"policies": [other]})));
    expect(&ask(&fake.engine(), "a/b").unwrap_err(), UnknownPolicy, &["`a/b`"]);
    // For every name, whatever its effect. Emulators leave the actions away altogether.
    for effect in ["Permit", "Forbid"] {
        let open = Fake::listing(move |_| {
            Reply::Json(200, json!({"policies": [policy(Some("a/b"), "Permit"), policy(None, effect)]}))
        });
        assert_eq!(ask(&open.engine(), "any").unwrap(), Decision::deny(), "{effect}");
    }
}

#[test]
fn a_list_that_cannot_be_read_leaves_a_denial() {
    let denied = |fake: &Fake, part: &str| {
        let engine = fake.builder().timeout(Duration::from_secs(2)).build().unwrap();
        for _ in 0..2 {
            match ask(&engine, "x").unwrap() {
                Decision::Deny { reason: Some(reason) } => {
                    assert!(reason.starts_with("no policy of the store permits it"), "{reason}");
                    assert!(reason.contains(part), "{reason}");
                }
                other => panic!("{other:?}"),
            }
        }
    };
    let fake = Fake::listing(|_| refused(400, "AccessDeniedException"));
    denied(&fake, "`verifiedpermissions:ListPolicies`");
    assert_eq!(fake.count("listpolicies"), 1, "not asked again at once");
    denied(&Fake::listing(|_| refused(400, "ThrottlingException")), "fewer");
    denied(&Fake::listing(|_| Reply::Json(500, json!({}))), "unavailable");
    denied(&Fake::listing(|_| Reply::Raw(String::new())), "`verifiedpermissions:ListPolicies`");
    denied(&Fake::listing(|_| Reply::Silence), "was not answered within 2s");
    let endless = Fake::listing(|_| Reply::Json(200, json!({"policies": [], "nextToken": "again"})));
    denied(&endless, "more policies than are looked through");
    assert_eq!(endless.count("listpolicies"), 20);
}

#[test]
fn an_answer_that_is_no_decision_is_an_error() {
    use PolicyErrorKind::{Evaluation, MalformedAnswer};
    for decision in ["allow", "Allow", "deny", "PERMIT", "", " ALLOW", "NOT_APPLICABLE"] {
        let error = failing(move || answered(decision, &["SP1"], &[]));
        expect(&error, MalformedAnswer, &[&format!("`{decision}`"), "`a/b`"]);
    }
    for body in [json!({}), json!({"decision": null}), json!([]), json!("ALLOW"), json!({"decision": true})] {
        let shown = body.to_string();
        assert_eq!(failing(move || Reply::Json(200, body.clone())).kind(), MalformedAnswer, "{shown}");
    }
    for decision in ["ALLOW", "DENY"] {
        let error = failing(move || answered(decision, &["SP1"], &["no attribute `x`\u{1b}[31m", "b"]));
        expect(&error, Evaluation, &["`a/b`", "2 of the store's policies", "no attribute `x`"]);
    }
}

#[test]
fn every_refusal_has_its_kind() {
    use PolicyErrorKind::{Input, Refused, Status, Throttled, UnknownPolicy};
    const ACTION: &str = "`verifiedpermissions:IsAuthorized`";
    for (status, code, kind, parts) in [
        (404, "ResourceNotFoundException", UnknownPolicy, &[STORE, "region"] as &[&str]),
        (400, "AccessDeniedException", Refused, &[ACTION, "IAM policy"]),
        (400, "ValidationException", Input, &[ACTION, "schema", STORE]),
        (400, "ExpiredTokenException", Refused, &["have expired"]),
        (400, "UnrecognizedClientException", Refused, &["does not accept the credentials"]),
        (400, "InvalidSignatureException", Refused, &["clock"]),
        (400, "ThrottlingException", Throttled, &["127.0.0.1", "quota"]),
        (429, "Whatever", Throttled, &["quota"]),
        (500, "InternalServerException", Status, &["unavailable", "127.0.0.1"]),
        (503, "Whatever", Status, &["unavailable"]),
        (402, "ServiceQuotaExceededException", Status, &["`ServiceQuotaExceededException`"]),
        (400, "New\u{202e}Exception", Status, &["`New\\u{202e}Exception`"]),
    ] {
        expect(&failing(move || refused(status, code)), kind, parts);
    }
}

/// A whole HTTP answer.
fn raw(status: &str, kind: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Raw(format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"))
}

#[test]
fn answers_that_are_not_of_aws_are_errors() {
    use PolicyErrorKind::{Connection, MalformedAnswer, Refused, Status};
    let html = |status: &'static str| move || raw(status, "text/html", "<html>ALLOW</html>");
    expect(&failing(html("200 OK")), MalformedAnswer, &["status 200", "127.0.0.1"]);
    expect(&failing(html("403 Forbidden")), Refused, &["status 403"]);
    expect(&failing(html("401 Unauthorized")), Refused, &["status 401"]);
    expect(&failing(html("404 Not Found")), Status, &["status 404"]);
    expect(&failing(html("502 Bad Gateway")), Status, &["unavailable"]);
    expect(&failing(|| raw("200 OK", "application/json", "")), MalformedAnswer, &[]);
    expect(&failing(|| raw("200 OK", "application/json", "{\"decision\":\"ALLOW\"")), MalformedAnswer, &[]);
    for text in ["", "SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\ncontent-le"] {
        expect(&failing(move || Reply::Raw(text.to_owned())), Connection, &["127.0.0.1"]);
    }
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n{\"decision\":\"ALLOW\"";
    expect(&failing(move || Reply::Raw(half.to_owned())), Connection, &["broke off", "127.0.0.1"]);
    let other = Fake::saying(|| answered("ALLOW", &["SP1"], &[]));
    let url = other.url();
    let elsewhere =
        move || Reply::Raw(format!("HTTP/1.1 307 Go\r\nlocation: {url}/\r\ncontent-length: 0\r\n\r\n"));
    expect(&failing(elsewhere), Status, &["status 307"]);
    assert_eq!(other.count("isauthorized"), 0, "no redirect is followed");
}

#[test]
fn an_allow_that_is_not_whole_is_none() {
    for (body, part) in [
        (r#"{"decision":"ALLOW"}"#, "no list `determiningPolicies`"),
        (r#"{"decision":"ALLOW","errors":[]}"#, "no list `determiningPolicies`"),
        (r#"{"decision":"ALLOW","determiningPolicies":[{"policyId":"p"}]}"#, "no list `errors`"),
        (
            r#"{"decision":"ALLOW","determiningPolicies":[{"policyId":"p"}],"errors":null}"#,
            "no list `errors`",
        ),
        (
            r#"{"decision":"ALLOW","determiningPolicies":[{"policyId":"p"}],"errors":[null]}"#,
            "cannot be read",
        ),
        (r#"{"decision":"ALLOW","determiningPolicies":[{}],"errors":[]}"#, "`policyId`"),
        (r#"{"decision":"ALLOW","determiningPolicies":[],"errors":[]}"#, "by no policy"),
        (r#"{"determiningPolicies":[{"policyId":"p"}],"errors":[]}"#, "`decision`"),
        (
            r#"{"decision":"ALLOW","determiningPolicies":[{"policyId":"p"}],"errors":[{"errorDescription":"e"}],"errors":[]}"#,
            "not usable as JSON",
        ),
        (
            r#"{"decision":"DENY","decision":"ALLOW","determiningPolicies":[{"policyId":"p"}],"errors":[]}"#,
            "not usable as JSON",
        ),
    ] {
        let error = failing(move || raw("200 OK", "application/x-amz-json-1.0", body));
        expect(&error, PolicyErrorKind::MalformedAnswer, &[part, "127.0.0.1"]);
    }
}

#[test]
fn for_ever_is_a_time_limit() {
    let fake = Fake::saying(|| answered("ALLOW", &["SP1"], &[]));
    let engine = fake.builder().timeout(Duration::MAX).build().unwrap();
    assert_eq!(ask(&engine, "a/b").unwrap(), Decision::allow());
}

#[test]
fn a_builder_shows_no_secret_of_its_address() {
    let builder = AvpEngine::builder().endpoint_url("https://user:s3cret@h/?token=s3cret#s3cret");
    assert!(!format!("{builder:?}").contains("s3cret"), "{builder:?}");
}

#[test]
fn an_answer_has_its_largest_size() {
    let huge = || "x".repeat(2 << 20);
    let long = move || answered("ALLOW", &["SP1", &huge()], &[]);
    expect(&failing(long), PolicyErrorKind::TooLarge, &["1048576", "`max_bytes`"]);
    let chunked = move || {
        let chunk = format!("{:x}\r\n{}\r\n", 2 << 20, huge());
        Reply::Raw(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"))
    };
    expect(&failing(chunked), PolicyErrorKind::TooLarge, &["1048576"]);
    let fake = Fake::saying(|| answered("ALLOW", &["SP1"], &[]));
    let engine = fake.builder().max_bytes(20).build().unwrap();
    expect(&ask(&engine, "a/b").unwrap_err(), PolicyErrorKind::TooLarge, &["20 bytes"]);
}

#[test]
fn a_silent_server_is_given_up() {
    let fake = Fake::saying(|| Reply::Silence);
    let engine = fake.builder().timeout(Duration::from_millis(400)).build().unwrap();
    let begun = Instant::now();
    let error = ask(&engine, "a/b").unwrap_err();
    expect(&error, PolicyErrorKind::Timeout, &["400ms", "IsAuthorized", &fake.url()]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // Whoever waits behind others has no more time, and is told so.
    let engine = fake.builder().max_connections(1).timeout(Duration::from_secs(2)).build().unwrap();
    let asked = fake.count("isauthorized");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(engine.initialize()).unwrap();
    let document = InputDocument::default();
    let input = document.as_input();
    let request = PolicyRequest { policy: "a/b", input: &input };
    let (first, second) = runtime
        .block_on(async { tokio::join!(engine.evaluate_async(&request), engine.evaluate_async(&request)) });
    expect(&first.unwrap_err(), PolicyErrorKind::Timeout, &["2s", "IsAuthorized", &fake.url()]);
    let parts = ["`a/b`", &fake.url(), "turn", "1 requests under way", "`max_connections`"];
    expect(&second.unwrap_err(), PolicyErrorKind::Timeout, &parts);
    assert!(fake.count("isauthorized") > asked);
}

#[test]
fn a_name_that_is_none_is_not_asked_for() {
    let fake = Fake::saying(|| answered("ALLOW", &["SP1"], &[]));
    for name in ["", "a//b", "a\"", "a b", "a.b", "/a", "é"] {
        expect(
            &ask(&fake.engine(), name).unwrap_err(),
            PolicyErrorKind::UnknownPolicy,
            &["is not a policy name"],
        );
    }
    assert_eq!(fake.count("isauthorized"), 0);
}

#[test]
fn nobody_at_the_endpoint() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let fake = Fake::saying(|| Reply::Silence);
    let engine = fake.builder().endpoint_url(format!("http://127.0.0.1:{port}")).build().unwrap();
    expect(
        &ask(&engine, "a/b").unwrap_err(),
        PolicyErrorKind::Connection,
        &[&format!("127.0.0.1:{port}"), "endpoint"],
    );
}

/// Fails to give credentials.
#[derive(Debug)]
struct Nobody(fn() -> CredentialsError);

impl ProvideCredentials for Nobody {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err((self.0)()))
    }
}

#[test]
fn credentials_that_cannot_be_had() {
    let fake = Fake::saying(|| Reply::Silence);
    for (why, part) in [
        ((|| CredentialsError::not_loaded_no_source()) as fn() -> _, "no AWS credentials"),
        (|| CredentialsError::invalid_configuration("x"), "configured wrongly"),
        (|| CredentialsError::provider_error("x"), "the role"),
    ] {
        let engine = fake.builder().credentials_provider(Nobody(why)).build().unwrap();
        expect(&ask(&engine, "a/b").unwrap_err(), PolicyErrorKind::Refused, &[part, "IsAuthorized"]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(engine.initialize()).unwrap_err();
        expect(&error, PolicyErrorKind::Refused, &[part, "ListPolicies"]);
    }
    assert_eq!(fake.count("isauthorized") + fake.count("listpolicies"), 0);
}

#[test]
fn what_can_be_known_at_the_start_is() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let initialize = |fake: &Fake| runtime.block_on(fake.engine().initialize());
    initialize(&Fake::listing(|_| Reply::Json(200, json!({"policies": []})))).unwrap();
    initialize(&Fake::listing(|_| refused(400, "AccessDeniedException"))).unwrap();
    let missing = initialize(&Fake::listing(|_| refused(404, "ResourceNotFoundException")));
    expect(&missing.unwrap_err(), PolicyErrorKind::UnknownPolicy, &["no policy store", STORE]);
    let rejected = initialize(&Fake::listing(|_| refused(400, "UnrecognizedClientException")));
    expect(&rejected.unwrap_err(), PolicyErrorKind::Refused, &["does not accept"]);
}

#[test]
fn settings_are_checked_before_anything_is_contacted() {
    let store = || AvpEngine::builder().policy_store_id(STORE);
    for (builder, part) in [
        (AvpEngine::builder().policy_store_id(""), "policy store"),
        (AvpEngine::builder().policy_store_id("a b"), "`a b`"),
        (AvpEngine::builder().policy_store_id("a".repeat(201)), "policy store"),
        (store().region("EU"), "`EU`"),
        (store().endpoint_url("http://user:word@host"), "URL"),
        (store().endpoint_url("http://avp.example.org"), "use `https`"),
        (store().timeout(Duration::ZERO), "timeout"),
        (store().max_bytes(0), "max_bytes"),
        (store().max_connections(0), "max_connections"),
    ] {
        let error = builder.build().unwrap_err();
        assert!(!error.to_string().contains("word@"), "{error}");
        expect(&error, PolicyErrorKind::Load, &[part]);
    }
    AvpEngine::new("policy-store-alias/shop").unwrap();
    store().endpoint_url("https://vpce-1.example.org").timeout(Duration::MAX).build().unwrap();
}

#[test]
fn secrets_are_shown_nowhere() {
    let fake = Fake::saying(|| answered("ALLOW", &["SP1"], &[]));
    let engine = fake.engine();
    ask(&engine, "a/b").unwrap();
    let shown = format!("{:?} {engine:?} {engine:#?}", fake.builder());
    for secret in [SECRET, TOKEN, "AKIDEXAMPLE"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains(STORE), "{shown}");
}

/// What a child process prints that runs this test binary with these variables alone.
fn child(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "in_a_child", "--nocapture"]).env_clear().env("KEST_TEST_CHILD", "1");
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", env::temp_dir().join("no-home"));
    let output = command.envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.split_once("child: ")).map(|(_, said)| said.to_owned());
    line.unwrap_or_else(|| panic!("{text}"))
}

/// Says its piece only as the child of the test below.
#[test]
#[allow(clippy::print_stdout, reason = "the parent reads it")]
fn in_a_child() {
    if env::var_os("KEST_TEST_CHILD").is_none() {
        return;
    }
    match AvpEngine::from_env().and_then(|engine| ask(&engine, "a/b")) {
        Ok(decision) => println!("child: {decision:?}"),
        Err(error) => println!("child: {:?}: {error}", error.kind()),
    }
}

#[test]
fn the_environment_says_everything() {
    let fake = Fake::saying(|| answered("ALLOW", &["SP1"], &[]));
    let url = fake.url();
    let all = [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_ENDPOINT_URL", &*url),
        ("KEST_AVP_POLICY_STORE_ID", "PSOTHER"),
    ];
    // A proxy is not asked what this machine can answer.
    let proxied =
        [&all[..], &[("HTTP_PROXY", "http://127.0.0.1:1"), ("http_proxy", "http://127.0.0.1:1")]].concat();
    for variables in [&all[..], &proxied] {
        let said = child(variables);
        assert!(said.starts_with("Allow"), "{said}");
    }
    assert_eq!(fake.bodies("isauthorized")[0]["policyStoreId"], "PSOTHER");
    let with = |name: &'static str, value: &'static str| {
        let others = all.iter().copied().filter(|(known, _)| *known != name);
        child(&others.chain((!value.is_empty()).then_some((name, value))).collect::<Vec<_>>())
    };
    for (name, value, kind, part) in [
        ("KEST_AVP_POLICY_STORE_ID", "", "Load", "`KEST_AVP_POLICY_STORE_ID`"),
        ("KEST_AVP_POLICY_STORE_ID", " ", "Load", "is set but empty"),
        ("AWS_REGION", "", "Load", "`AWS_REGION`"),
        ("AWS_ACCESS_KEY_ID", "", "Refused", "no AWS credentials"),
        ("AWS_ENDPOINT_URL", "http://avp.example.org", "Load", "`AWS_ENDPOINT_URL`"),
        (
            "AWS_ENDPOINT_URL_VERIFIEDPERMISSIONS",
            "http://avp.example.org",
            "Load",
            "`AWS_ENDPOINT_URL_VERIFIEDPERMISSIONS`",
        ),
        ("AWS_ENDPOINT_URL_STS", "http://sts.example.org", "Load", "`AWS_ENDPOINT_URL_STS`"),
    ] {
        let said = with(name, value);
        assert!(said.starts_with(&format!("{kind}: ")) && said.contains(part), "{name}={value}: {said}");
    }
}
