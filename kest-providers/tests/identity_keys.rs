//! The conformance suite over providers with ECDSA and RSA keys and with certificates, good ones and broken ones.
#![cfg(feature = "aws-lc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PSS_SHA256, RsaKeyPair};
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::identity::{BoxFuture, IdentityProvider};
use kest_core::jws::{Algorithm, EncodedHeader, Jws};
use kest_core::keys::{Jwk, Jwks};
use kest_providers::conformance::identity::{Check, run_with};
use kest_providers::signing::SigningKey;
use rcgen::{
    CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
};
use serde_json::json;

/// A key of a platform, and the certificate it was given.
struct Platform {
    key: SigningKey,
    fault: Fault,
    header: EncodedHeader,
    certificate: Vec<u8>,
    /// The same key as `key`, for PS256.
    pss: Option<RsaKeyPair>,
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").field("key", &self.key).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    NoChain,
    Pss,
    OtherCertificate,
    NoCertificate,
    EmptyChain,
    UrlBase64,
    InDer,
    NotReady,
}

fn certificate(key: &KeyPair) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    params.self_signed(key).unwrap().der().to_vec()
}

impl Platform {
    fn new(algorithm: &'static rcgen::SignatureAlgorithm, fault: Fault) -> Self {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let key = SigningKey::from_pkcs8(&pair.serialize_der()).unwrap();
        let kid = key.public_key().thumbprint();
        let own = certificate(&pair);
        let certificate = match fault {
            Fault::OtherCertificate => certificate(&KeyPair::generate_for(algorithm).unwrap()),
            Fault::NoCertificate => own[..own.len() - 1].to_vec(),
            _ => own,
        };
        let pss = (fault == Fault::Pss).then(|| RsaKeyPair::from_pkcs8(&pair.serialize_der()).unwrap());
        let alg = if pss.is_some() { Algorithm::Ps256 } else { key.algorithm() };
        let header = match fault {
            Fault::NoChain | Fault::Pss => EncodedHeader::new(alg, &kid),
            // Any intermediate stands behind the leaf.
            _ => EncodedHeader::with_x5c(alg, &kid, &[certificate.clone(), vec![0x30, 0]]),
        };
        Self { key, fault, header, certificate, pss }
    }
}

impl IdentityProvider for Platform {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        Ok("spiffe://example.org/platform".into())
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        match self.fault {
            Fault::Pss => self.header.sign(payload, |input| {
                let pair = self.pss.as_ref().unwrap();
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), input, &mut signature).unwrap();
                Ok(signature)
            }),
            Fault::InDer => self.header.sign(payload, |input| {
                let fixed = self.key.sign(input)?;
                let number = |half: &[u8]| [&[2, 33, 0][..], half].concat();
                let (r, s) = fixed.split_at(32);
                Ok([&[0x30, 70][..], &number(r), &number(s)].concat())
            }),
            Fault::EmptyChain => Ok(self.with_chain(json!([]), payload)),
            Fault::UrlBase64 => {
                let leaf = base64_simd::URL_SAFE.encode_to_string(&self.certificate);
                // Whatever the certificate is, this is in the one alphabet alone.
                Ok(self.with_chain(json!([leaf, "-_-_"]), payload))
            }
            _ => self.header.sign(payload, |input| self.key.sign(input)),
        }
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(async move { self.sign(payload) })
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        Ok(Jwks(vec![Jwk::clone(self.key.public_key())]))
    }

    fn ready(&self) -> Option<BoxFuture<'_, Result<(), IdentityError>>> {
        let ready = self.fault != Fault::NotReady;
        let error = || IdentityError::new(IdentityErrorKind::Connection, "the agent is not there");
        Some(Box::pin(async move { if ready { Ok(()) } else { Err(error()) } }))
    }
}

impl Platform {
    fn with_chain(&self, chain: serde_json::Value, payload: &[u8]) -> Jws {
        let b64 = |bytes: &[u8]| base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes);
        let kid = self.key.public_key().thumbprint();
        let header = json!({"alg": self.key.algorithm().as_str(), "kid": kid, "typ": "JWS", "x5c": chain});
        let input = format!("{}.{}", b64(header.to_string().as_bytes()), b64(payload));
        let signature = self.key.sign(input.as_bytes()).unwrap();
        EncodedHeader::assemble(input, &signature)
    }
}

#[test]
fn every_algorithm_conforms() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_RSA_SHA256] {
        for fault in [Fault::None, Fault::NoChain] {
            run_with(&Platform::new(algorithm, fault), 64).unwrap();
        }
    }
    run_with(&Platform::new(&PKCS_RSA_SHA256, Fault::Pss), 64).unwrap();
}

#[test]
fn broken_ones_fail_each_for_its_reason() {
    for (fault, check) in [
        (Fault::OtherCertificate, Check::Certificate),
        (Fault::NoCertificate, Check::Certificate),
        (Fault::EmptyChain, Check::Certificate),
        (Fault::UrlBase64, Check::Certificate),
        (Fault::InDer, Check::Signature),
        (Fault::NotReady, Check::WorkloadId),
    ] {
        let failure = run_with(&Platform::new(&PKCS_ECDSA_P256_SHA256, fault), 64).unwrap_err();
        assert_eq!(failure.check(), check, "{fault:?}: {failure}");
    }
}
