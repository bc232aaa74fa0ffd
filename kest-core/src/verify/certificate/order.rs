//! The one path that a chain may be: each certificate is issued by the next, and none is there for nothing.

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::Error;
use x509_parser::certificate::X509Certificate;

use super::error::{ChainError, Moment};
use super::path::read;

/// Checks that a chain, leaf first, is in order, and that no other order of it could be a path.
///
/// # Errors
/// When a certificate cannot be read, is not issued by the next, or two above the leaf have one name.
#[doc(hidden)]
pub fn chain_order(chain: &[&[u8]]) -> Result<(), ChainError> {
    one_path(&certificates(chain)?)
}

/// Checks that nothing is left of the certificates above the leaf, of which a path used the first `used`. An authority
/// may come along with its chain: that is no other path.
///
/// # Errors
/// When a certificate is left that is no authority.
#[doc(hidden)]
pub fn chain_needed(
    others: &[CertificateDer<'_>],
    used: usize,
    anchors: &[TrustAnchor<'_>],
) -> Result<(), ChainError> {
    let is_authority = |der: &CertificateDer<'_>| {
        webpki::anchor_from_trusted_cert(der).is_ok_and(|brought| {
            anchors.iter().any(|anchor| {
                anchor.subject == brought.subject
                    && anchor.subject_public_key_info == brought.subject_public_key_info
            })
        })
    };
    match others.iter().enumerate().skip(used).find(|(_, der)| !is_authority(der)) {
        Some((index, _)) => Err(ChainError::Unneeded { index: index.saturating_add(1) }),
        None => Ok(()),
    }
}

pub(super) fn certificates<'a, C: AsRef<[u8]>>(
    chain: &'a [C],
) -> Result<Vec<X509Certificate<'a>>, ChainError> {
    let certificates = chain.iter().enumerate();
    certificates.map(|(index, der)| read(der.as_ref()).ok_or(ChainError::Unreadable { index })).collect()
}

/// INVARIANT: of a chain that passes, each certificate has one issuer at most among the others. webpki, which tries
/// every certificate under every other of a fitting name, has nothing to try.
pub(super) fn one_path(certificates: &[X509Certificate<'_>]) -> Result<(), ChainError> {
    for (index, pair) in certificates.windows(2).enumerate() {
        // RFC 7515 §4.1.6.
        if let [issued, issuer] = pair
            && issued.issuer().as_raw() != issuer.subject().as_raw()
        {
            return Err(ChainError::Order { index });
        }
    }
    let mut names: Vec<&[u8]> = Vec::with_capacity(certificates.len());
    for (index, certificate) in certificates.iter().enumerate().skip(1) {
        let name = certificate.subject().as_raw();
        if names.contains(&name) {
            return Err(ChainError::SameName { index });
        }
        names.push(name);
    }
    Ok(())
}

/// Why webpki refused a chain to the authorities of a trust domain.
#[doc(hidden)]
#[must_use]
pub fn chain_refused(error: &Error, trust_domain: &str, moment: Moment) -> ChainError {
    let rule = |what| ChainError::Rule { what };
    match error {
        Error::CertExpired { time, not_after } => {
            ChainError::Expired { seconds: time.as_secs().saturating_sub(not_after.as_secs()), moment }
        }
        Error::CertNotValidYet { time, not_before } => {
            ChainError::NotYetValid { seconds: not_before.as_secs().saturating_sub(time.as_secs()), moment }
        }
        Error::UnknownIssuer => ChainError::UnknownAuthority { trust_domain: trust_domain.to_owned() },
        Error::InvalidSignatureForPublicKey => ChainError::Signature,
        Error::EndEntityUsedAsCa => ChainError::NotAnAuthority,
        Error::CaUsedAsEndEntity => ChainError::LeafIsAuthority,
        Error::PathLenConstraintViolated | Error::MaximumPathDepthExceeded => ChainError::TooLong,
        Error::MaximumSignatureChecksExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => ChainError::TooCostly,
        Error::NameConstraintViolation => ChainError::NameConstraint,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => ChainError::Algorithm,
        Error::SignatureAlgorithmMismatch => rule("a certificate names two signature algorithms"),
        Error::BadDer | Error::TrailingData(_) => rule("a certificate is not well-formed DER"),
        Error::BadDerTime => rule("a time in a certificate is malformed"),
        Error::InvalidCertValidity => rule("a certificate ends before it begins"),
        Error::InvalidSerialNumber => rule("a serial number is malformed"),
        Error::UnsupportedCertVersion => rule("a certificate is not of version 3"),
        Error::MalformedExtensions | Error::ExtensionValueInvalid => rule("an extension is malformed"),
        Error::UnsupportedCriticalExtension => rule("a critical extension is not known"),
        Error::EmptyEkuExtension => rule("an extended key usage names no usage"),
        Error::RequiredEkuNotFoundContext(_) => rule("the extended key usage is not for this"),
        Error::MalformedNameConstraint | Error::InvalidNetworkMaskConstraint => {
            rule("a name constraint is malformed")
        }
        Error::MalformedDnsIdentifier | Error::UnsupportedNameType => {
            rule("a name is malformed, or of a kind that is not known")
        }
        // What is left is about revocation lists and names of servers, neither of which is asked for, or of a later
        // webpki: refused all the same.
        _ => rule("a certificate breaks a rule of the profile"),
    }
}
