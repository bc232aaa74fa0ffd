//! Connects to workloads.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use kest_core::text::Quoted;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::error::ConnectError;
use super::peer::named_by;
use super::{HTTP_1_1, HTTP_2};
use crate::PeerIdentity;

/// Connects by mutual TLS, whatever the scheme of the address says, and knows who the server is.
///
/// For hyper-util's `Client`, whose responses then carry the server's [`PeerIdentity`](crate::PeerIdentity) in their
/// extensions, for gRPC too (a tonic client's `with_origin` takes such a client); and for tonic's
/// `Endpoint::connect_with_connector`, where [`PinnedLayer`](super::PinnedLayer) tells it. Where a program has tonic's own
/// TLS built in (its features `tls-…`; Kest turns none of them on), tonic refuses `https` addresses of other connectors:
/// give the `Endpoint` the address with `http`, and `.origin(…)` with `https`.
///
/// ```no_run
/// use kest_http::tls::SpiffeConnector;
/// # use hyper_util::client::legacy::Client;
/// # use hyper_util::rt::TokioExecutor;
/// # fn example(config: rustls::ClientConfig) {
/// let client = Client::builder(TokioExecutor::new()).build::<_, axum::body::Body>(SpiffeConnector::new(config));
/// # let _ = client;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SpiffeConnector {
    tcp: HttpConnector,
    config: Arc<ClientConfig>,
    timeout: Duration,
    only_http_2: bool,
}

impl SpiffeConnector {
    /// A connector with this configuration, as `SpireProvider::tls_client_config` makes it: that says which servers
    /// are allowed. The protocols that it offers (ALPN) are set here.
    #[must_use]
    pub fn new(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self { tcp, config: Arc::new(config), timeout: Duration::from_secs(10), only_http_2: false }
    }

    /// Speaks HTTP/2 or not at all, as gRPC wants it.
    #[must_use]
    pub fn http2_only(mut self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![HTTP_2.to_vec()];
        self.config = Arc::new(config);
        self.only_http_2 = true;
        self
    }

    /// How long connecting and the handshake may take together: 10 s.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    async fn connect(mut self, uri: Uri) -> Result<SpiffeStream, ConnectError> {
        let (authority, tcp) = address(&uri)?;
        let name = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| ConnectError::address(format!("{} is no host name", Quoted(name))))?;
        let limit = self.timeout;
        let connected = async move {
            let stream =
                self.tcp.call(tcp).await.map_err(|error| ConnectError::unreachable(&authority, error))?;
            let connector = TlsConnector::from(self.config);
            let stream = connector
                .connect(name, stream.into_inner())
                .await
                .map_err(|error| ConnectError::handshake(&authority, error))?;
            SpiffeStream::new(stream, &authority, self.only_http_2)
        };
        let Ok(done) = timeout(limit, connected).await else {
            return Err(ConnectError::timed_out(
                uri.authority().map_or("", |authority| authority.as_str()),
                limit,
            ));
        };
        done
    }
}

impl Service<Uri> for SpiffeConnector {
    type Response = SpiffeStream;
    type Error = ConnectError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        Connecting(Box::pin(self.clone().connect(uri)))
    }
}

/// Connects; made by [`SpiffeConnector`].
#[must_use = "futures do nothing unless polled"]
pub struct Connecting(Pin<Box<dyn Future<Output = Result<SpiffeStream, ConnectError>> + Send>>);

impl std::fmt::Debug for Connecting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connecting(…)")
    }
}

impl Future for Connecting {
    type Output = Result<SpiffeStream, ConnectError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// A connection to a workload that has proven who it is.
#[derive(Debug)]
pub struct SpiffeStream {
    io: TokioIo<TlsStream<TcpStream>>,
    peer: PeerIdentity,
}

impl SpiffeStream {
    fn new(stream: TlsStream<TcpStream>, authority: &str, only_http_2: bool) -> Result<Self, ConnectError> {
        let session = stream.get_ref().1;
        let certificates =
            session.peer_certificates().ok_or_else(|| ConnectError::no_identity(authority, None))?;
        let peer =
            named_by(certificates).map_err(|error| ConnectError::no_identity(authority, Some(error)))?;
        if only_http_2 && session.alpn_protocol() != Some(HTTP_2) {
            return Err(ConnectError::protocol(authority));
        }
        Ok(Self { io: TokioIo::new(stream), peer })
    }

    /// Who the server is.
    #[must_use]
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }
}

impl Connection for SpiffeStream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.peer.clone());
        if self.io.inner().get_ref().1.alpn_protocol() == Some(HTTP_2) {
            return connected.negotiated_h2();
        }
        connected
    }
}

impl Read for SpiffeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for SpiffeStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }
}

/// The authority, and the address to connect to: port 443 where none is named, whatever the scheme (RFC 9110 §4.2.2).
fn address(uri: &Uri) -> Result<(String, Uri), ConnectError> {
    let unusable = || ConnectError::address(format!("{} names no host", Quoted(&uri.to_string())));
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(unusable)?;
    let authority = format!("{host}:{}", uri.port_u16().unwrap_or(443));
    let tcp = Uri::builder()
        .scheme("https")
        .authority(authority.as_str())
        .path_and_query("/")
        .build()
        .map_err(|_| unusable())?;
    Ok((authority, tcp))
}
