//! The writer's side: batches, and what happens after an error.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use kest_core::audit::RecordKind;
use kest_core::config::Durability;
use kest_core::error::AuditErrorKind;

use super::FileAuditBuilder;
use super::disk::Disk;
use super::line::{self, Head, Why};
use super::lock::{lock, now_ms};
use super::segment::{Older, Segment, begin, last, look, resume};
use super::segments::name;
use crate::audit::chain::hex;
use crate::audit::failure::Failure;
use crate::audit::item::{Item, KeyRecord};
use crate::audit::private;
use crate::audit::queue::Backend;

/// What has to happen before anything is written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Bytes may stand after the last acknowledged line.
    Unwritten,
    /// What the device has is not known: nothing more goes into this file.
    Unsynced,
    /// A segment was to be begun.
    Unbegun(Why),
}

#[derive(Debug)]
pub(super) struct FileBackend<D> {
    pub(super) disk: D,
    pub(super) settings: FileAuditBuilder,
    pub(super) store: String,
    pub(super) older: VecDeque<Older>,
    pub(super) segment: Segment,
    pub(super) fault: Option<Fault>,
    buffer: Vec<u8>,
    /// The disk had no room for the last batch.
    starved: bool,
    pub(super) has_spare: bool,
    /// Held as long as the store is open.
    lock: File,
}

impl<D: Disk> FileBackend<D> {
    pub(super) fn open(mut settings: FileAuditBuilder, disk: D) -> Result<Self, Failure> {
        if let Some(most) = settings.max_bytes {
            // Else retention, which takes whole segments, would have nothing to take.
            settings.rotate_bytes = settings.rotate_bytes.min(most / 4);
        }
        let folder = settings.folder.clone();
        private::folder(&folder)
            .map_err(|error| Failure::io("create the audit folder", &folder, error).opening())?;
        let lock = lock(&folder.join("lock"))?;
        let (found, numbers) = last(&disk, &folder)?;
        if settings.durability == Durability::Power {
            flush_name(&disk, &folder).map_err(Failure::opening)?;
        }
        let mut older = VecDeque::new();
        for number in numbers {
            let path = folder.join(name(number));
            older.push_back(look(number, &path).map_err(|e| Failure::io("read", &path, e).opening())?);
        }
        let (store, segment, ended) = match found {
            None => {
                let mut random = [0; 16];
                getrandom::fill(&mut random).map_err(|error| {
                    Failure::new(
                        AuditErrorKind::Open,
                        format!("the operating system gives no randomness: {error}"),
                    )
                })?;
                let store = hex(&random);
                let next = older.back().map_or(1, |last| last.number + 1);
                let head = Head {
                    v: 1,
                    segment: next,
                    store: store.clone(),
                    created_ms: now_ms(),
                    oldest: next,
                    prev: None,
                };
                let power = settings.durability == Durability::Power;
                let segment = begin(&disk, &folder, power, &head).map_err(Failure::opening)?;
                (store, segment, None)
            }
            Some(last) => resume(&disk, &folder, settings.durability, last)?,
        };
        let buffer = Vec::new();
        let fault = ended.map(Fault::Unbegun);
        let (starved, has_spare) = (false, false);
        let mut backend =
            Self { disk, settings, store, older, segment, fault, buffer, starved, has_spare, lock };
        if backend.fault.is_some() {
            backend.repair().map_err(Failure::opening)?;
        }
        if backend.too_old(now_ms()) > 0 {
            backend.rotate(Why::Rotated).map_err(Failure::opening)?;
        }
        backend.keep_spare();
        Ok(backend)
    }

    pub(super) fn power(&self) -> bool {
        self.settings.durability == Durability::Power
    }

    fn total(&self) -> u64 {
        self.older.iter().map(|older| older.length).sum::<u64>() + self.segment.length
    }
}

/// Makes the folder's own name last: a store that a power failure leaves without one is gone.
fn flush_name<D: Disk>(disk: &D, folder: &Path) -> Result<(), Failure> {
    let whole = folder.canonicalize().map_err(|error| Failure::io("look at", folder, error))?;
    let Some(parent) = whole.parent() else { return Ok(()) };
    disk.sync_folder(parent).map_err(|error| Failure::io("flush", parent, error))
}

