//! Engines that watch their folders: what takes over, and what leaves the old policies in force.
#![cfg(all(feature = "rego", feature = "cedar"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/folder.rs"]
mod folder;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use folder::Folder;
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{Decision, InputDocument, PolicyEngine, PolicyRequest};
use kest_providers::policy::{CedarEngine, RegoEngine};

const EVERY: Duration = Duration::from_millis(10);

/// Both engines that watch, by what the tests need of them.
trait Watching: PolicyEngine {
    const EXTENSION: &'static str;
    fn watching(folder: &Path) -> Result<Self, PolicyUnavailable>
    where
        Self: Sized;
    /// A policy that allows everything, or nothing.
    fn text(name: &str, allow: bool) -> String;
    fn error(&self) -> Option<Arc<PolicyUnavailable>>;
    fn known(&self) -> Vec<String>;
}

impl Watching for RegoEngine {
    const EXTENSION: &'static str = "rego";

    fn watching(folder: &Path) -> Result<Self, PolicyUnavailable> {
        Self::builder().dir(folder).watch(EVERY).build()
    }

    fn text(name: &str, allow: bool) -> String {
        format!("package {name}\nimport rego.v1\ndefault allow := false\nallow if {allow}")
    }

    fn error(&self) -> Option<Arc<PolicyUnavailable>> {
        self.reload_error()
    }

    fn known(&self) -> Vec<String> {
        self.names()
    }
}

impl Watching for CedarEngine {
    const EXTENSION: &'static str = "cedar";

    fn watching(folder: &Path) -> Result<Self, PolicyUnavailable> {
        Self::builder().dir(folder).watch(EVERY).build()
    }

    fn text(name: &str, allow: bool) -> String {
        format!("permit (principal, action == Action::\"{name}\", resource) when {{ {allow} }};")
    }

    fn error(&self) -> Option<Arc<PolicyUnavailable>> {
        self.reload_error()
    }

    fn known(&self) -> Vec<String> {
        self.names()
    }
}

fn allows(engine: &dyn PolicyEngine, policy: &str) -> bool {
    let document = InputDocument::default();
    match engine.evaluate(&PolicyRequest { policy, input: &document.as_input() }).unwrap() {
        Decision::Allow { .. } => true,
        Decision::Deny { .. } => false,
    }
}

/// Waits until it holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

fn write<E: Watching>(folder: &Folder, name: &str, allow: bool) {
    folder.write(&format!("{name}.{}", E::EXTENSION), &E::text(name, allow));
}

/// A changed file takes over; a broken one, a gone folder do not, and are said; then a good one does again.
fn changes<E: Watching>() {
    let folder = Folder::new(&format!("watch-{}", E::EXTENSION));
    write::<E>(&folder, "t", true);
    let engine = E::watching(&folder.0).unwrap();
    assert!(allows(&engine, "t") && engine.error().is_none());

    write::<E>(&folder, "t", false);
    until("a changed file takes over", || !allows(&engine, "t"));
    write::<E>(&folder, "u", true);
    until("a new file takes over", || engine.known() == ["t", "u"]);

    let broken = format!("u.{}", E::EXTENSION);
    folder.write(&broken, "permit (");
    until("a broken file is said", || engine.error().is_some());
    let error = engine.error().unwrap();
    assert_eq!(error.kind(), PolicyErrorKind::Load);
    assert!(error.to_string().contains(&broken), "{error}");
    assert!(allows(&engine, "u") && !allows(&engine, "t"), "the old set stays");

    folder.remove(&broken);
    until("without it the rest takes over", || engine.known() == ["t"]);
    until("and nothing is wrong any more", || engine.error().is_none());

    let aside = folder.0.with_extension("aside");
    fs::rename(&folder.0, &aside).unwrap();
    until("a folder that is gone is said", || engine.error().is_some());
    assert!(engine.error().unwrap().to_string().contains("cannot be read"));
    assert!(!allows(&engine, "t"), "the old set stays");
    fs::rename(&aside, &folder.0).unwrap();
    until("a folder that is back is well", || engine.error().is_none());
    fs::remove_file(folder.0.join(format!("t.{}", E::EXTENSION))).unwrap();
    until("an empty folder is said", || engine.error().is_some());
    assert!(!allows(&engine, "t"));
}

/// Four threads ask while a ConfigMap goes back and forth between two sets, fifty times.
fn under_load<E: Watching>() {
    let folder = Folder::new(&format!("watch-load-{}", E::EXTENSION));
    // In one set both allow, in the other neither.
    for (set, allow) in [("..one", true), ("..two", false)] {
        for name in ["t", "u"] {
            folder.write(&format!("{set}/{name}.{}", E::EXTENSION), &E::text(name, allow));
        }
    }
    let point = |set: &str| {
        symlink(set, folder.0.join("..next")).unwrap();
        fs::rename(folder.0.join("..next"), folder.0.join("..data")).unwrap();
    };
    point("..one");
    for name in ["t", "u"] {
        let file = format!("{name}.{}", E::EXTENSION);
        symlink(Path::new("..data").join(&file), folder.0.join(&file)).unwrap();
    }
    let engine = E::watching(&folder.0).unwrap();
    let (done, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    allows(&engine, "t");
                    let call = engine.snapshot().unwrap();
                    assert_eq!(allows(&call, "t"), allows(&call, "u"), "one call, two sets");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let exchanged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..50 {
                let allow = round % 2 == 1;
                point(if allow { "..one" } else { "..two" });
                until("the other set takes over", || allows(&engine, "t") == allow);
            }
        }));
        done.store(true, Ordering::Relaxed);
        exchanged.unwrap();
    });
    assert!(calls.into_inner() > 50);
    assert!(engine.error().is_none());
}

#[test]
fn rego_follows_its_folder() {
    changes::<RegoEngine>();
}

#[test]
fn cedar_follows_its_folder() {
    changes::<CedarEngine>();
}

#[test]
fn rego_exchanges_sets_under_load() {
    under_load::<RegoEngine>();
}

#[test]
fn cedar_exchanges_sets_under_load() {
    under_load::<CedarEngine>();
}

#[test]
fn a_schema_is_watched_too() {
    let folder = Folder::new("watch-schema");
    let schema = |context: &str| {
        format!(
            "entity Workload, Resource; action \"t\" appliesTo {{ principal: Workload, resource: Resource, context: {context} }};"
        )
    };
    folder.write("t.cedar", "permit (principal, action, resource) when { context.trust_score == 0 };");
    folder.write("kest.cedarschema", &schema("{ trust_score: Long }"));
    let builder = CedarEngine::builder().dir(&folder.0).schema_file(folder.0.join("kest.cedarschema"));
    let engine = builder.watch(EVERY).build().unwrap();
    assert!(allows(&engine, "t"));
    folder.write("kest.cedarschema", &schema("{ trust_score: String }"));
    until("a schema that the policies break is said", || engine.reload_error().is_some());
    assert!(engine.reload_error().unwrap().to_string().contains("t.cedar:1:"));
    assert!(allows(&engine, "t"));
}

#[test]
fn without_a_folder_there_is_nothing_to_watch() {
    let error =
        CedarEngine::builder().source("t", "permit (principal, action, resource);").watch(EVERY).build();
    assert_eq!(error.unwrap_err().to_string(), "there is no folder to watch; name one with `dir`");
    let error = RegoEngine::builder().source("t", RegoEngine::text("t", true)).watch(EVERY).build();
    assert_eq!(error.unwrap_err().to_string(), "there is no folder to watch; name one with `dir`");
}
