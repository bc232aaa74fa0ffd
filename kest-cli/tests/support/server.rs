//! A server on a loopback port that answers each request as a test wants it, in exact bytes.
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    /// Dropped with the server, so that answers that never end do.
    _alive: Sender<()>,
}

#[derive(Clone)]
pub(crate) struct Request {
    /// Request line and header fields.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

impl Server {
    /// Answers with the bytes that `answer` makes, and closes the connection.
    pub(crate) fn start(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (alive, ended) = mpsc::channel();
        let (seen, answer, ended) = (Arc::clone(&requests), Arc::new(answer), Arc::new(Mutex::new(ended)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer, ended) = (Arc::clone(&seen), Arc::clone(&answer), Arc::clone(&ended));
                thread::spawn(move || {
                    // A client that went away is none of ours.
                    let _ = respond(stream.unwrap(), &seen, &*answer, &ended);
                });
            }
        });
        Self { url, requests, _alive: alive }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Vec<u8> {
        Self::text(status, "application/json", &body.to_string())
    }

    pub(crate) fn text(status: u16, kind: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!(
            "HTTP/1.1 {status} Some\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// A last piece that keeps the connection open until the server is dropped.
pub(crate) const NEVER: &[u8] = b"\0never\0";

fn respond(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &(dyn Fn(&Request) -> Vec<u8> + Send + Sync),
    ended: &Mutex<Receiver<()>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap()
            }
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => {}
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request = Request { head, body: String::from_utf8(body).unwrap() };
    seen.lock().unwrap().push(request.clone());
    let bytes = answer(&request);
    match bytes.strip_suffix(NEVER) {
        None => stream.write_all(&bytes),
        Some(bytes) => {
            stream.write_all(bytes)?;
            // An error: the other end is gone.
            let _ = ended.lock().unwrap().recv();
            Ok(())
        }
    }
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
