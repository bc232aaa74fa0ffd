//! What goes along with calls of tower clients, and to whom. Spec §12.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod outbound_support;

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use kest_core::error::PropagationErrorKind;
use kest_core::lineage::{with_jwt, with_user};
use kest_core::verify::Verifier;
use kest_http::{Outbound, OutboundError, OutboundLayer};
use opentelemetry::Context;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use outbound_support::{Workload, client, find, get, kind, op, recorder, token, verifier};
use tower::{Layer as _, ServiceExt, service_fn};

/// What `request` looks like when it leaves, sent in a scope with one entry, for a user and with a token.
async fn leaves(
    outbound: Outbound,
    request: Request<Body>,
) -> Result<Request<Body>, outbound_support::BoxError> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let service = service_fn(move |request: Request<Body>| {
        let sender = sender.clone();
        async move {
            sender.send(request).await.unwrap();
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    });
    let service = OutboundLayer::new(outbound).layer(service);
    let call = op("call", async move { service.oneshot(request).await });
    let orders = Workload::new("orders");
    orders.kest.scope(with_user("alice", with_jwt(token(), call))).await.unwrap()?;
    Ok(receiver.try_recv().unwrap())
}

fn text<'a>(request: &'a Request<Body>, name: &str) -> &'a str {
    request.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_named_host_receives_lineage_and_identity_over_both_protocols() {
    let orders = Workload::new("orders");
    let (address, received) = recorder().await;
    for http2 in [false, true] {
        let outbound = Outbound::builder().host(address.to_string()).build().unwrap();
        let client = OutboundLayer::new(outbound).layer(client(http2));
        let call = op("call", async {
            client.oneshot(get(format!("http://{address}/"))).await.unwrap();
        });
        orders.kest.scope(with_user("alice", with_jwt(token(), call))).await.unwrap();
        let arrived = received.baggage();
        let lineage = arrived.lineage.unwrap().verify(&verifier(&[&orders])).unwrap();
        assert_eq!(outbound_support::shape(lineage.passport()), "call");
        assert_eq!(arrived.user.as_deref(), Some("alice"));
        assert!(arrived.jwt.is_none());
        assert_eq!(received.header("authorization"), None);
        assert_eq!(received.header("kest-return"), None);
    }
}

