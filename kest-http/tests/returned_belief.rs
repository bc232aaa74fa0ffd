//! How far a lineage is believed that has been at a service and comes back, and what of it is sent at all. Spec §12.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod outbound_support;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Path, Request};
use axum::routing::{any, get as route};
use http_body_util::BodyExt as _;
use kest_core::__private::{CallSpec, Invocation, begin, in_scope};
use kest_core::Passport;
use kest_core::lineage::{Outgoing, get_current_passport};
use kest_core::verify::{Anchors, Authority, Grant, VerifiedPassport, Verifier};
use kest_http::{LineageLayer, Outbound, OutboundLayer, Wire};
use outbound_support::{
    PLAIN, Workload, asking_back, callee, client, get, header, op, score, serve, shape, verifier,
};
use tower::{Layer as _, ServiceExt as _};

const ADDS: CallSpec = CallSpec { operation: "adds", added_taints: &["pii"], ..PLAIN };
const REMOVES: CallSpec = CallSpec {
    operation: "removes",
    classification: "sanitizer",
    removed_taints: &["pii"],
    sanitizer: true,
    ..PLAIN
};
const RAISES: CallSpec = CallSpec { operation: "raises", trust_override: Some(90), ..PLAIN };

async fn run(spec: &'static CallSpec) {
    let live = begin(Invocation::new(spec)).await.unwrap();
    in_scope(live, Result::is_err, async { Ok::<_, kest_core::Error>(()) }).await.unwrap();
}

