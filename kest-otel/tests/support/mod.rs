//! Protected calls without the attribute, a place for files, and a look at what was logged.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::future::Future;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use kest_core::__private::{CallSpec, Invocation, begin, begin_sync, in_scope, run_in_scope};
use kest_core::error::Error;
use kest_core::{Kest, KestBuilder};
use kest_providers::identity::LocalEd25519Provider;
use kest_providers::policy::MockPolicyEngine;
use serde_json::Value;

/// There is one tracer provider in a process, so tests that set it run one after the other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn workload(name: &str) -> Arc<LocalEd25519Provider> {
    Arc::new(LocalEd25519Provider::new().unwrap().with_workload_id(format!("spiffe://kest.test/{name}")))
}

/// Allows all but the policy `deny`.
pub(crate) fn builder() -> KestBuilder {
    Kest::builder().identity(workload("shop")).engine(MockPolicyEngine::allowing(["allow"])).without_config()
}

pub(crate) fn kest() -> Kest {
    builder().build().unwrap()
}

const PLAIN: CallSpec = CallSpec {
    operation: "",
    span: "",
    function: "tests::protected",
    policies: &["allow"],
    classification: "system",
    source_type: None,
    added_taints: &[],
    removed_taints: &[],
    trust_override: None,
    sanitizer: false,
    labels: &[],
    config_seen: None,
};

fn spec(operation: &str, policies: &'static [&'static str]) -> &'static CallSpec {
    let span = format!("kest.verified.{operation}").leak();
    let operation = operation.to_owned().leak();
    Box::leak(Box::new(CallSpec { operation, span, policies, ..PLAIN }))
}

/// A protected function that is not async.
pub(crate) fn call<R>(operation: &str, body: impl FnOnce() -> R) -> Result<R, Error> {
    let live = begin_sync(Invocation::new(spec(operation, &["allow"])))?;
    Ok(run_in_scope(live, |_| false, body))
}

/// One that ends with an error of its own.
pub(crate) fn failing(operation: &str) {
    let live = begin_sync(Invocation::new(spec(operation, &["allow"]))).unwrap();
    run_in_scope(live, |_| true, || ());
}

/// One that no policy allows.
pub(crate) fn denied(operation: &str) -> Error {
    match begin_sync(Invocation::new(spec(operation, &["deny"]))) {
        Err(error) => error,
        Ok(_) => panic!("`{operation}` was allowed"),
    }
}

/// An async protected function.
pub(crate) async fn call_async<F: Future>(operation: &str, body: F) -> Result<F::Output, Error> {
    let live = begin(Invocation::new(spec(operation, &["allow"]))).await?;
    Ok(in_scope(live, |_| false, body).await)
}

/// A folder of its own that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kest-otel-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A span as a line of a file has it, its attributes by name.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) span: Value,
    pub(crate) service: Value,
    pub(crate) scope: Value,
}

impl Seen {
    pub(crate) fn attribute(&self, name: &str) -> Option<&Value> {
        let mut all = self.span["attributes"].as_array().unwrap().iter().filter(|kv| kv["key"] == name);
        let first = all.next();
        assert!(all.next().is_none(), "`{name}` stands there twice");
        first.map(|kv| kv["value"].as_object().unwrap().values().next().unwrap())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.attribute(name).map(|value| value.as_str().unwrap())
    }

    pub(crate) fn trace(&self) -> &str {
        self.span["traceId"].as_str().unwrap()
    }

    pub(crate) fn id(&self) -> &str {
        self.span["spanId"].as_str().unwrap()
    }

    pub(crate) fn parent(&self) -> Option<&str> {
        self.span.get("parentSpanId").map(|id| id.as_str().unwrap())
    }
}

pub(crate) fn read(path: &str) -> Vec<Seen> {
    std::fs::read_to_string(path).unwrap().lines().map(seen).collect()
}

pub(crate) fn seen(line: &str) -> Seen {
    let line: Value = serde_json::from_str(line).unwrap();
    let of_resource = &line["resourceSpans"][0];
    let attributes = of_resource["resource"]["attributes"].as_array().unwrap();
    let service = attributes.iter().find(|kv| kv["key"] == "service.name").unwrap();
    let of_scope = &of_resource["scopeSpans"][0];
    assert_eq!(of_scope["spans"].as_array().unwrap().len(), 1);
    Seen {
        span: of_scope["spans"][0].clone(),
        service: service["value"]["stringValue"].clone(),
        scope: of_scope["scope"]["name"].clone(),
    }
}

/// The one span of this name.
pub(crate) fn named<'a>(spans: &'a [Seen], name: &str) -> &'a Seen {
    let mut found = spans.iter().filter(|seen| seen.span["name"] == name);
    let first = found.next().unwrap_or_else(|| panic!("no span `{name}` in {spans:#?}"));
    assert!(found.next().is_none(), "`{name}` stands there twice");
    first
}

pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// What the process logs from now on, as text. One a process.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn start() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        log
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers every request with this, and hands on what came.
pub(crate) fn answering(answer: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            let head = loop {
                let read = stream.read(&mut part).unwrap();
                request.extend_from_slice(&part[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.to_lowercase().lines().find_map(|line| {
                    line.strip_prefix("content-length: ").map(|length| length.parse::<usize>().unwrap())
                });
                if request.len() >= head.len() + 4 + length.unwrap() || read == 0 {
                    break head.to_owned();
                }
            };
            stream.write_all(answer.as_bytes()).unwrap();
            let _ = sender.send(head);
        }
    });
    (address, receiver)
}
