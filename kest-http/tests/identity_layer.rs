//! The identity layer: whose bearer token counts, and what it says (spec §12).
#![cfg(feature = "oidc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

#[path = "../../kest-providers/tests/oidc_support/mod.rs"]
#[allow(unused_imports, reason = "shared with the tests of kest-providers")]
mod oidc_support;

use std::net::SocketAddr;
use std::time::Duration;

use axum::routing::get;
use axum::{Extension, Router};
use http_body_util::BodyExt;
use kest_core::__private::{CallSpec, Invocation, begin, in_scope};
use kest_core::Error;
use kest_core::jws::Algorithm;
use kest_http::{Authenticated, IdentityLayer, IdentityLayerBuilder, Users, Wire};
use serde_json::json;
use tower::ServiceExt;

use self::oidc_support::keys::{Key, hs256, signing_input};
use self::oidc_support::server::Reply;
use self::oidc_support::{DISCOVERY, Issuer, JWKS, now};
use self::support::{Answer, Workload, layer, payload, routes, send, serve, with_peer};

fn settings(issuer: &Issuer) -> IdentityLayerBuilder {
    IdentityLayer::builder().issuer(issuer.url()).audience("kest").leeway(Duration::ZERO)
}

/// A service behind both layers, to which `caller` is the peer.
async fn behind(identity: IdentityLayer, caller: &Workload) -> SocketAddr {
    let service = Workload::new("orders");
    let lineage = layer(&service, &[caller]).build().unwrap();
    serve(with_peer(routes().layer(identity).layer(lineage), caller.peer())).await
}

