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
            assert!(error.to_string().contains("the `audit()` of a `Kest`"), "{error}");
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

#[test]
fn a_store_that_is_open_keeps_its_settings_and_the_error_says_so() {
    alone("a_store_that_is_open_keeps_its_settings_and_the_error_says_so", || {
        let folder = folder("settings");
        let audit = "sink = \"file\"\npath = \"log\"\n";
        let first = kest(&folder, MockPolicyEngine::allow(), audit);
        kest::configure(first).unwrap();
        protected().unwrap();

        // What the `Kest` itself looks at may change, and the path be written otherwise.
        let other = format!("{}sign_denials = true\n", audit.replace("log", "./log"));
        kest::reconfigure(kest(&folder, MockPolicyEngine::deny(), &other)).unwrap();
        assert!(protected().unwrap_err().is_denied());
        assert_eq!(stored(&folder.join("log")).len(), 2, "an entry and a receipt");

        for setting in
            ["durability = \"power\"", "timeout = \"3s\"", "retain_age = \"3d\"", "max_bytes = 9000000"]
        {
            let other = kest(&folder, MockPolicyEngine::allow(), &format!("{audit}{setting}\n"));
            let error = kest::reconfigure(other).unwrap_err();
            assert_eq!(error.kind(), ConfigurationErrorKind::Audit);
            let (name, text) = (setting.split_once(' ').unwrap().0, error.to_string());
            assert!(text.contains(&format!("another `{name}`")) && text.contains("kest::clear"), "{text}");
            // What was set before stays.
            assert!(protected().unwrap_err().is_denied());
        }

        // As the error advises.
        kest::clear();
        let other = kest(&folder, MockPolicyEngine::allow(), &format!("{audit}timeout = \"3s\"\n"));
        kest::configure(other).unwrap();
        protected().unwrap();
        // And as that of a `Kest` whose sink nobody has opened.
        let global = kest::global().unwrap();
        let sink = std::sync::Arc::clone(global.audit().unwrap());
        let config = global.config().clone();
        let builder = Kest::builder().identity(workload("shop")).engine(MockPolicyEngine::allow());
        let scope = builder.config(config).audit(sink).build().unwrap();
        let scope = scope.enter();
        protected().unwrap();
        drop(scope);
        let count = stored(&folder.join("log")).len();
        assert!(count >= 5, "{count}");
        kest::clear();
        fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn a_sink_that_was_given_in_code_is_not_taken_for_the_one_that_the_configuration_names() {
    alone("a_sink_that_was_given_in_code_is_not_taken_for_the_one_that_the_configuration_names", || {
        let folder = folder("given");
        let audit = "sink = \"file\"\npath = \"log\"\n";
        let given = kest::audit::FileAudit::open(folder.join("given")).unwrap();
        let config = kest(&folder, MockPolicyEngine::allow(), audit).config().clone();
        let builder = Kest::builder().identity(workload("shop")).engine(MockPolicyEngine::allow());
        kest::configure(builder.config(config).audit(given).build().unwrap()).unwrap();
        protected().unwrap();
        assert!(!folder.join("log").exists());

        kest::reconfigure(kest(&folder, MockPolicyEngine::allow(), audit)).unwrap();
        protected().unwrap();
        assert_eq!((stored(&folder.join("given")).len(), stored(&folder.join("log")).len()), (1, 1));

        // One of the same store is another writer all the same, and the error says what to do.
        kest::clear();
        let given = kest::audit::FileAudit::open(folder.join("log")).unwrap();
        let error = kest::configure(kest(&folder, MockPolicyEngine::allow(), audit)).unwrap_err();
        assert!(error.to_string().contains("`.audit(sink)`"), "{error}");
        drop(given);
        fs::remove_dir_all(folder).unwrap();
    });
}
