//! An Ed25519 key that lives in memory only, and where such keys may be used.

use std::env;
use std::fmt;
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::jws::{Algorithm, EncodedHeader, Jws};
use kest_core::keys::{Jwk, Jwks};
use zeroize::Zeroizing;

/// A key pair and the header of what it signs. The private half is wiped when this is dropped.
pub(super) struct EphemeralKey {
    signing: SigningKey,
    public: Jwk,
    kid: String,
    header: EncodedHeader,
}

impl EphemeralKey {
    /// A key from the operating system's randomness.
    pub(super) fn generate() -> Result<Self, IdentityError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|error| {
            let message =
                "the operating system gave no randomness for a key; check that `getrandom` may be called";
            IdentityError::new(IdentityErrorKind::Signing, message).with_source(error.to_string())
        })?;
        Ok(Self::from_seed(&seed))
    }

    pub(super) fn from_seed(seed: &[u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(seed);
        let public = Jwk::ed25519(signing.verifying_key().as_bytes());
        let kid = public.thumbprint();
        let header = EncodedHeader::new(Algorithm::EdDsa, &kid);
        Self { signing, public, kid, header }
    }

    pub(super) fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        self.header.sign(payload, |input| Ok(self.signing.sign(input).to_bytes()))
    }

    pub(super) fn public_keys(&self) -> Jwks {
        Jwks(vec![self.public.clone()])
    }
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ed25519").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// What `KEST_ENV` says.
pub(super) fn environment() -> Option<String> {
    env::var_os("KEST_ENV").map(|value| value.to_string_lossy().into_owned())
}

/// Refuses a provider for development in production.
pub(super) fn refuse_in_production(provider: &str, environment: Option<&str>) -> Result<(), IdentityError> {
    match environment {
        Some(name) if name.trim().eq_ignore_ascii_case("production") => Err(IdentityError::new(
            IdentityErrorKind::Refused,
            format!(
                "`{provider}` is refused because `KEST_ENV` is `{name}`: its key proves nothing about the workload; \
                 configure SPIRE, AWS or OIDC, or change `KEST_ENV`"
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn warn_ephemeral(workload_id: &str) {
    tracing::warn!(target: "kest", workload_id, "Using ephemeral Ed25519 key — not for production");
}

/// An id as given, unless it is none.
pub(super) fn non_empty(provider: &str, id: &Arc<str>) -> Result<Arc<str>, IdentityError> {
    if id.trim().is_empty() {
        let message =
            format!("`{provider}` has an empty workload id; give it one such as `spiffe://example.org/name`");
        return Err(IdentityError::new(IdentityErrorKind::Missing, message));
    }
    Ok(Arc::clone(id))
}
