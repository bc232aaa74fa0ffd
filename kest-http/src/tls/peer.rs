//! Who a validated certificate names.

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::verify::SpiffeIdError;
use kest_providers::identity::spire::svid_workload;
use rustls::pki_types::CertificateDer;

use crate::PeerIdentity;

/// The workload of the certificates of a handshake, leaf first.
pub(super) fn named_by(certificates: &[CertificateDer<'_>]) -> Result<PeerIdentity, IdentityError> {
    let leaf = certificates.first().ok_or_else(|| {
        IdentityError::new(IdentityErrorKind::Untrusted, "the peer has shown no certificate".to_owned())
    })?;
    named(&svid_workload(leaf)?)
}

pub(super) fn named(id: &str) -> Result<PeerIdentity, IdentityError> {
    let no_id = |error: SpiffeIdError| {
        IdentityError::new(IdentityErrorKind::Untrusted, error.to_string()).with_source(error)
    };
    PeerIdentity::spiffe(id).map_err(no_id)
}
