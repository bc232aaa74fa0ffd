//! `kest audit`, and `kest verify` and `kest show` on audit stores. Each test has both kinds of store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod evidence;
mod export;
mod ls;
mod output;
mod reading;
mod show;
#[path = "../support/mod.rs"]
mod support;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};

use kest_core::audit::{AuditRecord, AuditSink};
use kest_core::jws::Jws;
use kest_providers::audit::{FileAudit, SqliteAudit};
use kest_providers::identity::LocalEd25519Provider;
use serde_json::{Value, json};
use support::{Lineage, PRINCIPAL, Run, kest};

/// The stores of a folder that [`Shop::write`] made.
pub(crate) const STORES: [&str; 2] = ["audit", "audit.db"];
pub(crate) const TRACE: &str = "3e6ab9dd93479dfe8148a6ced74cbd15";
pub(crate) const OTHER_TRACE: &str = "aa6ab9dd93479dfe8148a6ced74cbd15";

/// A lineage, and what of it a store has.
pub(crate) struct Shop {
    pub(crate) lineage: Lineage,
    pub(crate) kept: Vec<usize>,
}

impl Shop {
    /// 0 browse, 1 pay with a taint, 2 denied refund, 3 ship after 1, 4 another trace.
    pub(crate) fn new() -> Self {
        let mut lineage = Lineage::new();
        lineage
            .add(&[], |payload| payload["operation"] = json!("browse"))
            .add(&[0], |payload| {
                payload["operation"] = json!("pay");
                payload["added_taints"] = json!(["pii"]);
                payload["taints"] = json!(["pii"]);
                payload["metadata"]["trust"]["source_type"] = Value::Null;
                payload["labels"]["kest.identity"] = json!("{\"user\":\"alice\"}");
            })
            .add(&[1], |payload| {
                payload["operation"] = json!("refund");
                payload["classification"] = json!("denial");
                payload["taints"] = json!(["pii"]);
                payload["metadata"]["trust"]["source_type"] = Value::Null;
                payload["metadata"]["denied"] =
                    json!({"policy": "shop/limits", "tier": "platform", "reason": "too much"});
            })
            .add(&[1], |payload| {
                payload["operation"] = json!("ship");
                payload["taints"] = json!(["pii"]);
                payload["metadata"]["trust"]["source_type"] = Value::Null;
            })
            .add(&[], |payload| {
                payload["operation"] = json!("stock");
                payload["labels"]["trace_id"] = json!(OTHER_TRACE);
            });
        Self { lineage, kept: vec![0, 1, 2, 3, 4] }
    }

    pub(crate) fn hash(&self, entry: usize) -> String {
        self.lineage.entries()[entry].hash_hex()
    }

    /// A folder with both stores and the anchors.
    pub(crate) fn write(&self) -> PathBuf {
        let folder = self.lineage.write();
        let file = FileAudit::open(folder.join("audit")).unwrap();
        let sqlite = SqliteAudit::open(folder.join("audit.db")).unwrap();
        for entry in &self.kept {
            let jws = &self.lineage.entries()[*entry];
            put(&file, jws, *entry == 2);
            put(&sqlite, jws, *entry == 2);
        }
        file.close().unwrap();
        sqlite.close().unwrap();
        folder
    }
}

pub(crate) fn put(sink: &dyn AuditSink, jws: &Jws, denial: bool) {
    let signer = LocalEd25519Provider::dangerous_from_seed([7; 32]).unwrap().with_workload_id(PRINCIPAL);
    let hash = jws.hash();
    let record = AuditRecord::new(jws.as_str(), &hash, "id", PRINCIPAL, &signer);
    sink.append(&if denial { record.denial() } else { record }).unwrap();
}

pub(crate) fn run(folder: &Path, args: &[&str]) -> Run {
    support::run_in(folder, args)
}

/// `kest audit COMMAND STORE …`.
pub(crate) fn audit(folder: &Path, command: &str, store: &str, more: &[&str]) -> Run {
    run(folder, &[&["audit", command, store], more].concat())
}

pub(crate) fn segment(folder: &Path) -> PathBuf {
    folder.join("audit/0000000001.jsonl")
}

/// Rewrites the only segment, line by line.
pub(crate) fn edit_lines(folder: &Path, edit: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(segment(folder)).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    edit(&mut lines);
    fs::write(segment(folder), lines.join("\n") + "\n").unwrap();
}

/// Edits the database as anybody can who may write the file.
pub(crate) fn edit_rows(folder: &Path, sql: &str) {
    let db = rusqlite::Connection::open(folder.join("audit.db")).unwrap();
    db.execute_batch(sql).unwrap();
}

pub(crate) fn json_lines(run: &Run) -> Vec<Value> {
    run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
