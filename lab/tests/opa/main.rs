//! `OpaEngine` with a real Open Policy Agent. Spec §11.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod access;
mod agree;
mod call;
mod cli;
mod load;
mod outage;
mod reload;

use std::fs;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use kest::policy::{InputDocument, OpaEngine, OpaEngineBuilder};
use kest_lab::Opa;
use serde_json::json;

/// How long an answer may take where the time is not the subject: the machine may be a busy one.
const PATIENT: Duration = Duration::from_secs(30);

/// What counts the sockets and the memory of this process has it for itself.
static PROCESS: RwLock<()> = RwLock::new(());

fn together() -> RwLockReadGuard<'static, ()> {
    PROCESS.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone() -> RwLockWriteGuard<'static, ()> {
    PROCESS.write().unwrap_or_else(PoisonError::into_inner)
}

fn builder(opa: &Opa) -> OpaEngineBuilder {
    OpaEngine::builder().url(opa.url()).timeout(PATIENT)
}

/// A policy as a team puts it into place: whole or not at all.
fn put(folder: &Path, name: &str, text: &str) {
    let path = folder.join(format!("{name}.rego"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// `gate/score` allows from a score on.
fn gate(folder: &Path, score: u8) {
    let text = format!(
        "package gate.score\n\ndefault allow := false\n\nallow if input.subject.trust_score >= {score}\n\n\
         reason := \"below {score}\" if input.subject.trust_score < {score}\n"
    );
    put(folder, "gate/score", &text);
}

fn score(score: u8) -> InputDocument {
    serde_json::from_value(json!({"trust_score": score})).unwrap()
}
