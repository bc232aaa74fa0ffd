//! Signatures by the key of a platform, beside the floor of the signature alone.

use std::hint::black_box;
use std::time::Instant;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64_simd::URL_SAFE_NO_PAD;
use kest::jws::EncodedHeader;
use kest_providers::signing::SigningKey;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

use crate::Result;
use crate::chain::{Engine, Maker};
use crate::clock::{self, median};
use crate::report::{Line, Report};

const PREPARED: &str = "sign/es256-x5c";
#[cfg(feature = "spire")]
const SPIRE: &str = "sign/spire";

/// Prints the lines of signatures with P-256 and a certificate chain in the header.
pub(crate) fn measure(report: &mut Report, quick: bool) -> Result<()> {
    let rounds = if quick { 500 } else { 20_000 };
    if report.wants(PREPARED) {
        let (pkcs8, chain) = certified()?;
        let key = SigningKey::from_pkcs8(&pkcs8)?;
        let header = EncodedHeader::with_x5c(key.algorithm(), &key.public_key().thumbprint(), &chain);
        let payload = payload()?;
        let input = header.signing_input(&payload);
        report.add(in_turns(PREPARED, rounds, &input, || {
            black_box(header.sign(&payload, |input| key.sign(input))?);
            Ok(())
        })?)?;
    }
    #[cfg(feature = "spire")]
    if report.wants(SPIRE) {
        with_agent(report, rounds)?;
    }
    Ok(())
}

/// The provider itself, with the agent that `SPIFFE_ENDPOINT_SOCKET` names; without one there is no such line.
#[cfg(feature = "spire")]
fn with_agent(report: &mut Report, rounds: usize) -> Result<()> {
    use kest::identity::{IdentityProvider as _, SpireProvider};
    use kest::jws::Algorithm;

    if std::env::var_os("SPIFFE_ENDPOINT_SOCKET").is_none() {
        eprintln!("sign/spire is not measured: SPIFFE_ENDPOINT_SOCKET names no agent");
        return Ok(());
    }
    let provider = SpireProvider::from_env()?;
    let payload = payload()?;
    let signed = provider.sign(&payload)?;
    let keys = provider.public_keys()?;
    if keys.0.first().and_then(|key| key.algorithm()) != Some(Algorithm::Es256) {
        return Err("the agent's key is no P-256 key, and the floor is".into());
    }
    let input = signed.as_str().rsplit_once('.').ok_or("the entry is no JWS")?.0.to_owned();
    report.add(in_turns(SPIRE, rounds, &input, || {
        black_box(provider.sign(&payload)?);
        Ok(())
    })?)
}

/// One signature and one of the floor, a bare P-256 signature of the same bytes, in turns.
fn in_turns(name: &str, rounds: usize, input: &str, mut sign: impl FnMut() -> Result<()>) -> Result<Line> {
    let pkcs8 = KeyPair::generate()?.serialize_der();
    let floor = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)?;
    let random = SystemRandom::new();
    let reading = clock::reading();
    let (mut times, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        sign()?;
        let ns = clock::since(start) - reading;
        let start = Instant::now();
        black_box(floor.sign(&random, input.as_bytes()).map_err(|_| "the floor's key cannot sign")?);
        let floor_ns = clock::since(start) - reading;
        times.push(ns);
        floors.push(floor_ns);
        ratios.push(ns / floor_ns);
    }
    Ok(Line {
        name: name.to_owned(),
        n: 1,
        threads: 1,
        ns: Some(median(times)),
        floor_ns: Some(median(floors)),
        ratio: Some(median(ratios)),
        ..Line::default()
    })
}

/// The payload of an entry that a call signs.
fn payload() -> Result<Vec<u8>> {
    let maker = Maker::new(Engine::AllowAll)?;
    kest::reconfigure(maker.kest.clone())?;
    let passport = maker.passport(1)?;
    kest::clear();
    let entries = passport.entries();
    let jws = entries.first().ok_or("the passport is empty")?.jws();
    let segment = jws.split('.').nth(1).ok_or("the entry is no JWS")?;
    Ok(URL_SAFE_NO_PAD.decode_to_vec(segment)?)
}

/// A key and its chain, as SPIRE with an upstream authority hands them out: a leaf and an intermediate.
fn certified() -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let (authority_key, intermediate_key, leaf_key) =
        (KeyPair::generate()?, KeyPair::generate()?, KeyPair::generate()?);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = Issuer::from_params(&params, &authority_key);
    let mut intermediate = params.clone();
    intermediate.subject_alt_names = vec![SanType::URI("spiffe://example.org".try_into()?)];
    let intermediate_certificate = intermediate.signed_by(&intermediate_key, &authority)?;
    let mut leaf = CertificateParams::default();
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.subject_alt_names = vec![SanType::URI("spiffe://example.org/shop/orders".try_into()?)];
    let leaf_certificate =
        leaf.signed_by(&leaf_key, &Issuer::from_params(&intermediate, &intermediate_key))?;
    let chain = [leaf_certificate, intermediate_certificate].map(|certificate| certificate.der().to_vec());
    Ok((leaf_key.serialize_der(), chain.to_vec()))
}
