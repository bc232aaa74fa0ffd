//! One chain, validated at one time. RFC 5280 §6.1 by rustls-webpki, X509-SVID §5 here.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, aws_lc_rs};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::super::bundle::Authorities;
use super::error::{ChainError, Moment};
use super::order::{certificates, chain_needed, chain_refused, one_path};
use super::root::Root;
use super::window::Window;
use crate::keys::Jwk;

/// A chain that speaks for a principal.
pub(super) struct Speaks {
    /// The leaf's.
    pub(super) key: Jwk,
    /// When the leaf is valid.
    pub(super) leaf: Window,
    /// When all of the chain is.
    pub(super) all: Window,
}

/// Checks that the chain, leaf first, speaks for `principal`.
pub(super) fn validate(
    chain: &[Vec<u8>],
    principal: &str,
    authorities: &Authorities,
    at_ms: u64,
    moment: Moment,
) -> Result<Speaks, ChainError> {
    let certificates = certificates(chain)?;
    let (Some(leaf), Some((first, others))) = (certificates.first(), chain.split_first()) else {
        return Err(ChainError::Missing);
    };
    speaks_for(leaf, principal)?;
    one_path(&certificates)?;
    let key = Jwk::from_spki(leaf.public_key().raw).map_err(ChainError::Key)?;

    let first = CertificateDer::from(first.as_slice());
    let refuse = |error| chain_refused(&error, authorities.trust_domain(), moment);
    let end_entity = EndEntityCert::try_from(&first).map_err(refuse)?;
    let others: Vec<CertificateDer<'_>> = others.iter().map(|der| der.as_slice().into()).collect();
    let anchors: Vec<_> = authorities.roots.iter().map(|root| root.anchor.clone()).collect();
    let at = UnixTime::since_unix_epoch(Duration::from_millis(at_ms));
    let path =
        end_entity.verify_for_usage(ALGORITHMS, &anchors, &others, at, AnyUse, None, None).map_err(refuse)?;

    chain_needed(&others, path.intermediate_certificates().count(), &anchors)?;

    let of_leaf = window(leaf);
    let mut valid = of_leaf;
    for intermediate in path.intermediate_certificates() {
        let der = intermediate.der();
        let used = certificates.iter().find(|certificate| certificate.as_raw() == &*der);
        let used = used.filter(|certificate| may_sign(certificate)).ok_or(ChainError::NotAnAuthority)?;
        valid = valid.and(window(used));
    }
    // webpki does not look at the validity of an anchor. A renewed one can have the key and the name of the old one.
    let behind = authorities.roots.iter().filter(|root| root.anchor == *path.anchor());
    let behind: Vec<&Root> = behind.collect();
    match (behind.iter().find(|root| root.window.contains(at_ms)), behind.last()) {
        (Some(root), _) => Ok(Speaks { key, leaf: of_leaf, all: valid.and(root.window) }),
        (None, Some(root)) => Err(outside(root.window, at_ms, moment)),
        (None, None) => Err(unknown(authorities)),
    }
}

/// A certificate in DER, with nothing after it.
pub(super) fn read(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der)
        .ok()
        .filter(|(rest, _)| rest.is_empty())
        .map(|(_, certificate)| certificate)
}

pub(super) fn window(certificate: &X509Certificate<'_>) -> Window {
    let validity = certificate.validity();
    Window::of_seconds(validity.not_before.timestamp(), validity.not_after.timestamp())
}

/// Whether the certificate is that of an authority. RFC 5280 §4.2.1.3 and §4.2.1.9; X509-SVID §4.1 and §4.3.
pub(super) fn may_sign(certificate: &X509Certificate<'_>) -> bool {
    let is_ca = matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca);
    // webpki ignores keyUsage. Old roots have none.
    let signs = match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    is_ca && signs
}

/// The rules for the leaf. X509-SVID §5.2.
fn speaks_for(leaf: &X509Certificate<'_>, principal: &str) -> Result<(), ChainError> {
    let unreadable = |_| ChainError::Unreadable { index: 0 };
    let names = leaf.subject_alternative_name().map_err(unreadable)?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let mut ids = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(Some(*uri)),
        // RFC 5280 §4.2.1.6: [6]. One that is not text is one all the same.
        GeneralName::Invalid(tag, _) if tag.0 == 6 => Some(None),
        _ => None,
    });
    match (ids.next(), ids.count()) {
        (None, _) => return Err(ChainError::NoSpiffeId),
        (Some(_), more @ 1..) => return Err(ChainError::SeveralIds { found: more + 1 }),
        (Some(Some(id)), 0) if id == principal => {}
        (Some(id), 0) => return Err(ChainError::OtherId { found: id.unwrap_or_default().to_owned() }),
    }
    if leaf.basic_constraints().map_err(unreadable)?.is_some_and(|constraints| constraints.value.ca) {
        return Err(ChainError::LeafIsAuthority);
    }
    let usage = leaf.key_usage().map_err(unreadable)?.ok_or(ChainError::NoKeyUsage)?.value;
    if usage.key_cert_sign() || usage.crl_sign() {
        return Err(ChainError::KeyUsage {
            why: "may sign certificates or revocation lists, as no workload's may",
        });
    }
    if usage.digital_signature() {
        Ok(())
    } else {
        Err(ChainError::KeyUsage { why: "is not for signatures (`digitalSignature`)" })
    }
}

/// What certificates may be signed with. Neither P-521 nor anything beyond, as nowhere else.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    aws_lc_rs::ECDSA_P256_SHA256,
    aws_lc_rs::ECDSA_P256_SHA384,
    aws_lc_rs::ECDSA_P256_SHA512,
    aws_lc_rs::ECDSA_P384_SHA256,
    aws_lc_rs::ECDSA_P384_SHA384,
    aws_lc_rs::ECDSA_P384_SHA512,
    aws_lc_rs::ED25519,
    aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
    aws_lc_rs::RSA_PKCS1_2048_8192_SHA384,
    aws_lc_rs::RSA_PKCS1_2048_8192_SHA512,
    aws_lc_rs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    aws_lc_rs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    aws_lc_rs::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// An SVID may be for TLS as well, or say nothing: X509-SVID §4.4 leaves it open.
struct AnyUse;

impl ExtendedKeyUsageValidator for AnyUse {
    fn validate(&self, mut uses: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        uses.try_for_each(|purpose| purpose.map(drop))
    }
}

fn outside(window: Window, at_ms: u64, moment: Moment) -> ChainError {
    match (window.seconds_past(at_ms), window.seconds_ahead(at_ms)) {
        (None, Some(seconds)) => ChainError::NotYetValid { seconds, moment },
        (seconds, _) => ChainError::Expired { seconds: seconds.unwrap_or(0), moment },
    }
}

fn unknown(authorities: &Authorities) -> ChainError {
    ChainError::UnknownAuthority { trust_domain: authorities.trust_domain().to_owned() }
}
