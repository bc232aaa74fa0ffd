//! What retention deletes, and how the chain tells of it.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::head::{self, Head};
use super::postings;
use super::{step, whole};
use crate::audit::chain::{self, Link, hex};

/// Most entries that are deleted at once: calls wait meanwhile.
pub(super) const MOST: usize = 1_000;

/// Deletes the oldest entries up to `last` that were received before a time, at most [`MOST`]. Gives how many; `head` goes on, as
/// the chain has a link that says so.
pub(super) fn delete_before(
    db: &mut Connection,
    head: &mut Head,
    last: i64,
    before_ms: u64,
    now_ms: u64,
) -> rusqlite::Result<usize> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let first: i64 = tx.query_row("SELECT first_seq FROM head", [], |row| row.get(0))?;
    let most = first.saturating_add(i64::try_from(MOST).unwrap_or(i64::MAX));
    // Up to the first that is young enough: the chain goes on from there.
    let young: Option<i64> = tx
        .prepare_cached(
            "SELECT seq FROM entries WHERE seq > ?1 AND seq <= ?2 AND received_ms >= ?3 ORDER BY seq LIMIT 1",
        )?
        .query_row(params![first, most, whole(before_ms)], |row| row.get(0))
        .optional()?;
    let last = young.map_or(most, |young| young - 1).min(last);
    if last <= first {
        return Ok(0);
    }
    let mut link: Link =
        tx.query_row("SELECT chain FROM entries WHERE seq = ?1", [last], |row| row.get(0))?;
    for told in told_from(&tx, last)?.iter().take_while(|told| told.after_seq == last) {
        link = told.after(&link);
    }
    step();
    tx.execute("DELETE FROM retired WHERE after_seq <= ?1", [last])?;
    tx.execute("DELETE FROM steps WHERE seq <= ?1", [last])?;
    let blocks = head::blocks(&tx)?;
    postings::delete_up_to(&tx, blocks, last)?;
    step();
    let sql = "SELECT coalesce(sum(octet_length(jws)), 0) FROM entries WHERE seq <= ?1 AND denied <> 0";
    let denial_bytes: i64 = tx.query_row(sql, [last], |row| row.get(0))?;
    let deleted = tx.execute("DELETE FROM entries WHERE seq <= ?1", [last])?;
    let told = Retired { after_seq: head.seq, at_ms: now_ms, first_seq: last, first_link: link };
    tx.execute(
        "INSERT INTO retired(after_seq, at_ms, first_seq, first_link) VALUES (?1, ?2, ?3, ?4)",
        params![told.after_seq, whole(told.at_ms), told.first_seq, told.first_link],
    )?;
    let denial_bytes = head.denial_bytes.saturating_sub(denial_bytes).max(0);
    let after = Head { link: told.after(&head.link), denial_bytes, ..*head };
    tx.execute("UPDATE head SET first_seq = ?1, first_link = ?2", params![last, link])?;
    after.write(&tx)?;
    step();
    tx.commit()?;
    step();
    *head = after;
    Ok(deleted)
}

/// A row of `retired`: after entry `after_seq` the chain says that nothing up to `first_seq` is kept any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::audit) struct Retired {
    pub(in crate::audit) after_seq: i64,
    pub(in crate::audit) at_ms: u64,
    pub(in crate::audit) first_seq: i64,
    pub(in crate::audit) first_link: Link,
}

impl Retired {
    /// The link after it.
    pub(in crate::audit) fn after(&self, before: &Link) -> Link {
        let Self { after_seq, at_ms, first_seq, first_link } = self;
        let text = format!("retired\n{after_seq}\n{at_ms}\n{first_seq}\n{}", hex(first_link));
        chain::after_text(before, text.as_bytes())
    }
}

/// What the chain tells after that entry and later ones.
pub(in crate::audit) fn told_from(db: &Connection, seq: i64) -> rusqlite::Result<Vec<Retired>> {
    let mut sql = db.prepare_cached(
        "SELECT after_seq, at_ms, first_seq, first_link FROM retired WHERE after_seq >= ?1 ORDER BY after_seq, id",
    )?;
    let rows = sql.query_map([seq], |row| {
        let at_ms: i64 = row.get(1)?;
        Ok(Retired {
            after_seq: row.get(0)?,
            at_ms: u64::try_from(at_ms).unwrap_or(0),
            first_seq: row.get(2)?,
            first_link: row.get(3)?,
        })
    })?;
    rows.collect()
}
