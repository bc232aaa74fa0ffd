//! What entries are filed under, and whether they say so themselves.

use rusqlite::{Connection, OptionalExtension as _};

use crate::audit::item::Columns;
use crate::audit::sqlite::{Blocks, Field, Term, terms};

/// What an entry is filed under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::audit::store) struct Filed {
    /// The column.
    pub(super) denied: bool,
    /// In order. None where its block is not complete, or its terms were told to be missing.
    pub(super) terms: Option<Vec<Term>>,
}

impl Filed {
    /// What is wrong with it, for an entry that has these.
    pub(in crate::audit::store) fn wrong(&self, own: &Columns) -> Option<&'static str> {
        if self.denied != own.is_denial() {
            return Some("the column `denied` says something else than the entry");
        }
        let filed = self.terms.as_ref()?;
        let mut own: Vec<Term> = Term::all_of(own).collect();
        own.sort_unstable();
        own.dedup();
        (own != *filed).then_some(
            "the postings of its block say something else than the entry, so that searches miss it",
        )
    }
}

/// The terms of a complete block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) number: i64,
    /// By position; none where they cannot be read.
    pub(super) terms: Option<Vec<Vec<Term>>>,
}

impl Block {
    /// Reads them, and what is wrong.
    pub(super) fn read(
        db: &Connection,
        blocks: Blocks,
        number: i64,
    ) -> rusqlite::Result<(Self, Option<&'static str>)> {
        let mut all: Vec<Vec<Term>> = (0..blocks.size()).map(|_| Vec::new()).collect();
        for field in Field::ALL {
            let wrong = match postings(db, field, number)? {
                None => Some("postings are gone, so that searches look at each entry"),
                Some(bytes) => file(&mut all, field, &bytes)
                    .is_none()
                    .then_some("postings in a form that no sink writes, so that searches may miss entries"),
            };
            if wrong.is_some() {
                return Ok((Self { number, terms: None }, wrong));
            }
        }
        Ok((Self { number, terms: Some(all) }, None))
    }

    pub(super) fn terms_at(&self, position: u16) -> Option<Vec<Term>> {
        self.terms.as_ref()?.get(usize::from(position)).cloned()
    }
}

/// None if they are not in order, or not in the form.
fn file(all: &mut [Vec<Term>], field: Field, bytes: &[u8]) -> Option<()> {
    let of_field = terms(bytes)?;
    if !of_field.clone().zip(of_field.clone().skip(1)).all(|(one, next)| one < next) {
        return None;
    }
    for (hash, position) in of_field {
        all.get_mut(usize::from(position))?.push(Term { field, hash });
    }
    Some(())
}

/// None if they are not there, or too long to be any.
pub(super) fn postings(db: &Connection, field: Field, block: i64) -> rusqlite::Result<Option<Vec<u8>>> {
    const MOST: i64 = 64 << 20;
    let sql = "SELECT iif(octet_length(terms) <= ?2, terms, NULL) FROM postings WHERE place = ?1";
    let read = db.prepare_cached(sql)?.query_row([field.place(block), MOST], |row| row.get(0)).optional()?;
    Ok(read.flatten())
}

/// How many rows there are beside those of the blocks in the range, and the first.
pub(super) fn surplus(db: &Connection, blocks: std::ops::Range<i64>) -> rusqlite::Result<Option<(u64, i64)>> {
    let mut sql = db.prepare("SELECT place FROM postings ORDER BY place")?;
    let mut rows = sql.query([])?;
    let mut found: Option<(u64, i64)> = None;
    while let Some(row) = rows.next()? {
        let place: i64 = row.get(0)?;
        let fits = Field::ALL
            .into_iter()
            .any(|field| (field.place(blocks.start)..field.place(blocks.end)).contains(&place));
        if !fits {
            let (count, first) = found.unwrap_or((0, place));
            found = Some((count + 1, first));
        }
    }
    Ok(found)
}
