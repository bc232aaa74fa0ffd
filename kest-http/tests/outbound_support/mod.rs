//! Workloads, services that note what they receive, and clients over loopback sockets.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod lab;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use http::HeaderMap;
use http_body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kest_core::__private::{CallSpec, Invocation, begin, in_scope};
use kest_core::error::{Error, PropagationError, PropagationErrorKind};
use kest_core::identity::IdentityProvider;
use kest_core::lineage::Jwt;
use kest_core::verify::{Anchors, Verifier};
use kest_core::{Kest, Passport};
use kest_http::{Arrived, LineageLayer, Outbound, Parcel, Wire};
use kest_providers::identity::LocalEd25519Provider;
use kest_providers::policy::MockPolicyEngine;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A workload of `kest.test` with a key of its own.
#[derive(Clone)]
pub(crate) struct Workload {
    pub(crate) id: String,
    pub(crate) identity: Arc<LocalEd25519Provider>,
    pub(crate) kest: Kest,
}

impl Workload {
    pub(crate) fn new(name: &str) -> Self {
        let id = format!("spiffe://kest.test/{name}");
        let identity = Arc::new(LocalEd25519Provider::new().unwrap().with_workload_id(id.as_str()));
        let kest = Kest::builder()
            .identity(Arc::clone(&identity))
            .engine(MockPolicyEngine::allow().without_recording())
            .without_config()
            .build()
            .unwrap();
        Self { id, identity, kest }
    }

    /// A lineage of its own, as a header has it.
    pub(crate) async fn header(&self, operations: &[&'static str]) -> String {
        let calls = async {
            for operation in operations {
                op(operation, async {}).await.unwrap();
            }
        };
        header(&self.kest.scope(calls).source("system").with_passport().await.1)
    }
}

/// Calls may go anywhere; what the workload `stock` there did comes back, as far as it verifies.
pub(crate) fn asking_back(stock: SocketAddr, verifier: Verifier) -> Outbound {
    Outbound::builder()
        .any_host()
        .returned(verifier)
        .callee(stock.to_string(), "spiffe://kest.test/stock")
        .build()
        .unwrap()
}

pub(crate) fn header(passport: &Passport) -> String {
    Wire::default().write_blocking(&Parcel::of(passport.clone()), &[]).unwrap()
}

pub(crate) fn verifier(workloads: &[&Workload]) -> Verifier {
    let mut anchors = Anchors::new();
    for workload in workloads {
        anchors.merge(Anchors::from_provider(&*workload.identity as &dyn IdentityProvider).unwrap()).unwrap();
    }
    Verifier::new(anchors)
}

/// What a call is where nothing else is said.
pub(crate) const PLAIN: CallSpec = CallSpec {
    operation: "plain",
    span: "kest.verified.test",
    function: "tests::protected",
    policies: &["allow"],
    classification: "system",
    source_type: None,
    added_taints: &[],
    removed_taints: &[],
    trust_override: None,
    sanitizer: false,
    labels: &[],
    config_seen: None,
};

/// A protected call, as the attribute makes it.
pub(crate) async fn op<F: Future>(operation: &'static str, body: F) -> Result<F::Output, Error> {
    let live = begin(Invocation::new(Box::leak(Box::new(CallSpec { operation, ..PLAIN })))).await?;
    in_scope(live, Result::is_err, async move { Ok(body.await) }).await
}

pub(crate) fn payload(jws: &str) -> Value {
    let segment = jws.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(segment).unwrap()).unwrap()
}

/// The operations of a lineage with those of their parents: `a; b<a`.
pub(crate) fn shape(passport: &Passport) -> String {
    let entries = passport.entries();
    let name = |jws: &str| payload(jws)["operation"].as_str().unwrap().to_owned();
    let names: BTreeMap<String, String> = entries.iter().map(|e| (e.hash(), name(e.jws()))).collect();
    let mut all: Vec<String> = entries
        .iter()
        .map(|entry| {
            let mut parents: Vec<&str> =
                entry.parent_hashes().iter().filter_map(|hash| names.get(hash)).map(String::as_str).collect();
            parents.sort_unstable();
            let name = name(entry.jws());
            if parents.is_empty() { name } else { format!("{name}<{}", parents.join(",")) }
        })
        .collect();
    all.sort();
    all.join("; ")
}

