//! What a database says of its beginning and its end. What no sink has written is told, and the rest is read.

use rusqlite::{Connection, OptionalExtension as _};

use super::read::value;
use super::unsigned;
use crate::audit::chain::Link;
use crate::audit::sqlite::{Blocks, Retired};

/// The table `head`: none where it has something that no sink writes.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Head {
    /// The last that retention has taken.
    pub(super) first: Option<(i64, Link)>,
    /// The last entry.
    pub(super) last: Option<(i64, Link)>,
    /// The last row of keys.
    pub(super) keys: Option<(i64, Link)>,
    /// Bytes of receipts of denials.
    pub(super) denial_bytes: Option<u64>,
    /// The size of blocks.
    pub(super) blocks: Option<Blocks>,
}

impl Head {
    pub(super) fn read(db: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT first_seq, iif(octet_length(first_link) = 32, first_link, NULL), \
                   seq, iif(octet_length(link) = 32, link, NULL), \
                   keys_seq, iif(octet_length(keys_link) = 32, keys_link, NULL), denial_bytes, block FROM head";
        let read = db.query_row(sql, [], |row| {
            let end = |index| -> rusqlite::Result<Option<(i64, Link)>> {
                let seq: Option<i64> = value(row, index)?;
                Ok(seq.filter(|seq| *seq >= 0).zip(value(row, index + 1)?))
            };
            Ok(Self {
                first: end(0)?,
                last: end(2)?,
                keys: end(4)?,
                denial_bytes: value(row, 6)?.and_then(|bytes: i64| u64::try_from(bytes).ok()),
                blocks: value(row, 7)?.and_then(Blocks::of),
            })
        });
        Ok(read.optional()?.unwrap_or_default())
    }

    /// What is not as a sink writes it.
    pub(super) fn unfit(&self) -> Option<&'static str> {
        let Self { first, last, keys, denial_bytes, blocks } = self;
        let whole =
            first.is_some() && last.is_some() && keys.is_some() && denial_bytes.is_some() && blocks.is_some();
        (!whole).then_some(
            "the table `head` has values that no sink writes, so what hangs on them is not checked",
        )
    }
}

/// What the chain says of retention after that entry and later ones, and how many rows no sink has written.
pub(super) fn told_from(db: &Connection, seq: i64) -> rusqlite::Result<(Vec<Retired>, usize)> {
    let mut sql = db.prepare(
        "SELECT after_seq, at_ms, first_seq, iif(octet_length(first_link) = 32, first_link, NULL) FROM retired \
         WHERE after_seq >= ?1 ORDER BY after_seq, id",
    )?;
    let mut rows = sql.query([seq])?;
    let (mut told, mut unfit) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let at_ms: Option<i64> = value(row, 1)?;
        match (value(row, 0)?, at_ms, value(row, 2)?, value(row, 3)?) {
            (Some(after_seq), Some(at_ms), Some(first_seq), Some(first_link)) if at_ms >= 0 => {
                told.push(Retired { after_seq, at_ms: unsigned(at_ms), first_seq, first_link });
            }
            _ => unfit += 1,
        }
    }
    Ok((told, unfit))
}
