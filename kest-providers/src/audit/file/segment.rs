//! The segment that is written: begun, or taken up again.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kest_core::config::Durability;
use kest_core::error::AuditErrorKind;

use super::disk::Disk;
use super::line::{self, Head, Why};
use super::lock::now_ms;
use super::recover::{self, Found, Tail};
use super::segments::name;
use crate::audit::chain::{self, Link};
use crate::audit::failure::Failure;
use crate::audit::item::Kept;

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) created_ms: u64,
    /// After the last acknowledged line.
    pub(super) link: Link,
    pub(super) lines: u64,
    pub(super) length: u64,
    pub(super) denial_bytes: u64,
    pub(super) keys: Kept,
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
        lines: 1,
        length: text.len() as u64,
        denial_bytes: 0,
        keys: Kept::default(),
    })
}

/// Goes on with the last segment, unless there is a reason to begin another.
pub(super) fn resume<D: Disk>(
    disk: &D,
    durability: Durability,
    number: u64,
    path: PathBuf,
    found: Found,
) -> Result<(String, Segment, Option<Why>), Failure> {
    let Found { head, link, lines, length, keys, tail } = found;
    let opening = |doing: &str, error| Failure::io(doing, &path, error).opening();
    let file = disk.open(&path).map_err(|error| opening("open", error))?;
    let ended = match tail {
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
            Some(Why::Damaged)
        }
    };
    // What a process left that was killed may not be on the device yet, and what comes after is to rest on it.
    let synced = match durability {
        Durability::Process => Ok(()),
        Durability::Power => {
            let folder = path.parent().unwrap_or(Path::new("."));
            disk.sync(&file).and_then(|()| disk.sync_folder(folder))
        }
    };
    let ended = match synced {
        Ok(()) => ended,
        Err(error) => {
            tracing::error!(target: "kest", path = %path.display(), %error, "the audit segment cannot be flushed");
            ended.or(Some(Why::Unsynced))
        }
    };
    let mut kept = Kept::default();
    kept.extend(keys.into_iter().map(Arc::new));
    let segment = Segment {
        number,
        file,
        path,
        created_ms: head.created_ms,
        link,
        lines,
        length,
        denial_bytes: 0,
        keys: kept,
    };
    Ok((head.store, segment, ended))
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

pub(super) fn torn(path: &Path) -> PathBuf {
    path.with_extension(format!("{}.torn", now_ms()))
}
