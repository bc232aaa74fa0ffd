//! One authority of a trust domain.

use super::super::bundle::BundleError;
use super::super::x509::subject_public_key_info;
use crate::keys::Jwk;

#[cfg(feature = "aws-lc")]
use super::window::Window;

/// The certificate of an authority, read once.
#[derive(Clone)]
pub(in crate::verify) struct Root {
    der: Vec<u8>,
    key: Jwk,
    #[cfg(feature = "aws-lc")]
    pub(super) anchor: rustls_pki_types::TrustAnchor<'static>,
    #[cfg(feature = "aws-lc")]
    pub(super) window: Window,
}

impl Root {
    pub(in crate::verify) fn read(der: &[u8]) -> Result<Self, BundleError> {
        let spki = subject_public_key_info(der).map_err(BundleError::Certificate)?;
        let key = Jwk::from_spki(spki).map_err(BundleError::Key)?;
        #[cfg(feature = "aws-lc")]
        let (anchor, window) = authority(der)?;
        Ok(Self {
            der: der.to_vec(),
            key,
            #[cfg(feature = "aws-lc")]
            anchor,
            #[cfg(feature = "aws-lc")]
            window,
        })
    }

    pub(in crate::verify) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(in crate::verify) fn key(&self) -> &Jwk {
        &self.key
    }
}

#[cfg(feature = "aws-lc")]
fn authority(der: &[u8]) -> Result<(rustls_pki_types::TrustAnchor<'static>, Window), BundleError> {
    use super::super::x509::CertificateError;

    let unreadable = || BundleError::Certificate(CertificateError::Expected { what: "an X.509 certificate" });
    let certificate = super::path::read(der).ok_or_else(unreadable)?;
    if !super::path::may_sign(&certificate) {
        return Err(BundleError::NotAnAuthority);
    }
    let borrowed = rustls_pki_types::CertificateDer::from(der);
    let anchor = webpki::anchor_from_trusted_cert(&borrowed).map_err(|_| unreadable())?;
    Ok((anchor.to_owned(), super::path::window(&certificate)))
}
