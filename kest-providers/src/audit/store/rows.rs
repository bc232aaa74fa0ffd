//! A database, row by row.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use kest_core::error::AuditError;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params, params_from_iter};

use super::{Filter, Finding, FindingKind, Place, Seen, Stored, StoredKeys};
use crate::audit::chain::{self, Link, sha256};
use crate::audit::item::Columns;
use crate::audit::sqlite::{failure, fit_to_read, keys_text};

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
    let cannot = |error| failure("read", path, error).opening().to_error();
    // Readers of a WAL take part in its index; where that cannot be written, SQLite says so.
    let db =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(cannot)?;
    db.busy_timeout(std::time::Duration::from_secs(5)).map_err(cannot)?;
    db.pragma_update(None, "query_only", true).map_err(cannot)?;
    // Columns are outside of what the writer controls: a page that is damaged is an error, not another value.
    db.pragma_update(None, "cell_size_check", true).map_err(cannot)?;
    fit_to_read(&db, path).map_err(|failure| failure.to_error())?;
    Ok(db)
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
        let path = path.to_path_buf();
        Ok(Self { path, db, head, stage: Stage::Keys, seq: 0, link: chain::START, page: VecDeque::new() })
    }

    pub(super) fn step(&mut self, keys: &mut StoredKeys) -> Option<Result<Seen, AuditError>> {
        loop {
            if let Some(seen) = self.page.pop_front() {
                return Some(Ok(seen));
            }
            let read = match self.stage {
                Stage::Keys => self.read_keys(keys),
                Stage::Entries => self.read_entries(),
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
            let expected =
                chain::after_text(&self.link, &keys_text(row.received_ms, &row.workload, &row.jwks));
            if expected != row.link {
                self.found(Place::KeyRow(row.seq), FindingKind::Broken, BROKEN);
            }
            (self.seq, self.link) = (row.seq, row.link);
            if let Err(error) = keys.add(&row.workload, &row.jwks) {
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
            let before: i64 = self.db.query_row(
                "SELECT count(*) FROM entries WHERE seq <= ?1",
                [self.head.first_seq],
                |row| row.get(0),
            )?;
            if before > 0 {
                let detail = format!("{before} rows stand before the first");
                self.found(Place::Store, FindingKind::Broken, detail);
            }
        }
        Ok(())
    }

    fn read_entries(&mut self) -> rusqlite::Result<()> {
        let all = entry_rows(&self.db, self.seq)?;
        for (row, columns) in all.iter() {
            self.follows(row.seq, Place::Row);
            let hash = sha256(row.jws.as_bytes());
            if hash != row.hash || chain::after_entry(&self.link, row.received_ms, &hash) != row.link {
                self.found(Place::Row(row.seq), FindingKind::Broken, BROKEN);
            }
            (self.seq, self.link) = (row.seq, row.link);
            match Columns::of(&row.jws) {
                None => self.found(Place::Row(row.seq), FindingKind::Malformed, "no entry of kest"),
                Some(own) if own == *columns => {}
                Some(_) => {
                    let detail = "the columns say something else than the entry, so that searches miss it";
                    self.found(Place::Row(row.seq), FindingKind::Columns, detail);
                }
            }
            self.page.push_back(Seen::Entry(Stored {
                place: Place::Row(row.seq),
                received_ms: row.received_ms,
                jws: row.jws.clone(),
                hash,
            }));
        }
        if all.len() < PAGE {
            self.stage = Stage::Over;
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

struct KeyRow {
    seq: i64,
    received_ms: u64,
    workload: String,
    jwks: String,
    link: Link,
}

fn key_rows(db: &Connection, after: i64) -> rusqlite::Result<Vec<KeyRow>> {
    let sql = "SELECT seq, received_ms, workload, jwks, chain FROM keys WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut sql = db.prepare_cached(sql)?;
    let rows = sql.query_map(params![after, PAGE as i64], |row| {
        Ok(KeyRow {
            seq: row.get(0)?,
            received_ms: unsigned(row.get(1)?),
            workload: row.get(2)?,
            jwks: row.get(3)?,
            link: row.get(4)?,
        })
    })?;
    rows.collect()
}

struct EntryRow {
    seq: i64,
    received_ms: u64,
    hash: [u8; 32],
    link: Link,
    jws: String,
}

fn entry_rows(db: &Connection, after: i64) -> rusqlite::Result<Vec<(EntryRow, Columns)>> {
    let mut taints = db.prepare_cached(
        "SELECT n.text FROM taints t CROSS JOIN names n ON n.id = t.taint WHERE t.seq = ?1 ORDER BY n.text",
    )?;
    let mut sql = db.prepare_cached(
        "SELECT e.seq, e.received_ms, e.hash, e.chain, e.jws, e.entry_id, e.trace_id, \
         (SELECT text FROM names WHERE id = e.workload), (SELECT text FROM names WHERE id = e.operation), \
         (SELECT text FROM names WHERE id = e.user), (SELECT text FROM names WHERE id = e.classification), \
         e.trust, e.timestamp_ms, e.denied FROM entries e WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2",
    )?;
    let mut rows = sql.query(params![after, PAGE as i64])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(entry_row(row, &mut taints)?);
    }
    Ok(all)
}

fn entry_row(
    row: &Row<'_>,
    taints: &mut rusqlite::CachedStatement<'_>,
) -> rusqlite::Result<(EntryRow, Columns)> {
    let seq: i64 = row.get(0)?;
    let text = |index: usize| row.get::<_, Option<String>>(index).map(Option::unwrap_or_default);
    let classification = text(10)?;
    let denied: bool = row.get(13)?;
    let columns = Columns {
        entry_id: row.get(5)?,
        trace_id: row.get(6)?,
        workload: text(7)?,
        operation: text(8)?,
        user: row.get(9)?,
        // What is searched for is the flag.
        classification: if denied == (classification == "denial") { classification } else { String::new() },
        trust: row.get(11)?,
        timestamp_ms: unsigned(row.get(12)?),
        taints: taints.query_map([seq], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?,
    };
    let row = EntryRow {
        seq,
        received_ms: unsigned(row.get(1)?),
        hash: row.get(2)?,
        link: row.get(3)?,
        jws: row.get(4)?,
    };
    Ok((row, columns))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
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
            let _ = keys.add(&row.workload, &row.jwks);
        }
        if rows.len() < PAGE {
            return Ok(keys);
        }
    }
}

/// What a filter finds, page by page.
#[derive(Debug)]
pub(super) struct Listed {
    path: PathBuf,
    db: Connection,
    sql: String,
    values: Vec<Value>,
    seq: i64,
    left: usize,
    page: VecDeque<Stored>,
    over: bool,
}

impl Listed {
    pub(super) fn open(path: &Path, filter: &Filter) -> Result<Self, AuditError> {
        let db = connect(path)?;
        let cannot = |error| failure("read", path, error).to_error();
        db.execute_batch("BEGIN").map_err(cannot)?;
        let asked = conditions(&db, filter).map_err(cannot)?;
        let over = asked.is_none() || filter.limit == Some(0);
        let (conditions, values) = asked.unwrap_or_default();
        let (compare, order) = if filter.newest_first { ("<", "DESC") } else { (">", "ASC") };
        let (from, seq) = match filter.taint {
            None => ("entries e", "e.seq"),
            Some(_) => ("taints t CROSS JOIN entries e ON e.seq = t.seq", "t.seq"),
        };
        let mut sql =
            format!("SELECT e.seq, e.received_ms, e.hash, e.jws FROM {from} WHERE {seq} {compare} ?1");
        for condition in &conditions {
            sql.push_str(" AND ");
            sql.push_str(condition);
        }
        sql.push_str(&format!(" ORDER BY {seq} {order} LIMIT ?2"));
        let start = start(&db, filter).map_err(cannot)?;
        Ok(Self {
            path: path.to_path_buf(),
            db,
            sql,
            values,
            seq: start,
            left: filter.limit.unwrap_or(usize::MAX),
            page: VecDeque::new(),
            over,
        })
    }

    fn read(&mut self) -> rusqlite::Result<()> {
        let most = self.left.min(PAGE);
        let mut values = vec![Value::from(self.seq), Value::from(most as i64)];
        values.extend(self.values.iter().cloned());
        let mut sql = self.db.prepare_cached(&self.sql)?;
        let rows = sql.query_map(params_from_iter(values), |row| {
            let seq: i64 = row.get(0)?;
            Ok((
                seq,
                Stored {
                    place: Place::Row(seq),
                    received_ms: unsigned(row.get(1)?),
                    hash: row.get(2)?,
                    jws: row.get(3)?,
                },
            ))
        })?;
        let mut count = 0;
        for row in rows {
            let (seq, stored) = row?;
            self.seq = seq;
            self.page.push_back(stored);
            count += 1;
        }
        self.left -= count;
        self.over = count < most || self.left == 0;
        Ok(())
    }
}

impl Iterator for Listed {
    type Item = Result<Stored, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(stored) = self.page.pop_front() {
            return Some(Ok(stored));
        }
        if self.over {
            return None;
        }
        if let Err(error) = self.read() {
            self.over = true;
            return Some(Err(failure("read", &self.path, error).to_error()));
        }
        self.page.pop_front().map(Ok)
    }
}

/// Where a list begins: SQLite walks entries in order, and would walk all before the first that is young enough.
fn start(db: &Connection, filter: &Filter) -> rusqlite::Result<i64> {
    let ask = |sql: &str, ms: u64| {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        db.query_row(sql, [ms], |row| row.get::<_, Option<i64>>(0))
    };
    Ok(match (filter.newest_first, filter.since_ms, filter.until_ms) {
        (false, Some(since), _) => {
            ask("SELECT min(seq) - 1 FROM entries WHERE received_ms >= ?1", since)?.unwrap_or(i64::MAX)
        }
        (true, _, Some(until)) => {
            ask("SELECT max(seq) + 1 FROM entries WHERE received_ms < ?1", until)?.unwrap_or(0)
        }
        (false, None, _) => 0,
        (true, _, None) => i64::MAX,
    })
}

type Conditions = (Vec<String>, Vec<Value>);

/// The filter in SQL; none when a name that it asks for stands in no entry.
fn conditions(db: &Connection, filter: &Filter) -> rusqlite::Result<Option<Conditions>> {
    let mut conditions = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    // ?1 and ?2 are where a page begins and its size.
    let mut add = |condition: &str, value: Value| {
        values.push(value);
        conditions.push(condition.replace('?', &format!("?{}", values.len() + 2)));
    };
    let whole = |ms: u64| Value::from(i64::try_from(ms).unwrap_or(i64::MAX));
    if let Some(since) = filter.since_ms {
        add("e.received_ms >= ?", whole(since));
    }
    if let Some(until) = filter.until_ms {
        add("e.received_ms < ?", whole(until));
    }
    for (column, text) in [("entry_id", &filter.entry_id), ("trace_id", &filter.trace_id)] {
        if let Some(text) = text {
            add(&format!("e.{column} = ?"), Value::from(text.clone()));
        }
    }
    let names = [
        ("e.workload = ?", &filter.workload),
        ("e.operation = ?", &filter.operation),
        ("e.user = ?", &filter.user),
        ("t.taint = ?", &filter.taint),
    ];
    for (condition, text) in names {
        let Some(text) = text else { continue };
        let id: Option<i64> =
            db.query_row("SELECT id FROM names WHERE text = ?1", [text], |row| row.get(0)).optional()?;
        let Some(id) = id else { return Ok(None) };
        add(condition, Value::from(id));
    }
    match filter.denied {
        None => {}
        // Literally, so that SQLite sees that the index on denials fits.
        Some(true) => conditions.push("e.denied = 1".to_owned()),
        Some(false) => conditions.push("e.denied = 0".to_owned()),
    }
    Ok(Some((conditions, values)))
}
