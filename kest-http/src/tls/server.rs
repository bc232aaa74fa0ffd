//! Accepts connections, and holds as many as it may.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::pin;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use super::connection::{self, Limits};
use super::handshakes::Handshakes;
use super::{HTTP_1_1, HTTP_2};

/// A server that speaks HTTP/1.1 and HTTP/2 over TLS and puts the [`PeerIdentity`](crate::PeerIdentity) of the
/// connection into each request.
///
/// What strangers can hold is bounded: a handshake has its time, there are so many of them at once, and when there are
/// more the oldest gives way, so that sockets on which nothing is said keep nobody out. What is bounded for peers that
/// have proven who they are: the number of connections, how long one may take to send a head, and the age of a
/// connection, after which the peer shows what certificate it has by then.
#[derive(Debug, Clone)]
#[must_use = "a server serves once `serve` is called"]
pub struct TlsServer {
    config: Arc<ServerConfig>,
    handshake_timeout: Duration,
    handshakes: usize,
    connections: usize,
    limits: Limits,
    grace: Duration,
}

/// After an error that is none of a connection's, as when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(200);

impl TlsServer {
    /// A server with this configuration, as `SpireProvider::tls_server_config` makes it. The protocols that it offers
    /// (ALPN) are set here.
    pub fn new(mut config: ServerConfig) -> Self {
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
        Self {
            config: Arc::new(config),
            handshake_timeout: Duration::from_secs(10),
            handshakes: 1_024,
            connections: 10_000,
            limits: Limits::default(),
            grace: Duration::from_secs(30),
        }
    }

    /// How long a handshake may take: 10 s.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// How many handshakes there may be at once: 1,024. At least one.
    pub fn handshakes(mut self, limit: usize) -> Self {
        self.handshakes = limit.max(1);
        self
    }

    /// How many connections there may be at once after their handshakes: 10,000. One more is closed. At least one.
    pub fn connections(mut self, limit: usize) -> Self {
        self.connections = limit.max(1);
        self
    }

    /// How long a peer of HTTP/1.1 may take to send the head of a request, idle or not, and one of HTTP/2 to answer a
    /// ping: 30 s.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.limits.idle = limit;
        self
    }

    /// How old a connection may be: one hour. It then takes no more requests, and the peer makes another, with a
    /// handshake.
    pub fn connection_age(mut self, limit: Duration) -> Self {
        self.limits.age = limit;
        self
    }

    /// How many requests one connection of HTTP/2 may have at once: 200.
    pub fn concurrent_streams(mut self, limit: u32) -> Self {
        self.limits.streams = limit;
        self
    }

    /// How long requests may go on when the server ends: 30 s.
    pub fn grace(mut self, limit: Duration) -> Self {
        self.grace = limit;
        self
    }

    /// Serves until `shutdown` is ready; then accepts nothing more and lets the requests end that there are. Dropping
    /// the future closes everything at once.
    ///
    /// `service` is cloned for each request: an axum `Router`, tonic `Routes`, or any tower service.
    ///
    /// # Errors
    /// When the listener has no address any more. What happens on a connection is no error of the server.
    pub async fn serve<S, B>(
        self,
        listener: TcpListener,
        service: S,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        listener.local_addr()?;
        let mut handshakes =
            Handshakes::new(Arc::clone(&self.config), self.handshake_timeout, self.handshakes);
        let mut connections = JoinSet::new();
        let (stop, stopping) = watch::channel(false);
        pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => handshakes.begin(stream),
                    Err(error) => after(&error).await,
                },
                Some(shaken) = handshakes.next() => {
                    let Some(stream) = shaken else { continue };
                    if connections.len() >= self.connections {
                        tracing::warn!(
                            target: "kest",
                            limit = self.connections,
                            "a TLS connection is closed: there are as many as `TlsServer::connections` allows",
                        );
                        continue;
                    }
                    connections.spawn(connection::serve(stream, service.clone(), self.limits, stopping.clone()));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        drop((listener, handshakes));
        let _ = stop.send(true);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(self.grace, all).await.is_err() {
            tracing::warn!(target: "kest", "requests are cut off: they took longer than the server's grace");
        }
        Ok(())
    }
}

/// A connection that failed before it was accepted says nothing about the next one (accept(2)).
async fn after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    tracing::error!(target: "kest", %error, "connections cannot be accepted");
    sleep(PAUSE).await;
}

/// What a handshake gives.
pub(super) type Shaken = tokio_rustls::server::TlsStream<TcpStream>;
