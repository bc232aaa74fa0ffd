//! A batch as one transaction.

use std::sync::Arc;

use kest_core::audit::RecordKind;
use kest_core::error::AuditErrorKind;
use rusqlite::{Connection, params};

use super::error::{changed, failure, unsynced};
use super::head::Head;
use super::keys::keep_keys;
use super::write::SqliteBackend;
use super::{step, whole};
use crate::audit::chain;
use crate::audit::failure::Failure;
use crate::audit::file::now_ms;
use crate::audit::item::{Item, KeyRecord};

impl SqliteBackend {
    /// After an error nothing in memory counts before it was read again.
    pub(super) fn insert(
        &mut self,
        items: &[(usize, &Item)],
        refused: &mut Vec<(usize, Failure)>,
    ) -> Result<(), Failure> {
        let path = self.path();
        let Some(db) = &mut self.db else { return Err(unsynced(&path)) };
        let cannot = |error| failure("write to", &path, error);
        let received_ms = now_ms();
        let mut new_keys: Vec<Arc<KeyRecord>> = Vec::new();
        let mut bytes = 0;
        step();
        let tx = Batch::begin(db).map_err(cannot)?;
        step();
        let mut head = self.head;
        if Head::read(&tx).map_err(cannot)? != head {
            return Err(changed(&path));
        }
        {
            let mut row = tx
                .prepare_cached(
                    "INSERT INTO entries(seq, received_ms, denied, chain, jws) VALUES (?1, ?2, ?3, ?4, ?5)",
                )
                .map_err(cannot)?;
            for (index, item) in items.iter().copied() {
                let Some(columns) = item.columns.as_deref() else {
                    let failure = Failure::new(AuditErrorKind::Malformed, "an entry without columns");
                    refused.push((index, failure));
                    continue;
                };
                let taken = head.denial_bytes.saturating_add(whole(item.jws.len() as u64));
                if item.kind == RecordKind::Denial && taken > whole(self.settings.most_denial_bytes()) {
                    let why = "receipts of denials have taken all of `denial_bytes`, or their eighth of `max_bytes`";
                    refused.push((index, Failure::new(AuditErrorKind::Full, why)));
                    continue;
                }
                if columns.is_denial() {
                    head.denial_bytes = taken;
                }
                if !self.keys.has(&item.keys) && !new_keys.contains(&item.keys) {
                    keep_keys(&tx, &mut head, received_ms, &item.keys).map_err(cannot)?;
                    bytes += item.keys.size();
                    new_keys.push(Arc::clone(&item.keys));
                    step();
                }
                head.seq += 1;
                if head.seq == self.head.seq + 1 && self.last_ms.is_none_or(|last| received_ms < last) {
                    tx.prepare_cached("INSERT INTO steps(seq) VALUES (?1)")
                        .and_then(|mut sql| sql.execute([head.seq]))
                        .map_err(cannot)?;
                }
                head.link = chain::after_entry(&head.link, received_ms, &item.hash);
                row.execute(params![
                    head.seq,
                    whole(received_ms),
                    columns.is_denial(),
                    head.link,
                    &*item.jws
                ])
                .map_err(cannot)?;
                bytes += item.jws.len();
                step();
                self.open_block.add(head.seq, columns);
                self.open_block.complete(&tx, head.seq).map_err(cannot)?;
            }
        }
        head.write(&tx).map_err(cannot)?;
        step();
        tx.commit().map_err(cannot)?;
        step();
        // Whoever has moved it meanwhile has moved these rows too.
        self.held.undisturbed(&path, self.log_file)?;
        if head.seq > self.head.seq {
            self.last_ms = Some(received_ms);
        }
        self.head = head;
        self.log.grows(bytes);
        self.keys.extend(new_keys);
        Ok(())
    }
}

/// A transaction whose statements are made once; undone unless it is committed.
struct Batch<'c>(&'c Connection);

impl<'c> Batch<'c> {
    fn begin(db: &'c Connection) -> rusqlite::Result<Self> {
        db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self(db))
    }

    fn commit(self) -> rusqlite::Result<()> {
        self.0.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

impl std::ops::Deref for Batch<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // After any error the connection is opened anew, which undoes it too.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}
