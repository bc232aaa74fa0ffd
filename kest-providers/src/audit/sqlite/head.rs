//! Where both chains end.

use rusqlite::{Connection, params};

use crate::audit::chain::Link;

/// The ends of the chains of entries and of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) link: Link,
    pub(super) keys_seq: i64,
    pub(super) keys_link: Link,
}

impl Head {
    pub(super) fn read(db: &Connection) -> rusqlite::Result<Self> {
        let mut sql = db.prepare_cached("SELECT seq, link, keys_seq, keys_link FROM head")?;
        sql.query_row([], |row| {
            Ok(Self { seq: row.get(0)?, link: row.get(1)?, keys_seq: row.get(2)?, keys_link: row.get(3)? })
        })
    }

    /// In the transaction that `db` is in.
    pub(super) fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached("UPDATE head SET seq = ?1, link = ?2, keys_seq = ?3, keys_link = ?4")?
            .execute(params![self.seq, self.link, self.keys_seq, self.keys_link])?;
        Ok(())
    }
}
