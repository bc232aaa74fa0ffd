//! A `Kest` without an identity: what the platform gives, or the identity around it, or nothing runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::env;
use std::error::Error as _;
use std::process::Command;

use kest::error::{ConfigurationErrorKind, IdentityError, IdentityErrorKind};
use kest::identity::{IdentityProvider as _, LocalEd25519Provider};
use kest::policy::MockPolicyEngine;
use kest::{Error, Kest, kest_verified};
use kest_tests::{kest, payloads, workload};

#[kest_verified(policy = "kest", source_type = "system")]
fn protected() -> Result<&'static str, Error> {
    Ok("the body ran")
}

fn nameless() -> Kest {
    Kest::builder().engine(MockPolicyEngine::allow()).without_config().build().unwrap()
}

/// Runs `body` in a process of its own, under the environment: a process has one, and one global `Kest`.
fn alone(test: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    const CHILD: &str = "KEST_TESTS_CHILD";
    if env::var_os(CHILD).is_some() {
        return body();
    }
    let mut command = Command::new(env::current_exe().unwrap());
    for signal in [
        "AWS_BEDROCK_AGENT_ID",
        "AWS_EXECUTION_ENV",
        "AWS_ROLE_ARN",
        "KEST_AWS_KMS_KEY_ID",
        "KEST_ENV",
        "KEST_IDENTITY",
        "KEST_OIDC_TOKEN_PATH",
        "SPIFFE_ENDPOINT_SOCKET",
    ] {
        command.env_remove(signal);
    }
    command.args([test, "--exact", "--nocapture"]).env(CHILD, "1").envs(environment.iter().copied());
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
}

#[test]
fn configure_takes_what_the_platform_gives() {
    alone("configure_takes_what_the_platform_gives", &[], || {
        let kest = nameless();
        let earlier = kest.clone();
        assert!(kest.identity().is_none());
        kest::configure(kest).unwrap();
        let identity = kest::get_active_identity().unwrap();
        assert_eq!(&*identity.workload_id().unwrap(), "spiffe://kest.internal/local-workload");
        // Clones made before have it too: one process, one key.
        let of_clone = earlier.identity().unwrap().public_keys().unwrap();
        assert_eq!(of_clone, identity.public_keys().unwrap());
        let scope = earlier.enter();
        assert_eq!(protected().unwrap(), "the body ran");
        let principal = &payloads(&scope.passport())[0]["labels"]["principal"];
        assert_eq!(principal, "spiffe://kest.internal/local-workload");
    });
}

#[test]
fn a_signal_that_cannot_be_used_is_an_error_of_configure() {
    let role = [("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/orders")];
    alone("a_signal_that_cannot_be_used_is_an_error_of_configure", &role, || {
        let error = kest::configure(nameless()).unwrap_err();
        assert_eq!(error.kind(), ConfigurationErrorKind::MissingIdentity);
        assert!(error.to_string().contains("`KEST_AWS_KMS_KEY_ID`"), "{error}");
        let cause = error.source().unwrap().downcast_ref::<IdentityError>().unwrap();
        assert_eq!(cause.kind(), IdentityErrorKind::Missing);
        assert!(kest::global().is_none());
        kest::get_default_identity().unwrap_err();
        assert!(protected().is_err());

        // An identity that is named is not looked for.
        kest::configure(kest(&workload("named"), MockPolicyEngine::allow())).unwrap();
        // What is set stays when what should replace it has no identity.
        let error = kest::reconfigure(nameless()).unwrap_err();
        assert_eq!(error.kind(), ConfigurationErrorKind::MissingIdentity);
        let active = || kest::get_active_identity().unwrap().workload_id().unwrap();
        assert_eq!(&*active(), "spiffe://kest.internal/named");
        // Whoever comes second is told that, and nothing else.
        let error = kest::configure(nameless()).unwrap_err();
        assert_eq!(error.kind(), ConfigurationErrorKind::AlreadyConfigured);
        protected().unwrap();
    });
}

#[test]
fn production_takes_no_key_of_the_process() {
    alone("production_takes_no_key_of_the_process", &[("KEST_ENV", "production")], || {
        let error = kest::configure(nameless()).unwrap_err();
        let cause = error.source().unwrap().downcast_ref::<IdentityError>().unwrap();
        assert_eq!(cause.kind(), IdentityErrorKind::Refused);
        assert!(cause.to_string().contains("`SPIFFE_ENDPOINT_SOCKET`"), "{cause}");
    });
}

#[test]
fn a_scope_without_an_identity_signs_with_the_one_around_it() {
    let outer = kest(&workload("outer"), MockPolicyEngine::allow());
    let around = outer.enter();
    {
        let _inner = nameless().enter();
        let active = kest::get_active_identity().unwrap();
        assert_eq!(&*active.workload_id().unwrap(), "spiffe://kest.internal/outer");
        protected().unwrap();
    }
    assert_eq!(payloads(&around.passport())[0]["labels"]["principal"], "spiffe://kest.internal/outer");
}

#[test]
fn without_an_identity_nothing_runs() {
    #[kest_verified(policy = "kest", source_type = "system")]
    fn unreachable() -> Result<(), Error> {
        panic!("the body ran")
    }
    alone("without_an_identity_nothing_runs", &[], || {
        let kest = nameless();
        let scope = kest.enter();
        assert!(kest::get_active_identity().is_none());
        let Error::Configuration(error) = unreachable().unwrap_err() else { panic!("another error") };
        assert_eq!(error.kind(), ConfigurationErrorKind::MissingIdentity);
        assert!(error.to_string().contains("kest::configure"), "{error}");
        assert!(scope.passport().entries().is_empty());
    });
}

#[test]
fn a_factory_that_fails_leaves_the_kest_as_it_was() {
    let kest = nameless();
    let error = kest.identity_or_try_init(|| Err(IdentityError::new(IdentityErrorKind::Missing, "none")));
    assert_eq!(error.unwrap_err().to_string(), "none");
    assert!(kest.identity().is_none());
    let made = kest.identity_or_try_init(|| Ok(workload("first"))).unwrap();
    assert_eq!(&*made.workload_id().unwrap(), "spiffe://kest.internal/first");
    let kept = kest.identity_or_try_init(|| panic!("there is one already")).unwrap();
    assert_eq!(&*kept.workload_id().unwrap(), "spiffe://kest.internal/first");
}

#[test]
fn a_name_chooses() {
    alone("a_name_chooses", &[("KEST_IDENTITY", "local"), ("AWS_ROLE_ARN", "x")], || {
        let first = kest::get_default_identity().unwrap();
        assert_eq!(first.workload_id().unwrap(), LocalEd25519Provider::new().unwrap().workload_id().unwrap());
    });
}
