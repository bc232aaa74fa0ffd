//! `SpireProvider` against an agent that does what the test tells it: first contact, choice of an SVID, and the end.
#![cfg(feature = "spire")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/spire/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kest_core::error::IdentityErrorKind;
use kest_core::identity::IdentityProvider;
use kest_providers::conformance::identity::run_with;
use kest_providers::identity::IdentityProviderExt;
use kest_providers::identity::spire::{SpiffeIdentityProvider, SpireProvider};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use support::pki::Ca;
use support::{Agent, PERMISSION_DENIED, Say, UNAVAILABLE, eventually, proto};

fn header(jws: &str) -> serde_json::Value {
    let header = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(jws.split('.').next().unwrap()).unwrap();
    serde_json::from_slice(&header).unwrap()
}

#[test]
fn conforms_with_every_kind_of_key() {
    let ca = Ca::new("own.test");
    let p384 = ca.issue(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(), "/p384", |_| {});
    for (svid, alg) in [(ca.svid("/p256"), "ES256"), (p384, "ES384"), (ca.svid_rsa("/rsa"), "RS256")] {
        let agent = Agent::with(&ca.update(&svid));
        let provider = agent.provider();
        run_with(&provider, 400).unwrap();
        assert_eq!(*provider.workload_id().unwrap(), *svid.id);
        let header = header(provider.sign(b"{}").unwrap().as_str());
        assert_eq!(header["alg"], alg);
        assert_eq!(header["kid"], provider.public_keys().unwrap().0[0].thumbprint());
        assert_eq!(
            header["x5c"],
            serde_json::json!([base64_simd::STANDARD.encode_to_string(&svid.chain[0])])
        );
    }
}

#[tokio::test]
async fn gives_what_the_agent_sent() {
    let ca = Ca::new("own.test");
    let (intermediate_der, intermediate) = ca.intermediate(|_| {});
    let svid = intermediate.svid("/web/front").through(&[&intermediate_der]);
    let agent = Agent::with(&ca.update(&svid).hinted("internal"));
    let provider: SpiffeIdentityProvider = agent.provider();
    provider.initialize().await.unwrap();
    assert_eq!(&*provider.get_identity().await.unwrap(), "spiffe://own.test/web/front");
    let held = provider.get_svid().await.unwrap();
    assert_eq!(held.spiffe_id(), "spiffe://own.test/web/front");
    assert_eq!(held.trust_domain(), "own.test");
    assert_eq!(held.chain(), [svid.chain[0].clone(), intermediate_der]);
    assert_eq!(held.hint(), Some("internal"));
    let hour = held.expires_at_ms() - support::pki::now_ms();
    assert!((3_590_000..=3_600_000).contains(&hour), "{hour}");
    assert_eq!(held.public_key(), &provider.public_keys_async().await.unwrap().0[0]);
    assert!(provider.health_check().await);
    // One stream, whatever is asked.
    assert_eq!((agent.x509_streams(), agent.jwt_streams()), (1, 0));
}

#[tokio::test]
async fn connects_on_first_use_also_to_a_socket_that_comes_late() {
    let ca = Ca::new("own.test");
    let mut agent = Agent::stopped();
    agent.send(&ca.update(&ca.svid("/late")));
    let provider = agent.provider();
    assert!(provider.ready().is_some());
    let waiting = {
        let provider = provider.clone();
        tokio::spawn(async move { provider.get_identity().await })
    };
    agent.start();
    assert_eq!(&*waiting.await.unwrap().unwrap(), "spiffe://own.test/late");
    assert!(provider.ready().is_none());
}

#[test]
fn without_an_agent_it_says_so_in_time_and_tries_again_later() {
    let ca = Ca::new("own.test");
    let mut agent = Agent::stopped();
    agent.send(&ca.update(&ca.svid("/a")));
    let provider = agent.impatient();
    let before = Instant::now();
    let error = provider.workload_id().unwrap_err();
    assert!(before.elapsed() < Duration::from_secs(5));
    assert_eq!(error.kind(), IdentityErrorKind::Connection);
    assert!(error.to_string().contains(&*agent.socket().to_string_lossy()), "{error}");
    assert!(error.to_string().contains("check that the SPIRE agent runs"), "{error}");
    assert_eq!(provider.sign(b"{}").unwrap_err().kind(), IdentityErrorKind::Connection);

    agent.start();
    eventually("a later call finds the agent", || provider.workload_id().is_ok());
    provider.sign(b"{}").unwrap();
}

#[test]
fn who_comes_after_one_who_has_waited_in_vain_waits_for_one_attempt() {
    let agent = Agent::stopped();
    let limit = Duration::from_secs(3);
    let provider = agent.builder().initial_timeout(limit).build().unwrap();
    let before = Instant::now();
    provider.workload_id().unwrap_err();
    assert!(before.elapsed() >= limit, "an agent that is about to start is waited for");
    let before = Instant::now();
    let error = provider.workload_id().unwrap_err();
    assert!(before.elapsed() < limit / 2, "{:?}", before.elapsed());
    assert_eq!(error.kind(), IdentityErrorKind::Connection);
}

