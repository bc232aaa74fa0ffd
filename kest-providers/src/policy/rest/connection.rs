//! Connections: never more than so many, and used again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::address::Endpoint;
use super::tls::Tls;

/// One connection, which nobody else uses. Dropped, it is closed, whatever is under way on it.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    /// Whether it has carried a request before.
    pub(super) used: bool,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connections that nobody uses just now.
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
    /// Sockets that may be open.
    sockets: Arc<Semaphore>,
    /// How long a connection is kept.
    keep: Duration,
    tls: Tls,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// How long a connection may take to be ready for the next request, once its answer is there. It most often is.
const SETTLE: Duration = Duration::from_millis(50);

impl Pool {
    pub(super) fn new(sockets: usize, keep: Duration, tls: Tls) -> Self {
        let sockets = Arc::new(Semaphore::new(sockets));
        Self { idle: Mutex::new(Vec::new()), sockets, keep, tls }
    }

    /// The connection that was used last, if it is still good.
    pub(super) fn idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        // A server closes what nobody uses for long, maybe just when a request is on its way.
        idle.retain(|kept| kept.since.elapsed() < self.keep && kept.connection.sender.is_ready());
        idle.pop().map(|kept| kept.connection)
    }

    /// A new connection.
    pub(super) async fn connect(&self, to: &Endpoint) -> io::Result<Connection> {
        // A connection that was given up may not be closed yet.
        let socket = Arc::clone(&self.sockets).acquire_owned().await.map_err(io::Error::other)?;
        let stream = to.connect().await?;
        match &to.tls {
            None => begin(stream, socket).await,
            Some(name) => {
                let connector = self.tls.connector().await?;
                begin(connector.connect(name.clone(), stream).await?, socket).await
            }
        }
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) async fn give_back(&self, mut connection: Connection) {
        if !connection.sender.is_ready()
            && !matches!(tokio::time::timeout(SETTLE, connection.sender.ready()).await, Ok(Ok(())))
        {
            return;
        }
        connection.used = true;
        self.idle.lock().push(Idle { connection, since: Instant::now() });
    }
}

async fn begin<S>(stream: S, socket: OwnedSemaphorePermit) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let task = tokio::spawn(async move {
        // Whoever waits for an answer on it learns why it ended.
        let _ = connection.await;
        drop(socket);
    });
    Ok(Connection { sender, used: false, task: task.abort_handle() })
}