pub(crate) fn score(passport: &Passport, operation: &str) -> u8 {
    let entries = passport.entries();
    entries.iter().find(|entry| payload(entry.jws())["operation"] == operation).unwrap().trust_score()
}

pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// A service that answers with these bytes, whatever comes.
pub(crate) async fn raw(answer: Vec<u8>) -> SocketAddr {
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

/// What a service has received.
#[derive(Clone, Default)]
pub(crate) struct Received(Arc<Mutex<Vec<HeaderMap>>>);

impl Received {
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> HeaderMap {
        self.0.lock().unwrap().last().cloned().expect("nothing was received")
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let headers = self.last();
        let mut values = headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned());
        let first = values.next();
        assert!(values.next().is_none(), "`{name}` came twice");
        first
    }

    pub(crate) fn baggage(&self) -> Arrived {
        let headers = self.last();
        let values: Vec<&[u8]> = headers.get_all("baggage").iter().map(|value| value.as_bytes()).collect();
        Wire::default().read_blocking(&values).unwrap()
    }

    pub(crate) fn router(&self) -> Router {
        let all = Arc::clone(&self.0);
        Router::new().fallback(any(move |request: Request| {
            all.lock().unwrap().push(request.headers().clone());
            async { "ok" }
        }))
    }
}

/// A service that notes the headers that it receives.
pub(crate) async fn recorder() -> (SocketAddr, Received) {
    let received = Received::default();
    (serve(received.router()).await, received)
}

/// A service that does one protected thing: at `/` before it answers, at `/stream` while it does, and at `/idle` none.
pub(crate) fn callee(workload: &Workload, operation: &'static str, callers: &[&Workload]) -> Router {
    let layer = LineageLayer::builder(workload.kest.clone(), verifier(callers))
        .allow("spiffe://kest.test/*")
        .return_lineage_to_anybody()
        .build()
        .unwrap();
    Router::new()
        .route("/", any(move || async move { op(operation, async { operation }).await.unwrap() }))
        .route("/idle", any(|| async { "idle" }))
        .route("/fail", any(|| async { (http::StatusCode::INTERNAL_SERVER_ERROR, "not now") }))
        .route("/stream", any(move || async move { Response::new(Body::new(Later::new(operation))) }))
        .layer(layer)
}

/// A body that does a protected thing when it is asked for its one frame.
struct Later(Option<Pin<Box<dyn Future<Output = &'static str> + Send>>>);

impl Later {
    fn new(operation: &'static str) -> Self {
        Self(Some(Box::pin(async move { op(operation, async { operation }).await.unwrap() })))
    }
}

impl http_body::Body for Later {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(work) = &mut self.0 else { return Poll::Ready(None) };
        let text = std::task::ready!(work.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))))
    }
}

pub(crate) fn client(http2: bool) -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

pub(crate) fn get(uri: impl AsRef<str>) -> http::Request<Body> {
    http::Request::get(uri.as_ref()).body(Body::empty()).unwrap()
}

pub(crate) fn token() -> Jwt {
    Jwt::new("eyJ.secret.token")
}

/// That the call failed with an error of ours.
#[track_caller]
pub(crate) fn kind(error: &(dyn std::error::Error + 'static)) -> PropagationErrorKind {
    find(error).kind()
}

/// Our error in the chain of causes.
#[track_caller]
pub(crate) fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a PropagationError {
    PropagationError::find(error).unwrap_or_else(|| panic!("no error of ours: {error:?}"))
}

/// The warnings of kest on this thread, as long as the guard is held.
#[derive(Clone, Default)]
pub(crate) struct Warnings(Arc<Mutex<Vec<String>>>);

#[must_use]
pub(crate) struct Listening {
    _guard: tracing::subscriber::DefaultGuard,
    _second: tracing::Dispatch,
}

impl Warnings {
    pub(crate) fn listen(&self) -> Listening {
        // Where there is just one, a thread without any that comes to an event first switches it off for all.
        let second = tracing::Dispatch::new(self.clone());
        Listening { _guard: tracing::subscriber::set_default(self.clone()), _second: second }
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "kest" && *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
