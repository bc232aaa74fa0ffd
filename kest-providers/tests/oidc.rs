//! An identity from an OpenID Connect token: what it is, how it is renewed, what ends it.
#![cfg(feature = "oidc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/log.rs"]
mod log;
mod oidc_support;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kest_core::error::IdentityErrorKind;
use kest_core::identity::IdentityProvider;
use kest_core::keys::Jwk;
use kest_providers::conformance::identity::run_with;
use kest_providers::identity::{IdentityProviderExt, OidcIdentity};
use serde_json::json;

use self::oidc_support::keys::Key;
use self::oidc_support::server::Reply;
use self::oidc_support::{DISCOVERY, Issuer, JWKS, TokenFile, changed, now, wait_for};

const SUBJECT: &str = "repo:octo/app:ref:refs/heads/main";

#[test]
fn the_subject_is_the_workload_and_the_provider_conforms() {
    let issuer = Issuer::new();
    let file = TokenFile::with(&issuer.token());
    let identity = issuer.identity(&file);
    assert!(identity.attributes().is_none());
    assert_eq!(identity.expires_at_ms(), None);
    run_with(&identity, 200).unwrap();
    assert_eq!(&*identity.workload_id().unwrap(), SUBJECT);
    let oidc = identity.attributes().unwrap().oidc.clone().unwrap();
    assert_eq!((&*oidc.issuer, &*oidc.subject), (&*issuer.url(), SUBJECT));
    assert!(identity.expires_at_ms().unwrap() > now() * 1000);
    assert_eq!(identity.public_keys().unwrap().0[0].thumbprint(), identity.key_thumbprint());
    assert_eq!((issuer.server.hits(DISCOVERY), issuer.server.hits(JWKS)), (1, 1));
}

#[test]
fn nothing_is_read_or_fetched_before_the_first_use() {
    let issuer = Issuer::new();
    let file = TokenFile::none();
    let identity = issuer.identity(&file);
    assert_eq!(identity.workload_id().unwrap_err().kind(), IdentityErrorKind::Missing);
    assert_eq!(issuer.server.hits(DISCOVERY), 0);
    file.put(issuer.token());
    assert_eq!(&*identity.workload_id().unwrap(), SUBJECT, "it retries after a failure");
}

#[test]
fn every_algorithm_that_an_issuer_may_use_is_checked() {
    for key in
        [Key::p256("k"), Key::p384("k"), Key::rsa("k", "RS256"), Key::rsa("k", "PS256"), Key::ed25519("k")]
    {
        let issuer = Issuer::new();
        issuer.publish(&[&issuer.key, &key]);
        let file = TokenFile::with(&key.jwt(&issuer.claims()));
        assert_eq!(&*issuer.identity(&file).workload_id().unwrap(), SUBJECT, "{}", key.alg());
        // One bit of the signature.
        let mut token = key.jwt(&issuer.claims()).into_bytes();
        let middle = token.len() - 20;
        token[middle] = if token[middle] == b'A' { b'B' } else { b'A' };
        let file = TokenFile::with(str::from_utf8(&token).unwrap());
        let error = issuer.identity(&file).workload_id().unwrap_err();
        assert_eq!(error.kind(), IdentityErrorKind::Untrusted, "{}: {error}", key.alg());
    }
}

#[test]
fn it_works_sync_and_async_in_and_out_of_run_times() {
    let issuer = Issuer::new();
    let file = TokenFile::with(&issuer.token());
    for mut builder in
        [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()]
    {
        let runtime = builder.build().unwrap();
        let identity = issuer.identity(&file);
        runtime.block_on(async {
            identity.ready().expect("the token must be read first").await.unwrap();
            assert!(identity.ready().is_none(), "and only first");
            assert_eq!(&*identity.workload_id_async().await.unwrap(), SUBJECT);
            identity.sign_async(b"{}").await.unwrap();
            identity.sign(b"{}").unwrap();
        });
        let unread = issuer.identity(&file);
        runtime.block_on(async { unread.sign(b"{}").unwrap() });
        let unread = issuer.identity(&file);
        runtime.block_on(unread.sign_async(b"{}")).unwrap();
    }
}

#[test]
fn a_rotated_file_is_read_again() {
    let issuer = Issuer::new();
    let file = TokenFile::with(&issuer.token_with(json!({"exp": now() + 100})));
    let identity = issuer.identity(&file);
    identity.workload_id().unwrap();
    let key = identity.key_thumbprint().to_owned();
    let later = now() + 200;
    file.put(issuer.token_with(json!({"exp": later})));
    wait_for("the new token is read", || {
        identity.sign(b"{}").unwrap();
        (identity.expires_at_ms().unwrap() == later * 1000).then_some(())
    });
    assert_eq!(identity.key_thumbprint(), key, "the key stays");
    assert_eq!(issuer.server.hits(JWKS), 1, "and the issuer's keys are known");
}

