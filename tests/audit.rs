//! `[audit]` of a configuration: `kest::configure` opens the store, and no call runs without it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kest::audit::{Filter, Store, Stored};
use kest::config::Config;
use kest::error::{AuditErrorKind, ConfigurationErrorKind};
use kest::policy::MockPolicyEngine;
use kest::verify::{UnverifiedPassport, Verifier};
use kest::{Error, Kest, kest_verified};
use kest_tests::workload;

#[kest_verified(policy = "kest", source_type = "system")]
fn protected() -> Result<(), Error> {
    Ok(())
}

fn folder(name: &str) -> PathBuf {
    let folder = env::temp_dir().join(format!("kest-tests-audit-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    folder
}

/// A `Kest` of a `kest.toml` in the folder with that `[audit]`.
fn kest(folder: &Path, engine: MockPolicyEngine, audit: &str) -> Kest {
    let file = folder.join("kest.toml");
    fs::write(&file, format!("[audit]\n{audit}")).unwrap();
    let config = Config::read(&file).unwrap();
    Kest::builder().identity(workload("shop")).engine(engine).config(config).build().unwrap()
}

fn stored(path: &Path) -> Vec<Stored> {
    let store = Store::open(path).unwrap();
    store.list(&Filter::default()).unwrap().map(|stored| stored.unwrap()).collect()
}

/// Runs `body` in a process of its own: a process has one global `Kest`.
fn alone(test: &str, body: impl FnOnce()) {
    const CHILD: &str = "KEST_TESTS_CHILD";
    if env::var_os(CHILD).is_some() {
        return body();
    }
    let mut command = Command::new(env::current_exe().unwrap());
    let output = command.args([test, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
}

#[test]
fn configure_opens_the_store_and_calls_are_kept_there() {
    alone("configure_opens_the_store_and_calls_are_kept_there", || {
        for (sink, path) in [("file", "log"), ("sqlite", "log.sqlite")] {
            let folder = folder(sink);
            let audit = format!("sink = \"{sink}\"\npath = \"{path}\"\nsign_denials = true\n");
            let allowing = kest(&folder, MockPolicyEngine::allow(), &audit);
            // Beside its configuration, wherever the process runs.
            let path = folder.join(path);

            let scope = allowing.enter();
            let Error::Audit(error) = protected().unwrap_err() else { panic!("it ran without its store") };
            assert_eq!(error.kind(), AuditErrorKind::NotOpen);
            drop(scope);
            assert!(!path.exists());

            kest::reconfigure(allowing.clone()).unwrap();
            protected().unwrap();
            // Clones made before have the store too.
            let scope = allowing.enter();
            protected().unwrap();
            let passport = scope.passport();
            drop(scope);
            assert_eq!(stored(&path).last().unwrap().jws, passport.entries()[0].jws());

            // Who replaces it goes on in the same store: a store has one writer.
            kest::reconfigure(kest(&folder, MockPolicyEngine::deny(), &audit)).unwrap();
            assert!(protected().unwrap_err().is_denied());
            let kept = stored(&path);
            assert_eq!(kept.len(), 3, "two entries and a receipt");
            let verifier = Verifier::builder().keys(Store::open(&path).unwrap().keys().unwrap()).build();
            let of = |stored: &Stored| serde_json::to_string(&[&stored.jws]).unwrap();
            UnverifiedPassport::deserialize(&of(&kept[0])).unwrap().verify(&verifier).unwrap();
            let denied = Filter { denied: Some(true), ..Filter::default() };
            let receipts = Store::open(&path).unwrap().list(&denied).unwrap();
            assert_eq!(receipts.map(|stored| stored.unwrap().jws).collect::<Vec<_>>(), [kept[2].jws.clone()]);

            // Another process's store is not this one's.
            let Err(error) = kest::audit::open(allowing.config()) else { panic!("a second writer") };
            assert_eq!(error.kind(), AuditErrorKind::Locked);
            kest::clear();
            drop(allowing);
            fs::remove_dir_all(folder).unwrap();
        }
    });
}

#[test]
fn a_store_that_cannot_be_opened_is_an_error_of_configure() {
    alone("a_store_that_cannot_be_opened_is_an_error_of_configure", || {
        let folder = folder("closed");
        let kest = kest(&folder, MockPolicyEngine::allow(), "sink = \"file\"\npath = \"no/such/folder\"\n");
        let error = kest::configure(kest.clone()).unwrap_err();
        assert_eq!(error.kind(), ConfigurationErrorKind::Audit);
        assert!(error.to_string().contains("no/such/folder"), "{error}");
        assert!(kest::global().is_none());
        let _scope = kest.enter();
        assert!(matches!(protected().unwrap_err(), Error::Audit(_)));
        fs::remove_dir_all(folder).unwrap();
    });
}
