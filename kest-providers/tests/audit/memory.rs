//! A check of a store needs no more memory than said, whatever the store has. In a process of its own, which is asked
//! what it took.

use std::process::{Command, Stdio};
use std::{env, fs};

use kest_core::audit::AuditSink as _;
use kest_core::verify::Verifier;
use kest_providers::audit::{Checked, FileAudit, Store};

use crate::support::{Folder, Kind, Says, sample_of, signer};

const FOLDER: &str = "KEST_TEST_AUDIT_MEMORY";

/// The most that this process ever took, in bytes.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
#[ignore = "run by `a_check_takes_no_more_memory_than_said`"]
fn child() {
    let store = Store::open(env::var_os(FOLDER).unwrap()).unwrap();
    let verifier = Verifier::builder().keys(store.keys().unwrap()).build();
    let before = peak();
    let checks = store.scan().unwrap().check(&verifier, Some(8)).unwrap();
    let mut good = 0;
    for checked in checks {
        let Checked::Entry(_, verdict) = checked.unwrap() else { panic!("a finding") };
        good += usize::from(verdict.is_ok());
    }
    println!("good {good} took {}", peak() - before);
}

#[test]
fn a_check_takes_no_more_memory_than_said() {
    let signer = signer("a");
    // As large as entries of a passport may be, as large as a sink takes them, and made of many small pieces.
    let many: serde_json::Map<String, serde_json::Value> =
        (0..4_000).map(|n| (format!("{n:04}"), "x".into())).collect();
    let many = serde_json::Value::Object(many);
    for (count, good, says) in [
        (700, true, Says { operation: "pay", padding: 60_000, ..Says::default() }),
        (100, false, Says { operation: "pay", padding: 780_000, ..Says::default() }),
        (500, true, Says { operation: "pay", user: Some(many), ..Says::default() }),
    ] {
        let folder = Folder::new();
        let path = Kind::File.path(folder.path());
        let sink = FileAudit::open(&path).unwrap();
        let sample = sample_of(&signer, 1, &says);
        for _ in 0..count {
            sink.append(&sample.record()).unwrap();
        }
        drop(sink);
        let output = Command::new(env::current_exe().unwrap())
            .args(["memory::child", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, &path)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
        let told = out.lines().find_map(|line| line.split_once("good ")).expect("what it took").1;
        let (passed, took) = told.split_once(" took ").unwrap();
        assert_eq!(passed.parse::<usize>().unwrap(), if good { count } else { 0 });
        let took: usize = took.parse().unwrap();
        println!("{count} entries of {} bytes: {} MiB", sample.jws.as_str().len(), took >> 20);
        assert!(took < 64 << 20, "{took} bytes for entries of {} each", sample.jws.as_str().len());
    }
}
