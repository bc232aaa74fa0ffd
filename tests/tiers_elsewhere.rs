//! A program that is started in another folder has the tiers of its deployment or does not run (spec §11, §15).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kest::__private::{CallSpec, Invocation, begin_sync};
use kest::error::ConfigurationErrorKind;
use kest::policy::MockPolicyEngine;
use kest::{Error, Kest};
use kest_tests::{CALL, workload};

/// As the macro writes it for `shop::pay` where it saw a `kest.toml`.
static PAY: CallSpec = CallSpec { config_seen: Some("kest.toml"), ..CALL };

const BASELINE: &str = "[policies]\nplatform = [\"pci\"]\n";
const LIFTED: &str = "[policies]\nplatform = [\"pci\"]\n\
                      [[deviations]]\nscope = \"shop::pay\"\npolicy = \"pci\"\ntier = \"platform\"\n";

/// A call under a `Kest` with what the run finds, by an engine that allows all but the platform's policy.
fn pay() -> Result<(), Error> {
    let engine = MockPolicyEngine::allowing(["kest"]);
    let kest = Kest::builder().identity(workload("shop")).engine(engine).build()?;
    let _scope = kest.enter();
    begin_sync(Invocation::new(&PAY)).map(drop)
}

fn denied_by_platform() {
    let error = pay().unwrap_err();
    assert_eq!(
        error.denial().map(|denial| (denial.tier(), denial.policy())),
        Some(("platform", "pci")),
        "{error}"
    );
}

fn refused_without_configuration() {
    match pay().unwrap_err() {
        Error::Configuration(error) => {
            assert_eq!(error.kind(), ConfigurationErrorKind::MissingConfig, "{error}")
        }
        other => panic!("{other}"),
    }
}

/// A folder for one test, with a folder in it to start in.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("elsewhere-{test}"));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(place.join("here")).unwrap();
        Self(place)
    }

    fn with(self, file: &str, text: &str) -> Self {
        fs::write(self.0.join(file), text).unwrap();
        self
    }
}

const CHILD: &str = "KEST_TESTS_CHILD";

/// Runs `body` in a process that is started in `here` of the place.
fn started(test: &str, place: impl FnOnce() -> Place, config: Option<&str>, body: fn()) {
    if env::var_os(CHILD).is_some() {
        return body();
    }
    let place = place();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).current_dir(place.0.join("here"));
    command.env(CHILD, "1").env_remove("KEST_CONFIG").env_remove("KEST_ENV");
    if let Some(config) = config {
        command.env("KEST_CONFIG", place.0.join(config));
    }
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
}

#[test]
fn started_where_the_configuration_is_its_tiers_hold() {
    let test = "started_where_the_configuration_is_its_tiers_hold";
    started(test, || Place::new("there").with("here/kest.toml", BASELINE), None, denied_by_platform);
}

#[test]
fn started_in_another_folder_nothing_runs() {
    started(
        "started_in_another_folder_nothing_runs",
        || Place::new("another"),
        None,
        refused_without_configuration,
    );
}

#[test]
fn a_planted_file_above_supplies_no_deviation() {
    let test = "a_planted_file_above_supplies_no_deviation";
    started(test, || Place::new("above").with("kest.toml", LIFTED), None, refused_without_configuration);
}

#[test]
fn a_planted_file_here_does_not_replace_the_deployments() {
    started(
        "a_planted_file_here_does_not_replace_the_deployments",
        || Place::new("planted").with("here/kest.toml", LIFTED).with("deployed.toml", BASELINE),
        Some("deployed.toml"),
        denied_by_platform,
    );
}

#[test]
fn a_configuration_that_is_named_and_gone_is_an_error() {
    started(
        "a_configuration_that_is_named_and_gone_is_an_error",
        || Place::new("gone").with("here/kest.toml", LIFTED),
        Some("gone.toml"),
        || match pay().unwrap_err() {
            Error::Configuration(error) => {
                assert_eq!(error.kind(), ConfigurationErrorKind::ConfigFile, "{error}");
                assert!(error.to_string().contains("gone.toml"), "{error}");
            }
            other => panic!("{other}"),
        },
    );
}
