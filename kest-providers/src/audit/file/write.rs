//! The writer's side: batches, rotation, retention, repair.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kest_core::audit::RecordKind;
use kest_core::config::Durability;
use kest_core::error::AuditErrorKind;

use super::FileAuditBuilder;
use super::disk::Disk;
use super::line::{self, Head, Prev, Why};
use super::recover::{self, Found, Tail};
use super::segments::{list, name};
use crate::audit::chain::{self, Link, hex};
use crate::audit::failure::Failure;
use crate::audit::item::{Item, KeyRecord, KnownKeys};
use crate::audit::queue::Backend;

/// The segment that is written.
#[derive(Debug)]
struct Segment {
    number: u64,
    file: File,
    path: PathBuf,
    created_ms: u64,
    /// After the last acknowledged line.
    link: Link,
    lines: u64,
    length: u64,
    denial_bytes: u64,
    /// Keys that stand in it.
    keys: HashSet<KeyRecord>,
    /// Keys that were given with entries of it, and go on into the next.
    own_keys: Vec<KeyRecord>,
}

#[derive(Debug)]
struct Older {
    number: u64,
    created_ms: u64,
    length: u64,
}

/// What has to happen before anything is written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Bytes may stand after the last acknowledged line.
    Unwritten,
    /// What the device has is not known: nothing more goes into this file.
    Unsynced,
    /// A segment was to be begun.
    Unbegun(Why),
}

#[derive(Debug)]
pub(super) struct FileBackend<D> {
    disk: D,
    settings: FileAuditBuilder,
    store: String,
    older: VecDeque<Older>,
    segment: Segment,
    fault: Option<Fault>,
    known: Arc<KnownKeys>,
    buffer: Vec<u8>,
    /// Held as long as the store is open.
    lock: File,
}

impl<D: Disk> FileBackend<D> {
    pub(super) fn open(settings: FileAuditBuilder, disk: D, known: Arc<KnownKeys>) -> Result<Self, Failure> {
        let folder = settings.folder.clone();
        let cannot = |doing: &'static str| {
            let folder = folder.clone();
            move |error| Failure::io(doing, &folder, error).opening()
        };
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(cannot("create the audit folder")(error));
            }
            Ok(()) | Err(_) => {}
        }
        let lock = lock(&folder.join("lock"))?;
        let mut numbers = list(&folder).map_err(cannot("read the audit folder"))?;
        let found = loop {
            let Some(number) = numbers.pop() else { break None };
            let path = folder.join(name(number));
            let read = recover::read(&path).map_err(|e| Failure::io("read", &path, e).opening())?;
            if let Some(found) = read {
                break Some((number, path, found));
            }
            // Begun, and never used.
            let aside = torn(&path);
            disk.put_aside(&path, &aside).map_err(|e| Failure::io("put aside", &path, e).opening())?;
        };
        let mut older = VecDeque::new();
        for number in numbers {
            let path = folder.join(name(number));
            older.push_back(look(number, &path).map_err(|e| Failure::io("read", &path, e).opening())?);
        }
        let (store, segment, fault) = match found {
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
                let segment = begin(&disk, &folder, power, &head, &[]).map_err(Failure::opening)?;
                (store, segment, None)
            }
            Some((number, path, found)) => resume(&disk, number, path, found)?,
        };
        let buffer = Vec::new();
        let mut backend = Self { disk, settings, store, older, segment, fault, known, buffer, lock };
        if backend.fault.is_some() {
            backend.repair().map_err(Failure::opening)?;
        }
        Ok(backend)
    }

    fn power(&self) -> bool {
        self.settings.durability == Durability::Power
    }

    fn total(&self) -> u64 {
        self.older.iter().map(|older| older.length).sum::<u64>() + self.segment.length
    }

    fn is_due(&self, more: u64, now_ms: u64) -> bool {
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
    fn rotate(&mut self, why: Why) -> Result<(), Failure> {
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
        // What an attempt that failed has left; nothing in it was acknowledged.
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) | Err(_) => self.disk.remove(&path).map_err(|e| Failure::io("remove", &path, e))?,
        }
        let keys = std::mem::take(&mut self.segment.own_keys);
        let begun = begin(&self.disk, &self.settings.folder, self.power(), &head, &keys);
        let next = match begun {
            Ok(next) => next,
            Err(failure) => {
                self.segment.own_keys = keys;
                return Err(failure);
            }
        };
        let ended = std::mem::replace(&mut self.segment, next);
        self.older.push_back(Older {
            number: ended.number,
            created_ms: ended.created_ms,
            length: ended.length,
        });
        self.known.forget();
        self.fault = None;
        self.retire(oldest);
        Ok(())
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
        let by_age = self.settings.retain_age.map_or(0, |age| {
            let too_old = |from: u64| Duration::from_millis(now_ms.saturating_sub(from)) > age;
            // All entries of a segment are older than the segment after it.
            let ends = self.older.iter().skip(1).map(|next| next.created_ms).chain([self.segment.created_ms]);
            ends.take_while(|end| too_old(*end)).count().min(self.older.len())
        });
        by_count.max(by_age)
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

