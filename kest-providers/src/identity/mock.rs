//! For tests: the same input gives the same JWS.

use std::convert::Infallible;
use std::sync::Arc;

use kest_core::error::IdentityError;
use kest_core::identity::{BoxFuture, IdentityProvider};
use kest_core::jws::{Algorithm, EncodedHeader, Jws};
use kest_core::keys::{Jwks, MOCK_KEY, hmac_sha256, mock_kid};

use super::ephemeral::{environment, non_empty, refuse_in_production};

/// Signs with HMAC-SHA256 and a key that everybody knows. For tests.
///
/// It has no public key, so that nobody can anchor it: what it signs is accepted only by a verifier that was told to
/// accept mock entries. With `KEST_ENV=production` it is refused.
#[derive(Debug)]
pub struct MockIdentityProvider {
    workload_id: Arc<str>,
    header: EncodedHeader,
}

const NAME: &str = "MockIdentityProvider";

impl MockIdentityProvider {
    /// A provider for `spiffe://kest.internal/mock-workload`.
    ///
    /// # Errors
    /// When `KEST_ENV` is `production`.
    pub fn new() -> Result<Self, IdentityError> {
        Self::for_env(environment().as_deref())
    }

    /// The same provider with another workload id.
    #[must_use]
    pub fn with_workload_id(mut self, workload_id: impl Into<Arc<str>>) -> Self {
        self.workload_id = workload_id.into();
        self
    }

    fn for_env(environment: Option<&str>) -> Result<Self, IdentityError> {
        refuse_in_production(NAME, environment)?;
        Ok(Self {
            workload_id: "spiffe://kest.internal/mock-workload".into(),
            header: EncodedHeader::new(Algorithm::Hs256, mock_kid()),
        })
    }
}

impl IdentityProvider for MockIdentityProvider {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        non_empty(NAME, &self.workload_id)
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        let signed = self.header.sign(payload, |input| Ok::<_, Infallible>(hmac_sha256(MOCK_KEY, input)));
        signed.map_err(|never| match never {})
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(async move { self.sign(payload) })
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        Ok(Jwks::default())
    }
}

#[cfg(test)]
mod tests {
    use kest_core::error::IdentityErrorKind;

    use super::*;

    #[test]
    fn production_is_refused() {
        let error = MockIdentityProvider::for_env(Some("production")).unwrap_err();
        assert_eq!(error.kind(), IdentityErrorKind::Refused);
    }
}
