//! OpenTelemetry collectors, and what they were sent.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};

use crate::{Folder, Lab, Server, free_port, guarded, wait_for};

/// A span as a collector shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// `service.name` of its resource.
    pub service: String,
    /// Its instrumentation scope.
    pub scope: String,
    /// Its name.
    pub name: String,
    /// Its trace, in hex.
    pub trace: String,
    /// Its id, in hex.
    pub id: String,
    /// The id of its parent, empty for a root.
    pub parent: String,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
}

/// What the collectors have in common.
pub trait Collector {
    /// Where it takes gRPC.
    fn grpc(&self) -> String;
    /// Where it takes HTTP.
    fn http(&self) -> String;
    /// What it was sent so far.
    fn spans(&self) -> Vec<Collected>;

    /// Waits until it has at least so many spans of Kest, and gives them.
    ///
    /// # Panics
    /// When they do not come.
    fn wait(&self, number: usize) -> Vec<Collected> {
        wait_for(&format!("{number} spans at the collector"), Duration::from_secs(60), || {
            let mut spans = self.spans();
            spans.retain(|span| span.scope == "kest.core");
            (spans.len() >= number).then_some(spans)
        })
    }
}

/// A running rotel, which prints what it is sent.
#[derive(Debug)]
pub struct Rotel {
    ports: [u16; 2],
    server: Server,
    _folder: Folder,
}

impl Rotel {
    /// Starts it on free ports.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(lab: &Lab) -> Self {
        let folder = Folder::new();
        let (ports, server) = Server::start_again(|| {
            let ports = [free_port(), free_port()];
            // The program lies in the package, whose place depends on the version of Python.
            let mut command = guarded(lab.part("rotel/bin/python"));
            command
                .args(["-c", "import os, sys, rotel; os.execv(os.path.join(os.path.dirname(rotel.__file__), 'rotel-agent'), sys.argv)"])
                .args(["start", "--exporter", "blackhole"])
                .args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"])
                .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{}", ports[0])])
                .args(["--otlp-http-endpoint", &format!("127.0.0.1:{}", ports[1])])
                .arg("--pid-file")
                .arg(folder.path().join("pid"))
                .arg("--log-file")
                .arg(folder.path().join("rotel-daemon.log"))
                .current_dir(folder.path());
            Ok((ports, Server::start("rotel", folder.path(), command, || ports.into_iter().all(is_open))?))
        });
        Self { ports, server, _folder: folder }
    }
}

impl Collector for Rotel {
    fn grpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    fn http(&self) -> String {
        format!("http://127.0.0.1:{}/v1/traces", self.ports[1])
    }

    fn spans(&self) -> Vec<Collected> {
        printed(&fs::read_to_string(self.server.log()).unwrap())
    }
}

/// What rotel prints: indented fields, attributes as `-> name: Type(value)`, first of the resource, then of spans.
fn printed(text: &str) -> Vec<Collected> {
    let mut spans: Vec<Collected> = Vec::new();
    let (mut service, mut scope, mut in_span) = (String::new(), String::new(), false);
    // The last line may not be there as a whole.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::trim) {
        if line.starts_with("ResourceSpans #") {
            in_span = false;
        } else if let Some(name) = line.strip_prefix("InstrumentationScope ") {
            name.split(' ').next().unwrap().clone_into(&mut scope);
        } else if line.starts_with("Span #") {
            in_span = true;
            spans.push(Collected {
                service: service.clone(),
                scope: scope.clone(),
                name: String::new(),
                trace: String::new(),
                id: String::new(),
                parent: String::new(),
                attributes: BTreeMap::new(),
            });
        } else if let Some((name, value)) = line.strip_prefix("-> ").and_then(|line| line.split_once(": ")) {
            let value = value.split_once('(').and_then(|(_, value)| value.strip_suffix(')')).unwrap_or(value);
            match spans.last_mut().filter(|_| in_span) {
                Some(span) => drop(span.attributes.insert(name.to_owned(), value.to_owned())),
                None if name == "service.name" => value.clone_into(&mut service),
                None => {}
            }
        } else if let (Some(span), Some((field, value))) =
            (spans.last_mut().filter(|_| in_span), line.split_once(':'))
        {
            let value = value.trim().to_owned();
            match field.trim() {
                "Trace ID" => span.trace = value,
                "Parent ID" => span.parent = value,
                "ID" => span.id = value,
                "Name" => span.name = value,
                _ => {}
            }
        }
    }
    // One whose attributes are still to come is not there yet.
    spans.retain(|span| !span.id.is_empty() && (span.scope != "kest.core" || is_whole(span)));
    spans
}

fn is_whole(span: &Collected) -> bool {
    span.attributes.contains_key("kest.outcome")
        || span.attributes.get("kest.allowed").is_some_and(|allowed| allowed == "false")
}

