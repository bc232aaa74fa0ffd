//! Lineage for `reqwest`, and redirects that would take it elsewhere. Spec §12.
#![cfg(feature = "reqwest")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod outbound_support;

use std::net::SocketAddr;

use axum::Router;
use axum::response::Redirect;
use axum::routing::any;
use kest_core::error::PropagationErrorKind;
use kest_core::lineage::{with_jwt, with_user};
use kest_http::{Outbound, OutboundBuilder};
use outbound_support::{Received, Workload, callee, kind, op, recorder, serve, shape, token, verifier};
use reqwest::Client;
use reqwest_middleware::{ClientWithMiddleware, Error};

/// A service that redirects `/away` to `place`, and notes what else it receives.
async fn redirecting(place: String) -> (SocketAddr, Received) {
    let received = Received::default();
    let away = move || {
        let place = place.clone();
        async move { Redirect::temporary(&place) }
    };
    let near = || async { Redirect::temporary("/here") };
    let router = Router::new().route("/away", any(away)).route("/near", any(near)).merge(received.router());
    (serve(router).await, received)
}

fn named(address: SocketAddr) -> OutboundBuilder {
    Outbound::builder().host(address.to_string()).jwt_host(address.to_string())
}

/// A call in a scope with one entry, for a user and with a token.
async fn call(client: &ClientWithMiddleware, uri: String) -> Result<reqwest::Response, Error> {
    let work = op("call", async { client.get(uri).send().await });
    Workload::new("orders").kest.scope(with_user("alice", with_jwt(token(), work))).await.unwrap()
}

#[tokio::test]
async fn a_named_host_receives_lineage_and_another_nothing() {
    let (address, received) = recorder().await;
    let client = named(address).build().unwrap().client(Client::builder()).unwrap();
    call(&client, format!("http://{address}/")).await.unwrap();
    assert_eq!(received.baggage().user.as_deref(), Some("alice"));
    assert_eq!(received.baggage().lineage.unwrap().len(), 1);
    assert_eq!(received.header("authorization").as_deref(), Some("Bearer eyJ.secret.token"));
    let (other, received) = recorder().await;
    call(&client, format!("http://{other}/")).await.unwrap();
    assert_eq!((received.header("baggage"), received.header("authorization")), (None, None));
    // `reqwest` writes addresses in their usual form, and connects to that.
    let (address, received) = recorder().await;
    let client = named(address).build().unwrap().client(Client::builder()).unwrap();
    call(&client, format!("http://127.1:{}/", address.port())).await.unwrap();
    assert!(received.baggage().lineage.is_some());
}

#[tokio::test]
async fn a_redirect_takes_nothing_to_another_host() {
    let (other, received) = recorder().await;
    let (address, _) = redirecting(format!("http://{other}/")).await;
    let client = named(address).jwt_in_baggage().build().unwrap().client(Client::builder()).unwrap();
    let error = call(&client, format!("http://{address}/away")).await.unwrap_err();
    assert!(error.is_redirect(), "{error:?}");
    assert!(format!("{error:?}").contains("would go along"), "{error:?}");
    assert_eq!(received.count(), 0);
    // Not even to one that may have lineage itself: the token may not be for it.
    let both = named(address).host(other.to_string()).build().unwrap().client(Client::builder()).unwrap();
    assert!(call(&both, format!("http://{address}/away")).await.unwrap_err().is_redirect());
    assert_eq!(received.count(), 0);
    // The hole that is closed: an ordinary client follows, with all that was meant for the first host.
    let open = named(address).build().unwrap().dangerous().middleware();
    let open = reqwest_middleware::ClientBuilder::new(Client::new()).with(open).build();
    call(&open, format!("http://{address}/away")).await.unwrap();
    assert!(received.baggage().lineage.is_some());
}

