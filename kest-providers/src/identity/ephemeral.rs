//! An Ed25519 key that lives in memory only, and where such keys may be used.

use std::env;
use std::fmt;
use std::sync::Arc;

#[cfg(feature = "aws-lc")]
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
#[cfg(not(feature = "aws-lc"))]
use ed25519_dalek::{Signer, SigningKey};
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::jws::{Algorithm, EncodedHeader, Jws};
use kest_core::keys::{Jwk, Jwks};
use zeroize::Zeroizing;

/// A key pair and the header of what it signs. The private half is wiped when this is dropped.
pub(super) struct EphemeralKey {
    pair: Pair,
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
        Self::from_seed(&seed)
    }

    pub(super) fn from_seed(seed: &[u8; 32]) -> Result<Self, IdentityError> {
        let (pair, public) = Pair::from_seed(seed)?;
        let public = Jwk::ed25519(&public);
        let kid = public.thumbprint();
        let header = EncodedHeader::new(Algorithm::EdDsa, &kid);
        Ok(Self { pair, public, kid, header })
    }

    pub(super) fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        self.header.sign(payload, |input| self.pair.sign(input))
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

/// Ed25519 by ed25519-dalek, or with the feature `aws-lc` by aws-lc-rs: the same key and signatures from one seed,
/// RFC 8032 §5.1.5 and §5.1.6.
#[cfg(not(feature = "aws-lc"))]
struct Pair(SigningKey);

#[cfg(feature = "aws-lc")]
struct Pair(Ed25519KeyPair);

#[cfg(not(feature = "aws-lc"))]
impl Pair {
    #[expect(clippy::unnecessary_wraps, reason = "the other back end can fail")]
    fn from_seed(seed: &[u8; 32]) -> Result<(Self, [u8; 32]), IdentityError> {
        let key = SigningKey::from_bytes(seed);
        let public = key.verifying_key().to_bytes();
        Ok((Self(key), public))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other back end can fail")]
    fn sign(&self, input: &[u8]) -> Result<[u8; 64], IdentityError> {
        Ok(self.0.sign(input).to_bytes())
    }
}

#[cfg(feature = "aws-lc")]
impl Pair {
    fn from_seed(seed: &[u8; 32]) -> Result<(Self, [u8; 32]), IdentityError> {
        let failed =
            || IdentityError::new(IdentityErrorKind::Signing, "aws-lc-rs could not make an Ed25519 key");
        let key = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| failed())?;
        let public = key.public_key().as_ref().try_into().map_err(|_| failed())?;
        Ok((Self(key), public))
    }

    fn sign(&self, input: &[u8]) -> Result<[u8; 64], IdentityError> {
        let failed =
            || IdentityError::new(IdentityErrorKind::Signing, "aws-lc-rs could not sign with Ed25519");
        let signature = self.0.try_sign(input).map_err(|_| failed())?;
        signature.as_ref().try_into().map_err(|_| failed())
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

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    /// Whichever back end signs: what ed25519-dalek makes of the seed.
    #[test]
    fn one_seed_gives_one_key_and_one_signature() {
        for first in 0..32 {
            let seed = std::array::from_fn(|n| first * 7 + n as u8);
            let key = EphemeralKey::from_seed(&seed).unwrap();
            let other = SigningKey::from_bytes(&seed);
            let public = other.verifying_key();
            assert_eq!(key.public_keys(), Jwks(vec![Jwk::ed25519(public.as_bytes())]));
            let jws = key.sign(format!("{{\"n\":{first}}}").as_bytes()).unwrap();
            let (input, signature) = jws.as_str().rsplit_once('.').unwrap();
            let expected = other.sign(input.as_bytes()).to_bytes();
            assert_eq!(signature, base64_simd::URL_SAFE_NO_PAD.encode_to_string(expected));
        }
    }
}
