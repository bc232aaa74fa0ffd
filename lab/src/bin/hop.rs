//! A service of the lab: it takes requests behind the layers of `kest::http`, does what each says under
//! `#[kest_verified]`, and calls other services with its lineage.
//!
//! `hop CONFIG` with a file as `kest_lab::HopConfig` describes it. `POST /call` with a `Plan`, or the same as gRPC at
//! `/lab.Hop/Call`, answers `{"service","standing","user","passport","answers"}`, or with what failed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a program of the tests"
)]

#[path = "hop/call.rs"]
mod call;
#[path = "hop/grpc.rs"]
mod grpc;
#[path = "hop/json.rs"]
mod json;
#[path = "hop/work.rs"]
mod work;

use std::future::pending;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::post;
use axum::{Extension, Json, Router};
use http::StatusCode;
use kest::Kest;
use kest::cache::RedisCache;
use kest::http::outbound::Outbound;
use kest::http::tls::TlsServer;
use kest::http::{IdentityLayer, JwksService, LineageInfo, LineageLayer, Wire, jwks};
use kest::identity::IdentityProvider;
use kest::identity::spire::{PeerAuthorizer, SpireProvider};
use kest::policy::RegoEngine;
use kest::telemetry::KestTelemetry;
use kest::verify::{Anchors, Limits, Verifier};
use kest_lab::{HopConfig, Plan, hop_policies, local_identity};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::call::Clients;
use crate::grpc::GrpcHop;
use crate::work::Failure;

/// What all requests share.
struct Service {
    config: HopConfig,
    clients: Clients,
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_ansi(false)
        .init();
    let path = std::env::args_os().nth(1).expect("the path of a configuration");
    let config: HopConfig = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let _telemetry = config.otlp.as_deref().map(|collector| {
        let telemetry = KestTelemetry::builder().service_name(&config.name).endpoint(collector);
        telemetry.exporter("otlp").unwrap().delay(Duration::from_millis(100)).install().unwrap()
    });
    let spire = if config.spire { Some(attested().await) } else { None };
    let identity: Arc<dyn IdentityProvider> = match &spire {
        Some(spire) => Arc::new(spire.clone()),
        None => Arc::new(local_identity(&config.name)),
    };
    let mut kest = Kest::builder()
        .identity(Arc::clone(&identity))
        .engine(RegoEngine::from_dir(hop_policies()).unwrap())
        .without_config();
    if let Some(redis) = &config.redis {
        let cache =
            RedisCache::builder(&redis.url).password(&redis.password).root_certificates(redis.ca.as_str());
        kest = kest.cache(cache.build().unwrap());
    }
    let kest = kest.build().unwrap();

    let wire = wire(&config, &kest);
    let lineage = lineage(&config, &kest, spire.as_ref(), wire.clone());
    let outbound = outbound(&config, spire.as_ref(), wire);
    let clients = Clients::new(outbound, spire.clone()).await;
    let service = Arc::new(Service { config: config.clone(), clients });
    let mut app = Router::new()
        .route("/call", post(handle))
        .route_service("/lab.Hop/Call", GrpcHop::new(Arc::clone(&service)))
        .layer(Extension(service));
    if let Some(issuer) = &config.issuer {
        let tokens = IdentityLayer::builder().issuer(issuer).audience("kest").refetch_after(Duration::ZERO);
        app = app.layer(tokens.build().unwrap());
    }
    let app = app.layer(lineage).route_service(jwks::PATH, JwksService::builder(identity).build());

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await.unwrap();
    if config.tls {
        let tls = spire.expect("mutual TLS needs SPIRE");
        let tls = tls.tls_server_config(PeerAuthorizer::own_trust_domain()).await.unwrap();
        TlsServer::new(tls).serve(listener, app, pending()).await.unwrap();
    } else {
        axum::serve(listener, app).await.unwrap();
    }
}

async fn handle(
    service: Extension<Arc<Service>>,
    info: Extension<LineageInfo>,
    plan: Json<Plan>,
) -> (StatusCode, Json<Value>) {
    match work::answer(&service, &info, plan.0).await {
        Ok(answer) => (StatusCode::OK, Json(answer)),
        Err(failure @ Failure::Kest(_)) => (StatusCode::FORBIDDEN, Json(failure.told(&service.config.name))),
        Err(failure) => (StatusCode::BAD_GATEWAY, Json(failure.told(&service.config.name))),
    }
}

/// An identity from the agent, which hears of a new entry within a second or two.
async fn attested() -> SpireProvider {
    let identity = SpireProvider::from_env().unwrap();
    let first = async {
        while let Err(error) = identity.initialize().await {
            eprintln!("no identity yet: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(50), first).await.expect("an identity");
    identity
}

fn wire(config: &HopConfig, kest: &Kest) -> Wire {
    let mut wire = Wire::builder();
    if let Some(cache) = kest.cache() {
        wire = wire.cache(Arc::clone(cache));
    }
    if let Some(bytes) = config.header_bytes {
        wire = wire.header_bytes(bytes).tier_bytes(bytes).always_compressed();
    }
    if let Some(bytes) = config.tier_bytes {
        wire = wire.tier_bytes(bytes);
    }
    if let Some(entries) = config.entries {
        wire = wire.entries(entries);
    }
    if config.python {
        wire = wire.always_compressed().accept_python_form();
    }
    wire.build()
}

fn verifier(config: &HopConfig, spire: Option<&SpireProvider>) -> Verifier {
    let mut limits = Limits::default();
    limits.ingress_entries = config.entries.unwrap_or(limits.ingress_entries);
    let mut verifier = Verifier::builder().limits(limits);
    if let Some(spire) = spire {
        verifier = verifier.keys(spire.key_source());
    }
    if let Some(anchors) = &config.anchors {
        verifier = verifier.keys(Anchors::from_json(anchors.to_string().as_bytes()).unwrap());
    }
    verifier.build()
}

fn lineage(config: &HopConfig, kest: &Kest, spire: Option<&SpireProvider>, wire: Wire) -> LineageLayer {
    let mut layer = LineageLayer::builder(kest.clone(), verifier(config, spire)).wire(wire);
    for workload in &config.allow {
        layer = layer.allow(workload);
    }
    if config.returned {
        layer = layer.return_lineage();
    }
    layer.build().unwrap()
}

fn outbound(config: &HopConfig, spire: Option<&SpireProvider>, wire: Wire) -> Outbound {
    // Port 1 is nobody's: a hop that calls none names one all the same.
    let mut outbound =
        Outbound::builder().host("127.0.0.1:1").hosts(&config.hosts).wire(wire).refuse_unnamed();
    for host in &config.jwt_hosts {
        outbound = outbound.jwt_host(host);
    }
    if config.returned {
        outbound = outbound.returned(verifier(config, spire)).tolerate_unreturned();
        for (host, workload) in &config.callees {
            outbound = outbound.callee(host, workload);
        }
    }
    outbound.build().unwrap()
}
