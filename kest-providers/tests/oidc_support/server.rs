//! A loopback HTTP server that does what it is told, also the wrong thing.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// What a path answers.
#[derive(Clone)]
pub(crate) enum Reply {
    /// 200 with a length.
    Body(Arc<[u8]>),
    /// 200 in chunks, so that nothing says how long it gets.
    Chunked(Arc<[u8]>),
    /// A status without a body.
    Status(u16),
    /// A status with a `location`.
    Redirect(u16, String),
    /// The request is taken, and nothing comes.
    Never,
    /// A header, then a byte now and then, for ever.
    Drip,
    /// The body, once [`Server::open_gate`] is called.
    Gated(Arc<[u8]>),
    /// Half of the body, then the end.
    Broken(Arc<[u8]>),
}

impl Reply {
    pub(crate) fn json(value: &Value) -> Self {
        Self::Body(value.to_string().into_bytes().into())
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Body(text.into().into_bytes().into())
    }
}

/// A server; its threads end with the process.
pub(crate) struct Server {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    replies: HashMap<String, Reply>,
    hits: HashMap<String, usize>,
    gate: bool,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&served);
                thread::spawn(move || {
                    // A client that goes away is what some tests want.
                    let _ = serve(stream, &shared);
                });
            }
        });
        Self { port, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn set(&self, path: &str, reply: Reply) {
        self.shared.state.lock().unwrap().replies.insert(path.to_owned(), reply);
    }

    /// How often the path was asked for.
    pub(crate) fn hits(&self, path: &str) -> usize {
        self.shared.state.lock().unwrap().hits.get(path).copied().unwrap_or(0)
    }

    /// Waits until the path was asked for that often.
    pub(crate) fn wait_for_hits(&self, path: &str, hits: usize) {
        let state = self.shared.state.lock().unwrap();
        let enough = |state: &mut State| state.hits.get(path).copied().unwrap_or(0) < hits;
        let (_state, timeout) =
            self.shared.changed.wait_timeout_while(state, Duration::from_secs(60), enough).unwrap();
        assert!(!timeout.timed_out(), "`{path}` was not asked for {hits} times");
    }

    pub(crate) fn open_gate(&self) {
        self.shared.state.lock().unwrap().gate = true;
        self.shared.changed.notify_all();
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let reply = {
        let mut state = shared.state.lock().unwrap();
        *state.hits.entry(path.clone()).or_default() += 1;
        shared.changed.notify_all();
        state.replies.get(&path).cloned().unwrap_or(Reply::Status(404))
    };
    match reply {
        Reply::Body(body) => whole(&mut stream, &body),
        Reply::Status(status) => write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"),
        Reply::Redirect(status, to) => {
            write!(stream, "HTTP/1.1 {status} X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
        }
        Reply::Chunked(body) => {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            for chunk in body.chunks(60_000) {
                write!(stream, "{:x}\r\n", chunk.len())?;
                stream.write_all(chunk)?;
                write!(stream, "\r\n")?;
            }
            write!(stream, "0\r\n\r\n")
        }
        Reply::Never => until_closed(&mut stream, None),
        Reply::Drip => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")?;
            until_closed(&mut stream, Some(b" "))
        }
        Reply::Gated(body) => {
            let state = shared.state.lock().unwrap();
            drop(shared.changed.wait_while(state, |state| !state.gate).unwrap());
            whole(&mut stream, &body)
        }
        Reply::Broken(body) => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len() * 2)?;
            stream.write_all(&body)
        }
    }
}

fn whole(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)
}

/// Holds the connection until the client gives up, and writes a little all the while.
fn until_closed(stream: &mut TcpStream, drip: Option<&[u8]>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if let Some(drip) = drip {
                    stream.write_all(drip)?;
                }
            }
            Err(error) => return Err(error),
        }
    }
}
