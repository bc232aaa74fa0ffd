//! Entries under the mock key, and what long lineages in plain cost (spec §12).
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, Response};
use kest_core::keys::{Jwks, KeyError};
use kest_core::verify::{Anchors, KeySource, Verifier};
use kest_core::{Kest, Passport};
use kest_http::{LineageLayer, Outbound, OutboundLayer, Parcel, PeerIdentity, Wire};
use kest_providers::identity::MockIdentityProvider;
use kest_providers::policy::MockPolicyEngine;
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt};

use self::support::{Workload, anchors, baggage, payload, protected, routes, send, serve, with_peer};

const FORGED: &str = "spiffe://kest.test/forged";

/// Whoever has the mock key, which everybody has.
fn forger() -> Kest {
    Kest::builder()
        .identity(MockIdentityProvider::new().unwrap().with_workload_id(FORGED))
        .engine(MockPolicyEngine::allow())
        .without_config()
        .build()
        .unwrap()
}

async fn forged() -> Passport {
    let user = json!("root");
    let call = async { protected("forged", Some(&user), async {}).await.unwrap() };
    forger().scope(call).source("system").with_passport().await.1
}

fn taking_mocks(keys: Anchors) -> Verifier {
    Verifier::builder().keys(keys).dangerous().accept_mock().build()
}

#[tokio::test]
async fn the_mock_key_binds_nobody() {
    let (service, real) = (Workload::new("orders"), Workload::new("gateway"));
    let builder = || {
        LineageLayer::builder(service.kest.clone(), taking_mocks(anchors(&[&real])))
            .allow("spiffe://kest.test/*")
            .unbound_ceiling(60)
    };
    let app = || routes().layer(builder().build().unwrap());
    let mut beside_real = real.passport(&["order"], Some(json!("root"))).await;
    beside_real.merge(&forged().await);
    for passport in [forged().await, beside_real] {
        let header = baggage(&passport);
        // Neither by its name, nor by a peer of that name.
        for router in [app(), with_peer(app(), PeerIdentity::spiffe(FORGED).unwrap())] {
            let told = send(serve(router).await, &[("baggage", &header)]).await.json();
            assert_eq!((&told["standing"], &told["identity"]), (&json!("Unbound"), &json!({})));
            assert_eq!(told["trust"], json!(10), "as `unauthenticated`");
        }
        let strict = serve(routes().layer(builder().require_bound().build().unwrap())).await;
        send(strict, &[("baggage", &header)]).await.is_problem(401, "unbound-lineage", "mock key");
    }
    // Others are bound as ever.
    let header = real.baggage(&["order"], None).await;
    let told = send(serve(app()).await, &[("baggage", &header)]).await.json();
    assert_eq!((&told["standing"], &told["trust"]), (&json!("Bound"), &json!(100)));
}

#[tokio::test]
async fn what_comes_back_under_the_mock_key_is_of_no_callee() {
    let caller = Workload::new("orders");
    let layer = LineageLayer::builder(forger(), support::verifier(&[&caller]))
        .allow("spiffe://kest.test/*")
        .return_lineage()
        .build()
        .unwrap();
    let service = serve(routes().layer(layer)).await;
    let outbound =
        Outbound::builder().any_host().returned(taking_mocks(anchors(&[&caller]))).build().unwrap();
    let client =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let client = ServiceBuilder::new()
        .layer(OutboundLayer::new(outbound))
        .map_response(|mut answer: Response<hyper::body::Incoming>| {
            answer.extensions_mut().insert(PeerIdentity::spiffe(FORGED).unwrap());
            answer
        })
        .service(client);
    let work = async {
        protected("first", None, async {}).await.unwrap();
        let request = Request::get(format!("http://{service}/")).body(Body::empty()).unwrap();
        client.oneshot(request).await.unwrap();
        protected("last", None, async {}).await.unwrap();
    };
    let ((), passport) = caller.kest.scope(work).source("system").with_passport().await;
    let last = passport.entries().last().unwrap().clone();
    assert_eq!(payload(last.jws())["operation"], "last");
    assert_eq!((passport.len(), last.trust_score()), (3, 10));
}

/// Keys that are at hand, but that keep the first who asks waiting until they are let go.
#[derive(Debug)]
struct Slow {
    keys: Anchors,
    asked: AtomicUsize,
    let_go: (Mutex<bool>, Condvar),
}

impl KeySource for Slow {
    fn keys(&self, principal: &str) -> Result<Option<Jwks>, KeyError> {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 0 {
            let (gone, told) = &self.let_go;
            // Not for ever: a test that fails would never end.
            let patience = Duration::from_secs(20);
            drop(told.wait_timeout_while(gone.lock().unwrap(), patience, |gone| !*gone).unwrap());
        }
        self.keys.keys(principal)
    }

    fn may_block(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_long_lineage_in_plain_takes_a_permit_too() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let wire = Wire::builder().tier_bytes(1 << 20).header_bytes(1 << 20).build();
    let header = |passport: &Passport| {
        let header = wire.write_blocking(&Parcel::of(passport.clone()), &[]).unwrap();
        assert!(header.starts_with("kest.passport="), "{}", &header[..40]);
        header
    };
    let long = header(&caller.passport(&["step"; 33], None).await);
    let short = header(&caller.passport(&["step"; 32], None).await);
    let keys = Arc::new(Slow {
        keys: anchors(&[&caller]),
        asked: AtomicUsize::new(0),
        let_go: (Mutex::new(false), Condvar::new()),
    });
    let layer = LineageLayer::builder(service.kest.clone(), Verifier::new(Arc::clone(&keys)))
        .wire(wire.clone())
        .verifications_at_once(1)
        .build()
        .unwrap();
    let app = Router::new().route("/", get(|| async { "hello" })).layer(layer);
    let ask = |header: &str| {
        let request = Request::get("/").header("baggage", header).body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request);
        async move { answer.await.unwrap().status().as_u16() }
    };
    let first = tokio::spawn(ask(&long));
    while keys.asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    // The one permit is taken, so that the next waits in vain.
    assert_eq!(ask(&long).await, 503);
    assert_eq!(keys.asked.load(Ordering::SeqCst), 1);
    // What is checked in passing needs none.
    assert_eq!(ask(&short).await, 200);
    *keys.let_go.0.lock().unwrap() = true;
    keys.let_go.1.notify_all();
    assert_eq!(first.await.unwrap(), 200);
    assert_eq!(ask(&long).await, 200);
}