#[test]
fn a_rotation_can_be_waited_for() {
    let issuer = Issuer::new();
    let file = TokenFile::with(&issuer.token());
    let identity = issuer.identity(&file);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(identity.initialize()).unwrap();
    let later = now() + 900;
    file.put(issuer.token_with(json!({"exp": later})));
    runtime.block_on(identity.refresh()).unwrap();
    assert_eq!(identity.expires_at_ms(), Some(later * 1000));
    file.put("garbled");
    let error = runtime.block_on(identity.refresh()).unwrap_err();
    assert_eq!(error.kind(), IdentityErrorKind::Untrusted);
    identity.sign(b"{}").unwrap();
}

#[test]
fn an_unknown_key_is_asked_for_but_not_at_the_tokens_pace() {
    let issuer = Issuer::new();
    let file = TokenFile::with(&issuer.token());
    let identity = issuer.identity(&file);
    identity.workload_id().unwrap();
    let second = Key::p384("second");
    issuer.publish(&[&issuer.key, &second]);
    let later = now() + 900;
    file.put(second.jwt(&changed(issuer.claims(), json!({"exp": later}))));
    // The set was fetched a moment ago: nobody may make us fetch it again so soon.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(identity.refresh()).unwrap_err();
    assert!(error.to_string().contains("`second`"), "{error}");
    assert_eq!(issuer.server.hits(JWKS), 1);
    // A provider that has not asked yet sees it at once, this one by itself some seconds later.
    assert_eq!(&*issuer.identity(&file).workload_id().unwrap(), SUBJECT);
    wait_for("the new key", || {
        identity.sign(b"{}").unwrap();
        (identity.expires_at_ms() == Some(later * 1000)).then_some(())
    });
    assert_eq!(issuer.server.hits(JWKS), 3);
}

#[test]
fn without_a_usable_new_token_the_old_one_counts_until_it_expires() {
    let issuer = Issuer::new();
    type Spoil = fn(&Issuer, &TokenFile);
    let spoilt: [(Spoil, &str); 5] = [
        (|_, file| file.remove(), "cannot be read"),
        (|_, file| file.put("garbled"), "three segments"),
        (|_, file| file.put(""), "is empty"),
        (|issuer, file| file.put(issuer.token_with(json!({"aud": "other"}))), "audience"),
        (|_, _| {}, "check that the platform renews it"),
    ];
    thread::scope(|scope| {
        for (spoil, why) in spoilt {
            let issuer = &issuer;
            scope.spawn(move || {
                let exp = now() + 4;
                let file = TokenFile::with(&issuer.token_with(json!({"exp": exp})));
                let identity = issuer.identity(&file);
                identity.workload_id().unwrap();
                spoil(issuer, &file);
                let error = wait_for("the token expires", || identity.sign(b"{}").err());
                assert!(now() >= exp, "the old token counts until {exp}");
                assert_eq!(error.kind(), IdentityErrorKind::SvidExpired, "{error}");
                assert!(error.to_string().contains(why), "{error}");
                let id = identity.workload_id().unwrap_err();
                assert_eq!(id.kind(), IdentityErrorKind::SvidExpired);
                let keys = identity.public_keys().unwrap();
                // It recovers by itself, with the same key.
                file.put(issuer.token());
                wait_for("it recovers", || identity.sign(b"{}").ok());
                assert_eq!(identity.public_keys().unwrap(), keys);
            });
        }
    });
}

#[test]
fn an_identity_never_changes() {
    let issuer = Issuer::new();
    let original = issuer.token();
    let file = TokenFile::with(&original);
    let identity = issuer.identity(&file);
    identity.workload_id().unwrap();
    file.put(issuer.token_with(json!({"sub": "repo:octo/other"})));
    let error = wait_for("the other subject is seen", || identity.workload_id().err());
    assert_eq!(error.kind(), IdentityErrorKind::Refused);
    assert!(error.to_string().contains("an identity never changes"), "{error}");
    assert_eq!(identity.sign(b"{}").unwrap_err().kind(), IdentityErrorKind::Refused);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(identity.sign_async(b"{}")).is_err());
    let oidc = identity.attributes().unwrap().oidc.clone().unwrap();
    assert_eq!(&*oidc.subject, SUBJECT);
    // Until the platform is itself again.
    file.put(&original);
    let id = wait_for("the first subject is back", || identity.workload_id().ok());
    assert_eq!(&*id, SUBJECT);
}

