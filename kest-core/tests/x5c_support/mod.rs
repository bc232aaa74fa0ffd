//! Certificate authorities of trust domains, and the SVIDs they give out.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::time::Duration;

use kest_core::canonical;
use kest_core::jws::{Algorithm, EncodedHeader, Jws};
use kest_core::keys::Jwk;
use kest_core::verify::{
    Authorities, ChainError, TrustBundles, VerifiedPassport, Verifier, VerifierBuilder, VerifyError,
    VerifyFailure,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, SanType, SignatureAlgorithm, SigningKey as _,
};
use serde_json::Value;

use super::verify_support::{NOW_MS, Workload, passport};

pub const HOUR_MS: u64 = 3_600_000;
pub const ORDERS: &str = "spiffe://example.org/orders";
pub const SHIPPING: &str = "spiffe://example.org/shipping";

/// Sets the validity of a certificate, in epoch milliseconds.
pub fn valid(params: &mut CertificateParams, from_ms: u64, to_ms: u64) {
    let at = |ms: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(ms / 1_000);
    (params.not_before, params.not_after) = (at(from_ms), at(to_ms));
}

/// An authority, and the certificates from it to the root, which is not among them.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    above: Vec<Vec<u8>>,
}

impl Ca {
    pub fn root(name: &str) -> Self {
        Self::root_with(&rcgen::PKCS_ECDSA_P256_SHA256, name, |_| {})
    }

    pub fn root_with(
        algorithm: &'static SignatureAlgorithm,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let issuer = CertifiedIssuer::self_signed(authority(name, change), key).unwrap();
        Self { issuer, above: Vec::new() }
    }

    /// An authority under this one.
    pub fn under(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        self.under_with_key(key, name, change)
    }

    pub fn under_with_key(
        &self,
        key: KeyPair,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let issuer = CertifiedIssuer::signed_by(authority(name, change), key, &self.issuer).unwrap();
        let above = [vec![issuer.der().to_vec()], self.above.clone()].concat();
        Self { issuer, above }
    }

    /// The SVID of a workload, with an Ed25519 key and for an hour around [`NOW_MS`].
    pub fn svid(&self, id: &str) -> Svid {
        self.svid_with(id, |_| {})
    }

    pub fn svid_with(&self, id: &str, change: impl FnOnce(&mut CertificateParams)) -> Svid {
        self.svid_of(Kind::Ed25519, id, change)
    }

    pub fn svid_of(&self, kind: Kind, id: &str, change: impl FnOnce(&mut CertificateParams)) -> Svid {
        let key = KeyPair::generate_for(kind.of_rcgen()).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "workload");
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        valid(&mut params, NOW_MS - HOUR_MS, NOW_MS + HOUR_MS);
        change(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let chain = [vec![leaf.der().to_vec()], self.above.clone()].concat();
        Svid { id: id.to_owned(), kind, key, chain }
    }

    pub fn der(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The bundle of a trust domain that has this one authority.
    pub fn bundle(&self, trust_domain: &str) -> TrustBundles {
        let mut bundles = TrustBundles::new();
        bundles.insert(Authorities::from_der(trust_domain, [self.der()]).unwrap()).unwrap();
        bundles
    }

    /// A verifier that trusts this authority in `example.org`.
    pub fn verifier(&self) -> VerifierBuilder {
        Verifier::builder().keys(self.bundle("example.org"))
    }
}

fn authority(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, NOW_MS - 1_000 * HOUR_MS, NOW_MS + 1_000 * HOUR_MS);
    change(&mut params);
    params
}

/// What a workload signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ed25519,
    P256,
    P384,
    P521,
    Rsa,
}

impl Kind {
    fn of_rcgen(self) -> &'static SignatureAlgorithm {
        match self {
            Self::Ed25519 => &rcgen::PKCS_ED25519,
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::P521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            Self::Rsa => &rcgen::PKCS_RSA_SHA256,
        }
    }

    pub fn alg(self) -> Algorithm {
        match self {
            Self::Ed25519 => Algorithm::EdDsa,
            Self::P256 | Self::P521 => Algorithm::Es256,
            Self::P384 => Algorithm::Es384,
            Self::Rsa => Algorithm::Rs256,
        }
    }
}

pub struct Svid {
    pub id: String,
    pub kind: Kind,
    pub key: KeyPair,
    /// Leaf first, without the root.
    pub chain: Vec<Vec<u8>>,
}

impl Svid {
    pub fn jwk(&self) -> Jwk {
        Jwk::from_spki(&self.key.subject_public_key_info()).unwrap()
    }

    pub fn header(&self) -> EncodedHeader {
        EncodedHeader::with_x5c(self.kind.alg(), &self.jwk().thumbprint(), &self.chain)
    }

    /// An entry of its own, with the time of `number` after [`NOW_MS`].
    pub fn entry(&self, number: u64) -> Jws {
        self.sign(&self.payload(number))
    }

    /// An entry after others, dated `at_ms`.
    pub fn after(&self, number: u64, parents: &[&Jws], at_ms: u64) -> Jws {
        let mut payload = if parents.is_empty() {
            self.workload().root(number)
        } else {
            self.workload().child(number, parents)
        };
        payload["timestamp_ms"] = at_ms.into();
        self.sign(&payload)
    }

    pub fn payload(&self, number: u64) -> Value {
        self.workload().root(number)
    }

    pub fn sign(&self, payload: &Value) -> Jws {
        self.sign_under(&self.header(), payload)
    }

    pub fn sign_under(&self, header: &EncodedHeader, payload: &Value) -> Jws {
        header.sign(&canonical::to_vec(payload).unwrap(), |input| Ok::<_, ()>(self.signature(input))).unwrap()
    }

    fn signature(&self, input: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(input).unwrap();
        match self.kind {
            Kind::Ed25519 | Kind::Rsa => signature,
            Kind::P256 => fixed(&signature, 32),
            Kind::P384 => fixed(&signature, 48),
            Kind::P521 => fixed(&signature, 66),
        }
    }

    fn workload(&self) -> Workload {
        Workload { id: self.id.clone(), ..Workload::new(1) }
    }
}

/// An ECDSA signature as r‖s, from DER: SEQUENCE { INTEGER r, INTEGER s }.
fn fixed(der: &[u8], size: usize) -> Vec<u8> {
    let mut rest = &der[if der[1] == 0x81 { 3 } else { 2 }..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number: Vec<u8> = rest[2..2 + length].iter().copied().skip_while(|byte| *byte == 0).collect();
        out.extend(std::iter::repeat_n(0, size - number.len()));
        out.extend(number);
        rest = &rest[2 + length..];
    }
    out
}

pub fn verify<S: ToString>(
    entries: &[S],
    verifier: VerifierBuilder,
) -> Result<VerifiedPassport, VerifyError> {
    passport(entries).verify(&verifier.build())
}

/// Why a passport is refused at the step of the principals: the name of the failure of its chain, or of the failure.
pub fn refused<S: ToString>(entries: &[S], verifier: VerifierBuilder) -> String {
    let error = verify(entries, verifier).unwrap_err();
    match error.failure() {
        VerifyFailure::Chain { source, .. } => name(source),
        other => super::verify_support::name_of(other),
    }
}

fn name(error: &ChainError) -> String {
    let text = format!("{error:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned()
}