async fn with_token(address: SocketAddr, token: &str) -> Answer {
    send(address, &[("authorization", &format!("Bearer {token}"))]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_on_whose_behalf() {
    let (issuer, caller) = (Issuer::new(), Workload::new("gateway"));
    let address = behind(settings(&issuer).build().unwrap(), &caller).await;
    let claims = json!({"sub": "alice", "client_id": "app", "azp": "other", "scope": "orders:read pay"});
    let told = with_token(address, &issuer.token_with(claims)).await.json();
    assert_eq!(told["identity"], json!({"user": "alice", "agent": "app", "task": "orders:read pay"}));
    assert_eq!((&told["trust"], &told["source"]), (&json!(50), &json!("authenticated_user")));
    assert_eq!(told["jwt"], json!(true));
    let told = with_token(address, &issuer.token_with(json!({"sub": "alice", "azp": "other"}))).await.json();
    assert_eq!(told["identity"], json!({"user": "alice", "agent": "other"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_replaces_what_the_lineage_says() {
    let (issuer, caller) = (Issuer::new(), Workload::new("gateway"));
    let address = behind(settings(&issuer).optional().build().unwrap(), &caller).await;
    let baggage = caller.baggage(&["order"], Some(json!("alice"))).await;
    let lineage = ("baggage", baggage.as_str());
    let ask = |token: String| async move {
        send(address, &[lineage, ("authorization", &format!("Bearer {token}"))]).await.json()
    };
    let told = ask(issuer.token_with(json!({"sub": "bob", "azp": "app"}))).await;
    assert_eq!(told["identity"], json!({"user": "bob", "agent": "app"}));
    assert_eq!((&told["operations"], &told["trust"]), (&json!(["order", "handled"]), &json!(100)));
    let told = send(address, &[lineage]).await.json();
    assert_eq!((&told["identity"], &told["jwt"]), (&json!({"user": "alice"}), &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_a_request_is_refused_or_goes_on_as_its_lineage_says() {
    let (issuer, caller) = (Issuer::new(), Workload::new("gateway"));
    let strict = behind(settings(&issuer).build().unwrap(), &caller).await;
    let optional = behind(settings(&issuer).optional().build().unwrap(), &caller).await;
    for headers in [vec![], vec![("authorization", "Basic eDp5")], vec![("cookie", "access_token=x")]] {
        let answer = send(strict, &headers).await;
        answer.is_problem(401, "missing-token", "Authorization: Bearer");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "RFC 6750 §3.1: no error code");
        assert_eq!(send(optional, &headers).await.json()["source"], "unauthenticated");
    }
    // A bad token is never the same as none.
    for address in [strict, optional] {
        let tab = send(address, &[("authorization", &format!("Bearer\t{}", issuer.token()))]).await;
        tab.is_problem(401, "invalid-token", "no token");
        for token in ["", "x", "a.b.c"] {
            let answer = with_token(address, token).await;
            answer.is_problem(401, "invalid-token", "");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
        }
        let good = format!("Bearer {}", issuer.token());
        let answer = send(address, &[("authorization", &good), ("authorization", &good)]).await;
        answer.is_problem(400, "malformed-credentials", "more than one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_has_done_goes_back_with_and_without_a_token() {
    let (issuer, caller, service) = (Issuer::new(), Workload::new("gateway"), Workload::new("orders"));
    let identity = settings(&issuer).optional().build().unwrap();
    let lineage = layer(&service, &[&caller]).return_lineage().build().unwrap();
    let address = serve(with_peer(routes().layer(identity).layer(lineage), caller.peer())).await;
    let baggage = caller.baggage(&["order"], None).await;
    let good = format!("Bearer {}", issuer.token());
    for token in [None, Some(("authorization", good.as_str()))] {
        let asked = [("baggage", baggage.as_str()), ("kest-return", "1")];
        let headers: Vec<_> = asked.into_iter().chain(token).collect();
        let answer = send(address, &headers).await;
        let back = answer.header("kest-lineage").unwrap().as_bytes();
        let back = Wire::default().read_blocking(&[back]).unwrap().lineage.unwrap();
        let entries: Vec<_> = back.entries().map(|entry| payload(entry)["operation"].clone()).collect();
        assert_eq!(entries.last().unwrap(), "handled", "{token:?}");
    }
}

/// Starts a lineage that calls itself internal.
async fn internal() -> String {
    const SPEC: CallSpec = CallSpec {
        operation: "internal",
        span: "kest.verified.test",
        function: "tests::internal",
        policies: &["allow"],
        classification: "system",
        source_type: Some("internal"),
        added_taints: &[],
        removed_taints: &[],
        trust_override: None,
        sanitizer: false,
        labels: &[],
        config_seen: None,
    };
    match begin(Invocation::new(&SPEC)).await {
        Ok(live) => in_scope(live, Result::is_err, async { Ok::<_, Error>("ran".to_owned()) }).await.unwrap(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_no_token_may_do_no_more_than_who_does() {
    let (issuer, service) = (Issuer::new(), Workload::new("orders"));
    let identity = settings(&issuer).optional().build().unwrap();
    // No lineage layer around.
    let app = Router::new().route("/", get(internal)).layer(identity);
    for token in [None, Some(issuer.token())] {
        let mut request = axum::extract::Request::new(axum::body::Body::empty());
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let answer = service.kest.scope(app.clone().oneshot(request)).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("`internal`"), "{body:?}");
        assert_ne!(body, "ran");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_good_are_refused() {
    let (issuer, other, caller) = (Issuer::new(), Issuer::new(), Workload::new("gateway"));
    let address = behind(settings(&issuer).optional().build().unwrap(), &caller).await;
    assert_eq!(with_token(address, &issuer.token()).await.status, 200);
    let public = issuer.key.public();
    let claims = issuer.claims();
    let unsigned = |alg: &str| format!("{}.", signing_input(&json!({"alg": alg}), &claims));
    let stripped = format!("{}.", issuer.token().rsplit_once('.').unwrap().0);
    let forged = Key::p256("first").jwt(&claims);
    let embedded = Key::p256("first");
    let header = json!({"alg": "ES256", "kid": "first", "jwk": embedded.public(), "jku": other.url()});
    let swapped = {
        let (good, claims) = (issuer.token(), issuer.claims());
        let evil = signing_input(
            &json!({"alg": "ES256", "kid": "first"}),
            &oidc_support::changed(claims, json!({"sub": "root"})),
        );
        format!("{evil}.{}", good.rsplit_once('.').unwrap().1)
    };
    let cases: Vec<(String, &str)> = vec![
        (forged, "signature"),
        (swapped, "signature"),
        (embedded.jwt_with(&header, &claims), "signature"),
        (stripped, "signature"),
        (unsigned("none"), "none"),
        (unsigned("None"), "None"),
        (hs256("first", public.to_string().as_bytes(), &claims), "HS256"),
        (hs256("first", public["x"].as_str().unwrap().as_bytes(), &claims), "HS256"),
        (issuer.key.jwt_with(&json!({"alg": "ES384", "kid": "first"}), &claims), "alg"),
        (issuer.key.jwt_with(&json!({"alg": "RS256", "kid": "first"}), &claims), "alg"),
        (issuer.key.jwt_with(&json!({"alg": "ES256", "kid": "first", "crit": ["exp"]}), &claims), "crit"),
        (issuer.key.jwt_with(&json!({"alg": "ES256", "kid": "first", "typ": "logout+jwt"}), &claims), "type"),
        (issuer.token_with(json!({"exp": now() - 1, "iat": now() - 60})), "expired"),
        (issuer.token_with(json!({"exp": null})), "exp"),
        (issuer.token_with(json!({"nbf": now() + 60})), "nbf"),
        (issuer.token_with(json!({"iat": now() + 60})), "iat"),
        (issuer.token_with(json!({"aud": "another"})), "audience"),
        (issuer.token_with(json!({"aud": ["another", "kes", "kest "]})), "audience"),
        (issuer.token_with(json!({"aud": null})), "aud"),
        (issuer.token_with(json!({"iss": other.url()})), "issuer"),
        (issuer.token_with(json!({"iss": format!("{}/", issuer.url())})), "issuer"),
        (issuer.token_with(json!({"iss": null})), "iss"),
        (other.token(), "issuer"),
        (issuer.token_with(json!({"sub": null})), "sub"),
        (issuer.token_with(json!({"sub": 7})), "sub"),
        (issuer.token_with(json!({"cnf": {"jkt": "x"}})), "cnf"),
        (issuer.token_with(json!({"client_id": 7})), "client_id"),
        (issuer.token_with(json!({"scope": {"a": 1}})), "scope"),
        ("x".repeat(70_000), ""),
    ];
    for (token, part) in cases {
        let answer = with_token(address, &token).await;
        if token.len() > 65_536 {
            // The server's own limit may come first.
            assert!([401, 431].contains(&answer.status), "{answer:?}");
            continue;
        }
        answer.is_problem(401, "invalid-token", part);
        assert!(!answer.body.contains(&token), "the token is nobody's to read");
    }
    assert_eq!(other.server.hits(JWKS), 0, "nobody asks where a token points");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_rotate_their_keys() {
    let (issuer, caller) = (Issuer::new(), Workload::new("gateway"));
    let identity = settings(&issuer).refetch_after(Duration::ZERO).build().unwrap();
    let address = behind(identity, &caller).await;
    assert_eq!(with_token(address, &issuer.token()).await.status, 200);
    let next = Key::ed25519("second");
    issuer.publish(&[&next, &issuer.key]);
    let new = next.jwt(&issuer.claims());
    assert_eq!(with_token(address, &new).await.status, 200);
    assert_eq!(with_token(address, &issuer.token()).await.status, 200);
    // The old key is dropped; what it has signed is worth nothing once the set was read again.
    issuer.publish(&[&next]);
    let third = Key::rsa("third", "PS256");
    with_token(address, &third.jwt(&issuer.claims())).await.is_problem(401, "invalid-token", "third");
    with_token(address, &issuer.token()).await.is_problem(401, "invalid-token", "first");
    assert_eq!(with_token(address, &new).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_set_the_pace_at_which_an_issuer_is_asked() {
    let (issuer, caller) = (Issuer::new(), Workload::new("gateway"));
    let address = behind(settings(&issuer).build().unwrap(), &caller).await;
    assert_eq!(with_token(address, &issuer.token()).await.status, 200);
    for number in 0..20 {
        let unknown = Key::p256(&format!("k{number}")).jwt(&issuer.claims());
        with_token(address, &unknown).await.is_problem(401, "invalid-token", "publish");
    }
    assert_eq!(issuer.server.hits(JWKS), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_cannot_be_asked_is_503_and_its_address_stays_here() {
    let (issuer, caller) = (Issuer::new(), Workload::new("gateway"));
    let good = issuer.token();
    for reply in
        [Reply::Status(500), Reply::text("<html>"), Reply::Redirect(302, "http://127.0.0.1:1".into())]
    {
        let address = behind(settings(&issuer).optional().build().unwrap(), &caller).await;
        issuer.server.set(JWKS, reply);
        let answer = with_token(address, &good).await;
        answer.is_problem(503, "issuer-unavailable", "try again later");
        assert!(!answer.body.contains("127.0.0.1"), "{answer:?}");
        // Requests without a token are none of the issuer's business.
        assert_eq!(send(address, &[]).await.status, 200);
    }
    // Keys that are kept outlive the server.
    issuer.publish(&[&issuer.key]);
    let address = behind(settings(&issuer).build().unwrap(), &caller).await;
    assert_eq!(with_token(address, &good).await.status, 200);
    issuer.server.set(JWKS, Reply::Status(500));
    issuer.server.set(DISCOVERY, Reply::Status(500));
    assert_eq!(with_token(address, &good).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn delegation_names_the_current_actor_and_only_tells_of_the_others() {
    let (issuer, caller) = (Issuer::new(), Workload::new("gateway"));
    let act = json!({"sub": "second", "iss": "x", "act": {"sub": "first", "act": {"sub": "origin"}}});
    let token = issuer.token_with(json!({"sub": "alice", "client_id": "app", "act": act}));
    let address = behind(settings(&issuer).build().unwrap(), &caller).await;
    let told = with_token(address, &token).await.json();
    assert_eq!(told["identity"], json!({"user": "alice", "agent": "second"}));
    let inverse = behind(settings(&issuer).python_act_order().build().unwrap(), &caller).await;
    let told = with_token(inverse, &token).await.json();
    assert_eq!(told["identity"], json!({"user": "second", "agent": "alice"}));
    let who = |who: Extension<Authenticated>| async move {
        format!("{} {:?}", who.token().subject(), who.actors())
    };
    let app = Router::new().route("/", get(who)).layer(settings(&issuer).build().unwrap());
    let answer = with_token(serve(app).await, &token).await;
    assert_eq!(answer.body, "alice [\"second\", \"first\", \"origin\"]");
    let deep = (0..40).fold(json!({"sub": "x"}), |act, _| json!({"sub": "x", "act": act}));
    for bad in [
        json!("bob"),
        json!({}),
        json!({"sub": ""}),
        json!({"sub": "a", "act": "b"}),
        json!({"sub": "a\nb"}),
        deep,
    ] {
        let answer = with_token(address, &issuer.token_with(json!({ "act": bad }))).await;
        answer.is_problem(401, "invalid-token", "act");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_names_of_claims_can_be_changed() {
    let (issuer, caller) = (Issuer::new(), Workload::new("gateway"));
    let renamed = settings(&issuer)
        .user_claim("email")
        .agent_claims(["appid", "azp"])
        .task_claim("scp")
        .build()
        .unwrap();
    let address = behind(renamed, &caller).await;
    let claims = json!({"email": "a@example.org", "azp": "app", "scp": ["a", "b"], "scope": "no"});
    let told = with_token(address, &issuer.token_with(claims)).await.json();
    assert_eq!(told["identity"], json!({"user": "a@example.org", "agent": "app", "task": "a b"}));
    with_token(address, &issuer.token()).await.is_problem(401, "invalid-token", "`email`");
    let none = behind(settings(&issuer).no_task().build().unwrap(), &caller).await;
    let told = with_token(none, &issuer.token_with(json!({"sub": "alice", "scope": "x"}))).await.json();
    assert_eq!(told["identity"], json!({"user": "alice"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_several_issuers_are_told_apart() {
    let (one, two, caller) = (Issuer::new(), Issuer::new(), Workload::new("gateway"));
    let both = || settings(&one).issuer_with_jwks(two.url(), format!("{}{JWKS}", two.url()));
    let error = both().build().unwrap_err();
    assert!(error.to_string().contains("Users::ByIssuer"), "{error}");
    let address = behind(both().users(Users::ByIssuer).build().unwrap(), &caller).await;
    for issuer in [&one, &two] {
        let told = with_token(address, &issuer.token_with(json!({"sub": "alice"}))).await.json();
        assert_eq!(told["identity"]["user"], format!("{}#alice", issuer.url()));
    }
    assert_eq!(two.server.hits(DISCOVERY), 0);
    let address = behind(both().users(Users::AsNamed).build().unwrap(), &caller).await;
    let told = with_token(address, &two.token_with(json!({"sub": "alice"}))).await.json();
    assert_eq!(told["identity"]["user"], "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_takes_can_be_narrowed() {
    let (issuer, caller) = (Issuer::new(), Workload::new("gateway"));
    let only_eddsa = behind(settings(&issuer).algorithms([Algorithm::EdDsa]).build().unwrap(), &caller).await;
    with_token(only_eddsa, &issuer.token()).await.is_problem(401, "invalid-token", "ES256");
    let access = behind(settings(&issuer).access_tokens_only().build().unwrap(), &caller).await;
    with_token(access, &issuer.token()).await.is_problem(401, "invalid-token", "at+jwt");
    let header = json!({"alg": "ES256", "kid": "first", "typ": "at+jwt"});
    assert_eq!(with_token(access, &issuer.key.jwt_with(&header, &issuer.claims())).await.status, 200);
    let behind_gateway = behind(settings(&issuer).ignore_cnf().build().unwrap(), &caller).await;
    let bound = issuer.token_with(json!({"cnf": {"x5t#S256": "x"}}));
    assert_eq!(with_token(behind_gateway, &bound).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_meant_are_errors() {
    let issuer = Issuer::new();
    let cases: [(IdentityLayerBuilder, &str); 9] = [
        (IdentityLayer::builder().audience("kest"), "no issuer"),
        (IdentityLayer::builder().issuer(issuer.url()), "no audience"),
        (settings(&issuer).audience(""), "audience"),
        (settings(&issuer).leeway(Duration::from_secs(301)), "leeway"),
        (settings(&issuer).algorithms([]), "algorithm"),
        (settings(&issuer).algorithms([Algorithm::Hs256]), "HS256"),
        (settings(&issuer).issuer(issuer.url()).users(Users::ByIssuer), "twice"),
        (settings(&issuer).user_claim(""), "claim"),
        (IdentityLayer::builder().issuer("http://login.example.org").audience("kest"), "https"),
    ];
    for (builder, part) in cases {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_order_of_the_layers_is_an_error_and_not_a_lost_user() {
    let (issuer, service) = (Issuer::new(), Workload::new("orders"));
    let lineage = layer(&service, &[]).build().unwrap();
    let address = serve(routes().layer(lineage).layer(settings(&issuer).build().unwrap())).await;
    with_token(address, &issuer.token()).await.is_problem(500, "misconfigured", "wrong order");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_callers_get_a_status() {
    let (issuer, caller) = (Issuer::new(), Workload::new("gateway"));
    let address = behind(settings(&issuer).build().unwrap(), &caller).await;
    let grpc = ("content-type", "application/grpc");
    let status = |answer: Answer| {
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
        answer.header("grpc-status").unwrap().to_owned()
    };
    assert_eq!(status(send(address, &[grpc]).await), "16");
    assert_eq!(status(send(address, &[grpc, ("authorization", "Bearer x")]).await), "16");
    let two = [grpc, ("authorization", "Bearer x"), ("authorization", "Bearer x")];
    assert_eq!(status(send(address, &two).await), "3");
    issuer.server.set(JWKS, Reply::Status(500));
    let token = format!("Bearer {}", issuer.token());
    assert_eq!(status(send(address, &[grpc, ("authorization", &token)]).await), "14");
}
