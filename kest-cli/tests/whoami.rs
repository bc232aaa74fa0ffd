//! `kest whoami`: which identity a process has, why, and what stands in its way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![cfg_attr(
    not(all(feature = "aws", feature = "bedrock", feature = "oidc", feature = "spire")),
    allow(dead_code, unused_imports, reason = "some tests are of one feature")
)]

#[path = "support/platform.rs"]
mod platform;
mod support;

use std::net::TcpListener;

use platform::{Aws, CALLER, Issuer, SECRET};
use serde_json::{Value, json};
use support::{Run, folder, kest};

const WHOAMI: [&str; 1] = ["whoami"];
const WHOAMI_JSON: [&str; 2] = ["whoami", "--json"];

fn run(args: &[&str], environment: &[(&str, &str)]) -> Run {
    kest(args).envs(environment.iter().copied()).output().unwrap().into()
}

/// The command says of every probe what is expected, in order.
fn probes(json: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let probes = json["probes"].as_array().unwrap().iter();
    probes.map(|probe| (text(&probe["provider"]), text(&probe["outcome"]))).collect()
}

fn with(which: &str, outcome: &str) -> Vec<(String, String)> {
    let all = ["spire", "bedrock", "aws", "oidc", "local"];
    let outcome = |name| if name == which { outcome } else { "passed over" };
    all.map(|name| (name.to_owned(), outcome(name).to_owned())).to_vec()
}

/// Exit code 1, in both forms, with the cause; nothing is taken in its place.
fn refused(which: &str, environment: &[(&str, &str)], causes: &[&str]) {
    let run_json = run(&WHOAMI_JSON, environment);
    assert_eq!((run_json.code, run_json.stderr.as_str()), (1, ""), "{}", run_json.stdout);
    let json = run_json.json();
    assert_eq!(probes(&json), with(which, "unusable"), "{json}");
    assert_eq!(json["identity"], Value::Null);
    let text = run(&WHOAMI, environment);
    assert_eq!((text.code, text.stderr.as_str()), (1, ""), "{}", text.stdout);
    assert!(text.stdout.contains("no identity: "), "{}", text.stdout);
    for cause in causes {
        assert!(json["failure"].as_str().unwrap().contains(cause), "{cause}: {json}");
        assert!(text.stdout.contains(cause), "{cause}: {}", text.stdout);
    }
}

#[test]
fn without_a_signal_the_key_is_local() {
    let run_text = run(&WHOAMI, &[]);
    assert_eq!((run_text.code, run_text.stderr.as_str()), (0, ""), "{}", run_text.stdout);
    let lines: Vec<&str> = run_text.stdout.lines().collect();
    assert_eq!(lines[0], "spire    passed over  `SPIFFE_ENDPOINT_SOCKET` is not set");
    assert_eq!(lines[4], "local    taken        no other identity is set up; for development");
    assert_eq!(*lines.last().unwrap(), "spiffe://kest.internal/local-workload");

    let run = run(&WHOAMI_JSON, &[]);
    let json = run.json();
    assert_eq!(probes(&json), with("local", "taken"));
    assert_eq!(json["failure"], Value::Null);
    assert_eq!(
        json["identity"],
        json!({
            "provider": "local", "type": "LocalEd25519Provider",
            "workload_id": "spiffe://kest.internal/local-workload", "oidc": null,
            "keys": [{"alg": "EdDSA", "kid": null}], "expires_at_ms": null,
        })
    );
}

#[test]
fn every_signal_that_cannot_be_used_is_named() {
    refused("spire", &[("SPIFFE_ENDPOINT_SOCKET", "")], &["`SPIFFE_ENDPOINT_SOCKET` is set and empty"]);
    refused("bedrock", &[("AWS_BEDROCK_AGENT_ID", "")], &["`AWS_BEDROCK_AGENT_ID` is set and empty"]);
    refused(
        "aws",
        &[("AWS_ROLE_ARN", "arn:aws:iam::1:role/r")],
        &["`AWS_ROLE_ARN`", "`KEST_AWS_KMS_KEY_ID`"],
    );
    refused("aws", &[("AWS_EXECUTION_ENV", "AWS_ECS_FARGATE")], &["`AWS_EXECUTION_ENV`", "`KEST_IDENTITY`"]);
    refused("oidc", &[("KEST_OIDC_TOKEN_PATH", "/nowhere/token")], &["`/nowhere/token`"]);
    refused("local", &[("KEST_ENV", "production")], &["`KEST_ENV`", "`SPIFFE_ENDPOINT_SOCKET`"]);
    refused("aws", &[("KEST_IDENTITY", "aws")], &["`KEST_IDENTITY` is `aws`", "`KEST_AWS_KMS_KEY_ID`"]);
}

