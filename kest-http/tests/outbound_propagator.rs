//! The application's global propagator beside an outbound layer. By itself: it is global. Spec §12.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod outbound_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kest_core::claim::{BoxFuture, ClaimCache, ClaimId};
use kest_core::error::PropagationError;
use kest_http::{KestPropagator, Outbound, OutboundLayer, Wire};
use opentelemetry::Context;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use outbound_support::{Workload, client, get, op, recorder};
use tower::{Layer as _, ServiceExt as _};

/// Counts how often it was asked to block, and how often not.
#[derive(Debug, Default)]
struct Counting {
    blocking: AtomicUsize,
    waiting: AtomicUsize,
}

impl ClaimCache for Counting {
    fn put(&self, _: &ClaimId, _: &str, _: Duration) -> Result<(), PropagationError> {
        self.blocking.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn get(&self, _: &ClaimId) -> Result<Option<Arc<str>>, PropagationError> {
        Ok(None)
    }

    fn put_async<'a>(
        &'a self,
        _: &'a ClaimId,
        _: &'a str,
        _: Duration,
    ) -> BoxFuture<'a, Result<(), PropagationError>> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn get_async<'a>(&'a self, _: &'a ClaimId) -> BoxFuture<'a, Result<Option<Arc<str>>, PropagationError>> {
        Box::pin(async { Ok(None) })
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Writes what it has no say in.
#[derive(Debug)]
struct Meddler;

const MEDDLED: [&str; 4] = ["host", "cookie", "authorization", "proxy-authorization"];

impl TextMapPropagator for Meddler {
    fn inject_context(&self, _: &Context, injector: &mut dyn Injector) {
        for name in MEDDLED {
            injector.set(name, "meddled".to_owned());
        }
        injector.set("x-trace", "1".to_owned());
    }

    fn extract_with_context(&self, cx: &Context, _: &dyn Extractor) -> Context {
        cx.clone()
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&[])
    }
}

#[tokio::test]
async fn a_global_propagator_of_ours_writes_no_second_lineage() {
    let orders = Workload::new("orders");
    let cache = Arc::new(Counting::default());
    let wire = Wire::builder().cache(Arc::clone(&cache) as Arc<dyn ClaimCache>).tier_bytes(100).build();
    opentelemetry::global::set_text_map_propagator(
        KestPropagator::new(wire.clone()).around(Meddler).any_host(),
    );
    let (at, received) = recorder().await;
    let outbound = Outbound::builder().host(at.to_string()).wire(wire).build().unwrap();
    let work = async {
        op("first", async {}).await.unwrap();
        let client = OutboundLayer::new(outbound).layer(client(false));
        client.oneshot(get(format!("http://{at}/"))).await.unwrap();
    };
    orders.kest.scope(work).source("system").await;
    assert_eq!(cache.blocking.load(Ordering::SeqCst), 0, "nothing blocks");
    assert_eq!(cache.waiting.load(Ordering::SeqCst), 1, "one claim check");
    assert_eq!(received.header("x-trace").as_deref(), Some("1"));
    for name in MEDDLED {
        assert!(received.last().get_all(name).iter().all(|value| value != "meddled"), "{name}");
    }
}
