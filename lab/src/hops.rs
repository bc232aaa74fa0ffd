//! Services as processes of their own: the program `hop`, told by a file who it is, and by each request what to do.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};

use kest::identity::LocalEd25519Provider;
use kest::verify::{Anchors, UnverifiedPassport, VerifiedPassport, Verifier, VerifierBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Folder, Server, guarded, repository, send};

/// What a hop is told when it starts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HopConfig {
    /// Its name, and that of its log.
    pub name: String,
    /// The operation that its entries record, if it is not the name.
    pub operation: Option<String>,
    /// Its loopback port.
    pub port: u16,
    /// Whether the SPIRE agent that `SPIFFE_ENDPOINT_SOCKET` names attests it. Else it has [`local_identity`].
    pub spire: bool,
    /// Whether it takes mutual TLS alone.
    pub tls: bool,
    /// Whose keys it knows beside those of its trust bundles: trust anchors.
    pub anchors: Option<Value>,
    /// Whose lineage it believes, whoever sends it.
    pub allow: Vec<String>,
    /// The policies of what it does, in `lab/rego`.
    pub policies: Vec<String>,
    /// The hosts that may have its lineage.
    pub hosts: Vec<String>,
    /// The hosts that may have the token.
    pub jwt_hosts: Vec<String>,
    /// Whether it asks for lineage back, and gives it.
    pub returned: bool,
    /// Which hosts may bring back whose entries over connections that name nobody.
    pub callees: Vec<(String, String)>,
    /// Whose tokens it demands, for the audience `kest`.
    pub issuer: Option<String>,
    /// Where its claim checks are.
    pub redis: Option<RedisAt>,
    /// How much it writes into a header, always compressed, and takes from one.
    pub header_bytes: Option<usize>,
    /// How much of a lineage it writes into a header.
    pub tier_bytes: Option<usize>,
    /// How many entries it sends and takes.
    pub entries: Option<usize>,
    /// Whether it writes and reads the Python package's forms.
    pub python: bool,
    /// The collector that gets its spans.
    pub otlp: Option<String>,
}

impl HopConfig {
    /// The operation that its entries record.
    #[must_use]
    pub fn operation(&self) -> &str {
        self.operation.as_deref().unwrap_or(&self.name)
    }
}

/// How a hop reaches its Redis.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RedisAt {
    /// The URL, without a password.
    pub url: String,
    /// The password.
    pub password: String,
    /// The certificate authority in PEM.
    pub ca: String,
}

/// What a request asks of a hop, step by step.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plan(pub Vec<Step>);

/// A step of a [`Plan`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// So many protected calls, one after the other.
    Repeat(usize),
    /// A call to another service.
    Call(Call),
    /// Calls at the same time.
    Join(Vec<Call>),
}

/// A call to another service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// How.
    pub via: Via,
    /// Where: scheme, host and port.
    pub origin: String,
    /// The SPIFFE ID of the only server that it may be, for [`Via::PinnedGrpc`].
    pub peer: Option<String>,
    /// What that service is to do.
    pub plan: Plan,
}

/// How a hop calls another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// HTTP/1.1 by reqwest.
    Http1,
    /// HTTP/2 by reqwest.
    Http2,
    /// gRPC by tonic's channel, without TLS.
    Grpc,
    /// Mutual TLS by hyper-util's client.
    Mtls,
    /// gRPC over mutual TLS by hyper-util's client.
    MtlsGrpc,
    /// gRPC over mutual TLS by tonic's channel, to one workload and no other.
    PinnedGrpc,
}

/// A step that calls.
#[must_use]
pub fn call(via: Via, origin: impl Into<String>, plan: impl Into<Vec<Step>>) -> Step {
    Step::Call(Call { via, origin: origin.into(), peer: None, plan: Plan(plan.into()) })
}

