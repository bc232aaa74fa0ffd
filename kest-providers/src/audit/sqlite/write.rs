//! The writer's side: one transaction for a batch.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kest_core::audit::RecordKind;
use kest_core::config::Durability;
use kest_core::error::AuditErrorKind;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, ffi, params,
};

use super::SqliteAuditBuilder;
use super::schema::{self, Unfit};
use crate::audit::chain::{self, Link};
use crate::audit::failure::Failure;
use crate::audit::file::{lock, now_ms};
use crate::audit::item::{Columns, Item, KeyRecord};
use crate::audit::queue::Backend;

/// Time between two looks for entries that are too old.
const RETIRE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct SqliteBackend {
    settings: SqliteAuditBuilder,
    db: Option<Connection>,
    head: Head,
    names: HashMap<String, i64>,
    keys: HashSet<KeyRecord>,
    denial_bytes: u64,
    retired: Option<Instant>,
    /// The device failed to flush: what it has is not known, and SQLite cannot find out.
    unsynced: bool,
    /// Held as long as the store is open.
    lock: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    seq: i64,
    link: Link,
    keys_seq: i64,
    keys_link: Link,
}

impl SqliteBackend {
    pub(super) fn open(settings: SqliteAuditBuilder) -> Result<Self, Failure> {
        let mut beside = settings.path.clone().into_os_string();
        beside.push(".lock");
        let lock = lock(Path::new(&beside))?;
        let db = connect(&settings)?;
        let cannot = |error| failure("read", &settings.path, error).opening();
        let head = read_head(&db).map_err(cannot)?;
        let denial_bytes: i64 = db
            .query_row("SELECT coalesce(sum(length(jws)), 0) FROM entries WHERE denied = 1", [], |row| {
                row.get(0)
            })
            .map_err(cannot)?;
        let denial_bytes = u64::try_from(denial_bytes).unwrap_or(u64::MAX);
        let (names, keys) = (HashMap::new(), HashSet::new());
        Ok(Self {
            settings,
            db: Some(db),
            head,
            names,
            keys,
            denial_bytes,
            retired: None,
            unsynced: false,
            lock,
        })
    }

    fn path(&self) -> PathBuf {
        self.settings.path.clone()
    }

    /// Deletes what is too old, as its own transaction. It stays when that fails.
    fn retire(&mut self) {
        let Some(age) = self.settings.retain_age else { return };
        if self.retired.is_some_and(|at| at.elapsed() < RETIRE) {
            return;
        }
        self.retired = Some(Instant::now());
        let Some(db) = &mut self.db else { return };
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        match delete_before(db, now_ms().saturating_sub(age)) {
            Ok(0) => {}
            Ok(deleted) => {
                tracing::info!(target: "kest", deleted, "audit entries older than `retain_age` were deleted");
            }
            Err(error) => {
                tracing::warn!(target: "kest", %error, "audit entries older than `retain_age` stay")
            }
        }
    }

    fn insert(&mut self, items: &[&Item], refused: &mut Vec<(usize, Failure)>) -> Result<(), Failure> {
        let path = self.path();
        let Some(db) = &mut self.db else { return Err(unsynced(&path)) };
        let cannot = |error| failure("write to", &path, error);
        let received_ms = now_ms();
        let mut head = self.head;
        let mut denial_bytes = self.denial_bytes;
        let mut new_keys = Vec::new();
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(cannot)?;
        {
            let mut entry = tx
                .prepare_cached(
                    "INSERT INTO entries(seq, received_ms, timestamp_ms, entry_id, trace_id, workload, operation, user, \
                     classification, trust, denied, hash, chain, jws) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
                )
                .map_err(cannot)?;
            let mut taint =
                tx.prepare_cached("INSERT INTO taints(taint, seq) VALUES (?1, ?2)").map_err(cannot)?;
            for (index, item) in items.iter().enumerate() {
                let Some(columns) = item.columns.as_deref() else {
                    refused
                        .push((index, Failure::new(AuditErrorKind::Malformed, "an entry without columns")));
                    continue;
                };
                if item.kind == RecordKind::Denial {
                    if denial_bytes + item.jws.len() as u64 > self.settings.denial_bytes {
                        let why = "receipts of denials have taken all of `denial_bytes`";
                        refused.push((index, Failure::new(AuditErrorKind::Full, why)));
                        continue;
                    }
                    denial_bytes += item.jws.len() as u64;
                }
                if let Some(keys) = &item.keys
                    && !self.keys.contains(&**keys)
                    && !new_keys.contains(&**keys)
                {
                    keep_keys(&tx, &mut head, received_ms, keys).map_err(cannot)?;
                    new_keys.push((**keys).clone());
                }
                let mut name = |text: &str| intern(&tx, &mut self.names, text).map_err(cannot);
                let Columns { entry_id, trace_id, workload, operation, user, classification, .. } = columns;
                let (workload, operation) = (name(workload)?, name(operation)?);
                let (user, class) = (user.as_deref().map(&mut name).transpose()?, name(classification)?);
                head.seq += 1;
                head.link = chain::after_entry(&head.link, received_ms, &item.hash);
                entry
                    .execute(params![
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
                    ])
                    .map_err(cannot)?;
                for text in &columns.taints {
                    taint.execute(params![name(text)?, head.seq]).map_err(cannot)?;
                }
            }
        }
        tx.prepare_cached("UPDATE head SET seq = ?1, link = ?2, keys_seq = ?3, keys_link = ?4")
            .and_then(|mut sql| sql.execute(params![head.seq, head.link, head.keys_seq, head.keys_link]))
            .map_err(cannot)?;
        tx.commit().map_err(cannot)?;
        self.head = head;
        self.denial_bytes = denial_bytes;
        self.keys.extend(new_keys);
        Ok(())
    }
}