#[test]
fn a_name_that_is_none_takes_nothing() {
    let run = run(&WHOAMI_JSON, &[("KEST_IDENTITY", "spiffe\u{1b}[31m")]);
    assert_eq!(run.code, 1);
    let json = run.json();
    assert_eq!(probes(&json), with("none of them", ""));
    assert!(
        json["failure"].as_str().unwrap().ends_with("`spire`, `bedrock`, `aws`, `oidc`, `local`"),
        "{json}"
    );
    assert!(!run.stdout.contains('\u{1b}'));
}

#[cfg(feature = "spire")]
#[test]
fn a_malformed_socket_address_is_an_error() {
    for address in ["agent.sock", "http://127.0.0.1:1", "tcp://localhost:8081", "unix://"] {
        refused("spire", &[("SPIFFE_ENDPOINT_SOCKET", address)], &["`SPIFFE_ENDPOINT_SOCKET`"]);
    }
}

#[cfg(feature = "bedrock")]
#[test]
fn a_malformed_agent_id_is_an_error() {
    refused("bedrock", &[("AWS_BEDROCK_AGENT_ID", "no agent/id")], &["`AWS_BEDROCK_AGENT_ID`"]);
}

#[cfg(not(any(feature = "spire", feature = "bedrock", feature = "aws", feature = "oidc")))]
#[test]
fn a_provider_that_is_not_compiled_is_an_error_that_names_the_feature() {
    let token = folder().join("token");
    std::fs::write(&token, "token").unwrap();
    let token = ("KEST_OIDC_TOKEN_PATH", token.to_str().unwrap());
    refused("spire", &[("SPIFFE_ENDPOINT_SOCKET", "unix:///agent.sock")], &["cargo feature `spire`"]);
    refused("bedrock", &[("AWS_BEDROCK_AGENT_ID", "ABCDEFGHIJ")], &["cargo feature `bedrock`"]);
    refused("aws", &[("AWS_ROLE_ARN", "r"), ("KEST_AWS_KMS_KEY_ID", "k")], &["cargo feature `aws`"]);
    refused("oidc", &[token], &["cargo feature `oidc`"]);
}

/// The probe takes it, and then the platform gives no identity.
fn unanswered(which: &str, run: &Run, cause: &str) {
    assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{}", run.stdout);
    let json = run.json();
    assert_eq!(probes(&json), with(which, "taken"), "{json}");
    assert_eq!(json["identity"], Value::Null);
    assert!(json["failure"].as_str().unwrap().contains(cause), "{json}");
}

#[cfg(feature = "spire")]
#[test]
fn an_agent_that_is_not_there_or_does_not_answer_is_an_error() {
    let socket = folder().join("nobody.sock");
    unanswered(
        "spire",
        &run(&WHOAMI_JSON, &[("SPIFFE_ENDPOINT_SOCKET", &format!("unix://{}", socket.display()))]),
        "nobody.sock",
    );
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", silent.local_addr().unwrap());
    unanswered(
        "spire",
        &run(&WHOAMI_JSON, &[("SPIFFE_ENDPOINT_SOCKET", &address)]),
        "did not answer in time",
    );
}

#[cfg(feature = "aws")]
#[test]
fn aws_tells_who_calls() {
    let aws = Aws::new();
    let signals =
        [("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/orders"), ("KEST_AWS_KMS_KEY_ID", "alias/orders")];
    let run = aws.run(&WHOAMI_JSON, &signals);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    let json = run.json();
    assert_eq!(probes(&json), with("aws", "taken"));
    assert_eq!(
        json["identity"],
        json!({
            "provider": "aws", "type": "AwsWorkloadIdentity", "workload_id": CALLER, "oidc": null,
            "keys": [{"alg": "EdDSA", "kid": aws.key.thumbprint()}], "expires_at_ms": null,
        })
    );
    let text = aws.run(&WHOAMI, &signals).stdout;
    assert!(text.contains(&format!("key      EdDSA, kid {}\n", aws.key.thumbprint())), "{text}");
    assert!(text.ends_with(&format!("{CALLER}\n")), "{text}");
    for secret in [SECRET, "PublicKey", &aws.key.to_json()["x"].to_string()] {
        assert!(!run.stdout.contains(secret) && !text.contains(secret), "{text}");
    }
    // Outside of what AWS marks, the name alone is enough.
    let named = aws.run(&WHOAMI_JSON, &[("KEST_IDENTITY", "aws"), ("KEST_AWS_KMS_KEY_ID", "alias/orders")]);
    assert_eq!(named.json()["identity"]["workload_id"], CALLER);
}

