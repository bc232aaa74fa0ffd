//! TLS and tokens.

use std::fs;
use std::time::Duration;

use kest::error::PolicyErrorKind;
use kest::policy::{OpaEngine, PolicyEngine};
use kest_lab::{Folder, Lab, Opa, Verdict, ask, wait_for};

use crate::{PATIENT, builder, gate, score, together};

const TOKEN: &str = "opa-7f2c51e0-secret";

#[test]
fn only_a_trusted_server_is_asked_and_only_a_known_token_is_answered() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    let folder = Folder::new();
    gate(&folder.sub("policies"), 40);
    let opa = Opa::start_guarded(&lab, &folder.sub("policies"), TOKEN);
    let trusting = || builder(&opa).root_certificates_pem(opa.certificate().as_bytes());

    let known = trusting().bearer_token(TOKEN).build().unwrap();
    assert_eq!(Verdict::from(&ask(&known, "gate/score", &score(40))), Verdict::Allow);
    assert_eq!(Verdict::from(&ask(&known, "gate/score", &score(39))), Verdict::Deny);
    assert!(!format!("{known:?}").contains(TOKEN));

    let wrong = format!("{TOKEN}x");
    fails(&trusting().bearer_token(&wrong).build().unwrap(), PolicyErrorKind::Refused, &wrong);
    fails(&trusting().build().unwrap(), PolicyErrorKind::Refused, TOKEN);

    // Nobody vouches for it, or somebody else does: then it gets no token either.
    fails(&builder(&opa).bearer_token(TOKEN).build().unwrap(), PolicyErrorKind::Connection, TOKEN);
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem();
    let misled = builder(&opa).root_certificates_pem(other.as_bytes()).bearer_token(TOKEN).build().unwrap();
    fails(&misled, PolicyErrorKind::Connection, TOKEN);

    // Its port does not speak plain HTTP.
    let plain = OpaEngine::builder().url(opa.url().replace("https", "http")).timeout(PATIENT);
    let error = ask(&plain.bearer_token(TOKEN).build().unwrap(), "gate/score", &score(100)).unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::Status, "{error}");
}

#[test]
fn a_token_that_is_replaced_in_its_file_is_the_next_one_sent() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    let folder = Folder::new();
    gate(&folder.sub("policies"), 40);
    let opa = Opa::start_guarded(&lab, &folder.sub("policies"), TOKEN);
    let file = folder.path().join("token");
    fs::write(&file, "yesterday").unwrap();
    let engine = builder(&opa)
        .root_certificates_pem(opa.certificate().as_bytes())
        .bearer_token_file(&file)
        .build()
        .unwrap();
    fails(&engine, PolicyErrorKind::Refused, "yesterday");
    let new = folder.path().join("token.new");
    fs::write(&new, format!("{TOKEN}\n")).unwrap();
    fs::rename(&new, &file).unwrap();
    wait_for("the new token", Duration::from_secs(10), || ask(&engine, "gate/score", &score(40)).ok());
}

/// The answer is that error, and says nothing of the token.
fn fails(engine: &dyn PolicyEngine, kind: PolicyErrorKind, token: &str) {
    let error = ask(engine, "gate/score", &score(100)).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let told = format!("{error} {error:?} {engine:?}");
    assert!(!told.contains(token), "{told}");
}
