//! SPIRE: a server for a trust domain, its agents, and the registration entries of the workloads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::{Folder, Lab, Server, free_port, guarded};

const SERVER: &str = include_str!("../spire/server.conf");
const AGENT: &str = include_str!("../spire/agent.conf");

/// A trust domain: a running SPIRE server.
#[derive(Debug)]
pub struct Domain {
    lab: Lab,
    name: String,
    folder: PathBuf,
    port: u16,
    _server: Server,
}

impl Domain {
    /// Starts the server of the trust domain `name`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(lab: &Lab, folder: &Folder, name: &str) -> Self {
        let folder = folder.sub(name);
        fs::create_dir_all(folder.join("server")).unwrap();
        let socket = folder.join("server.sock");
        let (port, server) = Server::start_again(|| {
            let port = free_port();
            let config = folder.join("server.conf");
            fs::write(
                &config,
                fill(
                    SERVER,
                    &[("PORT", &port.to_string()), ("FOLDER", text(&folder)), ("TRUST_DOMAIN", name)],
                ),
            )
            .unwrap();
            let program = lab.part("spire/spire-server");
            let mut command = guarded(&program);
            command.args(["run", "-config", text(&config)]);
            let healthy =
                || succeeds(Command::new(&program).args(["healthcheck", "-socketPath", text(&socket)]));
            Ok((port, Server::start("spire-server", &folder, command, healthy)?))
        });
        Self { lab: lab.clone(), name: name.to_owned(), folder, port, _server: server }
    }

    /// The trust domain's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The trust bundle as `spire-server bundle show -format spiffe` writes it.
    #[must_use]
    pub fn bundle(&self) -> String {
        self.ask(&["bundle", "show", "-format", "spiffe"])
    }

    /// The trust bundle's X.509 authorities in PEM.
    #[must_use]
    pub fn bundle_pem(&self) -> String {
        self.ask(&["bundle", "show"])
    }

    /// Lets workloads of this domain have the bundle of `other`, where their entry says so.
    pub fn federate(&self, other: &Self) {
        let path = self.folder.join(format!("{}.bundle.json", other.name));
        fs::write(&path, other.bundle()).unwrap();
        let id = format!("spiffe://{}", other.name);
        let _ = self.ask(&["bundle", "set", "-format", "spiffe", "-id", &id, "-path", text(&path)]);
    }

    /// Starts an agent that makes keys of one type for its workloads.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn agent(&self, name: &str, key_type: KeyType) -> Agent {
        let folder = self.folder.join(name);
        fs::create_dir(&folder).unwrap();
        let bundle = self.folder.join("bundle.pem");
        fs::write(&bundle, self.bundle_pem()).unwrap();
        let config = fill(
            AGENT,
            &[
                ("PORT", &self.port.to_string()),
                ("FOLDER", text(&folder)),
                ("TRUST_DOMAIN", &self.name),
                ("BUNDLE", text(&bundle)),
                ("KEY_TYPE", key_type.name()),
            ],
        );
        fs::write(folder.join("agent.conf"), config).unwrap();
        let id = format!("spiffe://{}/agent/{name}", self.name);
        let token = self.ask_json(&["token", "generate", "-spiffeID", &id]);
        let token = token["value"].as_str().unwrap_or_else(|| panic!("no token in {token}")).to_owned();
        let agent =
            Agent { program: self.lab.part("spire/spire-agent"), folder, id, server: Mutex::new(None) };
        agent.run(Some(&token));
        agent
    }

    /// Registers a workload; gives the entry's id.
    ///
    /// # Panics
    /// When the server refuses.
    #[must_use]
    pub fn register(&self, agent: &Agent, entry: &Entry) -> String {
        let id = self.id(&entry.path);
        let [ttl, jwt_ttl] = [entry.ttl, entry.jwt_ttl].map(|ttl| ttl.as_secs().to_string());
        let mut arguments =
            vec!["entry", "create", "-parentID", &agent.id, "-spiffeID", &id, "-selector", &entry.selector];
        if !entry.ttl.is_zero() {
            arguments.extend(["-x509SVIDTTL", &ttl]);
        }
        if !entry.jwt_ttl.is_zero() {
            arguments.extend(["-jwtSVIDTTL", &jwt_ttl]);
        }
        let federated: Vec<String> =
            entry.federates_with.iter().map(|name| format!("spiffe://{name}")).collect();
        for domain in &federated {
            arguments.extend(["-federatesWith", domain]);
        }
        if let Some(hint) = &entry.hint {
            arguments.extend(["-hint", hint]);
        }
        let answer = self.ask_json(&arguments);
        let created = &answer["results"][0]["entry"]["id"];
        created.as_str().unwrap_or_else(|| panic!("no entry in {answer}")).to_owned()
    }

    /// Deletes an entry.
    pub fn delete(&self, entry_id: &str) {
        let _ = self.ask(&["entry", "delete", "-entryID", entry_id]);
    }

    /// Makes a new X.509 authority, which signs from now on. The bundle has the old one too.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn renew_authority(&self) {
        let prepared = self.ask_json(&["localauthority", "x509", "prepare"]);
        let id = &prepared["prepared_authority"]["authority_id"];
        let id = id.as_str().unwrap_or_else(|| panic!("no authority in {prepared}"));
        let _ = self.ask_json(&["localauthority", "x509", "activate", "-authorityID", id]);
    }

    /// The SPIFFE ID of a path in this domain, as `workload/checkout`.
    #[must_use]
    pub fn id(&self, path: &str) -> String {
        format!("spiffe://{}/{path}", self.name)
    }

    fn ask_json(&self, arguments: &[&str]) -> Value {
        let answer = self.ask(&[arguments, &["-output", "json"]].concat());
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {answer}"))
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let socket = self.folder.join("server.sock");
        let mut command = Command::new(self.lab.part("spire/spire-server"));
        command.args(arguments).args(["-socketPath", text(&socket)]);
        output(&mut command).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }
}

