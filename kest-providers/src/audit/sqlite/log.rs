//! SQLite's log, and when it is brought into the database.

use rusqlite::Connection;

/// How much stands in the log, about.
#[derive(Debug, Default)]
pub(super) struct Log {
    bytes: usize,
}

impl Log {
    /// Bytes of log after which it is brought into the database.
    const MOST: usize = 16 << 20;

    /// After a commit of so many bytes.
    pub(super) fn grows(&mut self, bytes: usize) {
        /// Pages that change beside those of the entries: what is half full, what is above, `head`.
        const AROUND: usize = 4 * 4_096;
        self.bytes = self.bytes.saturating_add(bytes).saturating_add(AROUND);
    }

    /// Brings the log into the database if it is long, and flushes both. SQLite would do so by itself, and keep to itself
    /// how it went.
    pub(super) fn shorten(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if self.bytes < Self::MOST {
            return Ok(());
        }
        // If readers hold it, the rest goes with the next.
        self.bytes = 0;
        db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    #[cfg(test)]
    pub(super) fn is_long(&mut self) {
        self.bytes = Self::MOST;
    }
}