#[test]
fn an_agent_that_never_answers_is_not_waited_for() {
    let agent = Agent::started();
    let error = agent.impatient().workload_id().unwrap_err();
    assert_eq!(error.kind(), IdentityErrorKind::Connection);
    assert!(error.to_string().contains("did not answer in time"), "{error}");
}

#[test]
fn an_agent_without_an_entry_for_this_process_is_no_lost_connection() {
    let ca = Ca::new("own.test");
    let agent = Agent::started();
    agent.say(Say::Status(PERMISSION_DENIED, "no identity issued\u{1b}[31m"));
    let provider = agent.impatient();
    let error = provider.workload_id().unwrap_err();
    assert_eq!(error.kind(), IdentityErrorKind::Missing);
    assert!(error.to_string().contains("`spire-server entry create`"), "{error}");
    assert!(!error.to_string().contains('\u{1b}'), "{error}");
    // The entry is made: no restart is needed.
    agent.send(&ca.update(&ca.svid("/a")));
    eventually("the new entry is seen", || provider.workload_id().is_ok());
}

#[test]
fn what_is_no_answer_is_refused() {
    let ca = Ca::new("own.test");
    let svid = ca.svid("/a");
    let other = ca.svid("/b");
    let without = |change: fn(&mut proto::X509Svid)| {
        let mut update = ca.update(&svid);
        change(&mut update.svids[0]);
        update
    };
    let mut crossed = ca.update(&svid);
    crossed.svids[0].x509_svid_key = other.pkcs8.clone();
    let cases = [
        (Say::Garbage, "failed to decode"),
        (Say::Drop, "check that the SPIRE agent runs"),
        (Say::Status(UNAVAILABLE, "closing"), "closing"),
        (Say::Status(0, ""), "closed the stream"),
        (message(&proto::X509SvidResponse::default()), "X509SVIDResponse.svids"),
        (message(&without(|svid| svid.x509_svid.clear())), "X509SVID.x509_svid"),
        (message(&without(|svid| svid.x509_svid_key.clear())), "X509SVID.x509_svid_key"),
        (message(&without(|svid| svid.bundle.clear())), "X509SVID.bundle"),
        (message(&without(|svid| svid.x509_svid_key.truncate(20))), "answer cannot be used"),
        (message(&crossed), "of another key"),
        (message(&ca.update(&ca.issue(KeyPair::generate_for(&PKCS_ED25519).unwrap(), "/ed", |_| {}))), "key"),
        (
            message(&ca.update(&ca.issue(KeyPair::generate().unwrap(), "/old", |params| {
                params.not_before = support::pki::at(Duration::from_secs(0)) - Duration::from_secs(100);
                params.not_after = support::pki::at(Duration::from_secs(0)) - Duration::from_secs(50);
            }))),
            "has expired already",
        ),
    ];
    for (say, expected) in cases {
        let agent = Agent::started();
        agent.say(say.clone());
        let error = agent.impatient().sign(b"{}").unwrap_err();
        assert!(error.to_string().contains(expected), "{say:?}: {error}");
        assert_ne!(error.kind(), IdentityErrorKind::Untrusted, "{error}");
    }
}

fn message(update: &proto::X509SvidResponse) -> Say {
    Say::Message(prost::Message::encode_to_vec(update))
}

#[test]
fn the_hint_chooses_and_without_one_the_first_is_taken() {
    let ca = Ca::new("own.test");
    let update = ca.update(&ca.svid("/first")).and(ca.update(&ca.svid("/in")).hinted("internal"));
    let update = update.and(ca.update(&ca.svid("/out")).hinted("external"));
    let agent = Agent::with(&update);
    let id = |provider: SpireProvider| provider.workload_id().unwrap();
    assert_eq!(&*id(agent.provider()), "spiffe://own.test/first");
    assert_eq!(&*id(agent.builder().hint("internal").build().unwrap()), "spiffe://own.test/in");
    assert_eq!(&*id(agent.builder().hint("external").build().unwrap()), "spiffe://own.test/out");

    // The agent has answered: there is nothing to wait for.
    let provider = agent.builder().hint("nobody").build().unwrap();
    let before = Instant::now();
    for _ in 0..2 {
        let error = provider.workload_id().unwrap_err();
        assert_eq!(error.kind(), IdentityErrorKind::Missing);
        for text in ["nobody", "internal", "external"] {
            assert!(error.to_string().contains(text), "{error}");
        }
    }
    assert!(before.elapsed() < Duration::from_secs(5));
    // Until it offers the hint after all.
    agent.send(&update.and(ca.update(&ca.svid("/new")).hinted("nobody")));
    eventually("the hint is offered", || provider.workload_id().is_ok());
    assert_eq!(&*id(provider), "spiffe://own.test/new");
}

