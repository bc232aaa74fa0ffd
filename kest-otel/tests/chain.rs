//! Three services over sockets: their spans are one trace, and each is the child of the call that led to it. Spec §14.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use kest_core::Kest;
use kest_core::verify::{Anchors, Verifier};
use kest_http::{KestPropagator, LineageLayer, Outbound, Wire};
use kest_otel::KestTelemetry;
use kest_providers::identity::LocalEd25519Provider;
use kest_providers::policy::MockPolicyEngine;
use opentelemetry::trace::{TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use support::{Folder, alone, call_async, named, read, workload};
use tokio::net::TcpListener;

struct Service {
    kest: Kest,
    verifier: Verifier,
}

/// Services that believe each other.
fn services(names: [&str; 3]) -> [Service; 3] {
    let identities = names.map(workload);
    let mut anchors = Anchors::new();
    for identity in &identities {
        anchors.merge(Anchors::from_provider(&**identity).unwrap()).unwrap();
    }
    identities.map(|identity: std::sync::Arc<LocalEd25519Provider>| Service {
        kest: Kest::builder()
            .identity(identity)
            .engine(MockPolicyEngine::allow().without_recording())
            .without_config()
            .build()
            .unwrap(),
        verifier: Verifier::new(anchors.clone()),
    })
}

async fn serve(service: Service, operation: &'static str, next: Option<SocketAddr>) -> SocketAddr {
    let lineage =
        LineageLayer::builder(service.kest, service.verifier).allow("spiffe://kest.test/*").build().unwrap();
    let handler = move || async move {
        call_async(operation, async {
            match next {
                Some(next) => ask(next).await,
                None => String::new(),
            }
        })
        .await
        .unwrap()
    };
    let router = Router::new().route("/", get(handler)).layer(lineage);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

async fn ask(address: SocketAddr) -> String {
    let outbound = Outbound::builder().host(address.to_string()).build().unwrap();
    let client = outbound.client(reqwest::Client::builder().no_proxy()).unwrap();
    let answer = client.get(format!("http://{address}/")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

/// Runs the chain in a fresh runtime, and gives the spans of it.
fn chain(telemetry: KestTelemetry, path: &str) -> Vec<support::Seen> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let [shop, orders, payments] = services(["shop", "orders", "payments"]);
        let payments = serve(payments, "pay", None).await;
        let orders = serve(orders, "order", Some(payments)).await;
        shop.kest.scope(call_async("buy", ask(orders))).await.unwrap();
    });
    drop(runtime);
    telemetry.shutdown().unwrap();
    read(path)
}

#[track_caller]
fn is_one_trace(spans: &[support::Seen]) {
    assert_eq!(spans.len(), 3);
    let [buy, order, pay] =
        ["buy", "order", "pay"].map(|name| named(spans, &format!("kest.verified.{name}")));
    assert_eq!((order.trace(), pay.trace()), (buy.trace(), buy.trace()));
    assert_eq!((buy.parent(), order.parent(), pay.parent()), (None, Some(buy.id()), Some(order.id())));
    let workloads =
        [buy, order, pay].map(|span| span.text("kest.workload_id").unwrap().rsplit('/').next().unwrap());
    assert_eq!(workloads, ["shop", "orders", "payments"]);
    // Of the lineage's root alone: what came in has parents.
    assert!(buy.attribute("kest.passport").is_some());
    assert_eq!((order.attribute("kest.passport"), pay.attribute("kest.passport")), (None, None));
    // And whose parent is elsewhere is known.
    assert_eq!(
        [buy, order, pay].map(|span| span.span["flags"].as_u64().unwrap() & 0x300),
        [0x100, 0x300, 0x300]
    );
}

#[test]
fn three_services_are_one_trace() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    // Where the program has no propagator, the telemetry brings that of W3C along.
    is_one_trace(&chain(KestTelemetry::setup("chain", "file", path.as_str()).unwrap(), &path));
    // A propagator of its own stays: one that writes lineage as well changes nothing.
    global::set_text_map_propagator(
        KestPropagator::new(Wire::default()).around(TraceContextPropagator::new()).any_host(),
    );
    std::fs::remove_file(&path).unwrap();
    is_one_trace(&chain(KestTelemetry::setup("chain", "file", path.as_str()).unwrap(), &path));
    let fields: Vec<String> =
        global::get_text_map_propagator(|propagator| propagator.fields().map(str::to_owned).collect());
    assert!(fields.contains(&"baggage".to_owned()), "{fields:?}");
    global::set_text_map_propagator(TraceContextPropagator::new());
}

#[test]
fn instrumentation_of_the_program_comes_first() {
    let _alone = alone();
    global::set_text_map_propagator(TraceContextPropagator::new());
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let telemetry = KestTelemetry::setup("shop", "file", path.as_str()).unwrap();
    let tracer = telemetry.tracer_provider().tracer("theirs");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let [shop, ..] = services(["shop", "orders", "payments"]);
        let lineage = LineageLayer::builder(shop.kest, shop.verifier).build().unwrap();
        let handler = || async { call_async("handle", async {}).await.unwrap() };
        let app = Router::new().route("/", get(handler)).layer(lineage);
        let request = axum::http::Request::get("/")
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .body(axum::body::Body::empty())
            .unwrap();
        // Middleware around the layer has opened a span for the request already, under whatever it likes.
        let cx = Context::current_with_span(tracer.start("server"));
        let served = tower_service::Service::call(&mut app.into_service(), request);
        let answer = opentelemetry::context::FutureExt::with_context(served, cx).await.unwrap();
        assert_eq!(answer.status(), 200);
    });
    telemetry.shutdown().unwrap();
    let spans = read(&path);
    let (server, handle) = (named(&spans, "server"), named(&spans, "kest.verified.handle"));
    assert_eq!(handle.parent(), Some(server.id()));
    assert_ne!(handle.trace(), "0af7651916cd43dd8448eb211c80319c");
}

#[test]
fn a_trace_context_that_is_none_begins_a_trace() {
    let _alone = alone();
    global::set_text_map_propagator(TraceContextPropagator::new());
    let folder = Folder::new();
    let path = folder.file("spans.jsonl");
    let telemetry = KestTelemetry::setup("shop", "file", path.as_str()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let headers = [
        ("good", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("zeros", "00-00000000000000000000000000000000-b7ad6b7169203331-01"),
        ("garbage", "00-what-is-this-01"),
        ("unsampled", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
    ];
    runtime.block_on(async {
        for (operation, traceparent) in headers {
            let [shop, ..] = services(["shop", "orders", "payments"]);
            let address = serve(shop, operation, None).await;
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let request = client.get(format!("http://{address}/")).header("traceparent", traceparent);
            assert_eq!(request.send().await.unwrap().status(), 200);
        }
    });
    telemetry.shutdown().unwrap();
    let spans = read(&path);
    let good = named(&spans, "kest.verified.good");
    assert_eq!(good.trace(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(good.parent(), Some("b7ad6b7169203331"));
    for begins in ["zeros", "garbage"] {
        let span = named(&spans, &format!("kest.verified.{begins}"));
        assert_eq!(span.parent(), None);
        assert_ne!(span.trace(), "0af7651916cd43dd8448eb211c80319c");
    }
    // The caller has decided that its trace is not recorded.
    assert_eq!(spans.len(), 3);
}
