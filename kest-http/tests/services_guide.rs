//! The snippets of `docs/services.md` stand here word for word, so that they compile.
#![cfg(all(feature = "oidc", feature = "redis", feature = "reqwest"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::error::Error;

use axum::Router;
use axum::routing::post;
use kest_providers::identity::LocalEd25519Provider;
use kest_providers::policy::MockPolicyEngine;

use self::kest::Kest;

/// The crate `kest`, which depends on this one, as far as the guide names it.
mod kest {
    pub(crate) use kest_core::Kest;

    pub(crate) mod http {
        pub(crate) use kest_http::*;
    }

    pub(crate) mod error {
        pub(crate) use kest_core::error::*;
    }

    pub(crate) mod verify {
        pub(crate) use kest_core::verify::*;
    }

    pub(crate) mod jwks {
        pub(crate) use kest_providers::jwks::*;
    }

    pub(crate) mod cache {
        pub(crate) use kest_providers::cache::*;
    }
}

type Failure = Box<dyn Error + Send + Sync>;

async fn orders() {}

fn engine() -> MockPolicyEngine {
    MockPolicyEngine::allow()
}

fn identity() -> Result<std::sync::Arc<LocalEd25519Provider>, Failure> {
    Ok(std::sync::Arc::new(LocalEd25519Provider::new()?.with_workload_id("spiffe://example.org/orders")))
}

fn plain() -> Result<Kest, Failure> {
    Ok(Kest::builder().identity(identity()?).engine(engine()).without_config().build()?)
}

#[rustfmt::skip]
fn service() -> Result<(), Failure> {
    let (kest, identity) = (plain()?, identity()?);

    use std::sync::Arc;

    use kest::http::{JwksService, LineageLayer, jwks};
    use kest::jwks::JwksUrl;
    use kest::verify::Verifier;

    let shop = JwksUrl::builder("https://shop.internal/.well-known/jwks.json").allow("spiffe://example.org/shop").build()?;
    let callers = Verifier::builder().keys(shop).build();
    let lineage = LineageLayer::builder(kest, callers)
        .allow("spiffe://example.org/shop")
        .return_lineage()
        .build()?;

    let app = Router::new()
        .route("/orders", post(orders))
        .layer(lineage)
        .route_service(jwks::PATH, JwksService::builder(Arc::clone(&identity)).build());

    drop::<Router>(app);
    Ok(())
}

#[rustfmt::skip]
fn tokens() -> Result<(), Failure> {
    let lineage = kest::http::LineageLayer::builder(plain()?, kest::verify::Verifier::builder().build()).build()?;

    use kest::http::IdentityLayer;

    let identity = IdentityLayer::builder()
        .issuer("https://login.example.org")
        .audience("orders")
        .build()?;
    let app = Router::new().route("/orders", post(orders)).layer(identity).layer(lineage);

    drop::<Router>(app);
    Ok(())
}

#[rustfmt::skip]
fn client() -> Result<(), Failure> {
    let everybody = kest::verify::Verifier::builder().build();

    use kest::http::{Outbound, reqwest};

    let outbound = Outbound::builder()
        .host("orders.internal")
        .jwt_host("orders.internal")
        .returned(everybody)
        .callee("orders.internal", "spiffe://example.org/orders")
        .build()?;
    let client = outbound.client(reqwest::Client::builder())?;

    drop::<kest::http::reqwest_middleware::ClientWithMiddleware>(client);
    Ok(())
}

#[rustfmt::skip]
fn errors() -> Result<(), Failure> {
    let error = kest::http::reqwest_middleware::Error::middleware(std::fmt::Error);

    use kest::error::PropagationError;

    let acted = PropagationError::find(&error).is_some_and(PropagationError::call_was_made);

    assert!(!acted);
    Ok(())
}

#[rustfmt::skip]
fn redis() -> Result<(), Failure> {
    let (identity, engine, secret) = (identity()?, engine(), "secret");

    use kest::cache::RedisCache;

    let cache = RedisCache::builder("rediss://cache.internal").password(secret).build()?;
    let kest = Kest::builder().identity(identity).engine(engine).cache(cache).build()?;

    drop(kest);
    Ok(())
}

#[rustfmt::skip]
fn memory() -> Result<(), Failure> {
    use kest::cache::MemoryCache;

    let cache = MemoryCache::new().shared_in_process();

    let shared = std::sync::Arc::new(cache);
    for _ in ["shop", "orders"] {
        Kest::builder().identity(identity()?).engine(engine()).cache(std::sync::Arc::clone(&shared)).build()?;
    }
    Ok(())
}

/// Without comments and white space.
fn bare(code: &str) -> String {
    let line = |line: &str| match line.trim_start().starts_with("//") {
        true => String::new(),
        // Not the `//` of an address.
        false => line.split(" //").next().unwrap().to_owned(),
    };
    code.lines().map(line).collect::<String>().split_whitespace().collect()
}

#[tokio::test]
async fn the_guide_says_what_compiles() {
    for snippet in [service, tokens, client, errors, redis, memory] {
        snippet().unwrap();
    }
    let compiled = bare(include_str!("services_guide.rs"));
    let guide = include_str!("../../docs/services.md");
    let snippets: Vec<&str> =
        guide.split("\n```rust\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert_eq!(snippets.len(), 6);
    for snippet in snippets {
        assert!(
            compiled.contains(&bare(snippet)),
            "this snippet of the guide is not compiled here:\n{snippet}"
        );
    }
}