/// Who a hop without SPIRE is: anybody could be it, as its key is made from its name.
///
/// # Panics
/// When the name is longer than a seed.
#[must_use]
pub fn local_identity(name: &str) -> LocalEd25519Provider {
    let mut seed = [0; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    LocalEd25519Provider::dangerous_from_seed(seed).unwrap().with_workload_id(local_id(name))
}

/// The workload id of a hop without SPIRE.
#[must_use]
pub fn local_id(name: &str) -> String {
    format!("spiffe://kest.internal/hop/{name}")
}

/// The trust anchors of hops without SPIRE.
///
/// # Panics
/// When two have one name.
#[must_use]
pub fn local_anchors(names: &[&str]) -> Value {
    let mut anchors = Anchors::new();
    for name in names {
        anchors.merge(Anchors::from_provider(&local_identity(name)).unwrap()).unwrap();
    }
    anchors.to_json()
}

/// Verifies a passport as an auditor does who has the anchors: strictly.
///
/// # Panics
/// When it does not verify.
#[must_use]
pub fn audit(passport: &Value, anchors: &Value) -> VerifiedPassport {
    verified(passport, anchors, Verifier::builder().strict())
}

/// The same where entries of others than Kest for Rust are in it, whose departures from the rules are findings.
///
/// # Panics
/// When it does not verify.
#[must_use]
pub fn audit_mixed(passport: &Value, anchors: &Value) -> VerifiedPassport {
    verified(passport, anchors, Verifier::builder())
}

fn verified(passport: &Value, anchors: &Value, verifier: VerifierBuilder) -> VerifiedPassport {
    let anchors = Anchors::from_json(anchors.to_string().as_bytes()).unwrap();
    UnverifiedPassport::deserialize(&passport.to_string())
        .unwrap()
        .verify(&verifier.keys(anchors).build())
        .unwrap_or_else(|error| panic!("{error}: {}", operations(passport).join(" ")))
}

/// The operations of a passport's entries, in order, unverified.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn operations(passport: &Value) -> Vec<String> {
    let operation = |jws: &Value| {
        let payload = jws.as_str().unwrap().split('.').nth(1).unwrap();
        let payload = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).unwrap();
        serde_json::from_slice::<Value>(&payload).unwrap()["operation"].as_str().unwrap().to_owned()
    };
    passport.as_array().unwrap().iter().map(operation).collect()
}

/// What a hop answered.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// What it said.
    pub body: Value,
}

impl Answered {
    /// The body of a success.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn good(self) -> Value {
        assert_eq!(self.status, 200, "{:#}", self.body);
        self.body
    }
}

/// A running hop.
#[derive(Debug)]
pub struct Hop {
    config: HopConfig,
    server: Server,
}

impl Hop {
    /// Starts `program`, which is the program `hop` or a copy of it, as `config` says, on the port there.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(folder: &Folder, program: &Path, config: HopConfig, spire: Option<&str>) -> Self {
        let path = folder.path().join(format!("{}.json", config.name));
        fs::write(&path, serde_json::to_vec_pretty(&config).unwrap()).unwrap();
        let mut command = guarded(program);
        command.arg(&path).env("RUST_BACKTRACE", "1");
        if let Some(endpoint) = spire {
            command.env("SPIFFE_ENDPOINT_SOCKET", endpoint);
        }
        let port = config.port;
        let up = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        let server = Server::start(&config.name, folder.path(), command, up);
        Self { server: server.unwrap_or_else(|error| panic!("{error}")), config }
    }

    /// Where it listens: `http://127.0.0.1:<port>`, or `https` for mutual TLS.
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme = if self.config.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.config.port)
    }

    /// Sends it a plan, as a client does that has no lineage.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn ask(&self, headers: &[(&str, &str)], plan: impl Into<Vec<Step>>) -> Answered {
        ask_hop(self.config.port, headers, plan)
    }

    /// The process.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }
}

/// Sends a plan to a loopback port.
///
/// # Panics
/// When there is no answer.
#[must_use]
pub fn ask_hop(port: u16, headers: &[(&str, &str)], plan: impl Into<Vec<Step>>) -> Answered {
    let plan = serde_json::to_string(&Plan(plan.into())).unwrap();
    let headers = [&[("content-type", "application/json")], headers].concat();
    let answer = send(port, "POST", "/call", &headers, &plan).expect("an answer");
    let body = serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body));
    Answered { status: answer.status, body }
}

/// The policies of the hops.
#[must_use]
pub fn hop_policies() -> PathBuf {
    repository().join("lab/rego")
}
