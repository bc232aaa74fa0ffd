//! Audit stores, for the commands.

pub(crate) mod check;
mod interrupt;
mod progress;
pub(crate) mod related;
mod report;
pub(crate) mod wanted;

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::Path;

use kest_core::error::AuditError;
use kest_providers::audit::{Place, Store};

use crate::input::Unusable;

/// What was given to be checked.
pub(crate) enum Given {
    /// A folder, a segment or a database.
    Store(Store),
    /// The lines of a segment, from a pipe.
    Segment(Box<dyn Read + Send>),
    /// Something else from a pipe, and what the pipe is called: a passport, or nothing that is known.
    Piped(Box<dyn Read + Send>, String),
    /// A file that is no store.
    File,
}

/// What a database begins with.
pub(crate) const SQLITE: &[u8] = b"SQLite format 3\0";
/// What a segment begins with, and each of its lines, and so what writers have put aside of one.
pub(crate) const SEGMENT: &[u8] = b"{\"v\":1,";

/// Looks at what stands at `path`, or comes through standard input for `-`.
///
/// # Errors
/// When it cannot be read, or is a database that comes through a pipe.
pub(crate) fn recognise(path: &Path) -> Result<Given, Unusable> {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { quoted(path) };
    let cannot = |error: io::Error| Unusable(format!("cannot read {name}: {error}"));
    let source: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let Ok(metadata) = path.metadata() else { return Ok(Given::File) };
        if metadata.is_dir() {
            return open(path).map(Given::Store);
        }
        let Ok(file) = File::open(path) else { return Ok(Given::File) };
        if metadata.is_file() {
            let is_store = is_store(&start(file).map_err(cannot)?.0);
            return if is_store { open(path).map(Given::Store) } else { Ok(Given::File) };
        }
        Box::new(file)
    };
    let (start, rest) = start(source).map_err(cannot)?;
    if start == SQLITE {
        return Err(Unusable(format!("{name}: a database cannot be read from a pipe; name its file")));
    }
    let is_segment = start.starts_with(SEGMENT);
    let whole = Box::new(Cursor::new(start).chain(rest));
    Ok(if is_segment { Given::Segment(whole) } else { Given::Piped(whole, name) })
}

/// Refuses a store where a passport is wanted.
///
/// # Errors
/// When `path` is one.
pub(crate) fn is_none(path: &Path) -> Result<(), Unusable> {
    let is_one = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => has_segment(path),
        // What comes through a pipe is not looked at twice.
        Ok(metadata) if metadata.is_file() => {
            File::open(path).and_then(start).is_ok_and(|(start, _)| is_store(&start))
        }
        Ok(_) | Err(_) => false,
    };
    if !is_one {
        return Ok(());
    }
    Err(Unusable(format!(
        "{} is an audit store and no passport; `kest audit show` draws what is in it, and `kest audit export` writes \
         passports from it",
        quoted(path)
    )))
}

/// Opens a store.
///
/// # Errors
/// When it cannot be read, or is none.
pub(crate) fn open(path: &Path) -> Result<Store, Unusable> {
    if path == Path::new("-") {
        let fix =
            "only `kest audit verify` and `kest verify` read a segment from standard input; name the store";
        return Err(Unusable(fix.to_owned()));
    }
    Store::open(path).map_err(unreadable)
}

/// Why a store cannot be read.
pub(crate) fn unreadable(error: AuditError) -> Unusable {
    Unusable(said(&error))
}

/// The error with its causes, none twice.
pub(crate) fn said(error: &AuditError) -> String {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !said.contains(&more) {
            said.push_str(&format!(": {more}"));
        }
        cause = error.source();
    }
    said
}

/// Where an entry stands, to compare.
pub(crate) fn position(place: &Place) -> (String, u64) {
    match place {
        Place::Line { segment, line } => (segment.clone(), *line),
        Place::Row(row) => (String::new(), u64::try_from(*row).unwrap_or(0)),
        other => (other.to_string(), 0),
    }
}

fn is_store(start: &[u8]) -> bool {
    start == SQLITE || start.starts_with(SEGMENT)
}

fn has_segment(folder: &Path) -> bool {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.map(|file| file.file_name()).any(|name| name.to_str().is_some_and(is_segment))
}

/// Whether a file has the name of a segment.
pub(crate) fn is_segment(name: &str) -> bool {
    name.strip_suffix(".jsonl")
        .is_some_and(|number| number.len() == 10 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The first bytes of a source, and the rest of it.
fn start<R: Read>(mut source: R) -> io::Result<(Vec<u8>, R)> {
    let mut start = Vec::new();
    source.by_ref().take(SQLITE.len() as u64).read_to_end(&mut start)?;
    Ok((start, source))
}

fn quoted(path: &Path) -> String {
    format!("`{}`", path.display())
}
