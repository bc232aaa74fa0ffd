//! A key of a principal, ready to check signatures with.

use super::failure::VerifyFailure;
use crate::jws::Algorithm;
use crate::keys::{Jwk, KeyError, SignatureError};

pub(super) struct Key {
    pub(super) jwk: Jwk,
    pub(super) thumbprint: String,
    pub(super) spki: Vec<u8>,
}

impl Key {
    /// Works out once what every signature by the key needs.
    pub(super) fn new(jwk: Jwk) -> Result<Self, KeyError> {
        jwk.prepare()?;
        Ok(Self { thumbprint: jwk.thumbprint(), spki: jwk.to_spki(), jwk })
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
