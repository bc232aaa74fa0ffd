//! Lists, and what they passed over.

use kest_core::error::AuditError;

use super::Stored;
use super::filter::Over;
#[cfg(feature = "sqlite")]
use super::rows;

/// Entries that fit a filter.
#[derive(Debug)]
#[must_use = "a listing does nothing unless it is iterated"]
pub struct Listing(Listed);

/// Where they come from.
#[derive(Debug)]
pub(super) enum Listed {
    Lines(Box<Over>),
    #[cfg(feature = "sqlite")]
    Rows(Box<rows::Listed>),
}

impl Listing {
    pub(super) fn of(found: Listed) -> Self {
        Self(found)
    }

    /// How many places that were come across could not be read, so that an entry that fits may be missing for each.
    /// Of a folder alone: a database gives an error for each.
    #[must_use]
    pub fn unread(&self) -> u64 {
        match &self.0 {
            Listed::Lines(over) => over.unread(),
            #[cfg(feature = "sqlite")]
            Listed::Rows(_) => 0,
        }
    }
}

impl Iterator for Listing {
    type Item = Result<Stored, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Listed::Lines(over) => over.next(),
            #[cfg(feature = "sqlite")]
            Listed::Rows(rows) => rows.next(),
        }
    }
}
