//! Pages of rows. A value that cannot be what a sink has written is told, and the rest is read.

use rusqlite::types::FromSql;
use rusqlite::{CachedStatement, Connection, Error, Row, params};

use super::{PAGE, unsigned};
use crate::audit::chain::Link;
use crate::audit::item::{Columns, LONGEST_TEXT};

pub(super) struct KeyRow {
    pub(super) seq: i64,
    pub(super) received_ms: u64,
    /// The link that it claims.
    pub(super) link: Option<Link>,
    /// Workload and key set.
    pub(super) keys: Option<(String, String)>,
}

pub(super) fn key_rows(db: &Connection, after: i64) -> rusqlite::Result<Vec<KeyRow>> {
    let sql = "SELECT seq, received_ms, iif(octet_length(chain) = 32, chain, NULL), \
               iif(octet_length(workload) <= ?3, workload, NULL), iif(octet_length(jwks) <= ?3, jwks, NULL) \
               FROM keys WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut sql = db.prepare_cached(sql)?;
    let mut rows = sql.query(params![after, PAGE as i64, LONGEST_TEXT as i64])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let (workload, jwks) = (value(row, 3)?, value(row, 4)?);
        all.push(KeyRow {
            seq: row.get(0)?,
            received_ms: unsigned(row.get(1)?),
            link: value(row, 2)?,
            keys: workload.zip(jwks),
        });
    }
    Ok(all)
}

pub(super) struct EntryRow {
    pub(super) seq: i64,
    pub(super) received_ms: u64,
    pub(super) hash: Option<[u8; 32]>,
    /// The link that it claims.
    pub(super) link: Option<Link>,
    pub(super) jws: Option<String>,
    /// What it is filed under.
    pub(super) columns: Option<Columns>,
}

pub(super) fn entry_rows(db: &Connection, after: i64) -> rusqlite::Result<Vec<EntryRow>> {
    let mut taints = db.prepare_cached(
        "SELECT n.text FROM taints t CROSS JOIN names n ON n.id = t.taint WHERE t.seq = ?1 ORDER BY n.text",
    )?;
    // What is too long is not loaded.
    let mut sql = db.prepare_cached(
        "SELECT e.seq, e.received_ms, iif(octet_length(e.hash) = 32, e.hash, NULL), \
         iif(octet_length(e.chain) = 32, e.chain, NULL), iif(octet_length(e.jws) <= ?3, e.jws, NULL), \
         e.entry_id, e.trace_id, \
         (SELECT text FROM names WHERE id = e.workload), (SELECT text FROM names WHERE id = e.operation), \
         (SELECT text FROM names WHERE id = e.user), (SELECT text FROM names WHERE id = e.classification), \
         e.trust, e.timestamp_ms, e.denied FROM entries e WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2",
    )?;
    let mut rows = sql.query(params![after, PAGE as i64, LONGEST_TEXT as i64])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let columns = if_fits(columns(row, &mut taints))?;
        all.push(EntryRow {
            seq: row.get(0)?,
            received_ms: unsigned(row.get(1)?),
            hash: value(row, 2)?,
            link: value(row, 3)?,
            jws: value(row, 4)?,
            columns,
        });
    }
    Ok(all)
}

fn columns(row: &Row<'_>, taints: &mut CachedStatement<'_>) -> rusqlite::Result<Columns> {
    let seq: i64 = row.get(0)?;
    let text = |index: usize| row.get::<_, Option<String>>(index).map(Option::unwrap_or_default);
    let classification = text(10)?;
    let denied: bool = row.get(13)?;
    Ok(Columns {
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
    })
}

/// None if it is of another kind or size.
fn value<T: FromSql>(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<T>> {
    if_fits(row.get(index))
}

/// Tells a value that does not fit from a database that cannot be read.
fn if_fits<T>(read: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..),
        ) => Ok(None),
        Err(error) => Err(error),
    }
}
