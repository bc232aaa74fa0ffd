//! What the three services have in common: an identity, a policy engine, and what lets a lineage through.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kest::Kest;
use kest::http::{JwksService, LineageLayer, Outbound};
use kest::identity::LocalEd25519Provider;
use kest::jwks::JwksUrl;
use kest::policy::RegoEngine;
use kest::verify::Verifier;
use reqwest_middleware::ClientWithMiddleware;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Where the services are: each learns it once all of them listen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) shop: String,
    pub(crate) orders: String,
    pub(crate) payments: String,
}

/// The id that a service signs under.
pub(crate) fn workload(name: &str) -> String {
    format!("spiffe://shop.example/{name}")
}

/// One of the three, about to serve.
pub(crate) struct Service {
    name: &'static str,
    listener: TcpListener,
    kest: Kest,
    identity: Arc<LocalEd25519Provider>,
    pub(crate) addresses: Addresses,
}

impl Service {
    /// Listens, says where on standard output, and learns from standard input where the others are.
    #[allow(clippy::print_stdout, reason = "whoever started the service reads it")]
    pub(crate) async fn start(name: &'static str) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let line = BufReader::new(tokio::io::stdin()).lines().next_line().await?;
        let addresses = serde_json::from_str(&line.ok_or("nobody said where the other services are")?)?;

        // A key of this process, for an example. In production: SpireProvider, AWS, OpenID Connect.
        let identity = Arc::new(LocalEd25519Provider::new()?.with_workload_id(workload(name)));
        let kest = Kest::builder()
            .identity(Arc::clone(&identity))
            .engine(RegoEngine::from_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"))?)
            .config_file(Path::new(env!("CARGO_MANIFEST_DIR")).join("kest.toml"))
            .build()?;
        Ok(Self { name, listener, kest, identity, addresses })
    }

    /// Whose entries count here: each service vouches for its own keys, and for no others.
    fn verifier(&self) -> Result<Verifier, Failure> {
        let Addresses { shop, orders, payments } = &self.addresses;
        let mut verifier = Verifier::builder();
        for (name, address) in [("shop", shop), ("orders", orders), ("payments", payments)] {
            let url = format!("http://{address}/.well-known/jwks.json");
            verifier = verifier.keys(JwksUrl::builder(&url).allow(workload(name)).build()?);
        }
        Ok(verifier.build())
    }

    /// A client for one other service: the lineage goes there, and what it did comes back.
    pub(crate) fn client(&self, host: &str, callee: &str) -> Result<ClientWithMiddleware, Failure> {
        let outbound = Outbound::builder()
            .host(host)
            .returned(self.verifier()?)
            .callee(host, workload(callee))
            .build()?;
        Ok(outbound.client(reqwest::Client::builder())?)
    }

    /// Serves `routes` behind the lineage layer, with the service's public keys beside them.
    pub(crate) async fn serve(self, routes: Router, callers: &[&str]) -> Result<(), Failure> {
        let mut lineage = LineageLayer::builder(self.kest.clone(), self.verifier()?).return_lineage();
        for caller in callers {
            // Over mutual TLS the peer is known, and nobody need be named: see the feature `spire`.
            lineage = lineage.allow(workload(caller));
        }
        let keys = JwksService::builder(self.identity).build();
        let app = routes.layer(lineage.build()?).route_service("/.well-known/jwks.json", keys);
        tracing_subscriber::fmt()
            .without_time()
            .with_writer(std::io::stderr)
            .with_max_level(kest_level())
            .init();
        axum::serve(self.listener, app).await.map_err(|error| format!("{}: {error}", self.name).into())
    }
}

fn kest_level() -> tracing_subscriber::filter::LevelFilter {
    tracing_subscriber::filter::LevelFilter::ERROR
}

/// What a handler answers when it cannot do what it was asked.
#[derive(Debug)]
pub(crate) enum Refusal {
    Kest(kest::Error),
    Upstream(StatusCode, String),
}

impl From<kest::Error> for Refusal {
    fn from(error: kest::Error) -> Self {
        Self::Kest(error)
    }
}

impl From<reqwest_middleware::Error> for Refusal {
    fn from(error: reqwest_middleware::Error) -> Self {
        Self::Upstream(StatusCode::BAD_GATEWAY, whole(&error))
    }
}

impl From<reqwest::Error> for Refusal {
    fn from(error: reqwest::Error) -> Self {
        Self::Upstream(StatusCode::BAD_GATEWAY, whole(&error))
    }
}

/// An error with its causes.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Kest(error) if error.is_denied() => {
                (StatusCode::FORBIDDEN, error.to_string()).into_response()
            }
            Self::Kest(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
            Self::Upstream(status, text) => (status, text).into_response(),
        }
    }
}

/// The body of an answer that says yes; any other is passed on.
pub(crate) async fn accepted(answer: reqwest::Response) -> Result<reqwest::Response, Refusal> {
    match answer.status() {
        status if status.is_success() => Ok(answer),
        status => Err(Refusal::Upstream(status, answer.text().await?)),
    }
}
