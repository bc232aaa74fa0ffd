//! The writer's side: one transaction for a batch.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kest_core::audit::RecordKind;
use kest_core::error::AuditErrorKind;
use rusqlite::{
    CachedStatement, Connection, OptionalExtension as _, Transaction, TransactionBehavior, params,
};

use super::connect::connect;
use super::error::{failure, unsynced};
use super::head::Head;
use super::retire::{self, delete_before};
use super::rows::{intern, keep_keys};
use super::{SqliteAuditBuilder, step, whole};
use crate::audit::chain;
use crate::audit::failure::Failure;
use crate::audit::file::{lock, now_ms};
use crate::audit::item::{Columns, Item, Kept, KeyRecord};
use crate::audit::queue::Backend;

#[derive(Debug)]
pub(super) struct SqliteBackend {
    settings: SqliteAuditBuilder,
    db: Option<Connection>,
    head: Head,
    /// When the last entry was received, if it is there.
    last_ms: Option<u64>,
    names: HashMap<String, i64>,
    keys: Kept,
    denial_bytes: u64,
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
        let db = connect(&settings)?;
        let cannot = |error| failure("read", &settings.path, error).opening();
        let head = Head::read(&db).map_err(cannot)?;
        let last_ms = last_received(&db, &head).map_err(cannot)?;
        let denial_bytes = count_denials(&db).map_err(cannot)?;
        let mut backend = Self {
            settings,
            db: Some(db),
            head,
            last_ms,
            names: HashMap::new(),
            keys: Kept::default(),
            denial_bytes,
            retired: None,
            deleted: 0,
            stale: false,
            retiring: false,
            unsynced: false,
            lock,
        };
        backend.retire(backend.head.seq);
        Ok(backend)
    }

    fn path(&self) -> PathBuf {
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
                    // Receipts were among them.
                    self.denial_bytes = count_denials(db).unwrap_or(self.denial_bytes);
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
    fn fails(&mut self, failure: &Failure) {
        self.names.clear();
        self.keys = Kept::default();
        self.unsynced |= failure.is_unsynced();
        if self.unsynced {
            self.db = None;
        }
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

    fn insert(
        &mut self,
        items: &[(usize, &Item)],
        refused: &mut Vec<(usize, Failure)>,
    ) -> Result<(), Failure> {
        let path = self.path();
        let Some(db) = &mut self.db else { return Err(unsynced(&path)) };
        let cannot = |error| failure("write to", &path, error);
        let received_ms = now_ms();
        let mut denial_bytes = self.denial_bytes;
        let mut new_keys: Vec<Arc<KeyRecord>> = Vec::new();
        step();
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(cannot)?;
        step();
        let mut head = self.head;
        if Head::read(&tx).map_err(cannot)? != head {
            return Err(changed(&path));
        }
        {
            let mut rows = Inserts::of(&tx).map_err(cannot)?;
            for (index, item) in items.iter().copied() {
                let Some(columns) = item.columns.as_deref() else {
                    let failure = Failure::new(AuditErrorKind::Malformed, "an entry without columns");
                    refused.push((index, failure));
                    continue;
                };
                if item.kind == RecordKind::Denial {
                    if denial_bytes + item.jws.len() as u64 > self.settings.most_denial_bytes() {
                        let why = "receipts of denials have taken all of `denial_bytes`, or their eighth of `max_bytes`";
                        refused.push((index, Failure::new(AuditErrorKind::Full, why)));
                        continue;
                    }
                    denial_bytes += item.jws.len() as u64;
                }
                if !self.keys.has(&item.keys) && !new_keys.contains(&item.keys) {
                    keep_keys(&tx, &mut head, received_ms, &item.keys).map_err(cannot)?;
                    new_keys.push(Arc::clone(&item.keys));
                    step();
                }
                head.seq += 1;
                if head.seq == self.head.seq + 1 && self.last_ms.is_none_or(|last| received_ms < last) {
                    tx.prepare_cached("INSERT INTO steps(seq) VALUES (?1)")
                        .and_then(|mut sql| sql.execute([head.seq]))
                        .map_err(cannot)?;
                }
                head.link = chain::after_entry(&head.link, received_ms, &item.hash);
                rows.insert(&tx, &mut self.names, &head, received_ms, item, columns).map_err(cannot)?;
                step();
            }
        }
        head.write(&tx).map_err(cannot)?;
        step();
        tx.commit().map_err(cannot)?;
        step();
        if head.seq > self.head.seq {
            self.last_ms = Some(received_ms);
        }
        self.head = head;
        self.denial_bytes = denial_bytes;
        self.keys.extend(new_keys);
        Ok(())
    }
}

/// The statements of a batch.
struct Inserts<'c> {
    entry: CachedStatement<'c>,
    taint: CachedStatement<'c>,
}

