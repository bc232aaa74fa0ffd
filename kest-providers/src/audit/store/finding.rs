//! What a reader finds, and where.

use std::fmt;

/// A place in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A line of a segment, from 1.
    Line {
        /// The segment's file name.
        segment: String,
        /// The line.
        line: u64,
    },
    /// A row of the table `entries`.
    Row(i64),
    /// A row of the table `keys`.
    KeyRow(i64),
    /// What a block of rows of the table `entries` is found by: rows of the table `postings`.
    Block {
        /// The first entry of the block.
        first: i64,
        /// The last.
        last: i64,
    },
    /// The store as a whole.
    Store,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { segment, line } => write!(f, "{segment}:{line}"),
            Self::Row(seq) => write!(f, "entry {seq}"),
            Self::KeyRow(seq) => write!(f, "keys {seq}"),
            Self::Block { first, last } => write!(f, "entries {first} to {last}"),
            Self::Store => f.write_str("store"),
        }
    }
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// The running hash does not fit here: this was edited, or what stood before it was deleted or moved.
    Broken,
    /// It cannot be read.
    Malformed,
    /// Lines, rows or segments are gone.
    Missing,
    /// What entries are found by says something else than the entries.
    Columns,
    /// A writer found the segment damaged and went on in another.
    Damaged,
    /// Lines that were written when the device failed, and never acknowledged.
    Unacknowledged,
    /// A running hash that was kept elsewhere stands only in lines that the next segment disowns: either a device has
    /// failed after it was kept, or somebody wants to be rid of them.
    Disowned,
    /// All that a running hash that was kept elsewhere vouches for is gone, so that it cannot be looked for: whether
    /// retention took it, only the store itself says.
    Gone,
    /// The last line is no more than the beginning of one: a writer is at work, or was killed and nobody has opened the
    /// store since. Of a segment that is read alone, its end may also have been cut off. A line that lacks only its line
    /// end counts.
    Torn,
    /// A file beside the segments with what a writer has put aside when it opened the store: it says that this was
    /// never acknowledged.
    Aside,
}

impl FindingKind {
    /// Whether the store is not as its writers left it. The others are what an honest store may show.
    #[must_use]
    pub fn is_damage(self) -> bool {
        match self {
            Self::Broken
            | Self::Malformed
            | Self::Missing
            | Self::Columns
            | Self::Damaged
            | Self::Disowned => true,
            Self::Unacknowledged | Self::Gone | Self::Torn | Self::Aside => false,
        }
    }
}

/// Something that is not as a sink has left it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: FindingKind,
    /// In words.
    pub detail: String,
}

impl Finding {
    pub(super) fn new(place: Place, kind: FindingKind, detail: impl Into<String>) -> Self {
        Self { place, kind, detail: detail.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.detail)
    }
}
