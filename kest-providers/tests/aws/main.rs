//! Identities of AWS against a server that answers as STS and KMS do.
#![cfg(feature = "bedrock")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod failures;
mod fake;
mod log;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::{env, process, thread};

use self::fake::{CALLER, Fake, KEY_ARN, Key, SECRET, TOKEN, credentials, kms_error, sts_error};
use kest_core::error::IdentityErrorKind;
use kest_core::identity::IdentityProvider;
use kest_core::jws::Algorithm;
use kest_providers::conformance::identity::run_with;
use kest_providers::identity::{AwsWorkloadIdentity, BedrockAgentIdentity, IdentityProviderExt};
use tokio::runtime::Builder;

fn kms(key: Key) -> Fake {
    Fake::start(move |request| key.answer(request))
}

#[test]
fn every_kind_of_key_conforms() {
    for (key, pss, algorithm) in [
        (Key::p256(), false, Algorithm::Es256),
        (Key::p384(), false, Algorithm::Es384),
        (Key::rsa(), false, Algorithm::Rs256),
        (Key::rsa(), true, Algorithm::Ps256),
    ] {
        let fake = kms(key);
        let builder = if pss { fake.identity().rsa_pss() } else { fake.identity() };
        let identity = builder.build().unwrap();
        run_with(&identity, 32).unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        assert_eq!(identity.public_keys().unwrap().0[0].algorithm(), Some(algorithm));
        assert_eq!(&*identity.workload_id().unwrap(), CALLER);
    }
}

#[test]
fn an_ed25519_key_signs_what_kms_takes() {
    let fake = kms(Key::ed25519());
    let identity = fake.identity().build().unwrap();
    let public = *identity.public_keys().unwrap().0[0].as_ed25519().unwrap();
    let public = ed25519_dalek::VerifyingKey::from_bytes(&public).unwrap();
    let signed = |payload: &[u8]| {
        let jws = identity.sign(payload)?;
        let (input, signature) = jws.as_str().rsplit_once('.').unwrap();
        let signature = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(signature).unwrap();
        let signature = ed25519_dalek::Signature::from_slice(&signature).unwrap();
        public.verify_strict(input.as_bytes(), &signature).unwrap();
        Ok::<_, kest_core::error::IdentityError>(input.len())
    };
    let overhead = signed(b"").unwrap();
    let largest = (4_096 - overhead) * 3 / 4;
    assert!(signed(&vec![b'x'; largest]).unwrap() > 4_090);
    let error = signed(&vec![b'x'; largest + 2]).unwrap_err();
    assert_eq!(error.kind(), IdentityErrorKind::Signing);
    for part in ["4096", "`ECC_NIST_P256`", KEY_ARN] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(fake.count("Sign"), 2, "what is too large is not sent");
}

#[test]
fn only_a_digest_leaves() {
    let fake = kms(Key::p256());
    fake.identity().build().unwrap().sign(&vec![b'x'; 100_000]).unwrap();
    let body = &fake.bodies("Sign")[0];
    assert_eq!(body["MessageType"], "DIGEST");
    assert_eq!(base64_simd::STANDARD.decode_to_vec(body["Message"].as_str().unwrap()).unwrap().len(), 32);
}

#[test]
fn nothing_is_contacted_before_the_first_use() {
    let fake = kms(Key::p256());
    let identity = fake.identity().build().unwrap();
    assert!(identity.ready().is_some());
    assert!(format!("{identity:?}").contains("alias/signing"));
    assert_eq!(fake.count("GetCallerIdentity"), 0);
    identity.workload_id().unwrap();
    assert!(identity.ready().is_none());
    for _ in 0..3 {
        identity.workload_id().unwrap();
        identity.public_keys().unwrap();
        identity.sign(b"{}").unwrap();
    }
    assert_eq!((fake.count("GetCallerIdentity"), fake.count("GetPublicKey")), (1, 1));
    assert_eq!(fake.bodies("GetPublicKey")[0]["KeyId"], "alias/signing");
}

#[test]
fn fifty_first_uses_are_one() {
    let fake = kms(Key::p256());
    let identity = fake.identity().build().unwrap();
    let barrier = Barrier::new(50);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    thread::scope(|scope| {
        for turn in 0..50 {
            let (identity, barrier, runtime) = (&identity, &barrier, &runtime);
            scope.spawn(move || {
                barrier.wait();
                match turn % 3 {
                    0 => drop(identity.sign(b"{}").unwrap()),
                    1 => drop(runtime.block_on(identity.sign_async(b"{}")).unwrap()),
                    _ => drop(identity.workload_id().unwrap()),
                }
            });
        }
    });
    assert_eq!((fake.count("GetCallerIdentity"), fake.count("GetPublicKey")), (1, 1));
}

