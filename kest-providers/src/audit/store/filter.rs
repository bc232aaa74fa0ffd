//! Which entries are wanted.

use std::collections::VecDeque;

use kest_core::error::AuditError;

use super::{Scan, Seen, Stored};
use crate::audit::item::Columns;

type Found = Box<dyn Iterator<Item = Result<Stored, AuditError>> + Send>;

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
    fn fits(&self, stored: &Stored) -> bool {
        if self.since_ms.is_some_and(|since| stored.received_ms < since)
            || self.until_ms.is_some_and(|until| stored.received_ms >= until)
        {
            return false;
        }
        if !self.asks_entry() {
            return true;
        }
        let Some(columns) = Columns::of(&stored.jws) else { return false };
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        same(&self.entry_id, Some(&columns.entry_id))
            && same(&self.trace_id, columns.trace_id.as_deref())
            && same(&self.workload, Some(&columns.workload))
            && same(&self.operation, Some(&columns.operation))
            && same(&self.user, columns.user.as_deref())
            && self.taint.as_ref().is_none_or(|wanted| columns.taints.contains(wanted))
            && self.denied.is_none_or(|denied| columns.is_denial() == denied)
    }

    fn asks_entry(&self) -> bool {
        let texts =
            [&self.entry_id, &self.trace_id, &self.workload, &self.operation, &self.user, &self.taint];
        self.denied.is_some() || texts.iter().any(|text| text.is_some())
    }

    /// The entries of a scan that fit.
    pub(super) fn over(&self, scan: Scan) -> Result<Found, AuditError> {
        let filter = self.clone();
        let limit = self.limit.unwrap_or(usize::MAX);
        let mut fitting = scan.filter_map(move |seen| match seen {
            Ok(Seen::Entry(stored)) => filter.fits(&stored).then_some(Ok(stored)),
            Ok(Seen::Finding(_)) => None,
            Err(error) => Some(Err(error)),
        });
        if !self.newest_first {
            return Ok(Box::new(fitting.take(limit)));
        }
        let last = fitting.try_fold(VecDeque::new(), |mut last, stored| {
            last.push_back(stored?);
            if last.len() > limit {
                last.pop_front();
            }
            Ok(last)
        })?;
        Ok(Box::new(last.into_iter().rev().map(Ok)))
    }
}