impl Backend for SqliteBackend {
    fn write(&mut self, items: &[&Item], refused: &mut Vec<(usize, Failure)>) -> Result<(), Failure> {
        let written = self.insert(items, refused);
        match &written {
            Ok(()) => self.retire(),
            Err(failure) => {
                // Names of a transaction that did not happen.
                self.names.clear();
                self.unsynced |= failure.is_unsynced();
                if self.unsynced {
                    self.db = None;
                }
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
        let head = read_head(&db).map_err(|error| failure("read", &path, error))?;
        if head.seq < self.head.seq {
            return Err(Failure::new(
                AuditErrorKind::Write,
                format!(
                    "`{}` has fewer entries than were acknowledged; somebody else has changed it: keep it as it is \
                     and begin another",
                    path.display()
                ),
            ));
        }
        // A transaction whose outcome was not known may have happened. Its calls were refused; their entries stay.
        self.head = head;
        self.names.clear();
        self.keys.clear();
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

fn connect(settings: &SqliteAuditBuilder) -> Result<Connection, Failure> {
    let path = &settings.path;
    let cannot = |error| failure("open", path, error).opening();
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(cannot)?;
    db.busy_timeout(Duration::from_secs(5)).map_err(cannot)?;
    db.set_prepared_statement_cache_capacity(32);
    let version = schema::version(&db).map_err(|unfit| why_unfit(path, unfit))?;
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(cannot)?;
    if mode != "wal" {
        return Err(Failure::new(
            AuditErrorKind::Open,
            format!("`{}` cannot be kept in WAL mode; use a local file system", path.display()),
        ));
    }
    // In WAL mode NORMAL leaves commits to the operating system and flushes at checkpoints alone, so that the file is
    // whole after a power failure too; FULL flushes the log at each commit.
    let synchronous = match settings.durability {
        Durability::Process => "NORMAL",
        Durability::Power => "FULL",
    };
    db.pragma_update(None, "synchronous", synchronous).map_err(cannot)?;
    db.pragma_update(None, "wal_autocheckpoint", 4_000).map_err(cannot)?;
    if version < schema::VERSION {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(cannot)?;
        schema::migrate(&tx, version, whole(now_ms())).map_err(cannot)?;
        tx.commit().map_err(cannot)?;
    }
    if let Some(most) = settings.max_bytes {
        let page: i64 = db.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(cannot)?;
        let pages = whole(most) / page.max(1);
        // The answer is what is in force.
        db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).map_err(cannot)?;
    }
    Ok(db)
}

/// Checks that a file is a store of this version, for readers.
pub(in crate::audit) fn fit_to_read(db: &Connection, path: &Path) -> Result<(), Failure> {
    match schema::version(db) {
        Ok(schema::VERSION) => Ok(()),
        Ok(older) => Err(Failure::new(
            AuditErrorKind::Open,
            format!(
                "`{}` is of version {older} of the audit store; a sink that opens it brings it to version {}",
                path.display(),
                schema::VERSION
            ),
        )),
        Err(unfit) => Err(why_unfit(path, unfit)),
    }
}

fn why_unfit(path: &Path, unfit: Unfit) -> Failure {
    let name = path.display();
    match unfit {
        Unfit::Foreign => Failure::new(
            AuditErrorKind::Open,
            format!("`{name}` is a database of something else; name another file"),
        ),
        Unfit::Newer(version) => Failure::new(
            AuditErrorKind::Open,
            format!(
                "`{name}` is of version {version} of the audit store, and this kest knows {}; use a newer kest",
                schema::VERSION
            ),
        ),
        Unfit::Sqlite(error) => failure("read", path, error).opening(),
    }
}

fn read_head(db: &Connection) -> rusqlite::Result<Head> {
    db.query_row("SELECT seq, link, keys_seq, keys_link FROM head", [], |row| {
        Ok(Head { seq: row.get(0)?, link: row.get(1)?, keys_seq: row.get(2)?, keys_link: row.get(3)? })
    })
}

fn keep_keys(
    tx: &Transaction<'_>,
    head: &mut Head,
    received_ms: u64,
    keys: &KeyRecord,
) -> rusqlite::Result<()> {
    let known = tx
        .prepare_cached("SELECT 1 FROM keys WHERE workload = ?1 AND jwks = ?2")?
        .exists(params![keys.workload, keys.jwks])?;
    if known {
        return Ok(());
    }
    head.keys_seq += 1;
    head.keys_link = chain::after_text(&head.keys_link, &keys_text(received_ms, &keys.workload, &keys.jwks));
    tx.prepare_cached(
        "INSERT INTO keys(seq, received_ms, workload, jwks, chain) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![head.keys_seq, whole(received_ms), keys.workload, keys.jwks, head.keys_link])?;
    Ok(())
}

/// What the hash of a row of keys covers.
pub(in crate::audit) fn keys_text(received_ms: u64, workload: &str, jwks: &str) -> Vec<u8> {
    format!("{received_ms}\n{}\n{workload}\n{jwks}", workload.len()).into_bytes()
}

fn intern(tx: &Transaction<'_>, names: &mut HashMap<String, i64>, text: &str) -> rusqlite::Result<i64> {
    const MOST: usize = 100_000;
    if let Some(id) = names.get(text) {
        return Ok(*id);
    }
    let known =
        tx.prepare_cached("SELECT id FROM names WHERE text = ?1")?.query_row([text], |row| row.get(0));
    let id = match known.optional()? {
        Some(id) => id,
        None => {
            tx.prepare_cached("INSERT INTO names(text) VALUES (?1)")?.execute([text])?;
            tx.last_insert_rowid()
        }
    };
    if names.len() >= MOST {
        names.clear();
    }
    names.insert(text.to_owned(), id);
    Ok(id)
}

/// Deletes the oldest entries that were received before a time, at most so many at once.
fn delete_before(db: &mut Connection, before_ms: u64) -> rusqlite::Result<usize> {
    const MOST: i64 = 20_000;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Up to the first that is young enough: the chain goes on from there.
    let first: i64 = tx.query_row("SELECT first_seq FROM head", [], |row| row.get(0))?;
    let last: Option<i64> = tx.query_row(
        "SELECT max(seq) FROM entries WHERE seq <= ?1 + ?2 AND seq < coalesce(\
             (SELECT seq FROM entries WHERE received_ms >= ?3 ORDER BY seq LIMIT 1), 9223372036854775807)",
        params![first, MOST, whole(before_ms)],
        |row| row.get(0),
    )?;
    let Some(last) = last else { return Ok(0) };
    let link: Link = tx.query_row("SELECT chain FROM entries WHERE seq = ?1", [last], |row| row.get(0))?;
    tx.execute("DELETE FROM taints WHERE seq <= ?1", [last])?;
    let deleted = tx.execute("DELETE FROM entries WHERE seq <= ?1", [last])?;
    tx.execute("UPDATE head SET first_seq = ?1, first_link = ?2", params![last, link])?;
    tx.commit()?;
    Ok(deleted)
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsynced(path: &Path) -> Failure {
    Failure::new(
        AuditErrorKind::Write,
        format!(
            "the device of `{}` failed to flush, so what it has is not known; see to it, check the store with \
             `kest audit verify`, and start the process again with a store on a device that works",
            path.display()
        ),
    )
}

/// What SQLite said about `doing` something with `path`.
pub(in crate::audit) fn failure(doing: &str, path: &Path, error: rusqlite::Error) -> Failure {
    let name = path.display();
    let code = error.sqlite_error().map(|error| (error.code, error.extended_code));
    let flush = [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC];
    let (kind, fix) = match code {
        Some((_, extended)) if flush.contains(&extended) => {
            return unsynced(path).caused_by(error).mark_unsynced();
        }
        Some((ErrorCode::DiskFull, _)) => (
            AuditErrorKind::Full,
            "make room or raise `max_bytes`; the sink then takes entries again by itself",
        ),
        Some((ErrorCode::ReadOnly, _)) => {
            (AuditErrorKind::Write, "let the process write there, or name another path in `[audit]`")
        }
        Some((ErrorCode::CannotOpen, _)) => {
            (AuditErrorKind::Write, "create its folder and let the process write there")
        }
        Some((ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt, _)) => {
            (AuditErrorKind::Write, "keep it as it is, and name another file in `[audit]`")
        }
        Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => {
            (AuditErrorKind::Locked, "another program holds it; only `kest` may write there")
        }
        _ => (AuditErrorKind::Write, "see to the device that holds it"),
    };
    Failure::new(kind, format!("cannot {doing} `{name}`: {error}; {fix}")).caused_by(error)
}
