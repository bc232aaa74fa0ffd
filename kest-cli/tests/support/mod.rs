//! Runs the real binary, and signs passports for it.
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use ed25519_dalek::{Signer as _, SigningKey};
use kest_core::canonical;
use kest_core::jws::{Algorithm, EncodedHeader, Jws};
use kest_core::keys::Jwk;
use serde_json::{Value, json};

pub(crate) const PRINCIPAL: &str = "spiffe://example.org/orders";

pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "one object on one line: {}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Exit code 2: nothing on standard output, and the reason on standard error.
    pub(crate) fn unusable(&self, reason: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (2, ""), "{}", self.stderr);
        assert!(self.stderr.contains(reason), "{}", self.stderr);
    }
}

pub(crate) fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/python")
}

/// The binary, in the folder of the vectors.
pub(crate) fn kest(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kest"));
    command.args(args).current_dir(vectors()).env_remove("KEST_CONFIG").env_remove("NO_COLOR");
    command.env_remove("KEST_OPA_URL");
    for variable in IDENTITY_VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// What decides on the identity of a process.
pub(crate) const IDENTITY_VARIABLES: [&str; 12] = [
    "AWS_BEDROCK_AGENT_ALIAS_ID",
    "AWS_BEDROCK_AGENT_ID",
    "AWS_EXECUTION_ENV",
    "AWS_ROLE_ARN",
    "KEST_AWS_KMS_KEY_ID",
    "KEST_BEDROCK_KMS_KEY_ID",
    "KEST_ENV",
    "KEST_IDENTITY",
    "KEST_OIDC_AUDIENCE",
    "KEST_OIDC_ISSUER",
    "KEST_OIDC_TOKEN_PATH",
    "SPIFFE_ENDPOINT_SOCKET",
];

pub(crate) fn run(args: &[&str]) -> Run {
    kest(args).stdin(Stdio::null()).output().unwrap().into()
}

pub(crate) fn piped(args: &[&str], input: &[u8]) -> Run {
    piped_in(&vectors(), args, input)
}

pub(crate) fn piped_in(folder: &Path, args: &[&str], input: &[u8]) -> Run {
    let mut command = kest(args);
    command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The command may refuse before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap().into()
}

pub(crate) fn verify(vector: &str, more: &[&str]) -> Run {
    let (passport, anchors) = (format!("{vector}.passport.json"), format!("{vector}.anchors.json"));
    run(&[&["verify", &passport, "--anchors", &anchors], more].concat())
}

/// A new empty folder.
pub(crate) fn folder() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kest-cli-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Signs entries of [`PRINCIPAL`].
pub(crate) struct Lineage {
    key: SigningKey,
    /// The certificates in `x5c`, leaf first; none in most tests.
    pub(crate) chain: Vec<Vec<u8>>,
    entries: Vec<Jws>,
}

impl Lineage {
    pub(crate) fn new() -> Self {
        Self { key: SigningKey::from_bytes(&[7; 32]), chain: Vec::new(), entries: Vec::new() }
    }

    /// Adds an entry with these parents; `change` edits its payload before it is signed.
    pub(crate) fn add(&mut self, parents: &[usize], change: impl FnOnce(&mut Value)) -> &mut Self {
        let mut parent_ids: Vec<String> =
            parents.iter().map(|parent| self.entries[*parent].hash_hex()).collect();
        if parent_ids.is_empty() {
            parent_ids.push("0".to_owned());
        }
        let mut payload = json!({
            "schema_version": "0.3.0",
            "runtime": {"name": "kest-rust", "version": "0.1.0"},
            "entry_id": format!("01a2007c-b7aa-7386-b112-{:012x}", self.entries.len()),
            "operation": format!("step{}", self.entries.len()),
            "classification": "system",
            "trust_score": 40,
            "parent_ids": parent_ids,
            "added_taints": [], "removed_taints": [], "taints": [],
            "labels": {"principal": PRINCIPAL, "trace_id": "3e6ab9dd93479dfe8148a6ced74cbd15"},
            "policy_context": {
                "enterprise_policies": [], "platform_policies": [], "app_policies": [],
                "function_policies": ["kest/allow_trusted"], "deviations": [],
            },
            "environment": {},
            "otel_context": {},
            "metadata": {
                "function": "shop::orders::step",
                "trust": {"source_type": "user_input", "override": null, "model": "guide"},
                "policies": {},
            },
            "content_hash": "",
            "input_hash": "",
            "timestamp_ms": 1_795_304_503_210_u64,
        });
        change(&mut payload);
        let header = EncodedHeader::with_x5c(Algorithm::EdDsa, &self.jwk().thumbprint(), &self.chain);
        let payload = canonical::to_vec(&payload).unwrap();
        let jws = header.sign(&payload, |input| Ok::<_, ()>(self.key.sign(input).to_bytes())).unwrap();
        self.entries.push(jws);
        self
    }

    pub(crate) fn jwk(&self) -> Jwk {
        Jwk::ed25519(self.key.verifying_key().as_bytes())
    }

    /// The entries so far.
    pub(crate) fn entries(&self) -> &[Jws] {
        &self.entries
    }

    pub(crate) fn tip(&self) -> String {
        self.entries.last().unwrap().hash_hex()
    }

    pub(crate) fn passport(&self) -> String {
        json!(self.entries.iter().map(Jws::as_str).collect::<Vec<_>>()).to_string()
    }

    /// Writes `passport.json` and `anchors.json` into a new folder.
    pub(crate) fn write(&self) -> PathBuf {
        self.write_for(PRINCIPAL)
    }

    pub(crate) fn write_for(&self, principal: &str) -> PathBuf {
        let folder = folder();
        fs::write(folder.join("passport.json"), self.passport()).unwrap();
        let anchors = json!({principal: {"keys": [self.jwk().to_json()]}});
        fs::write(folder.join("anchors.json"), anchors.to_string()).unwrap();
        folder
    }
}

/// Runs in a folder that [`Lineage::write`] made.
pub(crate) fn run_in(folder: &Path, args: &[&str]) -> Run {
    kest(args).current_dir(folder).stdin(Stdio::null()).output().unwrap().into()
}

pub(crate) const VERIFY: [&str; 4] = ["verify", "passport.json", "--anchors", "anchors.json"];
pub(crate) const SHOW: [&str; 4] = ["show", "passport.json", "--anchors", "anchors.json"];
