//! Who may read a store, and that nothing is written through a symbolic link.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use kest_core::audit::AuditSink as _;
use kest_core::config::Durability;
use kest_core::error::AuditErrorKind;
use kest_providers::audit::{FileAudit, SqliteAudit};

use crate::support::{Folder, Kind, sample, segments, signer};

const FOLDER: &str = "KEST_TEST_AUDIT_MODES";

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
#[ignore = "run by `a_store_is_for_its_owner_alone_whatever_the_umask`"]
fn child() {
    let folder = env::var_os(FOLDER).unwrap();
    let signer = signer("a");
    for durability in [Durability::Process, Durability::Power] {
        let builder = FileAudit::builder(&folder).rotate_bytes(6_000).durability(durability);
        let sink = builder.open().unwrap();
        for number in 0..20 {
            sink.append(&sample(&signer, number).record()).unwrap();
        }
        drop(sink);
        // A torn line is put aside when the store is next opened.
        let folder = Path::new(&folder);
        let last = segments(folder.parent().unwrap()).pop().unwrap();
        let mut text = fs::read(&last).unwrap();
        text.extend_from_slice(b"{\"v\":1,\"received_ms\":");
        fs::write(last, text).unwrap();
        drop(FileAudit::open(folder).unwrap());
    }
}

#[test]
#[ignore = "run by `a_database_is_for_its_owner_alone_whatever_the_umask`"]
fn child_with_a_database() {
    let folder = env::var_os(FOLDER).unwrap();
    let sink = SqliteAudit::open(Path::new(&folder).join("audit.sqlite")).unwrap();
    sink.append(&sample(&signer("a"), 0).record()).unwrap();
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for end in ["audit.sqlite", "audit.sqlite-wal", "audit.sqlite-shm", "audit.sqlite.lock"] {
        let file = files.iter().find(|file| file.to_string_lossy().ends_with(end));
        assert_eq!(file.map(|file| mode(file)), Some(0o600), "{end} of {files:?}");
    }
    assert_eq!(files.len(), 4, "{files:?}");
}

#[test]
fn a_database_is_for_its_owner_alone_whatever_the_umask() {
    for umask in ["000", "022", "377"] {
        let folder = Folder::new();
        let output = Command::new("sh")
            .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
            .arg(env::current_exe().unwrap())
            .args(["modes::child_with_a_database", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{umask}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn a_database_behind_a_symbolic_link_is_refused() {
    let folder = Folder::new();
    let (link, target) = (folder.path().join("audit.sqlite"), folder.path().join("target"));
    symlink(&target, &link).unwrap();
    for _ in 0..2 {
        let error = SqliteAudit::open(&link).unwrap_err();
        assert_eq!(error.kind(), AuditErrorKind::Open);
        assert!(error.to_string().contains("symbolic link"), "{error}");
        // First nothing is made there, then what is there is not taken.
        assert!(!target.exists() || fs::read(&target).unwrap().is_empty());
        fs::write(&target, "").unwrap();
    }
}

#[test]
fn a_store_is_for_its_owner_alone_whatever_the_umask() {
    for umask in ["000", "022", "377"] {
        for there in [false, true] {
            let folder = Folder::new();
            let store = Kind::File.path(folder.path());
            if there {
                fs::create_dir(&store).unwrap();
                fs::set_permissions(&store, fs::Permissions::from_mode(0o750)).unwrap();
            }
            let output = Command::new("sh")
                .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
                .arg(env::current_exe().unwrap())
                .args(["modes::child", "--exact", "--ignored", "--nocapture"])
                .env(FOLDER, &store)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(mode(&store), if there { 0o750 } else { 0o700 }, "{umask}");
            let mut kinds = Vec::new();
            for entry in fs::read_dir(&store).unwrap() {
                let path = entry.unwrap().path();
                assert_eq!(mode(&path), 0o600, "{umask}: {path:?}");
                kinds.extend(path.extension().map(|kind| kind.to_string_lossy().into_owned()));
            }
            assert!(kinds.contains(&"jsonl".to_owned()) && kinds.contains(&"torn".to_owned()), "{kinds:?}");
        }
    }
}

#[test]
fn nothing_is_written_through_a_symbolic_link() {
    let signer = signer("a");
    let open =
        |folder: &Folder| FileAudit::builder(Kind::File.path(folder.path())).rotate_bytes(3_000).open();
    let store = |folder: &Folder| Kind::File.path(folder.path());

    let folder = Folder::new();
    fs::create_dir(store(&folder)).unwrap();
    let target = folder.path().join("target");
    symlink(&target, store(&folder).join("lock")).unwrap();
    let error = open(&folder).unwrap_err();
    assert_eq!(error.kind(), AuditErrorKind::Open);
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert!(!target.exists());
    fs::write(&target, "").unwrap();
    assert!(open(&folder).unwrap_err().to_string().contains("symbolic link"));

    let folder = Folder::new();
    drop(open(&folder).unwrap());
    let (live, target) = (segments(folder.path()).pop().unwrap(), folder.path().join("target"));
    fs::rename(&live, &target).unwrap();
    symlink(&target, &live).unwrap();
    let error = open(&folder).unwrap_err();
    assert_eq!(error.kind(), AuditErrorKind::Open);
    assert!(error.to_string().contains("symbolic link"), "{error}");

    let folder = Folder::new();
    let sink = open(&folder).unwrap();
    let target = folder.path().join("target");
    symlink(&target, store(&folder).join("0000000002.jsonl")).unwrap();
    let error = (0..20).find_map(|number| sink.append(&sample(&signer, number).record()).err()).unwrap();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert!(!target.exists());
}

#[test]
fn what_is_no_regular_file_is_refused_and_not_waited_for() {
    let folder = Folder::new();
    let store = Kind::File.path(folder.path());
    fs::create_dir(&store).unwrap();
    let made = Command::new("mkfifo").arg(store.join("0000000001.jsonl")).status().unwrap();
    assert!(made.success());
    let error = FileAudit::open(&store).unwrap_err();
    assert_eq!(error.kind(), AuditErrorKind::Open);
    assert!(error.to_string().contains("no regular file"), "{error}");
}
