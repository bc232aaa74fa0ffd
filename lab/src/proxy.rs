//! What stands between a client of AWS and a server that plays it.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// An answer as it goes over the wire.
type Answer = io::Result<Vec<u8>>;

/// Passes requests on to a loopback port, one on each connection.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
}

impl Proxy {
    /// Starts it. `between` has the operation of each request, in small letters, and a function that asks the server;
    /// what it gives is the answer: the server's, another, or none.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start<F>(target: u16, between: F) -> Self
    where
        F: Fn(&str, &dyn Fn() -> Answer) -> Answer + Send + Sync + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let between = Arc::new(between);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let between = Arc::clone(&between);
                // A client or a server that is gone ends only its own connection.
                thread::spawn(move || drop(pass(stream, target, &*between)));
            }
        });
        Self { port }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// One request and its answer, unchanged but for `connection`.
fn pass(
    mut client: TcpStream,
    target: u16,
    between: &dyn Fn(&str, &dyn Fn() -> Answer) -> Answer,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mut body = vec![0; header("content-length:").map_or(0, |length| length.parse().unwrap())];
    client.read_exact(&mut body)?;
    let operation = header("x-amz-target:").and_then(|target| target.rsplit('.').next()).unwrap_or_default();
    head.truncate(head.len() - 2);
    let ask = || {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, target))?;
        server.write_all(&head)?;
        server.write_all(b"connection: close\r\n\r\n")?;
        server.write_all(&body)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    };
    client.write_all(&between(operation, &ask)?)
}
