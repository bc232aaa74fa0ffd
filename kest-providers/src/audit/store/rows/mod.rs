//! A database, row by row.

mod list;
mod read;
mod times;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use kest_core::error::AuditError;
use rusqlite::{Connection, OpenFlags};

pub(super) use self::list::Listed;
use self::read::{entry_rows, key_rows};
use super::{Expected, Finding, FindingKind, Place, Seen, Stored, StoredKeys};
use crate::audit::chain::{self, Link, sha256};
use crate::audit::failure::Failure;
use crate::audit::sqlite::{Retired, failure, fit_to_read, keys_text, told_from};

/// Rows that are read at once.
const PAGE: usize = 1_000;

#[derive(Debug)]
pub(super) struct Rows {
    path: PathBuf,
    db: Connection,
    head: Head,
    stage: Stage,
    seq: i64,
    link: Link,
    /// What the chain says of retention.
    told: VecDeque<Retired>,
    /// When the entry that was read last was received.
    last_ms: Option<u64>,
    page: VecDeque<Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Keys,
    Entries,
    Over,
}

#[derive(Debug)]
struct Head {
    first_seq: i64,
    first_link: Link,
    seq: i64,
    link: Link,
    keys_seq: i64,
    keys_link: Link,
}

fn connect(path: &Path) -> Result<Connection, AuditError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags)
        .map_err(|error| failure("read", path, error).opening())
        .and_then(|db| prepare(db, path));
    let refused = match opened {
        Ok(db) => return Ok(db),
        Err(failure) => failure,
    };
    // Readers take part in the index of the log, so SQLite wants to write beside the file. Where it cannot and there is
    // no log, nobody has the file open for writing, and it is all there is.
    if !refused.is_unwritable() || has_log(path) {
        return Err(refused.to_error());
    }
    let Some(uri) = immutable(path) else { return Err(refused.to_error()) };
    Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
        .map_err(|error| failure("read", path, error).opening())
        .and_then(|db| prepare(db, path))
        .map_err(|failure| failure.to_error())
}

fn prepare(db: Connection, path: &Path) -> Result<Connection, Failure> {
    let cannot = |error| failure("read", path, error).opening();
    db.busy_timeout(std::time::Duration::from_secs(5)).map_err(cannot)?;
    db.pragma_update(None, "query_only", true).map_err(cannot)?;
    // Columns are outside of what the writer controls: a page that is damaged is an error, not another value.
    db.pragma_update(None, "cell_size_check", true).map_err(cannot)?;
    fit_to_read(&db, path)?;
    Ok(db)
}

/// Whether there is a log: the last writer has not closed the file, or one is at work.
fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    !std::fs::exists(log).is_ok_and(|exists| !exists)
}

