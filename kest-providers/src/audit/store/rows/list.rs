//! What a filter finds in a database.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use kest_core::error::AuditError;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::times::Times;
use super::{PAGE, connect, unsigned};
use crate::audit::sqlite::failure;
use crate::audit::store::{Filter, Place, Stored};

/// What a filter finds, page by page.
#[derive(Debug)]
pub(in crate::audit::store) struct Listed {
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
    pub(in crate::audit::store) fn open(path: &Path, filter: &Filter) -> Result<Self, AuditError> {
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
        let times = Times::of(&db, filter.since_ms, filter.until_ms).map_err(cannot)?;
        let start = if filter.newest_first { times.last + 1 } else { times.first - 1 };
        sql.push_str(&format!(" AND {seq} BETWEEN {} AND {}", times.first, times.last));
        for condition in &conditions {
            sql.push_str(" AND ");
            sql.push_str(condition);
        }
        sql.push_str(&format!(" ORDER BY {seq} {order} LIMIT ?2"));
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
                    columns: None,
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
