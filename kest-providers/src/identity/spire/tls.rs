//! Mutual TLS with the SVID, through rustls. RFC 8446, SPIFFE X509-SVID §5.

use std::sync::Arc;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    ServerConfig, SignatureScheme, SupportedProtocolVersion,
};

use super::SpireProvider;
use super::chain::{self, Purpose};
use super::peers::PeerAuthorizer;
use super::settings::TlsMinVersion;

/// Which side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsRole {
    /// The side that connects.
    Client,
    /// The side that accepts.
    Server,
}

/// A configuration for one side.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TlsContext {
    /// For the side that connects.
    Client(Arc<ClientConfig>),
    /// For the side that accepts.
    Server(Arc<ServerConfig>),
}

impl SpireProvider {
    /// A configuration for mutual TLS with the workloads of one's own trust domain.
    ///
    /// # Errors
    /// As [`Self::tls_client_config`].
    pub async fn create_tls_context(&self, role: TlsRole) -> Result<TlsContext, IdentityError> {
        let peers = PeerAuthorizer::own_trust_domain();
        match role {
            TlsRole::Client => Ok(TlsContext::Client(Arc::new(self.tls_client_config(peers).await?))),
            TlsRole::Server => Ok(TlsContext::Server(Arc::new(self.tls_server_config(peers).await?))),
        }
    }

    /// A configuration for connecting with mutual TLS to the peers that `peers` allows. What it is asked to call the
    /// server does not matter: the server is who its SPIFFE ID says.
    ///
    /// It stays good across rotations: each handshake takes the SVID and the bundles of its time. Sessions are never
    /// resumed, because a resumed one would not look at certificates again. ALPN protocols may be set on it.
    ///
    /// # Errors
    /// As [`Self::get_svid`].
    pub async fn tls_client_config(&self, peers: PeerAuthorizer) -> Result<ClientConfig, IdentityError> {
        self.initialize().await?;
        let material = self.material(peers);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&material.crypto))
            .with_protocol_versions(self.versions())
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&material) as _)
            .with_client_cert_resolver(material);
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// A configuration for accepting mutual TLS from the peers that `peers` allows; else as
    /// [`Self::tls_client_config`].
    ///
    /// # Errors
    /// As [`Self::get_svid`].
    pub async fn tls_server_config(&self, peers: PeerAuthorizer) -> Result<ServerConfig, IdentityError> {
        self.initialize().await?;
        let material = self.material(peers);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&material.crypto))
            .with_protocol_versions(self.versions())
            .map_err(unusable)?
            .with_client_cert_verifier(Arc::clone(&material) as _)
            .with_cert_resolver(material);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn material(&self, peers: PeerAuthorizer) -> Arc<Material> {
        // Not the process's default provider, which is the application's to choose.
        Arc::new(Material { provider: self.clone(), peers, crypto: Arc::new(aws_lc_rs::default_provider()) })
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        static FROM_1_2: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
        static FROM_1_3: &[&SupportedProtocolVersion] = &[&TLS13];
        match self.0.state.settings.tls_min_version {
            TlsMinVersion::V1_2 => FROM_1_2,
            TlsMinVersion::V1_3 => FROM_1_3,
        }
    }
}

/// What a handshake asks for, answered from what the provider holds at that moment.
#[derive(Debug)]
struct Material {
    provider: SpireProvider,
    peers: PeerAuthorizer,
    crypto: Arc<CryptoProvider>,
}

impl Material {
    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        match self.provider.held(|svid| svid.certified()) {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(target: "kest", %error, "a TLS handshake fails: there is no valid SVID");
                None
            }
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: Purpose,
    ) -> Result<(), Error> {
        let refused = |error: IdentityError| {
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
        };
        let own = self.provider.held(|svid| svid.trust_domain().to_owned()).map_err(refused)?;
        let own = own.ok_or_else(|| refused(self.provider.0.state.no_svid()))?;
        let bundles = self.provider.bundles().map_err(refused)?;
        let proven = chain::validate(leaf, intermediates, &bundles, now, purpose).map_err(refused)?;
        if self.peers.allows(&proven.id, &own) {
            return Ok(());
        }
        let id = text::id(&proven.id, 200);
        let message = format!("the peer {id} is not one that this TLS configuration allows");
        Err(refused(IdentityError::new(IdentityErrorKind::Refused, message)))
    }

    fn verify_tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.crypto.signature_verification_algorithms,
        )
    }

    fn verify_tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.crypto.signature_verification_algorithms,
        )
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.crypto.signature_verification_algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Material {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Material {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }
}

impl ServerCertVerifier for Material {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, intermediates, now, Purpose::TlsServer).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Material {
    /// No names: they would tell strangers whom the server trusts, and change with each bundle.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, intermediates, now, Purpose::TlsClient).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

fn unusable(error: Error) -> IdentityError {
    IdentityError::new(IdentityErrorKind::Refused, format!("no TLS configuration can be made: {error}"))
        .with_source(error)
}
