//! The route of a service's public keys (spec §10, §12).
#![cfg(feature = "oidc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use http::Request;
use http_body_util::BodyExt;
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::identity::{BoxFuture, IdentityProvider};
use kest_core::jws::Jws;
use kest_core::keys::Jwks;
use kest_core::verify::{KeySource, Verifier};
use kest_http::{JwksService, LineageLayer, jwks};
use kest_providers::identity::{LocalEd25519Provider, MockIdentityProvider};
use kest_providers::jwks::JwksUrl;
use serde_json::Value;
use tower::ServiceExt;

use self::support::{Workload, routes, send_bytes, serve};

async fn get(service: &JwksService, method: &str) -> http::Response<http_body_util::Full<bytes::Bytes>> {
    let request = Request::builder().method(method).body(()).unwrap();
    service.clone().oneshot(request).await.unwrap()
}

fn prints(keys: &Jwks) -> Vec<String> {
    keys.0.iter().map(|key| key.thumbprint()).collect()
}

async fn body(response: http::Response<http_body_util::Full<bytes::Bytes>>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn a_verifier_reads_the_keys_over_a_socket() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let keys = JwksService::builder(Arc::clone(&caller.identity)).build();
    let address = serve(Router::new().route_service(jwks::PATH, keys)).await;
    let source =
        JwksUrl::builder(&format!("http://{address}{}", jwks::PATH)).allow(&caller.id).build().unwrap();
    assert!(source.may_block(), "nothing has been fetched");
    source.ready().await.unwrap();
    assert!(!source.may_block());
    assert_eq!(
        prints(&source.keys(&caller.id).unwrap().unwrap()),
        prints(&caller.identity.public_keys().unwrap())
    );
    let layer = LineageLayer::builder(service.kest.clone(), Verifier::new(source)).build().unwrap();
    let layered = serve(routes().layer(layer)).await;
    let told = support::send(layered, &[("baggage", &caller.baggage(&["order"], None).await)]).await.json();
    assert_eq!(told["operations"], serde_json::json!(["order", "handled"]));
}

#[tokio::test]
async fn what_is_published_is_public_and_may_be_kept_for_a_minute() {
    let caller = Workload::new("gateway");
    let service = JwksService::builder(Arc::clone(&caller.identity)).max_age(Duration::from_secs(7)).build();
    let response = get(&service, "GET").await;
    assert_eq!(response.headers()["content-type"], "application/jwk-set+json");
    assert_eq!(response.headers()["cache-control"], "public, max-age=7");
    let set = body(response).await;
    for key in set["keys"].as_array().unwrap() {
        // RFC 7518 §6.2.2, §6.3.2, §6.4.1; RFC 8037 §2.
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            assert!(key.get(private).is_none(), "{key}");
        }
    }
    let read = Jwks::from_json(&set).unwrap();
    assert_eq!(prints(&read), prints(&caller.identity.public_keys().unwrap()));
    assert_eq!(read.0[0].kid(), Some(read.0[0].thumbprint().as_str()));
}

#[tokio::test]
async fn it_takes_get_and_head_alone() {
    let caller = Workload::new("gateway");
    let keys = JwksService::builder(Arc::clone(&caller.identity)).build();
    let address = serve(Router::new().route_service("/", keys)).await;
    let get = send_bytes(address, "GET", &[]).await;
    let head = send_bytes(address, "HEAD", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = send_bytes(address, method, &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
        assert_eq!(answer.body, "");
    }
}

/// An identity whose key is replaced.
#[derive(Debug)]
struct Rotating(Mutex<Option<LocalEd25519Provider>>);

impl Rotating {
    fn keys(&self) -> Result<Jwks, IdentityError> {
        let down = || IdentityError::new(IdentityErrorKind::Connection, "agent.internal is down");
        self.0.lock().unwrap().as_ref().ok_or_else(down)?.public_keys()
    }

    fn rotate(&self) -> Jwks {
        *self.0.lock().unwrap() = Some(LocalEd25519Provider::new().unwrap());
        self.keys().unwrap()
    }
}

impl IdentityProvider for Rotating {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        Ok("spiffe://kest.test/rotating".into())
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        self.0.lock().unwrap().as_ref().unwrap().sign(payload)
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(async move { self.sign(payload) })
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        self.keys()
    }
}

#[tokio::test]
async fn a_replaced_key_stays_published_for_its_time() {
    let identity = Arc::new(Rotating(Mutex::new(None)));
    let first = identity.rotate();
    let service = |keep| {
        JwksService::builder(Arc::clone(&identity) as Arc<dyn IdentityProvider>).keep_retired(keep).build()
    };
    let (keeping, forgetting) = (service(Duration::from_secs(600)), service(Duration::ZERO));
    let second = identity.rotate();
    let read = |response| async { prints(&Jwks::from_json(&body(response).await).unwrap()) };
    let (first, second) = (prints(&first), prints(&second));
    assert_eq!(read(get(&keeping, "GET").await).await, [second.clone(), first].concat());
    assert_eq!(read(get(&forgetting, "GET").await).await, second);
    // Two rotations between two requests: what was observed is published.
    let third = prints(&identity.rotate());
    keeping.observe().await.unwrap();
    let fourth = prints(&identity.rotate());
    let published = read(get(&keeping, "GET").await).await;
    assert_eq!(published[0], fourth[0]);
    assert!(published.contains(&third[0]) && published.contains(&second[0]));
}

#[tokio::test]
async fn without_keys_it_is_unavailable_and_says_nothing_of_why() {
    let down = Arc::new(Rotating(Mutex::new(None)));
    let mock = Arc::new(MockIdentityProvider::new().unwrap());
    for identity in [down as Arc<dyn IdentityProvider>, mock] {
        let response = get(&JwksService::builder(identity).build(), "GET").await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
}
