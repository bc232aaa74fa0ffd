//! The lineage layer: what comes in is verified, bound and gone on from (spec §12).
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kest_core::Passport;
use kest_core::keys::{Jwks, KeyError};
use kest_core::lineage::{Outgoing, with_agent, with_user};
use kest_core::verify::{FnKeySource, UnverifiedPassport, Verifier};
use kest_http::{LineageLayer, PeerIdentity, Wire};
use serde_json::{Value, json};
use tower::{Layer, Service, ServiceExt};

use self::support::{
    Workload, anchors, baggage, handler, layer, payload, protected, routes, send, serve, verifier, with_peer,
};

#[tokio::test]
async fn without_lineage_a_request_starts_one_as_unauthenticated() {
    let service = Workload::new("orders");
    let address = serve(routes().layer(layer(&service, &[]).build().unwrap())).await;
    let answer = send(address, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    assert_eq!(told["operations"], json!(["handled"]));
    assert_eq!((&told["trust"], &told["source"]), (&json!(10), &json!("unauthenticated")));
    assert_eq!((&told["standing"], &told["tips"]), (&json!("Absent"), &json!([])));
    assert_eq!(told["principal"], service.id);
    // Other propagators' baggage is none of ours.
    let answer = send(address, &[("baggage", "tenant=blue"), ("baggage", "region=eu;ttl=1")]).await;
    assert_eq!(answer.json()["standing"], "Absent", "{answer:?}");
}

#[tokio::test]
async fn the_lineage_of_the_peer_goes_on_with_its_scores_and_identity() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let app = with_peer(routes().layer(layer(&service, &[&caller]).build().unwrap()), caller.peer());
    let address = serve(app).await;
    let passport = caller.passport(&["login", "order"], Some(json!("alice"))).await;
    let told = send(address, &[("baggage", &baggage(&passport))]).await.json();
    assert_eq!(told["operations"], json!(["login", "order", "handled"]));
    assert_eq!(told["parents"], json!([passport.tips()[0].hash()]));
    assert_eq!((&told["trust"], &told["standing"]), (&json!(100), &json!("Bound")));
    assert_eq!(told["identity"], json!({"user": "alice"}));
    assert_eq!(told["tips"], told["parents"]);
    assert_eq!(told["jwt"], json!(false));
}

#[tokio::test]
async fn who_is_allowed_is_believed_without_being_the_peer() {
    let (caller, service) = (Workload::new("team/gateway"), Workload::new("orders"));
    let baggage = caller.baggage(&["order"], Some(json!({"id": 7}))).await;
    for (pattern, standing) in [
        ("spiffe://kest.test/team/gateway", "Bound"),
        ("spiffe://kest.test/team/*", "Bound"),
        ("spiffe://kest.test", "Bound"),
        ("spiffe://kest.test/team/gatewa", "Unbound"),
        ("spiffe://kest.test/team/gateway/*", "Unbound"),
        ("spiffe://kest.tes", "Unbound"),
    ] {
        let app = routes().layer(layer(&service, &[&caller]).allow(pattern).build().unwrap());
        let told = send(serve(app).await, &[("baggage", &baggage)]).await.json();
        assert_eq!(told["standing"], standing, "{pattern}");
        let (trust, identity) =
            if standing == "Bound" { (100, json!({"user": {"id": 7}})) } else { (40, json!({})) };
        assert_eq!((&told["trust"], &told["identity"]), (&json!(trust), &identity), "{pattern}");
    }
}

/// The tips of two workloads, joined.
async fn two_tips(first: Passport, second: Passport) -> Passport {
    let mut both = first;
    both.merge(&second);
    assert_eq!(both.tips().len(), 2);
    both
}