/// How an [`Otelcol`] is guarded.
#[derive(Debug, Clone, Copy, Default)]
pub struct OtelcolSettings<'a> {
    /// Whether it takes TLS alone.
    pub tls: bool,
    /// The token that it demands.
    pub token: Option<&'a str>,
}

/// A running OpenTelemetry Collector, which writes what it is sent to a file.
#[derive(Debug)]
pub struct Otelcol {
    ports: [u16; 2],
    program: PathBuf,
    certificate: Option<String>,
    server: Mutex<Option<Server>>,
    folder: Folder,
}

impl Otelcol {
    /// Starts it on free ports.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(lab: &Lab, settings: OtelcolSettings<'_>) -> Self {
        let folder = Folder::new();
        let certificate = settings.tls.then(|| certify(&folder));
        let program = lab.part("otelcol/otelcol");
        let (ports, server) = Server::start_again(|| {
            let ports = [free_port(), free_port()];
            fs::write(folder.path().join("otelcol.json"), config(&folder, ports, settings).to_string())
                .unwrap();
            Ok((ports, run(&program, &folder, ports)?))
        });
        Self { ports, program, certificate, server: Mutex::new(Some(server)), folder }
    }

    /// The certificate that a client must trust, in PEM. Empty when there is no TLS.
    #[must_use]
    pub fn certificate(&self) -> &str {
        self.certificate.as_deref().unwrap_or_default()
    }

    /// Asks it to end, and waits for that.
    pub fn stop(&self) {
        if let Some(server) = self.server.lock().unwrap().take() {
            server.stop();
        }
    }

    /// Starts it again on its ports.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_anew(&self) {
        let server = run(&self.program, &self.folder, self.ports).unwrap_or_else(|error| panic!("{error}"));
        *self.server.lock().unwrap() = Some(server);
    }

    /// The lines that it wrote, as they are.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("spans.jsonl")).unwrap_or_default();
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Collector for Otelcol {
    fn grpc(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.ports[0])
    }

    fn http(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}/v1/traces", self.ports[1])
    }

    fn spans(&self) -> Vec<Collected> {
        self.lines().iter().flat_map(written).collect()
    }
}

fn run(program: &PathBuf, folder: &Folder, ports: [u16; 2]) -> Result<Server, String> {
    let mut command = guarded(program);
    command.arg("--config").arg(format!("file:{}", folder.path().join("otelcol.json").display()));
    command.current_dir(folder.path());
    Server::start("otelcol", folder.path(), command, || ports.into_iter().all(is_open))
}

/// JSON is YAML.
fn config(folder: &Folder, ports: [u16; 2], settings: OtelcolSettings<'_>) -> Value {
    let file = |name: &str| folder.path().join(name);
    let listener = |port: u16| {
        let mut listener = json!({ "endpoint": format!("127.0.0.1:{port}") });
        if settings.tls {
            listener["tls"] = json!({ "cert_file": file("cert.pem"), "key_file": file("key.pem") });
        }
        if settings.token.is_some() {
            listener["auth"] = json!({ "authenticator": "bearertokenauth" });
        }
        listener
    };
    let mut config = json!({
        "receivers": { "otlp": { "protocols": { "grpc": listener(ports[0]), "http": listener(ports[1]) } } },
        "exporters": { "file": { "path": file("spans.jsonl"), "flush_interval": "100ms", "append": true } },
        "service": {
            "telemetry": { "metrics": { "level": "none" } },
            "pipelines": { "traces": { "receivers": ["otlp"], "exporters": ["file"] } },
        },
    });
    if let Some(token) = settings.token {
        config["extensions"] = json!({ "bearertokenauth": { "token": token } });
        config["service"]["extensions"] = json!(["bearertokenauth"]);
    }
    config
}

fn certify(folder: &Folder) -> String {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs::write(folder.path().join("cert.pem"), cert.pem()).unwrap();
    fs::write(folder.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.pem()
}

/// The spans of a line of OTLP in JSON.
fn written(line: &Value) -> Vec<Collected> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attributes = |of: &Value| -> BTreeMap<String, String> {
        let plain = |value: &Value| match value.as_object().and_then(|value| value.values().next()) {
            Some(Value::String(value)) => value.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        list(&of["attributes"]).iter().map(|kv| (text(&kv["key"]), plain(&kv["value"]))).collect()
    };
    let mut spans = Vec::new();
    for of_resource in list(&line["resourceSpans"]) {
        let service = attributes(&of_resource["resource"]).remove("service.name").unwrap_or_default();
        for of_scope in list(&of_resource["scopeSpans"]) {
            spans.extend(list(&of_scope["spans"]).iter().map(|span| Collected {
                service: service.clone(),
                scope: text(&of_scope["scope"]["name"]),
                name: text(&span["name"]),
                trace: text(&span["traceId"]),
                id: text(&span["spanId"]),
                parent: text(&span["parentSpanId"]),
                attributes: attributes(span),
            }));
        }
    }
    spans
}

fn is_open(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}
