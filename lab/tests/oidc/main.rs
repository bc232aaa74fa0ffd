//! Identities from the tokens of an OpenID provider: npm `oidc-provider`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod provider;

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kest::conformance::identity::run_with;
use kest::error::IdentityErrorKind;
use kest::identity::{IdentityProvider, OidcIdentity, OidcIdentityBuilder, OidcTokenVerifier};
use kest::jwks::{JwksUrl, OidcDiscovery};
use kest::keys::Jwks;
use kest::policy::MockPolicyEngine;
use kest::verify::{Anchors, KeySource, UnverifiedPassport, VerifiedPassport, Verifier, VerifyError};
use kest::{Error, Kest, Passport, kest_verified};
use kest_lab::wait_for;
use serde_json::json;
use tokio::runtime::Builder;

use crate::provider::{Provider, TokenFile, altered, confused, silent_server, unsigned};

const LIMIT: Duration = Duration::from_secs(60);
const HERE: &str = "urn:kest";

thread_local! {
    static RAN: Cell<u32> = const { Cell::new(0) };
}

#[kest_verified(policy = "kest", source_type = "system")]
fn act() -> Result<(), Error> {
    RAN.set(RAN.get() + 1);
    Ok(())
}

#[kest_verified(policy = "kest", source_type = "system")]
async fn act_later() -> Result<(), Error> {
    RAN.set(RAN.get() + 1);
    Ok(())
}

fn kest(identity: impl IdentityProvider + 'static) -> Kest {
    let builder = Kest::builder().identity(Arc::new(identity)).engine(MockPolicyEngine::allow());
    builder.without_config().build().unwrap()
}

/// Protected calls, sync and async, and the passport if their bodies ran: both or none.
fn call(kest: &Kest) -> Result<Passport, Error> {
    let before = RAN.get();
    let scope = kest.enter();
    let result = act();
    let runtime = Builder::new_current_thread().build().unwrap();
    let later = runtime.block_on(act_later());
    let passport = scope.passport();
    assert_eq!(result.is_ok(), later.is_ok());
    assert_eq!(
        RAN.get() - before,
        if result.is_ok() { 2 } else { 0 },
        "a body runs if and only if it is signed"
    );
    assert_eq!(passport.entries().len(), if result.is_ok() { 2 } else { 0 });
    result.map(|()| passport)
}

#[track_caller]
fn refused(settings: OidcIdentityBuilder, kind: IdentityErrorKind, why: &str) {
    match call(&kest(settings.build().unwrap())).unwrap_err() {
        Error::Identity(error) => {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(why), "`{why}` is not in: {error}");
        }
        other => panic!("{other}"),
    }
}

fn settings(provider: &Provider, file: &TokenFile) -> OidcIdentityBuilder {
    OidcIdentity::builder().token_path(file.path()).issuer(provider.issuer()).leeway(Duration::ZERO)
}

fn verify(passport: &Passport, keys: impl KeySource + 'static) -> Result<VerifiedPassport, VerifyError> {
    let verifier = Verifier::builder().keys(keys).strict().build();
    UnverifiedPassport::deserialize(&passport.serialize()).unwrap().verify(&verifier)
}

#[test]
fn tokens_of_every_algorithm_make_an_identity() {
    let Some(provider) = Provider::start() else { return };
    for client in ["kest-es256", "kest-eddsa", "kest-rs256", "kest-ps256"] {
        let file = TokenFile::new(&provider.token(client, HERE));
        let identity = settings(&provider, &file).build().unwrap();
        run_with(&identity, 100).unwrap();
        assert_eq!(&*identity.workload_id().unwrap(), client);
        call(&kest(identity)).unwrap();
    }
    let runtime = Builder::new_current_thread().build().unwrap();
    let found = runtime.block_on(OidcDiscovery::fetch(&provider.issuer())).unwrap();
    assert_eq!(found.jwks_uri(), format!("{}/jwks", provider.issuer()));
}

