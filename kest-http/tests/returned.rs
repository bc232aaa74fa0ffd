//! Lineage that comes back from services. Spec §12.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod outbound_support;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use kest_core::Kest;
use kest_core::claim::ClaimCache;
use kest_core::error::PropagationErrorKind;
use kest_core::lineage::Outgoing;
use kest_core::verify::{Anchors, Limits, Verifier, VerifyError};
use kest_http::{LineageLayer, Outbound, OutboundBuilder, OutboundLayer, PeerIdentity, Wire};
use kest_providers::cache::MemoryCache;
use kest_providers::policy::MockPolicyEngine;
use outbound_support::lab::{Lab, answering, returning};
use outbound_support::{Warnings, client, find, get, kind, op, raw, recorder, score, serve, shape, verifier};
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};

#[tokio::test]
async fn what_a_service_did_is_a_parent_of_the_next_entry() {
    let lab = Lab::new();
    let stock = lab.stock().await;
    for http2 in [false, true] {
        let (answer, passport) = lab.calls(&lab.known(stock), format!("http://{stock}/"), http2).await;
        assert_eq!(answer.unwrap(), "count");
        assert_eq!(shape(&passport), "count<first; first; last<count");
        assert_eq!(score(&passport, "last"), 100);
    }
}

#[tokio::test]
async fn a_fan_out_joins_what_both_services_did() {
    let lab = Lab::new();
    let (stock, rates) = (lab.stock().await, lab.rates().await);
    let both = lab.outbound().callee(stock.to_string(), "spiffe://kest.test/stock");
    let both = both.callee(rates.to_string(), "spiffe://kest.test/rates").build().unwrap();
    let layer = OutboundLayer::new(both);
    let (one, two) = (layer.layer(client(false)), layer.layer(client(true)));
    let work = async {
        op("first", async {}).await.unwrap();
        let (a, b) = tokio::join!(
            one.oneshot(get(format!("http://{stock}/"))),
            two.oneshot(get(format!("http://{rates}/stream")))
        );
        a.unwrap();
        b.unwrap().into_body().collect().await.unwrap();
        op("last", async {}).await.unwrap();
    };
    let ((), passport) = lab.orders.kest.scope(work).source("system").with_passport().await;
    assert_eq!(shape(&passport), "count<first; first; last<count,rate; rate<first");
    let verifier = verifier(&[&lab.orders, &lab.stock, &lab.rates]);
    kest_core::verify::UnverifiedPassport::deserialize(&passport.serialize())
        .unwrap()
        .verify(&verifier)
        .unwrap();
}

#[tokio::test]
async fn a_streamed_answer_brings_its_lineage_at_its_end() {
    let lab = Lab::new();
    let stock = lab.stock().await;
    for http2 in [false, true] {
        let (answer, passport) = lab.calls(&lab.known(stock), format!("http://{stock}/stream"), http2).await;
        assert_eq!(answer.unwrap(), "count");
        assert_eq!(shape(&passport), "count<first; first; last<count", "HTTP/2: {http2}");
    }
}

#[tokio::test]
async fn a_service_that_did_nothing_protected_changes_nothing() {
    let lab = Lab::new();
    let stock = lab.stock().await;
    let (answer, passport) = lab.calls(&lab.known(stock), format!("http://{stock}/idle"), false).await;
    assert_eq!(answer.unwrap(), "idle");
    assert_eq!(shape(&passport), "first; last<first");
    assert_eq!(score(&passport, "last"), 100);
}

#[tokio::test]
async fn a_lineage_of_nobody_known_counts_for_little() {
    let lab = Lab::new();
    let stock = lab.stock().await;
    let uri = format!("http://{stock}/");
    let (answer, passport) = lab.calls(&lab.outbound().build().unwrap(), uri.clone(), false).await;
    answer.unwrap();
    assert_eq!((shape(&passport).as_str(), score(&passport, "last")), ("count<first; first; last<count", 40));
    for (host, pattern) in
        [(stock.to_string(), "spiffe://kest.test/rates"), ("127.0.0.1:9".to_owned(), "spiffe://kest.test/*")]
    {
        let elsewhere = lab.outbound().callee(&host, pattern).unbound_ceiling(7).build().unwrap();
        let warnings = Warnings::default();
        let listening = warnings.listen();
        let (answer, passport) = lab.calls(&elsewhere, uri.clone(), false).await;
        drop(listening);
        answer.unwrap();
        assert_eq!(score(&passport, "last"), 7);
        let said = warnings.all().join("; ");
        assert!(
            said.contains(&format!("`.callee(\"{stock}\", …)` (hosts with callees: `{host}`)")),
            "{said}"
        );
    }
}

