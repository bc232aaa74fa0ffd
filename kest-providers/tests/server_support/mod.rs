//! A loopback HTTP/1.1 server by hand, so that wrong answers are exactly as wrong as a test wants them.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod ask;
#[cfg(all(feature = "opa", feature = "cedar-agent"))]
pub(crate) mod products;

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status and a body with its length; the connection stays.
    Http(u16, String),
    /// These bytes as they are; the connection stays.
    Raw(Vec<u8>),
    /// These bytes as they are, then the end of the connection.
    Last(Vec<u8>),
    /// These bytes, then a reset.
    Reset(Vec<u8>),
    /// These bytes, then nothing more until the client gives up.
    Silent(Vec<u8>),
    /// These bytes, then the others again and again until the client gives up.
    Endless(Vec<u8>, Vec<u8>),
    /// These bytes as they are, after this time; the connection stays.
    Slow(Duration, Vec<u8>),
    /// 200 with this body, once [`Server::open`] was called.
    Held(String),
}

impl Reply {
    /// 200 with JSON.
    pub(crate) fn json(body: &str) -> Self {
        Self::Http(200, body.to_owned())
    }

    /// Bytes from a text.
    pub(crate) fn last(text: &str) -> Self {
        Self::Last(text.as_bytes().to_vec())
    }
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A server. Dropped, it closes its listener and all connections.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    accepted: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// Replies to the next requests, in order.
    next: VecDeque<Reply>,
    /// The reply to all others.
    always: Option<Reply>,
    requests: Vec<Request>,
    open: bool,
    stopped: bool,
    streams: Vec<Option<TcpStream>>,
    connected: usize,
    most: usize,
}

impl Server {
    /// A server that always answers so.
    pub(crate) fn start(reply: Reply) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), reply)
    }

    /// The same at an address, for a server that comes back.
    pub(crate) fn start_at(address: SocketAddr, reply: Reply) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        shared.state.lock().unwrap().always = Some(reply);
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                if served.state.lock().unwrap().stopped {
                    return;
                }
                served.accepted.fetch_add(1, Ordering::SeqCst);
                let served = Arc::clone(&served);
                thread::Builder::new().stack_size(128 * 1024).spawn(move || serve(stream, &served)).unwrap();
            }
        });
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers the next request so, once those before it are answered.
    pub(crate) fn then(&self, reply: Reply) {
        self.shared.state.lock().unwrap().next.push_back(reply);
    }

    /// Answers all requests so from now on.
    pub(crate) fn always(&self, reply: Reply) {
        self.shared.state.lock().unwrap().always = Some(reply);
    }

    /// Lets [`Reply::Held`] go, now and from now on.
    pub(crate) fn open(&self) {
        self.shared.state.lock().unwrap().open = true;
        self.shared.changed.notify_all();
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections at a time, at most.
    pub(crate) fn most(&self) -> usize {
        self.shared.state.lock().unwrap().most
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    /// Waits until that many requests came.
    pub(crate) fn wait_for_requests(&self, count: usize) {
        self.wait(|state| state.requests.len() >= count);
    }

    /// Waits until that many connections are open.
    pub(crate) fn wait_for_connections(&self, count: usize) {
        self.wait(|state| state.connected == count);
    }

    fn wait(&self, done: impl Fn(&State) -> bool) {
        let state = self.shared.state.lock().unwrap();
        let limit = Duration::from_secs(60);
        let (state, waited) =
            self.shared.changed.wait_timeout_while(state, limit, |state| !done(state)).unwrap();
        assert!(!waited.timed_out(), "{} requests, {} connections", state.requests.len(), state.connected);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap();
        state.stopped = true;
        for stream in state.streams.drain(..).flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        // Ends the listener's thread.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    let number = {
        let mut state = shared.state.lock().unwrap();
        state.streams.push(stream.try_clone().ok());
        state.connected += 1;
        state.most = state.most.max(state.connected);
        state.streams.len() - 1
    };
    shared.changed.notify_all();
    // A client that goes away is what some tests want.
    let _ = converse(stream, shared);
    let mut state = shared.state.lock().unwrap();
    if let Some(kept) = state.streams.get_mut(number) {
        *kept = None;
    }
    state.connected -= 1;
    drop(state);
    shared.changed.notify_all();
}

fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read(&mut reader)? {
        let reply = {
            let mut state = shared.state.lock().unwrap();
            state.requests.push(request);
            let next = state.next.pop_front();
            next.or_else(|| state.always.clone()).unwrap()
        };
        shared.changed.notify_all();
        match reply {
            Reply::Http(status, body) => whole(&mut stream, status, &body)?,
            Reply::Raw(bytes) => stream.write_all(&bytes)?,
            Reply::Last(bytes) => return stream.write_all(&bytes),
            Reply::Reset(bytes) => {
                stream.write_all(&bytes)?;
                return reset(&stream);
            }
            Reply::Silent(bytes) => {
                stream.write_all(&bytes)?;
                return until_closed(&mut stream, b"");
            }
            Reply::Endless(first, again) => {
                stream.write_all(&first)?;
                return until_closed(&mut stream, &again);
            }
            Reply::Slow(time, bytes) => {
                thread::sleep(time);
                stream.write_all(&bytes)?;
            }
            Reply::Held(body) => {
                let state = shared.state.lock().unwrap();
                let state = shared.changed.wait_while(state, |state| !state.open && !state.stopped).unwrap();
                drop(state);
                whole(&mut stream, 200, &body)?;
            }
        }
    }
    Ok(())
}

/// The next request of a connection, if there is one.
pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, target, headers, body: String::from_utf8(body).unwrap() }))
}

/// An answer with its length.
pub(crate) fn whole(stream: &mut impl Write, status: u16, body: &str) -> io::Result<()> {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes())
}

/// The last close of the socket then sends a reset instead of an end.
fn reset(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Holds the connection until the client gives up, and writes a little all the while.
fn until_closed(stream: &mut TcpStream, again: &[u8]) -> io::Result<()> {
    let pause = if again.len() > 1 { 1 } else { 20 };
    stream.set_read_timeout(Some(Duration::from_millis(pause)))?;
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                stream.write_all(again)?;
            }
            Err(error) => return Err(error),
        }
    }
}