#[tokio::test]
async fn all_tips_become_parents_and_all_must_be_bound() {
    let (one, two, service) = (Workload::new("one"), Workload::new("two"), Workload::new("orders"));
    let both = two_tips(one.passport(&["a"], None).await, two.passport(&["b"], None).await).await;
    let build = || layer(&service, &[&one, &two]);
    let ask = |layer: LineageLayer| {
        let app = with_peer(routes().layer(layer), one.peer());
        let baggage = baggage(&both);
        async move { send(serve(app).await, &[("baggage", &baggage)]).await.json() }
    };
    let told = ask(build().allow(two.id.as_str()).build().unwrap()).await;
    assert_eq!((&told["standing"], &told["trust"]), (&json!("Bound"), &json!(100)));
    assert_eq!(told["parents"].as_array().unwrap().len(), 2);
    // One tip of another is enough to distrust the whole.
    let told = ask(build().build().unwrap()).await;
    assert_eq!((&told["standing"], &told["trust"]), (&json!("Unbound"), &json!(40)));
    assert_eq!(told["parents"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_the_tips_do_not_agree_on_is_left_out() {
    let (one, two, service) = (Workload::new("one"), Workload::new("two"), Workload::new("orders"));
    let told = |first: Passport, second: Passport| {
        let layer = layer(&service, &[&one, &two]).allow("spiffe://kest.test").build().unwrap();
        async move {
            let both = two_tips(first, second).await;
            let answer = send(serve(routes().layer(layer)).await, &[("baggage", &baggage(&both))]).await;
            answer.json()["identity"].clone()
        }
    };
    let alice = Some(json!("alice"));
    let with_bot = |workload: &Workload, bot: &'static str| {
        let kest = workload.kest.clone();
        async move {
            let call = with_user("alice", with_agent(bot, protected("a", None, async {})));
            kest.scope(call).source("system").with_passport().await.1
        }
    };
    let (same, other) =
        (one.passport(&["a"], alice.clone()).await, two.passport(&["b"], alice.clone()).await);
    assert_eq!(told(same.clone(), other).await, json!({"user": "alice"}));
    assert_eq!(told(same.clone(), two.passport(&["b"], Some(json!("bob"))).await).await, json!({}));
    assert_eq!(told(same, two.passport(&["b"], None).await).await, json!({}));
    let agents = told(with_bot(&one, "bot").await, with_bot(&two, "tob").await).await;
    assert_eq!(agents, json!({"user": "alice"}));
    let agents = told(with_bot(&one, "bot").await, with_bot(&two, "bot").await).await;
    assert_eq!(agents, json!({"user": "alice", "agent": "bot"}));
    // An agent that acts for alice does not act for whoever.
    assert_eq!(
        told(with_bot(&one, "bot").await, two.passport(&["b"], Some(json!("bob"))).await).await,
        json!({})
    );
}

#[tokio::test]
async fn lineage_and_binding_can_be_required() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let strict = layer(&service, &[&caller]).require_lineage().require_bound().build().unwrap();
    let address = serve(routes().layer(strict.clone())).await;
    send(address, &[]).await.is_problem(401, "missing-lineage", "outbound layer");
    send(address, &[("baggage", "tenant=blue")]).await.is_problem(401, "missing-lineage", "outbound layer");
    let baggage = caller.baggage(&["order"], None).await;
    let answer = send(address, &[("baggage", &baggage)]).await;
    answer.is_problem(401, "unbound-lineage", "the connection proves nobody");
    assert_eq!(answer.header("www-authenticate"), Some("Kest error=\"unbound-lineage\""));
    let address = serve(with_peer(routes().layer(strict), caller.peer())).await;
    assert_eq!(send(address, &[("baggage", &baggage)]).await.status, 200);
}

#[tokio::test]
async fn a_service_inside_of_another_lineage_goes_on_with_what_came_with_the_request() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let app = routes().layer(layer(&service, &[&caller]).build().unwrap());
    let inside = async {
        // A system root around the service, for alice: none of it is the request's.
        protected("host", Some(&json!("alice")), async {
            let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            serde_json::from_slice::<Value>(&body).unwrap()
        })
        .await
        .unwrap()
    };
    let told = caller.kest.scope(inside).source("system").await;
    assert_eq!(told["operations"], json!(["handled"]));
    assert_eq!((&told["trust"], &told["identity"]), (&json!(10), &json!({})));
}

#[tokio::test]
async fn baggage_strings_count_only_where_the_configuration_says_so_and_the_lineage_says_nothing() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let kest = service.trusting_baggage();
    let trusting =
        LineageLayer::builder(kest, verifier(&[&caller])).allow(caller.id.as_str()).build().unwrap();
    let address = serve(routes().layer(trusting)).await;
    let told = send(address, &[("baggage", "kest.user=mallory,kest.agent=%7B%22id%22%3A1%7D")]).await.json();
    assert_eq!(told["identity"], json!({"user": "mallory", "agent": "{\"id\":1}"}));
    let signed = caller.baggage(&["order"], Some(json!("alice"))).await;
    let told =
        send(address, &[("baggage", &format!("{signed},kest.user=mallory,kest.agent=bot"))]).await.json();
    assert_eq!(told["identity"], json!({"user": "alice"}));
    let unsaid = caller.baggage(&["order"], None).await;
    let told = send(address, &[("baggage", &format!("{unsaid},kest.user=mallory"))]).await.json();
    assert_eq!((&told["standing"], &told["identity"]), (&json!("Bound"), &json!({"user": "mallory"})));
}

