//! The log is brought into the database by the writer, and is kept where a flush has failed.

use std::fs;
use std::time::{Duration, Instant};

use kest_core::audit::AuditRecord;
use kest_core::error::AuditErrorKind;
use kest_core::identity::IdentityProvider as _;
use rusqlite::{Connection, ffi};

use super::super::error::failure;
use super::super::write::SqliteBackend;
use super::super::{SqliteAudit, SqliteAuditBuilder};
use super::{Folder, durability, small_blocks};
use crate::audit::item::tests::entry;
use crate::audit::item::{Item, KnownKeys};
use crate::audit::queue::Backend as _;
use crate::audit::{Seen, Store};
use crate::identity::LocalEd25519Provider;

fn item(signer: &LocalEd25519Provider, number: u64) -> Item {
    let jws = entry(signer, number, &["pii"]);
    let (hash, workload) = (jws.hash(), signer.workload_id().unwrap());
    Item::of(&AuditRecord::new(jws.as_str(), &hash, "id", &workload, signer), true, &KnownKeys::default())
        .unwrap()
}

/// How many entries stand in the database without its log.
fn brought(folder: &Folder) -> i64 {
    let alone = folder.0.join("alone.sqlite");
    std::fs::copy(folder.0.join("audit.sqlite"), &alone).unwrap();
    let db = Connection::open(format!("file:{}?immutable=1", alone.display())).unwrap();
    db.query_row("SELECT count(*) FROM entries", [], |row| row.get(0)).unwrap_or(0)
}

fn log_bytes(folder: &Folder) -> u64 {
    std::fs::metadata(folder.0.join("audit.sqlite-wal")).unwrap().len()
}

#[test]
fn a_log_that_grows_is_brought_into_the_database_while_entries_are_written() {
    let folder = Folder::new();
    let file = folder.0.join("audit.sqlite");
    let signer = LocalEd25519Provider::new().unwrap();
    let usual = SqliteAudit::builder(&file);
    let mut backend =
        SqliteBackend::open(SqliteAuditBuilder { log_bytes: usize::MAX, ..usual.clone() }).unwrap();
    for number in 0..20 {
        backend.write(&[&item(&signer, number)], &mut Vec::new()).unwrap();
    }
    assert_eq!(brought(&folder), 0, "a short log is left");
    backend.close().unwrap();
    drop(backend);

    let mut backend = SqliteBackend::open(SqliteAuditBuilder { log_bytes: 100_000, ..usual }).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let (mut number, mut before) = (20, brought(&folder));
    assert_eq!(before, 20, "closing leaves no log");
    // By the other thread, at some time, and by the writer itself, which begins the log anew.
    for round in 0..3 {
        while brought(&folder) == before {
            backend.write(&[&item(&signer, number)], &mut Vec::new()).unwrap();
            number += 1;
            assert!(Instant::now() < deadline, "round {round}: after {number} entries");
        }
        before = brought(&folder);
    }
    for _ in 0..400 {
        backend.write(&[&item(&signer, number)], &mut Vec::new()).unwrap();
        number += 1;
    }
    assert!(log_bytes(&folder) < 4_000_000, "{} bytes of log", log_bytes(&folder));
    backend.close().unwrap();
    assert_eq!(brought(&folder), i64::try_from(number).unwrap());
    let findings =
        Store::open(&file).unwrap().scan().unwrap().filter(|seen| !matches!(seen, Ok(Seen::Entry(_))));
    assert_eq!(findings.count(), 0);
}

#[test]
fn after_a_flush_that_failed_the_log_is_kept_for_the_next_process() {
    let folder = Folder::new();
    let file = folder.0.join("audit.sqlite");
    let signer = LocalEd25519Provider::new().unwrap();
    let mut backend = SqliteBackend::open(small_blocks(&file, 4)).unwrap();
    backend.write(&[&item(&signer, 1), &item(&signer, 2)], &mut Vec::new()).unwrap();
    let error = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None);
    let unsynced = failure("bring the log into", &file, error);
    assert!(unsynced.is_unsynced());
    backend.fails(&unsynced);
    assert!(log_bytes(&folder) > 4_096, "closing deletes no log then: {}", log_bytes(&folder));
    assert_eq!(brought(&folder), 0);
    let refused = backend.write(&[&item(&signer, 3)], &mut Vec::new()).unwrap_err();
    assert_eq!(refused.to_error().kind(), AuditErrorKind::Write);
    assert!(backend.repair().is_err(), "nothing makes up for it in this process");
    backend.close().unwrap();
    drop(backend);
    let mut next = SqliteBackend::open(small_blocks(&file, 4)).unwrap();
    next.write(&[&item(&signer, 4)], &mut Vec::new()).unwrap();
    next.close().unwrap();
    let seen: Vec<Seen> = Store::open(&file).unwrap().scan().unwrap().map(|seen| seen.unwrap()).collect();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|seen| matches!(seen, Seen::Entry(_))), "{seen:?}");
}

/// What a process that was killed has left.
fn killed(power: bool) -> (Folder, u64) {
    let (open, left) = (Folder::new(), Folder::new());
    let signer = LocalEd25519Provider::new().unwrap();
    let usual = SqliteAudit::builder(open.0.join("audit.sqlite")).durability(durability(power));
    let mut backend = SqliteBackend::open(usual).unwrap();
    for number in 0..10 {
        backend.write(&[&item(&signer, number)], &mut Vec::new()).unwrap();
    }
    for name in ["audit.sqlite", "audit.sqlite-wal"] {
        fs::copy(open.0.join(name), left.0.join(name)).unwrap();
    }
    let bytes = log_bytes(&left);
    assert!(bytes > 0 && brought(&left) == 0);
    (left, bytes)
}

