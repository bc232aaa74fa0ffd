//! The log is brought into the database by the writer, and is kept where a flush has failed.

use kest_core::audit::AuditRecord;
use kest_core::error::AuditErrorKind;
use kest_core::identity::IdentityProvider as _;
use rusqlite::{Connection, ffi};

use super::super::error::failure;
use super::super::write::SqliteBackend;
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

#[test]
fn a_long_log_is_brought_into_the_database_and_one_that_is_not_is_left() {
    let folder = Folder::new();
    let file = folder.0.join("audit.sqlite");
    let signer = LocalEd25519Provider::new().unwrap();
    let mut backend = SqliteBackend::open(small_blocks(&file, 4)).unwrap();
    // What stands in the database without its log.
    let brought = || {
        let alone = folder.0.join("alone.sqlite");
        std::fs::copy(&file, &alone).unwrap();
        let uri = format!("file:{}?immutable=1", alone.display());
        let db = Connection::open(uri).unwrap();
        db.query_row("SELECT count(*) FROM entries", [], |row| row.get::<_, i64>(0)).unwrap_or(0)
    };
    for number in 0..3 {
        backend.write(&[&item(&signer, number)], &mut Vec::new()).unwrap();
    }
    assert_eq!(brought(), 0);
    backend.log.is_long();
    for number in 3..6 {
        backend.write(&[&item(&signer, number)], &mut Vec::new()).unwrap();
    }
    assert_eq!(brought(), 3);
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
    let log = std::fs::metadata(folder.0.join("audit.sqlite-wal")).unwrap();
    assert!(log.len() > 4_096, "closing deletes no log then: {}", log.len());
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
