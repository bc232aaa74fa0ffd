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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{ErrorKind, Read};
    use std::net::{Ipv4Addr, TcpListener};
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::address::Plain;

    #[tokio::test]
    async fn a_connection_that_was_given_up_counts_until_it_is_closed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let endpoint = Endpoint::new("the server", &url, Plain::Here).unwrap();
        let pool = Pool::new(1, Duration::from_secs(60), Tls::new(b"").unwrap());
        for _ in 0..5 {
            let given_up = pool.connect(&endpoint).await.unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            drop(given_up);
            // Its socket is open until its task runs.
            let mut next = pin!(pool.connect(&endpoint));
            let waits = poll_fn(|context| Poll::Ready(next.as_mut().poll(context).is_pending())).await;
            assert!(waits);
            assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
            let next = next.await.unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0, "closed before there is another");
            listener.accept().unwrap();
            drop(next);
        }
    }
}
