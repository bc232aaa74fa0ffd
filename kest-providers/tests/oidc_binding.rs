//! A token that vouches for a key gives an anchor; every other gives none.
#![cfg(feature = "oidc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod oidc_support;

use std::time::Duration;

use kest_core::error::IdentityErrorKind;
use kest_core::identity::IdentityProvider;
use kest_core::keys::Jwk;
use kest_core::verify::KeySource;
use kest_providers::identity::OidcTokenVerifier;
use serde_json::{Value, json};

use self::oidc_support::server::Reply;
use self::oidc_support::{DISCOVERY, Issuer, TokenFile, ed25519, now};

fn verifier(issuer: &Issuer) -> OidcTokenVerifier {
    OidcTokenVerifier::builder().issuer(issuer.url()).leeway(Duration::ZERO).build().unwrap()
}

fn uri(key: &Jwk) -> String {
    format!("urn:ietf:params:oauth:jwk-thumbprint:sha-256:{}", key.thumbprint())
}

#[test]
fn a_token_for_the_key_anchors_its_subject_at_its_issuer() {
    let issuer = Issuer::new();
    let (key, verifier) = (ed25519(), verifier(&issuer));
    let public = key.to_json();
    for binding in [
        json!({"cnf": {"jkt": key.thumbprint()}}),
        json!({"cnf": {"jwk": public}}),
        json!({"cnf": {"jwk": public, "jkt": key.thumbprint(), "x5t#S256": "x"}}),
        json!({"aud": uri(&key)}),
        json!({"aud": key.thumbprint()}),
        json!({"aud": ["other", uri(&key)]}),
        json!({"aud": uri(&key), "cnf": {"x5t#S256": "x"}}),
        json!({"aud": uri(&key), "cnf": {"jkt": key.thumbprint()}}),
    ] {
        let anchors = verifier.bind_blocking(&issuer.token_with(binding.clone()), &key).unwrap();
        let name = format!("{}#repo:octo/app:ref:refs/heads/main", issuer.url());
        assert_eq!(anchors.principals().collect::<Vec<_>>(), [name.as_str()], "{binding}");
        assert_eq!(anchors.keys(&name).unwrap().unwrap().0, std::slice::from_ref(&key));
        assert!(anchors.keys("repo:octo/app:ref:refs/heads/main").unwrap().is_none());
    }
}

#[test]
fn a_token_that_does_not_vouch_for_the_key_anchors_nobody() {
    let issuer = Issuer::new();
    let (key, other, verifier) = (ed25519(), ed25519(), verifier(&issuer));
    let foreign = other.to_json();
    let changes: [(Value, &str); 11] = [
        (json!({}), "does not vouch"),
        (json!({"cnf": {}}), "does not vouch"),
        (json!({"aud": uri(&other)}), "does not vouch"),
        (json!({"aud": other.thumbprint()}), "does not vouch"),
        (json!({"aud": format!("{}x", uri(&key))}), "does not vouch"),
        (json!({"cnf": {"jkt": other.thumbprint()}}), "another key"),
        (json!({"cnf": {"jwk": foreign}}), "another key"),
        (json!({"cnf": {"jkt": other.thumbprint()}, "aud": uri(&key)}), "another key"),
        (json!({"cnf": {"jkt": key.thumbprint(), "jwk": foreign}}), "two keys"),
        (json!({"cnf": {"jkt": 7}}), "no string"),
        (json!({"cnf": {"jkt": key.thumbprint()}, "aud": "other"}), "audience"),
    ];
    for (changes, why) in changes {
        let error = verifier.bind_blocking(&issuer.token_with(changes.clone()), &key).unwrap_err();
        assert_eq!(error.kind(), IdentityErrorKind::Untrusted);
        assert!(error.to_string().contains(why), "{changes}: {error}");
    }
    let mut private = key.to_json();
    private["d"] = json!("AAAA");
    let error =
        verifier.bind_blocking(&issuer.token_with(json!({"cnf": {"jwk": private}})), &key).unwrap_err();
    assert!(error.to_string().contains("private"), "{error}");
}

#[test]
fn the_token_itself_must_be_good() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let (key, verifier) = (ed25519(), verifier(&issuer));
    let bind = |token: &str| verifier.bind_blocking(token, &key).unwrap_err();
    let bound = |issuer: &Issuer, changes: Value| {
        let claims = oidc_support::changed(issuer.claims(), json!({"aud": uri(&key)}));
        issuer.sign(oidc_support::changed(claims, changes))
    };
    assert_eq!(
        bind(&bound(&issuer, json!({"exp": now() - 1, "iat": 0}))).kind(),
        IdentityErrorKind::SvidExpired
    );
    let error = bind(&bound(&other, json!({})));
    assert!(error.to_string().contains("does not count here"), "{error}");
    assert_eq!(other.server.hits(DISCOVERY), 0, "strangers are not asked");
    // Another issuer's key under a listed issuer's name.
    let error = bind(&bound(&other, json!({"iss": issuer.url()})));
    assert!(error.to_string().contains("not the issuer's"), "{error}");
    assert_eq!(bind("x.y.z").kind(), IdentityErrorKind::Untrusted);
    issuer.server.set(DISCOVERY, Reply::Status(500));
    let unread = self::verifier(&issuer);
    let error = unread.bind_blocking(&bound(&issuer, json!({})), &key).unwrap_err();
    assert_eq!(error.kind(), IdentityErrorKind::Connection);
}

#[test]
fn a_workload_has_its_token_issued_for_its_key() {
    let issuer = Issuer::new();
    let file = TokenFile::none();
    let identity = issuer.identity(&file);
    let token = issuer.token_with(json!({"aud": identity.key_thumbprint_uri()}));
    file.put(&token);
    let key = identity.public_keys().unwrap().0.remove(0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let anchors = runtime.block_on(verifier(&issuer).bind(&token, &key)).unwrap();
    let name = format!("{}#{}", issuer.url(), identity.workload_id().unwrap());
    assert!(anchors.keys(&name).unwrap().is_some());
}

#[test]
fn what_cannot_be_built() {
    let builder = OidcTokenVerifier::builder;
    let good = || builder().issuer("https://example.org");
    good().issuer_with_jwks("https://b.example.org", "https://b.example.org/jwks").build().unwrap();
    for (settings, fix) in [
        (builder(), ".issuer("),
        (good().issuer("https://example.org"), "twice"),
        (good().issuer("http://example.com"), "`https`"),
        (good().issuer_with_jwks("https://b.example.org", "http://b.example.org/jwks"), "`https`"),
        (good().audience(""), "audience"),
        (good().leeway(Duration::from_secs(301)), "leeway"),
        (good().root_certificates_pem(b"x"), "PEM"),
    ] {
        let error = settings.build().unwrap_err();
        assert_eq!(error.kind(), IdentityErrorKind::Refused);
        assert!(error.to_string().contains(fix), "{fix}: {error}");
    }
}
