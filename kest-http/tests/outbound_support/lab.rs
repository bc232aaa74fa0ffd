//! Three workloads that call each other, and services that answer as a test wants it.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::{HeaderValue, Response};
use http_body_util::BodyExt as _;
use kest_core::Passport;
use kest_http::{Outbound, OutboundBuilder, OutboundLayer};
use tower::{Layer as _, ServiceExt as _};

use super::{BoxError, Workload, callee, client, get, op, serve, verifier};

pub(crate) struct Lab {
    pub(crate) orders: Workload,
    pub(crate) stock: Workload,
    pub(crate) rates: Workload,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let [orders, stock, rates] = ["orders", "stock", "rates"].map(Workload::new);
        Self { orders, stock, rates }
    }

    /// Lineage of anybody here is verified; it is asked back.
    pub(crate) fn outbound(&self) -> OutboundBuilder {
        Outbound::builder().any_host().returned(verifier(&[&self.orders, &self.stock, &self.rates]))
    }

    /// The service is named as one of `kest.test`.
    pub(crate) fn known(&self, service: SocketAddr) -> Outbound {
        self.outbound().callee(service.to_string(), "spiffe://kest.test/*").build().unwrap()
    }

    pub(crate) async fn stock(&self) -> SocketAddr {
        serve(callee(&self.stock, "count", &[&self.orders])).await
    }

    pub(crate) async fn rates(&self) -> SocketAddr {
        serve(callee(&self.rates, "rate", &[&self.orders])).await
    }

    /// `first`, one call to the service, `last`.
    pub(crate) async fn calls(
        &self,
        outbound: &Outbound,
        uri: String,
        http2: bool,
    ) -> (Result<String, BoxError>, Passport) {
        let client = OutboundLayer::new(outbound.clone()).layer(client(http2));
        let work = async {
            op("first", async {}).await.unwrap();
            let answer = async {
                let answer = client.oneshot(get(uri)).await?;
                let text = answer.into_body().collect().await?.to_bytes();
                Ok::<_, BoxError>(String::from_utf8(text.to_vec()).unwrap())
            };
            let answer = answer.await;
            op("last", async {}).await.unwrap();
            answer
        };
        self.orders.kest.scope(work).source("system").with_passport().await
    }
}

/// A service that answers everything with this.
pub(crate) async fn answering(
    answer: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static,
) -> SocketAddr {
    serve(Router::new().fallback(any(move || {
        let answer = answer();
        async { answer }
    })))
    .await
}

pub(crate) async fn returning(values: &[&str]) -> SocketAddr {
    let values: Vec<HeaderValue> = values.iter().map(|value| value.parse().unwrap()).collect();
    answering(move || {
        let mut answer = Response::new(Body::from("done"));
        for value in &values {
            answer.headers_mut().append("kest-lineage", value.clone());
        }
        answer
    })
    .await
}
