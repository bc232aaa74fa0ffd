//! The writer's side: one transaction for a batch.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kest_core::audit::RecordKind;
use kest_core::config::Durability;
use kest_core::error::AuditErrorKind;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _};

use super::SqliteAuditBuilder;
use super::connect::{connect, create, renew};
use super::error::{changed, failure, unsynced};
use super::head::{self, Head};
use super::held::{Held, log_of};
use super::log::Log;
use super::postings::OpenBlock;
use super::retire::{self, delete_before};
use crate::audit::failure::Failure;
use crate::audit::file::{lock, now_ms};
use crate::audit::item::{Item, Kept};
use crate::audit::private::FileId;
use crate::audit::queue::Backend;

#[derive(Debug)]
pub(super) struct SqliteBackend {
    pub(super) settings: SqliteAuditBuilder,
    pub(super) db: Option<Connection>,
    pub(super) head: Head,
    pub(super) open_block: OpenBlock,
    pub(super) log: Log,
    pub(super) held: Held,
    /// The log's file, as long as the database is open.
    pub(super) log_file: Option<FileId>,
    /// When the last entry was received, if it is there.
    pub(super) last_ms: Option<u64>,
    pub(super) keys: Kept,
    retired: Option<Instant>,
    /// How many entries retention has deleted.
    deleted: u64,
    /// Whether what the database has may differ from `head`.
    stale: bool,
    /// Whether retention may have happened, although it said that it had not.
    retiring: bool,
    /// The device failed to flush: what it has is not known, and SQLite cannot find out.
    unsynced: bool,
    /// Held as long as the store is open.
    lock: File,
}

impl SqliteBackend {
    pub(super) fn open(settings: SqliteAuditBuilder) -> Result<Self, Failure> {
        let mut beside = settings.path.clone().into_os_string();
        beside.push(".lock");
        let lock = lock(Path::new(&beside))?;
        create(&settings.path)?;
        let held = Held::new(&settings.path)
            .map_err(|error| Failure::io("look at", &settings.path, error).opening())?;
        let db = connect(&settings)?;
        let cannot = |error| failure("read", &settings.path, error).opening();
        if settings.durability == Durability::Power {
            renew(&db, &settings.path)?;
        }
        let head = Head::read(&db).map_err(cannot)?;
        let last_ms = last_received(&db, &head).map_err(cannot)?;
        let open_block = read_open_block(&db, &head).map_err(cannot)?;
        let mut backend = Self {
            settings,
            db: Some(db),
            head,
            open_block,
            log: Log::default(),
            held,
            log_file: None,
            last_ms,
            keys: Kept::default(),
            retired: None,
            deleted: 0,
            stale: false,
            retiring: false,
            unsynced: false,
            lock,
        };
        backend.log_file = log_file(&backend.settings.path);
        backend.retire(backend.head.seq);
        Ok(backend)
    }

    /// Whether what was written is where readers will look for it.
    pub(super) fn undisturbed(&self) -> Result<(), Failure> {
        self.held.undisturbed(&self.settings.path, self.log_file)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.settings.path.clone()
    }

    /// Deletes what is too old where there is no room, without regard to when that was done last. Whether there may be
    /// room then.
    fn makes_room(&mut self) -> bool {
        const ROUNDS: usize = 8;
        if self.settings.retain_age.is_none() || self.repair().is_err() {
            return false;
        }
        let first = self.deleted;
        for _ in 0..ROUNDS {
            self.retired = None;
            self.retire(self.head.seq);
            // All of it is gone, or it failed.
            if self.stale || self.retired.is_some() {
                break;
            }
        }
        self.deleted > first && !self.stale
    }

    /// Deletes what is too old and not after `last`, as its own transaction. It stays when that fails.
    fn retire(&mut self, last: i64) {
        let Some(age) = self.settings.retain_age else { return };
        // Each time is told in the chain, so not all too often.
        let interval = (age / 256).clamp(Duration::from_secs(1), Duration::from_secs(3_600));
        if self.retired.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        let path = self.path();
        let Some(db) = &mut self.db else { return };
        let (age, now) = (u64::try_from(age.as_millis()).unwrap_or(u64::MAX), now_ms());
        match delete_before(db, &mut self.head, last, now.saturating_sub(age), now) {
            Ok(deleted) => {
                // There is more: after the next batch.
                self.retired = (deleted < retire::MOST).then(Instant::now);
                self.deleted += deleted as u64;
                if deleted > 0 {
                    tracing::info!(target: "kest", deleted, "audit entries older than `retain_age` were deleted");
                }
            }
            Err(error) => {
                self.retired = Some(Instant::now());
                (self.stale, self.retiring) = (true, true);
                let error = failure("delete old entries of", &path, error);
                tracing::warn!(target: "kest", %error, "audit entries older than `retain_age` stay");
                self.fails(&error);
            }
        }
    }

    /// After an error nothing in memory counts.
    pub(super) fn fails(&mut self, failure: &Failure) {
        self.keys = Kept::default();
        self.unsynced |= failure.is_unsynced();
        if self.unsynced {
            // Closing would believe the next flush, and delete the log: whoever opens the store next is to have all of
            // it to copy.
            let _ = self.leave();
        }
    }