/// An entry to register.
#[derive(Debug, Clone)]
pub struct Entry {
    path: String,
    selector: String,
    ttl: Duration,
    jwt_ttl: Duration,
    federates_with: Vec<String>,
    hint: Option<String>,
}

impl Entry {
    /// The workload `path` is whoever runs `program`.
    #[must_use]
    pub fn of_program(path: &str, program: &Path) -> Self {
        Self::new(path, format!("unix:path:{}", program.display()))
    }

    /// The workload `path` is whoever has the selector.
    #[must_use]
    pub fn new(path: &str, selector: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            selector: selector.into(),
            ttl: Duration::ZERO,
            jwt_ttl: Duration::ZERO,
            federates_with: Vec::new(),
            hint: None,
        }
    }

    /// How long its SVIDs live, instead of an hour. The agent renews one when less than half of what lies between
    /// `notBefore` (ten seconds back) and `notAfter` is left: with 14 s that is after two or three.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long its JWT-SVIDs live, instead of five minutes.
    #[must_use]
    pub fn jwt_ttl(mut self, ttl: Duration) -> Self {
        self.jwt_ttl = ttl;
        self
    }

    /// Gives it the bundle of another domain too.
    #[must_use]
    pub fn federates_with(mut self, domain: &Domain) -> Self {
        self.federates_with.push(domain.name.clone());
        self
    }

    /// Tells it from others that one workload has.
    #[must_use]
    pub fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }
}

/// The type of the keys that an agent makes for its workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// P-256.
    EcP256,
    /// P-384.
    EcP384,
    /// RSA with 2,048 bits.
    Rsa2048,
}

impl KeyType {
    fn name(self) -> &'static str {
        match self {
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::Rsa2048 => "rsa-2048",
        }
    }
}

/// A SPIRE agent.
#[derive(Debug)]
pub struct Agent {
    program: PathBuf,
    folder: PathBuf,
    id: String,
    server: Mutex<Option<Server>>,
}

impl Agent {
    /// The address of its Workload API, as `SPIFFE_ENDPOINT_SOCKET` wants it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// The socket of its Workload API.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// Ends the agent.
    ///
    /// # Panics
    /// When it is not running.
    pub fn stop(&self) {
        self.server.lock().unwrap().take().expect("a running agent").stop();
    }

    /// Starts it again, with the keys that it has on disk.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(&self) {
        self.run(None);
    }

    fn run(&self, token: Option<&str>) {
        let config = self.folder.join("agent.conf");
        let mut command = guarded(&self.program);
        command.args(["run", "-config", text(&config)]);
        if let Some(token) = token {
            command.args(["-joinToken", token]);
        }
        let socket = self.socket();
        let healthy =
            || succeeds(Command::new(&self.program).args(["healthcheck", "-socketPath", text(&socket)]));
        let server = Server::start("spire-agent", &self.folder, command, healthy)
            .unwrap_or_else(|error| panic!("{error}"));
        *self.server.lock().unwrap() = Some(server);
    }
}

/// Runs a program to its end; gives what it printed.
///
/// # Errors
/// What it printed, when it failed.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    Err(format!("{}: {printed}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

fn succeeds(command: &mut Command) -> bool {
    output(command).is_ok()
}

fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = template.to_owned();
    for (name, value) in values {
        filled = filled.replace(&format!("@{name}@"), value);
    }
    assert!(!filled.contains('@'), "a placeholder without a value in {filled}");
    filled
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