/// The file as one that does not change while it is read.
fn immutable(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let mut uri = "file:".to_owned();
    for byte in path.to_str()?.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                uri.push(char::from(byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    Some(uri)
}

impl Rows {
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let db = connect(path)?;
        let cannot = |error| failure("read", path, error).to_error();
        // One snapshot for the whole scan.
        db.execute_batch("BEGIN").map_err(cannot)?;
        let sql = "SELECT first_seq, first_link, seq, link, keys_seq, keys_link FROM head";
        let head = db
            .query_row(sql, [], |row| {
                Ok(Head {
                    first_seq: row.get(0)?,
                    first_link: row.get(1)?,
                    seq: row.get(2)?,
                    link: row.get(3)?,
                    keys_seq: row.get(4)?,
                    keys_link: row.get(5)?,
                })
            })
            .map_err(cannot)?;
        let told = told_from(&db, head.first_seq).map_err(cannot)?.into();
        let path = path.to_path_buf();
        let page = VecDeque::new();
        Ok(Self { path, db, head, stage: Stage::Keys, seq: 0, link: chain::START, told, last_ms: None, page })
    }

    /// What retention has taken, as the chain says.
    pub(super) fn retired(&self) -> Option<String> {
        (self.head.first_seq > 0).then(|| format!("entries 1 to {}", self.head.first_seq))
    }

    /// The end of the chain of entries, as far as it was read.
    pub(super) fn link(&self) -> Option<Link> {
        (self.stage != Stage::Keys).then_some(self.link)
    }

    /// Entries read, of all.
    pub(super) fn progress(&self) -> (u64, u64) {
        let done = if self.stage == Stage::Keys { 0 } else { self.seq - self.head.first_seq };
        (unsigned(done), unsigned(self.head.seq - self.head.first_seq))
    }

    pub(super) fn step(
        &mut self,
        keys: &mut StoredKeys,
        expected: &mut Expected,
    ) -> Option<Result<Seen, AuditError>> {
        loop {
            if let Some(seen) = self.page.pop_front() {
                return Some(Ok(seen));
            }
            let read = match self.stage {
                Stage::Keys => self.read_keys(keys).and_then(|()| self.begins(expected)),
                Stage::Entries => self.read_entries(expected),
                Stage::Over => return None,
            };
            if let Err(error) = read {
                self.stage = Stage::Over;
                return Some(Err(failure("read", &self.path, error).to_error()));
            }
        }
    }

    fn found(&mut self, place: Place, kind: FindingKind, detail: impl Into<String>) {
        self.page.push_back(Seen::Finding(Finding::new(place, kind, detail)));
    }

    fn read_keys(&mut self, keys: &mut StoredKeys) -> rusqlite::Result<()> {
        let all = key_rows(&self.db, self.seq)?;
        for row in &all {
            self.follows(row.seq, Place::KeyRow);
            self.seq = row.seq;
            let Some((workload, jwks)) = &row.keys else {
                self.found(Place::KeyRow(row.seq), FindingKind::Malformed, UNFIT);
                self.link = row.link.unwrap_or(self.link);
                continue;
            };
            let expected = chain::after_text(&self.link, &keys_text(row.received_ms, workload, jwks));
            if Some(expected) != row.link {
                self.found(Place::KeyRow(row.seq), FindingKind::Broken, BROKEN);
            }
            self.link = row.link.unwrap_or(expected);
            if let Err(error) = keys.add(workload, jwks) {
                let detail = format!("public keys that cannot be read: {error}");
                self.found(Place::KeyRow(row.seq), FindingKind::Malformed, detail);
            }
        }
        if all.len() < PAGE {
            if (self.seq, self.link) != (self.head.keys_seq, self.head.keys_link) {
                let detail =
                    format!("the last row is not {}, as the table `head` has it", self.head.keys_seq);
                self.found(Place::KeyRow(self.seq), FindingKind::Missing, detail);
            }
            self.stage = Stage::Entries;
            (self.seq, self.link) = (self.head.first_seq, self.head.first_link);
        }
        Ok(())
    }

    /// Whether the chain begins where it says.
    fn begins(&mut self, expected: &mut Expected) -> rusqlite::Result<()> {
        if self.stage == Stage::Keys {
            return Ok(());
        }
        let first = self.head.first_seq;
        let sql = "SELECT count(*) FROM entries WHERE seq <= ?1";
        let before: i64 = self.db.query_row(sql, [first], |row| row.get(0))?;
        if before > 0 {
            let detail = format!("{before} rows stand before the first");
            self.found(Place::Store, FindingKind::Broken, detail);
        }
        let told = self.told.back().map(|told| (told.first_seq, told.first_link));
        if told.unwrap_or((0, chain::START)) != (first, self.head.first_link) {
            let detail =
                format!("rows up to {first} are gone, and the chain does not say that retention took them");
            self.found(Place::Store, FindingKind::Missing, detail);
        }
        expected.begins_after(&self.link);
        self.is_told(expected);
        Ok(())
    }

    /// Goes over what the chain says of retention after the row that was read last.
    fn is_told(&mut self, expected: &mut Expected) {
        while let Some(told) = self.told.pop_front_if(|told| told.after_seq <= self.seq) {
            if told.after_seq < self.seq {
                let detail = format!(
                    "what it says of retention stands after row {}, which is not there",
                    told.after_seq
                );
                self.found(Place::Row(self.seq), FindingKind::Broken, detail);
            }
            self.link = told.after(&self.link);
            expected.pass(&self.link);
        }
    }

    fn read_entries(&mut self, expected: &mut Expected) -> rusqlite::Result<()> {
        let all = entry_rows(&self.db, self.seq)?;
        let last = all.len() < PAGE;
        for row in all {
            self.follows(row.seq, Place::Row);
            let entry = row.jws.map(|jws| (sha256(jws.as_bytes()), jws));
            let link = entry.as_ref().map(|(hash, _)| chain::after_entry(&self.link, row.received_ms, hash));
            if row.hash.is_none() || row.link.is_none() || entry.is_none() {
                self.found(Place::Row(row.seq), FindingKind::Malformed, UNFIT);
            } else if entry.as_ref().map(|(hash, _)| *hash) != row.hash || link != row.link {
                self.found(Place::Row(row.seq), FindingKind::Broken, BROKEN);
            }
            if row.columns.is_none() {
                let detail = "columns with values that no sink writes, so that searches miss it";
                self.found(Place::Row(row.seq), FindingKind::Columns, detail);
            }
            if self.last_ms.is_some_and(|last| row.received_ms < last) && !is_step(&self.db, row.seq)? {
                let detail = "it was received before the entry before it, and `steps` does not say so: searches by \
                              time miss entries";
                self.found(Place::Row(row.seq), FindingKind::Columns, detail);
            }
            self.last_ms = Some(row.received_ms);
            self.seq = row.seq;
            self.link = row.link.or(link).unwrap_or(self.link);
            // What a row claims is not what it comes to.
            if let Some(link) = &link {
                expected.pass(link);
            }
            if let Some((hash, jws)) = entry {
                self.page.push_back(Seen::Entry(Stored {
                    place: Place::Row(row.seq),
                    received_ms: row.received_ms,
                    jws,
                    hash,
                    columns: row.columns.map(Box::new),
                }));
            }
            self.is_told(expected);
        }
        if last {
            self.stage = Stage::Over;
            if let Some(told) = self.told.front() {
                let detail = format!(
                    "what it says of retention stands after row {}, which is not there",
                    told.after_seq
                );
                self.found(Place::Row(self.seq), FindingKind::Broken, detail);
            }
            if (self.seq, self.link) != (self.head.seq, self.head.link) {
                let detail = format!("the last row is not {}, as the table `head` has it", self.head.seq);
                self.found(Place::Row(self.seq), FindingKind::Missing, detail);
            }
        }
        Ok(())
    }

    fn follows(&mut self, seq: i64, place: fn(i64) -> Place) {
        if seq != self.seq + 1 {
            let detail = format!("rows {} to {} are gone", self.seq + 1, seq - 1);
            self.found(place(seq), FindingKind::Missing, detail);
        }
    }
}

const BROKEN: &str =
    "the running hash does not fit: the row was edited, or rows before it were deleted or moved";

const UNFIT: &str = "it has values that no sink writes: of another size, or no text";

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn is_step(db: &Connection, seq: i64) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM steps WHERE seq = ?1")?.exists([seq])
}

/// The keys alone.
pub(super) fn keys(path: &Path) -> Result<StoredKeys, AuditError> {
    let db = connect(path)?;
    let mut keys = StoredKeys::default();
    let mut seq = 0;
    loop {
        let rows = key_rows(&db, seq).map_err(|error| failure("read", path, error).to_error())?;
        for row in &rows {
            seq = row.seq;
            // What cannot be read verifies nothing; a scan tells of it.
            if let Some((workload, jwks)) = &row.keys {
                let _ = keys.add(workload, jwks);
            }
        }
        if rows.len() < PAGE {
            return Ok(keys);
        }
    }
}
