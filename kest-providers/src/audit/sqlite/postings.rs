//! What entries are found by. They are counted in blocks; of a block that is complete there is a row for each thing that
//! can be asked for, with hashes of what its entries say and where in the block they stand.

use rusqlite::{CachedStatement, Connection, params};

use super::step;
use crate::audit::chain::sha256;
use crate::audit::item::{Columns, LONGEST_TEXT};

/// What can be asked for. In the table the number of a row is this and the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::audit) enum Field {
    Entry,
    Trace,
    Workload,
    Operation,
    User,
    Taint,
    /// Receipts of denials, all with the hash 0.
    Denied,
}

impl Field {
    pub(in crate::audit) const ALL: [Self; 7] =
        [Self::Entry, Self::Trace, Self::Workload, Self::Operation, Self::User, Self::Taint, Self::Denied];

    /// The number of its row for a block.
    pub(in crate::audit) fn place(self, block: i64) -> i64 {
        (self as i64) << 40 | block
    }
}

/// What an entry says of a field: the first four bytes of the SHA-256 of the text. Two texts may have the same; whoever
/// looks for one of them looks at the entry too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::audit) struct Term {
    pub(in crate::audit) field: Field,
    pub(in crate::audit) hash: u32,
}

impl Term {
    pub(in crate::audit) const DENIED: Self = Self { field: Field::Denied, hash: 0 };

    pub(in crate::audit) fn of(field: Field, text: &str) -> Self {
        let [a, b, c, d, ..] = sha256(text.as_bytes());
        Self { field, hash: u32::from_be_bytes([a, b, c, d]) }
    }

    /// All of an entry, in no order.
    pub(in crate::audit) fn all_of(columns: &Columns) -> impl Iterator<Item = Self> + '_ {
        let Columns { entry_id, trace_id, workload, operation, user, taints, .. } = columns;
        let texts = [
            (Field::Entry, Some(entry_id)),
            (Field::Trace, trace_id.as_ref()),
            (Field::Workload, Some(workload)),
            (Field::Operation, Some(operation)),
            (Field::User, user.as_ref()),
        ];
        texts
            .into_iter()
            .filter_map(|(field, text)| text.map(|text| Self::of(field, text)))
            .chain(taints.iter().map(|taint| Self::of(Field::Taint, taint)))
            .chain(columns.is_denial().then_some(Self::DENIED))
    }
}

/// How many entries a block has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audit) struct Blocks(i64);

impl Blocks {
    /// What stores are made with.
    pub(super) const USUAL: u16 = 1_024;

    /// None for a number that no store is made with.
    pub(in crate::audit) fn of(size: i64) -> Option<Self> {
        (1..=i64::from(u16::MAX)).contains(&size).then_some(Self(size))
    }

    /// The block of an entry, which are counted from 1; blocks are counted from 0.
    pub(in crate::audit) fn block(self, seq: i64) -> i64 {
        seq.saturating_sub(1).div_euclid(self.0)
    }

    /// Where in its block an entry stands.
    pub(in crate::audit) fn position(self, seq: i64) -> u16 {
        u16::try_from(seq.saturating_sub(1).rem_euclid(self.0)).unwrap_or(0)
    }

    pub(in crate::audit) fn first(self, block: i64) -> i64 {
        block.saturating_mul(self.0).saturating_add(1)
    }

    pub(in crate::audit) fn last(self, block: i64) -> i64 {
        self.first(block).saturating_add(self.0 - 1)
    }

    pub(in crate::audit) fn size(self) -> i64 {
        self.0
    }
}

impl Default for Blocks {
    fn default() -> Self {
        Self(Self::USUAL.into())
    }
}

/// Where in a block a term stands: the form of the column `terms`, which has them in order.
pub(in crate::audit) fn terms(
    bytes: &[u8],
) -> Option<impl DoubleEndedIterator<Item = (u32, u16)> + Clone + '_> {
    let (chunks, []) = bytes.as_chunks::<6>() else { return None };
    Some(chunks.iter().map(|[a, b, c, d, high, low]| {
        (u32::from_be_bytes([*a, *b, *c, *d]), u16::from_be_bytes([*high, *low]))
    }))
}

/// Where in a block a hash stands, in order.
pub(in crate::audit) fn positions(bytes: &[u8], wanted: u32) -> Option<Vec<u16>> {
    let (chunks, []) = bytes.as_chunks::<6>() else { return None };
    let first = chunks.partition_point(|[a, b, c, d, ..]| u32::from_be_bytes([*a, *b, *c, *d]) < wanted);
    let from = terms(bytes.get(first * 6..)?)?;
    Some(from.take_while(|(hash, _)| *hash == wanted).map(|(_, position)| position).collect())
}

/// The terms of the block that is not complete.
#[derive(Debug)]
pub(super) struct OpenBlock {
    blocks: Blocks,
    terms: Vec<(Term, u16)>,
}

impl OpenBlock {
    /// Reads them from the entries up to `last`. What is no entry has none.
    pub(super) fn read(db: &Connection, blocks: Blocks, last: i64) -> rusqlite::Result<Self> {
        let mut open = Self { blocks, terms: Vec::new() };
        let first = blocks.first(blocks.block(last.saturating_add(1)));
        let mut sql = db.prepare(
            "SELECT seq, CAST(iif(octet_length(jws) <= ?3, jws, '') AS BLOB) FROM entries \
             WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq",
        )?;
        let mut rows = sql.query(params![first, last, LONGEST_TEXT as i64])?;
        while let Some(row) = rows.next()? {
            let jws = row.get_ref(1)?.as_bytes()?;
            if let Some(columns) = std::str::from_utf8(jws).ok().and_then(Columns::of) {
                open.add(row.get(0)?, &columns);
            }
        }
        Ok(open)
    }

    /// The next entry.
    pub(super) fn add(&mut self, seq: i64, columns: &Columns) {
        let position = self.blocks.position(seq);
        self.terms.extend(Term::all_of(columns).map(|term| (term, position)));
    }

    /// Writes the terms, where the entry that was added last completes the block, and begins the next.
    pub(super) fn complete(&mut self, db: &Connection, seq: i64) -> rusqlite::Result<()> {
        let block = self.blocks.block(seq);
        if seq != self.blocks.last(block) {
            return Ok(());
        }
        self.terms.sort_unstable();
        self.terms.dedup();
        // Whatever stands there is not of this sink.
        let mut sql = db.prepare_cached("INSERT OR REPLACE INTO postings(place, terms) VALUES (?1, ?2)")?;
        for field in Field::ALL {
            self.write(&mut sql, field, block)?;
            step();
        }
        self.terms.clear();
        Ok(())
    }

    fn write(&self, sql: &mut CachedStatement<'_>, field: Field, block: i64) -> rusqlite::Result<()> {
        let of_field = self.terms.iter().filter(|(term, _)| term.field == field);
        let mut bytes = Vec::with_capacity(6 * self.terms.len() / 2);
        for (term, position) in of_field {
            bytes.extend(term.hash.to_be_bytes());
            bytes.extend(position.to_be_bytes());
        }
        sql.execute(params![field.place(block), bytes])?;
        Ok(())
    }
}

/// Deletes the terms of the blocks that end with that entry or before.
pub(super) fn delete_up_to(db: &Connection, blocks: Blocks, seq: i64) -> rusqlite::Result<()> {
    let first_left = blocks.block(seq.saturating_add(1));
    let mut sql = db.prepare_cached("DELETE FROM postings WHERE place >= ?1 AND place < ?2")?;
    for field in Field::ALL {
        sql.execute([field.place(0), field.place(first_left)])?;
    }
    Ok(())
}
