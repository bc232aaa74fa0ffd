//! Lineage across services that are processes of their own, through proxies as they come from their packages. Spec §12.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod attested;
mod chain;
mod claims;
mod fan_out;
mod limits;
mod python;
mod tokens;

use std::path::Path;
use std::time::Duration;

use kest_lab::{Folder, Hop, HopConfig, Lab, OidcProvider, free_port, local_anchors, local_id, send};
use serde_json::{Value, json};

/// How long something may take that takes a second on a machine that is not busy.
const LIMIT: Duration = Duration::from_secs(60);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_hop"))
}

/// A hop that has its key from its name, knows those of `known`, and believes their lineage.
fn local(name: &str, known: &[&str]) -> HopConfig {
    HopConfig {
        name: name.to_owned(),
        port: free_port(),
        anchors: Some(local_anchors(known)),
        allow: known.iter().map(|name| local_id(name)).collect(),
        policies: vec!["hop/any".to_owned()],
        ..HopConfig::default()
    }
}

fn start(folder: &Folder, config: HopConfig) -> Hop {
    Hop::start(folder, program(), config, None)
}

/// `host:port` of a hop.
fn host(config: &HopConfig) -> String {
    format!("127.0.0.1:{}", config.port)
}

/// The provider of users' tokens.
fn provider(lab: &Lab) -> OidcProvider {
    OidcProvider::start(lab, "provider.mjs", &[])
}

/// The header with a token of a user, as the client `kest-es256` has it.
fn bearer(provider: &OidcProvider, wishes: Value) -> String {
    let mut wishes = wishes;
    wishes["client"] = json!("kest-es256");
    let answer = send(provider.port(), "POST", "/_lab/token", &[], &wishes.to_string()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    format!("Bearer {}", answer.body)
}

/// The `type` of a problem, without what all have in common.
fn problem(body: &Value) -> &str {
    body["type"].as_str().unwrap_or_default().trim_start_matches("urn:kest:problem:")
}
