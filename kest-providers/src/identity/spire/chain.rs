//! Whether a certificate chain proves a SPIFFE ID. SPIFFE X509-SVID §5.

use std::sync::Arc;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text;
use kest_core::verify::{Moment, SpiffeId, chain_needed, chain_order, chain_refused};
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::bundle::Bundles;

/// What a valid chain proves.
pub(super) struct Proven {
    pub(super) id: Arc<str>,
    pub(super) expires_at_ms: u64,
}

/// What the certificate is shown for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    TlsClient,
    TlsServer,
    /// No handshake: a certificate of either side will do.
    Any,
}

/// Longer chains are refused unread.
const LONGEST_CHAIN: usize = 10;

/// Validates a chain, leaf first, to the bundle of the trust domain that its own SPIFFE ID names.
pub(super) fn validate(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    bundles: &Bundles,
    now: UnixTime,
    purpose: Purpose,
) -> Result<Proven, IdentityError> {
    if intermediates.len() >= LONGEST_CHAIN {
        return Err(untrusted(format!("its chain has more than {LONGEST_CHAIN} certificates")));
    }
    let read = read(leaf)?;
    let id = workload(&read)?;
    let bundle = bundles.named(id.trust_domain())?;
    let chain: Vec<&[u8]> = std::iter::once(leaf).chain(intermediates).map(|der| &**der).collect();
    chain_order(&chain).map_err(untrusted)?;
    let certificate = EndEntityCert::try_from(leaf).map_err(|error| invalid(&id, &error))?;
    // RFC 5280 §6, to the authorities of that trust domain alone.
    let path = certificate
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &bundle.anchors,
            intermediates,
            now,
            purpose,
            None,
            None,
        )
        .map_err(|error| invalid(&id, &error))?;
    chain_needed(intermediates, path.intermediate_certificates().count(), &bundle.anchors)
        .map_err(untrusted)?;
    for intermediate in path.intermediate_certificates() {
        may_sign(&intermediate.der())?;
    }
    let not_after = u64::try_from(read.validity().not_after.timestamp()).unwrap_or(0);
    Ok(Proven { id: id.as_str().into(), expires_at_ms: not_after.saturating_mul(1_000) })
}

/// The SPIFFE ID of the workload that a certificate is made out to, SPIFFE X509-SVID §2 to §4.
///
/// It says what the certificate claims, and nothing about whether that is so: for a certificate that a handshake has
/// validated, with a configuration of [`SpireProvider`](super::SpireProvider).
///
/// # Errors
/// When it is no X.509-SVID of a workload.
pub fn svid_workload(certificate: &CertificateDer<'_>) -> Result<Arc<str>, IdentityError> {
    Ok(workload(&read(certificate)?)?.as_str().into())
}

fn read<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, IdentityError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(untrusted("bytes follow its end")),
        Err(error) => Err(unreadable(error)),
    }
}

/// SPIFFE X509-SVID §2 to §4: one SPIFFE ID with a path, and no right to sign certificates.
fn workload<'a>(leaf: &'a X509Certificate<'_>) -> Result<SpiffeId<'a>, IdentityError> {
    let names = leaf.subject_alternative_name().map_err(unreadable)?;
    let mut uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => Some(Some(*uri)),
        // RFC 5280 §4.2.1.6: [6]. One that is not text is one all the same.
        GeneralName::Invalid(tag, _) if tag.0 == 6 => Some(None),
        _ => None,
    });
    let (Some(Some(uri)), None) = (uris.next(), uris.next()) else {
        return Err(untrusted("it has not exactly one URI name"));
    };
    let id = SpiffeId::parse(uri).map_err(untrusted)?;
    if id.path().is_empty() {
        return Err(untrusted("its SPIFFE ID has no path, so that it is no workload's"));
    }
    if leaf.basic_constraints().map_err(unreadable)?.is_some_and(|constraints| constraints.value.ca) {
        return Err(untrusted("it is a certificate authority's"));
    }
    match leaf.key_usage().map_err(unreadable)? {
        Some(usage) if usage.value.key_cert_sign() || usage.value.crl_sign() => {
            Err(untrusted("its key may sign certificates or revocation lists"))
        }
        Some(usage) if usage.value.digital_signature() => Ok(id),
        Some(_) | None => Err(untrusted("its key usage lacks `digitalSignature`")),
    }
}

/// RFC 5280 §4.2.1.3, which webpki leaves to its caller.
fn may_sign(der: &CertificateDer<'_>) -> Result<(), IdentityError> {
    match read(der)?.key_usage().map_err(unreadable)? {
        Some(usage) if !usage.value.key_cert_sign() => {
            Err(untrusted("a certificate above it may not sign others"))
        }
        Some(_) | None => Ok(()),
    }
}

impl ExtendedKeyUsageValidator for Purpose {
    /// SPIFFE X509-SVID §4.4: an SVID need not say it, but if it does, it names its side of a handshake.
    fn validate(&self, mut usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        match self {
            Self::TlsClient => KeyUsage::client_auth().validate(usages),
            Self::TlsServer => KeyUsage::server_auth().validate(usages),
            Self::Any => usages.try_for_each(|usage| usage.map(drop)),
        }
    }
}

fn invalid(id: &SpiffeId<'_>, error: &webpki::Error) -> IdentityError {
    let kind = match error {
        webpki::Error::CertExpired { .. } => IdentityErrorKind::SvidExpired,
        _ => IdentityErrorKind::Untrusted,
    };
    let why = chain_refused(error, id.trust_domain(), Moment::Now);
    let message = format!(
        "the certificate of {} does not lead to an authority of `{}` at this time: {why}",
        text::id(id.as_str(), 200),
        id.trust_domain()
    );
    IdentityError::new(kind, message)
}

fn unreadable(error: impl std::fmt::Display) -> IdentityError {
    untrusted(format!("it cannot be read: {error}"))
}

fn untrusted(why: impl std::fmt::Display) -> IdentityError {
    IdentityError::new(IdentityErrorKind::Untrusted, format!("the certificate is no X.509-SVID: {why}"))
}
