//! Lineage for gRPC clients by tonic. Spec §12.
#![cfg(feature = "grpc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod outbound_support;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request as HttpRequest;
use axum::routing::post;
use bytes::{Buf as _, BufMut as _};
use kest_core::error::PropagationErrorKind;
use kest_core::lineage::with_user;
use kest_http::{LineageLayer, Outbound, OutboundError, OutboundLayer};
use outbound_support::{Received, Workload, kind, op, serve, shape, verifier};
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tower::{Layer as _, service_fn};

/// Messages as they are.
#[derive(Debug, Default, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// `/kest.Test/Count` does one protected thing, `/kest.Test/Fail` answers with a status, `/kest.Test/Silent` is behind
/// no layer.
async fn service(stock: &Workload, callers: &[&Workload]) -> (SocketAddr, Received) {
    async fn unary(request: HttpRequest, answer: Result<Bytes, Status>) -> http::Response<Body> {
        let service = service_fn(move |_: Request<Bytes>| {
            let answer = answer.clone().map(Response::new);
            async move { answer }
        });
        tonic::server::Grpc::new(Raw).unary(service, request).await
    }
    let layer = LineageLayer::builder(stock.kest.clone(), verifier(callers))
        .allow("spiffe://kest.test/*")
        .return_lineage()
        .build()
        .unwrap();
    let count = |request: HttpRequest| async {
        op("count", async {}).await.unwrap();
        unary(request, Ok(Bytes::from_static(b"17"))).await
    };
    let received = Received::default();
    let router = Router::new()
        .route("/kest.Test/Count", post(count))
        .route("/kest.Test/Fail", post(|request| unary(request, Err(Status::not_found("no such thing")))))
        .layer(layer)
        .route("/kest.Test/Silent", post(|request| unary(request, Ok(Bytes::from_static(b"17")))))
        .merge(received.router());
    (serve(router).await, received)
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

async fn ask<S>(service: S, method: &'static str) -> Result<Bytes, Status>
where
    S: GrpcService<Body>,
    S::ResponseBody: Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<outbound_support::BoxError> + Send,
{
    let mut client = Grpc::new(service);
    client.ready().await.map_err(|error| Status::unknown(error.into().to_string()))?;
    let path = http::uri::PathAndQuery::from_static(method);
    let answer = client.unary(Request::new(Bytes::from_static(b"?")), path, Raw).await?;
    Ok(answer.into_inner())
}

#[tokio::test]
async fn lineage_goes_along_and_comes_back_in_a_trailer() {
    let (orders, stock) = (Workload::new("orders"), Workload::new("stock"));
    let (address, _) = service(&stock, &[&orders, &stock]).await;
    let origin = format!("http://{address}");
    let outbound = Outbound::builder()
        .host(address.to_string())
        .returned(verifier(&[&orders, &stock]))
        .callee(address.to_string(), "spiffe://kest.test/stock")
        .build()
        .unwrap();
    let channel = OutboundLayer::to_origin(outbound, &origin).unwrap().layer(channel(address));
    let work = async {
        op("first", async {}).await.unwrap();
        assert_eq!(ask(channel.clone(), "/kest.Test/Count").await.unwrap(), "17");
        op("last", async {}).await.unwrap();
        // What fails says so itself.
        assert_eq!(ask(channel.clone(), "/kest.Test/Fail").await.unwrap_err().code(), Code::NotFound);
        let error = ask(channel, "/kest.Test/Silent").await.unwrap_err();
        assert_eq!(kind(&error), PropagationErrorKind::Returned);
    };
    let ((), passport) = orders.kest.scope(work).source("system").with_passport().await;
    assert_eq!(shape(&passport), "count<first; first; last<count");
}

#[tokio::test]
async fn a_channel_must_be_told_where_it_goes() {
    let (orders, stock) = (Workload::new("orders"), Workload::new("stock"));
    let (address, received) = service(&stock, &[&orders]).await;
    let outbound = Outbound::builder().host(address.to_string());
    // The URI of a generated client's request names no host.
    let untold = OutboundLayer::new(outbound.clone().build().unwrap()).layer(channel(address));
    let refusing = outbound.clone().refuse_unnamed().build().unwrap();
    let refusing = OutboundLayer::new(refusing).layer(channel(address));
    let elsewhere = OutboundLayer::to_origin(outbound.build().unwrap(), "http://stock.internal").unwrap();
    let elsewhere = elsewhere.layer(channel(address));
    let work = op("first", async {
        for untold in [untold, refusing] {
            let error = ask(untold, "/note").await.unwrap_err();
            assert_eq!(kind(&error), PropagationErrorKind::HostNotNamed);
        }
        let _ = ask(elsewhere, "/note").await;
        assert_eq!((received.count(), received.header("baggage")), (1, None));
    });
    orders.kest.scope(work).await.unwrap();
}

#[tokio::test]
async fn an_interceptor_sends_lineage_to_the_one_host() {
    let (orders, stock) = (Workload::new("orders"), Workload::new("stock"));
    let (address, received) = service(&stock, &[&orders]).await;
    let outbound = Outbound::builder().host(address.to_string()).build().unwrap();
    let named = InterceptedService::new(
        channel(address),
        outbound.interceptor(&format!("http://{address}")).unwrap(),
    );
    let other =
        InterceptedService::new(channel(address), outbound.interceptor("http://stock.internal").unwrap());
    let work = op("first", async {
        let _ = ask(named, "/note").await;
        assert_eq!(received.baggage().user.as_deref(), Some("alice"));
        let lineage = received.baggage().lineage.unwrap();
        assert_eq!(lineage.verify(&verifier(&[&orders])).unwrap().entries().len(), 1);
        let _ = ask(other, "/note").await;
        assert_eq!((received.count(), received.header("baggage")), (2, None));
    });
    orders.kest.scope(with_user("alice", work)).await.unwrap();
}

#[tokio::test]
async fn an_interceptor_fails_a_call_whose_lineage_cannot_go_along() {
    let orders = Workload::new("orders");
    let (address, received) = service(&Workload::new("stock"), &[&orders]).await;
    let origin = format!("http://{address}");
    let refusing = Outbound::builder().host("stock.internal").refuse_unnamed().build().unwrap();
    let refusing = InterceptedService::new(channel(address), refusing.interceptor(&origin).unwrap());
    let open = Outbound::builder().any_host().build().unwrap();
    let open = InterceptedService::new(channel(address), open.interceptor(&origin).unwrap());
    let work = async {
        let status = ask(refusing, "/note").await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        for _ in 0..100 {
            op("step", async {}).await.unwrap();
        }
        let status = ask(open, "/note").await.unwrap_err();
        assert!(status.message().contains("claim check"), "{status}");
    };
    orders.kest.scope(work).await;
    assert_eq!(received.count(), 0);
}

#[test]
fn an_interceptor_cannot_bring_lineage_back() {
    let asking = Outbound::builder().any_host().returned(verifier(&[])).build().unwrap();
    assert!(matches!(asking.interceptor("http://stock.internal"), Err(OutboundError::CannotJoin)));
    let outbound = Outbound::builder().any_host().build().unwrap();
    assert!(matches!(outbound.interceptor("stock.internal"), Err(OutboundError::Origin { .. })));
}
