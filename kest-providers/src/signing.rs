//! Keys that a platform hands to a workload: ECDSA and RSA, by aws-lc-rs. Spec §3.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256,
};
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::jws::Algorithm;
use kest_core::keys::Jwk;

/// A private key and what it is for. The private half is wiped when this is dropped.
pub struct SigningKey {
    pair: Pair,
    algorithm: Algorithm,
    public: Jwk,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(rsa::KeyPair),
}

impl SigningKey {
    /// Reads a PKCS#8 key, RFC 5208 §5: P-256 for ES256, P-384 for ES384, RSA of 2048 bits and more for RS256.
    ///
    /// # Errors
    /// When it is no such key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, IdentityError> {
        let (pair, algorithm) =
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
                (Pair::Ec(pair), Algorithm::Es256)
            } else if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der) {
                (Pair::Ec(pair), Algorithm::Es384)
            } else if let Ok(pair) = rsa::KeyPair::from_pkcs8(der) {
                (Pair::Rsa(pair), Algorithm::Rs256)
            } else {
                return Err(unusable());
            };
        let spki = match &pair {
            Pair::Ec(pair) => pair.public_key().as_der(),
            Pair::Rsa(pair) => pair.public_key().as_der(),
        };
        let spki = spki.map_err(|_| unusable())?;
        let public = Jwk::from_spki(spki.as_ref()).map_err(|error| unusable().with_source(error))?;
        Ok(Self { pair, algorithm, public })
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &Jwk {
        &self.public
    }

    /// Signs as RFC 7518 §3.3 and §3.4 ask: ECDSA as r and s in full length.
    ///
    /// # Errors
    /// When aws-lc-rs cannot sign, which it does not tell more about.
    pub fn sign(&self, signing_input: &[u8]) -> Result<Vec<u8>, IdentityError> {
        match &self.pair {
            Pair::Ec(pair) => {
                pair.sign(&SystemRandom::new(), signing_input).map(|made| made.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signing_input, &mut signature)
                    .map(|()| signature)
            }
        }
        .map_err(|_| IdentityError::new(IdentityErrorKind::Signing, "the workload's key could not sign"))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pair: _, algorithm, public } = self;
        f.debug_struct(algorithm.as_str()).field("kid", &public.thumbprint()).finish_non_exhaustive()
    }
}

