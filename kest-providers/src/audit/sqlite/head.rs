//! Where both chains end.

use rusqlite::{Connection, Error, params};

use super::postings::Blocks;
use crate::audit::chain::Link;

/// The ends of the chains of entries and of keys, and what receipts of denials take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) link: Link,
    pub(super) keys_seq: i64,
    pub(super) keys_link: Link,
    /// Bytes of their JWS.
    pub(super) denial_bytes: i64,
}

impl Head {
    pub(super) fn read(db: &Connection) -> rusqlite::Result<Self> {
        let mut sql = db.prepare_cached("SELECT seq, link, keys_seq, keys_link, denial_bytes FROM head")?;
        sql.query_row([], |row| {
            Ok(Self {
                seq: row.get(0)?,
                link: row.get(1)?,
                keys_seq: row.get(2)?,
                keys_link: row.get(3)?,
                denial_bytes: row.get(4)?,
            })
        })
    }

    /// In the transaction that `db` is in.
    pub(super) fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        let Self { seq, link, keys_seq, keys_link, denial_bytes } = self;
        let changed = db
            .prepare_cached(
                "UPDATE head SET seq = ?1, link = ?2, keys_seq = ?3, keys_link = ?4, denial_bytes = ?5",
            )?
            .execute(params![seq, link, keys_seq, keys_link, denial_bytes])?;
        // A row that is not there would leave the end of the chain where it was.
        if changed == 1 { Ok(()) } else { Err(Error::StatementChangedRows(changed)) }
    }
}

/// The size of the blocks that the store was made with.
pub(super) fn blocks(db: &Connection) -> rusqlite::Result<Blocks> {
    let size = db.query_row("SELECT block FROM head", [], |row| row.get(0))?;
    Blocks::of(size).ok_or(Error::IntegralValueOutOfRange(0, size))
}
