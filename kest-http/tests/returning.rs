//! Who gets the lineage back, and what may not pass for it (spec §12).
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kest_http::{LineageLayer, Wire};
use tower::{Layer, ServiceExt};

use self::support::{Workload, layer, payload, protected, routes, send, serve, verifier, with_peer};

const ASKED: (&str, &str) = ("kest-return", "1");

#[tokio::test]
async fn only_who_is_known_gets_lineage_back() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let baggage = caller.baggage(&["order"], None).await;
    let lineage = ("baggage", baggage.as_str());
    let build = || layer(&service, &[&caller]).return_lineage();
    let back = |router: Router, headers: Vec<(&'static str, String)>| async move {
        let address = serve(router).await;
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = send(address, &[&headers[..], &[ASKED]].concat()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let stored = answer.header("cache-control").map(str::to_owned);
        let back = answer.header("kest-lineage").is_some();
        assert_eq!(stored.as_deref(), back.then_some("no-store"), "{answer:?}");
        back
    };
    let with = || vec![("baggage", lineage.1.to_owned())];
    let cautious = || routes().layer(build().build().unwrap());
    assert!(!back(cautious(), vec![]).await, "a stranger");
    assert!(!back(cautious(), with()).await, "a lineage that anybody could have sent");
    assert!(back(with_peer(cautious(), caller.peer()), vec![]).await, "the peer");
    assert!(back(with_peer(cautious(), caller.peer()), with()).await, "the peer's lineage");
    assert!(back(with_peer(cautious(), service.peer()), with()).await, "a peer with another's lineage");
    let allowing = || routes().layer(build().allow(caller.id.as_str()).build().unwrap());
    assert!(back(allowing(), with()).await, "a lineage that is allowed");
    assert!(!back(allowing(), vec![]).await, "a stranger");
    let generous = || routes().layer(build().return_lineage_to_anybody().return_lineage().build().unwrap());
    assert!(back(generous(), vec![]).await && back(generous(), with()).await);
}

#[tokio::test]
async fn what_has_lineage_is_not_stored_whatever_the_handler_says() {
    let service = Workload::new("orders");
    let page = get(|| async {
        protected("page", None, async {}).await.unwrap();
        ([("cache-control", "public, max-age=60")], "page")
    });
    let layer = layer(&service, &[]).return_lineage_to_anybody().build().unwrap();
    let address = serve(Router::new().route("/", page).layer(layer)).await;
    assert_eq!(send(address, &[]).await.header("cache-control"), Some("public, max-age=60"));
    let answer = send(address, &[ASKED]).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("kest-lineage").is_some());
}

/// A handler that passes on what an upstream has answered, with its lineage in the head and in the trailers.
async fn copied(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    protected("mine", None, async {}).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("kest-lineage", "x=y".parse().unwrap());
    trailers.insert("checksum", "1".parse().unwrap());
    let body = Two([Frame::trailers(trailers), Frame::data(Bytes::from_static(b"data"))].into());
    let mut answer = Response::new(Body::new(StreamBody::new(body)));
    answer.headers_mut().insert("kest-lineage", "x=y".parse().unwrap());
    Ok(answer)
}

/// The frames, last first.
struct Two(Vec<Frame<Bytes>>);

impl futures_core::Stream for Two {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.pop().map(Ok))
    }
}

/// The head, and the trailers, of what the handler answers through the layer.
async fn through(layer: LineageLayer, asked: bool, version: Version) -> (HeaderMap, HeaderMap) {
    let mut request = Request::new(Body::empty());
    *request.version_mut() = version;
    if asked {
        request.headers_mut().insert(ASKED.0, ASKED.1.parse().unwrap());
    }
    let (head, body) = layer.layer(tower::service_fn(copied)).oneshot(request).await.unwrap().into_parts();
    (head.headers, body.collect().await.unwrap().trailers().unwrap().clone())
}

#[tokio::test]
async fn what_a_handler_copies_does_not_pass_for_lineage() {
    let service = Workload::new("orders");
    let silent = layer(&service, &[]).build().unwrap();
    let cautious = layer(&service, &[]).return_lineage().build().unwrap();
    let generous = layer(&service, &[]).return_lineage_to_anybody().build().unwrap();
    for (layer, asked) in [(&silent, true), (&cautious, true), (&generous, false)] {
        let (head, trailers) = through(layer.clone(), asked, Version::HTTP_2).await;
        assert_eq!((head.get("kest-lineage"), trailers.get("kest-lineage")), (None, None));
        assert_eq!(trailers.get("checksum").unwrap(), "1");
    }
    let mine = |text: &http::HeaderValue| {
        let arrived = Wire::default().read_blocking(&[text.as_bytes()]).unwrap().lineage.unwrap();
        let verified = arrived.verify(&verifier(&[&service])).unwrap();
        payload(verified.passport().entries()[0].jws())["operation"].clone()
    };
    // In the trailers where the caller takes them, else in the head: once.
    let (head, trailers) = through(generous.clone(), true, Version::HTTP_2).await;
    assert_eq!(head.get("kest-lineage"), None);
    assert_eq!(trailers.get_all("kest-lineage").iter().map(mine).collect::<Vec<_>>(), ["mine"]);
    let (head, trailers) = through(generous, true, Version::HTTP_11).await;
    assert_eq!(head.get_all("kest-lineage").iter().map(mine).collect::<Vec<_>>(), ["mine"]);
    assert_eq!(trailers.get("kest-lineage"), None);
}

#[tokio::test]
async fn a_layer_inside_of_another_is_refused() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let build = || layer(&service, &[&caller]).allow(caller.id.as_str()).return_lineage().build().unwrap();
    let app = Router::new().nest("/inner", routes().layer(build())).merge(routes()).layer(build());
    let ask = |path: &'static str| {
        let app = app.clone();
        async move { app.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap() }
    };
    assert_eq!(ask("/").await.status(), 200);
    let refused = ask("/inner").await;
    assert_eq!(refused.status(), 500);
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["type"], "urn:kest:problem:misconfigured");
    assert!(problem["detail"].as_str().unwrap().contains("two lineage layers"), "{problem}");
}
