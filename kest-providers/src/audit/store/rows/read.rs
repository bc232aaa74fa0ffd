//! Pages of rows. A value that cannot be what a sink has written is told, and the rest is read.

use rusqlite::types::FromSql;
use rusqlite::{Connection, Error, Row, params};

use super::{PAGE, unsigned};
use crate::audit::chain::Link;
use crate::audit::item::LONGEST_TEXT;

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
    pub(super) denied: bool,
    /// The link that it claims.
    pub(super) link: Option<Link>,
    pub(super) jws: Option<String>,
}

pub(super) fn entry_rows(db: &Connection, after: i64) -> rusqlite::Result<Vec<EntryRow>> {
    // What is too long is not loaded.
    let mut sql = db.prepare_cached(
        "SELECT seq, received_ms, denied, iif(octet_length(chain) = 32, chain, NULL), \
         iif(octet_length(jws) <= ?3, jws, NULL) FROM entries WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = sql.query(params![after, PAGE as i64, LONGEST_TEXT as i64])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(EntryRow {
            seq: row.get(0)?,
            received_ms: unsigned(row.get(1)?),
            denied: row.get(2)?,
            link: value(row, 3)?,
            jws: value(row, 4)?,
        });
    }
    Ok(all)
}

/// None if it is of another kind or size.
pub(super) fn value<T: FromSql>(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<T>> {
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
