//! Pages of rows.

use rusqlite::{CachedStatement, Connection, Row, params};

use super::{PAGE, unsigned};
use crate::audit::chain::Link;
use crate::audit::item::Columns;

pub(super) struct KeyRow {
    pub(super) seq: i64,
    pub(super) received_ms: u64,
    pub(super) workload: String,
    pub(super) jwks: String,
    pub(super) link: Link,
}

pub(super) fn key_rows(db: &Connection, after: i64) -> rusqlite::Result<Vec<KeyRow>> {
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

pub(super) struct EntryRow {
    pub(super) seq: i64,
    pub(super) received_ms: u64,
    pub(super) hash: [u8; 32],
    pub(super) link: Link,
    pub(super) jws: String,
}

pub(super) fn entry_rows(db: &Connection, after: i64) -> rusqlite::Result<Vec<(EntryRow, Columns)>> {
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

fn entry_row(row: &Row<'_>, taints: &mut CachedStatement<'_>) -> rusqlite::Result<(EntryRow, Columns)> {
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
