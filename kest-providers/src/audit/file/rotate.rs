//! When a segment is ended, and which ones go.

use std::io;
use std::path::Path;
use std::time::Duration;

use kest_core::error::AuditErrorKind;

use super::disk::Disk;
use super::line::{Head, Prev, Why};
use super::lock::{now_ms, own};
use super::recover::{self, Found, Tail};
use super::segment::{Older, begin};
use super::segments::name;
use super::write::{Fault, FileBackend};
use crate::audit::chain::hex;
use crate::audit::failure::Failure;

impl<D: Disk> FileBackend<D> {
    pub(super) fn is_due(&self, more: u64, now_ms: u64) -> bool {
        let eighth = || self.settings.retain_age.map(|age| age / 8);
        let old =
            self.settings.rotate_age.or_else(eighth).is_some_and(|age| {
                Duration::from_millis(now_ms.saturating_sub(self.segment.created_ms)) >= age
            });
        // A segment with nothing but its head and keys is not ended.
        let used = self.segment.lines > 1 + self.segment.keys.len() as u64;
        used && (old || self.segment.length + more > self.settings.rotate_bytes)
    }

    /// Ends the segment and begins the next.
    pub(super) fn rotate(&mut self, why: Why) -> Result<(), Failure> {
        self.segment.undisturbed()?;
        self.fault = Some(Fault::Unbegun(why));
        let number = self.segment.number + 1;
        let created_ms = now_ms();
        let gone = self.outlived(created_ms);
        let oldest = self.older.get(gone).map_or(self.segment.number, |older| older.number);
        let oldest = if self.keeps_only_the_new() { number } else { oldest };
        let prev = Prev {
            segment: self.segment.number,
            link: hex(&self.segment.link),
            lines: self.segment.lines,
            why,
        };
        let head =
            Head { v: 1, segment: number, store: self.store.clone(), created_ms, oldest, prev: Some(prev) };
        let path = self.settings.folder.join(name(number));
        self.clear(&path)?;
        let frees = self.older.front().map_or(self.segment.number, |first| first.number) < oldest;
        let next = match begin(&self.disk, &self.settings.folder, self.power(), &head) {
            // Old ones go after the head that says so. Killed here, there is still the room that this gives.
            Err(failure) if failure.is_full() && frees && self.give_up_spare() => {
                self.clear(&path)?;
                begin(&self.disk, &self.settings.folder, self.power(), &head)?
            }
            begun => begun?,
        };
        let ended = std::mem::replace(&mut self.segment, next);
        self.older.push_back(Older {
            number: ended.number,
            created_ms: ended.created_ms,
            length: ended.length,
        });
        self.fault = None;
        self.retire(oldest);
        self.keep_spare();
        Ok(())
    }

    /// Makes way for the next segment. What an attempt that failed has left has no lines but a head, and nothing else
    /// is ever taken away: lines there were acknowledged by somebody.
    fn clear(&self, path: &Path) -> Result<(), Failure> {
        let file = match self.disk.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(|error| Failure::io("open", path, error))?,
        };
        own(&file, path)?;
        let found = recover::read(&file).map_err(|error| Failure::io("read", path, error))?;
        let is_left = |found: &Found| {
            found.lines == 1
                && matches!(found.tail, Tail::Nothing | Tail::Unended)
                && found.head.store == self.store
        };
        if !found.as_ref().is_none_or(is_left) {
            return Err(Failure::new(
                AuditErrorKind::Changed,
                format!(
                    "`{}` stands where the next segment is to begin, and has lines that this process did not write; \
                     stop the process, find out who else writes there, and move the file away only if it is not of \
                     this store",
                    path.display()
                ),
            ));
        }
        self.disk.remove(path).map_err(|error| Failure::io("remove", path, error))
    }

    fn keeps_only_the_new(&self) -> bool {
        self.settings.retain_files == Some(1)
    }

    /// How many of the older segments retention takes once the one being written is ended.
    fn outlived(&self, now_ms: u64) -> usize {
        let by_count = self.settings.retain_files.map_or(0, |keep| {
            // The one that is ended and the new one are there too.
            (self.older.len() + 2).saturating_sub(keep as usize).min(self.older.len())
        });
        by_count.max(self.too_old(now_ms))
    }

    /// How many of the older segments have entries older than `retain_age` alone.
    pub(super) fn too_old(&self, now_ms: u64) -> usize {
        self.settings.retain_age.map_or(0, |age| {
            let too_old = |from: u64| Duration::from_millis(now_ms.saturating_sub(from)) > age;
            // All entries of a segment are older than the segment after it.
            let ends = self.older.iter().skip(1).map(|next| next.created_ms).chain([self.segment.created_ms]);
            ends.take_while(|end| too_old(*end)).count().min(self.older.len())
        })
    }

    /// Deletes whole segments, after the new head that says so.
    fn retire(&mut self, oldest: u64) {
        while let Some(first) = self.older.front().filter(|first| first.number < oldest) {
            let path = self.settings.folder.join(name(first.number));
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(target: "kest", path = %path.display(), %error, "an old segment stays");
                    return;
                }
                Ok(()) | Err(_) => {
                    tracing::info!(target: "kest", path = %path.display(), "an old audit segment was deleted");
                    self.older.pop_front();
                }
            }
        }
    }
}