#[test]
fn a_failure_is_shared_by_those_who_wait_and_tried_again_by_the_next() {
    let (release, wait) = mpsc::channel::<()>();
    let (wait, key, broken) = (std::sync::Mutex::new(wait), Key::p256(), AtomicBool::new(true));
    let fake = Fake::start(move |request| {
        if request.action == "GetCallerIdentity" && broken.swap(false, Ordering::SeqCst) {
            wait.lock().unwrap().recv().unwrap();
            return sts_error(403, "AccessDenied");
        }
        key.answer(request)
    });
    let identity = fake.identity().build().unwrap();
    let started = AtomicUsize::new(0);
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let future = identity.initialize();
                    let runtime = Builder::new_current_thread().build().unwrap();
                    let mut future = std::pin::pin!(future);
                    // Joined to the attempt once it has been polled.
                    let mut told = false;
                    runtime.block_on(std::future::poll_fn(|context| {
                        let poll = future.as_mut().poll(context);
                        if !std::mem::replace(&mut told, true) {
                            started.fetch_add(1, Ordering::SeqCst);
                        }
                        poll
                    }))
                })
            })
            .collect();
        while started.load(Ordering::SeqCst) < 8 {
            thread::yield_now();
        }
        release.send(()).unwrap();
        for waiting in waiting {
            assert_eq!(waiting.join().unwrap().unwrap_err().kind(), IdentityErrorKind::Refused);
        }
    });
    assert_eq!(fake.count("GetCallerIdentity"), 1);
    assert_eq!(&*identity.workload_id().unwrap(), CALLER);
    assert_eq!(fake.count("GetCallerIdentity"), 2);
}

#[test]
fn an_abandoned_first_use_spoils_nothing() {
    let fake = kms(Key::p256());
    let identity = fake.identity().build().unwrap();
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut first = Box::pin(identity.initialize());
        std::future::poll_fn(|context| {
            let _ = first.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    });
    drop(runtime);
    identity.sign(b"{}").unwrap();
    assert_eq!(fake.count("GetCallerIdentity"), 1);
}

#[test]
fn works_from_every_run_time_and_outlives_it() {
    let fake = kms(Key::p256());
    let identity = Arc::new(fake.identity().build().unwrap());
    for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let runtime = builder.enable_all().build().unwrap();
        runtime.block_on(async {
            identity.sign(b"{\"sync\":1}").unwrap();
            identity.sign_async(b"{\"async\":1}").await.unwrap();
            identity.workload_id_async().await.unwrap();
        });
        let spawned = Arc::clone(&identity);
        runtime.block_on(runtime.spawn(async move { spawned.sign(b"{}").map(drop) })).unwrap().unwrap();
    }
    identity.sign(b"{}").unwrap();
    assert_eq!(fake.count("GetCallerIdentity"), 1);
}

#[test]
fn a_moved_alias_does_not_switch_the_key() {
    let (first, second, moved) = (Key::p256(), Key::p256(), Arc::new(AtomicBool::new(false)));
    let then = Arc::clone(&moved);
    let fake = Fake::start(move |request| match &*request.action {
        "GetPublicKey" if then.load(Ordering::SeqCst) => second.answer(request),
        _ => first.answer(request),
    });
    let identity = fake.identity().build().unwrap();
    let keys = identity.public_keys().unwrap();
    moved.store(true, Ordering::SeqCst);
    identity.sign(b"{}").unwrap();
    assert_eq!(identity.public_keys().unwrap(), keys);
}

#[test]
fn a_throttled_request_is_tried_again() {
    let (key, left) = (Key::p256(), AtomicUsize::new(2));
    let fake = Fake::start(move |request| {
        let throttled = request.action == "Sign"
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if throttled { kms_error(400, "ThrottlingException") } else { key.answer(request) }
    });
    fake.identity().build().unwrap().sign(b"{}").unwrap();
    assert_eq!(fake.count("Sign"), 3);
}

