//! `kest keys export`: what verifiers need, and which keys are nobody's to export.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![cfg_attr(
    not(all(feature = "aws", feature = "bedrock", feature = "oidc", feature = "spire")),
    allow(dead_code, unused_imports, reason = "some tests are of one feature")
)]

#[path = "support/platform.rs"]
mod platform;
mod support;

use std::fs;

use kest_core::verify::Anchors;
use platform::{Aws, CALLER, Issuer};
use serde_json::{Value, json};
use support::{Run, folder, kest};

const EXPORT: [&str; 2] = ["keys", "export"];
const KEY: [(&str, &str); 2] = [("KEST_IDENTITY", "aws"), ("KEST_AWS_KMS_KEY_ID", "alias/orders")];

fn run(args: &[&str], environment: &[(&str, &str)]) -> Run {
    kest(args).envs(environment.iter().copied()).output().unwrap().into()
}

fn export(more: &[&str], environment: &[(&str, &str)]) -> Run {
    run(&[&EXPORT[..], more].concat(), environment)
}

/// Exit code 1: nothing on standard output, and the cause on standard error.
fn refused(run: &Run, cause: &str) {
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{}", run.stderr);
    assert!(run.stderr.starts_with("kest: ") && run.stderr.contains(cause), "{}", run.stderr);
}

#[test]
fn a_key_of_another_process_is_not_exported() {
    for format in [&[][..], &["--format", "anchors"], &["--format", "jwks"], &["--format", "pem"]] {
        refused(&export(format, &[]), "`Anchors::from_provider`");
    }
}

#[cfg(feature = "oidc")]
#[test]
fn nor_is_that_of_a_token() {
    let issuer = Issuer::new(&folder());
    let signal = [("KEST_OIDC_TOKEN_PATH", issuer.path.to_str().unwrap())];
    refused(&export(&[], &signal), "`Anchors::from_provider`");
}

#[test]
fn without_an_identity_there_are_no_keys() {
    refused(&export(&[], &[("AWS_ROLE_ARN", "r")]), "`KEST_AWS_KMS_KEY_ID`");
    refused(&export(&[], &[("KEST_IDENTITY", "x")]), "`KEST_IDENTITY`");
    refused(&export(&[], &[("KEST_ENV", "production")]), "`KEST_ENV`");
}

#[cfg(feature = "aws")]
#[test]
fn the_key_of_a_kms_is_exported_in_every_form() {
    let aws = Aws::new();
    let export = |more: &[&str]| {
        let run = aws.run(&[&EXPORT[..], more].concat(), &KEY);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
        run
    };
    let anchors = export(&[]);
    assert_eq!(anchors.stdout, export(&["--format", "anchors"]).stdout);
    assert_eq!(anchors.json(), json!({CALLER: {"keys": [aws.key.to_json()]}}));
    let read = Anchors::from_json(anchors.stdout.as_bytes()).unwrap();
    assert_eq!(read.principals().collect::<Vec<_>>(), [CALLER]);
    assert_eq!(export(&["--format", "jwks"]).json(), json!({"keys": [aws.key.to_json()]}));
    assert_eq!(export(&["--format", "pem"]).stdout, aws.key.to_pem().unwrap());
    refused(&aws.run(&["keys", "export", "--format", "bundle"], &KEY), "no trust bundle");
}

#[cfg(feature = "bedrock")]
#[test]
fn the_key_of_an_agent_is_anchored_under_the_agent() {
    let run = Aws::new().run(&EXPORT, &[("AWS_BEDROCK_AGENT_ID", "ABCDEFGHIJ")]);
    let json = run.json();
    let agent = "arn:aws:bedrock:eu-north-1:123456789012:agent/ABCDEFGHIJ";
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), [agent]);
}

#[cfg(feature = "spire")]
#[test]
fn a_key_that_rotates_is_not_exported() {
    let socket = [("SPIFFE_ENDPOINT_SOCKET", "unix:///nowhere/agent.sock")];
    for format in ["anchors", "jwks", "pem"] {
        refused(&export(&["--format", format], &socket), "leave --format out");
    }
    refused(&export(&[], &socket), "/nowhere/agent.sock");
}

#[cfg(feature = "aws")]
#[test]
fn a_file_is_written_whole_and_never_over_another_one_unasked() {
    let aws = Aws::new();
    let folder = folder();
    let path = folder.join("anchors.json");
    let file = path.to_str().unwrap();
    let export = |more: &[&str]| aws.run(&[&EXPORT[..], &["--output", file], more].concat(), &KEY);
    let first = export(&[]);
    assert_eq!((first.code, first.stdout.as_str(), first.stderr.as_str()), (0, "", ""));
    let written = fs::read(&path).unwrap();
    assert!(serde_json::from_slice::<Value>(&written).unwrap()[CALLER].is_object());

    export(&["--format", "pem"]).unusable("exists already; --force replaces it");
    assert_eq!(fs::read(&path).unwrap(), written);
    assert_eq!(export(&["--format", "pem", "--force"]).code, 0);
    assert!(fs::read_to_string(&path).unwrap().starts_with("-----BEGIN PUBLIC KEY-----"));

    aws.run(&["keys", "export", "--output", "/nowhere/anchors.json"], &KEY).unusable("/nowhere/anchors.json");
    aws.run(&["keys", "export", "--output", ".."], &KEY).unusable("names no file");
    let folder_name = folder.to_str().unwrap();
    aws.run(&["keys", "export", "--output", folder_name], &KEY).unusable("exists already");
    aws.run(&["keys", "export", "--force", "--output", folder_name], &KEY).unusable("cannot write");
    // As elsewhere, `-` is no file.
    let piped = aws.run(&["keys", "export", "--output", "-"], &KEY);
    assert_eq!((piped.code, piped.stdout.as_bytes()), (0, written.as_slice()), "{}", piped.stderr);
    assert!(!support::vectors().join("-").exists());
    // Nothing half-written is left behind.
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["anchors.json"]);
}

#[cfg(feature = "aws")]
#[test]
fn what_cannot_be_exported_leaves_the_file_as_it_was() {
    let path = folder().join("anchors.json");
    fs::write(&path, "mine").unwrap();
    refused(&export(&["--force", "--output", path.to_str().unwrap()], &[]), "`Anchors::from_provider`");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn wrong_arguments_are_usage_errors() {
    run(&["keys"], &[]).unusable("Usage");
    export(&["--force"], &[]).unusable("--output");
    export(&["--format", "der"], &[]).unusable("invalid value");
}