    /// Closes the database and leaves its log as it is. An error is that of the last pass.
    fn leave(&mut self) -> rusqlite::Result<()> {
        let passed = self.log.rest();
        self.log_file = None;
        if let Some(db) = self.db.take() {
            let _ = db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        passed
    }

    /// Brings the log into the database from time to time. If the device failed to flush, SQLite copies what it has not
    /// yet copied once more and is content when that is flushed; what it had copied before, while a reader held the log, is
    /// not known to be there, so that nothing is taken any more.
    fn shorten_log(&mut self) -> Result<(), Failure> {
        let path = self.path();
        let Some(db) = &self.db else { return Err(unsynced(&path)) };
        let Err(error) = self.log.shorten(db, &self.settings) else { return Ok(()) };
        let failure = failure("bring the log into", &path, error);
        if failure.is_unsynced() {
            self.stale = true;
            self.fails(&failure);
            return Err(failure);
        }
        // The log has it all the same.
        tracing::warn!(target: "kest", error = %failure, "the log of the audit store grows");
        Ok(())
    }

    /// Receipts of denials in a transaction of their own: what fails there is theirs alone.
    fn insert_receipts(&mut self, receipts: &[(usize, &Item)], refused: &mut Vec<(usize, Failure)>) {
        let path = self.path();
        let before = refused.len();
        let room = self
            .db
            .as_ref()
            .ok_or_else(|| unsynced(&path))
            .and_then(|db| has_spare_room(db).map_err(|error| failure("read", &path, error)));
        let written = match room {
            Ok(true) => self.insert(receipts, refused),
            Ok(false) => {
                let why = "receipts of denials leave the last tenth of `max_bytes` to entries";
                let failure = Failure::new(AuditErrorKind::Full, why);
                refused.extend(receipts.iter().map(|(index, _)| (*index, failure.clone())));
                Ok(())
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = written {
            self.stale = true;
            self.fails(&failure);
            refused.truncate(before);
            refused.extend(receipts.iter().map(|(index, _)| (*index, failure.clone())));
        }
    }
}

impl Backend for SqliteBackend {
    fn write(&mut self, items: &[&Item], refused: &mut Vec<(usize, Failure)>) -> Result<(), Failure> {
        self.undisturbed()?;
        if self.stale {
            self.repair()?;
        }
        self.shorten_log()?;
        let last = self.head.seq;
        let all = items.iter().copied().enumerate();
        let (receipts, entries): (Vec<_>, Vec<_>) =
            all.partition(|(_, item)| item.kind == RecordKind::Denial);
        let mut written = if entries.is_empty() { Ok(()) } else { self.insert(&entries, refused) };
        if written.as_ref().is_err_and(Failure::is_full) {
            (self.keys, self.stale) = (Kept::default(), true);
            if self.makes_room() {
                refused.clear();
                written = self.insert(&entries, refused);
            }
        }
        match &written {
            // What was just written stays, whatever the clock says.
            Ok(()) => {
                if !receipts.is_empty() {
                    self.insert_receipts(&receipts, refused);
                    refused.sort_by_key(|(index, _)| *index);
                }
                if !self.stale {
                    self.retire(last);
                }
            }
            Err(failure) => {
                self.stale = true;
                self.fails(failure);
            }
        }
        written
    }

    fn repair(&mut self) -> Result<(), Failure> {
        let path = self.path();
        if self.unsynced {
            return Err(unsynced(&path));
        }
        self.undisturbed()?;
        // On a disk that is full bringing the log over would take what room there is for entries.
        if let Err(error) = self.leave() {
            let failure = failure("bring the log into", &path, error);
            self.unsynced |= failure.is_unsynced();
            if self.unsynced {
                return Err(failure);
            }
        }
        let db = connect(&self.settings)?;
        let head = Head::read(&db).map_err(|error| failure("read", &path, error))?;
        // A transaction whose outcome was not known may have happened. Its calls were refused; their entries stay.
        let other = head.seq == self.head.seq && head.link != self.head.link && !self.retiring;
        if other || head.seq < self.head.seq || head.keys_seq < self.head.keys_seq {
            return Err(changed(&path));
        }
        self.last_ms = last_received(&db, &head).map_err(|error| failure("read", &path, error))?;
        self.open_block = read_open_block(&db, &head).map_err(|error| failure("read", &path, error))?;
        self.head = head;
        self.keys = Kept::default();
        (self.stale, self.retiring) = (false, false);
        self.db = Some(db);
        self.log_file = log_file(&path);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure> {
        let path = self.path();
        let passed = match self.log.rest() {
            Err(error) => Err(failure("bring the log into", &path, error)),
            Ok(()) => Ok(()),
        };
        if passed.as_ref().is_err_and(Failure::is_unsynced) {
            let _ = self.leave();
        }
        let closed = match self.db.take() {
            None => passed,
            Some(db) => db.close().map_err(|(_, error)| failure("close", &path, error)),
        };
        let unlocked = self.lock.unlock();
        closed.and(unlocked.map_err(|error| Failure::io("unlock", &path, error)))
    }

    fn batch_bytes(&self) -> usize {
        4 << 20
    }
}

fn log_file(path: &Path) -> Option<FileId> {
    fs::symlink_metadata(log_of(path)).ok().map(|about| FileId::of(&about))
}

fn read_open_block(db: &Connection, head: &Head) -> rusqlite::Result<OpenBlock> {
    OpenBlock::read(db, head::blocks(db)?, head.seq)
}

/// Whether a tenth of the pages that may be used is free: receipts of denials leave that to entries.
fn has_spare_room(db: &Connection) -> rusqlite::Result<bool> {
    let number = |name: &str| db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let most = number("max_page_count")?;
    let used = number("page_count")? - number("freelist_count")?;
    Ok(most - used >= most / 10)
}

fn last_received(db: &Connection, head: &Head) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT received_ms FROM entries WHERE seq = ?1";
    let last: Option<i64> = db.query_row(sql, [head.seq], |row| row.get(0)).optional()?;
    Ok(last.and_then(|last| u64::try_from(last).ok()))
}
