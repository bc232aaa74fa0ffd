//! Which entries are wanted.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use kest_core::error::AuditError;

use super::lines::Lines;
use super::{FindingKind, Scan, Seen, Steps, Stored};
use crate::audit::item::Columns;

/// Which entries are wanted: those that fit all that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Received at that time or later, in epoch milliseconds.
    pub since_ms: Option<u64>,
    /// Received before that time.
    pub until_ms: Option<u64>,
    /// The entry's id.
    pub entry_id: Option<String>,
    /// `labels.trace_id`.
    pub trace_id: Option<String>,
    /// The workload, as it is anchored.
    pub workload: Option<String>,
    /// The operation.
    pub operation: Option<String>,
    /// The user: a string as it is, an object as canonical JSON.
    pub user: Option<String>,
    /// One of the taints in effect.
    pub taint: Option<String>,
    /// Receipts of denials alone, or everything else.
    pub denied: Option<bool>,
    /// The newest first.
    pub newest_first: bool,
    /// At most so many.
    pub limit: Option<usize>,
}

impl Filter {
    /// None if it cannot be told, as it is no entry of kest.
    pub(super) fn judge(&self, stored: &Stored) -> Option<bool> {
        if self.since_ms.is_some_and(|since| stored.received_ms < since)
            || self.until_ms.is_some_and(|until| stored.received_ms >= until)
        {
            return Some(false);
        }
        if !self.asks_entry() {
            return Some(true);
        }
        let columns = Columns::of(&stored.jws)?;
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let fits = same(&self.entry_id, Some(&columns.entry_id))
            && same(&self.trace_id, columns.trace_id.as_deref())
            && same(&self.workload, Some(&columns.workload))
            && same(&self.operation, Some(&columns.operation))
            && same(&self.user, columns.user.as_deref())
            && self.taint.as_ref().is_none_or(|wanted| columns.taints.contains(wanted))
            && self.denied.is_none_or(|denied| columns.is_denial() == denied);
        Some(fits)
    }

    fn asks_entry(&self) -> bool {
        let texts =
            [&self.entry_id, &self.trace_id, &self.workload, &self.operation, &self.user, &self.taint];
        self.denied.is_some() || texts.iter().any(|text| text.is_some())
    }

    /// Those of the entries of segments that fit, and no more than the limit.
    pub(super) fn over(&self, segments: Vec<PathBuf>) -> Over {
        let left = self.limit.unwrap_or(usize::MAX);
        Over {
            filter: self.clone(),
            segments: segments.into(),
            open: None,
            page: VecDeque::new(),
            left,
            unread: 0,
        }
    }
}

/// What a filter finds in segments, one after the other.
#[derive(Debug)]
pub(super) struct Over {
    filter: Filter,
    /// Still to be opened.
    segments: VecDeque<PathBuf>,
    open: Option<Scan>,
    page: VecDeque<Stored>,
    left: usize,
    /// Places that could not be read.
    unread: u64,
}

impl Over {
    pub(super) fn unread(&self) -> u64 {
        self.unread
    }

    /// The next that fits in the order of the store.
    fn forward(&mut self) -> Option<Result<Stored, AuditError>> {
        loop {
            let Some(scan) = &mut self.open else {
                let path = self.segments.pop_front()?;
                match open(&path) {
                    Ok(scan) => self.open = Some(scan),
                    // Retention took it.
                    Err(_) if !path.exists() => {}
                    Err(error) => return Some(Err(error)),
                }
                continue;
            };
            match scan.find_map(|seen| fitting(&self.filter, seen, &mut self.unread)) {
                None => self.open = None,
                found => return found,
            }
        }
    }

    /// The next that fits from the end of the store: segments are read as a whole, so that is what is held.
    fn backward(&mut self) -> Option<Result<Stored, AuditError>> {
        loop {
            if let Some(stored) = self.page.pop_back() {
                return Some(Ok(stored));
            }
            let path = self.segments.pop_back()?;
            let mut page = VecDeque::new();
            let mut read = || {
                for stored in open(&path)?.filter_map(|seen| fitting(&self.filter, seen, &mut self.unread)) {
                    page.push_back(stored?);
                    if page.len() > self.left {
                        page.pop_front();
                    }
                }
                Ok(())
            };
            if let Err(error) = read() {
                return Some(Err(error));
            }
            self.page = page;
        }
    }
}

impl Iterator for Over {
    type Item = Result<Stored, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let found = if self.filter.newest_first { self.backward() } else { self.forward() };
        match found {
            Some(Ok(_)) => self.left -= 1,
            // Nothing is listed behind a place that cannot be read.
            Some(Err(_)) | None => self.left = 0,
        }
        found
    }
}

fn open(segment: &Path) -> Result<Scan, AuditError> {
    Ok(Scan::of(Steps::Lines(Box::new(Lines::segment(segment)?))))
}

fn fitting(
    filter: &Filter,
    seen: Result<Seen, AuditError>,
    unread: &mut u64,
) -> Option<Result<Stored, AuditError>> {
    match seen {
        Ok(Seen::Entry(stored)) => match filter.judge(&stored) {
            Some(fits) => fits.then_some(Ok(stored)),
            None => {
                *unread += 1;
                None
            }
        },
        Ok(Seen::Finding(finding)) => {
            *unread += u64::from(finding.kind == FindingKind::Malformed);
            None
        }
        Err(error) => Some(Err(error)),
    }
}
