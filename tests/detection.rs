//! A `Kest` without an identity: what the platform gives, or the identity around it, or nothing runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::env;
use std::error::Error as _;
use std::process::Command;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use kest::config::Config;
use kest::error::{ConfigurationErrorKind, IdentityError, IdentityErrorKind, PolicyUnavailable};
use kest::identity::{BoxFuture, IdentityProvider, LocalEd25519Provider};
use kest::jws::Jws;
use kest::keys::Jwks;
use kest::policy::{Decision, MockPolicyEngine, PolicyEngine, PolicyRequest};
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
        // Clones made before stay as they are, and in their scopes the global one signs: one process, one key.
        assert!(earlier.identity().is_none());
        let scope = earlier.enter();
        let in_scope = kest::get_active_identity().unwrap();
        assert_eq!(in_scope.public_keys().unwrap(), identity.public_keys().unwrap());
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
fn who_comes_second_is_left_with_nothing() {
    alone("who_comes_second_is_left_with_nothing", &[], || {
        let kests = [nameless(), nameless()];
        let start = Barrier::new(2);
        let outcomes = thread::scope(|threads| {
            let configure = |kest: &Kest| {
                start.wait();
                kest::configure(kest.clone())
            };
            let running = kests.each_ref().map(|kest| threads.spawn(move || configure(kest)));
            running.map(|thread| thread.join().unwrap())
        });
        let errors: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].kind(), ConfigurationErrorKind::AlreadyConfigured);
        assert!(kests.iter().all(|kest| kest.identity().is_none()), "{kests:?}");
    });
}

#[test]
fn a_running_scope_keeps_the_identity_around_it() {
    alone("a_running_scope_keeps_the_identity_around_it", &[], || {
        let outer = kest(&workload("outer"), MockPolicyEngine::allow());
        let around = outer.enter();
        let nameless = nameless();
        {
            let _inner = nameless.enter();
            kest::configure(nameless.clone()).unwrap();
            kest::reconfigure(nameless.clone()).unwrap();
            protected().unwrap();
        }
        assert_eq!(payloads(&around.passport())[0]["labels"]["principal"], "spiffe://kest.internal/outer");
    });
}

#[test]
fn a_kest_with_an_identity_is_another_handle_of_the_same() {
    let engine = Counting::default();
    let asked = Arc::clone(&engine.0);
    let config = Config::parse("[policies]\nenterprise = [\"org/all\"]").unwrap();
    let nameless = Kest::builder().engine(engine).config(config).build().unwrap();
    let first = nameless.with_identity(workload("first"));
    let second = first.with_identity(workload("second"));
    let name = |kest: &Kest| kest.identity().map(|identity| identity.workload_id().unwrap().to_string());
    assert_eq!(name(&nameless), None);
    assert_eq!(name(&first).unwrap(), "spiffe://kest.internal/first");
    let outer = first.enter();
    {
        let _inner = second.enter();
        let _innermost = nameless.enter();
        protected().unwrap();
    }
    let entry = &payloads(&outer.passport())[0];
    assert_eq!(entry["labels"]["principal"], "spiffe://kest.internal/second");
    // The three have one tier between them, and it is asked once.
    assert_eq!(entry["policy_context"]["enterprise_policies"], serde_json::json!(["org/all"]));
    assert_eq!(*asked.lock().unwrap(), ["org/all", "kest"]);
}

/// Allows everything, and writes down what.
#[derive(Debug, Default)]
struct Counting(Arc<Mutex<Vec<String>>>);

impl PolicyEngine for Counting {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        self.0.lock().unwrap().push(request.policy.to_owned());
        MockPolicyEngine::allow().evaluate(request)
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        Box::pin(async { self.evaluate(request) })
    }
}

/// While it is waited for, another `Kest` becomes the global one.
#[derive(Debug)]
struct Overtaken(Arc<LocalEd25519Provider>);

impl IdentityProvider for Overtaken {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        self.0.workload_id()
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        self.0.sign(payload)
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        self.0.sign_async(payload)
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        self.0.public_keys()
    }

    fn ready(&self) -> Option<BoxFuture<'_, Result<(), IdentityError>>> {
        Some(Box::pin(async {
            kest::reconfigure(kest(&workload("late"), MockPolicyEngine::allow())).unwrap();
            Ok(())
        }))
    }
}

#[test]
fn who_was_waited_for_is_who_signs() {
    #[kest_verified(policy = "kest", source_type = "system")]
    async fn protected() -> Result<(), Error> {
        Ok(())
    }
    alone("who_was_waited_for_is_who_signs", &[], || {
        let global = Kest::builder()
            .identity(Overtaken(workload("awaited")))
            .engine(MockPolicyEngine::allow())
            .without_config();
        kest::configure(global.build().unwrap()).unwrap();
        let scope = nameless().enter();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(protected()).unwrap();
        let principal = &payloads(&scope.passport())[0]["labels"]["principal"];
        assert_eq!(principal, "spiffe://kest.internal/awaited");
        let active = kest::get_active_identity().unwrap();
        assert_eq!(&*active.workload_id().unwrap(), "spiffe://kest.internal/late");
    });
}

#[test]
fn a_name_chooses() {
    alone("a_name_chooses", &[("KEST_IDENTITY", "local"), ("AWS_ROLE_ARN", "x")], || {
        let first = kest::get_default_identity().unwrap();
        assert_eq!(first.workload_id().unwrap(), LocalEd25519Provider::new().unwrap().workload_id().unwrap());
    });
}
