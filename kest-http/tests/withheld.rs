//! Callees that were asked for lineage and give none, and what their callers learn of it; answers without a body that
//! a trailer could follow. Spec §12.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../../kest-providers/tests/support/log.rs"]
mod log;
mod outbound_support;

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::any;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use kest_core::Passport;
use kest_core::error::PropagationErrorKind;
use kest_http::{LineageLayer, LineageLayerBuilder, Outbound, OutboundBuilder, OutboundLayer, Wire};
use outbound_support::{BoxError, Workload, client, find, get, op, serve, shape, verifier};
use tower::{Layer as _, ServiceExt as _};

struct Lab {
    orders: Workload,
    stock: Workload,
}

/// Frames that are there already.
struct Frames(std::vec::IntoIter<Frame<Bytes>>);

impl futures_core::Stream for Frames {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next().map(Ok))
    }
}

/// A body whose length nobody knows.
fn streamed(trailers: Option<HeaderMap>) -> Body {
    let mut frames = vec![Frame::data(Bytes::from_static(b"data"))];
    frames.extend(trailers.map(Frame::trailers));
    Body::new(StreamBody::new(Frames(frames.into_iter())))
}

/// Acts before it answers: at `/` with what has a length, at `/stream` with what has none, and at `/204` and `/304`
/// with a body that is none.
fn acting() -> Router {
    let answering = |status: u16, body: fn() -> Body| {
        any(move || async move {
            op("count", async {}).await.unwrap();
            let mut answer = Response::new(body());
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            answer
        })
    };
    Router::new()
        .route("/", answering(200, || Body::from("data")))
        .route("/stream", answering(200, || streamed(None)))
        .route("/204", answering(204, || streamed(None)))
        .route("/304", answering(304, || streamed(None)))
        .route("/fail", answering(500, || Body::from("data")))
}

impl Lab {
    fn new() -> Self {
        let [orders, stock] = ["orders", "stock"].map(Workload::new);
        Self { orders, stock }
    }

    /// Of the callee, which allows nobody.
    fn layer(&self) -> LineageLayerBuilder {
        LineageLayer::builder(self.stock.kest.clone(), verifier(&[&self.orders])).return_lineage()
    }

    async fn serve(&self, layer: LineageLayerBuilder) -> SocketAddr {
        serve(acting().layer(layer.build().unwrap())).await
    }

    fn outbound(&self, callee: SocketAddr) -> OutboundBuilder {
        Outbound::builder()
            .host(callee.to_string())
            .returned(verifier(&[&self.orders, &self.stock]))
            .callee(callee.to_string(), "spiffe://kest.test/stock")
    }

    /// `first`, one call, `last`.
    async fn calls(
        &self,
        outbound: OutboundBuilder,
        request: Request<Body>,
        http2: bool,
    ) -> (Result<StatusCode, BoxError>, Passport) {
        let client = OutboundLayer::new(outbound.build().unwrap()).layer(client(http2));
        let work = async {
            op("first", async {}).await.unwrap();
            let answer = async {
                let answer = client.oneshot(request).await?;
                let status = answer.status();
                answer.into_body().collect().await?;
                Ok::<_, BoxError>(status)
            };
            let answer = answer.await;
            op("last", async {}).await.unwrap();
            answer
        };
        self.orders.kest.scope(work).source("system").with_passport().await
    }

    /// What the caller is told after its call, of which nothing is joined.
    async fn told(&self, outbound: OutboundBuilder, uri: String, http2: bool) -> String {
        let (answer, passport) = self.calls(outbound, get(uri), http2).await;
        assert_eq!(shape(&passport), "first; last<first");
        let error = answer.unwrap_err();
        let error = find(&*error);
        assert_eq!((error.kind(), error.call_was_made()), (PropagationErrorKind::Returned, true), "{error}");
        error.to_string()
    }
}