#[tokio::test]
async fn a_baggage_string_does_not_stand_in_for_a_signed_user_who_is_not_believed() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let kest = service.trusting_baggage();
    let build = || LineageLayer::builder(kest.clone(), verifier(&[&caller]));
    let of = |user: &'static str| caller.passport(&["order"], Some(json!(user)));
    let disputed = two_tips(of("alice").await, of("bob").await).await;
    let half = two_tips(of("alice").await, caller.passport(&["order"], None).await).await;
    for (passport, bound) in [(disputed, true), (half, true), (of("alice").await, false)] {
        let layer = if bound { build().allow(caller.id.as_str()) } else { build() }.build().unwrap();
        let header = format!("{},kest.user=mallory,kest.agent=bot", baggage(&passport));
        let told = send(serve(routes().layer(layer)).await, &[("baggage", &header)]).await.json();
        let standing = if bound { "Bound" } else { "Unbound" };
        assert_eq!((&told["standing"], &told["identity"]), (&json!(standing), &json!({})));
    }
}

#[tokio::test]
async fn a_source_of_keys_that_blocks_holds_up_nobody_else() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let (asked, wait) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Barrier::new(2)));
    let known = anchors(&[&caller]);
    let source = {
        let (asked, wait) = (Arc::clone(&asked), Arc::clone(&wait));
        FnKeySource::new(move |principal: &str| -> Result<Option<Jwks>, KeyError> {
            asked.fetch_add(1, Ordering::SeqCst);
            wait.wait();
            kest_core::verify::KeySource::keys(&known, principal)
        })
    };
    let layer = LineageLayer::builder(service.kest.clone(), Verifier::new(source)).build().unwrap();
    let address = serve(routes().layer(layer)).await;
    let baggage = caller.baggage(&["order"], None).await;
    // This run-time has one thread: were the key asked for on it, nothing else could be answered.
    let waiting = tokio::spawn(async move { send(address, &[("baggage", &baggage)]).await });
    while asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(send(address, &[]).await.status, 200);
    wait.wait();
    assert_eq!(waiting.await.unwrap().status, 200);
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_503_and_no_name_of_a_server_gets_out() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let source = FnKeySource::new(|_: &str| {
        Err::<Option<Jwks>, _>(KeyError::Source("https://keys.internal:8443 is down".into()))
    });
    let layer = LineageLayer::builder(service.kest.clone(), Verifier::new(source)).build().unwrap();
    let address = serve(routes().layer(layer)).await;
    let answer = send(address, &[("baggage", &caller.baggage(&["order"], None).await)]).await;
    answer.is_problem(503, "keys-unavailable", "try again later");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(!answer.body.contains("internal"), "{answer:?}");
}

#[tokio::test]
async fn unverified_lineage_is_taken_only_where_both_sides_of_the_service_say_so() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let skipping = || Verifier::builder().dangerous().skip_signatures().build();
    let builder = |verifier| LineageLayer::builder(service.kest.clone(), verifier);
    let error = builder(skipping()).build().unwrap_err();
    assert!(error.to_string().contains("accept_unverified"), "{error}");
    let error = builder(verifier(&[])).dangerous().accept_unverified().build().unwrap_err();
    assert!(error.to_string().contains("skip_signatures"), "{error}");
    // The caller is unknown, allowed, and the peer: still nothing binds, and nothing counts.
    let layer =
        builder(skipping()).allow("spiffe://kest.test").dangerous().accept_unverified().build().unwrap();
    let address = serve(with_peer(routes().layer(layer), caller.peer())).await;
    let told =
        send(address, &[("baggage", &caller.baggage(&["order"], Some(json!("root"))).await)]).await.json();
    assert_eq!((&told["standing"], &told["identity"]), (&json!("Unbound"), &json!({})));
    assert_eq!(told["operations"], json!(["order", "handled"]));
    assert!(told["trust"].as_u64().unwrap() <= 40, "{told}");
}

#[tokio::test]
async fn settings_that_cannot_be_meant_are_errors() {
    let service = Workload::new("orders");
    let error = layer(&service, &[]).allow("spiffe://kest.test*").build().unwrap_err();
    assert!(error.to_string().contains("kest.test*"), "{error}");
    let error = layer(&service, &[]).unbound_ceiling(101).build().unwrap_err();
    assert!(error.to_string().contains("101"), "{error}");
    assert!(PeerIdentity::spiffe("orders").is_err());
}

