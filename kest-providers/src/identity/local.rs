//! For development: a key of this process.

use std::sync::{Arc, Once};

use kest_core::error::IdentityError;
use kest_core::identity::{BoxFuture, IdentityProvider};
use kest_core::jws::Jws;
use kest_core::keys::Jwks;
use zeroize::Zeroizing;

use super::ephemeral::{EphemeralKey, environment, non_empty, refuse_in_production, warn_ephemeral};

/// Signs with an Ed25519 key that is made when the provider is, and is gone with it. For development.
///
/// Its first use warns; with `KEST_ENV=production` it is refused.
///
/// ```
/// # use kest_providers::identity::LocalEd25519Provider;
/// use kest_core::identity::IdentityProvider;
///
/// let identity = LocalEd25519Provider::new()?;
/// assert_eq!(&*identity.workload_id()?, "spiffe://kest.internal/local-workload");
/// # Ok::<_, kest_core::error::IdentityError>(())
/// ```
#[derive(Debug)]
pub struct LocalEd25519Provider {
    workload_id: Arc<str>,
    key: Box<EphemeralKey>,
    warned: Once,
}

const NAME: &str = "LocalEd25519Provider";
const DEFAULT_ID: &str = "spiffe://kest.internal/local-workload";

impl LocalEd25519Provider {
    /// A provider with a new key.
    ///
    /// # Errors
    /// When `KEST_ENV` is `production`, or the operating system gives no randomness.
    pub fn new() -> Result<Self, IdentityError> {
        Self::for_env(environment().as_deref())
    }

    /// The same workload under another id.
    #[must_use]
    pub fn with_workload_id(mut self, workload_id: impl Into<Arc<str>>) -> Self {
        self.workload_id = workload_id.into();
        self
    }

    /// A provider whose key is known to whoever knows the seed: for test vectors, never for anything else.
    ///
    /// # Errors
    /// When `KEST_ENV` is `production`.
    pub fn dangerous_from_seed(seed: [u8; 32]) -> Result<Self, IdentityError> {
        let seed = Zeroizing::new(seed);
        refuse_in_production(NAME, environment().as_deref())?;
        let warned = Once::new();
        warned.call_once(|| {});
        let key = Box::new(EphemeralKey::from_seed(&seed)?);
        Ok(Self { workload_id: DEFAULT_ID.into(), key, warned })
    }

    fn for_env(environment: Option<&str>) -> Result<Self, IdentityError> {
        refuse_in_production(NAME, environment)?;
        let key = Box::new(EphemeralKey::generate()?);
        Ok(Self { workload_id: DEFAULT_ID.into(), key, warned: Once::new() })
    }

    /// Warns once, when it is known under which id the key is used.
    fn used(&self) {
        self.warned.call_once(|| warn_ephemeral(&self.workload_id));
    }
}

impl IdentityProvider for LocalEd25519Provider {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        self.used();
        non_empty(NAME, &self.workload_id)
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        self.used();
        self.key.sign(payload)
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(async move { self.sign(payload) })
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        self.used();
        Ok(self.key.public_keys())
    }
}

#[cfg(test)]
mod tests {
    use kest_core::error::IdentityErrorKind;

    use super::*;

    #[test]
    fn production_is_refused_however_it_is_written() {
        for name in ["production", "Production", "PRODUCTION", " production "] {
            let error = LocalEd25519Provider::for_env(Some(name)).unwrap_err();
            assert_eq!(error.kind(), IdentityErrorKind::Refused, "{name}");
            assert!(error.to_string().contains("`KEST_ENV`"), "{error}");
        }
        for name in [None, Some(""), Some("development"), Some("staging"), Some("pre-production")] {
            LocalEd25519Provider::for_env(name).unwrap();
        }
    }
}
