//! Settings of an engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kest_core::error::PolicyUnavailable;
use kest_core::text::Quoted;
use zeroize::Zeroizing;

use super::{CedarAgentEngine, PATH};
use crate::policy::rest::{Secret, Settings, knobs, refuse};

/// Settings of a [`CedarAgentEngine`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct CedarAgentEngineBuilder {
    rest: Settings,
    path: String,
}

impl CedarAgentEngineBuilder {
    pub(super) fn new() -> Self {
        // cedar-agent closes connections that were idle for 5 seconds.
        Self { rest: Settings::new("cedar-agent", "", Duration::from_secs(4)), path: PATH.to_owned() }
    }

    knobs!();

    /// The path that answers; `/v1/is_authorized`, that of permitio's cedar-agent, by default. Of an agent with another
    /// one, such as `/is_authorized`, no list of policies is known: it then denies what it has no policy for.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The token that the agent was started with. It is sent as it is, without `Bearer`, for so the agent compares it.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.rest.secret = Some(Secret::Given(Zeroizing::new(token.into())));
        self
    }

    /// The file that the platform keeps the token in, 64 KiB at most. It is read for each question, so that it may be
    /// replaced at any time.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.rest.secret = Some(Secret::File(Arc::new(path.into())));
        self
    }

    /// The engine. Nothing is connected yet.
    ///
    /// # Errors
    /// When the address is missing or none, or a setting cannot be used.
    pub fn build(self) -> Result<CedarAgentEngine, PolicyUnavailable> {
        let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'/' | b'_' | b'-' | b'.' | b'~');
        if !self.path.starts_with('/') || !self.path.bytes().all(good) {
            return Err(refuse(format!(
                "cedar-agent's path {} is none; give one such as `{PATH}`",
                Quoted(&self.path)
            )));
        }
        let rest = self.rest.build()?;
        Ok(CedarAgentEngine { rest, path: self.path.into(), listings: Arc::default() })
    }
}