#[tokio::test]
async fn trust_bundles_are_ones_own_and_the_federated_ones() {
    let (own, peer) = (Ca::new("own.test"), Ca::new("peer.test"));
    let update = own.update(&own.svid("/a"));
    let agent = Agent::with(&update.clone().federated("peer.test", peer.der.clone()));
    let provider = agent.provider();
    for name in [None, Some("own.test"), Some("spiffe://own.test")] {
        let bundle = provider.get_trust_bundle(name).await.unwrap();
        assert_eq!(bundle.trust_domain(), "own.test");
        assert_eq!(bundle.certificates().collect::<Vec<_>>(), [&own.der]);
    }
    let federated = provider.get_trust_bundle(Some("peer.test")).await.unwrap();
    assert_eq!(federated.certificates().collect::<Vec<_>>(), [&peer.der]);
    for name in ["other.test", "", "Own.Test", "peer.test/x"] {
        let error = provider.get_trust_bundle(Some(name)).await.unwrap_err();
        assert_eq!(error.kind(), IdentityErrorKind::TrustDomain, "{name}");
    }
    let error = provider.get_trust_bundle(Some("other.test")).await.unwrap_err();
    for text in ["`other.test`", "`own.test`", "`peer.test`", "-federatesWith other.test"] {
        assert!(error.to_string().contains(text), "{error}");
    }
    // What is withdrawn is gone with the next update.
    agent.send(&update);
    support::eventually_async("the federated bundle is withdrawn", async || {
        provider.get_trust_bundle(Some("peer.test")).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn after_shutdown_everything_is_an_error() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = agent.provider();
    let clone = provider.clone();
    let config = provider.tls_client_config(Default::default()).await.unwrap();
    provider.initialize().await.unwrap();
    provider.shutdown().await;
    provider.shutdown().await;
    let errors = [
        clone.initialize().await.unwrap_err(),
        clone.get_identity().await.unwrap_err(),
        clone.get_svid().await.unwrap_err(),
        clone.get_trust_bundle(None).await.unwrap_err(),
        clone.workload_id().unwrap_err(),
        clone.sign(b"{}").unwrap_err(),
        clone.sign_async(b"{}").await.unwrap_err(),
        clone.public_keys().unwrap_err(),
        clone.verify_svid(kest_core::identity::Svid::X509(&[])).await.unwrap_err(),
        clone.tls_server_config(Default::default()).await.unwrap_err(),
        clone.register_rotation_callback(async |_| Ok(())).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), IdentityErrorKind::Missing);
        assert!(error.to_string().contains("was shut down"), "{error}");
    }
    assert!(!clone.health_check().await);
    assert!(config.client_auth_cert_resolver.resolve(&[], &[]).is_none());
    // The stream's task is gone, and with it the connection.
    eventually("the connection is closed", || agent.connections() == 0);
    assert_eq!(agent.x509_streams(), 1);
}

#[test]
fn the_connection_ends_with_the_last_clone() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = agent.provider();
    let clone = provider.clone();
    provider.workload_id().unwrap();
    drop(provider);
    clone.sign(b"{}").unwrap();
    assert_eq!(agent.connections(), 1);
    drop(clone);
    eventually("the connection is closed", || agent.connections() == 0);
}

#[test]
fn blocking_calls_work_inside_run_times() {
    let ca = Ca::new("own.test");
    for flavour in
        [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()]
    {
        let agent = Agent::with(&ca.update(&ca.svid("/a")));
        let provider = agent.provider();
        let runtime = { flavour }.enable_all().build().unwrap();
        runtime.block_on(async { provider.sign(b"{}").unwrap() });
        // It does not depend on the run-time that made the first call.
        drop(runtime);
        provider.sign(b"{}").unwrap();
    }
}

#[test]
fn many_first_calls_make_one_stream() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = Arc::new(agent.provider());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| provider.sign(b"{}").unwrap());
        }
    });
    assert_eq!(agent.x509_streams(), 1);
}

#[test]
fn a_shutdown_that_is_cancelled_has_taken_effect() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = agent.provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let held = Arc::downgrade(&runtime.block_on(provider.get_svid()).unwrap());
    runtime.block_on(async {
        let mut shutdown = Box::pin(provider.shutdown());
        std::future::poll_fn(|context| std::task::Poll::Ready(shutdown.as_mut().poll(context).is_ready()))
            .await;
    });
    eventually("the key is forgotten", || held.upgrade().is_none());
    eventually("the connection ends", || agent.connections() == 0);
    assert_eq!(provider.workload_id().unwrap_err().kind(), IdentityErrorKind::Missing);
}

#[test]
fn a_callback_that_holds_the_provider_goes_with_its_shutdown() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = agent.provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let held = Arc::downgrade(&runtime.block_on(provider.get_svid()).unwrap());
    let owned = Arc::new(());
    let callback = Arc::downgrade(&owned);
    let inner = provider.clone();
    provider
        .register_rotation_callback(move |_| {
            let (_owned, _id) = (&owned, inner.workload_id());
            async { Ok(()) }
        })
        .unwrap();
    runtime.block_on(provider.shutdown());
    drop(provider);
    eventually("the key and the callback are gone", || {
        held.upgrade().is_none() && callback.upgrade().is_none()
    });
}