#[test]
fn agents_have_the_arns_of_agents() {
    let fake = Fake::start({
        let key = Key::p256();
        move |request| match &*request.action {
            "GetCallerIdentity" => {
                fake::caller_is("arn:aws-us-gov:sts::210987654321:assumed-role/agent/x", "210987654321")
            }
            _ => key.answer(request),
        }
    });
    let agent = || {
        let builder = BedrockAgentIdentity::builder().region("us-gov-west-1").endpoint_url(fake.url());
        builder.credentials_provider(credentials()).agent_id("ABCDE12345")
    };
    let id = |identity: BedrockAgentIdentity| identity.workload_id().unwrap().to_string();
    let plain = agent().build().unwrap();
    run_with(&plain, 16).unwrap();
    assert_eq!(id(plain), "arn:aws-us-gov:bedrock:us-gov-west-1:210987654321:agent/ABCDE12345");
    assert_eq!(fake.bodies("GetPublicKey")[0]["KeyId"], "alias/bedrock-agent-signing-key");
    let alias = agent().agent_alias_id("TSTALIASID").kms_key_id("alias/other").build().unwrap();
    assert_eq!(
        id(alias),
        "arn:aws-us-gov:bedrock:us-gov-west-1:210987654321:agent-alias/ABCDE12345/TSTALIASID"
    );
    assert_eq!(fake.bodies("GetPublicKey")[1]["KeyId"], "alias/other");
    for wrong in ["", "a/b", "a:b", "a b", "é", &"a".repeat(129)] {
        assert_eq!(agent().agent_id(wrong).build().unwrap_err().kind(), IdentityErrorKind::Missing);
        assert_eq!(agent().agent_alias_id(wrong).build().unwrap_err().kind(), IdentityErrorKind::Missing);
    }
}

#[test]
fn secrets_are_shown_nowhere() {
    let fake = kms(Key::p256());
    let identity = fake.identity().build().unwrap();
    let before = format!("{:?} {identity:#?}", fake.identity());
    identity.sign(b"{}").unwrap();
    let shown = format!("{before}{identity:?}{identity:#?}");
    for secret in [SECRET, TOKEN, "AKIDEXAMPLE"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains(CALLER));
}

/// What a child process prints that runs this test binary with these variables alone.
fn child(what: &str, variables: &[(&str, &str)]) -> String {
    let mut command = process::Command::new(env::current_exe().unwrap());
    command.args(["--exact", "in_a_child", "--nocapture"]).env_clear().env("KEST_TEST_CHILD", what);
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", env::temp_dir().join("no-home"));
    command.envs(variables.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.split_once("child: ")).map(|(_, said)| said.to_owned());
    line.unwrap_or_else(|| panic!("{text}"))
}

/// Says its piece only as the child of the tests below.
#[test]
#[allow(clippy::print_stdout, reason = "the parent reads it")]
fn in_a_child() {
    let Ok(what) = env::var("KEST_TEST_CHILD") else { return };
    if what == "logs" {
        return print_everything_that_is_logged();
    }
    let found: Result<Arc<dyn IdentityProvider>, _> = match &*what {
        "aws" => AwsWorkloadIdentity::from_env().map(|identity| Arc::new(identity) as _),
        "bedrock" => BedrockAgentIdentity::from_env().map(|identity| Arc::new(identity) as _),
        other => panic!("{other}"),
    };
    match found.and_then(|identity| identity.workload_id()) {
        Ok(id) => println!("child: {id}"),
        Err(error) => println!("child: {:?}: {error}", error.kind()),
    }
}

/// Signs once under a subscriber that takes everything of everyone, on every thread.
#[allow(clippy::print_stdout, reason = "the parent reads it")]
fn print_everything_that_is_logged() {
    tracing::subscriber::set_global_default(log::Everything).unwrap();
    AwsWorkloadIdentity::from_env().unwrap().sign(b"{}").unwrap();
    tracing::error!(target: "kest", "the last one");
    println!("child: {}", log::everything().replace('\n', " "));
}

#[test]
fn secrets_are_logged_nowhere() {
    let fake = kms(Key::p256());
    let said = child(
        "logs",
        &[
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_SESSION_TOKEN", TOKEN),
            ("AWS_ENDPOINT_URL", &fake.url()),
            ("KEST_AWS_KMS_KEY_ID", "alias/a"),
        ],
    );
    // What the SDK logs was taken down too.
    assert!(said.contains("aws_sigv4") && said.contains("the last one"), "{said}");
    for secret in [SECRET, TOKEN] {
        if let Some(at) = said.find(secret) {
            panic!("`{secret}` is logged: {}", &said[at.saturating_sub(600)..at + secret.len()]);
        }
    }
}

