//! An SQLite database: WAL, one writer, terms to search by, a running hash.

mod connect;
mod error;
mod head;
mod held;
mod insert;
mod keys;
mod log;
mod postings;
mod retire;
mod schema;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kest_core::audit::{AuditRecord, AuditSink};
use kest_core::config::Durability;
use kest_core::error::AuditError;
use kest_core::identity::BoxFuture;

pub(super) use self::connect::{fit_to_read, rows_alone};
pub(super) use self::error::failure;
pub(super) use self::held::{Held, log_of, unless_held};
pub(super) use self::keys::keys_text;
pub(super) use self::postings::{Blocks, Field, Term, positions, terms};
pub(super) use self::retire::Retired;
pub(super) use self::schema::altered;
use self::write::SqliteBackend;
use super::queue::{Queue, RETRY, Settings};

/// An audit sink on an SQLite database, which finds entries among millions at once.
///
/// The database is in WAL mode; anybody may read while one process writes ([`Store`](super::Store)).
#[must_use = "a sink takes entries while it is held by a `Kest`"]
pub struct SqliteAudit {
    queue: Queue,
    path: PathBuf,
}

impl SqliteAudit {
    /// Opens the database, or creates it. The folder it stands in must exist.
    ///
    /// # Errors
    /// When it cannot be written, is no audit store, was written by a newer version, or has another writer.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, AuditError> {
        Self::builder(path).open()
    }

    /// Settings before opening.
    pub fn builder(path: impl Into<PathBuf>) -> SqliteAuditBuilder {
        SqliteAuditBuilder {
            path: path.into(),
            durability: Durability::Process,
            retain_age: None,
            max_bytes: None,
            denial_bytes: 64 << 20,
            timeout: Duration::from_secs(10),
            queue_bytes: 16 << 20,
            block: Blocks::USUAL,
            log_bytes: 8 << 20,
        }
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what waits and closes the store; the sink then refuses. Dropping it does the same.
    ///
    /// # Errors
    /// When the end cannot be written as promised.
    pub fn close(&self) -> Result<(), AuditError> {
        self.queue.close()
    }
}

impl fmt::Debug for SqliteAudit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteAudit").field("path", &self.path).finish_non_exhaustive()
    }
}

impl AuditSink for SqliteAudit {
    fn append(&self, record: &AuditRecord<'_>) -> Result<(), AuditError> {
        self.queue.append_blocking(record)
    }

    fn append_async<'a>(&'a self, record: &'a AuditRecord<'a>) -> BoxFuture<'a, Result<(), AuditError>> {
        Box::pin(self.queue.append(record))
    }
}

/// Settings of a [`SqliteAudit`].
#[derive(Debug, Clone)]
#[must_use]
pub struct SqliteAuditBuilder {
    path: PathBuf,
    durability: Durability,
    retain_age: Option<Duration>,
    max_bytes: Option<u64>,
    denial_bytes: u64,
    timeout: Duration,
    queue_bytes: usize,
    /// Entries of a block, of a database that is new.
    block: u16,
    /// Bytes of log after which it is brought into the database.
    log_bytes: usize,
}

impl SqliteAuditBuilder {
    /// What an acknowledged entry survives: the end of the process, unless said otherwise.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Entries that are older are deleted, when the store is opened, after writes, and when there is no room: never.
    pub fn retain_age(mut self, age: Duration) -> Self {
        self.retain_age = Some(age);
        self
    }

    /// The most bytes of the database, its log not counted: no limit. What does not fit is refused.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// The most bytes of receipts of denials that are kept: 64 MiB, and never more than an eighth of
    /// [`Self::max_bytes`]. They leave the last tenth of that to entries.
    pub fn denial_bytes(mut self, bytes: u64) -> Self {
        self.denial_bytes = bytes;
        self
    }

    /// How long a call waits for room and its acknowledgement: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Most bytes that wait to be written: 16 MiB. Calls beyond wait for room.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    fn most_denial_bytes(&self) -> u64 {
        self.denial_bytes.min(self.max_bytes.map_or(u64::MAX, |most| most / 8))
    }

    /// Opens the database, or creates it. What a killed process left in the log is taken over or undone by SQLite.
    ///
    /// # Errors
    /// When it cannot be written, is no audit store, was written by a newer version, or has another writer.
    pub fn open(self) -> Result<SqliteAudit, AuditError> {
        let settings =
            Settings { timeout: self.timeout, queue_bytes: self.queue_bytes, columns: true, retry: RETRY };
        let path = self.path.clone();
        let started = SqliteBackend::open(self).and_then(|backend| Queue::start(backend, settings));
        Ok(SqliteAudit { queue: started.map_err(|failure| failure.to_error())?, path })
    }
}

/// Between two things that the writer asks of SQLite: where tests let a process end.
fn step() {
    #[cfg(test)]
    tests::step();
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
