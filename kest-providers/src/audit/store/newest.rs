//! A folder from its end on, one segment at a time.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use kest_core::error::AuditError;

use super::lines::{Lines, was_retired};
use super::{Filter, Scan, Steps, Stored, unreadable};
use crate::audit::file::{segment_name, segments};

/// What a filter finds in a folder, the newest first. No more than a segment's entries are in memory at once.
#[derive(Debug)]
pub(super) struct Newest {
    folder: PathBuf,
    filter: Filter,
    /// Segments still to read, by their numbers.
    rest: Vec<u64>,
    found: VecDeque<Stored>,
    left: usize,
}

impl Newest {
    pub(super) fn open(folder: &Path, filter: &Filter) -> Result<Self, AuditError> {
        let rest = segments(folder).map_err(|error| unreadable(folder, error))?;
        if rest.is_empty() {
            return Err(Lines::no_segment(folder));
        }
        let left = filter.limit.unwrap_or(usize::MAX);
        Ok(Self {
            folder: folder.to_path_buf(),
            filter: filter.clone(),
            rest,
            found: VecDeque::new(),
            left,
        })
    }

    fn read(&mut self, number: u64) -> Result<(), AuditError> {
        let path = self.folder.join(segment_name(number));
        let lines = match Lines::of_segment(&path) {
            Ok(lines) => lines,
            Err(error) if error.kind() == io::ErrorKind::NotFound && was_retired(&self.folder, number) => {
                return Ok(());
            }
            Err(error) => return Err(unreadable(&path, error)),
        };
        let filter = Filter { limit: Some(self.left), ..self.filter.clone() };
        for stored in filter.over(Scan::over(Steps::Lines(Box::new(lines))))? {
            self.found.push_back(stored?);
        }
        Ok(())
    }
}

impl Iterator for Newest {
    type Item = Result<Stored, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 {
            if let Some(stored) = self.found.pop_front() {
                self.left -= 1;
                return Some(Ok(stored));
            }
            let number = self.rest.pop()?;
            if let Err(error) = self.read(number) {
                self.rest.clear();
                return Some(Err(error));
            }
        }
        None
    }
}
