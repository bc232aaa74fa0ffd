use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use ed25519_dalek::VerifyingKey;

use super::BackEnd;

/// aws-lc-rs.
#[derive(Clone, Debug)]
pub(in crate::crypto) struct AwsLc(ParsedPublicKey);

impl BackEnd for AwsLc {
    fn new(point: VerifyingKey) -> Option<Self> {
        ParsedPublicKey::new(&ED25519, point.as_bytes()).ok().map(Self)
    }

    fn verify(&self, input: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_sig(input, signature).is_ok()
    }
}
