//! `tests/vectors/verify/`: for each check of the verifier a passport that it refuses. `KEST_BLESS=1` writes them anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use kest_core::verify::UnverifiedPassport;
use serde_json::{Value, json};
use verify_support::cases::{self, Case};
use verify_support::name_of;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/verify")
}

fn render(case: &Case) -> String {
    let value = json!({
        "anchors": case.anchors,
        "expect": case.expect,
        "name": case.name,
        "options": case.options,
        "passport": case.passport,
    });
    // Sorted by name, whatever the map's own order is.
    let sorted = kest_core::canonical::parse_strict(&kest_core::canonical::to_vec(&value).unwrap()).unwrap();
    format!("{}\n", serde_json::to_string_pretty(&sorted).unwrap())
}

/// Where files are written anew, nobody reads them half-written.
static FILES: Mutex<()> = Mutex::new(());

#[test]
fn the_files_are_what_the_table_makes() {
    let _files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let bless = std::env::var_os("KEST_BLESS").is_some();
    let cases = cases::all();
    for case in &cases {
        let path = folder().join(format!("{}.json", case.name));
        if bless {
            std::fs::write(&path, render(case)).unwrap();
        }
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            file == render(case),
            "{} differs; run with KEST_BLESS=1 and look at the change",
            path.display()
        );
    }
    let mut names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    names.sort_unstable();
    assert!(names.is_sorted_by(|a, b| a < b), "a name comes twice");
    assert_eq!(std::fs::read_dir(folder()).unwrap().count(), names.len(), "a file that no case makes");
}

#[test]
fn every_file_gets_its_verdict() {
    let _files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut failures = Vec::new();
    for file in std::fs::read_dir(folder()).unwrap() {
        let path = file.unwrap().path();
        let vector: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let verifier = cases::verifier(&vector["anchors"], &vector["options"]);
        let passport = UnverifiedPassport::deserialize(&vector["passport"].to_string()).unwrap();
        let found = match passport.verify(&verifier) {
            Ok(_) => Value::Null,
            Err(error) => json!({
                "entry": error.entry(),
                "step": error.step().as_str(),
                "failure": name_of(error.failure()),
            }),
        };
        if found != vector["expect"] {
            failures.push(format!("{}: {found} instead of {}", vector["name"], vector["expect"]));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
