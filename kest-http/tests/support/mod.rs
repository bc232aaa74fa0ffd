//! Workloads that sign, services that answer over sockets, and callers that send whatever they like.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use kest_core::__private::{CallSpec, Invocation, begin, in_scope};
use kest_core::config::Config;
use kest_core::error::Error;
use kest_core::lineage::{get_current_jwt, get_current_passport};
use kest_core::verify::{Anchors, Authority, Grant, Verifier};
use kest_core::{Kest, Passport};
use kest_http::{LineageInfo, LineageLayer, LineageLayerBuilder, Parcel, PeerIdentity, Wire};
use kest_providers::identity::LocalEd25519Provider;
use kest_providers::policy::MockPolicyEngine;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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

    /// What the workload has done: these calls one inside of the other, for `user`.
    pub(crate) async fn passport(&self, operations: &[&'static str], user: Option<Value>) -> Passport {
        let calls = chain(operations.to_vec(), user);
        self.kest.scope(calls).source("system").with_passport().await.1
    }

    /// [`Self::passport`] as it goes over the wire.
    pub(crate) async fn baggage(&self, operations: &[&'static str], user: Option<Value>) -> String {
        baggage(&self.passport(operations, user).await)
    }

    /// Its configuration lets strings of baggage say who the user and the agent are.
    pub(crate) fn trusting_baggage(&self) -> Kest {
        let mut config = Config::default();
        config.propagation.trust_baggage_identity = true;
        let kest = Kest::builder().identity(Arc::clone(&self.identity)).config(config);
        kest.engine(MockPolicyEngine::allow().without_recording()).build().unwrap()
    }

    pub(crate) fn peer(&self) -> PeerIdentity {
        PeerIdentity::spiffe(&self.id).unwrap()
    }
}

fn chain(
    mut operations: Vec<&'static str>,
    user: Option<Value>,
) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if operations.is_empty() {
            return;
        }
        let first = operations.remove(0);
        protected(first, user.as_ref(), chain(operations, user.clone())).await.unwrap();
    })
}

pub(crate) fn baggage(passport: &Passport) -> String {
    Wire::default().write_blocking(&Parcel::of(passport.clone()), &[]).unwrap()
}

/// The members of a `baggage` value by name.
pub(crate) fn members(baggage: &str) -> Vec<(String, String)> {
    let pair = |member: &str| member.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    baggage.split(',').filter_map(pair).collect()
}

const PLAIN: CallSpec = CallSpec {
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
pub(crate) async fn protected<F: Future>(
    operation: &'static str,
    user: Option<&Value>,
    body: F,
) -> Result<F::Output, Error> {
    let mut call = Invocation::new(Box::leak(Box::new(CallSpec { operation, ..PLAIN })));
    if let Some(user) = user {
        call = call.user(user);
    }
    let live = begin(call).await?;
    in_scope(live, Result::is_err, async move { Ok(body.await) }).await
}

pub(crate) fn payload(jws: &str) -> Value {
    let segment = jws.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(segment).unwrap()).unwrap()
}

pub(crate) fn anchors(workloads: &[&Workload]) -> Anchors {
    let mut anchors = Anchors::new();
    for workload in workloads {
        anchors.merge(Anchors::from_provider(&*workload.identity).unwrap()).unwrap();
    }
    anchors
}

pub(crate) fn verifier(workloads: &[&Workload]) -> Verifier {
    Verifier::new(anchors(workloads))
}

/// Who `workloads` are, and that they may do everything.
pub(crate) fn own(workloads: &[&Workload]) -> Authority {
    Authority::new(workloads.iter().map(|workload| (workload.id.as_str(), Grant::own()))).unwrap()
}

pub(crate) fn layer(service: &Workload, callers: &[&Workload]) -> LineageLayerBuilder {
    LineageLayer::builder(service.kest.clone(), verifier(callers))
}

/// Makes one protected call and says what it recorded, and what the handler can ask.
pub(crate) async fn handler(request: Request) -> Json<Value> {
    let info = request.extensions().get::<LineageInfo>().cloned();
    let recorded = protected("handled", None, async {
        let passport = get_current_passport().unwrap();
        let entries: Vec<Value> = passport.entries().iter().map(|entry| payload(entry.jws())).collect();
        entries
    });
    let entries = recorded.await.unwrap();
    let last = entries.last().unwrap();
    let identity = last["labels"].get("kest.identity").and_then(Value::as_str).unwrap_or("{}");
    Json(json!({
        "operations": entries.iter().map(|entry| entry["operation"].clone()).collect::<Vec<_>>(),
        "trust": last["trust_score"],
        "parents": last["parent_ids"],
        "principal": last["labels"]["principal"],
        "identity": serde_json::from_str::<Value>(identity).unwrap(),
        "source": last["metadata"]["trust"]["source_type"],
        "standing": info.as_ref().map(|info| format!("{:?}", info.standing())),
        "tips": info.as_ref().map(|info| info.tips().to_vec()),
        "jwt": get_current_jwt().is_some(),
    }))
}

pub(crate) fn routes() -> Router {
    Router::new().route("/", get(handler).post(handler))
}

/// As a server that ends mutual TLS with that peer does it.
pub(crate) fn with_peer(router: Router, peer: PeerIdentity) -> Router {
    router.layer(from_fn(move |mut request: Request, next: Next| {
        request.extensions_mut().insert(peer.clone());
        async move { next.run(request).await as Response }
    }))
}

pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut all =
            self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
        let first = all.next();
        assert!(all.next().is_none(), "`{name}` stands there twice");
        first
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// That it is this problem, in the form of RFC 9457, with a detail that has `part`.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, name: &str, part: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:kest:problem:{name}"), "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
        assert_eq!(self.header("www-authenticate").is_some(), status == 401, "RFC 9110 §15.5.2");
        assert_eq!(self.header("kest-lineage"), None);
    }
}

/// One request over a connection of its own, with exactly these header lines. Chunked bodies come back as they are.
pub(crate) async fn send(address: SocketAddr, headers: &[(&str, &str)]) -> Answer {
    let lines: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    send_bytes(address, "GET", &lines).await
}

pub(crate) async fn send_bytes(address: SocketAddr, method: &str, headers: &[(&str, &[u8])]) -> Answer {
    let mut request = format!("{method} / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n").into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(format!("{name}: ").as_bytes());
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    let answer = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let answer =
        tokio::time::timeout(Duration::from_secs(60), answer).await.expect("no answer within a minute");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap();
    Answer { status, headers: lines.map(header).collect(), body: body.to_owned() }
}

pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
