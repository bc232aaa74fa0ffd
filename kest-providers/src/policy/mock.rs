//! An engine for tests: it says what it was told to say, and keeps what it was asked.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{BoxFuture, Decision, PolicyEngine, PolicyRequest, Tier};
use parking_lot::Mutex;
use serde_json::Value;

/// What the mock engine was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedCall {
    /// The policy.
    pub policy: String,
    /// The tier that was being evaluated.
    pub tier: Tier,
    /// The input document of spec §11.
    pub input: Value,
}

type Answer = dyn Fn(&PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> + Send + Sync;

/// Allows, denies, or asks a closure. It keeps its last 1,000 calls; clones share them.
#[derive(Clone)]
pub struct MockPolicyEngine {
    answer: Arc<Answer>,
    calls: Option<Arc<Mutex<VecDeque<RecordedCall>>>>,
}

const KEPT: usize = 1_000;

impl MockPolicyEngine {
    /// An engine that answers with what the closure gives.
    pub fn new<F>(answer: F) -> Self
    where
        F: Fn(&PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> + Send + Sync + 'static,
    {
        Self { answer: Arc::new(answer), calls: Some(Arc::default()) }
    }

    /// Allows everything.
    #[must_use]
    pub fn allow() -> Self {
        Self::new(|_| Ok(Decision::allow()))
    }

    /// Denies everything.
    #[must_use]
    pub fn deny() -> Self {
        Self::new(|_| Ok(Decision::deny()))
    }

    /// Allows the policies of these names and denies all others.
    #[must_use]
    pub fn allowing<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        Self::new(move |request| {
            let listed = names.iter().any(|name| name == request.policy);
            Ok(if listed { Decision::allow() } else { Decision::deny() })
        })
    }

    /// The same engine, keeping no calls: for benchmarks.
    #[must_use]
    pub fn without_recording(mut self) -> Self {
        self.calls = None;
        self
    }

    /// What was asked, oldest first: the last 1,000 calls, or none [without recording](Self::without_recording).
    #[must_use]
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.calls.as_ref().map_or_else(Vec::new, |calls| calls.lock().iter().cloned().collect())
    }
}

impl fmt::Debug for MockPolicyEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockPolicyEngine").finish_non_exhaustive()
    }
}

impl PolicyEngine for MockPolicyEngine {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        if let Some(calls) = &self.calls {
            let input = serde_json::to_value(request.input).map_err(|error| {
                PolicyUnavailable::new(
                    PolicyErrorKind::Evaluation,
                    format!("the input of policy `{}` is no JSON: {error}", request.policy),
                )
                .with_source(error)
            })?;
            let tier = request.input.environment.policy_tier;
            let call = RecordedCall { policy: request.policy.to_owned(), tier, input };
            let mut calls = calls.lock();
            if calls.len() == KEPT {
                calls.pop_front();
            }
            calls.push_back(call);
        }
        (self.answer)(request)
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        Box::pin(async move { self.evaluate(request) })
    }
}
