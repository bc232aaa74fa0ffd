//! Running hashes that were kept elsewhere.

use kest_core::error::{AuditError, AuditErrorKind};

use super::{Finding, FindingKind, Place};
use crate::audit::chain::{Link, hex, unhex};

/// Those that a scan has not come by yet, and how things stood where it came by others.
#[derive(Debug, Default)]
pub(super) struct Expected {
    awaited: Vec<Awaited>,
    /// How much retention had taken by what was read last: segments, or rows.
    told: u64,
    /// When the first was received that is left, once it was read.
    begun_ms: Option<u64>,
    met: Option<Met>,
}

/// What retention has taken by the store's own word, though a running hash that was kept elsewhere vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taken {
    /// In words.
    pub what: String,
    /// All of it was received before, in epoch milliseconds: that is covered by the running hash. None where nothing
    /// that it covers says so.
    pub before_ms: Option<u64>,
}

/// Of the first place where one was come by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Met {
    /// How much retention had taken by then.
    pub(super) told: u64,
    /// All that is gone was received before: a time that the running hash covers.
    pub(super) begun_ms: Option<u64>,
}

#[derive(Debug)]
struct Awaited {
    link: Link,
    /// Whether the store says that it stood right before what is left.
    at_edge: bool,
    /// The line after which it was come by, of those that the next segment disowns.
    disowned: Option<Place>,
}

impl Expected {
    pub(super) fn add(&mut self, tip: &str) -> Result<(), AuditError> {
        let link = unhex(tip.as_bytes()).ok_or_else(|| {
            AuditError::new(
                AuditErrorKind::Malformed,
                format!("`{}` is no SHA-256 in lowercase hex (64 digits)", tip.escape_debug()),
            )
        })?;
        self.awaited.push(Awaited { link, at_edge: false, disowned: None });
        Ok(())
    }

    /// Comes by a link that was computed from something that was read.
    pub(super) fn pass(&mut self, link: &Link) {
        let before = self.awaited.len();
        if before > 0 {
            self.awaited.retain(|awaited| awaited.link != *link);
        }
        if self.awaited.len() < before {
            self.met.get_or_insert(Met { told: self.told, begun_ms: self.begun_ms });
        }
    }

    /// Comes by something that was received then.
    pub(super) fn begins_at(&mut self, received_ms: u64) {
        self.begun_ms.get_or_insert(received_ms);
    }

    /// Comes by the store's word of what retention has taken.
    pub(super) fn is_told(&mut self, taken: u64) {
        self.told = self.told.max(taken);
    }

    pub(super) fn met(&self) -> Option<Met> {
        self.met
    }

    /// Comes by a link in lines that the next segment disowns: they are in no chain.
    pub(super) fn pass_disowned(&mut self, link: &Link, place: impl Fn() -> Place) {
        for awaited in &mut self.awaited {
            if awaited.link == *link {
                awaited.disowned.get_or_insert_with(&place);
            }
        }
    }

    /// Comes by a link that the store only claims: nothing that it covers was read.
    pub(super) fn begins_after(&mut self, link: &Link) {
        for awaited in &mut self.awaited {
            awaited.at_edge |= awaited.link == *link;
        }
    }

    /// At the end.
    pub(super) fn missed(&mut self) -> Option<Finding> {
        let Awaited { link, at_edge, disowned } = self.awaited.pop()?;
        let link = hex(&link);
        let (kind, detail) = if let Some(place) = disowned {
            let detail = format!(
                "the running hash `{link}` that was kept elsewhere is that after {place}, and the next segment disowns \
                 that line: what it vouches for was made void after it was kept"
            );
            (FindingKind::Disowned, detail)
        } else if at_edge {
            let detail = format!(
                "the running hash `{link}` that was kept elsewhere is what the store says stood before the first that \
                 is left: nothing that it vouches for is there any more, so it proves nothing"
            );
            (FindingKind::Gone, detail)
        } else {
            let detail = format!(
                "the running hash `{link}` that was kept elsewhere is nowhere in it: its end was cut off, entries were \
                 changed, or retention has deleted the place"
            );
            (FindingKind::Missing, detail)
        };
        Some(Finding::new(Place::Store, kind, detail))
    }
}
