//! Mutual TLS by SPIFFE identities: a server that tells every request who its peer is, and a connector that tells every
//! response who the server was. RFC 8446, SPIFFE X509-SVID §5, spec §12.
//!
//! A lineage is worth what its sender proves. Behind [`TlsServer`] that is the SPIFFE ID of the certificate that the
//! connection was made with: it is in the extensions of each request as a [`PeerIdentity`](crate::PeerIdentity),
//! where the lineage layer looks for it, and no header can put it there.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use kest_http::tls::{SpiffeConnector, TlsServer};
//! use kest_providers::identity::spire::{PeerAuthorizer, SpireProvider};
//!
//! # async fn example(stop: tokio::sync::oneshot::Receiver<()>) -> Result<(), Box<dyn std::error::Error>> {
//! let identity = SpireProvider::from_env()?;
//!
//! // Accept whoever is of one's own trust domain.
//! let config = identity.tls_server_config(PeerAuthorizer::own_trust_domain()).await?;
//! let app: Router = Router::new().route("/", get(|| async { "hello" }));
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:8443").await?;
//! let stopped = async {
//!     let _ = stop.await;
//! };
//! tokio::spawn(TlsServer::new(config).serve(listener, app, stopped));
//!
//! // Connect to one workload and no other.
//! let stock = PeerAuthorizer::ids(["spiffe://kest.internal/stock"])?;
//! let connector = SpiffeConnector::new(identity.tls_client_config(stock).await?);
//! # let _ = connector;
//! # Ok(())
//! # }
//! ```

mod connection;
mod connector;
mod error;
mod handshakes;
mod peer;
mod pinned;
mod server;

pub use self::connector::{Connecting, SpiffeConnector, SpiffeStream};
pub use self::error::{ConnectError, ConnectErrorKind};
pub use self::pinned::{Pinned, PinnedLayer};
pub use self::server::TlsServer;

/// RFC 7301 §6, RFC 9113 §3.2.
const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";
