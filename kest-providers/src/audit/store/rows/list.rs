//! What a filter finds in a database.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use kest_core::error::{AuditError, AuditErrorKind};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::filed::postings;
use super::head::Head;
use super::read::value;
use super::times::Times;
use super::{connect, unsigned};
use crate::audit::chain::sha256;
use crate::audit::item::LONGEST_TEXT;
use crate::audit::sqlite::{Blocks, Field, Held, Term, failure, positions};
use crate::audit::store::{Filter, Place, Stored};

/// What a filter finds, block by block: the terms of a block say which of its entries to look at, and the entries
/// themselves decide.
#[derive(Debug)]
pub(in crate::audit::store) struct Listed {
    path: PathBuf,
    db: Connection,
    /// Until the database is closed.
    _held: Held,
    filter: Filter,
    asked: Vec<Term>,
    /// None: no terms are to be trusted.
    blocks: Option<Blocks>,
    /// Entries that may still be looked at.
    times: Times,
    /// Of a block, in order.
    candidates: VecDeque<i64>,
    left: usize,
}

enum Row {
    Fits(Stored),
    Other,
    Unfit,
}

impl Listed {
    pub(in crate::audit::store) fn open(path: &Path, filter: &Filter) -> Result<Self, AuditError> {
        let (held, db) = connect(path)?;
        let cannot = |error| failure("read", path, error).to_error();
        db.execute_batch("BEGIN").map_err(cannot)?;
        let head = Head::read(&db).map_err(cannot)?;
        let times = Times::of(&db, &head, filter.since_ms, filter.until_ms).map_err(cannot)?;
        Ok(Self {
            path: path.to_path_buf(),
            db,
            _held: held,
            filter: filter.clone(),
            asked: asked(filter),
            blocks: head.blocks,
            times,
            candidates: VecDeque::new(),
            left: filter.limit.unwrap_or(usize::MAX),
        })
    }

    /// Goes to the next block. False at the end.
    fn next_block(&mut self) -> rusqlite::Result<bool> {
        let Times { first, last } = self.times;
        if first > last {
            return Ok(false);
        }
        let newest_first = self.filter.newest_first;
        let blocks = self.blocks.unwrap_or_default();
        let block = blocks.block(if newest_first { last } else { first });
        let (from, to) = (blocks.first(block).max(first), blocks.last(block).min(last));
        self.candidates = match self.positions(block)? {
            Some(positions) => positions
                .into_iter()
                .map(|position| blocks.first(block).saturating_add(position.into()))
                .filter(|seq| (from..=to).contains(seq))
                .collect(),
            // Whoever has edited the store may have left a gap of any size.
            None => match self.next_entry()? {
                None => return Ok(false),
                Some(next) if (from..=to).contains(&next) => (from..=to).collect(),
                Some(next) if newest_first => {
                    self.times.last = next;
                    return Ok(true);
                }
                Some(next) => {
                    self.times.first = next;
                    return Ok(true);
                }
            },
        };
        if newest_first {
            self.times.last = from.saturating_sub(1);
        } else {
            self.times.first = to.saturating_add(1);
        }
        Ok(true)
    }

    /// The next entry that is there.
    fn next_entry(&self) -> rusqlite::Result<Option<i64>> {
        let sql = if self.filter.newest_first {
            "SELECT seq FROM entries WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq DESC LIMIT 1"
        } else {
            "SELECT seq FROM entries WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq LIMIT 1"
        };
        let Times { first, last } = self.times;
        self.db.prepare_cached(sql)?.query_row([first, last], |row| row.get(0)).optional()
    }

    /// Where in a block an entry may fit, in order. None: anywhere.
    fn positions(&self, block: i64) -> rusqlite::Result<Option<Vec<u16>>> {
        let Some(blocks) = self.blocks else { return Ok(None) };
        let mut all: Option<Vec<u16>> = None;
        for term in &self.asked {
            let bytes = postings(&self.db, term.field, block)?;
            // The block is not complete, or somebody has taken what was there.
            let Some(found) = bytes.and_then(|bytes| positions(&bytes, term.hash)) else { return Ok(None) };
            match &mut all {
                None => all = Some(found),
                Some(all) => all.retain(|position| found.binary_search(position).is_ok()),
            }
            if all.as_ref().is_some_and(Vec::is_empty) {
                return Ok(all);
            }
        }
        if self.filter.denied == Some(false) {
            let bytes = postings(&self.db, Field::Denied, block)?;
            let found = bytes.and_then(|bytes| positions(&bytes, Term::DENIED.hash));
            let Some(denied) = found else { return Ok(None) };
            let mut left =
                all.unwrap_or_else(|| (0..=u16::try_from(blocks.size() - 1).unwrap_or(0)).collect());
            left.retain(|position| denied.binary_search(position).is_err());
            all = Some(left);
        }
        Ok(all)
    }

    fn look(&self, seq: i64) -> rusqlite::Result<Row> {
        let mut sql = self.db.prepare_cached(
            "SELECT received_ms, iif(octet_length(jws) <= ?2, jws, NULL) FROM entries WHERE seq = ?1",
        )?;
        let mut rows = sql.query(params![seq, LONGEST_TEXT as i64])?;
        let Some(row) = rows.next()? else { return Ok(Row::Other) };
        let jws: Option<String> = value(row, 1)?;
        let Some(jws) = jws else { return Ok(Row::Unfit) };
        let (received_ms, hash) = (unsigned(row.get(0)?), sha256(jws.as_bytes()));
        let stored = Stored { place: Place::Row(seq), received_ms, jws, hash, columns: None };
        Ok(match self.filter.judge(&stored) {
            Some(true) => Row::Fits(stored),
            Some(false) => Row::Other,
            None => Row::Unfit,
        })
    }

    fn find(&mut self) -> rusqlite::Result<Option<Result<Stored, AuditError>>> {
        loop {
            let next = if self.filter.newest_first {
                self.candidates.pop_back()
            } else {
                self.candidates.pop_front()
            };
            let Some(seq) = next else {
                if self.next_block()? {
                    continue;
                }
                return Ok(None);
            };
            match self.look(seq)? {
                Row::Fits(stored) => {
                    self.left -= 1;
                    return Ok(Some(Ok(stored)));
                }
                Row::Other => {}
                Row::Unfit => return Ok(Some(Err(unfit(&self.path, seq)))),
            }
        }
    }
}

impl Iterator for Listed {
    type Item = Result<Stored, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        match self.find() {
            Ok(found) => found,
            // Nothing is listed behind a place that SQLite cannot read.
            Err(error) => {
                self.left = 0;
                Some(Err(failure("read", &self.path, error).to_error()))
            }
        }
    }
}

fn asked(filter: &Filter) -> Vec<Term> {
    let texts = [
        (Field::Entry, &filter.entry_id),
        (Field::Trace, &filter.trace_id),
        (Field::User, &filter.user),
        (Field::Taint, &filter.taint),
        (Field::Workload, &filter.workload),
        (Field::Operation, &filter.operation),
    ];
    let texts = texts.into_iter().filter_map(|(field, text)| Some(Term::of(field, text.as_deref()?)));
    texts.chain((filter.denied == Some(true)).then_some(Term::DENIED)).collect()
}

fn unfit(path: &Path, seq: i64) -> AuditError {
    AuditError::new(
        AuditErrorKind::Malformed,
        format!(
            "entry {seq} of `{}` has values that no sink writes, so whether it is wanted is not known; \
             `kest audit verify` tells what else is wrong",
            path.display()
        ),
    )
}
