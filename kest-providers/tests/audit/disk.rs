//! Real file systems that are full, or read-only: small ones, mounted where nobody else sees them.
//!
//! `unshare` and the right to mount are needed, so these tests run when they are asked for, as `.ci/run` does:
//! `cargo test -p kest-providers --all-features --test audit -- --ignored --exact disk::full disk::full_frees_itself
//! disk::read_only`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use kest_core::audit::AuditSink as _;
use kest_core::config::Durability;
use kest_core::error::AuditErrorKind;
use kest_providers::audit::{FileAudit, Store};

use crate::support::{Folder, KINDS, Kind, Says, read, sample, sample_of, signer};

const FOLDER: &str = "KEST_TEST_AUDIT_DISK";

/// Runs a test of this file on a disk of three megabytes of its own.
fn on_a_disk(test: &str) {
    let folder = Folder::new();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg(format!("mount -t tmpfs -o size=3m kest \"${FOLDER}\" && exec \"$0\" \"$@\""))
        .arg(env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("`unshare` of util-linux");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{test}:\n{out}\n{err}");
    println!("{out}");
}

fn disk() -> PathBuf {
    let folder = env::var_os(FOLDER).expect("run by the tests above");
    PathBuf::from(folder)
}

#[test]
#[ignore = "needs `unshare` and the right to mount"]
fn full() {
    on_a_disk("disk::child_full");
}

#[test]
#[ignore = "needs `unshare` and the right to mount"]
fn full_frees_itself() {
    on_a_disk("disk::child_full_frees_itself");
}

#[test]
#[ignore = "needs `unshare` and the right to mount"]
fn read_only() {
    on_a_disk("disk::child_read_only");
}

#[test]
#[ignore = "run by `disk::full`"]
fn child_full() {
    for kind in KINDS {
        for durability in [Durability::Process, Durability::Power] {
            let folder = disk().join(format!("{kind:?}-{durability:?}"));
            fs::create_dir(&folder).unwrap();
            fill(*kind, durability, &folder);
            fs::remove_dir_all(&folder).unwrap();
        }
    }
}

fn fill(kind: Kind, durability: Durability, folder: &Path) {
    let what = format!("{kind:?} {durability:?}");
    let ballast = folder.join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let sink = kind.open_as(folder, durability).unwrap();
    let signer = signer("a");
    let says = Says { operation: "pay", padding: 9_000, ..Says::default() };
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for number in 0..2_000 {
        let sample = sample_of(&signer, number, &says);
        match sink.append(&sample.record()) {
            Ok(()) => acknowledged.push(sample.jws.into_string()),
            Err(error) => {
                assert_eq!(error.kind(), AuditErrorKind::Full, "{what}: {error}");
                assert!(error.to_string().contains("make room"), "{error}");
                refused += 1;
                if refused == 20 {
                    break;
                }
            }
        }
    }
    let before = acknowledged.len();
    assert!(refused == 20 && before > 20, "{what}: {before} acknowledged, {refused} refused");
    fs::remove_file(&ballast).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    for number in 5_000.. {
        let sample = sample(&signer, number);
        let answer = sink.append(&sample.record());
        if answer.is_ok() {
            acknowledged.push(sample.jws.into_string());
        }
        if acknowledged.len() == before + 5 {
            break;
        }
        assert!(Instant::now() < deadline, "{what}: there is room, and it takes nothing: {answer:?}");
        thread::yield_now();
    }
    drop(sink);
    let (entries, findings) = read(&kind.store(folder));
    assert_eq!(findings, [], "{what}");
    let stored: HashSet<&str> = entries.iter().map(|stored| stored.jws.as_str()).collect();
    assert!(acknowledged.iter().all(|jws| stored.contains(jws.as_str())), "{what}: one is lost");
    println!("{what}: full after {before} entries, and none lost");
}

#[test]
#[ignore = "run by `disk::full_frees_itself`"]
fn child_full_frees_itself() {
    for durability in [Durability::Process, Durability::Power] {
        let folder = disk().join(format!("{durability:?}"));
        fs::create_dir(&folder).unwrap();
        let ballast = folder.join("ballast");
        // Segments are never ended by age: it is a full disk that ends them, and then old ones go.
        let age = Duration::from_millis(100);
        let builder = FileAudit::builder(Kind::File.path(&folder)).durability(durability);
        let sink = builder.rotate_bytes(200_000).rotate_age(age * 10_000).retain_age(age).open().unwrap();
        let signer = signer("a");
        let says = Says { operation: "pay", padding: 9_000, ..Says::default() };
        let deadline = Instant::now() + Duration::from_secs(60);
        let (mut acknowledged, mut refused) = (Vec::new(), 0);
        for number in 0.. {
            let sample = sample_of(&signer, number, &says);
            match sink.append(&sample.record()) {
                Ok(()) => acknowledged.push(sample.jws.into_string()),
                Err(error) => {
                    assert_eq!(error.kind(), AuditErrorKind::Full, "{error}");
                    refused += 1;
                }
            }
            if number == 20 {
                // To the last byte.
                let mut ballast = fs::File::create(&ballast).unwrap();
                while std::io::Write::write_all(&mut ballast, &[1; 512]).is_ok() {}
            }
            if refused > 0 && acknowledged.len() >= 250 {
                break;
            }
            assert!(Instant::now() < deadline, "{} acknowledged, {refused} refused", acknowledged.len());
        }
        drop(sink);
        let (entries, findings) = read(&Kind::File.store(&folder));
        assert_eq!(findings, [], "{durability:?}");
        let kept: Vec<&str> = entries.iter().map(|stored| stored.jws.as_str()).collect();
        let first = acknowledged.iter().position(|jws| *jws == kept[0]).unwrap();
        assert_eq!(kept, acknowledged[first..], "{durability:?}: all but a beginning");
        assert!(first > 0, "{durability:?}");
        println!(
            "{durability:?}: {refused} refused before it freed itself, {first} of {} went",
            acknowledged.len()
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
#[ignore = "run by `disk::read_only`"]
fn child_read_only() {
    let disk = disk();
    let signer = signer("a");
    for kind in KINDS {
        let sink = kind.open(&disk).unwrap();
        for number in 0..20 {
            sink.append(&sample(&signer, number).record()).unwrap();
        }
    }
    let status = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk).status().unwrap();
    assert!(status.success());
    for kind in KINDS {
        let error = kind.open(&disk).unwrap_err();
        assert_eq!(error.kind(), AuditErrorKind::Open, "{kind:?}: {error}");
        assert!(error.to_string().contains("mount it writable"), "{kind:?}: {error}");
        // An auditor reads it all the same.
        let store = Store::open(kind.path(&disk)).unwrap();
        let (entries, findings) = read(&store);
        assert_eq!((entries.len(), findings.len()), (20, 0), "{kind:?}: {findings:?}");
        assert_eq!(store.keys().unwrap().workloads().count(), 1);
        assert_eq!(store.list(&Default::default()).unwrap().count(), 20);
    }
}