async fn text(address: SocketAddr, path: &str, baggage: &str) -> String {
    let mut request = get(format!("http://{address}{path}"));
    request.headers_mut().insert("baggage", baggage.parse().unwrap());
    let answer = client(false).request(request).await.unwrap();
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// A service that, at `/1`, calls another before it acts: the score, the taints and the lineage of what it did.
async fn between(layer: LineageLayer, outbound: Outbound, stock: SocketAddr) -> SocketAddr {
    let handler = move |Path(calls): Path<u8>| {
        let client = OutboundLayer::new(outbound.clone()).layer(client(false));
        async move {
            if calls == 1 {
                client.oneshot(get(format!("http://{stock}/"))).await.unwrap();
            }
            let passport = op("handled", async { get_current_passport().unwrap() }).await.unwrap();
            let tip = &passport.tips()[0];
            format!("{} {:?} {}", score(&passport, "handled"), tip.taints(), shape(&passport))
        }
    };
    serve(Router::new().route("/{calls}", any(handler)).layer(layer)).await
}

#[tokio::test]
async fn a_lineage_of_nobody_known_gains_nothing_at_a_service_that_knows_it() {
    let [orders, stock, gateway] = ["orders", "stock", "gateway"].map(Workload::new);
    let stock_at = serve(callee(&stock, "count", &[&gateway, &orders])).await;
    let outbound = asking_back(stock_at, verifier(&[&gateway, &stock, &orders]));
    let layer = LineageLayer::builder(orders.kest.clone(), verifier(&[&gateway])).build().unwrap();
    let at = between(layer, outbound, stock_at).await;
    let stolen = gateway.header(&["login"]).await;
    assert_eq!(text(at, "/0", &stolen).await, "40 [] handled<login; login");
    assert_eq!(text(at, "/1", &stolen).await, "40 [] count<login; handled<count; login");
}

#[tokio::test]
async fn a_taint_that_is_kept_here_does_not_get_lost_on_the_way() {
    let [orders, stock, gateway] = ["orders", "stock", "gateway"].map(Workload::new);
    let calls = async {
        run(&ADDS).await;
        run(&REMOVES).await;
    };
    let ((), passport) = gateway.kest.scope(calls).source("system").with_passport().await;
    let stock_at = serve(callee(&stock, "count", &[&gateway, &orders])).await;
    let outbound = asking_back(stock_at, verifier(&[&gateway, &stock, &orders]));
    // The gateway may remove nothing here, nor start what it started.
    let authority = Authority::new([("spiffe://kest.test/gateway", Grant::federated())]).unwrap();
    let anchors = Anchors::from_provider(&*gateway.identity).unwrap();
    let verifier = Verifier::builder().keys(anchors).authority(authority).build();
    let layer = LineageLayer::builder(orders.kest.clone(), verifier)
        .allow("spiffe://kest.test/gateway")
        .build()
        .unwrap();
    let at = between(layer, outbound, stock_at).await;
    for call in ["/0", "/1"] {
        let said = text(at, call, &header(&passport)).await;
        assert!(said.starts_with("10 [\"pii\"] "), "{call}: {said}");
    }
}

#[tokio::test]
async fn what_a_callee_overrides_and_removes_counts_where_a_rule_grants_it() {
    let [orders, stock, gateway] = ["orders", "stock", "gateway"].map(Workload::new);
    let layer = LineageLayer::builder(stock.kest.clone(), verifier(&[&gateway, &orders]))
        .allow("spiffe://kest.test/*")
        .return_lineage()
        .build()
        .unwrap();
    let both = any(|| async {
        run(&RAISES).await;
        run(&REMOVES).await;
    });
    let stock_at = serve(Router::new().route("/", both).layer(layer)).await;
    let ((), passport) = gateway.kest.scope(run(&ADDS)).source("system").with_passport().await;
    let rules = Authority::new([("spiffe://kest.test", Grant::own())]).unwrap();
    // Without a rule what comes back counts for no more than what was sent, which is the ceiling of the unbound.
    for (rules, expected) in [(None, "40 [\"pii\"] "), (Some(rules), "90 [] ")] {
        let mut returned = Verifier::builder();
        for workload in [&gateway, &stock, &orders] {
            returned = returned.keys(Anchors::from_provider(&*workload.identity).unwrap());
        }
        if let Some(rules) = rules {
            returned = returned.authority(rules);
        }
        let outbound = asking_back(stock_at, returned.build());
        let layer = LineageLayer::builder(orders.kest.clone(), verifier(&[&gateway])).build().unwrap();
        let at = between(layer, outbound, stock_at).await;
        let said = text(at, "/1", &header(&passport)).await;
        assert!(said.starts_with(expected), "{said}");
        assert!(said.ends_with(" adds; handled<removes; raises<adds; removes<raises"), "{said}");
    }
}

/// A request from outside is worth 10, whoever is called before anything is done for it.
#[tokio::test]
async fn a_request_without_lineage_gains_nothing_by_a_call() {
    let [orders, stock] = ["orders", "stock"].map(Workload::new);
    let stock_at = serve(callee(&stock, "count", &[&orders])).await;
    let outbound = asking_back(stock_at, verifier(&[&stock, &orders]));
    let layer = LineageLayer::builder(orders.kest.clone(), verifier(&[&stock])).build().unwrap();
    let at = between(layer, outbound, stock_at).await;
    for path in ["/0", "/1"] {
        let answer = client(false).request(get(format!("http://{at}{path}"))).await.unwrap();
        let said = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(said, "10 [] handled", "{path}");
    }
}

/// What a service sends back, as it stands in the header.
async fn answered(address: SocketAddr, path: &str, sent: &Passport) -> String {
    let mut request = get(format!("http://{address}{path}"));
    request.headers_mut().insert("baggage", header(sent).parse().unwrap());
    request.headers_mut().insert("kest-return", "1".parse().unwrap());
    let answer = client(false).request(request).await.unwrap();
    answer.headers()["kest-lineage"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_service_sends_back_what_it_added_and_no_more() {
    let [orders, stock] = ["orders", "stock"].map(Workload::new);
    let at = serve(callee(&stock, "count", &[&orders])).await;
    let calls = async {
        for _ in 0..8 {
            op("step", async {}).await.unwrap();
        }
        Outgoing::capture().passport()
    };
    let sent = orders.kest.scope(calls).source("system").await;
    let back = answered(at, "/", &sent).await;
    let lineage = Wire::default().read_blocking(&[back.as_bytes()]).unwrap().lineage.unwrap();
    assert_eq!(lineage.len(), 1);
    assert!(back.len() < 2_048, "{} bytes", back.len());
    assert_eq!(answered(at, "/idle", &sent).await, format!("kest.chain_tip={}", sent.tips()[0].hash()));
}

/// A service that answers with all that it has, as one that does not know better.
async fn thorough(stock: &Workload, orders: &Workload) -> SocketAddr {
    let (kest, verifier) = (stock.kest.clone(), verifier(&[orders]));
    serve(Router::new().route(
        "/",
        route(move |request: Request| {
            let (kest, verifier) = (kest.clone(), verifier.clone());
            async move {
                let baggage = request.headers()["baggage"].as_bytes();
                let lineage = Wire::default().read_blocking(&[baggage]).unwrap().lineage.unwrap();
                let verified: VerifiedPassport = lineage.verify(&verifier).unwrap();
                let work = async { op("count", async {}).await.unwrap() };
                let ((), passport) = verified.scope(work).under(kest).with_passport().await;
                ([("kest-lineage", header(&passport))], "count")
            }
        }),
    ))
    .await
}

#[tokio::test]
async fn a_whole_lineage_is_read_as_well() {
    let [orders, stock] = ["orders", "stock"].map(Workload::new);
    let at = thorough(&stock, &orders).await;
    let outbound = asking_back(at, verifier(&[&orders, &stock]));
    let client = OutboundLayer::new(outbound.clone()).layer(client(false));
    let work = async {
        op("first", async {}).await.unwrap();
        client.oneshot(get(format!("http://{at}/"))).await.unwrap();
        op("last", async {}).await.unwrap();
    };
    let ((), passport) = orders.kest.scope(work).source("system").with_passport().await;
    assert_eq!(shape(&passport), "count<first; first; last<count");
    assert_eq!(score(&passport, "last"), 100);
    assert!(format!("{outbound:?}").contains("Remembered { entries: 2 }"), "{outbound:?}");
}

#[tokio::test]
async fn an_idle_callee_beside_other_work_leaves_a_lineage_that_goes_on() {
    let [orders, stock] = ["orders", "stock"].map(Workload::new);
    let at = serve(callee(&stock, "count", &[&orders])).await;
    let outbound = asking_back(at, verifier(&[&orders, &stock]));
    let layer = OutboundLayer::new(outbound);
    let work = async {
        op("first", async {}).await.unwrap();
        let idle = layer.layer(client(false)).oneshot(get(format!("http://{at}/idle")));
        let (answer, ()) = tokio::join!(idle, async { op("meanwhile", async {}).await.unwrap() });
        answer.unwrap();
        assert!(
            layer
                .layer(client(false))
                .oneshot(get(format!("http://{at}/")))
                .await
                .unwrap()
                .status()
                .is_success()
        );
        op("last", async {}).await.unwrap();
    };
    let ((), passport) = orders.kest.scope(work).source("system").with_passport().await;
    assert_eq!(shape(&passport), "count<meanwhile; first; last<count; meanwhile<first");
}