#[test]
fn entries_say_whose_the_subject_is_and_verify_under_both() {
    let Some(provider) = Provider::start() else { return };
    let file = TokenFile::new("");
    let identity = Arc::new(settings(&provider, &file).build().unwrap());
    // The token is asked for once the key is there, and for that key.
    let token = provider.token("kest-rs256", &identity.key_thumbprint_uri());
    file.put(&token);
    let passport = call(&kest(Arc::clone(&identity))).unwrap();

    let tokens = OidcTokenVerifier::builder().issuer(provider.issuer()).build().unwrap();
    let key = identity.public_keys().unwrap().0.remove(0);
    let anchors = tokens.bind_blocking(&token, &key).unwrap();
    let name = format!("{}#kest-rs256", provider.issuer());
    assert_eq!(anchors.principals().collect::<Vec<_>>(), [name.as_str()]);
    let verified = verify(&passport, anchors).unwrap();
    for entry in verified.entries() {
        assert_eq!(entry.label("principal"), Some("kest-rs256"));
        assert_eq!(entry.label("kest.oidc.iss"), Some(&*provider.issuer()));
        assert_eq!(entry.label("kest.oidc.sub"), Some("kest-rs256"));
    }
    assert_eq!(verified.entries().len(), 2);
    verify(&passport, Anchors::from_provider(&*identity).unwrap()).unwrap();

    // Neither the bare subject nor the same subject at another issuer.
    for stranger in ["kest-rs256", "https://example.org#kest-rs256"] {
        let mut anchors = Anchors::new();
        anchors.insert(stranger, Jwks(vec![key.clone()])).unwrap();
        assert!(verify(&passport, anchors).is_err(), "{stranger}");
    }
}

#[test]
fn a_token_with_a_confirmation_binds_its_key_and_no_other() {
    let Some(provider) = Provider::start() else { return };
    let tokens = OidcTokenVerifier::builder().issuer(provider.issuer()).build().unwrap();
    let key = provider.key("ES256-1").unwrap();
    let bound = provider.special_token(&json!({"client": "kest-es256", "jkt": key.thumbprint()}));
    tokens.bind_blocking(&bound, &key).unwrap();
    let other = provider.key("EdDSA-1").unwrap();
    let error = tokens.bind_blocking(&bound, &other).unwrap_err();
    assert!(error.to_string().contains("another key"), "{error}");
    let error = tokens.bind_blocking(&provider.token("kest-es256", HERE), &key).unwrap_err();
    assert!(error.to_string().contains("does not vouch"), "{error}");
}

#[test]
fn the_providers_keys_rotate() {
    let Some(provider) = Provider::start() else { return };
    let old = provider.token("kest-es256", HERE);
    let file = TokenFile::new(&old);
    let identity = Arc::new(settings(&provider, &file).build().unwrap());
    let kest = kest(Arc::clone(&identity));
    call(&kest).unwrap();
    let (key, before) = (identity.key_thumbprint().to_owned(), identity.expires_at_ms().unwrap());

    provider.rotate();
    file.put(&provider.special_token(&json!({"client": "kest-es256", "ttl": 600})));
    wait_for("the token signed by the new key", LIMIT, || {
        call(&kest).unwrap();
        (identity.expires_at_ms().unwrap() > before + 300_000).then_some(())
    });
    assert_eq!(identity.key_thumbprint(), key);

    // The old key is gone: who has not seen the old token yet does not believe it any more.
    provider.drop_old_keys();
    assert!(provider.key("ES256-1").is_none());
    file.put(&old);
    refused(settings(&provider, &file), IdentityErrorKind::Untrusted, "key `ES256-1`");
    call(&kest).unwrap();
}

#[test]
fn a_token_that_proves_nothing_runs_no_body() {
    let (Some(provider), Some(other)) = (Provider::start(), Provider::start()) else { return };
    let good = provider.token("kest-rs256", HERE);
    let key = provider.key("RS256-1").unwrap();
    let refused = |token: &str, kind, why: &str| {
        let file = TokenFile::new(token);
        refused(settings(&provider, &file), kind, why);
    };
    let untrusted = IdentityErrorKind::Untrusted;
    refused(&provider.token("kest-rs256", "urn:other"), untrusted, "audience `urn:other`, not for `kest`");
    refused(&other.token("kest-rs256", HERE), untrusted, "is from issuer");
    refused(&confused(&good, &key), untrusted, "signed with `HS256`");
    refused(&unsigned(&good), untrusted, "signed with `none`");
    refused(&altered(&good), untrusted, "signature is not the issuer's");
    refused("garbled", untrusted, "three segments");
    refused("", IdentityErrorKind::Missing, "is empty");

    let nowhere = OidcIdentity::builder().token_path("/nonexistent/token").issuer(provider.issuer());
    self::refused(nowhere, IdentityErrorKind::Missing, "`/nonexistent/token`");
    let file = TokenFile::new(&good);
    let elsewhere = settings(&provider, &file).audience("elsewhere");
    self::refused(elsewhere, untrusted, "audience `kest`, not for `elsewhere`");
    let dead = OidcIdentity::builder()
        .token_path(file.path())
        .issuer(provider.issuer())
        .jwks_uri("http://127.0.0.1:9/");
    self::refused(dead, IdentityErrorKind::Connection, "cannot be reached");
}