#[tokio::test]
async fn a_redirect_on_the_same_host_is_followed_with_the_lineage() {
    let (address, received) = redirecting(String::new()).await;
    let outbound = named(address).build().unwrap();
    let client = outbound.client(Client::builder()).unwrap();
    call(&client, format!("http://{address}/near")).await.unwrap();
    assert!(received.baggage().lineage.is_some());
    assert!(received.header("authorization").is_some());
    // One's own policy decides where ours has nothing against it.
    let none = outbound.client_builder(Client::builder(), reqwest::redirect::Policy::none()).unwrap().build();
    let answer = call(&none, format!("http://{address}/near")).await.unwrap();
    assert_eq!(answer.status(), 307);
    assert_eq!(received.count(), 1);
}

#[tokio::test]
async fn a_redirect_where_nothing_went_along_is_followed() {
    let (other, received) = recorder().await;
    let (address, _) = redirecting(format!("http://{other}/")).await;
    let client = named(other).build().unwrap().client(Client::builder()).unwrap();
    call(&client, format!("http://{address}/away")).await.unwrap();
    assert_eq!((received.header("baggage"), received.header("authorization")), (None, None));
}

#[tokio::test]
async fn what_a_service_did_comes_back_in_headers_and_trailers() {
    let (orders, stock) = (Workload::new("orders"), Workload::new("stock"));
    let address = serve(callee(&stock, "count", &[&orders, &stock])).await;
    let outbound = Outbound::builder()
        .host(address.to_string())
        .returned(verifier(&[&orders, &stock]))
        .callee(address.to_string(), "spiffe://kest.test/stock")
        .build()
        .unwrap();
    for builder in [Client::builder(), Client::builder().http2_prior_knowledge()] {
        let client = outbound.client(builder).unwrap();
        let work = async {
            op("first", async {}).await.unwrap();
            let answer = client.get(format!("http://{address}/")).send().await.unwrap();
            assert_eq!(answer.text().await.unwrap(), "count");
            op("second", async {}).await.unwrap();
            let uri = format!("http://{address}/stream");
            let answer = client.get(&uri).send().await.unwrap();
            assert_eq!((answer.url().as_str(), answer.status().as_u16()), (uri.as_str(), 200));
            assert_eq!(answer.text().await.unwrap(), "count");
            op("last", async {}).await.unwrap();
        };
        let ((), passport) = orders.kest.scope(work).source("system").with_passport().await;
        assert_eq!(shape(&passport), "count<first; count<second; first; last<count; second<count");
    }
}

#[tokio::test]
async fn what_cannot_be_joined_fails_the_call() {
    let (address, _) = recorder().await;
    let asking = Outbound::builder().host(address.to_string()).returned(verifier(&[])).build().unwrap();
    let client = asking.client(Client::builder()).unwrap();
    let answer = call(&client, format!("http://{address}/")).await;
    // A body of known length that is not empty may still have trailers over HTTP/2: the error comes at its end.
    let error: Box<dyn std::error::Error> = match answer {
        Ok(answer) => answer.text().await.unwrap_err().into(),
        Err(error) => error.into(),
    };
    assert_eq!(kind(&*error), PropagationErrorKind::Returned);
    // What somebody else answers to whom an open client went.
    let (redirecting, _) = redirecting(format!("http://{address}/")).await;
    let open =
        Outbound::builder().any_host().returned(verifier(&[])).build().unwrap().dangerous().middleware();
    let open = reqwest_middleware::ClientBuilder::new(Client::new()).with(open).build();
    match call(&open, format!("http://{redirecting}/away")).await {
        Err(Error::Middleware(error)) => {
            assert!(error.to_string().contains("a redirect to"), "{error}");
            assert_eq!(kind(error.as_ref()), PropagationErrorKind::Returned);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_cannot_be_sent_fails_the_call() {
    let (address, received) = recorder().await;
    let outbound = Outbound::builder().host("orders.internal").refuse_unnamed().build().unwrap();
    let client = outbound.client(Client::builder()).unwrap();
    match call(&client, format!("http://{address}/")).await {
        Err(Error::Middleware(error)) => assert_eq!(kind(error.as_ref()), PropagationErrorKind::HostNotNamed),
        other => panic!("{other:?}"),
    }
    assert_eq!(received.count(), 0);
}