impl<D: Disk> Backend for FileBackend<D> {
    fn write(&mut self, items: &[&Item], refused: &mut Vec<(usize, Failure)>) -> Result<(), Failure> {
        self.segment.undisturbed()?;
        let received_ms = now_ms();
        let bytes: u64 = items.iter().map(|item| item.size() as u64).sum();
        if self.is_due(bytes, received_ms) {
            self.rotate(Why::Rotated)?;
        }
        let keys: u64 = items.iter().map(|item| item.keys.size() as u64).sum();
        if self.starved && self.too_old(received_ms) > 0 {
            self.rotate(Why::Rotated)?;
        }
        let full = self.settings.max_bytes.is_some_and(|most| self.total() + bytes + keys > most);
        if full && self.too_old(received_ms) > 0 {
            // The next head says what goes, and then there is room.
            self.rotate(Why::Rotated)?;
        }
        let room = self.settings.max_bytes.map(|most| most.saturating_sub(self.total()));
        let denial_room = (self.settings.rotate_bytes / 8).saturating_sub(self.segment.denial_bytes);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let segment = &mut self.segment;
        let (mut link, mut lines, mut denial_bytes) = (segment.link, segment.lines, 0);
        let mut new_keys: Vec<Arc<KeyRecord>> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let keys = &item.keys;
            let keys_wanted = !segment.keys.has(keys) && !new_keys.contains(keys);
            let size = item.size() as u64 + if keys_wanted { keys.size() as u64 } else { 0 };
            if item.kind == RecordKind::Denial && denial_bytes + size > denial_room {
                refused.push((
                    index,
                    Failure::new(
                        AuditErrorKind::Full,
                        "receipts of denials have taken their eighth of the segment",
                    ),
                ));
                continue;
            }
            // Receipts leave the last tenth to entries.
            let spared =
                if item.kind == RecordKind::Denial { self.settings.max_bytes.unwrap_or(0) / 10 } else { 0 };
            if room.is_some_and(|room| buffer.len() as u64 + size + spared > room) {
                refused.push((index, Failure::new(
                    AuditErrorKind::Full,
                    format!(
                        "the audit store `{}` has reached `max_bytes`; raise it, or let `retain_files` or \
                         `retain_age` delete old segments",
                        self.settings.folder.display()
                    ),
                )));
                continue;
            }
            if keys_wanted {
                let written = line::write_keys(&mut buffer, &link, received_ms, keys);
                link = written.map_err(|error| {
                    Failure::new(AuditErrorKind::Keys, "public keys that are no JSON").caused_by(error)
                })?;
                lines += 1;
                new_keys.push(Arc::clone(keys));
            }
            if item.kind == RecordKind::Denial {
                denial_bytes += size;
            }
            link = line::write_entry(&mut buffer, &link, received_ms, &item.jws, &item.hash);
            lines += 1;
        }
        let written = buffer.len() as u64;
        segment.after = written;
        self.fault = Some(Fault::Unwritten);
        let result = self.disk.write(&mut segment.file, &buffer);
        result.map_err(|error| {
            let failure = Failure::io("write to", &segment.path, error);
            self.starved = failure.is_full();
            failure
        })?;
        if self.settings.durability == Durability::Power {
            self.fault = Some(Fault::Unsynced);
            self.disk.sync(&segment.file).map_err(|error| Failure::io("flush", &segment.path, error))?;
            self.fault = Some(Fault::Unwritten);
        }
        // Whoever has moved it meanwhile has moved these lines too.
        segment.undisturbed()?;
        self.fault = None;
        segment.after = 0;
        segment.link = link;
        segment.lines = lines;
        segment.length += written;
        segment.denial_bytes += denial_bytes;
        segment.keys.extend(new_keys);
        self.buffer = buffer;
        if std::mem::take(&mut self.starved) {
            self.keep_spare();
        }
        Ok(())
    }

    fn repair(&mut self) -> Result<(), Failure> {
        let segment = &mut self.segment;
        segment.undisturbed()?;
        let Some(fault) = self.fault else { return Ok(()) };
        match fault {
            Fault::Unwritten => {
                self.disk
                    .cut(&segment.file, segment.length)
                    .map_err(|error| Failure::io("repair", &segment.path, error))?;
                segment.after = 0;
                self.fault = None;
                Ok(())
            }
            Fault::Unsynced => {
                // Nothing rests on this: the next head says how many lines count.
                match self.disk.cut(&segment.file, segment.length) {
                    Ok(()) => segment.after = 0,
                    Err(error) => {
                        tracing::warn!(target: "kest", path = %segment.path.display(), %error, "lines stay that were not acknowledged");
                    }
                }
                self.rotate(Why::Unsynced)
            }
            Fault::Unbegun(why) => self.rotate(why),
        }
    }

    fn close(&mut self) -> Result<(), Failure> {
        let ended = match self.fault {
            None => Ok(()),
            Some(Fault::Unwritten) => self.repair(),
            // All that was acknowledged is there; whoever opens the store next tries again.
            Some(Fault::Unsynced | Fault::Unbegun(_)) => {
                if let Err(error) = self.repair() {
                    tracing::warn!(target: "kest", %error, "no new audit segment after one that failed");
                }
                Ok(())
            }
        };
        // Readers and the next writer wait for nothing else.
        let unlocked = self.segment.file.unlock().and_then(|()| self.lock.unlock());
        ended.and(unlocked.map_err(|error| Failure::io("unlock", &self.settings.folder, error)))
    }

    fn batch_bytes(&self) -> usize {
        const MOST: u64 = 4 << 20;
        usize::try_from(self.settings.rotate_bytes.min(MOST)).unwrap_or(usize::MAX)
    }
}
