//! A key of a principal, ready to check signatures with.

use super::failure::VerifyFailure;
use crate::jws::Algorithm;
use crate::keys::{Jwk, KeyError, SignatureError};

pub(super) struct Key {
    pub(super) jwk: Jwk,
    pub(super) thumbprint: String,
    pub(super) spki: Vec<u8>,
    pub(super) print: KeyPrint,
}

impl Key {
    /// Works out once what every signature by the key needs.
    pub(super) fn new(jwk: Jwk) -> Result<Self, KeyError> {
        jwk.prepare()?;
        Ok(Self { thumbprint: jwk.thumbprint(), print: KeyPrint::of(&jwk), spki: jwk.to_spki(), jwk })
    }

    pub(super) fn check(&self, alg: Algorithm, input: &[u8], signature: &[u8]) -> Result<(), VerifyFailure> {
        self.jwk.verify(alg, input, signature).map_err(|error| match error {
            // The key is prepared, so none of its faults is left.
            SignatureError::Wrong | SignatureError::Key(_) => VerifyFailure::Signature,
            SignatureError::Mismatch { alg } => VerifyFailure::AlgorithmMismatch { alg },
            SignatureError::Unsupported { alg } => VerifyFailure::UnsupportedAlgorithm { alg },
        })
    }
}

/// Which key it is: SHA-256 of the SubjectPublicKeyInfo. Says nothing of the algorithm, which the entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyPrint([u8; 32]);

impl KeyPrint {
    pub(super) fn of(jwk: &Jwk) -> Self {
        Self(*jwk.spki_hash())
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
