//! `SpireProvider` with real SPIRE servers and agents: two federated trust domains, keys of three types, SVIDs that
//! live for seconds. Spec §10, §13.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod cli;
mod jwt;
mod mtls;
mod offline;
mod outage;
mod rotation;
mod secrets;
mod workloads;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kest::verify::{TrustBundles, UnverifiedPassport, VerifiedPassport, Verifier, VerifyError};
use kest_lab::{Agent, Domain, Entry, Folder, KeyType, Lab, Workload, wait_for};
use serde_json::Value;

/// How long something may take that takes a second or two on a machine that is not busy.
const LIMIT: Duration = Duration::from_secs(30);

/// The agent renews such SVIDs every two or three seconds.
const SHORT: Duration = Duration::from_secs(14);

/// Two trust domains that know each other's bundle.
struct World {
    lab: Lab,
    folder: Folder,
    internal: Domain,
    peer: Domain,
    /// In `kest.internal`, P-256.
    agent: Agent,
    /// In `peer.internal`, RSA.
    peer_agent: Agent,
}

/// The world that all tests share, started by the first. `None` where there is no lab.
fn world() -> Option<&'static World> {
    static WORLD: OnceLock<World> = OnceLock::new();
    let lab = Lab::from_env()?;
    Some(WORLD.get_or_init(|| World::start(lab)))
}

impl World {
    fn start(lab: Lab) -> Self {
        let folder = Folder::new();
        let internal = Domain::start(&lab, &folder, "kest.internal");
        let peer = Domain::start(&lab, &folder, "peer.internal");
        internal.federate(&peer);
        peer.federate(&internal);
        let agent = internal.agent("agent", KeyType::EcP256);
        let peer_agent = peer.agent("agent", KeyType::Rsa2048);
        Self { lab, folder, internal, peer, agent, peer_agent }
    }

    /// The program under a name of its own: to SPIRE another workload.
    fn program(&self, name: &str) -> PathBuf {
        self.folder.program(Path::new(env!("CARGO_BIN_EXE_workload")), name)
    }

    /// A workload of `kest.internal`: `spiffe://kest.internal/workload/<name>`.
    fn workload(&self, name: &str, with: impl FnOnce(Entry) -> Entry) -> Workload {
        self.workload_of(&self.internal, &self.agent, name, with)
    }

    fn workload_of(
        &self,
        domain: &Domain,
        agent: &Agent,
        name: &str,
        with: impl FnOnce(Entry) -> Entry,
    ) -> Workload {
        let program = self.program(name);
        let _ = domain.register(agent, &with(entry(name, &program)));
        started(agent, &program)
    }

    /// What an auditor has: the bundles as the servers export them, and no SPIRE.
    fn bundles(&self) -> TrustBundles {
        let mut bundles = TrustBundles::new();
        for domain in [&self.internal, &self.peer] {
            bundles.insert_spiffe_json(domain.name(), domain.bundle().as_bytes()).unwrap();
        }
        bundles
    }

    /// Verifies strictly with [`Self::bundles`].
    fn verify(&self, passport: &str) -> Result<VerifiedPassport, VerifyError> {
        let verifier = Verifier::builder().keys(self.bundles()).strict().build();
        UnverifiedPassport::deserialize(passport).unwrap().verify(&verifier)
    }
}

fn entry(name: &str, program: &Path) -> Entry {
    Entry::of_program(&format!("workload/{name}"), program)
}

/// A workload that has its identity: the agent hears of a new entry within a second or two.
fn started(agent: &Agent, program: &Path) -> Workload {
    let mut workload = Workload::start(agent, program);
    let _ = wait_for("the first SVID", LIMIT, || workload.try_ask("id").ok());
    workload
}

/// The header of the last entry of a passport.
fn header(passport: &str) -> Value {
    let entries: Vec<String> = serde_json::from_str(passport).unwrap();
    let segment = entries.last().unwrap().split('.').next().unwrap();
    serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(segment).unwrap()).unwrap()
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