// The lineage on its way back.

/// What was sent and, behind it, what came back: the operations.
fn returned(text: &str, sent: &str, callers: &[&Workload]) -> Vec<Value> {
    let read = |text: &str| Wire::default().read_blocking(&[text.as_bytes()]).unwrap().lineage.unwrap();
    let sent = read(sent);
    let came = match text.starts_with("kest.chain_tip=") {
        true => UnverifiedPassport::new(),
        false => read(text),
    };
    let all: UnverifiedPassport = sent.entries().chain(came.entries()).collect();
    let verified = all.verify(&verifier(callers)).unwrap();
    verified.passport().entries().iter().map(|entry| payload(entry.jws())["operation"].clone()).collect()
}

#[tokio::test]
async fn lineage_goes_back_where_both_sides_ask_for_it() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let baggage = caller.baggage(&["order"], Some(json!("alice"))).await;
    let silent = serve(routes().layer(layer(&service, &[&caller]).build().unwrap())).await;
    let giving = layer(&service, &[&caller]).allow(caller.id.as_str()).return_lineage().build().unwrap();
    let giving = serve(routes().layer(giving)).await;
    let lineage = ("baggage", baggage.as_str());
    assert_eq!(send(silent, &[lineage, ("kest-return", "1")]).await.header("kest-lineage"), None);
    for unasked in [vec![], vec![("kest-return", "0")], vec![("kest-return", "1"), ("kest-return", "1")]] {
        let headers: Vec<_> = [lineage].into_iter().chain(unasked).collect();
        assert_eq!(send(giving, &headers).await.header("kest-lineage"), None);
    }
    let answer = send(giving, &[lineage, ("kest-return", "1")]).await;
    let text = answer.header("kest-lineage").unwrap();
    assert!(text.starts_with("kest.passport_d="), "only this library reads it: {text}");
    assert_eq!(returned(text, &baggage, &[&caller, &service]), ["order", "handled"]);
    assert!(!text.contains("kest.user"), "only the history goes back");
    let refused = send(giving, &[("baggage", "kest.passport=x"), ("kest-return", "1")]).await;
    assert_eq!((refused.status, refused.header("kest-lineage")), (400, None));
}

/// A body of two frames, each made by a protected call.
fn streamed() -> Body {
    let frame = |operation: &'static str| async move {
        protected(operation, None, async {}).await.unwrap();
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(operation.as_bytes())))
    };
    Body::new(StreamBody::new(Frames { next: 0, frame, running: None }))
}

/// A stream over the two futures, without another crate.
struct Frames<M, F> {
    next: usize,
    frame: M,
    running: Option<std::pin::Pin<Box<F>>>,
}

impl<M: Fn(&'static str) -> F + Unpin, F: Future> futures_core::Stream for Frames<M, F> {
    type Item = F::Output;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(operation) = ["first", "second"].get(this.next) else { return std::task::Poll::Ready(None) };
        let running = this.running.get_or_insert_with(|| Box::pin((this.frame)(operation)));
        let done = std::task::ready!(running.as_mut().poll(cx));
        this.running = None;
        this.next += 1;
        std::task::Poll::Ready(Some(done))
    }
}

#[tokio::test]
async fn what_a_streamed_body_calls_belongs_to_the_lineage() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let layer = layer(&service, &[&caller]).return_lineage_to_anybody().build().unwrap();
    let app = Router::new().route("/", get(|| async { streamed() })).layer(layer);
    let address = serve(app).await;
    let baggage = caller.baggage(&["order"], None).await;
    let lineage = ("baggage", baggage.as_str());
    // HTTP/1.1 with trailers.
    let answer = send(address, &[lineage, ("kest-return", "1"), ("te", "trailers")]).await;
    assert_eq!(answer.header("trailer"), Some("kest-lineage"));
    assert_eq!(answer.header("kest-lineage"), None);
    assert!(answer.body.contains("first") && answer.body.contains("second"), "{answer:?}");
    let trailer = answer.body.split_once("\r\nkest-lineage: ").unwrap().1.trim_end();
    assert_eq!(returned(trailer, &baggage, &[&caller, &service]), ["order", "first", "second"]);
    // A caller that takes no trailers has what was known at the head.
    let answer = send(address, &[lineage, ("kest-return", "1")]).await;
    assert_eq!(answer.header("trailer"), None);
    assert_eq!(returned(answer.header("kest-lineage").unwrap(), &baggage, &[&caller]), ["order"]);
}