#[test]
fn a_token_of_another_issuer_is_not_believed_and_ends_nothing() {
    let issuer = Issuer::new();
    let file = TokenFile::with(&issuer.token());
    let identity = issuer.identity(&file);
    identity.workload_id().unwrap();
    file.put(issuer.token_with(json!({"iss": "https://other.example.org"})));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(identity.refresh()).unwrap_err();
    assert_eq!(error.kind(), IdentityErrorKind::Untrusted);
    assert!(error.to_string().contains("is from issuer"), "{error}");
    identity.sign(b"{}").unwrap();
    assert_eq!(&*identity.workload_id().unwrap(), SUBJECT);
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_the_file_is_not_waited_for() {
    let issuer = Issuer::new();
    let (file, pipe) = (TokenFile::with("x"), TokenFile::none());
    assert!(std::process::Command::new("mkfifo").arg(pipe.path()).status().unwrap().success());
    let identity = Arc::new(issuer.settings(&file).timeout(Duration::from_secs(3600)).build().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    let reading = Arc::clone(&identity);
    thread::spawn(move || {
        for _ in 0..500 {
            let _ = tell.send(reading.sign(b"{}").unwrap_err().kind());
        }
    });
    // Pipe and file take turns at the path as fast as they can, while it is read.
    let next = file.path().with_extension("next");
    let begun = std::time::Instant::now();
    let mut answers = 0;
    while answers < 500 {
        std::fs::hard_link(pipe.path(), &next).unwrap();
        std::fs::rename(&next, file.path()).unwrap();
        file.put("x");
        answers += told.try_iter().count();
        assert!(begun.elapsed() < Duration::from_secs(60), "reading hangs after {answers} answers");
    }
}

#[test]
fn the_issuer_of_the_first_token_is_the_issuer() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let file = TokenFile::with(&issuer.token());
    let build = || OidcIdentity::builder().token_path(file.path()).issuer_from_token().build().unwrap();
    let identity = build();
    assert_eq!(&*identity.workload_id().unwrap(), SUBJECT);
    file.put(other.token());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(identity.refresh()).unwrap_err();
    assert!(error.to_string().contains("is from issuer"), "{error}");
    assert_eq!(other.server.hits(DISCOVERY), 0, "the other is not even asked");
    // A first token that proves nothing names nobody.
    let identity = build();
    file.put(issuer.token_with(json!({"iss": other.url()})));
    assert_eq!(identity.workload_id().unwrap_err().kind(), IdentityErrorKind::Untrusted);
    file.put(issuer.token());
    assert_eq!(&*identity.workload_id().unwrap(), SUBJECT);
    // A token's issuer is asked by `https`, or on this machine.
    file.put(issuer.token_with(json!({"iss": "http://example.org"})));
    let error = build().workload_id().unwrap_err();
    assert!(error.to_string().contains("use `https`"), "{error}");
}

#[test]
fn a_slow_or_dead_issuer_is_an_error_in_time_and_does_not_matter_later() {
    let issuer = Issuer::new();
    let file = TokenFile::with(&issuer.token());
    for (path, reply) in
        [(DISCOVERY, Reply::Never), (DISCOVERY, Reply::Drip), (JWKS, Reply::Never), (JWKS, Reply::Drip)]
    {
        let issuer = Issuer::new();
        let file = TokenFile::with(&issuer.token());
        issuer.server.set(path, reply);
        let identity = issuer.settings(&file).timeout(Duration::from_millis(300)).build().unwrap();
        let begun = Instant::now();
        let error = identity.workload_id().unwrap_err();
        assert_eq!(error.kind(), IdentityErrorKind::Connection, "{error}");
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(identity.sign(b"{}").unwrap_err().kind(), IdentityErrorKind::Connection);
        assert!(std::error::Error::source(&error).is_some());
    }
    let identity = issuer.identity(&file);
    identity.workload_id().unwrap();
    issuer.server.set(DISCOVERY, Reply::Never);
    issuer.server.set(JWKS, Reply::Never);
    identity.sign(b"{}").unwrap();
}

#[test]
fn callers_do_not_wait_for_a_renewal_while_the_token_is_good() {
    let issuer = Issuer::new();
    let file = TokenFile::with(&issuer.token());
    let identity = Arc::new(issuer.settings(&file).timeout(Duration::from_secs(60)).build().unwrap());
    identity.workload_id().unwrap();
    // Another identity hangs on its issuer, on the same network thread.
    let slow = Issuer::new();
    let slow_file = TokenFile::with(&slow.token());
    slow.server.set(JWKS, Reply::Gated(json!({"keys": [slow.key.public()]}).to_string().into_bytes().into()));
    let hanging = Arc::new(slow.settings(&slow_file).timeout(Duration::from_secs(60)).build().unwrap());
    let waiting = Arc::clone(&hanging);
    let thread = thread::spawn(move || waiting.workload_id().unwrap());
    slow.server.wait_for_hits(JWKS, 1);
    file.put(issuer.token_with(json!({"exp": now() + 77})));
    let until = (now() + 77) * 1000;
    wait_for("the renewal beside the hanging one", || {
        identity.sign(b"{}").unwrap();
        identity.expires_at_ms().filter(|at| *at <= until)
    });
    assert!(!thread.is_finished());
    slow.server.open_gate();
    assert_eq!(&*thread.join().unwrap(), SUBJECT);
}

#[test]
fn a_variable_without_a_token_is_named() {
    let issuer = Issuer::new();
    let name = "KEST_TEST_TOKEN_THAT_IS_NOT_SET";
    let identity = OidcIdentity::builder().token_env(name).issuer(issuer.url()).build().unwrap();
    let error = identity.workload_id().unwrap_err();
    assert_eq!(error.kind(), IdentityErrorKind::Missing);
    assert!(error.to_string().contains(name), "{error}");
    // `PATH` is set, and no token.
    let identity = OidcIdentity::builder().token_env("PATH").issuer(issuer.url()).build().unwrap();
    assert_eq!(identity.workload_id().unwrap_err().kind(), IdentityErrorKind::Untrusted);
}

/// Only a new process can have other variables.
#[test]
fn the_environment_is_read() {
    let (issuer, file) = (Issuer::new(), TokenFile::none());
    file.put(issuer.token());
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_an_environment_with_tokens", "--nocapture"])
        .env("KEST_TEST_TOKEN", issuer.token())
        .env("KEST_OIDC_TOKEN_PATH", file.path())
        .env("KEST_OIDC_ISSUER", issuer.url())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && output.contains("both are good"), "{output}");
}

