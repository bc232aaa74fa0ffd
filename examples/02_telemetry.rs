//! Spans of protected calls, on the console and in a file of OTLP lines.
//!
//! `cargo run --example telemetry --features telemetry`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use kest::identity::LocalEd25519Provider;
use kest::policy::RegoEngine;
use kest::telemetry::KestTelemetry;
use kest::{Kest, kest_verified};
use serde_json::Value;

#[kest_verified(policy = "kest/allow_trusted", source_type = "user_input")]
async fn order(item: &str) -> Result<String, kest::Error> {
    let (stock, price) = kest::join!(stock(item), price(item));
    Ok(format!("{item}: {} left at {} cents", stock?, price?))
}

#[kest_verified(policy = "kest/allow_trusted")]
async fn stock(item: &str) -> Result<usize, kest::Error> {
    tokio::task::yield_now().await;
    Ok(item.len())
}

#[kest_verified(policy = "kest/allow_trusted")]
async fn price(item: &str) -> Result<usize, kest::Error> {
    Ok(item.len() * 100)
}

/// What the open internet says is not trusted enough.
#[kest_verified(policy = "kest/allow_trusted", source_type = "internet")]
fn reprice(_item: &str) -> Result<(), kest::Error> {
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    kest::configure(
        Kest::builder()
            .identity(LocalEd25519Provider::new()?)
            .engine(RegoEngine::from_dir(here.join("policies"))?)
            .without_config()
            .build()?,
    )?;

    // Kept to the end: what has not been delivered is delivered when it is shut down, or dropped.
    let telemetry = KestTelemetry::setup("shop", "console", None)?;
    kest::root(order("teapot")).await?;
    let refusal = kest::root(async { reprice("teapot") }).await;
    assert!(refusal.is_err_and(|error| error.is_denied()));
    let counts = telemetry.shutdown()?;
    println!("{} spans, {} lost; above, on standard error\n", counts.ended, counts.lost());

    // The same in a file, a line each. `otlp` and `sqlite` are further features.
    std::fs::create_dir_all(here.join("target/telemetry"))?;
    let path = here.join("target/telemetry/spans.jsonl");
    let path = path.to_str().ok_or("the path is no text")?;
    let telemetry = KestTelemetry::setup("shop", "file", path)?;
    kest::root(order("kettle")).await?;
    telemetry.shutdown()?;
    for line in std::fs::read_to_string(path)?.lines().rev().take(3) {
        let line: Value = serde_json::from_str(line)?;
        let span = line.pointer("/resourceSpans/0/scopeSpans/0/spans/0").ok_or("no span")?;
        println!("{} is in trace {}", span["name"], span["traceId"]);
    }
    Ok(())
}
