//! How a key signs, by its spec. Spec §3.

use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use kest_core::jws::Algorithm;
use sha2::{Digest, Sha256, Sha384};

/// What `Sign` takes at most as a message that is no digest. KMS API Reference, Sign.
pub(super) const LARGEST_MESSAGE: usize = 4_096;

/// A way to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Ed25519,
    P256,
    P384,
    RsaPkcs1,
    RsaPss,
}

impl Plan {
    /// The plan for a `KeySpec`.
    pub(super) fn for_spec(spec: &str, rsa_pss: bool) -> Result<Self, PlanError> {
        let plan = match spec {
            "ECC_NIST_EDWARDS25519" => Self::Ed25519,
            "ECC_NIST_P256" => Self::P256,
            "ECC_NIST_P384" => Self::P384,
            "RSA_2048" | "RSA_3072" | "RSA_4096" if rsa_pss => return Ok(Self::RsaPss),
            "RSA_2048" | "RSA_3072" | "RSA_4096" => Self::RsaPkcs1,
            // No JWS algorithm of spec §3.
            _ => return Err(PlanError::Spec),
        };
        if rsa_pss && plan != Self::RsaPkcs1 { Err(PlanError::NoRsa) } else { Ok(plan) }
    }

    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Self::Ed25519 => Algorithm::EdDsa,
            Self::P256 => Algorithm::Es256,
            Self::P384 => Algorithm::Es384,
            Self::RsaPkcs1 => Algorithm::Rs256,
            Self::RsaPss => Algorithm::Ps256,
        }
    }

    pub(super) fn signing_algorithm(self) -> SigningAlgorithmSpec {
        match self {
            Self::Ed25519 => SigningAlgorithmSpec::Ed25519Sha512,
            Self::P256 => SigningAlgorithmSpec::EcdsaSha256,
            Self::P384 => SigningAlgorithmSpec::EcdsaSha384,
            Self::RsaPkcs1 => SigningAlgorithmSpec::RsassaPkcs1V15Sha256,
            Self::RsaPss => SigningAlgorithmSpec::RsassaPssSha256,
        }
    }

    /// What is sent of a signing input; its length, where that is too much.
    pub(super) fn message(self, input: &[u8]) -> Result<(MessageType, Blob), usize> {
        match self {
            // RFC 8032 §5.1.6 hashes the message twice, so no digest can stand for it.
            Self::Ed25519 if input.len() > LARGEST_MESSAGE => Err(input.len()),
            Self::Ed25519 => Ok((MessageType::Raw, Blob::new(input))),
            Self::P384 => Ok((MessageType::Digest, Blob::new(Sha384::digest(input).to_vec()))),
            Self::P256 | Self::RsaPkcs1 | Self::RsaPss => {
                Ok((MessageType::Digest, Blob::new(Sha256::digest(input).to_vec())))
            }
        }
    }

    /// How long r and s are, where KMS gives DER.
    pub(super) fn coordinate(self) -> Option<usize> {
        match self {
            Self::P256 => Some(32),
            Self::P384 => Some(48),
            Self::Ed25519 | Self::RsaPkcs1 | Self::RsaPss => None,
        }
    }
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlanError {
    /// A key spec without a JWS algorithm.
    Spec,
    /// PSS was asked of a key that is not RSA.
    NoRsa,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spec_has_its_algorithm_or_none() {
        for (spec, plan) in [
            ("ECC_NIST_EDWARDS25519", Plan::Ed25519),
            ("ECC_NIST_P256", Plan::P256),
            ("ECC_NIST_P384", Plan::P384),
            ("RSA_2048", Plan::RsaPkcs1),
            ("RSA_3072", Plan::RsaPkcs1),
            ("RSA_4096", Plan::RsaPkcs1),
        ] {
            assert_eq!(Plan::for_spec(spec, false), Ok(plan));
            let pss = if plan == Plan::RsaPkcs1 { Ok(Plan::RsaPss) } else { Err(PlanError::NoRsa) };
            assert_eq!(Plan::for_spec(spec, true), pss);
        }
        for spec in
            ["ECC_NIST_P521", "ECC_SECG_P256K1", "SYMMETRIC_DEFAULT", "HMAC_256", "ML_DSA_65", "SM2", ""]
        {
            assert_eq!(Plan::for_spec(spec, false), Err(PlanError::Spec), "{spec}");
        }
    }

    #[test]
    fn a_payload_leaves_as_a_digest_only() {
        let input = vec![b'x'; 1 << 20];
        for (plan, length) in [(Plan::P256, 32), (Plan::P384, 48), (Plan::RsaPkcs1, 32), (Plan::RsaPss, 32)] {
            let (kind, message) = plan.message(&input).unwrap();
            assert_eq!((kind, message.as_ref().len()), (MessageType::Digest, length));
        }
        assert_eq!(Plan::Ed25519.message(&input), Err(1 << 20));
        assert_eq!(Plan::Ed25519.message(&input[..4_097]), Err(4_097));
        let (kind, message) = Plan::Ed25519.message(&input[..4_096]).unwrap();
        assert_eq!((kind, message.as_ref().len()), (MessageType::Raw, 4_096));
    }
}