#[test]
fn for_power_nothing_is_written_behind_what_an_earlier_process_has_left_in_the_log() {
    for power in [false, true] {
        let (folder, bytes) = killed(power);
        let file = folder.0.join("audit.sqlite");
        let backend = SqliteBackend::open(SqliteAudit::builder(&file).durability(durability(power))).unwrap();
        let expected = if power { (10, 0) } else { (0, bytes) };
        assert_eq!((brought(&folder), log_bytes(&folder)), expected, "power: {power}");
        drop(backend);
    }
    // A reader that holds the log: it cannot begin anew.
    let (folder, _) = killed(true);
    let file = folder.0.join("audit.sqlite");
    let reader = Connection::open(&file).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM entries").unwrap();
    let usual = SqliteAudit::builder(&file).durability(durability(true));
    let error = SqliteBackend::open(usual.clone()).unwrap_err().to_error();
    assert_eq!(error.kind(), AuditErrorKind::Locked, "{error}");
    assert!(error.to_string().contains("end the reader"), "{error}");
    drop(reader);
    SqliteBackend::open(usual).unwrap();
}

#[test]
fn no_new_database_is_begun_beside_the_log_of_another() {
    let (folder, bytes) = killed(false);
    let file = folder.0.join("audit.sqlite");
    let usual = SqliteAudit::builder(&file);
    fs::rename(&file, folder.0.join("aside")).unwrap();
    let refused = |text: &str| {
        let error = SqliteBackend::open(usual.clone()).unwrap_err().to_error();
        assert_eq!(error.kind(), AuditErrorKind::Open, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(log_bytes(&folder), bytes);
    };
    refused("put the database back");
    assert!(!file.exists(), "nothing was made there");
    fs::write(&file, "").unwrap();
    refused("put the database back");
    fs::remove_file(&file).unwrap();
    fs::rename(folder.0.join("aside"), &file).unwrap();
    drop(SqliteBackend::open(usual).unwrap());
    assert_eq!(Store::open(&file).unwrap().scan().unwrap().count(), 10);
}

#[test]
fn a_database_that_was_moved_takes_nothing_until_it_is_back() {
    for (name, replaced) in [
        ("audit.sqlite", false),
        ("audit.sqlite", true),
        ("audit.sqlite-wal", false),
        ("audit.sqlite-wal", true),
    ] {
        let folder = Folder::new();
        let file = folder.0.join("audit.sqlite");
        let signer = LocalEd25519Provider::new().unwrap();
        let mut backend = SqliteBackend::open(SqliteAudit::builder(&file)).unwrap();
        backend.write(&[&item(&signer, 0)], &mut Vec::new()).unwrap();
        let (moved, aside) = (folder.0.join(name), folder.0.join("aside"));
        fs::rename(&moved, &aside).unwrap();
        if replaced {
            fs::copy(&aside, &moved).unwrap();
        }
        for _ in 0..2 {
            let failure = backend.write(&[&item(&signer, 1)], &mut Vec::new()).unwrap_err();
            let error = failure.to_error();
            assert_eq!(error.kind(), AuditErrorKind::Changed, "{name}: {error}");
            let what = if replaced { "was replaced by another file" } else { "was moved or deleted" };
            assert!(error.to_string().contains(what), "{name}: {error}");
            assert_eq!(backend.repair().unwrap_err().to_error().kind(), AuditErrorKind::Changed);
            assert_eq!(moved.exists(), replaced, "{name}: nothing is made in its place");
        }
        fs::rename(&aside, &moved).unwrap();
        backend.write(&[&item(&signer, 2)], &mut Vec::new()).unwrap();
        backend.close().unwrap();
        drop(backend);
        assert_eq!(Store::open(&file).unwrap().scan().unwrap().count(), 2, "{name}");
    }
}

/// The locks of a process are gone when it closes any descriptor of the file. Then another one may take the database for
/// unused, and delete its log: SQLite does up to version 3.50.
#[cfg(target_os = "linux")]
#[test]
fn reading_a_store_in_the_process_that_writes_it_leaves_its_locks_alone() {
    use std::os::unix::fs::MetadataExt as _;

    let folder = Folder::new();
    let file = folder.0.join("audit.sqlite");
    let signer = LocalEd25519Provider::new().unwrap();
    let mut backend = SqliteBackend::open(SqliteAudit::builder(&file)).unwrap();
    backend.write(&[&item(&signer, 0)], &mut Vec::new()).unwrap();
    let locked = || {
        let (process, number) =
            (std::process::id().to_string(), format!(":{}", fs::metadata(&file).unwrap().ino()));
        let locks = fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|lock| {
            let fields: Vec<&str> = lock.split_whitespace().collect();
            fields.contains(&"READ")
                && fields.contains(&&*process)
                && fields.iter().any(|field| field.ends_with(&number))
        })
    };
    assert!(locked());
    let store = Store::open(&file).unwrap();
    assert!(locked(), "a look at the file has taken the lock away");
    assert_eq!(store.scan().unwrap().count(), 1);
    assert_eq!(store.keys().unwrap().workloads().count(), 1);
    assert!(locked());
    let listed = store.list(&crate::audit::Filter::default()).unwrap();
    drop(backend);
    let again = Store::open(&file).unwrap();
    assert!(locked(), "that of a reader");
    assert_eq!((listed.count(), again.scan().unwrap().count()), (1, 1));
    assert!(!locked());
}