#[test]
fn in_an_environment_with_tokens() {
    if std::env::var_os("KEST_TEST_TOKEN").is_none() {
        return;
    }
    let issuer = std::env::var("KEST_OIDC_ISSUER").unwrap();
    let variable = OidcIdentity::builder().token_env("KEST_TEST_TOKEN").issuer(issuer).build().unwrap();
    for identity in [variable, OidcIdentity::from_env().unwrap()] {
        assert_eq!(&*identity.workload_id().unwrap(), SUBJECT);
    }
    eprintln!("both are good");
}

#[test]
fn a_token_for_the_key_is_accepted_whatever_the_audience() {
    let issuer = Issuer::new();
    let file = TokenFile::none();
    let identity = issuer.settings(&file).audience("something else").build().unwrap();
    file.put(issuer.token_with(json!({"aud": identity.key_thumbprint_uri()})));
    assert_eq!(&*identity.workload_id().unwrap(), SUBJECT);
    let other = issuer.settings(&file).build().unwrap();
    assert_eq!(other.workload_id().unwrap_err().kind(), IdentityErrorKind::Untrusted);
}

#[test]
fn neither_token_nor_key_is_shown_or_logged() {
    let issuer = Issuer::new();
    let token = issuer.token();
    let file = TokenFile::with(&format!("  {token}\n"));
    let identity = issuer.identity(&file);
    let mut seen = log::logged(|| {
        identity.workload_id().unwrap();
    });
    seen.push(format!("{identity:?}{identity:#?}{:?}", OidcIdentity::builder().token_path(file.path())));
    let forged = changed(issuer.claims(), json!({"exp": 1, "secret": "s3cr3t"}));
    for bad in [
        issuer.sign(forged.clone()),
        Key::p256("x").jwt(&forged),
        format!("{token}x"),
        token.replace('.', "~"),
    ] {
        file.put(&bad);
        let error = issuer.identity(&file).workload_id().unwrap_err();
        seen.push(format!("{error} {error:?}"));
        for part in bad.split('.').filter(|part| part.len() > 8) {
            assert!(seen.iter().all(|text| !text.contains(part)), "{seen:?}");
        }
    }
    for part in token.split('.').chain(["s3cr3t"]) {
        assert!(seen.iter().all(|text| !text.contains(part)), "{seen:?}");
    }
    assert!(seen.iter().any(|text| text.contains(identity.key_thumbprint())));
    let private = Jwk::from_json(&identity.public_keys().unwrap().to_json()["keys"][0]);
    private.expect("what is published is public");
}
