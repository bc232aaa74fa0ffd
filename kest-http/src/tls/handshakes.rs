//! The handshakes that go on: strangers, as yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::server::Shaken;

/// Handshakes, oldest first. Dropping it closes them.
pub(super) struct Handshakes {
    acceptor: TlsAcceptor,
    timeout: Duration,
    limit: usize,
    running: JoinSet<Option<Shaken>>,
    by_age: VecDeque<AbortHandle>,
}

impl Handshakes {
    pub(super) fn new(config: Arc<ServerConfig>, timeout: Duration, limit: usize) -> Self {
        let acceptor = TlsAcceptor::from(config);
        Self { acceptor, timeout, limit, running: JoinSet::new(), by_age: VecDeque::new() }
    }

    /// Begins one more. Where there are too many, the oldest ends: whoever means it is done in milliseconds.
    pub(super) fn begin(&mut self, stream: TcpStream) {
        if self.by_age.len() >= self.limit {
            self.by_age.retain(|handshake| !handshake.is_finished());
        }
        if self.by_age.len() >= self.limit
            && let Some(oldest) = self.by_age.pop_front()
        {
            oldest.abort();
            tracing::debug!(target: "kest", "a TLS handshake gives way: there are too many at once");
        }
        let _ = stream.set_nodelay(true);
        let handshake = timeout(self.timeout, self.acceptor.accept(stream));
        self.by_age.push_back(self.running.spawn(async move {
            match handshake.await {
                Ok(Ok(stream)) => Some(stream),
                Ok(Err(error)) => {
                    tracing::debug!(target: "kest", %error, "a TLS handshake fails");
                    None
                }
                Err(_) => {
                    tracing::debug!(target: "kest", "a TLS handshake takes too long");
                    None
                }
            }
        }));
    }

    /// The next that ends, well or not; `None` when there is none.
    pub(super) async fn next(&mut self) -> Option<Option<Shaken>> {
        let ended = self.running.join_next().await?;
        while self.by_age.front().is_some_and(AbortHandle::is_finished) {
            self.by_age.pop_front();
        }
        Some(ended.ok().flatten())
    }
}