#[tokio::test]
async fn a_caller_that_is_not_bound_is_told_what_to_allow() {
    let lab = Lab::new();
    let stock = lab.serve(lab.layer()).await;
    for (path, http2) in [("", false), ("", true), ("stream", false), ("stream", true)] {
        let told = lab.told(lab.outbound(stock), format!("http://{stock}/{path}"), http2).await;
        assert!(told.contains(r#"`.allow("spiffe://kest.test/orders")`"#), "{told}");
        assert!(!told.contains("return_lineage"), "{told}");
    }
    let tolerant = lab.outbound(stock).tolerate_unreturned();
    let (answer, passport) = lab.calls(tolerant, get(format!("http://{stock}/")), false).await;
    assert_eq!((answer.unwrap(), shape(&passport).as_str()), (StatusCode::OK, "first; last<first"));
    // What failed is still an answer.
    let (answer, _) = lab.calls(lab.outbound(stock), get(format!("http://{stock}/fail")), false).await;
    assert_eq!(answer.unwrap(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_caller_whose_lineage_does_not_fit_is_told_so() {
    let lab = Lab::new();
    let narrow = || Wire::builder().tier_bytes(64).build();
    let stock = lab.serve(lab.layer().allow("spiffe://kest.test/orders").wire(narrow())).await;
    for (path, http2) in [("", false), ("stream", false), ("stream", true)] {
        let told = lab.told(lab.outbound(stock), format!("http://{stock}/{path}"), http2).await;
        assert!(told.contains("does not fit") && told.contains("`tier_bytes`"), "{told}");
        assert!(!told.contains("return_lineage"), "{told}");
    }
}

/// A service that answers so, with these trailers of gRPC if any.
async fn answering(lineage: &'static str, grpc_status: Option<&'static str>) -> SocketAddr {
    serve(Router::new().fallback(any(move || async move {
        let trailers = grpc_status.map(|status| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(status));
            trailers
        });
        let mut answer = Response::new(streamed(trailers));
        answer.headers_mut().insert("kest-lineage", HeaderValue::from_static(lineage));
        if grpc_status.is_some() {
            answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        }
        answer
    })))
    .await
}

#[tokio::test]
async fn a_reason_that_is_not_known_is_none() {
    let lab = Lab::new();
    for lineage in ["none", "none;reason=moon", "none;reason=unbound;reason=moon"] {
        let service = answering(lineage, None).await;
        let told = lab.told(lab.outbound(service), format!("http://{service}/"), false).await;
        assert!(told.contains("sent back no lineage") && told.contains("`.return_lineage()`"), "{told}");
    }
    let service = answering("none;reason=unavailable", None).await;
    let told = lab.told(lab.outbound(service), format!("http://{service}/"), false).await;
    assert!(told.contains("could not be asked"), "{told}");
}

#[tokio::test]
async fn of_a_grpc_call_the_status_is_waited_for() {
    let lab = Lab::new();
    let failed = answering("none;reason=unbound", Some("5")).await;
    let (answer, _) = lab.calls(lab.outbound(failed), get(format!("http://{failed}/")), true).await;
    assert_eq!(answer.unwrap(), StatusCode::OK);
    let good = answering("none;reason=unbound", Some("0")).await;
    let told = lab.told(lab.outbound(good), format!("http://{good}/"), true).await;
    assert!(told.contains(".allow("), "{told}");
}

#[tokio::test]
async fn an_answer_without_a_body_brings_its_lineage_in_the_head() {
    let lab = Lab::new();
    let stock = lab.serve(lab.layer().allow("spiffe://kest.test/orders")).await;
    let cases = [("HEAD", ""), ("HEAD", "stream"), ("GET", "204"), ("GET", "304"), ("GET", "stream")];
    for (method, path) in cases {
        for http2 in [false, true] {
            let uri = format!("http://{stock}/{path}");
            let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
            let (answer, passport) = lab.calls(lab.outbound(stock), request, http2).await;
            answer.unwrap();
            let joined = shape(&passport);
            assert_eq!(joined, "count<first; first; last<count", "{method} {path}, HTTP/2: {http2}");
        }
    }
}

#[test]
fn why_a_caller_gets_no_lineage_is_logged_and_not_at_every_request() {
    let logged = log::logged(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let lab = Lab::new();
            let layer = lab.layer().build().unwrap();
            let app = acting().layer(layer);
            let header = lab.orders.header(&["first"]).await;
            for (baggage, asks) in [(None, false), (Some(header), true), (None, true), (None, true)] {
                let mut request = get("http://stock/");
                if let Some(baggage) = baggage {
                    request.headers_mut().insert("baggage", baggage.parse().unwrap());
                }
                if asks {
                    request.headers_mut().insert("kest-return", HeaderValue::from_static("1"));
                }
                let answer = app.clone().oneshot(request).await.unwrap();
                let told = answer.headers().get("kest-lineage").map(HeaderValue::as_bytes);
                assert_eq!(told, asks.then_some(&b"none;reason=unbound"[..]));
            }
        });
    });
    let said: Vec<&String> =
        logged.iter().filter(|line| line.contains("asked for its lineage back")).collect();
    assert_eq!(said.len(), 1, "{logged:?}");
    assert!(said[0].starts_with("WARN ") && said[0].contains("`spiffe://kest.test/orders`"), "{said:?}");
    assert!(said[0].contains("`.allow(…)`"), "{said:?}");
}
