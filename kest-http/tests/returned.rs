//! Lineage that comes back from services, and what hostile ones send. Spec §12.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod outbound_support;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use kest_core::claim::ClaimCache;
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::verify::{Step, VerifyError};
use kest_core::{Kest, Passport};
use kest_http::{LineageLayer, Outbound, OutboundBuilder, OutboundLayer, PeerIdentity, Wire};
use kest_providers::cache::MemoryCache;
use kest_providers::policy::MockPolicyEngine;
use outbound_support::{
    BoxError, Workload, callee, client, find, get, kind, op, score, serve, shape, verifier,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};

struct Lab {
    orders: Workload,
    stock: Workload,
    rates: Workload,
}

impl Lab {
    fn new() -> Self {
        let [orders, stock, rates] = ["orders", "stock", "rates"].map(Workload::new);
        Self { orders, stock, rates }
    }

    /// Lineage of anybody here is verified; it is asked back.
    fn outbound(&self) -> OutboundBuilder {
        Outbound::builder().any_host().returned(verifier(&[&self.orders, &self.stock, &self.rates]))
    }

    /// The service is named as one of `kest.test`.
    fn known(&self, service: SocketAddr) -> Outbound {
        self.outbound().callee(service.to_string(), "spiffe://kest.test/*").build().unwrap()
    }

    async fn stock(&self) -> SocketAddr {
        serve(callee(&self.stock, "count", &[&self.orders])).await
    }

    async fn rates(&self) -> SocketAddr {
        serve(callee(&self.rates, "rate", &[&self.orders])).await
    }

    /// `first`, one call to the service, `last`.
    async fn calls(
        &self,
        outbound: &Outbound,
        uri: String,
        http2: bool,
    ) -> (Result<String, BoxError>, Passport) {
        let client = OutboundLayer::new(outbound.clone()).layer(client(http2));
        let work = async {
            op("first", async {}).await.unwrap();
            let answer = async {
                let answer = client.oneshot(get(uri)).await?;
                let text = answer.into_body().collect().await?.to_bytes();
                Ok::<_, BoxError>(String::from_utf8(text.to_vec()).unwrap())
            };
            let answer = answer.await;
            op("last", async {}).await.unwrap();
            answer
        };
        self.orders.kest.scope(work).source("system").with_passport().await
    }
}

/// A service that answers everything with this.
async fn answering(answer: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static) -> SocketAddr {
    serve(Router::new().fallback(any(move || {
        let answer = answer();
        async { answer }
    })))
    .await
}

async fn returning(values: &[&str]) -> SocketAddr {
    let values: Vec<HeaderValue> = values.iter().map(|value| value.parse().unwrap()).collect();
    answering(move || {
        let mut answer = Response::new(Body::from("done"));
        for value in &values {
            answer.headers_mut().append("kest-lineage", value.clone());
        }
        answer
    })
    .await
}

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
        let elsewhere = lab.outbound().callee(host, pattern).unbound_ceiling(7).build().unwrap();
        let (answer, passport) = lab.calls(&elsewhere, uri.clone(), false).await;
        answer.unwrap();
        assert_eq!(score(&passport, "last"), 7);
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
async fn where_nothing_was_sent_only_the_authenticated_peer_is_joined() {
    let lab = Lab::new();
    // What the callee signed for another, as any service has it that ever got it.
    let replayed = returning(&[&lab.stock.header(&["count"]).await]).await;
    let call = |service: SocketAddr, peer: Option<&str>| {
        let peer = peer.map(|peer| PeerIdentity::spiffe(peer).unwrap());
        let connected = ServiceBuilder::new()
            .layer(OutboundLayer::new(lab.known(service)))
            .map_response(move |mut answer: Response<hyper::body::Incoming>| {
                if let Some(peer) = &peer {
                    answer.extensions_mut().insert(peer.clone());
                }
                answer
            })
            .service(client(false));
        let work = async move {
            let answer = connected.oneshot(get(format!("http://{service}/"))).await.map(drop);
            op("last", async {}).await.unwrap();
            answer
        };
        lab.orders.kest.scope(work).source("system").with_passport()
    };
    for peer in [None, Some("spiffe://kest.test/rates")] {
        let (answer, passport) = call(replayed, peer).await;
        let error = answer.unwrap_err();
        assert_eq!(kind(&*error), PropagationErrorKind::Unbound);
        assert!(find(&*error).call_was_made());
        assert_eq!(shape(&passport), "last");
    }
    let (answer, passport) = call(replayed, Some("spiffe://kest.test/stock")).await;
    answer.unwrap();
    assert_eq!(shape(&passport), "count; last<count");
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
    let silent = answering(|| Response::new(Body::from("done"))).await;
    let client = OutboundLayer::new(lab.known(silent)).layer(client(false));
    let work = async {
        let mut body = client.oneshot(get(format!("http://{silent}/"))).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "done");
        assert!(!http_body::Body::is_end_stream(&body));
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(kind(&*error), PropagationErrorKind::Returned);
        assert!(body.frame().await.is_none());
    };
    lab.orders.kest.scope(work).await;
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