#[tokio::test]
async fn the_authenticated_peer_is_the_callee() {
    let lab = Lab::new();
    let stock = lab.stock().await;
    for (peer, expected) in [("stock", 100), ("rates", 40)] {
        let peer = PeerIdentity::spiffe(&format!("spiffe://kest.test/{peer}")).unwrap();
        // As a connector of mutual TLS says it.
        let connected = ServiceBuilder::new()
            .layer(OutboundLayer::new(lab.outbound().build().unwrap()))
            .map_response(move |mut answer: Response<hyper::body::Incoming>| {
                answer.extensions_mut().insert(peer.clone());
                answer
            })
            .service(client(false));
        let work = async {
            op("first", async {}).await.unwrap();
            connected.oneshot(get(format!("http://{stock}/"))).await.unwrap();
            op("last", async {}).await.unwrap();
        };
        let ((), passport) = lab.orders.kest.scope(work).source("system").with_passport().await;
        assert_eq!(score(&passport, "last"), expected);
    }
}

#[tokio::test]
async fn where_nothing_is_sent_nothing_is_asked_back_or_joined() {
    let lab = Lab::new();
    // What the peer itself did for anybody, at any time.
    let pushed = returning(&[&lab.stock.header(&["count"]).await]).await;
    let (stock, (recorder, received)) = (lab.stock().await, recorder().await);
    let peer = PeerIdentity::spiffe("spiffe://kest.test/stock").unwrap();
    for uri in [
        format!("http://{pushed}/"),
        format!("http://{stock}/"),
        format!("http://{stock}/idle"),
        format!("http://{stock}/stream"),
        format!("http://{recorder}/"),
    ] {
        let peer = peer.clone();
        let connected = ServiceBuilder::new()
            .layer(OutboundLayer::new(lab.known(stock)))
            .map_response(move |mut answer: Response<hyper::body::Incoming>| {
                answer.extensions_mut().insert(peer.clone());
                answer
            })
            .service(client(false));
        let work = async {
            connected.oneshot(get(&uri)).await.unwrap().into_body().collect().await.unwrap();
            op("last", async {}).await.unwrap();
        };
        let ((), passport) = lab.orders.kest.scope(work).source("system").with_passport().await;
        assert_eq!(shape(&passport), "last", "{uri}");
    }
    assert_eq!((received.header("kest-return"), received.header("te")), (None, None));
}

#[tokio::test]
async fn what_could_not_be_joined_afterwards_keeps_the_call_from_being_made() {
    let lab = Lab::new();
    let (address, received) = recorder().await;
    let call = |outbound: OutboundBuilder, entries: usize| {
        let client = OutboundLayer::new(outbound.build().unwrap()).layer(client(false));
        lab.orders.kest.scope(async move {
            for _ in 0..entries {
                op("step", async {}).await.unwrap();
            }
            client.oneshot(get(format!("http://{address}/"))).await.map(drop)
        })
    };
    let asking = |verifier: Verifier| Outbound::builder().any_host().returned(verifier);
    // It knows the callee and not this service.
    let error = call(asking(verifier(&[&lab.stock])), 1).await.unwrap_err();
    let error = find(&*error);
    assert_eq!((error.kind(), error.call_was_made()), (PropagationErrorKind::Unreturnable, false));
    assert!(error.to_string().contains("spiffe://kest.test/orders"), "{error}");
    assert!(error.to_string().contains("must know this service"), "{error}");
    assert!(std::error::Error::source(error).unwrap().is::<VerifyError>());
    // There would be no room for what the callee adds.
    let narrow = || {
        let mut limits = Limits::default();
        limits.ingress_entries = 3;
        let anchors = Anchors::from_provider(&*lab.orders.identity).unwrap();
        asking(Verifier::builder().keys(anchors).limits(limits).build()).tolerate_unreturned()
    };
    let error = call(narrow(), 3).await.unwrap_err();
    assert_eq!((kind(&*error), find(&*error).call_was_made()), (PropagationErrorKind::TooLarge, false));
    assert!(error.to_string().contains("ingress_entries"), "{error}");
    assert_eq!(received.count(), 0);
    call(narrow(), 2).await.unwrap();
    assert_eq!(received.count(), 1);
}

