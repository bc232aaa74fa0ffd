//! The protected functions, and chains of their calls.

use std::future::Future;
use std::hint::black_box;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use kest::identity::LocalEd25519Provider;
use kest::policy::{MockPolicyEngine, RegoEngine};
use kest::verify::{Anchors, UnverifiedPassport, VerifiedPassport, Verifier};
use kest::{Kest, Passport, kest_verified};

use crate::probe::Probe;

/// A call that does nothing, so that what is measured is Kest.
#[kest_verified(policy = "kest/allow_trusted")]
pub(crate) fn bare(value: u64) -> Result<u64, kest::Error> {
    Ok(black_box(value))
}

/// [`bare`], async.
#[kest_verified(policy = "kest/allow_trusted")]
pub(crate) async fn bare_async(value: u64) -> Result<u64, kest::Error> {
    Ok(black_box(value))
}

/// A call that says a lot about itself.
#[kest_verified(
    policy = "kest/allow_trusted",
    source_type = "user_input",
    user = "alice",
    agent = "triage-bot",
    resource_id = value,
    resource_attr = serde_json::json!({ "amount": 4_200, "currency": "EUR" }),
    added_taints = ["unverified_input"],
    labels = {"region": "eu-north-1"}
)]
pub(crate) fn attributed(value: u64) -> Result<u64, kest::Error> {
    Ok(black_box(value))
}

/// Runs a future that never waits.
pub(crate) fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Who decides.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Engine<'a> {
    AllowAll,
    Rego(&'a Path),
}

/// A `Kest` with a key of this process, and what verifies its entries.
#[derive(Debug)]
pub(crate) struct Maker {
    pub(crate) kest: Kest,
    pub(crate) verifier: Verifier,
    pub(crate) anchors: Anchors,
    pub(crate) identity: Arc<LocalEd25519Provider>,
}

impl Maker {
    pub(crate) fn new(engine: Engine<'_>) -> crate::Result<Self> {
        let identity = Arc::new(LocalEd25519Provider::new()?);
        let builder = Kest::builder().identity(Probe(Arc::clone(&identity))).without_config();
        let kest = match engine {
            Engine::AllowAll => builder.engine(Probe(MockPolicyEngine::allow().without_recording())),
            Engine::Rego(policies) => builder.engine(Probe(RegoEngine::from_dir(policies)?)),
        }
        .build()?;
        let anchors = Anchors::from_provider(&*identity)?;
        let verifier = Verifier::builder().keys(anchors.clone()).build();
        Ok(Self { kest, verifier, anchors, identity })
    }

    /// The passport of so many calls, one after the other.
    pub(crate) fn passport(&self, entries: usize) -> crate::Result<Passport> {
        let scope = self.kest.enter_from("user_input");
        for value in 0..entries as u64 {
            bare(value)?;
        }
        Ok(scope.passport())
    }

    /// [`Self::passport`], verified from its bytes.
    pub(crate) fn verified(&self, entries: usize) -> crate::Result<VerifiedPassport> {
        let text = self.passport(entries)?.serialize();
        Ok(UnverifiedPassport::deserialize(&text)?.verify(&self.verifier)?)
    }
}