impl<D: Disk> Backend for FileBackend<D> {
    fn write(&mut self, items: &[&Item], refused: &mut Vec<(usize, Failure)>) -> Result<(), Failure> {
        let received_ms = now_ms();
        let bytes: u64 = items.iter().map(|item| item.size() as u64).sum();
        if self.is_due(bytes, received_ms) {
            self.rotate(Why::Rotated)?;
        }
        let room = self.settings.max_bytes.map(|most| most.saturating_sub(self.total()));
        let denial_room = (self.settings.rotate_bytes / 8).saturating_sub(self.segment.denial_bytes);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let segment = &mut self.segment;
        let (mut link, mut lines, mut denial_bytes) = (segment.link, segment.lines, 0);
        let mut new_keys: Vec<KeyRecord> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let size = item.size() as u64 + item.keys.as_ref().map_or(0, |keys| keys.jwks.len() as u64 + 256);
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
            if let Some(keys) = &item.keys
                && !segment.keys.contains(&**keys)
                && !new_keys.contains(keys)
            {
                let written = line::write_keys(&mut buffer, &link, received_ms, keys);
                link = written.map_err(|error| {
                    Failure::new(AuditErrorKind::Keys, "public keys that are no JSON").caused_by(error)
                })?;
                lines += 1;
                new_keys.push((**keys).clone());
            }
            if item.kind == RecordKind::Denial {
                denial_bytes += size;
            }
            link = line::write_entry(&mut buffer, &link, received_ms, &item.jws, &item.hash);
            lines += 1;
        }
        self.fault = Some(Fault::Unwritten);
        self.disk
            .write(&mut segment.file, &buffer)
            .map_err(|error| Failure::io("write to", &segment.path, error))?;
        if self.settings.durability == Durability::Power {
            self.fault = Some(Fault::Unsynced);
            self.disk.sync(&segment.file).map_err(|error| Failure::io("flush", &segment.path, error))?;
        }
        self.fault = None;
        segment.link = link;
        segment.lines = lines;
        segment.length += buffer.len() as u64;
        segment.denial_bytes += denial_bytes;
        segment.keys.extend(new_keys.iter().cloned());
        segment.own_keys.append(&mut new_keys);
        self.buffer = buffer;
        Ok(())
    }

    fn repair(&mut self) -> Result<(), Failure> {
        let Some(fault) = self.fault else { return Ok(()) };
        let segment = &self.segment;
        match fault {
            Fault::Unwritten => {
                self.disk
                    .cut(&segment.file, segment.length)
                    .map_err(|error| Failure::io("repair", &segment.path, error))?;
                self.fault = None;
                Ok(())
            }
            Fault::Unsynced => {
                // Nothing rests on this: the next head says how many lines count.
                if let Err(error) = self.disk.cut(&segment.file, segment.length) {
                    tracing::warn!(target: "kest", path = %segment.path.display(), %error, "lines stay that were not acknowledged");
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
            Some(Fault::Unsynced) => {
                // Nothing rests on it: what is cut off was refused.
                if let Err(error) = self.disk.cut(&self.segment.file, self.segment.length) {
                    tracing::warn!(
                        target: "kest", path = %self.segment.path.display(), %error,
                        "lines stay that were not acknowledged"
                    );
                }
                Ok(())
            }
            Some(Fault::Unbegun(_)) => Ok(()),
        };
        // Readers and the next writer wait for nothing else.
        let unlocked = self.lock.unlock();
        ended.and(unlocked.map_err(|error| Failure::io("unlock", &self.settings.folder, error)))
    }

    fn batch_bytes(&self) -> usize {
        const MOST: u64 = 4 << 20;
        usize::try_from(self.settings.rotate_bytes.min(MOST)).unwrap_or(usize::MAX)
    }
}

/// Creates a segment with its head and the keys that it begins with.
fn begin<D: Disk>(
    disk: &D,
    folder: &Path,
    power: bool,
    head: &Head,
    keys: &[KeyRecord],
) -> Result<Segment, Failure> {
    let path = folder.join(name(head.segment));
    let before = match &head.prev {
        None => chain::START,
        Some(prev) => chain::unhex(prev.link.as_bytes()).unwrap_or(chain::START),
    };
    let no_json = |error| Failure::new(AuditErrorKind::Write, "a line that is no JSON").caused_by(error);
    let mut text = Vec::new();
    let mut link = line::write_head(&mut text, &before, head).map_err(no_json)?;
    for record in keys {
        link = line::write_keys(&mut text, &link, head.created_ms, record).map_err(no_json)?;
    }
    let mut file = disk.create(&path).map_err(|error| Failure::io("create", &path, error))?;
    disk.write(&mut file, &text).map_err(|error| Failure::io("write to", &path, error))?;
    if power {
        disk.sync(&file).map_err(|error| Failure::io("flush", &path, error))?;
        disk.sync_folder(folder).map_err(|error| Failure::io("flush", folder, error))?;
    }
    Ok(Segment {
        number: head.segment,
        file,
        path,
        created_ms: head.created_ms,
        link,
        lines: 1 + keys.len() as u64,
        length: text.len() as u64,
        denial_bytes: 0,
        keys: keys.iter().cloned().collect(),
        own_keys: Vec::new(),
    })
}

/// Goes on with the last segment.
fn resume<D: Disk>(
    disk: &D,
    number: u64,
    path: PathBuf,
    found: Found,
) -> Result<(String, Segment, Option<Fault>), Failure> {
    let Found { head, link, lines, length, keys, tail } = found;
    let opening = |doing: &str, error| Failure::io(doing, &path, error).opening();
    let file = disk.open(&path).map_err(|error| opening("open", error))?;
    let fault = match tail {
        Tail::Nothing => None,
        Tail::Torn(bytes) => {
            tracing::warn!(
                target: "kest", path = %path.display(), bytes = bytes.len(),
                "the last line was torn and never acknowledged; it was put beside the segment"
            );
            disk.keep(&torn(&path), &bytes).map_err(|error| opening("write beside", error))?;
            disk.cut(&file, length).map_err(|error| opening("repair", error))?;
            None
        }
        Tail::Damaged => {
            tracing::error!(
                target: "kest", path = %path.display(), line = lines + 1,
                "the audit segment is damaged and stays as it is; run `kest audit verify`"
            );
            Some(Fault::Unbegun(Why::Damaged))
        }
    };
    let segment = Segment {
        number,
        file,
        path,
        created_ms: head.created_ms,
        link,
        lines,
        length,
        denial_bytes: 0,
        own_keys: keys.iter().rev().take(64).rev().cloned().collect(),
        keys: keys.into_iter().collect(),
    };
    Ok((head.store, segment, fault))
}

fn look(number: u64, path: &Path) -> io::Result<Older> {
    let length = fs::metadata(path)?.len();
    let created_ms = match recover::head(path)? {
        Some(head) => head.created_ms,
        // Damaged, which is the reader's to tell; nothing before it is taken for old.
        None => u64::MAX,
    };
    Ok(Older { number, created_ms, length })
}

fn torn(path: &Path) -> PathBuf {
    path.with_extension(format!("{}.torn", now_ms()))
}

pub(in crate::audit) fn lock(path: &Path) -> Result<File, Failure> {
    let cannot = |error| Failure::io("lock", path, error).opening();
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            AuditErrorKind::Locked,
            format!(
                "another writer has `{}`; give each process an audit store of its own, and close a sink before it is \
                 opened again",
                path.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

/// Epoch milliseconds.
pub(in crate::audit) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
