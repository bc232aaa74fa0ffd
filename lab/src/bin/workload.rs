//! A workload of the lab: the public API of Kest under the identity that the SPIRE agent gives to this process.
//!
//! It reads commands, one a line, and answers each with a line of JSON: `{"ok":…}` or `{"error":{"kind","message"}}`.
//!
//! | command | answer |
//! |---|---|
//! | `id`, `health`, `rotations` | the SPIFFE ID; whether the provider is healthy; how often the callback was called |
//! | `as HINT` | the SPIFFE ID of a provider that was told this hint |
//! | `svid` | what the current SVID says of itself |
//! | `bundle [DOMAIN]` | number of authorities of its own or another trust domain |
//! | `sign N` | a passport of N calls |
//! | `extend PASSPORT` | the passport, verified with the bundles of the agent, and one call more |
//! | `call` | one call; `error.ran` tells whether the body ran |
//! | `load start`, `load stop` | calls on several threads; how many, and a passport for each SVID |
//! | `verify AUDIENCE TOKEN` | the SPIFFE ID that a JWT-SVID proves |
//! | `serve PEERS` | the port on which it accepts mutual TLS |
//! | `connect PORT PEERS` | who the server is, and who the server says we are |
//! | `log` | writes all that has a `Debug` to the log |
//!
//! PEERS is `own`, `id=SPIFFE-ID` or `domain=TRUST-DOMAIN`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program of the tests"
)]

#[path = "workload/load.rs"]
mod load;
#[path = "workload/tls.rs"]
mod tls;

use std::io::{BufRead as _, Write as _, stderr, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kest::error::IdentityError;
use kest::identity::spire::{PeerAuthorizer, SpireProvider};
use kest::identity::{IdentityProvider as _, Svid};
use kest::policy::RegoEngine;
use kest::verify::{UnverifiedPassport, Verifier};
use kest::{Error, Kest, kest_verified};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use load::Load;

/// How often a protected body ran.
static RAN: AtomicU64 = AtomicU64::new(0);

#[kest_verified(policy = "kest/allow_trusted", source_type = "internal", agent = "lab")]
fn step(number: u64) -> Result<u64, Error> {
    RAN.fetch_add(1, Ordering::SeqCst);
    Ok(number)
}

#[kest_verified(policy = "kest/allow_trusted", agent = "lab")]
fn step_from_outside(number: u64) -> Result<u64, Error> {
    RAN.fetch_add(1, Ordering::SeqCst);
    Ok(number)
}

#[kest_verified(policy = "kest/allow_trusted", source_type = "internal", agent = "lab")]
async fn step_async(number: u64) -> Result<u64, Error> {
    RAN.fetch_add(1, Ordering::SeqCst);
    Ok(number)
}

fn main() {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(stderr)
        .with_ansi(false)
        .init();
    let mut program = Program::new();
    for line in stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match program.answer(&words) {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": error }),
        };
        println!("{answer}");
        stdout().flush().unwrap();
    }
}

struct Program {
    identity: SpireProvider,
    kest: Kest,
    runtime: Arc<Runtime>,
    rotations: Arc<AtomicU64>,
    load: Option<Load>,
}

