//! The clients of a hop.

use std::error::Error as StdError;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Uri};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kest::http::outbound::{Outbound, OutboundLayer, OutboundService};
use kest::http::tls::SpiffeConnector;
use kest::identity::spire::{PeerAuthorizer, SpireProvider};
use kest_lab::{Call, Plan, Via};
use serde_json::{Value, json};
use tonic::client::{Grpc, GrpcService};
use tonic::transport::Endpoint;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};

use crate::json::JsonCodec;
use crate::work::Failure;

type Mtls<B> = OutboundService<Client<SpiffeConnector, B>>;

pub(crate) struct Clients {
    outbound: Outbound,
    http_1: reqwest_middleware::ClientWithMiddleware,
    http_2: reqwest_middleware::ClientWithMiddleware,
    attested: Option<Attested>,
}

/// What only a workload of SPIRE has.
struct Attested {
    identity: SpireProvider,
    mtls: Mtls<Full<Bytes>>,
    mtls_grpc: Mtls<tonic::body::Body>,
}

impl Clients {
    pub(crate) async fn new(outbound: Outbound, spire: Option<SpireProvider>) -> Self {
        let layer = OutboundLayer::new(outbound.clone());
        let attested = match spire {
            None => None,
            Some(identity) => {
                let peers = PeerAuthorizer::own_trust_domain();
                let connector = SpiffeConnector::new(identity.tls_client_config(peers).await.unwrap());
                let client = Client::builder(TokioExecutor::new()).build(connector.clone());
                let mut http_2 = Client::builder(TokioExecutor::new());
                let http_2 = http_2.http2_only(true).build(connector.http2_only());
                let (mtls, mtls_grpc) = (layer.layer(client), layer.layer(http_2));
                Some(Attested { identity, mtls, mtls_grpc })
            }
        };
        Self {
            http_1: outbound.client(reqwest::Client::builder().http1_only().no_proxy()).unwrap(),
            http_2: outbound.client(reqwest::Client::builder().http2_prior_knowledge().no_proxy()).unwrap(),
            outbound,
            attested,
        }
    }

    pub(crate) async fn call(&self, call: Call) -> Result<Value, Failure> {
        match call.via {
            Via::Http1 => by_reqwest(&self.http_1, &call).await,
            Via::Http2 => by_reqwest(&self.http_2, &call).await,
            Via::Mtls => by_hyper(self.attested().mtls.clone(), &call).await,
            Via::Grpc => {
                let channel = endpoint(&call).connect_lazy();
                by_tonic(self.to_origin(&call).layer(channel), None, call.plan).await
            }
            Via::MtlsGrpc => {
                let origin = call.origin.parse().unwrap();
                by_tonic(self.attested().mtls_grpc.clone(), Some(origin), call.plan).await
            }
            Via::PinnedGrpc => {
                let peer = call.peer.as_deref().expect("the peer to be pinned to");
                let (connector, pinned) =
                    SpiffeConnector::pinned(&self.attested().identity, peer).await.map_err(sending)?;
                let channel = endpoint(&call).connect_with_connector_lazy(connector.http2_only());
                let stack = ServiceBuilder::new().layer(self.to_origin(&call)).layer(pinned);
                by_tonic(stack.service(channel), None, call.plan).await
            }
        }
    }

    fn attested(&self) -> &Attested {
        self.attested.as_ref().expect("mutual TLS needs SPIRE")
    }

    fn to_origin(&self, call: &Call) -> OutboundLayer {
        OutboundLayer::to_origin(self.outbound.clone(), &call.origin).unwrap()
    }
}

async fn by_reqwest(
    client: &reqwest_middleware::ClientWithMiddleware,
    call: &Call,
) -> Result<Value, Failure> {
    let request = client
        .post(format!("{}/call", call.origin))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&call.plan).unwrap());
    let answer = request.send().await.map_err(sending)?;
    let status = answer.status().as_u16();
    answered(status, &answer.bytes().await.map_err(sending)?)
}

async fn by_hyper(client: Mtls<Full<Bytes>>, call: &Call) -> Result<Value, Failure> {
    let request = Request::post(format!("{}/call", call.origin))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(serde_json::to_vec(&call.plan).unwrap())))
        .unwrap();
    let answer = client.oneshot(request).await.map_err(boxed)?;
    let status = answer.status().as_u16();
    answered(status, &answer.into_body().collect().await.map_err(boxed)?.to_bytes())
}

async fn by_tonic<S>(service: S, origin: Option<Uri>, plan: Plan) -> Result<Value, Failure>
where
    S: GrpcService<tonic::body::Body>,
    S::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as Body>::Error: Into<Box<dyn StdError + Send + Sync>>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut grpc = match origin {
        Some(origin) => Grpc::with_origin(service, origin),
        None => Grpc::new(service),
    }
    .max_decoding_message_size(16 << 20);
    grpc.ready().await.map_err(|error| boxed(error.into()))?;
    let path = PathAndQuery::from_static("/lab.Hop/Call");
    let answer = grpc.unary(tonic::Request::new(plan), path, JsonCodec::<Plan, Value>::new()).await;
    match answer {
        Ok(answer) => Ok(answer.into_inner()),
        // What went wrong here has a source; what the service said has none.
        Err(status) if status.source().is_some() => Err(sending(status)),
        Err(status) => {
            let text = status.message();
            let said = serde_json::from_str(text).unwrap_or(Value::String(text.to_owned()));
            Err(Failure::Answered(json!({ "grpc": format!("{:?}", status.code()), "body": said })))
        }
    }
}

fn answered(status: u16, body: &[u8]) -> Result<Value, Failure> {
    let said = serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into());
    if status == 200 {
        return Ok(said);
    }
    Err(Failure::Answered(json!({ "status": status, "body": said })))
}

fn endpoint(call: &Call) -> Endpoint {
    Endpoint::from_shared(call.origin.clone()).unwrap()
}

fn sending(error: impl StdError + Send + Sync + 'static) -> Failure {
    boxed(error)
}

fn boxed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Failure {
    let error = error.into();
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text += &format!(": {source}");
        next = source.source();
    }
    Failure::Send(text)
}
