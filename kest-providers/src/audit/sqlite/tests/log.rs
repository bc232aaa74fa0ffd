//! The log is brought into the database by the writer, and is kept where a flush has failed.

use std::time::{Duration, Instant};

use kest_core::audit::AuditRecord;
use kest_core::error::AuditErrorKind;
use kest_core::identity::IdentityProvider as _;
use rusqlite::{Connection, ffi};

use super::super::error::failure;
use super::super::write::SqliteBackend;
use super::super::{SqliteAudit, SqliteAuditBuilder};
use super::{Folder, small_blocks};
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