/// What was refused, and that nothing of it was joined.
async fn refused(lab: &Lab, outbound: &Outbound, service: SocketAddr) -> PropagationError {
    let (answer, passport) = lab.calls(outbound, format!("http://{service}/"), false).await;
    assert_eq!(shape(&passport), "first; last<first");
    let error = *(answer.unwrap_err().downcast::<PropagationError>().unwrap());
    assert!(error.call_was_made(), "{error}");
    error
}

#[tokio::test]
async fn a_lineage_of_another_call_is_refused() {
    let lab = Lab::new();
    // Good entries of the callee itself, of some other call; tolerance for silence is none for this.
    let replayed = returning(&[&lab.stock.header(&["count"]).await]).await;
    let tolerant = lab
        .outbound()
        .callee(replayed.to_string(), "spiffe://kest.test/*")
        .tolerate_unreturned()
        .build()
        .unwrap();
    let error = refused(&lab, &tolerant, replayed).await;
    assert_eq!(error.kind(), PropagationErrorKind::Returned);
    assert!(error.to_string().contains("of another call"), "{error}");
}

#[tokio::test]
async fn a_lineage_that_does_not_verify_is_refused() {
    let lab = Lab::new();
    let stranger = Workload::new("stranger");
    let unknown = returning(&[&stranger.header(&["count"]).await]).await;
    let error = refused(&lab, &lab.known(unknown), unknown).await;
    assert_eq!(error.kind(), PropagationErrorKind::Returned);
    assert!(error.to_string().contains("did not verify"), "{error}");
    // The same name with another key.
    let impostor = returning(&[&Workload::new("stock").header(&["count"]).await]).await;
    assert_eq!(refused(&lab, &lab.known(impostor), impostor).await.kind(), PropagationErrorKind::Returned);
}

#[tokio::test]
async fn an_old_lineage_is_refused() {
    let lab = Lab::new();
    let kest = Kest::builder()
        .identity(Arc::clone(&lab.stock.identity))
        .engine(MockPolicyEngine::allow().without_recording())
        .without_config()
        .dangerous()
        .fixed_clock(1_700_000_000_000)
        .build()
        .unwrap();
    let old = Workload { kest, ..lab.stock.clone() };
    let replayed = returning(&[&old.header(&["count"]).await]).await;
    // Nothing is sent, so that there is nothing it would have to go on from.
    let client = OutboundLayer::new(lab.known(replayed)).layer(client(false));
    let work = async move { client.oneshot(get(format!("http://{replayed}/"))).await.unwrap_err() };
    let error = lab.orders.kest.scope(work).await;
    assert_eq!(kind(&*error), PropagationErrorKind::Returned);
    assert!(error.to_string().contains("did not verify"), "{error}");
    let verify = std::error::Error::source(&*error).unwrap().downcast_ref::<VerifyError>().unwrap();
    assert_eq!(verify.step(), Step::Time);
}

#[tokio::test]
async fn a_verifier_that_leaves_signatures_unchecked_joins_nothing() {
    let lab = Lab::new();
    let blind = kest_core::verify::Verifier::builder().dangerous().skip_signatures().build();
    let stock = lab.stock().await;
    let outbound = Outbound::builder()
        .any_host()
        .returned(blind)
        .callee(stock.to_string(), "spiffe://kest.test/*")
        .build()
        .unwrap();
    let error = refused(&lab, &outbound, stock).await;
    assert_eq!(error.kind(), PropagationErrorKind::Unverified);
}

