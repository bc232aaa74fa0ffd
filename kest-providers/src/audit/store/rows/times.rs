//! Where in a database a time is.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::head::Head;

/// The places between which all entries stand that were received in a span of time, and maybe others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Times {
    pub(super) fn of(
        db: &Connection,
        head: &Head,
        since: Option<u64>,
        until: Option<u64>,
    ) -> rusqlite::Result<Self> {
        let sql =
            "SELECT coalesce((SELECT min(seq) FROM entries), 1), coalesce((SELECT max(seq) FROM entries), 0)";
        let (first, last): (i64, i64) = db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let first = first.max(head.first.map_or(0, |(seq, _)| seq).saturating_add(1));
        let last = last.min(head.last.map_or(i64::MAX - 1, |(seq, _)| seq));
        let mut all = Self { first, last };
        if since.is_none() && until.is_none() {
            return Ok(all);
        }
        let runs = runs(db, first, last)?;
        if let Some(since) = since {
            // In the first run that ends late enough.
            let mut found = last + 1;
            for (from, to) in &runs {
                if received(db, *to)?.is_some_and(|at| at >= since) {
                    found = partition(db, *from, *to, |at| at < since)?;
                    break;
                }
            }
            all.first = found;
        }
        if let Some(until) = until {
            let mut found = first - 1;
            for (from, to) in runs.iter().rev() {
                if received(db, *from)?.is_some_and(|at| at < until) {
                    found = partition(db, *from, *to, |at| at < until)? - 1;
                    break;
                }
            }
            all.last = found;
        }
        Ok(all)
    }
}

/// The runs in which time goes forward, first and last place of each.
fn runs(db: &Connection, first: i64, last: i64) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut sql = db.prepare("SELECT seq FROM steps WHERE seq > ?1 AND seq <= ?2 ORDER BY seq")?;
    let mut from = first;
    let mut runs = Vec::new();
    for step in sql.query_map(params![first, last], |row| row.get::<_, i64>(0))? {
        let step = step?;
        runs.push((from, step - 1));
        from = step;
    }
    if from <= last {
        runs.push((from, last));
    }
    Ok(runs)
}

/// The first place of a run for which it does not hold any more; the one after the run if it always holds.
fn partition(db: &Connection, from: i64, to: i64, holds: impl Fn(u64) -> bool) -> rusqlite::Result<i64> {
    let (mut low, mut high) = (from, to + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if received(db, middle)?.is_some_and(&holds) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// When that entry was received; the next one, where it is missing.
fn received(db: &Connection, seq: i64) -> rusqlite::Result<Option<u64>> {
    let at: Option<i64> = db
        .prepare_cached("SELECT received_ms FROM entries WHERE seq >= ?1 ORDER BY seq LIMIT 1")?
        .query_row([seq], |row| row.get(0))
        .optional()?;
    Ok(at.map(super::unsigned))
}
