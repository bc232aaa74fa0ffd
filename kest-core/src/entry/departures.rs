//! Where a foreign entry departs from the schema: the first few, and how many more.

use super::EntryError;

/// More than anybody reads. An entry of 64 KiB can hold thousands.
const KEPT: usize = 8;

#[derive(Default)]
pub(super) struct Departures {
    pub(super) list: Vec<EntryError>,
    /// Those beyond `list`.
    pub(super) more: usize,
}

impl Departures {
    pub(super) fn push(&mut self, departure: EntryError) {
        if self.list.len() < KEPT {
            self.list.push(departure);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn append(&mut self, others: Self) {
        others.list.into_iter().for_each(|departure| self.push(departure));
        self.more += others.more;
    }
}
