//! A database, row by row.

mod filed;
mod head;
mod list;
mod read;
mod times;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use kest_core::error::AuditError;
use rusqlite::{Connection, OpenFlags};

pub(super) use self::filed::Filed;
use self::filed::{Block, surplus};
use self::head::{Head, told_from};
pub(super) use self::list::Listed;
use self::read::{EntryRow, entry_rows, key_rows};
use super::{Expected, Finding, FindingKind, Place, Seen, Stored, StoredKeys};
use crate::audit::chain::{self, Link, sha256};
use crate::audit::failure::Failure;
use crate::audit::sqlite::{Held, Retired, altered, failure, fit_to_read, keys_text, log_of, rows_alone};

/// Rows that are read at once.
const PAGE: usize = 1_000;

#[derive(Debug)]
pub(super) struct Rows {
    path: PathBuf,
    db: Connection,
    /// Until the database is closed.
    _held: Held,
    head: Head,
    /// What stood before the first that is left.
    first: (i64, Link),
    stage: Stage,
    seq: i64,
    link: Link,
    /// What the chain says of retention.
    told: VecDeque<Retired>,
    /// When the entry that was read last was received.
    last_ms: Option<u64>,
    /// What the block of that entry is filed under.
    block: Option<Block>,
    /// Bytes of receipts of denials so far.
    denial_bytes: u64,
    page: VecDeque<Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Keys,
    Entries,
    Over,
}

/// What was taken first is given back last, also where a caller lets go of both: the database is closed while it is held.
fn connect(path: &Path) -> Result<(Held, Connection), AuditError> {
    let held = Held::new(path).map_err(|error| Failure::reading(path, error).to_error())?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags)
        .map_err(|error| failure("read", path, error).opening())
        .and_then(|db| prepare(db, path));
    let refused = match opened {
        Ok(db) => return Ok((held, db)),
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
        .map(|db| (held, db))
        .map_err(|failure| failure.to_error())
}

fn prepare(db: Connection, path: &Path) -> Result<Connection, Failure> {
    let cannot = |error| failure("read", path, error).opening();
    db.busy_timeout(std::time::Duration::from_secs(5)).map_err(cannot)?;
    rows_alone(&db).map_err(cannot)?;
    db.pragma_update(None, "query_only", true).map_err(cannot)?;
    // Columns are outside of what the writer controls: a page that is damaged is an error, not another value.
    db.pragma_update(None, "cell_size_check", true).map_err(cannot)?;
    fit_to_read(&db, path)?;
    Ok(db)
}

