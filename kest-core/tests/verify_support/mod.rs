//! Passports made from fixed seeds, ids and a fixed clock, so that they come out the same every time.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

pub mod cases;

use ed25519_dalek::{Signer as _, SigningKey};
use kest_core::canonical;
use kest_core::jws::{Algorithm, EncodedHeader, Jws};
use kest_core::keys::{Jwk, Jwks};
use kest_core::verify::{Anchors, UnverifiedPassport, VerifyFailure};
use serde_json::{Value, json};

pub const NOW_MS: u64 = 1_795_304_503_000;

/// A workload with a key that follows from its number.
pub struct Workload {
    pub id: String,
    pub key: SigningKey,
    pub header: EncodedHeader,
}

impl Workload {
    pub fn new(number: u8) -> Self {
        let key = SigningKey::from_bytes(&[number; 32]);
        let header =
            EncodedHeader::new(Algorithm::EdDsa, &Jwk::ed25519(&key.verifying_key().to_bytes()).thumbprint());
        Self { id: format!("spiffe://example.org/w{number}"), key, header }
    }

    pub fn jwk(&self) -> Jwk {
        Jwk::ed25519(&self.key.verifying_key().to_bytes())
    }

    pub fn anchors(&self) -> Anchors {
        let mut anchors = Anchors::new();
        anchors.insert(&self.id, Jwks(vec![self.jwk()])).unwrap();
        anchors
    }

    /// A root with source `internal` (80). `number` makes its id and its time.
    pub fn root(&self, number: u64) -> Value {
        json!({
            "added_taints": [],
            "classification": "system",
            "content_hash": "",
            "entry_id": entry_id(number),
            "environment": {},
            "input_hash": "",
            "labels": {"principal": self.id, "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"},
            "metadata": {
                "function": "shop::orders::process",
                "policies": {"kest/allow_trusted":
                    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
                "trust": {"model": "guide", "override": null, "source_type": "internal"},
            },
            "operation": "process",
            "otel_context": {},
            "parent_ids": ["0"],
            "policy_context": {
                "app_policies": [], "deviations": [], "enterprise_policies": [],
                "function_policies": ["kest/allow_trusted"], "platform_policies": [],
            },
            "removed_taints": [],
            "runtime": {"name": "kest-rust", "version": "0.1.0"},
            "schema_version": "0.3.0",
            "taints": [],
            "timestamp_ms": NOW_MS + number,
            "trust_score": 80,
        })
    }

    /// A child without a source, of the same score.
    pub fn child(&self, number: u64, parents: &[&Jws]) -> Value {
        let mut payload = self.root(number);
        payload["parent_ids"] = parents.iter().map(|parent| parent.hash_hex()).collect();
        payload["metadata"]["trust"]["source_type"] = Value::Null;
        payload
    }

    /// The same as another implementation would write it.
    pub fn foreign(mut payload: Value) -> Value {
        payload["metadata"] = Value::Null;
        payload["runtime"] = json!({"name": "kest-python", "version": "0.3.0"});
        payload
    }

    pub fn sign(&self, payload: &Value) -> Jws {
        self.sign_bytes(&canonical::to_vec(payload).unwrap())
    }

    pub fn sign_bytes(&self, payload: &[u8]) -> Jws {
        let signed = self.header.sign(payload, |input| Ok::<_, ()>(self.key.sign(input).to_bytes()));
        signed.unwrap()
    }

    /// Signs under any header.
    pub fn sign_with_header(&self, header: &str, payload: &Value) -> String {
        let encode = |bytes: &[u8]| base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes);
        let input = format!("{}.{}", encode(header.as_bytes()), encode(&canonical::to_vec(payload).unwrap()));
        let signature = self.key.sign(input.as_bytes()).to_bytes();
        format!("{input}.{}", encode(&signature))
    }

    /// A chain of `length` entries.
    pub fn chain(&self, length: u64) -> Vec<Jws> {
        let mut chain: Vec<Jws> = Vec::new();
        for number in 0..length {
            let payload = match chain.last() {
                None => self.root(number),
                Some(parent) => self.child(number, &[parent]),
            };
            chain.push(self.sign(&payload));
        }
        chain
    }
}

pub fn entry_id(number: u64) -> String {
    format!("019a0b0c-0d0e-7f10-8112-{number:012x}")
}

pub fn passport<S: ToString>(entries: &[S]) -> UnverifiedPassport {
    entries.iter().map(ToString::to_string).collect()
}

/// `Signature`, or `Schema/TrustScore`.
pub fn name_of(failure: &VerifyFailure) -> String {
    let word = |text: String| text.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned();
    match failure {
        VerifyFailure::Schema(error) => format!("Schema/{}", word(format!("{error:?}"))),
        other => word(format!("{other:?}")),
    }
}
