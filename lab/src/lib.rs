//! Real servers for the live tests: started on free loopback ports, stopped when nobody holds them any more.
//!
//! `lab/run` installs the servers, names their folder in `KEST_LAB` and runs the tests. See `lab/README.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test helpers"
)]

mod cedar_agent;
mod collector;
mod command;
mod envoy;
mod fakecloud;
mod folder;
mod hops;
mod http;
mod ministack;
mod nginx;
mod oidc;
mod opa;
mod policies;
mod proxy;
mod python;
mod redis;
mod server;
mod sockets;
mod spire;
mod workload;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use cedar_agent::CedarAgent;
pub use collector::{Collected, Collector, Otelcol, OtelcolSettings, Rotel};
pub use command::{command, run};
pub use envoy::Envoy;
pub use fakecloud::Fakecloud;
pub use folder::Folder;
pub use hops::{
    Answered, Call, Hop, HopConfig, Plan, RedisAt, Step, Via, ask_hop, audit, audit_mixed, call,
    hop_policies, local_anchors, local_id, local_identity, operations,
};
pub use http::{Answer, get, send};
pub use ministack::Ministack;
pub use nginx::Nginx;
pub use oidc::OidcProvider;
pub use opa::Opa;
pub use policies::{Shipped, Verdict, agree, ask, is_whole, library, library_folder, statements};
pub use proxy::Proxy;
pub use python::PythonHop;
pub use redis::Redis;
pub use server::{Server, free_port, guarded};
pub use sockets::{connections_to, descriptors, resident_kib};
pub use spire::{Agent, Domain, Entry, KeyType};
pub use workload::Workload;

/// The servers that `lab/install` has installed.
#[derive(Debug, Clone)]
pub struct Lab {
    folder: PathBuf,
}

impl Lab {
    /// The lab that `KEST_LAB` names. `None`, and a line that says how to run the test, when it is not set.
    ///
    /// # Panics
    /// When the folder lacks something: a live test is never passed over because of a broken lab.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        let Some(folder) = std::env::var_os("KEST_LAB") else {
            let test = std::thread::current().name().unwrap_or("this test").to_owned();
            println!("`{test}` did not run: it needs real servers; `lab/run` installs them and runs it");
            return None;
        };
        let lab = Self { folder: PathBuf::from(folder) };
        for part in [
            "spire/spire-server",
            "spire/spire-agent",
            "opa/opa",
            "otelcol/otelcol",
            "rotel/bin/python",
            "cedar-agent/bin/cedar-agent",
            "fakecloud/bin/fakecloud",
            "python/bin/ministack",
            "hop/bin/envoy",
            "hop/bin/uvicorn",
            "debian/bin/redis-server",
            "debian/bin/redis-cli",
            "debian/bin/nginx",
            "node/node_modules",
        ] {
            let path = lab.part(part);
            assert!(path.exists(), "`{}` is missing; run `lab/install` again", path.display());
        }
        Some(lab)
    }

    /// A file or folder of the lab, as `spire/spire-agent`.
    #[must_use]
    pub fn part(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Asks again and again until `condition` gives a value, for at most `limit`.
///
/// # Panics
/// When the time is over; the message says what was waited for.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < limit, "waited {limit:?} in vain: {what}");
        pause();
    }
}

/// Between two looks at something that another process changes.
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}
