//! Authority comes from where the caller says, and from nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use support::{Lineage, Run, SHOW, VERIFY, kest, run_in};

const NOBODY: &str = "[verification.authority]\n\"spiffe://elsewhere.example\" = \"own\"\n";
const US: &str = "[verification.authority]\n\"spiffe://example.org\" = \"own\"\n";

fn strict() -> Vec<&'static str> {
    [&VERIFY[..], &["--strict"]].concat()
}

fn lineage() -> std::path::PathBuf {
    let mut lineage = Lineage::new();
    lineage.add(&[], |_| {});
    lineage.write()
}

fn with_env(folder: &Path, args: &[&str], config: &str) -> Run {
    kest(args).current_dir(folder).env("KEST_CONFIG", config).stdin(Stdio::null()).output().unwrap().into()
}

#[test]
fn a_configuration_in_the_working_directory_is_not_read() {
    let folder = lineage();
    fs::write(folder.join("kest.toml"), NOBODY).unwrap();
    assert_eq!(run_in(&folder, &strict()).code, 0);
    fs::write(folder.join("kest.toml"), "nonsense").unwrap();
    assert_eq!(run_in(&folder, &strict()).code, 0);
    assert_eq!(with_env(&folder, &strict(), "").code, 0);
}

#[test]
fn authority_is_what_the_named_configuration_gives() {
    let folder = lineage();
    fs::write(folder.join("nobody.toml"), NOBODY).unwrap();
    fs::write(folder.join("us.toml"), US).unwrap();
    let config = |file: &str| run_in(&folder, &[&strict()[..], &["--config", file]].concat());
    let refused = config("nobody.toml");
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    assert!(refused.stdout.contains("[verification.authority]"), "{}", refused.stdout);
    assert_eq!(config("us.toml").code, 0);
    assert_eq!(with_env(&folder, &strict(), "nobody.toml").code, 1);
    assert_eq!(with_env(&folder, &strict(), "us.toml").code, 0);
    // What the command line says goes before the environment.
    let both = with_env(&folder, &[&strict()[..], &["--config", "us.toml"]].concat(), "nobody.toml");
    assert_eq!(both.code, 0);
    // Beyond authority is an error under --strict alone.
    assert_eq!(with_env(&folder, &SHOW, "nobody.toml").code, 0);
    assert!(with_env(&folder, &SHOW, "nobody.toml").stdout.contains("beyond its authority"));
}

#[test]
fn sources_of_the_configuration_are_known() {
    let mut lineage = Lineage::new();
    lineage.add(&[], |payload| {
        payload["metadata"]["trust"]["source_type"] = json!("fax");
        payload["trust_score"] = json!(20);
    });
    let folder = lineage.write();
    fs::write(folder.join("known.toml"), "[trust.sources]\nfax = 20\n").unwrap();
    fs::write(folder.join("lower.toml"), "[trust.sources]\nfax = 10\n").unwrap();
    assert!(run_in(&folder, &VERIFY).stdout.contains("semantics     not checked"));
    assert!(with_env(&folder, &VERIFY, "known.toml").stdout.contains("semantics     pass"));
    let lower = with_env(&folder, &VERIFY, "lower.toml");
    assert_eq!(lower.code, 1);
    assert!(lower.stdout.contains("semantics     fail"), "{}", lower.stdout);
}

#[test]
fn a_configuration_that_cannot_be_used_is_an_error() {
    let folder = lineage();
    fs::write(folder.join("bad.toml"), "[verification.authority]\n\"spiffe://example.org\" = \"owner\"\n")
        .unwrap();
    fs::write(folder.join("unknown.toml"), "[verifikation]\n").unwrap();
    for (file, reason) in
        [("bad.toml", "`owner` is no kind"), ("unknown.toml", "verifikation"), ("nope.toml", "nope.toml")]
    {
        for args in [VERIFY, SHOW] {
            with_env(&folder, &args, file).unusable(reason);
            run_in(&folder, &[&args[..], &["--config", file]].concat()).unusable(reason);
        }
    }
}
