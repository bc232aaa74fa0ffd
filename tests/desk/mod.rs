//! What the tests of the attribute share: a desk that signs and decides, and writes down what it is given.

#![allow(dead_code, reason = "each test uses its part")]

use std::sync::{Arc, Mutex};

use kest::Kest;
use kest::error::{IdentityError, PolicyUnavailable};
use kest::identity::{BoxFuture, IdentityProvider};
use kest::jws::{Algorithm, EncodedHeader, Jws};
use kest::keys::Jwks;
use kest::policy::{Decision, PolicyEngine, PolicyRequest};
use serde_json::Value;

/// An engine and an identity that write down what they are given.
#[derive(Debug)]
pub struct Desk {
    decision: Decision,
    pub asked: Mutex<Vec<(String, Value)>>,
    signed: Mutex<Vec<Value>>,
}

impl Desk {
    pub fn new(decision: Decision) -> (Arc<Self>, Kest) {
        let desk = Arc::new(Self { decision, asked: Mutex::default(), signed: Mutex::default() });
        let builder = Kest::builder().identity(Arc::clone(&desk)).engine(Arc::clone(&desk));
        (desk, builder.without_config().build().unwrap())
    }

    pub fn signed(&self) -> Vec<Value> {
        self.signed.lock().unwrap().clone()
    }

    /// The one entry there is.
    pub fn entry(&self) -> Value {
        let signed = self.signed();
        assert_eq!(signed.len(), 1, "{signed:?}");
        signed[0].clone()
    }

    pub fn operations(&self) -> Vec<String> {
        self.signed().iter().map(|entry| entry["operation"].as_str().unwrap().to_owned()).collect()
    }
}

impl PolicyEngine for Desk {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        let input = serde_json::to_value(request.input).unwrap();
        self.asked.lock().unwrap().push((request.policy.to_owned(), input));
        Ok(self.decision.clone())
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        Box::pin(async move { self.evaluate(request) })
    }
}

impl IdentityProvider for Desk {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        Ok(Arc::from("spiffe://kest.test/desk"))
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        self.signed.lock().unwrap().push(serde_json::from_slice(payload).unwrap());
        let header = EncodedHeader::new(Algorithm::Hs256, "desk");
        Ok(EncodedHeader::assemble(header.signing_input(payload), b"not checked here"))
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(async move { self.sign(payload) })
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        Ok(Jwks::default())
    }
}

#[derive(Debug)]
pub enum AppError {
    Kest(kest::Error),
    Own(String),
}

impl From<kest::Error> for AppError {
    fn from(error: kest::Error) -> Self {
        Self::Kest(error)
    }
}

impl From<std::num::ParseIntError> for AppError {
    fn from(error: std::num::ParseIntError) -> Self {
        Self::Own(error.to_string())
    }
}

impl AppError {
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Kest(error) if error.is_denied())
    }
}

pub type Result<T, E = AppError> = std::result::Result<T, E>;

pub fn allowed<T>(body: impl FnOnce() -> T) -> (T, Arc<Desk>) {
    let (desk, kest) = Desk::new(Decision::allow());
    let _scope = kest.enter();
    (body(), desk)
}

pub async fn allowed_async<F: Future>(body: F) -> (F::Output, Arc<Desk>) {
    let (desk, kest) = Desk::new(Decision::allow());
    (kest.scope(body).await, desk)
}