#[tokio::test]
async fn what_is_no_lineage_is_refused() {
    let lab = Lab::new();
    let good = lab.stock.header(&["count"]).await;
    let tip = good.split(',').find(|member| member.starts_with("kest.chain_tip=")).unwrap().to_owned();
    let passport = good.split(',').find(|member| member.starts_with("kest.passport")).unwrap().to_owned();
    let bomb = {
        use std::io::Write as _;
        let mut zip = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        zip.write_all(&vec![b' '; 4 << 20]).unwrap();
        let packed = base64_simd::URL_SAFE_NO_PAD.encode_to_string(zip.finish().unwrap());
        format!("kest.passport_z={packed},{tip}")
    };
    let cut: String = good.chars().take(good.len() / 2).collect();
    for values in [
        vec!["nonsense"],
        vec![""],
        vec!["team=blue"],
        vec![&*cut],
        vec![&*tip],
        vec![&*passport],
        vec![&*good, &*good],
        vec![&*bomb],
        vec!["kest.passport=%5B%5D"],
        vec!["kest.claim_check=f47ac10b-58cc-4372-a567-0e02b2c3d479"],
    ] {
        let service = returning(&values).await;
        let error = refused(&lab, &lab.known(service), service).await;
        let short: Vec<&str> = values.iter().map(|value| value.get(..60).unwrap_or(value)).collect();
        assert_eq!(error.kind(), PropagationErrorKind::Returned, "{short:?}: {error}");
    }
}

/// A service that answers with these bytes, whatever comes.
async fn raw(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 64 * 1024];
            let _ = stream.read(&mut request).await;
            // A client that has seen enough hangs up.
            let _ = stream.write_all(&answer).await;
        }
    });
    address
}

#[tokio::test]
async fn a_header_of_ten_megabytes_fails_the_call() {
    let lab = Lab::new();
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nkest-lineage: ".to_vec();
    answer.extend(std::iter::repeat_n(b'a', 10 << 20));
    answer.extend(b"\r\n\r\n");
    let service = raw(answer).await;
    let (answer, passport) = lab.calls(&lab.known(service), format!("http://{service}/"), false).await;
    answer.unwrap_err();
    assert_eq!(shape(&passport), "first; last<first");
}

#[tokio::test]
async fn trailers_are_believed_no_more_than_headers() {
    let lab = Lab::new();
    let other = lab.stock.header(&["count"]).await;
    let head =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: kest-lineage\r\n\r\n4\r\ndone\r\n0\r\n";
    for (trailers, part) in [
        (format!("kest-lineage: {other}\r\n\r\n"), "of another call"),
        (format!("kest-lineage: {other}\r\nkest-lineage: {other}\r\n\r\n"), "cannot be read"),
        ("kest-lineage: nonsense\r\n\r\n".to_owned(), "without lineage"),
        ("x: y\r\n\r\n".to_owned(), "no lineage"),
        ("\r\n".to_owned(), "no lineage"),
    ] {
        let service = raw(format!("{head}{trailers}").into_bytes()).await;
        let (answer, passport) = lab.calls(&lab.known(service), format!("http://{service}/"), false).await;
        let error = answer.unwrap_err();
        assert_eq!(kind(&*error), PropagationErrorKind::Returned, "{part}");
        assert!(find(&*error).to_string().contains(part), "{error}");
        assert_eq!(shape(&passport), "first; last<first");
    }
    // A body that breaks off.
    let broken = raw(head.split("0\r\n").next().unwrap().as_bytes().to_vec()).await;
    let (answer, passport) = lab.calls(&lab.known(broken), format!("http://{broken}/"), false).await;
    answer.unwrap_err();
    assert_eq!(shape(&passport), "first; last<first");
}

#[tokio::test]
async fn lineage_that_was_not_asked_for_is_not_joined() {
    let lab = Lab::new();
    let pushed = returning(&[&lab.stock.header(&["count"]).await]).await;
    let outbound = Outbound::builder().any_host().build().unwrap();
    let (answer, passport) = lab.calls(&outbound, format!("http://{pushed}/"), false).await;
    assert_eq!(answer.unwrap(), "done");
    assert_eq!(shape(&passport), "first; last<first");
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
