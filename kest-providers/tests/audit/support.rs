//! Entries to store, and stores to look into.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, process};

use kest_core::audit::{AuditRecord, AuditSink};
use kest_core::canonical;
use kest_core::config::Durability;
use kest_core::error::AuditError;
use kest_core::identity::IdentityProvider;
use kest_core::jws::Jws;
use kest_providers::audit::{FileAudit, Finding, Seen, Store, Stored};
use kest_providers::identity::LocalEd25519Provider;
use serde_json::{Value, json};

#[cfg(feature = "sqlite")]
use kest_providers::audit::SqliteAudit;

/// A folder of its own, gone when it is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("kest-audit-{}-{number}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    #[cfg(feature = "sqlite")]
    Sqlite,
}

pub(crate) const KINDS: &[Kind] = &[
    Kind::File,
    #[cfg(feature = "sqlite")]
    Kind::Sqlite,
];

impl Kind {
    pub(crate) fn path(self, folder: &Path) -> PathBuf {
        match self {
            Self::File => folder.join("audit"),
            #[cfg(feature = "sqlite")]
            Self::Sqlite => folder.join("audit.sqlite"),
        }
    }

    pub(crate) fn open(self, folder: &Path) -> Result<Arc<dyn AuditSink>, AuditError> {
        self.open_as(folder, Durability::Process)
    }

    pub(crate) fn open_as(
        self,
        folder: &Path,
        durability: Durability,
    ) -> Result<Arc<dyn AuditSink>, AuditError> {
        Ok(match self {
            Self::File => Arc::new(FileAudit::builder(self.path(folder)).durability(durability).open()?),
            #[cfg(feature = "sqlite")]
            Self::Sqlite => Arc::new(SqliteAudit::builder(self.path(folder)).durability(durability).open()?),
        })
    }

    pub(crate) fn store(self, folder: &Path) -> Store {
        Store::open(self.path(folder)).unwrap()
    }
}

pub(crate) struct Sample {
    pub(crate) jws: Jws,
    pub(crate) hash: [u8; 32],
    pub(crate) entry_id: String,
    pub(crate) workload: Arc<str>,
    pub(crate) signer: Arc<LocalEd25519Provider>,
}

impl Sample {
    pub(crate) fn record(&self) -> AuditRecord<'_> {
        AuditRecord::new(self.jws.as_str(), &self.hash, &self.entry_id, &self.workload, &*self.signer)
    }
}

pub(crate) fn signer(name: &str) -> Arc<LocalEd25519Provider> {
    Arc::new(LocalEd25519Provider::new().unwrap().with_workload_id(format!("spiffe://example.org/{name}")))
}

/// What a sample says beyond the usual.
#[derive(Default, Clone)]
pub(crate) struct Says<'a> {
    pub(crate) operation: &'a str,
    pub(crate) user: Option<Value>,
    pub(crate) taints: &'a [&'a str],
    pub(crate) denied: bool,
    pub(crate) padding: usize,
}

pub(crate) fn sample(signer: &Arc<LocalEd25519Provider>, number: u64) -> Sample {
    sample_of(signer, number, &Says { operation: "pay", ..Says::default() })
}

pub(crate) fn sample_of(signer: &Arc<LocalEd25519Provider>, number: u64, says: &Says<'_>) -> Sample {
    let workload = signer.workload_id().unwrap();
    let entry_id = format!("01900000-0000-7000-8000-{number:012x}");
    let mut labels = json!({ "principal": &*workload, "trace_id": format!("{number:032x}") });
    if says.padding > 0 {
        labels["padding"] = "x".repeat(says.padding).into();
    }
    if let Some(user) = &says.user {
        let identity = json!({ "user": user });
        labels["kest.identity"] = canonical::to_string(&identity).unwrap().into();
    }
    let mut metadata = json!({
        "function": "shop::pay", "policies": {},
        "trust": { "model": "guide", "override": null, "source_type": "system" },
    });
    if says.denied {
        metadata["denied"] = json!({ "policy": "kest", "reason": null, "tier": "function" });
    }
    let payload = json!({
        "added_taints": says.taints, "classification": if says.denied { "denial" } else { "system" },
        "content_hash": "", "entry_id": entry_id, "environment": {}, "input_hash": "", "labels": labels,
        "metadata": metadata, "operation": says.operation, "otel_context": {}, "parent_ids": ["0"],
        "policy_context": {
            "app_policies": [], "deviations": [], "enterprise_policies": [], "function_policies": ["kest"],
            "platform_policies": [],
        },
        "removed_taints": [], "runtime": { "name": "kest-rust", "version": "0.1.0" }, "schema_version": "0.3.0",
        "taints": says.taints, "timestamp_ms": 1_795_304_503_000_u64 + number, "trust_score": 100,
    });
    let jws = signer.sign(&canonical::to_vec(&payload).unwrap()).unwrap();
    let hash = jws.hash();
    Sample { jws, hash, entry_id, workload, signer: Arc::clone(signer) }
}

/// Everything in a store.
pub(crate) fn read(store: &Store) -> (Vec<Stored>, Vec<Finding>) {
    let (mut entries, mut findings) = (Vec::new(), Vec::new());
    for seen in store.scan().unwrap() {
        match seen.unwrap() {
            Seen::Entry(stored) => entries.push(stored),
            Seen::Finding(finding) => findings.push(finding),
            other => panic!("{other:?}"),
        }
    }
    (entries, findings)
}

/// Segments of a folder, in order.
pub(crate) fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(Kind::File.path(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    all.sort();
    all
}