/// Says nothing about the key: what cannot be read may still be secret.
fn unusable() -> IdentityError {
    IdentityError::new(
        IdentityErrorKind::Signing,
        "the workload's private key cannot be used; have the platform issue P-256, P-384 or RSA of 2048 bits and more \
         in PKCS#8",
    )
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::Pkcs8V1Der;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaSigningAlgorithm, Ed25519KeyPair, RSA_PSS_SHA256,
    };
    use kest_core::keys::SignatureError;

    use super::*;

    fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> Vec<u8> {
        EcdsaKeyPair::generate(algorithm).unwrap().to_pkcs8v1().unwrap().as_ref().to_vec()
    }

    fn rsa(size: KeySize) -> Vec<u8> {
        let pair = rsa::KeyPair::generate(size).unwrap();
        AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref().to_vec()
    }

    fn keys() -> Vec<(Vec<u8>, Algorithm, usize)> {
        vec![
            (ec(&ECDSA_P256_SHA256_FIXED_SIGNING), Algorithm::Es256, 64),
            (ec(&ECDSA_P384_SHA384_FIXED_SIGNING), Algorithm::Es384, 96),
            (rsa(KeySize::Rsa2048), Algorithm::Rs256, 256),
            (rsa(KeySize::Rsa3072), Algorithm::Rs256, 384),
        ]
    }

    #[test]
    fn what_is_signed_verifies() {
        for (pkcs8, algorithm, length) in keys() {
            let key = SigningKey::from_pkcs8(&pkcs8).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            for input in [&b""[..], b"input", &[7; 100_000]] {
                let signature = key.sign(input).unwrap();
                assert_eq!(signature.len(), length);
                key.public_key().verify(algorithm, input, &signature).unwrap();
                let other = key.public_key().verify(algorithm, b"other", &signature);
                assert!(matches!(other, Err(SignatureError::Wrong)), "{algorithm}");
            }
        }
    }

    #[test]
    fn other_keys_are_refused_without_a_word_of_them() {
        let ed25519 = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
        let (p256, _, _) = keys().remove(0);
        let refused = [
            ec(&ECDSA_P521_SHA512_FIXED_SIGNING),
            ed25519.as_ref().to_vec(),
            base64_simd::STANDARD.decode_to_vec(RSA_1024.concat()).unwrap(),
            p256[..p256.len() - 1].to_vec(),
            Vec::new(),
            b"-----BEGIN PRIVATE KEY-----".to_vec(),
        ];
        for (number, pkcs8) in refused.into_iter().enumerate() {
            let error = SigningKey::from_pkcs8(&pkcs8).expect_err(&number.to_string());
            assert_eq!(error.kind(), IdentityErrorKind::Signing);
            let text =
                format!("{error} {error:?} {:?}", std::error::Error::source(&error).map(ToString::to_string));
            assert!(text.contains("P-256, P-384 or RSA of 2048 bits and more"), "{text}");
            for window in pkcs8.windows(6) {
                let hex: String = window.iter().map(|byte| format!("{byte:02x}")).collect();
                let list = format!("{window:?}");
                assert!(
                    !text.to_lowercase().contains(&hex) && !text.contains(&list[1..list.len() - 1]),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn debug_shows_the_thumbprint_alone() {
        for (pkcs8, algorithm, _) in keys() {
            let key = SigningKey::from_pkcs8(&pkcs8).unwrap();
            let kid = key.public_key().thumbprint();
            assert_eq!(format!("{key:?}"), format!("{algorithm} {{ kid: \"{kid}\", .. }}"));
        }
    }

    /// Its public key says nothing of an algorithm, so it is the header that says RS256 and not PS256.
    #[test]
    fn an_rsa_key_signs_with_pkcs1() {
        let key = SigningKey::from_pkcs8(&rsa(KeySize::Rsa2048)).unwrap();
        let signature = key.sign(b"input").unwrap();
        let pss = key.public_key().verify(Algorithm::Ps256, b"input", &signature);
        assert!(matches!(pss, Err(SignatureError::Wrong)));
        let Pair::Rsa(pair) = &key.pair else { panic!("an RSA key") };
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), b"input", &mut signature).unwrap();
        key.public_key().verify(Algorithm::Ps256, b"input", &signature).unwrap();
    }

    /// Made for this test and used nowhere.
    const RSA_1024: &[&str] = &[
        "MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBAMwseSErOnSdBl+4dBCrwDBPqgdyUxOs7Ak4CPt5IS",
        "YD36Zx3T1N1Jin1NUA/pLzfFvu+BudrCmt+/ggZsA5P2nf9lxDhM6zElMWWZwvbJyglQK50/j1UB21L67W7KgJ3Oyp",
        "tn95nP0bigKnnDAR54na5oiF4OMiyQHA1aRxqth3AgMBAAECgYAsVc/rwu5LmjljGbOiVxlBpFrgiRO/JwKOMevJZ5",
        "EqJxculnUbNcZfa7pMko21LUgo0mhv3roextf7FlYZkZTSLf0KFW9bAGGS4EI5mpnvpaLILYjMd8WWR7PcZ0hcGXF3",
        "zdObyvlHYhbfCUDhMPuRNG1Sbw2kyhijIHTBVC8k0QJBAPvmqQ4ub7iXmrUC9BroxEIA2463lVZIXHgdGxO+ed+jVV",
        "yBcyZJ63ExZHX6+q+4Spb+enZFsKKkc3EgCX0bgB8CQQDPfv78rrTl7PsodK64njZjGq1lV2SHRBay1+U/4jlt9gCV",
        "1sZyNctuHWDU3Mw5EPfr4JePtCsvCoo56LKYBDypAkBKNZK6Pc3l+Ku4Bc26G7atpykHa2gQSjMLo691apjm3GxqWy",
        "x8LCyzZRSueSjfGZDH2OJk83TtBTuJKSICfFaLAkEAv69DYi0HQq1FbJ82Vaka9zzK2Kb+YJN/IKKfzv9vLG0pJ0Mt",
        "Oo8FqmkLbjm3lDRfxBFMEl5P0no7LboRWqv3WQJAMLXLXjpuKSM3dC/OrY6bCb2YhGMtfv0dJ4Vg0BGoZ184mZfVx3",
        "Tq/ILEqvpf+pZGu0p+NzcjuWy8r+pPahAKiQ==",
    ];
}