#[tokio::test]
async fn an_old_lineage_is_sent_and_what_is_new_comes_back() {
    let lab = Lab::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let kest = Kest::builder()
        .identity(Arc::clone(&lab.orders.identity))
        .engine(MockPolicyEngine::allow().without_recording())
        .without_config()
        .dangerous()
        .fixed_clock(u64::try_from(now.as_millis()).unwrap() - 300_000)
        .build()
        .unwrap();
    let stock = lab.stock().await;
    let outbound = lab.outbound().callee(stock.to_string(), "spiffe://kest.test/stock");
    let outbound = outbound.returned_max_age(Duration::from_secs(60)).build().unwrap();
    let client = OutboundLayer::new(outbound).layer(client(false));
    let work = async {
        op("first", async {}).await.unwrap();
        client.oneshot(get(format!("http://{stock}/"))).await.unwrap();
        Outgoing::capture().passport()
    };
    assert_eq!(shape(&kest.scope(work).source("system").await), "count<first; first");
}

#[tokio::test]
async fn an_answer_without_lineage_is_an_error_unless_tolerated() {
    let lab = Lab::new();
    for body in ["", "done"] {
        let silent = answering(move || Response::new(Body::from(body))).await;
        for http2 in [false, true] {
            let (answer, passport) = lab.calls(&lab.known(silent), format!("http://{silent}/"), http2).await;
            let error = answer.unwrap_err();
            assert_eq!(kind(&*error), PropagationErrorKind::Returned);
            assert!(find(&*error).to_string().contains("sent back no lineage"), "{error}");
            assert_eq!(shape(&passport), "first; last<first");
        }
        let tolerant = lab.outbound().tolerate_unreturned().build().unwrap();
        let (answer, _) = lab.calls(&tolerant, format!("http://{silent}/"), false).await;
        assert_eq!(answer.unwrap(), body);
    }
}

#[tokio::test]
async fn a_body_does_not_end_before_its_lineage_is_joined_or_missed() {
    let lab = Lab::new();
    let silent =
        raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndone\r\n0\r\n\r\n".to_vec()).await;
    let client = OutboundLayer::new(lab.known(silent)).layer(client(false));
    let work = async {
        let mut body = client.oneshot(get(format!("http://{silent}/"))).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "done");
        assert!(!http_body::Body::is_end_stream(&body));
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(kind(&*error), PropagationErrorKind::Returned);
        assert!(body.frame().await.is_none());
    };
    lab.orders.kest.scope(op("first", work)).await.unwrap();
}

#[tokio::test]
async fn an_answer_of_known_length_fails_at_its_head() {
    let lab = Lab::new();
    let silent = answering(|| Response::new(Body::from("done"))).await;
    for http2 in [false, true] {
        let client = OutboundLayer::new(lab.known(silent)).layer(client(http2));
        let call = op("first", client.oneshot(get(format!("http://{silent}/"))));
        let error = lab.orders.kest.scope(call).await.unwrap().unwrap_err();
        assert_eq!(kind(&*error), PropagationErrorKind::Returned);
        assert!(find(&*error).call_was_made());
    }
}

#[tokio::test]
async fn a_refusal_reaches_the_caller_as_it_is() {
    let lab = Lab::new();
    let silent = answering(|| {
        let mut answer = Response::new(Body::from("no"));
        *answer.status_mut() = StatusCode::FORBIDDEN;
        answer
    })
    .await;
    let (answer, _) = lab.calls(&lab.known(silent), format!("http://{silent}/"), false).await;
    assert_eq!(answer.unwrap(), "no");
    // A service that knows how gives back what it did all the same.
    let stock = lab.stock().await;
    let (answer, _) = lab.calls(&lab.known(stock), format!("http://{stock}/fail"), false).await;
    assert_eq!(answer.unwrap(), "not now");
}

#[tokio::test]
async fn a_long_lineage_goes_and_comes_back_as_claim_checks() {
    let lab = Lab::new();
    let cache: Arc<dyn ClaimCache> = Arc::new(MemoryCache::new().shared_in_process());
    let wire = Wire::builder().cache(cache).build();
    let layer = LineageLayer::builder(lab.stock.kest.clone(), verifier(&[&lab.orders]))
        .allow("spiffe://kest.test/*")
        .wire(wire.clone())
        .return_lineage()
        .build()
        .unwrap();
    let count = any(|| async { op("count", async { "count" }).await.unwrap() });
    let stock = serve(Router::new().fallback(count).layer(layer)).await;
    let outbound =
        lab.outbound().callee(stock.to_string(), "spiffe://kest.test/stock").wire(wire).build().unwrap();
    let client = OutboundLayer::new(outbound).layer(client(true));
    let work = async {
        for _ in 0..60 {
            op("step", async {}).await.unwrap();
        }
        client.oneshot(get(format!("http://{stock}/"))).await.unwrap();
        op("last", async {}).await.unwrap();
    };
    let ((), passport) = lab.orders.kest.scope(work).source("system").with_passport().await;
    assert_eq!(passport.len(), 62);
    assert!(shape(&passport).starts_with("count<step; last<count;"), "{}", shape(&passport));
}