#[tokio::test]
async fn a_host_that_is_not_named_receives_nothing_of_ours() {
    let orders = Workload::new("orders");
    let (address, received) = recorder().await;
    let outbound = Outbound::builder().host("orders.internal").build().unwrap();
    let copied = orders.header(&["other"]).await;
    // What another propagator or the calling code has put there goes too, in any spelling.
    let request = Request::get(format!("http://{address}/"))
        .header("baggage", format!("team=blue, {copied}"))
        .header("baggage", "kest.jwt=abc;p=1,KEST.user=mallory,kest%2Euser=mallory,colour=red")
        .header("kest-lineage", copied)
        .header("kest-return", "1")
        .header("authorization", "bearer eyJ.secret.token")
        .body(Body::empty())
        .unwrap();
    let client = OutboundLayer::new(outbound).layer(client(false));
    let call = op("call", async { client.oneshot(request).await.unwrap() });
    orders.kest.scope(with_user("alice", with_jwt(token(), call))).await.unwrap();
    assert_eq!(received.header("baggage").as_deref(), Some("team=blue,colour=red"));
    for name in ["kest-lineage", "kest-return", "authorization", "traceparent"] {
        assert_eq!(received.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn what_others_wrote_is_not_touched_where_none_of_it_is_ours() {
    let outbound = Outbound::builder().host("orders.internal").build().unwrap();
    let request = Request::get("http://stranger.example/")
        .header("baggage", "not baggage at all")
        .header("authorization", "Basic YTpi")
        .body(Body::empty())
        .unwrap();
    let sent = leaves(outbound, request).await.unwrap();
    assert_eq!(text(&sent, "baggage"), "not baggage at all");
    assert_eq!(text(&sent, "authorization"), "Basic YTpi");
}

#[tokio::test]
async fn what_cannot_be_told_from_ours_fails_the_call() {
    let outbound = Outbound::builder().host("orders.internal").build().unwrap();
    // The Python package's own form: where its members end cannot be said.
    let request = Request::get("http://stranger.example/")
        .header("baggage", r#"kest.passport=["a.b.c", "d.e.f"],kest.chain_tip=00"#)
        .body(Body::empty())
        .unwrap();
    let error = leaves(outbound.clone(), request).await.unwrap_err();
    assert_eq!(kind(&*error), PropagationErrorKind::Malformed);
    let mut request = get("http://orders.internal/");
    request.headers_mut().insert("baggage", http::HeaderValue::from_bytes(b"team=\xff").unwrap());
    assert_eq!(kind(&*leaves(outbound, request).await.unwrap_err()), PropagationErrorKind::Malformed);
}

#[tokio::test]
async fn a_host_that_only_looks_like_a_named_one_receives_nothing() {
    for uri in [
        "http://evil-orders.internal/",
        "http://orders.internal.evil.example/",
        "http://orders.internal@evil.example/",
        "http://orders.internal./",
        "http://orders.internal:8080/",
    ] {
        let outbound = Outbound::builder().host("orders.internal").build().unwrap();
        let request = Request::get(uri).header("host", "orders.internal").body(Body::empty()).unwrap();
        let sent = leaves(outbound, request).await.unwrap();
        assert!(!sent.headers().contains_key("baggage"), "{uri}");
    }
}

#[tokio::test]
async fn a_call_to_an_unnamed_host_fails_where_that_is_said() {
    let outbound = Outbound::builder().host("orders.internal").refuse_unnamed().build().unwrap();
    let error = leaves(outbound, get("http://stock.internal/")).await.unwrap_err();
    assert_eq!(kind(&*error), PropagationErrorKind::HostNotNamed);
    assert!(error.to_string().contains("`stock.internal` is not named"), "{error}");
}

#[tokio::test]
async fn a_request_that_names_no_host_is_not_made() {
    for outbound in [
        Outbound::builder().any_host().build().unwrap(),
        Outbound::builder().host("orders.internal").build().unwrap(),
    ] {
        let mut request = get("/orders");
        request.headers_mut().insert("host", "orders.internal".parse().unwrap());
        let error = leaves(outbound, request).await.unwrap_err();
        assert_eq!(kind(&*error), PropagationErrorKind::HostNotNamed);
        assert!(error.to_string().contains("OutboundLayer::to_origin"), "{error}");
    }
}

#[tokio::test]
async fn an_origin_does_not_speak_for_a_request_that_names_another_host() {
    let orders = Workload::new("orders");
    let (address, received) = recorder().await;
    let named = Outbound::builder().host("orders.internal").jwt_host("orders.internal").build().unwrap();
    let any = Outbound::builder().any_host().build().unwrap();
    for (outbound, origin) in [
        (named.clone(), "https://orders.internal".to_owned()),
        (any, "https://orders.internal".to_owned()),
        // In the clear, where the origin says that it is not.
        (named, format!("https://{address}")),
    ] {
        let client = OutboundLayer::to_origin(outbound, &origin).unwrap().layer(client(false));
        let call = op("call", client.oneshot(get(format!("http://{address}/"))));
        let error = orders.kest.scope(with_jwt(token(), call)).await.unwrap().unwrap_err();
        assert_eq!(kind(&*error), PropagationErrorKind::HostNotNamed);
        assert!(error.to_string().contains(&format!("names `http://{address}`")), "{error}");
        assert!(!find(&*error).call_was_made());
    }
    assert_eq!(received.count(), 0);
    let outbound = Outbound::builder().host(address.to_string()).build().unwrap();
    let origin = OutboundLayer::to_origin(outbound, &format!("http://{address}")).unwrap();
    let client = origin.layer(client(false));
    let call = op("call", client.oneshot(get(format!("http://{address}/"))));
    orders.kest.scope(call).await.unwrap().unwrap();
    assert!(received.baggage().lineage.is_some());
}

#[tokio::test]
async fn any_host_is_said_aloud() {
    let outbound = Outbound::builder().any_host().build().unwrap();
    let sent = leaves(outbound, get("http://stranger.example/")).await.unwrap();
    assert!(text(&sent, "baggage").contains("kest.chain_tip="));
    // The token all the same goes to hosts that are named for it.
    assert_eq!(text(&sent, "authorization"), "");
    assert!(matches!(Outbound::builder().build(), Err(OutboundError::NoHost)));
}

#[tokio::test]
async fn the_token_goes_to_hosts_that_are_named_for_it() {
    let outbound = Outbound::builder().jwt_host("orders.internal").build().unwrap();
    let sent = leaves(outbound.clone(), get("https://orders.internal/")).await.unwrap();
    assert_eq!(text(&sent, "authorization"), "Bearer eyJ.secret.token");
    assert!(sent.headers()["authorization"].is_sensitive());
    assert!(!sent.headers().contains_key("baggage"), "a host for tokens is none for lineage");
    // Credentials that are there stay.
    let request = Request::get("https://orders.internal/").header("authorization", "Basic YTpi");
    let sent = leaves(outbound.clone(), request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(text(&sent, "authorization"), "Basic YTpi");
    let sent = leaves(outbound, get("https://stock.internal/")).await.unwrap();
    assert_eq!(text(&sent, "authorization"), "");
}

#[tokio::test]
async fn the_token_does_not_go_in_the_clear() {
    let named = Outbound::builder().jwt_host("orders.internal").jwt_host("127.0.0.1:9000");
    let outbound = named.clone().build().unwrap();
    let error = leaves(outbound.clone(), get("http://orders.internal/")).await.unwrap_err();
    assert_eq!(kind(&*error), PropagationErrorKind::HostNotNamed);
    assert!(error.to_string().contains("jwt_over_plain_http"), "{error}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    let copied = Request::get("http://orders.internal/").header("authorization", "Bearer eyJ.secret.token");
    assert!(leaves(outbound.clone(), copied.body(Body::empty()).unwrap()).await.is_err());
    let sent = leaves(outbound, get("http://127.0.0.1:9000/")).await.unwrap();
    assert_eq!(text(&sent, "authorization"), "Bearer eyJ.secret.token");
    let sent =
        leaves(named.jwt_over_plain_http().build().unwrap(), get("http://orders.internal/")).await.unwrap();
    assert_eq!(text(&sent, "authorization"), "Bearer eyJ.secret.token");
}

#[tokio::test]
async fn the_token_is_in_baggage_only_where_that_is_said() {
    let both = Outbound::builder().host("orders.internal").host("stock.internal").jwt_host("orders.internal");
    let sent = leaves(both.clone().build().unwrap(), get("https://orders.internal/")).await.unwrap();
    assert!(!text(&sent, "baggage").contains("kest.jwt"));
    let both = both.jwt_in_baggage().build().unwrap();
    let sent = leaves(both.clone(), get("https://orders.internal/")).await.unwrap();
    assert!(text(&sent, "baggage").contains("kest.jwt=eyJ.secret.token"));
    assert!(sent.headers()["baggage"].is_sensitive());
    let sent = leaves(both, get("https://stock.internal/")).await.unwrap();
    assert!(text(&sent, "baggage").contains("kest.chain_tip"));
    assert!(!text(&sent, "baggage").contains("kest.jwt"));
}

#[tokio::test]
async fn baggage_of_others_goes_along_and_ours_is_written_once() {
    let outbound = Outbound::builder().host("orders.internal").build().unwrap();
    let request = Request::get("http://orders.internal/")
        .header("baggage", "team=blue,kest.user=mallory")
        .header("baggage", "colour=red;shade=dark,kest.passport=%5B%5D")
        .body(Body::empty())
        .unwrap();
    let sent = leaves(outbound, request).await.unwrap();
    assert_eq!(sent.headers().get_all("baggage").iter().count(), 1);
    let baggage = text(&sent, "baggage");
    for (part, times) in [
        ("kest.user=", 1),
        ("mallory", 0),
        ("team=blue", 1),
        ("colour=red;shade=dark", 1),
        ("kest.passport", 1),
    ] {
        assert_eq!(baggage.matches(part).count(), times, "{part} in {baggage}");
    }
}

/// What an application installs: writes only where a test asks for it, since it is one for the whole process.
#[derive(Debug)]
struct Tracing;

struct Wanted;

impl TextMapPropagator for Tracing {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        if cx.get::<Wanted>().is_some() {
            injector.set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
            injector.set("baggage", "team=blue,kest.user=mallory".to_owned());
            injector.set("authorization", "Bearer made-up".to_owned());
            injector.set("kest-return", "1".to_owned());
        }
    }

    fn extract_with_context(&self, cx: &Context, _: &dyn Extractor) -> Context {
        cx.clone()
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&[])
    }
}

#[tokio::test]
async fn the_trace_context_goes_along_to_named_hosts() {
    use opentelemetry::context::FutureExt as _;
    opentelemetry::global::set_text_map_propagator(Tracing);
    let sent = |uri: &'static str, before: Option<&'static str>| async move {
        let outbound = Outbound::builder().host("orders.internal").build().unwrap();
        let mut request = get(uri);
        if let Some(before) = before {
            request.headers_mut().insert("traceparent", before.parse().unwrap());
        }
        leaves(outbound, request).with_context(Context::current_with_value(Wanted)).await.unwrap()
    };
    let request = sent("http://orders.internal/", None).await;
    assert_eq!(text(&request, "traceparent"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert!(text(&request, "baggage").contains("team=blue"));
    assert!(text(&request, "baggage").contains("kest.user=alice"));
    assert!(!text(&request, "baggage").contains("mallory"));
    // Credentials and what is ours are nothing that a propagator has a say in.
    assert_eq!((text(&request, "authorization"), text(&request, "kest-return")), ("", ""));
    let request = sent("http://orders.internal/", Some("00-1-2-01")).await;
    assert_eq!(text(&request, "traceparent"), "00-1-2-01");
    assert!(!text(&request, "baggage").contains("team"));
    let request = sent("http://stranger.example/", None).await;
    assert_eq!((text(&request, "traceparent"), text(&request, "baggage")), ("", ""));
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let build = |outbound: kest_http::OutboundBuilder| outbound.build().unwrap_err().to_string();
    assert!(build(Outbound::builder().host("https://orders.internal")).contains("without scheme"));
    assert!(build(Outbound::builder().jwt_host("*.internal")).contains("`*.internal` names no host"));
    assert!(
        build(Outbound::builder().any_host().callee("a.internal", "spiffe://kest.test/*"))
            .contains(".returned(verifier)")
    );
    let hosts = || Outbound::builder().any_host();
    let hour = Duration::from_hours(1);
    for idle in [hosts().unbound_ceiling(40), hosts().returned_max_age(hour), hosts().tolerate_unreturned()] {
        assert!(build(idle).contains(".returned(verifier)"));
    }
    let returned = || hosts().returned(verifier(&[]));
    assert!(
        build(returned().callee("a.internal", "spiffe://kest.test/a*")).contains("spiffe://kest.test/a*")
    );
    assert!(build(returned().callee("*.internal", "spiffe://kest.test/*")).contains("names no host"));
    assert!(build(returned().unbound_ceiling(101)).contains("`101`"));
    // Nothing is sent there, so that nothing comes back.
    let named = Outbound::builder().host("a.internal:8443").returned(verifier(&[]));
    for host in ["a.internal", "a.internal:443", "b.internal:8443"] {
        let error = build(named.clone().callee(host, "spiffe://kest.test/*"));
        assert!(error.contains(&format!("`{host}` is none of those")), "{error}");
        assert!(error.contains("(`a.internal:8443`)"), "{error}");
    }
    assert!(named.callee("A.internal:8443", "spiffe://kest.test/*").build().is_ok());
    let tokens = Outbound::builder().jwt_host("a.internal").returned(verifier(&[]));
    assert!(build(tokens.callee("a.internal", "spiffe://kest.test/*")).contains("(none)"));
    let blind = Verifier::builder().dangerous().skip_signatures().build();
    assert!(build(hosts().returned(blind)).contains("leaves signatures unchecked"));
    let outbound = Outbound::builder().any_host().build().unwrap();
    let error = OutboundLayer::to_origin(outbound, "orders.internal").unwrap_err();
    assert!(error.to_string().contains("is no origin"), "{error}");
}