impl Program {
    fn new() -> Self {
        let identity = SpireProvider::from_env().expect("an address");
        let rotations = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&rotations);
        identity
            .register_rotation_callback(move |_| {
                counter.fetch_add(1, Ordering::SeqCst);
                async { Ok(()) }
            })
            .expect("a callback");
        let policies = kest_lab::repository().join("policies");
        let kest = Kest::builder()
            .identity(identity.clone())
            .engine(RegoEngine::from_dir(policies).expect("the policies"))
            .without_config()
            .build()
            .expect("a Kest");
        Self { identity, kest, runtime: Arc::new(Runtime::new().unwrap()), rotations, load: None }
    }

    fn answer(&mut self, words: &[&str]) -> Result<Value, Value> {
        match words {
            ["id"] => self.identity.workload_id().map(|id| json!(id)).map_err(|error| identity_error(&error)),
            ["health"] => Ok(json!(self.runtime.block_on(self.identity.health_check()))),
            ["rotations"] => Ok(json!(self.rotations.load(Ordering::SeqCst))),
            ["as", hint] => {
                let identity = SpireProvider::builder().endpoint(endpoint()).hint(*hint).build();
                let id = identity.and_then(|identity| identity.workload_id());
                id.map(|id| json!(id)).map_err(|error| identity_error(&error))
            }
            ["svid"] => self.svid(),
            ["bundle", domain @ ..] => {
                let bundle = self.runtime.block_on(self.identity.get_trust_bundle(domain.first().copied()));
                bundle
                    .map(|bundle| json!(bundle.certificates().len()))
                    .map_err(|error| identity_error(&error))
            }
            ["sign", number] => self.sign(number.parse().unwrap()),
            ["extend", passport] => self.extend(passport),
            ["call"] => self.call(),
            ["load", "start"] => {
                self.load = Some(Load::start(&self.kest, &self.runtime));
                Ok(Value::Null)
            }
            ["load", "stop"] => Ok(self.load.take().expect("a load").stop()),
            ["verify", audience, token] => {
                let proven = self.runtime.block_on(self.identity.verify_svid(Svid::Jwt { token, audience }));
                proven.map(|svid| json!(svid.workload_id)).map_err(|error| identity_error(&error))
            }
            ["serve", peers] => tls::serve(&self.identity, &self.runtime, authorizer(peers)),
            ["connect", port, peers] => {
                tls::connect(&self.identity, &self.runtime, port.parse().unwrap(), authorizer(peers))
            }
            ["log"] => {
                let svid = self.runtime.block_on(self.identity.get_svid());
                eprintln!("{:?} {svid:?} {:?}", self.identity, self.kest);
                eprintln!("{:#?} {svid:#?} {:#?}", self.identity, self.kest);
                Ok(Value::Null)
            }
            other => panic!("no such command: {other:?}"),
        }
    }

    fn svid(&self) -> Result<Value, Value> {
        let svid = self.runtime.block_on(self.identity.get_svid()).map_err(|error| identity_error(&error))?;
        Ok(json!({
            "id": svid.spiffe_id(),
            "expires_at_ms": svid.expires_at_ms(),
            "certificates": svid.chain().len(),
            "kid": svid.public_key().thumbprint(),
        }))
    }

    fn sign(&self, number: u64) -> Result<Value, Value> {
        let lineage = self.kest.enter();
        for turn in 0..number {
            step(turn).map_err(|error| kest_error(&error))?;
        }
        Ok(json!(lineage.passport().serialize()))
    }

    /// What a service does with a lineage that comes in: checks it against its own agent's bundles, and goes on.
    fn extend(&self, passport: &str) -> Result<Value, Value> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap();
        let verifier = Verifier::builder()
            .keys(self.identity.key_source())
            .ingress(now, Duration::from_secs(60), Duration::from_secs(5))
            .build();
        let verified = UnverifiedPassport::deserialize(passport).unwrap().verify(&verifier);
        let verified = verified.map_err(|error| json!({ "kind": "Verify", "message": error.to_string() }))?;
        let _kest = self.kest.enter_ingress();
        let lineage = verified.enter();
        step_from_outside(0).map_err(|error| kest_error(&error))?;
        Ok(json!(lineage.passport().serialize()))
    }

    fn call(&self) -> Result<Value, Value> {
        let before = RAN.load(Ordering::SeqCst);
        let _lineage = self.kest.enter();
        step(0).map(|number| json!(number)).map_err(|error| {
            let mut error = kest_error(&error);
            error["ran"] = json!(RAN.load(Ordering::SeqCst) != before);
            error
        })
    }
}

fn endpoint() -> String {
    std::env::var("SPIFFE_ENDPOINT_SOCKET").expect("an address")
}

fn authorizer(peers: &str) -> PeerAuthorizer {
    match peers.split_once('=') {
        None if peers == "own" => PeerAuthorizer::own_trust_domain(),
        Some(("id", id)) => PeerAuthorizer::ids([id]).unwrap(),
        Some(("domain", domain)) => PeerAuthorizer::trust_domains([domain]).unwrap(),
        other => panic!("no such peers: {other:?}"),
    }
}

fn identity_error(error: &IdentityError) -> Value {
    json!({ "kind": format!("{:?}", error.kind()), "message": error.to_string() })
}

fn kest_error(error: &Error) -> Value {
    match error {
        Error::Identity(error) => identity_error(error),
        other => json!({ "kind": "Other", "message": other.to_string() }),
    }
}
