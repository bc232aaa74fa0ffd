//! Who is at the other end of a connection.

use std::fmt;
use std::sync::Arc;

use kest_core::verify::{SpiffeId, SpiffeIdError};

/// Who is at the other end of a connection, as the connection itself proves it. Spec §12.
///
/// A server that accepts mutual TLS puts it into the extensions of every request of the connection; a client's
/// connector puts it into those of the responses. The layers read it there and nowhere else. Headers that a proxy
/// writes, such as `X-Forwarded-Client-Cert`, are not read: whoever reaches the service past the proxy could write
/// them too. Behind a proxy that ends TLS the peer is the proxy, and lineage from others is believed by
/// `LineageLayerBuilder::allow`.
///
/// Middleware of one's own can insert one where the connection proves an identity in another way. What it says is
/// believed as it stands.
///
/// ```
/// use kest_http::PeerIdentity;
///
/// let peer = PeerIdentity::spiffe("spiffe://example.org/orders")?;
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(peer);
/// # Ok::<_, kest_core::verify::SpiffeIdError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    id: Arc<str>,
    proof: PeerProof,
}

/// What proves a [`PeerIdentity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerProof {
    /// The certificate of a TLS handshake: an X.509-SVID that was validated there.
    MutualTls,
}

impl PeerIdentity {
    /// The workload that a validated X.509-SVID names. Whoever calls this has validated the certificate.
    ///
    /// # Errors
    /// When `id` is no SPIFFE ID.
    pub fn spiffe(id: &str) -> Result<Self, SpiffeIdError> {
        Ok(Self { id: SpiffeId::parse(id)?.as_str().into(), proof: PeerProof::MutualTls })
    }

    /// The workload id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the id comes from.
    #[must_use]
    pub fn proof(&self) -> PeerProof {
        self.proof
    }
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerIdentity({} by {:?})", self.id, self.proof)
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}
