//! Every mistake in an attribute is a compile error on the offending token that names the fix. Spec §7.
//!
//! `trybuild` compiles in a workspace of its own, so the catalog is named by `KEST_CONFIG`; each
//! catalog is one run of this test with that variable.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::env;
use std::path::Path;
use std::process::Command;

/// The cases to compile in this process.
const CASES: &str = "KEST_UI_CASES";

#[test]
fn messages() {
    match env::var(CASES).as_deref() {
        Ok("known") => {
            let cases = trybuild::TestCases::new();
            cases.pass("cases/pass.rs");
            for case in cases_of("cases") {
                if !case.ends_with("pass.rs") {
                    cases.compile_fail(case);
                }
            }
        }
        Ok(folder) => {
            let cases = trybuild::TestCases::new();
            for case in cases_of(&format!("cases/{folder}")) {
                cases.compile_fail(case);
            }
        }
        Err(_) => {
            again("known", Some("catalog/kest.toml"));
            again("no_catalog", None);
            again("broken_config", Some("catalog/broken/kest.toml"));
        }
    }
}

fn cases_of(folder: &str) -> Vec<String> {
    let mut cases: Vec<String> = Path::new(folder)
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.to_str().unwrap().to_owned())
        .collect();
    assert!(!cases.is_empty(), "no case in {folder}");
    cases.sort();
    cases
}

/// Runs this test once more, with the catalog named.
fn again(cases: &str, config: Option<&str>) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["messages", "--exact", "--nocapture"]).env(CASES, cases);
    match config {
        Some(path) => command.env("KEST_CONFIG", Path::new(env!("CARGO_MANIFEST_DIR")).join(path)),
        None => command.env_remove("KEST_CONFIG"),
    };
    let status = command.status().unwrap();
    assert!(status.success(), "cases `{cases}` failed; see above");
}