/// Whether there is a log: the last writer has not closed the file, or one is at work.
fn has_log(path: &Path) -> bool {
    !std::fs::exists(log_of(path)).is_ok_and(|exists| !exists)
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
        let (held, db) = connect(path)?;
        let cannot = |error| failure("read", path, error).to_error();
        // One snapshot for the whole scan.
        db.execute_batch("BEGIN").map_err(cannot)?;
        let head = Head::read(&db).map_err(cannot)?;
        let (told, unfit) = told_from(&db, head.first.map_or(0, |(seq, _)| seq)).map_err(cannot)?;
        let told_first = told.last().map(|told| (told.first_seq, told.first_link));
        let first = head.first.or(told_first).unwrap_or((0, chain::START));
        let mut rows = Self {
            path: path.to_path_buf(),
            db,
            _held: held,
            head,
            first,
            stage: Stage::Keys,
            seq: 0,
            link: chain::START,
            told: told.into(),
            last_ms: None,
            block: None,
            denial_bytes: 0,
            page: VecDeque::new(),
        };
        if let Some(detail) = altered(&rows.db).map_err(cannot)? {
            rows.found(Place::Store, FindingKind::Malformed, detail);
        }
        if let Some(detail) = rows.head.unfit() {
            rows.found(Place::Store, FindingKind::Malformed, detail);
        }
        if unfit > 0 {
            let detail = format!("{unfit} rows of the table `retired` have values that no sink writes");
            rows.found(Place::Store, FindingKind::Malformed, detail);
        }
        Ok(rows)
    }

    /// What retention has taken, as the chain says.
    pub(super) fn retired(&self) -> Option<String> {
        self.retired_after(0)
    }

    /// What of it is not among the so many oldest entries.
    pub(super) fn retired_after(&self, told: u64) -> Option<String> {
        let last = unsigned(self.first.0);
        (last > told).then(|| format!("entries {} to {last}", told + 1))
    }

    /// The end of the chain of entries, as far as it was read.
    pub(super) fn link(&self) -> Option<Link> {
        (self.stage != Stage::Keys).then_some(self.link)
    }

    /// Entries read, of all.
    pub(super) fn progress(&self) -> (u64, u64) {
        let since = |seq: i64| unsigned(seq.saturating_sub(self.first.0));
        let done = if self.stage == Stage::Keys { 0 } else { since(self.seq) };
        (done, self.head.last.map_or(0, |(seq, _)| since(seq)))
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
            self.ends_at(self.head.keys, Place::KeyRow);
            self.stage = Stage::Entries;
            (self.seq, self.link) = self.first;
        }
        Ok(())
    }

    /// Whether the chain begins where it says.
    fn begins(&mut self, expected: &mut Expected) -> rusqlite::Result<()> {
        if self.stage == Stage::Keys {
            return Ok(());
        }
        let first = self.first.0;
        let sql = "SELECT count(*) FROM entries WHERE seq <= ?1";
        let before: i64 = self.db.query_row(sql, [first], |row| row.get(0))?;
        if before > 0 {
            let detail = format!("{before} rows stand before the first");
            self.found(Place::Store, FindingKind::Broken, detail);
        }
        let told = self.told.back().map(|told| (told.first_seq, told.first_link));
        if told.unwrap_or((0, chain::START)) != self.first {
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
            expected.is_told(unsigned(told.first_seq));
            expected.pass(&self.link);
        }
    }

    fn read_entries(&mut self, expected: &mut Expected) -> rusqlite::Result<()> {
        let all = entry_rows(&self.db, self.seq)?;
        let last = all.len() < PAGE;
        for row in all {
            self.follows(row.seq, Place::Row);
            let filed = self.filed(&row)?;
            let entry = row.jws.map(|jws| (sha256(jws.as_bytes()), jws));
            let link = entry.as_ref().map(|(hash, _)| chain::after_entry(&self.link, row.received_ms, hash));
            if row.link.is_none() || entry.is_none() {
                self.found(Place::Row(row.seq), FindingKind::Malformed, UNFIT);
            } else if link != row.link {
                self.found(Place::Row(row.seq), FindingKind::Broken, BROKEN);
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
                expected.begins_at(row.received_ms);
                expected.pass(link);
            }
            if let Some((hash, jws)) = entry {
                if row.denied {
                    self.denial_bytes = self.denial_bytes.saturating_add(jws.len() as u64);
                }
                self.page.push_back(Seen::Entry(Stored {
                    place: Place::Row(row.seq),
                    received_ms: row.received_ms,
                    jws,
                    hash,
                    columns: Some(Box::new(filed)),
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
            self.ends_at(self.head.last, Place::Row);
            self.is_complete()?;
        }
        Ok(())
    }

    /// What a row is filed under. Reads that of its block where it is another than that of the row before.
    fn filed(&mut self, row: &EntryRow) -> rusqlite::Result<Filed> {
        let unknown = Filed { denied: row.denied, terms: None };
        let (Some(blocks), Some((last, _))) = (self.head.blocks, self.head.last) else { return Ok(unknown) };
        let number = blocks.block(row.seq);
        if blocks.last(number) > last {
            return Ok(unknown);
        }
        if self.block.as_ref().is_none_or(|block| block.number != number) {
            let (block, wrong) = Block::read(&self.db, blocks, number)?;
            if let Some(detail) = wrong {
                let place = Place::Block { first: blocks.first(number), last: blocks.last(number) };
                self.found(place, FindingKind::Columns, detail);
            }
            self.block = Some(block);
        }
        let terms = self.block.as_ref().and_then(|block| block.terms_at(blocks.position(row.seq)));
        Ok(Filed { denied: row.denied, terms })
    }

    /// Looks at the end for what belongs to no row.
    fn is_complete(&mut self) -> rusqlite::Result<()> {
        if let (Some(blocks), Some((last, _))) = (self.head.blocks, self.head.last) {
            let kept = blocks.block(self.first.0.saturating_add(1))..blocks.block(last.saturating_add(1));
            if let Some((count, first)) = surplus(&self.db, kept)? {
                let detail = format!(
                    "{count} rows of the table `postings` belong to no complete block, the first at place {first}"
                );
                self.found(Place::Store, FindingKind::Columns, detail);
            }
        }
        if self.head.denial_bytes.is_some_and(|bytes| bytes != self.denial_bytes) {
            let detail = format!(
                "receipts of denials take {} bytes, and not what the table `head` has",
                self.denial_bytes
            );
            self.found(Place::Store, FindingKind::Columns, detail);
        }
        Ok(())
    }

    fn ends_at(&mut self, end: Option<(i64, Link)>, place: fn(i64) -> Place) {
        if let Some((seq, link)) = end
            && (self.seq, self.link) != (seq, link)
        {
            let detail = format!("the last row is not {seq}, as the table `head` has it");
            self.found(place(self.seq), FindingKind::Missing, detail);
        }
    }

    fn follows(&mut self, seq: i64, place: fn(i64) -> Place) {
        let next = self.seq.saturating_add(1);
        if seq != next {
            let detail = format!("rows {next} to {} are gone", seq.saturating_sub(1));
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
    let (_held, db) = connect(path)?;
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
