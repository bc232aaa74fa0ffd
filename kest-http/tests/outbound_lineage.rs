//! Whose lineage goes along with calls of tower clients, and what keeps it from going. Spec §12.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod outbound_support;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use kest_core::claim::{BoxFuture, ClaimCache, ClaimId};
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_http::{Outbound, OutboundLayer, Wire};
use outbound_support::{Warnings, Workload, client, find, get, kind, op, recorder, verifier};
use tower::{Layer as _, ServiceExt};

#[tokio::test]
async fn outside_of_a_scope_nothing_goes_along() {
    let (address, received) = recorder().await;
    let outbound = Outbound::builder().any_host().returned(verifier(&[])).build().unwrap();
    OutboundLayer::new(outbound)
        .layer(client(false))
        .oneshot(get(format!("http://{address}/")))
        .await
        .unwrap();
    for name in ["baggage", "authorization", "kest-return"] {
        assert_eq!(received.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_call_from_a_task_without_lineage_is_no_silent_one() {
    let orders = Workload::new("orders");
    let (address, received) = recorder().await;
    let call = |outbound: &Outbound| {
        let client = OutboundLayer::new(outbound.clone()).layer(client(false));
        let task = async move { client.oneshot(get(format!("http://{address}/"))).await.map(drop) };
        op("call", async { tokio::spawn(task).await.unwrap() })
    };
    let named = Outbound::builder().host(address.to_string());
    let outbound = named.clone().build().unwrap();
    let warnings = Warnings::default();
    let listening = warnings.listen();
    for count in [1, 2] {
        orders.kest.scope(call(&outbound)).await.unwrap().unwrap();
        assert_eq!((received.count(), received.header("baggage")), (count, None));
    }
    // A host that is not named gets no lineage anyway.
    let other = Outbound::builder().host("orders.internal").build().unwrap();
    orders.kest.scope(call(&other)).await.unwrap().unwrap();
    drop(listening);
    let mut said = warnings.all();
    said.retain(|said| said.contains("goes without lineage"));
    let [said] = &said[..] else { panic!("{said:?}") };
    for part in ["kest::spawn", ".in_lineage()", ".require_lineage()"] {
        assert!(said.contains(part), "{said}");
    }
    let required = named.require_lineage().build().unwrap();
    let error = orders.kest.scope(call(&required)).await.unwrap().unwrap_err();
    assert_eq!((kind(&*error), find(&*error).call_was_made()), (PropagationErrorKind::NoLineage, false));
    assert!(error.to_string().contains("kest::spawn"), "{error}");
    // In a scope where nothing is recorded there is none either.
    let client = OutboundLayer::new(required).layer(client(false));
    let error =
        orders.kest.scope(client.clone().oneshot(get(format!("http://{address}/")))).await.unwrap_err();
    assert_eq!(kind(&*error), PropagationErrorKind::NoLineage);
    assert!(error.to_string().contains("inside a protected function"), "{error}");
    assert_eq!(received.count(), 3);
    let inside = op("call", client.oneshot(get(format!("http://{address}/"))));
    orders.kest.scope(inside).await.unwrap().unwrap();
    assert!(received.baggage().lineage.is_some());
}

#[tokio::test]
async fn the_lineage_is_that_of_the_code_that_makes_the_call() {
    let orders = Workload::new("orders");
    let (address, received) = recorder().await;
    let outbound = Outbound::builder().any_host().build().unwrap();
    let mut client = OutboundLayer::new(outbound).layer(client(false));
    let call = op("call", async {
        // `oneshot` would make the call when it is polled.
        let client = ServiceExt::<Request<Body>>::ready(&mut client).await.unwrap();
        [tower::Service::call(client, get(format!("http://{address}/")))]
    });
    let [call] = orders.kest.scope(call).await.unwrap();
    tokio::spawn(call).await.unwrap().unwrap();
    assert_eq!(received.baggage().lineage.unwrap().len(), 1);
}

#[tokio::test]
async fn a_lineage_that_cannot_be_sent_fails_the_call() {
    let orders = Workload::new("orders");
    let (address, received) = recorder().await;
    let send = |wire: Wire, entries: usize| {
        let outbound = Outbound::builder().any_host().wire(wire).build().unwrap();
        let client = OutboundLayer::new(outbound).layer(client(false));
        orders.kest.scope(async move {
            for _ in 0..entries {
                op("step", async {}).await.unwrap();
            }
            client.oneshot(get(format!("http://{address}/"))).await.unwrap_err()
        })
    };
    let error = send(Wire::default(), 100).await;
    assert_eq!(kind(&*error), PropagationErrorKind::NoSharedCache);
    let error = send(Wire::builder().cache(Arc::new(Down)).build(), 100).await;
    assert_eq!(kind(&*error), PropagationErrorKind::Cache);
    let error = send(Wire::builder().entries(3).build(), 4).await;
    assert_eq!(kind(&*error), PropagationErrorKind::TooLarge);
    assert!(find(&*error).to_string().contains("entries"), "{error}");
    assert_eq!(received.count(), 0);
}

/// A cache that says it is shared and cannot be reached.
#[derive(Debug)]
struct Down;

impl ClaimCache for Down {
    fn put(&self, _: &ClaimId, _: &str, _: Duration) -> Result<(), PropagationError> {
        Err(PropagationError::new(PropagationErrorKind::Cache, "the cache is down"))
    }

    fn get(&self, _: &ClaimId) -> Result<Option<Arc<str>>, PropagationError> {
        Err(PropagationError::new(PropagationErrorKind::Cache, "the cache is down"))
    }

    fn put_async<'a>(
        &'a self,
        claim: &'a ClaimId,
        passport: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), PropagationError>> {
        Box::pin(async move { self.put(claim, passport, ttl) })
    }

    fn get_async<'a>(
        &'a self,
        claim: &'a ClaimId,
    ) -> BoxFuture<'a, Result<Option<Arc<str>>, PropagationError>> {
        Box::pin(async move { self.get(claim) })
    }

    fn is_shared(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn the_cache_is_that_of_the_kest_in_force() {
    let orders = Workload::new("orders");
    let kest = kest_core::Kest::builder()
        .identity(Arc::clone(&orders.identity))
        .engine(kest_providers::policy::MockPolicyEngine::allow().without_recording())
        .cache(Down)
        .without_config()
        .build()
        .unwrap();
    let outbound = Outbound::builder().any_host().build().unwrap();
    let client = OutboundLayer::new(outbound).layer(client(false));
    let error = kest
        .scope(async {
            for _ in 0..100 {
                op("step", async {}).await.unwrap();
            }
            client.oneshot(get("http://127.0.0.1:9/")).await.unwrap_err()
        })
        .await;
    assert_eq!(kind(&*error), PropagationErrorKind::Cache);
}
