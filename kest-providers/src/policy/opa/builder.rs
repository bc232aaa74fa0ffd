//! Settings of an engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kest_core::error::PolicyUnavailable;
use zeroize::Zeroizing;

use super::{DecisionPath, OpaEngine, environment};
use crate::policy::rest::{Secret, Settings, knobs};

/// Settings of an [`OpaEngine`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct OpaEngineBuilder {
    rest: Settings,
    decision_path: String,
}

impl OpaEngineBuilder {
    pub(super) fn new() -> Self {
        // OPA itself keeps connections for ever; load balancers before it for a minute.
        let rest = Settings::new("OPA", "Bearer ", Duration::from_secs(30));
        Self { rest, decision_path: "result.allow".to_owned() }
    }

    knobs!();

    /// Takes the address from `KEST_OPA_URL`.
    ///
    /// # Errors
    /// When the variable is not set or empty.
    pub fn url_from_env(self) -> Result<Self, PolicyUnavailable> {
        let url = environment()?;
        Ok(self.url(url))
    }

    /// Where in the answer the decision is, a dotted path; `result.allow` by default.
    ///
    /// `result` alone is for policy names that are rules themselves (`a/b/allow`). OPA then says the same of a rule that
    /// is undefined and of one that it does not have: both are unknown policies, so such a rule needs a default.
    pub fn decision_path(mut self, path: impl Into<String>) -> Self {
        self.decision_path = path.into();
        self
    }

    /// The token that the server wants, RFC 6750 §2.1.
    pub fn bearer_token(mut self, token: impl Into<String>) -> Self {
        self.rest.secret = Some(Secret::Given(Zeroizing::new(token.into())));
        self
    }

    /// The file that the platform keeps the token in, 64 KiB at most. It is read for each question, so that it may be
    /// replaced at any time.
    pub fn bearer_token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.rest.secret = Some(Secret::File(Arc::new(path.into())));
        self
    }

    /// The engine. Nothing is connected yet.
    ///
    /// # Errors
    /// When the address is missing or none, or a setting cannot be used.
    pub fn build(self) -> Result<OpaEngine, PolicyUnavailable> {
        let decision = Arc::new(DecisionPath::parse(&self.decision_path)?);
        Ok(OpaEngine { rest: self.rest.build()?, decision })
    }
}