#[cfg(feature = "aws")]
#[test]
fn aws_that_cannot_be_reached_is_an_error() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = kest(&WHOAMI_JSON);
    command
        .env("AWS_ENDPOINT_URL", format!("http://{closed}"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_REGION", "eu-north-1")
        .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_EXECUTION_ENV", "AWS_ECS_FARGATE")
        .env("KEST_AWS_KMS_KEY_ID", "alias/orders");
    let run = Run::from(command.output().unwrap());
    unanswered("aws", &run, "");
    assert!(!run.stdout.contains(SECRET), "{}", run.stdout);
}

#[cfg(feature = "bedrock")]
#[test]
fn bedrock_goes_before_aws() {
    let aws = Aws::new();
    let signals = [
        ("AWS_BEDROCK_AGENT_ID", "ABCDEFGHIJ"),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/orders"),
        ("KEST_AWS_KMS_KEY_ID", "alias/orders"),
    ];
    let run = aws.run(&WHOAMI_JSON, &signals);
    assert_eq!(run.code, 0, "{}", run.stdout);
    let json = run.json();
    assert_eq!(probes(&json), with("bedrock", "taken"));
    assert_eq!(json["probes"][2]["reason"], "`AWS_ROLE_ARN` is set, but `bedrock` comes first");
    assert_eq!(json["identity"]["workload_id"], "arn:aws:bedrock:eu-north-1:123456789012:agent/ABCDEFGHIJ");
}

#[cfg(feature = "oidc")]
#[test]
fn a_token_tells_whose_it_is() {
    let issuer = Issuer::new(&folder());
    let signals = [("KEST_OIDC_TOKEN_PATH", issuer.path.to_str().unwrap())];
    let run_json = run(&WHOAMI_JSON, &signals);
    assert_eq!((run_json.code, run_json.stderr.as_str()), (0, ""), "{}", run_json.stdout);
    let json = run_json.json();
    assert_eq!(probes(&json), with("oidc", "taken"));
    let identity = &json["identity"];
    let subject = "repo:example/orders:ref:refs/heads/main";
    assert_eq!(identity["workload_id"], subject);
    assert_eq!(identity["oidc"], json!({"iss": issuer.issuer, "sub": subject}));
    assert_eq!(identity["keys"], json!([{"alg": "EdDSA", "kid": null}]));
    assert!(identity["expires_at_ms"].as_u64().unwrap() > 1_700_000_000_000, "{identity}");
    let text = run(&WHOAMI, &signals).stdout;
    assert!(text.contains("expires  in 59 minutes\n") || text.contains("expires  in 60 minutes\n"), "{text}");
    for part in issuer.token.split('.') {
        assert!(!run_json.stdout.contains(part) && !text.contains(part), "{text}");
    }

    // A token that proves nothing is no identity, and does not appear either.
    std::fs::write(&issuer.path, issuer.token.replacen('.', ".AAAA", 1)).unwrap();
    let run = run(&WHOAMI_JSON, &signals);
    unanswered("oidc", &run, "");
    for part in issuer.token.split('.') {
        assert!(!run.stdout.contains(part), "{}", run.stdout);
    }
}

#[test]
fn an_argument_too_many_is_a_usage_error() {
    run(&["whoami", "local"], &[]).unusable("unexpected argument");
}

#[test]
fn colours_are_for_those_who_want_them() {
    let plain = run(&WHOAMI, &[]).stdout;
    let coloured = run(&["whoami", "--color", "always"], &[]).stdout;
    assert!(!plain.contains('\u{1b}') && coloured.contains("\u{1b}[32mtaken"), "{coloured}");
}
