//! A provider and an engine that time themselves inside a call, when they are told to.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use kest::error::{IdentityError, PolicyUnavailable};
use kest::identity::{BoxFuture, IdentityAttributes, IdentityProvider};
use kest::jws::Jws;
use kest::keys::Jwks;
use kest::policy::{Decision, PolicyEngine, PolicyRequest};

use crate::clock;

/// What signing and deciding took in one call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// As the clock showed it.
    pub(crate) ns: f64,
    /// How often the clock was read for it, in pairs.
    pub(crate) pairs: u32,
}

thread_local! {
    static SPENT: Cell<Option<Spent>> = const { Cell::new(None) };
}

/// Times what probes do on this thread during `work`. Outside, a probe costs a look at a thread-local.
pub(crate) fn watch<T>(work: impl FnOnce() -> T) -> (Spent, T) {
    SPENT.set(Some(Spent::default()));
    let value = work();
    (SPENT.take().unwrap_or_default(), value)
}

fn timed<T>(work: impl FnOnce() -> T) -> T {
    let Some(before) = SPENT.get() else { return work() };
    let start = Instant::now();
    let value = work();
    let ns = before.ns + clock::since(start);
    SPENT.set(Some(Spent { ns, pairs: before.pairs + 1 }));
    value
}

/// Times the provider or the engine in it.
#[derive(Debug)]
pub(crate) struct Probe<T>(pub(crate) T);

impl<I: IdentityProvider> IdentityProvider for Probe<I> {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        self.0.workload_id()
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        timed(|| self.0.sign(payload))
    }

    // As the providers in the process do it: what they box is the hook's own cost, so it stays outside.
    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(async move { self.sign(payload) })
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        self.0.public_keys()
    }

    fn attributes(&self) -> Option<&IdentityAttributes> {
        self.0.attributes()
    }
}

impl<E: PolicyEngine> PolicyEngine for Probe<E> {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        timed(|| self.0.evaluate(request))
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        Box::pin(async move { self.evaluate(request) })
    }
}
