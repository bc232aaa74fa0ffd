//! A protected function without the attribute: what the attribute expands to, by hand.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::sync::Arc;

use kest_core::__private::{CallSpec, Invocation, begin, begin_sync, in_scope, run_in_scope};
use kest_core::error::{Error, IdentityError, PolicyUnavailable};
use kest_core::identity::{BoxFuture, IdentityProvider};
use kest_core::jws::{Algorithm, EncodedHeader, Jws};
use kest_core::keys::{Jwks, MOCK_KEY, hmac_sha256, mock_kid};
use kest_core::policy::{Decision, PolicyEngine, PolicyRequest};
use kest_core::{Kest, Passport};
use serde_json::Value;

#[derive(Debug)]
pub(crate) struct TestIdentity;

impl IdentityProvider for TestIdentity {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        Ok(Arc::from("spiffe://kest.internal/test"))
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        EncodedHeader::new(Algorithm::Hs256, mock_kid())
            .sign(payload, |input| Ok(hmac_sha256(MOCK_KEY, input)))
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(async move { self.sign(payload) })
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        Ok(Jwks(Vec::new()))
    }
}

/// Allows all but policies whose name begins with `deny`.
#[derive(Debug)]
pub(crate) struct TestEngine;

impl PolicyEngine for TestEngine {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        Ok(if request.policy.starts_with("deny") { Decision::deny() } else { Decision::allow() })
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        Box::pin(async move { self.evaluate(request) })
    }
}

pub(crate) fn kest() -> Kest {
    Kest::builder().identity(TestIdentity).engine(TestEngine).without_config().build().unwrap()
}

/// An attribute that says nothing but a policy and a source.
pub(crate) const PLAIN: CallSpec = CallSpec {
    operation: "plain",
    span: "kest.verified.test",
    function: "tests::protected",
    policies: &["allow"],
    classification: "system",
    source_type: Some("internal"),
    added_taints: &[],
    removed_taints: &[],
    trust_override: None,
    sanitizer: false,
    labels: &[],
    config_seen: None,
};

pub(crate) fn spec(operation: &str) -> &'static CallSpec {
    Box::leak(Box::new(CallSpec { operation: operation.to_owned().leak(), ..PLAIN }))
}

/// A protected call of the name, with a body.
pub(crate) fn sync<T>(name: &str, body: impl FnOnce() -> T) -> Result<T, Error> {
    invoke(Invocation::new(spec(name)), body)
}

pub(crate) fn invoke<T>(invocation: Invocation, body: impl FnOnce() -> T) -> Result<T, Error> {
    Ok(run_in_scope(begin_sync(invocation)?, |_| false, body))
}

pub(crate) async fn op<F: Future>(name: &str, body: F) -> Result<F::Output, Error> {
    match begin(Invocation::new(spec(name))).await {
        Err(error) => Err(error),
        Ok(live) => in_scope(live, Result::is_err, async move { Ok(body.await) }).await,
    }
}

pub(crate) fn payload(jws: &str) -> Value {
    let segment = jws.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(segment).unwrap()).unwrap()
}

/// Name of each entry and the names of its parents, newest first. Names must be unique.
pub(crate) fn graph(passport: &Passport) -> BTreeMap<String, Vec<String>> {
    let entries = passport.entries();
    let name = |jws: &str| payload(jws)["operation"].as_str().unwrap().to_owned();
    let by_hash: BTreeMap<String, String> = entries.iter().map(|e| (e.hash(), name(e.jws()))).collect();
    let mut seen = HashSet::new();
    let mut graph = BTreeMap::new();
    for entry in &entries {
        let parents: Vec<String> = payload(entry.jws())["parent_ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p.as_str().unwrap().to_owned())
            .collect();
        let names = if parents == ["0"] {
            Vec::new()
        } else {
            parents
                .iter()
                .map(|p| {
                    assert!(seen.contains(p), "a parent stands behind its child");
                    by_hash[p].clone()
                })
                .collect()
        };
        seen.insert(entry.hash());
        assert!(graph.insert(name(entry.jws()), names).is_none(), "an entry stands twice");
    }
    graph
}

/// `graph` written as `a; b<a; c<b,a`.
pub(crate) fn shape(passport: &Passport) -> String {
    graph(passport)
        .iter()
        .map(|(name, parents)| match parents.is_empty() {
            true => name.clone(),
            false => format!("{name}<{}", parents.join(",")),
        })
        .collect::<Vec<_>>()
        .join("; ")
}
