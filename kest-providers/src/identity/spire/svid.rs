//! An X.509-SVID, made ready for use once.

use std::fmt;
use std::sync::Arc;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::jws::{EncodedHeader, Jws};
use kest_core::keys::Jwk;
use kest_core::text;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::signing::SigningKey;

/// An X.509-SVID with its key, which does not leave it: [`SpireProvider`](super::SpireProvider) signs with it, and its
/// TLS configurations use it.
pub struct X509Svid {
    spiffe_id: Arc<str>,
    trust_domain: Arc<str>,
    chain: Vec<Vec<u8>>,
    expires_at_ms: u64,
    hint: Option<Arc<str>>,
    key: SigningKey,
    kid: String,
    header: EncodedHeader,
    certified: Arc<CertifiedKey>,
}

impl X509Svid {
    /// Takes over what the agent sent: all that a signature or a handshake needs is made here, off the hot path.
    pub(super) fn new(svid: &spiffe::X509Svid) -> Result<Self, IdentityError> {
        let id = svid.spiffe_id();
        let unusable = |why: String| {
            let id = text::id(&id.to_string(), 200);
            let message = format!(
                "the SVID of {id} cannot be used: {why}; check the agent's `workload_x509_svid_key_type`"
            );
            IdentityError::new(IdentityErrorKind::Signing, message)
        };
        let chain: Vec<Vec<u8>> =
            svid.cert_chain().iter().map(|certificate| certificate.as_bytes().to_vec()).collect();
        let (_, leaf) = X509Certificate::from_der(svid.leaf().as_bytes())
            .map_err(|error| unusable(format!("its certificate cannot be read: {error}")))?;
        let expires_at_ms =
            u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or(0).saturating_mul(1_000);

        let pkcs8 = svid.private_key().as_bytes();
        let key = SigningKey::from_pkcs8(pkcs8)?;
        let certified = Jwk::from_spki(leaf.public_key().raw)
            .map_err(|error| unusable(format!("its public key cannot be read: {error}")))?;
        let kid = key.public_key().thumbprint();
        if certified.thumbprint() != kid {
            return Err(unusable("its certificate is of another key than it came with".to_owned()));
        }
        let tls_key = any_supported_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8)))
            .map_err(|_| unusable("its key cannot be used for TLS".to_owned()))?;
        let certificates = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        Ok(Self {
            spiffe_id: id.to_string().into(),
            trust_domain: id.trust_domain_name().into(),
            header: EncodedHeader::with_x5c(key.algorithm(), &kid, &chain),
            chain,
            expires_at_ms,
            hint: svid.hint().map(Arc::from),
            key,
            kid,
            certified: Arc::new(CertifiedKey::new(certificates, tls_key)),
        })
    }

    /// The SPIFFE ID.
    #[must_use]
    pub fn spiffe_id(&self) -> &str {
        &self.spiffe_id
    }

    /// The trust domain of the SPIFFE ID, without a scheme.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The certificate and its intermediates in DER, leaf first. SPIFFE X509-SVID §5.
    #[must_use]
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// When the certificate expires (its `notAfter`), in epoch milliseconds.
    #[must_use]
    pub fn expires_at_ms(&self) -> u64 {
        self.expires_at_ms
    }

    /// What the entry says this SVID is for, if it says so.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> &Jwk {
        self.key.public_key()
    }

    pub(super) fn shared_id(&self) -> Arc<str> {
        Arc::clone(&self.spiffe_id)
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    pub(super) fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        self.header.sign(payload, |input| self.key.sign(input))
    }
}

impl fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Svid")
            .field("spiffe_id", &self.spiffe_id)
            .field("certificates", &self.chain.len())
            .field("expires_at_ms", &self.expires_at_ms)
            .field("hint", &self.hint)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}
