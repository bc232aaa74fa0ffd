//! A server on loopback that answers as it is told, badly.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// Sends these bytes and closes.
    Bytes(Arc<[u8]>),
    /// Sends them, then the same again and again, until nobody listens any more.
    Endless(Arc<[u8]>, Arc<[u8]>),
    /// Sends the first, then the second a byte at a time, again and again.
    Drip(Arc<[u8]>, Arc<[u8]>),
    /// Reads and never answers.
    Hang,
    /// Closes before it has read anything.
    Close,
}

/// Answers every connection once. Stops when dropped.
#[derive(Debug)]
pub(super) struct Hostile {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    reply: Mutex<Reply>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

/// How often a connection that waits looks whether the server is stopped, and the pace of a slow one.
const TICK: Duration = Duration::from_millis(20);
const MAX_REQUEST: u64 = 16 * 1024 * 1024;

impl Hostile {
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            reply: Mutex::new(Reply::Close),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let listener = thread::Builder::new().name("kest-hostile".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let serving = Arc::clone(&serving);
                // A client that goes away ends its connection, and nothing else.
                thread::spawn(move || drop(serving.serve(stream)));
            }
        })?;
        Ok(Self { address, shared, listener: Some(listener) })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn replies(&self, reply: Reply) {
        *self.shared.reply.lock() = reply;
        self.shared.connections.store(0, Ordering::SeqCst);
    }

    /// How many connections came since the reply was set. Each carries one question, as its answer ends it.
    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener; if it cannot be reached it is gone already.
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
    }
}

/// A loopback URL where nobody listens.
pub(super) fn nobody() -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(format!("http://{}", listener.local_addr()?))
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let reply = self.reply.lock().clone();
        if matches!(reply, Reply::Close) {
            return Ok(());
        }
        read_request(&stream)?;
        let mut out = &stream;
        match reply {
            Reply::Close => {}
            Reply::Bytes(bytes) => {
                out.write_all(&bytes)?;
                stream.shutdown(Shutdown::Write)?;
                // Bytes under way are lost if the other side still sends when a socket closes.
                self.until_closed(&stream)?;
            }
            Reply::Endless(head, more) => {
                out.write_all(&head)?;
                while !self.stopped.load(Ordering::SeqCst) {
                    out.write_all(&more)?;
                }
            }
            Reply::Drip(head, bytes) => {
                out.write_all(&head)?;
                for byte in bytes.chunks(1).cycle() {
                    if self.stopped.load(Ordering::SeqCst) {
                        break;
                    }
                    out.write_all(byte)?;
                    thread::sleep(TICK);
                }
            }
            Reply::Hang => self.until_closed(&stream)?,
        }
        Ok(())
    }

    fn until_closed(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(TICK))?;
        let mut rest = [0; 1024];
        while !self.stopped.load(Ordering::SeqCst) {
            match stream.read(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads a request to its end, RFC 9112 §6.
fn read_request(stream: &TcpStream) -> io::Result<()> {
    let mut request = BufReader::new(stream.take(MAX_REQUEST));
    let mut length = 0;
    let mut chunked = false;
    loop {
        let mut line = String::new();
        if request.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        }
        chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
    }
    if !chunked {
        io::copy(&mut request.take(length), &mut io::sink())?;
        return Ok(());
    }
    loop {
        let mut size = String::new();
        if request.read_line(&mut size)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = u64::from_str_radix(size.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
        io::copy(&mut request.by_ref().take(size + 2), &mut io::sink())?;
        if size == 0 {
            return Ok(());
        }
    }
}