#[test]
fn an_expired_token_ends_the_calls_and_a_new_one_lets_them_go_on() {
    let Some(provider) = Provider::start() else { return };
    let short = || provider.special_token(&json!({"client": "kest-eddsa", "ttl": 4}));
    let file = TokenFile::new(&short());
    let identity = Arc::new(settings(&provider, &file).build().unwrap());
    let kest = kest(Arc::clone(&identity));
    call(&kest).unwrap();
    let keys = identity.public_keys().unwrap();
    let error = wait_for("the token expires", LIMIT, || {
        let scope = kest.enter();
        let before = RAN.get();
        let error = act().err();
        assert_eq!(RAN.get() - before, u32::from(error.is_none()));
        drop(scope);
        error
    });
    let Error::Identity(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), IdentityErrorKind::SvidExpired, "{error}");
    file.put(&provider.token("kest-eddsa", HERE));
    wait_for("it goes on", LIMIT, || call(&kest).ok());
    assert_eq!(identity.public_keys().unwrap(), keys);

    // Somebody else's token is no renewal.
    file.put(&provider.token("kest-rs256", HERE));
    let error = wait_for("the other subject is seen", LIMIT, || identity.workload_id().err());
    assert_eq!(error.kind(), IdentityErrorKind::Refused);
    assert!(call(&kest).is_err());
}

#[test]
fn a_silent_issuer_is_an_error_in_time_and_blocks_no_other_task() {
    let Some(provider) = Provider::start() else { return };
    let file = TokenFile::new(&provider.token("kest-es256", HERE));
    let silent = |timeout| {
        let identity = OidcIdentity::builder().token_path(file.path()).issuer(provider.issuer());
        identity.jwks_uri(silent_server()).timeout(timeout)
    };
    let begun = Instant::now();
    let timeout = Duration::from_millis(500);
    refused(silent(timeout), IdentityErrorKind::Connection, "did not answer within 500 ms");
    assert!(begun.elapsed() < LIMIT);

    // On one thread: while the first call waits, the second runs.
    let waiting = kest(silent(Duration::from_secs(5)).build().unwrap());
    let quick = kest(settings(&provider, &file).build().unwrap());
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut hangs = Box::pin(waiting.scope(act_later()));
        let other = quick.scope(act_later());
        tokio::select! {
            biased;
            result = &mut hangs => panic!("{result:?}"),
            result = other => result.unwrap(),
        }
        assert!(matches!(hangs.await, Err(Error::Identity(error)) if error.kind() == IdentityErrorKind::Connection));
    });
}

#[test]
fn a_set_url_speaks_for_its_allow_list() {
    let Some(provider) = Provider::start() else { return };
    let url = format!("{}/jwks", provider.issuer());
    let build = |retry| JwksUrl::builder(&url).allow("spiffe://example.org/*").ttl(retry).build().unwrap();
    let source = build(Duration::from_secs(300));
    let keys = |source: &JwksUrl| source.keys("spiffe://example.org/a").unwrap().unwrap().0.len();
    assert_eq!(keys(&source), 4);
    assert!(source.keys("spiffe://example.com/a").unwrap().is_none());
    let eager = build(Duration::ZERO);
    provider.rotate();
    assert_eq!((keys(&source), keys(&eager)), (4, 8), "kept for its time, and fetched anew");
    provider.drop_old_keys();
    assert_eq!(keys(&eager), 4);
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(source.refresh()).unwrap();
    assert_eq!(keys(&source), 4);
    assert!(
        source
            .keys("spiffe://example.org/a")
            .unwrap()
            .unwrap()
            .0
            .iter()
            .all(|k| k.kid().unwrap().ends_with("-2"))
    );
}