impl<'c> Inserts<'c> {
    fn of(tx: &'c Transaction<'_>) -> rusqlite::Result<Self> {
        let entry = tx.prepare_cached(
            "INSERT INTO entries(seq, received_ms, timestamp_ms, entry_id, trace_id, workload, operation, user, \
             classification, trust, denied, hash, chain, jws) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?;
        Ok(Self { entry, taint: tx.prepare_cached("INSERT INTO taints(taint, seq) VALUES (?1, ?2)")? })
    }

    fn insert(
        &mut self,
        tx: &Transaction<'_>,
        names: &mut HashMap<String, i64>,
        head: &Head,
        received_ms: u64,
        item: &Item,
        columns: &Columns,
    ) -> rusqlite::Result<()> {
        let mut name = |text: &str| intern(tx, names, text);
        let Columns { entry_id, trace_id, workload, operation, user, classification, .. } = columns;
        let (workload, operation) = (name(workload)?, name(operation)?);
        let (user, class) = (user.as_deref().map(&mut name).transpose()?, name(classification)?);
        self.entry.execute(params![
            head.seq,
            whole(received_ms),
            whole(columns.timestamp_ms),
            entry_id,
            trace_id,
            workload,
            operation,
            user,
            class,
            columns.trust,
            columns.is_denial(),
            item.hash,
            head.link,
            &*item.jws,
        ])?;
        for text in &columns.taints {
            self.taint.execute(params![name(text)?, head.seq])?;
        }
        Ok(())
    }
}

impl Backend for SqliteBackend {
    fn write(&mut self, items: &[&Item], refused: &mut Vec<(usize, Failure)>) -> Result<(), Failure> {
        if self.stale {
            self.repair()?;
        }
        let last = self.head.seq;
        let all = items.iter().copied().enumerate();
        let (receipts, entries): (Vec<_>, Vec<_>) =
            all.partition(|(_, item)| item.kind == RecordKind::Denial);
        let mut written = if entries.is_empty() { Ok(()) } else { self.insert(&entries, refused) };
        if written.as_ref().is_err_and(Failure::is_full) {
            (self.names, self.keys, self.stale) = (HashMap::new(), Kept::default(), true);
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
        self.db = None;
        let db = connect(&self.settings)?;
        let head = Head::read(&db).map_err(|error| failure("read", &path, error))?;
        // A transaction whose outcome was not known may have happened. Its calls were refused; their entries stay.
        let other = head.seq == self.head.seq && head.link != self.head.link && !self.retiring;
        if other || head.seq < self.head.seq || head.keys_seq < self.head.keys_seq {
            return Err(changed(&path));
        }
        self.last_ms = last_received(&db, &head).map_err(|error| failure("read", &path, error))?;
        self.denial_bytes = count_denials(&db).map_err(|error| failure("read", &path, error))?;
        self.head = head;
        self.names.clear();
        self.keys = Kept::default();
        (self.stale, self.retiring) = (false, false);
        self.db = Some(db);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure> {
        let path = self.path();
        let closed = match self.db.take() {
            None => Ok(()),
            Some(db) => db.close().map_err(|(_, error)| failure("close", &path, error)),
        };
        let unlocked = self.lock.unlock();
        closed.and(unlocked.map_err(|error| Failure::io("unlock", &path, error)))
    }

    fn batch_bytes(&self) -> usize {
        4 << 20
    }
}

fn count_denials(db: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(sum(length(jws)), 0) FROM entries WHERE denied = 1";
    let bytes: i64 = db.query_row(sql, [], |row| row.get(0))?;
    Ok(u64::try_from(bytes).unwrap_or(u64::MAX))
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

fn changed(path: &Path) -> Failure {
    Failure::new(
        AuditErrorKind::Write,
        format!(
            "`{}` does not end where this sink has left it, so somebody else has changed it; keep it as it is and \
             begin another",
            path.display()
        ),
    )
}
