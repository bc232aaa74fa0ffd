//! A named identity with a fixed context.

use std::sync::Arc;

use kest_core::error::IdentityError;
use kest_core::identity::{BoxFuture, IdentityAttributes, IdentityProvider};
use kest_core::jws::Jws;
use kest_core::keys::Jwks;
use serde_json::Value;

use super::ephemeral::{EphemeralKey, environment, non_empty, refuse_in_production, warn_ephemeral};

/// A given workload id with fixed `user`, `agent` and `task`, for functions that always run in the same context.
///
/// Its key is ephemeral, as that of [`LocalEd25519Provider`](super::LocalEd25519Provider): making one warns, and
/// with `KEST_ENV=production` it is refused.
///
/// ```
/// # use kest_providers::identity::StaticIdentity;
/// # use serde_json::json;
/// let nightly = StaticIdentity::new("spiffe://example.org/nightly")?
///     .user(json!({"sub": "system", "role": "service-account"}))
///     .task("nightly-report");
/// # Ok::<_, kest_core::error::IdentityError>(())
/// ```
#[derive(Debug)]
pub struct StaticIdentity {
    workload_id: Arc<str>,
    attributes: IdentityAttributes,
    key: EphemeralKey,
}

const NAME: &str = "StaticIdentity";

impl StaticIdentity {
    /// An identity of that workload id, with a new key.
    ///
    /// # Errors
    /// When the id is empty, `KEST_ENV` is `production`, or the operating system gives no randomness.
    pub fn new(workload_id: impl Into<Arc<str>>) -> Result<Self, IdentityError> {
        Self::for_env(workload_id.into(), environment().as_deref())
    }

    /// On whose behalf: a string or an object.
    #[must_use]
    pub fn user(mut self, user: impl Into<Value>) -> Self {
        self.attributes.user = Some(user.into());
        self
    }

    /// The agent that acts: a string or an object.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<Value>) -> Self {
        self.attributes.agent = Some(agent.into());
        self
    }

    /// The task it acts for: a string or an object.
    #[must_use]
    pub fn task(mut self, task: impl Into<Value>) -> Self {
        self.attributes.task = Some(task.into());
        self
    }

    fn for_env(workload_id: Arc<str>, environment: Option<&str>) -> Result<Self, IdentityError> {
        refuse_in_production(NAME, environment)?;
        let workload_id = non_empty(NAME, &workload_id)?;
        let key = EphemeralKey::generate()?;
        warn_ephemeral(&workload_id);
        Ok(Self { workload_id, attributes: IdentityAttributes::default(), key })
    }
}

impl IdentityProvider for StaticIdentity {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        Ok(Arc::clone(&self.workload_id))
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        self.key.sign(payload)
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(async move { self.sign(payload) })
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        Ok(self.key.public_keys())
    }

    fn attributes(&self) -> Option<&IdentityAttributes> {
        Some(&self.attributes)
    }
}

#[cfg(test)]
mod tests {
    use kest_core::error::IdentityErrorKind;

    use super::*;

    #[test]
    fn production_and_an_empty_id_are_refused() {
        let make = |id: &str, env| StaticIdentity::for_env(id.into(), env).map_err(|error| error.kind());
        assert_eq!(make("spiffe://a/b", Some("production")).unwrap_err(), IdentityErrorKind::Refused);
        assert_eq!(make(" ", None).unwrap_err(), IdentityErrorKind::Missing);
        make("spiffe://a/b", Some("test")).unwrap();
    }
}
