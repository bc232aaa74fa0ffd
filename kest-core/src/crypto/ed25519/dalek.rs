use ed25519_dalek::{Signature, VerifyingKey};

use super::BackEnd;

/// ed25519-dalek.
#[derive(Clone, Debug)]
pub(in crate::crypto) struct Dalek(VerifyingKey);

impl BackEnd for Dalek {
    fn new(point: VerifyingKey) -> Option<Self> {
        Some(Self(point))
    }

    fn verify(&self, input: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(input, &Signature::from_bytes(signature)).is_ok()
    }
}