#[tokio::test]
async fn grpc_gets_its_lineage_in_the_trailers_that_are_there() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let inner = tower::service_fn(|_: Request<Body>| async {
        protected("unary", None, async {}).await.unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames = [Frame::data(Bytes::from_static(b"\0\0\0\0\0")), Frame::trailers(trailers)];
        let body = StreamBody::new(Ready(frames.into_iter()));
        Ok::<_, Infallible>(http::Response::new(body))
    });
    let layer = layer(&service, &[&caller]).return_lineage_to_anybody().build().unwrap();
    let mut service_ = layer.layer(inner);
    let mut request = Request::new(Body::empty());
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    let baggage = caller.baggage(&["order"], None).await;
    headers.insert("content-type", "application/grpc".parse().unwrap());
    headers.insert("kest-return", "1".parse().unwrap());
    headers.insert("baggage", baggage.parse().unwrap());
    let response = service_.ready().await.unwrap().call(request).await.unwrap();
    assert!(response.headers().get("kest-lineage").is_none() && response.headers().get("trailer").is_none());
    let collected = response.into_body().collect().await.unwrap();
    let trailers = collected.trailers().unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "0");
    let text = trailers.get("kest-lineage").unwrap().to_str().unwrap();
    assert_eq!(returned(text, &baggage, &[&caller, &service]), ["order", "unary"]);
}

struct Ready<I>(I);

impl<I: Iterator<Item = Frame<Bytes>> + Unpin> futures_core::Stream for Ready<I> {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next().map(Ok))
    }
}

#[tokio::test]
async fn grpc_is_refused_with_a_status_in_trailers_only() {
    let service = Workload::new("orders");
    let reached = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reached);
    let app = Router::new()
        .route(
            "/",
            get(move || {
                counted.fetch_add(1, Ordering::SeqCst);
                async { "reached" }
            }),
        )
        .layer(layer(&service, &[]).require_lineage().build().unwrap());
    let address = serve(app).await;
    for (kind, baggage, code) in [
        ("application/grpc", "kest.passport=%5B", "3"),
        ("application/grpc+proto", "", "16"),
        (
            "application/grpc; x=1",
            "kest.claim_check=9b2f1a30-1111-4111-8111-000000000000,kest.chain_tip=00",
            "3",
        ),
    ] {
        let answer = send(address, &[("content-type", kind), ("baggage", baggage)]).await;
        assert_eq!((answer.status, answer.header("grpc-status")), (200, Some(code)), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert!(!answer.header("grpc-message").unwrap().is_empty());
        assert_eq!(answer.body, "");
    }
    let web = send(address, &[("content-type", "application/grpc-web")]).await;
    web.is_problem(401, "missing-lineage", "lineage");
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn bodies_of_known_length_keep_it() {
    let service = Workload::new("orders");
    let app = Router::new()
        .route("/", get(|| async { "twelve bytes" }).post(handler))
        .route("/empty", get(|| async {}))
        .layer(layer(&service, &[]).return_lineage_to_anybody().build().unwrap());
    let address = serve(app).await;
    let answer = send(address, &[("kest-return", "1"), ("te", "trailers")]).await;
    assert_eq!((answer.header("content-length"), answer.body.as_str()), (Some("12"), "twelve bytes"));
    assert_eq!(answer.header("transfer-encoding"), None);
    let answer = support::send_bytes(address, "HEAD", &[]).await;
    assert_eq!((answer.header("content-length"), answer.body.as_str()), (Some("12"), ""));
}

#[tokio::test]
async fn the_scope_is_open_while_the_body_is_and_tells_what_a_call_takes_along() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let inner = tower::service_fn(|_: Request<Body>| async {
        let frame = |_: &'static str| async {
            let sent = Outgoing::capture().passport().entries().len();
            Ok::<_, Infallible>(Frame::data(Bytes::from(sent.to_string())))
        };
        Ok::<_, Infallible>(http::Response::new(StreamBody::new(Frames { next: 0, frame, running: None })))
    });
    let layer = layer(&service, &[&caller]).build().unwrap();
    let mut request = Request::new(Body::empty());
    request.headers_mut().insert("baggage", caller.baggage(&["a", "b"], None).await.parse().unwrap());
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    assert!(Outgoing::capture().passport().is_empty());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], b"22");
}
