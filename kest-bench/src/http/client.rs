//! Who asks: a process of its own, so that what the service's process works is the service's.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use crate::Result;

/// A client process with its requests.
pub(super) struct Client {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Client {
    /// Starts it, with a token and the `baggage` of each request.
    pub(super) fn start(connections: usize, token: &str, baggages: &[String]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command
            .args(["client", &connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut orders = child.stdin.take().ok_or("the client takes no orders")?;
        let answers = BufReader::new(child.stdout.take().ok_or("the client gives no answers")?);
        writeln!(orders, "{}\n{token}", baggages.len())?;
        for baggage in baggages {
            writeln!(orders, "{baggage}")?;
        }
        Ok(Self { child, orders: Some(orders), answers })
    }

    /// Makes so many requests, from that one on, and says in how many nanoseconds all were answered.
    pub(super) fn run(&mut self, port: u16, from: usize, count: usize) -> Result<f64> {
        let orders = self.orders.as_mut().ok_or("the client takes no orders")?;
        writeln!(orders, "{port} {from} {count}")?;
        orders.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer.trim().parse().map_err(|_| "the client failed, see above")?)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It ends when there are no more orders.
        self.orders = None;
        let _ = self.child.wait();
    }
}

/// The process.
pub(crate) fn run(connections: usize) -> Result<()> {
    let mut lines = io::stdin().lock().lines();
    let mut line = || lines.next().transpose();
    let number = line()?.ok_or("no requests")?.parse()?;
    let token = line()?.ok_or("no token")?;
    let mut requests = Vec::with_capacity(number);
    for _ in 0..number {
        let baggage = line()?.ok_or("too few requests")?;
        requests.push(format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nbaggage: {baggage}\r\n\r\n"
        ));
    }
    let requests = Arc::new(requests);
    while let Some(order) = line()? {
        let mut numbers = order.split(' ').map(str::parse::<usize>);
        let (Some(port), Some(from), Some(count)) =
            (numbers.next().transpose()?, numbers.next().transpose()?, numbers.next().transpose()?)
        else {
            return Err(format!("the order `{order}` is none").into());
        };
        let ns = all(&requests, connections, u16::try_from(port)?, from, count)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{ns}")?;
        out.flush()?;
    }
    Ok(())
}

fn all(requests: &Arc<Vec<String>>, connections: usize, port: u16, from: usize, count: usize) -> Result<f64> {
    let ready = Arc::new(Barrier::new(connections + 1));
    let threads: Vec<_> = (0..connections)
        .map(|number| {
            let (requests, ready) = (Arc::clone(requests), Arc::clone(&ready));
            let connected = TcpStream::connect(("127.0.0.1", port));
            thread::spawn(move || {
                ready.wait();
                let mut stream = connected?;
                stream.set_nodelay(true)?;
                let mine = (from..from + count).skip(number).step_by(connections);
                mine.map(|index| index % requests.len()).try_for_each(|index| {
                    let request = requests.get(index).ok_or("there is no such request")?;
                    one(&mut stream, request)
                })
            })
        })
        .collect();
    ready.wait();
    let start = Instant::now();
    for thread in threads {
        let done: Result<()> = thread.join().map_err(|_| "a thread of the client panicked")?;
        done?;
    }
    Ok(crate::clock::since(start))
}

/// A request and the whole of its answer, which must be good.
fn one(stream: &mut TcpStream, request: &str) -> Result<()> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::with_capacity(1_024);
    let mut part = [0; 4_096];
    loop {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err("the service hung up".into());
        }
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
        let text = std::str::from_utf8(&answer)?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(Ok(0), str::parse::<usize>)? {
            return match head.starts_with("HTTP/1.1 200 ") {
                true => Ok(()),
                false => Err(format!("the service answered: {text}").into()),
            };
        }
    }
}
