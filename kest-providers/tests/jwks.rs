//! Keys from a JWK set URL: who it speaks for, what it may send, how long it counts.
#![cfg(feature = "oidc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod oidc_support;

use std::error::Error as _;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kest_core::error::IdentityErrorKind;
use kest_core::keys::KeyError;
use kest_core::verify::KeySource;
use kest_providers::jwks::{JwksError, JwksUrl, JwksUrlBuilder, OidcDiscovery};
use serde_json::{Value, json};

use crate::oidc_support::keys::Key;
use crate::oidc_support::server::{Reply, Server};
use crate::oidc_support::{DISCOVERY, Issuer, JWKS, wait_for};

const WHO: &str = "spiffe://example.org/payments/api";

fn source(server: &Server) -> JwksUrlBuilder {
    JwksUrl::builder(&format!("{}{JWKS}", server.url())).allow("spiffe://example.org/payments/*")
}

fn kids(source: &JwksUrl) -> Result<Vec<String>, JwksError> {
    match source.keys(WHO) {
        Ok(keys) => Ok(keys.unwrap().0.iter().map(|key| key.kid().unwrap().to_owned()).collect()),
        Err(KeyError::Source(error)) => Err(*error.downcast().unwrap()),
        Err(other) => panic!("{other}"),
    }
}

fn serving(reply: Reply) -> (Server, JwksUrl) {
    let server = Server::start();
    server.set(JWKS, reply);
    let source = source(&server).timeout(Duration::from_millis(500)).build().unwrap();
    (server, source)
}

fn refusal(reply: Reply) -> JwksError {
    let (_server, source) = serving(reply);
    kids(&source).unwrap_err()
}

#[test]
fn it_speaks_for_its_allow_list_alone() {
    let issuer = Issuer::new();
    let source = source(&issuer.server).allow("https://issuer.example.org#repo:octo/*").build().unwrap();
    for stranger in [
        "spiffe://example.org/orders",
        "spiffe://example.org/payments",
        "spiffe://example.organised/payments/api",
        "https://issuer.example.org#repo:other/app",
        "repo:octo/app",
        "",
    ] {
        assert!(source.keys(stranger).unwrap().is_none(), "{stranger}");
    }
    assert_eq!(issuer.server.hits(JWKS), 0, "nobody is asked about strangers");
    assert_eq!(kids(&source).unwrap(), ["first"]);
    assert!(source.keys("https://issuer.example.org#repo:octo/app").unwrap().is_some());
    assert_eq!(issuer.server.hits(JWKS), 1, "a set is kept");
}

#[test]
fn what_cannot_be_built() {
    let url = "https://example.org/jwks";
    let message = |builder: JwksUrlBuilder| builder.build().unwrap_err().to_string();
    assert!(message(JwksUrl::builder(url)).contains(".allow("));
    for pattern in ["*", "https://*", "spiffe://example.org*", "spiffe://*", ""] {
        let error = JwksUrl::builder(url).allow(pattern).build().unwrap_err();
        assert!(matches!(error, JwksError::Pattern { .. }), "{pattern}");
        assert!(error.source().is_some());
    }
    assert!(message(JwksUrl::builder("http://example.org/jwks").allow(WHO)).contains("use `https`"));
    assert!(message(JwksUrl::discover("https://example.org?x").allow(WHO)).contains("query"));
    let short = JwksUrl::builder(url).allow(WHO).hard_expiry(Duration::from_secs(1));
    assert!(message(short).contains("hard expiry"));
    let roots = JwksUrl::builder(url).allow(WHO).root_certificates_pem(b"no PEM");
    assert!(message(roots).contains("PEM"));
    JwksUrl::builder(url).allow(WHO).allow(WHO).build().unwrap();
}

#[test]
fn keys_for_other_purposes_are_left_out() {
    let good = Key::p256("good");
    let mut encryption = Key::rsa("enc", "RS256").public();
    encryption["use"] = json!("enc");
    encryption["alg"] = json!("RSA-OAEP");
    let mut private = Key::ed25519("private").public();
    private["d"] = json!("AAAA");
    let odd = json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "odd"});
    let secret = json!({"kty": "oct", "k": "AAAA", "kid": "secret"});
    let rest = [encryption, private, odd, secret, json!(7)];
    let mut all = rest.to_vec();
    all.push(good.public());
    let (_server, source) = serving(Reply::json(&json!({ "keys": all, "more": true })));
    assert_eq!(kids(&source).unwrap(), ["good"]);

    let error = refusal(Reply::json(&json!({ "keys": rest })));
    assert!(matches!(error, JwksError::NoUsableKeys { found: 5, .. }), "{error}");
    let error = refusal(Reply::json(&json!({ "keys": [] })));
    assert!(matches!(error, JwksError::NoUsableKeys { found: 0, .. }), "{error}");
    assert_eq!(error.kind(), IdentityErrorKind::Untrusted);
}

