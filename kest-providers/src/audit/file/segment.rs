//! The segment that is written: begun, or taken up again.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kest_core::config::Durability;
use kest_core::error::AuditErrorKind;

use super::disk::Disk;
use super::line::{self, Head, Why};
use super::lock::{locked, now_ms, own};
use super::recover::{self, Found, Tail};
use super::segments::{list, name};
use super::spare;
use crate::audit::chain::{self, Link};
use crate::audit::failure::Failure;
use crate::audit::item::Kept;
use crate::audit::private::FileId;

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: File,
    pub(super) id: FileId,
    pub(super) path: PathBuf,
    pub(super) created_ms: u64,
    /// After the last acknowledged line.
    pub(super) link: Link,
    pub(super) lines: u64,
    pub(super) length: u64,
    /// How many bytes may stand after that: of lines that were not acknowledged, or damaged.
    pub(super) after: u64,
    pub(super) denial_bytes: u64,
    pub(super) keys: Kept,
}

impl Segment {
    /// That the path still names the file, and that it ends where this process has left it. Nothing is acknowledged
    /// into a file that nobody will find, or on top of what somebody else has done.
    pub(super) fn undisturbed(&self) -> Result<(), Failure> {
        let changed = |what: &dyn fmt::Display| {
            Err(Failure::new(
                AuditErrorKind::Changed,
                format!(
                    "`{}`, which this process writes, {what}; put it back as it was, or stop the process, find out who \
                     else works there, run `kest audit verify` and start it anew",
                    self.path.display()
                ),
            ))
        };
        let about = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return changed(&if is_deleted(&self.file) { "was deleted" } else { "was moved away" });
            }
            about => about.map_err(|error| Failure::io("look at", &self.path, error))?,
        };
        if FileId::of(&about) != self.id {
            return changed(&"was replaced by another file");
        }
        let (least, most) = (self.length, self.length + self.after);
        match about.len() {
            length if length < least => {
                changed(&format_args!("was cut off at {length} bytes of the {least} that were acknowledged"))
            }
            length if length > most => {
                changed(&format_args!("was written by somebody else: it has {} bytes more", length - most))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Older {
    pub(super) number: u64,
    pub(super) created_ms: u64,
    pub(super) length: u64,
}

/// Creates a segment with its head.
pub(super) fn begin<D: Disk>(disk: &D, folder: &Path, power: bool, head: &Head) -> Result<Segment, Failure> {
    let path = folder.join(name(head.segment));
    let before = match &head.prev {
        None => chain::START,
        Some(prev) => chain::unhex(prev.link.as_bytes()).unwrap_or(chain::START),
    };
    let no_json = |error| Failure::new(AuditErrorKind::Write, "a line that is no JSON").caused_by(error);
    let mut text = Vec::new();
    let link = line::write_head(&mut text, &before, head).map_err(no_json)?;
    let mut file = disk.create(&path).map_err(|error| Failure::io("create", &path, error))?;
    let id = own(&file, &path)?;
    disk.write(&mut file, &text).map_err(|error| Failure::io("write to", &path, error))?;
    if power {
        disk.sync(&file).map_err(|error| Failure::io("flush", &path, error))?;
        disk.sync_folder(folder).map_err(|error| Failure::io("flush", folder, error))?;
    }
    Ok(Segment {
        number: head.segment,
        file,
        id,
        path,
        created_ms: head.created_ms,
        link,
        lines: 1,
        length: text.len() as u64,
        after: 0,
        denial_bytes: 0,
        keys: Kept::default(),
    })
}

/// The last segment of a store, held.
#[derive(Debug)]
pub(super) struct Last {
    number: u64,
    path: PathBuf,
    file: File,
    id: FileId,
    found: Found,
}

/// The last segment that has been used, which no other writer has, and the numbers of those before it.
pub(super) fn last<D: Disk>(disk: &D, folder: &Path) -> Result<(Option<Last>, Vec<u64>), Failure> {
    let numbers = || list(folder).map_err(|e| Failure::io("read the audit folder", folder, e).opening());
    loop {
        let mut before = numbers()?;
        let Some(number) = before.pop() else { return Ok((None, before)) };
        let path = folder.join(name(number));
        let opening = |doing: &str, error| Failure::io(doing, &path, error).opening();
        let file = disk.open(&path).map_err(|error| opening("open", error))?;
        let id = own(&file, &path)?;
        // A writer lets go of a segment when it has begun the next.
        if numbers()?.last() != Some(&number) {
            return Err(locked(&path));
        }
        // Left by a process that ended while it wrote the segment anew.
        match disk.remove(&anew(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(opening("remove what was left beside", error));
            }
            Ok(()) | Err(_) => {}
        }
        if let Some(found) = recover::read(&file).map_err(|error| opening("read", error))? {
            return Ok((Some(Last { number, path, file, id, found }), before));
        }
        // Begun, and never used.
        disk.put_aside(&path, &torn(&path)).map_err(|error| opening("put aside", error))?;
    }
}

/// Goes on with the last segment, unless there is a reason to begin another.
pub(super) fn resume<D: Disk>(
    disk: &D,
    folder: &Path,
    durability: Durability,
    last: Last,
) -> Result<(String, Segment, Option<Why>), Failure> {
    let Last { number, path, mut file, id, found } = last;
    let Found { head, link, lines, mut length, keys, tail } = found;
    let opening = |doing: &str, error| Failure::io(doing, &path, error).opening();
    let mut after = 0;
    let ended = match tail {
        Tail::Nothing => None,
        Tail::Unended => {
            end_line(disk, folder, &mut file, &path).map_err(Failure::opening)?;
            length += 1;
            None
        }
        Tail::Torn(bytes) => {
            tracing::warn!(
                target: "kest", path = %path.display(), bytes = bytes.len(),
                "the last line was torn and never acknowledged; it was put beside the segment"
            );
            disk.keep(&torn(&path), &bytes).map_err(|error| opening("write beside", error))?;
            if durability == Durability::Process {
                disk.cut(&file, length).map_err(|error| opening("repair", error))?;
            }
            None
        }
        Tail::Damaged => {
            tracing::error!(
                target: "kest", path = %path.display(), line = lines + 1,
                "the audit segment is damaged and stays as it is; run `kest audit verify`"
            );
            let whole = file.metadata().map_err(|error| opening("look at", error))?.len();
            after = whole.saturating_sub(length);
            Some(Why::Damaged)
        }
    };
    let (file, id) = match durability {
        Durability::Process => (file, id),
        Durability::Power => renew(disk, &path, &file, length + after)?,
    };
    let mut kept = Kept::default();
    kept.extend(keys.into_iter().map(Arc::new));
    let segment = Segment {
        number,
        file,
        id,
        path,
        created_ms: head.created_ms,
        link,
        lines,
        length,
        after,
        denial_bytes: 0,
        keys: kept,
    };
    Ok((head.store, segment, ended))
}

/// Ends a line that may have been acknowledged, so that it is never cut off. On a full disk the spare file gives way to
/// it: killed in between, there is still the room that this gives.
fn end_line<D: Disk>(disk: &D, folder: &Path, file: &mut File, path: &Path) -> Result<(), Failure> {
    let mut end = || disk.write(file, b"\n").map_err(|error| Failure::io("repair", path, error));
    match end() {
        Err(failure) if failure.is_full() && spare::remove(disk, folder) => end(),
        ended => ended,
    }
}

/// Writes what a process has left anew. A flush that failed is told once, to whoever asked for it: afterwards the
/// kernel may call pages clean that never reached the device, and this process cannot know. What it has written and
/// flushed itself does not depend on that; the old file stays until then.
fn renew<D: Disk>(disk: &D, path: &Path, file: &File, length: u64) -> Result<(File, FileId), Failure> {
    let anew = anew(path);
    let renewed = copy(disk, path, file, length, &anew);
    if renewed.is_err() {
        // Whoever opens it next takes it away as well.
        let _ = disk.remove(&anew);
    }
    renewed.map_err(Failure::opening)
}

fn copy<D: Disk>(
    disk: &D,
    path: &Path,
    mut file: &File,
    length: u64,
    anew: &Path,
) -> Result<(File, FileId), Failure> {
    let reading = |error| Failure::io("read", path, error);
    let writing = |error| Failure::io("write", anew, error);
    let mut copy = disk.create(anew).map_err(|error| Failure::io("create", anew, error))?;
    own(&copy, anew)?;
    file.rewind().map_err(reading)?;
    let mut rest = file.take(length);
    let mut part = Vec::new();
    while rest.limit() > 0 {
        part.clear();
        if rest.by_ref().take(1 << 20).read_to_end(&mut part).map_err(reading)? == 0 {
            return Err(reading(io::ErrorKind::UnexpectedEof.into()));
        }
        disk.write(&mut copy, &part).map_err(writing)?;
    }
    disk.sync(&copy).map_err(|error| Failure::io("flush", anew, error))?;
    disk.put_aside(anew, path).map_err(|error| Failure::io("replace", path, error))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    disk.sync_folder(folder).map_err(|error| Failure::io("flush", folder, error))?;
    let id = own(&copy, path)?;
    Ok((copy, id))
}

/// What [`renew`] writes before it has the segment's name.
fn anew(path: &Path) -> PathBuf {
    path.with_extension("anew")
}

pub(super) fn look(number: u64, path: &Path) -> io::Result<Older> {
    let length = fs::metadata(path)?.len();
    let created_ms = match recover::head(path)? {
        Some(head) => head.created_ms,
        // Damaged, which is the reader's to tell; nothing before it is taken for old.
        None => u64::MAX,
    };
    Ok(Older { number, created_ms, length })
}

fn torn(path: &Path) -> PathBuf {
    let mut at = now_ms();
    loop {
        let aside = path.with_extension(format!("{at}.torn"));
        if fs::symlink_metadata(&aside).is_err() {
            return aside;
        }
        at += 1;
    }
}

#[cfg(unix)]
fn is_deleted(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    file.metadata().is_ok_and(|about| about.nlink() == 0)
}

#[cfg(not(unix))]
fn is_deleted(_: &File) -> bool {
    false
}
