//! Whom a policy server's certificate must come from: the system's authorities, and those that were given.

use std::io;
use std::sync::{Arc, OnceLock};

use kest_core::error::PolicyUnavailable;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

use super::refuse;
use crate::errand::Errand;

/// Makes TLS connections. The system's authorities are read at the first one.
pub(super) struct Tls {
    roots: Vec<CertificateDer<'static>>,
    config: OnceLock<Arc<ClientConfig>>,
    making: Errand<Result<Arc<ClientConfig>, rustls::Error>>,
}

impl Tls {
    /// `pem`: authorities beside the system's, RFC 7468 §5; may be empty.
    pub(super) fn new(pem: &[u8]) -> Result<Self, PolicyUnavailable> {
        let no = || refuse("the root certificates are not PEM; give `BEGIN CERTIFICATE` blocks");
        let roots: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| no())?;
        let mut usable = RootCertStore::empty();
        for root in &roots {
            usable.add(root.clone()).map_err(|_| no())?;
        }
        if roots.is_empty() && !pem.is_empty() {
            return Err(no());
        }
        Ok(Self { roots, config: OnceLock::new(), making: Errand::default() })
    }

    pub(super) async fn connector(&self) -> io::Result<TlsConnector> {
        if let Some(config) = self.config.get() {
            return Ok(TlsConnector::from(Arc::clone(config)));
        }
        let made = self.making.outcome(
            |_| true,
            || {
                let roots = self.roots.clone();
                // The system's authorities are files.
                let made = tokio::task::spawn_blocking(move || config(roots));
                async { made.await.map_err(|error| rustls::Error::General(error.to_string()))?.map(Arc::new) }
            },
        );
        let made = made.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
        Ok(TlsConnector::from(Arc::clone(self.config.get_or_init(|| made))))
    }
}

fn config(roots: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