#[test]
fn what_is_no_set_is_refused() {
    let key = Key::p256("k").public();
    let twice = format!(r#"{{"keys":[{key}],"keys":[]}}"#);
    for text in ["", "[]", "{}", "null", r#"{"keys":{}}"#, "<html>", &twice, "{\"keys\":[", "\u{feff}{}"] {
        let error = refusal(Reply::text(text));
        assert!(matches!(error, JwksError::Malformed { .. }), "{text}: {error}");
    }
}

#[test]
fn too_many_keys_are_refused() {
    let keys: Vec<Value> = (0..101).map(|n| json!({"kty": "x", "kid": n.to_string()})).collect();
    let error = refusal(Reply::json(&json!({ "keys": keys })));
    assert!(matches!(error, JwksError::TooManyKeys { found: 101, limit: 100, .. }), "{error}");
}

#[test]
fn an_oversized_set_is_refused_while_it_is_read() {
    let mut text = json!({"keys": [Key::p256("k").public()]}).to_string().into_bytes();
    text.resize(1024 * 1024, b' ');
    let (_server, exact) = serving(Reply::Chunked(text.clone().into()));
    assert_eq!(kids(&exact).unwrap(), ["k"]);
    text.push(b' ');
    for reply in [Reply::Body(text.clone().into()), Reply::Chunked(text.into())] {
        let error = refusal(reply);
        assert!(matches!(error, JwksError::TooLarge { limit: 1_048_576, .. }), "{error}");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Issuer::new();
    for status in [301, 302, 303, 307, 308] {
        let error = refusal(Reply::Redirect(status, format!("{}{JWKS}", elsewhere.url())));
        assert!(matches!(error, JwksError::Redirect { status: found, .. } if found == status), "{error}");
    }
    assert_eq!(elsewhere.server.hits(JWKS), 0);
}

#[test]
fn another_status_than_200_is_an_error() {
    for (status, kind) in [
        (204, IdentityErrorKind::Connection),
        (404, IdentityErrorKind::Connection),
        (429, IdentityErrorKind::Throttled),
        (500, IdentityErrorKind::Connection),
    ] {
        let error = refusal(Reply::Status(status));
        assert!(matches!(error, JwksError::Status { status: found, .. } if found == status), "{error}");
        assert_eq!(error.kind(), kind);
    }
}

#[test]
fn a_server_that_is_slow_or_dead_is_an_error_in_time() {
    for reply in [Reply::Never, Reply::Drip] {
        let begun = Instant::now();
        let error = refusal(reply);
        assert!(matches!(error, JwksError::Timeout { .. }), "{error}");
        assert_eq!(error.kind(), IdentityErrorKind::Connection);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    let broken = refusal(Reply::Broken(json!({"keys": []}).to_string().into_bytes().into()));
    assert!(matches!(broken, JwksError::Connection { .. }), "{broken}");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let source = JwksUrl::builder(&format!("http://{nobody}/")).allow(WHO).build().unwrap();
    let error = kids(&source).unwrap_err();
    assert!(matches!(error, JwksError::Connection { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn an_old_set_is_fetched_anew_and_one_is_kept_while_the_server_is_down() {
    let issuer = Issuer::new();
    let (ttl, retry) = (Duration::ZERO, Duration::ZERO);
    let source = source(&issuer.server).ttl(ttl).retry_after(retry).build().unwrap();
    assert_eq!(kids(&source).unwrap(), ["first"]);
    let second = Key::p384("second");
    issuer.publish(&[&second]);
    assert_eq!(kids(&source).unwrap(), ["second"]);
    issuer.server.set(JWKS, Reply::Status(503));
    assert_eq!(kids(&source).unwrap(), ["second"]);
    issuer.publish(&[&issuer.key, &second]);
    assert_eq!(kids(&source).unwrap(), ["first", "second"]);
}

#[test]
fn a_failed_renewal_is_not_tried_again_at_once() {
    let issuer = Issuer::new();
    let source = source(&issuer.server).ttl(Duration::ZERO).build().unwrap();
    kids(&source).unwrap();
    issuer.server.set(JWKS, Reply::Status(503));
    for _ in 0..5 {
        kids(&source).unwrap();
    }
    assert_eq!(issuer.server.hits(JWKS), 2);
}

#[test]
fn a_set_does_not_outlive_its_hard_expiry() {
    let issuer = Issuer::new();
    let source = source(&issuer.server)
        .ttl(Duration::ZERO)
        .retry_after(Duration::ZERO)
        .hard_expiry(Duration::from_millis(300))
        .build()
        .unwrap();
    kids(&source).unwrap();
    issuer.server.set(JWKS, Reply::Status(503));
    let error = wait_for("the set expires", || kids(&source).err());
    assert!(matches!(error, JwksError::Status { status: 503, .. }), "{error}");
    issuer.publish(&[&issuer.key]);
    let found = wait_for("it recovers", || kids(&source).ok());
    assert_eq!(found, ["first"]);
}

#[test]
fn many_who_ask_at_once_make_one_fetch() {
    let issuer = Issuer::new();
    let body = json!({"keys": [issuer.key.public()]}).to_string().into_bytes();
    issuer.server.set(JWKS, Reply::Gated(body.into()));
    let source = Arc::new(source(&issuer.server).timeout(Duration::from_secs(60)).build().unwrap());
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let source = Arc::clone(&source);
            thread::spawn(move || kids(&source).unwrap())
        })
        .collect();
    issuer.server.wait_for_hits(JWKS, 1);
    issuer.server.open_gate();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), ["first"]);
    }
    assert_eq!(issuer.server.hits(JWKS), 1);
}

#[test]
fn to_be_ready_fetches_no_more_than_must_be() {
    let issuer = Issuer::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let ready = source(&issuer.server).build().unwrap();
    let many = |source: &JwksUrl| {
        let all: Vec<_> = (0..200)
            .map(|_| {
                let source = source.clone();
                runtime.spawn(async move { source.ready().await.is_ok() })
            })
            .collect();
        all.into_iter().map(|one| runtime.block_on(one).unwrap()).collect::<Vec<_>>()
    };
    assert!(many(&ready).into_iter().all(|good| good));
    assert_eq!(issuer.server.hits(JWKS), 1);
    assert_eq!(kids(&ready).unwrap(), ["first"]);
    assert_eq!(issuer.server.hits(JWKS), 1, "`keys` has what it needs");
    runtime.block_on(ready.refresh()).unwrap();
    assert_eq!(issuer.server.hits(JWKS), 2, "whatever its age");
    let (server, dead) = serving(Reply::text("no set"));
    assert!(many(&dead).into_iter().all(|good| !good));
    assert!(server.hits(JWKS) < 20, "a failure stands for a while: {}", server.hits(JWKS));
}

#[test]
fn readers_of_an_old_set_do_not_wait_for_who_fetches() {
    let issuer = Issuer::new();
    let source = Arc::new(
        source(&issuer.server).ttl(Duration::ZERO).timeout(Duration::from_secs(60)).build().unwrap(),
    );
    kids(&source).unwrap();
    let body = json!({"keys": [Key::p256("second").public()]}).to_string().into_bytes();
    issuer.server.set(JWKS, Reply::Gated(body.into()));
    let fetching = Arc::clone(&source);
    let thread = thread::spawn(move || kids(&fetching).unwrap());
    issuer.server.wait_for_hits(JWKS, 2);
    assert_eq!(kids(&source).unwrap(), ["first"], "the gate is closed, and this does not wait");
    issuer.server.open_gate();
    assert_eq!(thread.join().unwrap(), ["second"]);
}

#[test]
fn it_works_inside_run_times_and_refreshes_on_demand() {
    let issuer = Issuer::new();
    let source = source(&issuer.server).build().unwrap();
    for mut builder in
        [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()]
    {
        let runtime = builder.build().unwrap();
        runtime.block_on(source.refresh()).unwrap();
        assert_eq!(runtime.block_on(async { kids(&source) }).unwrap(), ["first"]);
    }
    assert_eq!(issuer.server.hits(JWKS), 2);
    issuer.server.set(JWKS, Reply::Status(500));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(source.refresh()).is_err());
    assert_eq!(kids(&source).unwrap(), ["first"], "what is kept stays");
}

#[test]
fn discovery_names_the_set_and_only_for_its_own_issuer() {
    let issuer = Issuer::new();
    let source = JwksUrl::discover(&issuer.url()).allow(WHO).build().unwrap();
    assert_eq!(kids(&source).unwrap(), ["first"]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let discover = || runtime.block_on(OidcDiscovery::fetch(&issuer.url()));
    let found = discover().unwrap();
    assert_eq!((found.issuer(), found.jwks_uri()), (&*issuer.url(), &*format!("{}{JWKS}", issuer.url())));

    let document = |issuer: String, jwks: &str| Reply::json(&json!({"issuer": issuer, "jwks_uri": jwks}));
    issuer.server.set(DISCOVERY, document(format!("{}/", issuer.url()), &format!("{}{JWKS}", issuer.url())));
    assert!(matches!(discover().unwrap_err(), JwksError::Issuer { .. }));
    issuer.server.set(DISCOVERY, document(issuer.url(), "http://example.org/jwks"));
    assert!(matches!(discover().unwrap_err(), JwksError::Url { .. }));
    issuer.server.set(DISCOVERY, Reply::Redirect(302, format!("{}/other", issuer.url())));
    assert!(matches!(discover().unwrap_err(), JwksError::Redirect { .. }));
}