#[test]
fn the_environment_says_everything() {
    let fake = kms(Key::p256());
    let url = fake.url();
    let common = [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_ENDPOINT_URL", &*url),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&common[..], more].concat();
    assert_eq!(child("aws", &with(&[("KEST_AWS_KMS_KEY_ID", "alias/a")])), CALLER);
    assert_eq!(fake.bodies("GetPublicKey")[0]["KeyId"], "alias/a");
    let agent = [("AWS_BEDROCK_AGENT_ID", "A1"), ("AWS_BEDROCK_AGENT_ALIAS_ID", "B2")];
    assert_eq!(child("bedrock", &with(&agent)), "arn:aws:bedrock:eu-west-1:123456789012:agent-alias/A1/B2");
    assert_eq!(fake.bodies("GetPublicKey")[1]["KeyId"], "alias/bedrock-agent-signing-key");
    let key = [("AWS_BEDROCK_AGENT_ID", "A1"), ("KEST_BEDROCK_KMS_KEY_ID", "alias/b")];
    assert_eq!(child("bedrock", &with(&key)), "arn:aws:bedrock:eu-west-1:123456789012:agent/A1");
    assert_eq!(fake.bodies("GetPublicKey")[2]["KeyId"], "alias/b");

    let said = child("aws", &with(&[]));
    assert!(said.starts_with("Missing: ") && said.contains("`KEST_AWS_KMS_KEY_ID`"), "{said}");
    let said = child("aws", &with(&[("KEST_AWS_KMS_KEY_ID", " ")]));
    assert!(said.starts_with("Missing: ") && said.contains("is set but empty"), "{said}");
    let said = child("bedrock", &with(&[]));
    assert!(said.starts_with("Missing: ") && said.contains("`AWS_BEDROCK_AGENT_ID`"), "{said}");
    let said = child("bedrock", &with(&[("AWS_BEDROCK_AGENT_ID", "A1"), ("AWS_BEDROCK_AGENT_ALIAS_ID", "")]));
    assert!(said.starts_with("Missing: ") && said.contains("`AWS_BEDROCK_AGENT_ALIAS_ID`"), "{said}");

    let named = with(&[("KEST_AWS_KMS_KEY_ID", "alias/a")]);
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL_STS"] {
        let said = child("aws", &[&named[..], &[(variable, "http://aws.example.org")]].concat());
        assert!(said.starts_with("Refused: ") && said.contains(&format!("`{variable}`")), "{said}");
    }
    let profile = env::temp_dir().join(format!("kest-aws-profile-{}", process::id()));
    std::fs::write(&profile, "[default]\nendpoint_url = http://aws.example.org\n").unwrap();
    let mut in_profile = vec![("AWS_CONFIG_FILE", profile.to_str().unwrap())];
    in_profile.extend(named.iter().filter(|(name, _)| *name != "AWS_ENDPOINT_URL"));
    let said = child("aws", &in_profile);
    std::fs::remove_file(&profile).unwrap();
    assert!(said.starts_with("Refused: ") && said.contains("`endpoint_url` of the AWS profile"), "{said}");

    let no_region = [&common[1..], &[("KEST_AWS_KMS_KEY_ID", "alias/a")]].concat();
    let said = child("aws", &no_region);
    assert!(said.starts_with("Missing: ") && said.contains("`AWS_REGION`"), "{said}");
    // A key ARN says where the key is, which is region enough for a caller and not for an agent.
    let arn =
        [&common[1..], &[("KEST_AWS_KMS_KEY_ID", KEY_ARN), ("KEST_BEDROCK_KMS_KEY_ID", KEY_ARN)]].concat();
    assert_eq!(child("aws", &arn), CALLER);
    let said = child("bedrock", &[&arn[..], &[("AWS_BEDROCK_AGENT_ID", "A1")]].concat());
    assert!(said.starts_with("Missing: ") && said.contains("`AWS_REGION`"), "{said}");

    let nobody =
        [("AWS_REGION", "eu-west-1"), ("AWS_ENDPOINT_URL", &*url), ("KEST_AWS_KMS_KEY_ID", "alias/a")];
    let said = child("aws", &nobody);
    assert!(said.starts_with("Missing: ") && said.contains("no AWS credentials"), "{said}");
}
