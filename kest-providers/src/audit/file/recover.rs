//! The last segment as it was left: whole, torn, or damaged.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _};
use std::path::Path;

use super::line::{self, Head, LONGEST, Line};
use crate::audit::chain::{self, Link};
use crate::audit::item::KeyRecord;

/// A segment, read to its last good line.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) head: Head,
    pub(super) link: Link,
    pub(super) lines: u64,
    /// Bytes of the good lines.
    pub(super) length: u64,
    pub(super) keys: Vec<KeyRecord>,
    pub(super) tail: Tail,
}

/// What follows the last good line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    Nothing,
    /// The beginning of the line that was being written.
    Torn(Vec<u8>),
    /// The end of that line: all else of it is there, and it may have been acknowledged.
    Unended,
    /// Anything else: it may have been acknowledged.
    Damaged,
}

/// Reads a segment. None when it has no head yet.
pub(super) fn read(mut file: &File) -> io::Result<Option<Found>> {
    file.rewind()?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut found: Option<Found> = None;
    let mut text = Vec::new();
    loop {
        text.clear();
        let limit = LONGEST as u64 + 1;
        reader.by_ref().take(limit).read_until(b'\n', &mut text)?;
        if text.is_empty() {
            return Ok(found);
        }
        let before = found.as_ref().map_or(chain::START, |found| found.link);
        let (line, ended) = match text.strip_suffix(b"\n") {
            Some(line) => (line, true),
            None => (&*text, false),
        };
        // What is longer was not read to its end.
        let good = (ended || text.len() <= LONGEST).then(|| line::read(line, &before)).flatten();
        let good = good.filter(|(_, stated, expected)| stated == expected);
        match (good, &mut found) {
            (Some((Line::Head(head), link, _)), None) => {
                let length = text.len() as u64;
                found = Some(Found { head, link, lines: 1, length, keys: Vec::new(), tail: Tail::Nothing });
            }
            (Some((line @ (Line::Entry { .. } | Line::Keys(_)), link, _)), Some(found)) => {
                found.link = link;
                found.lines += 1;
                found.length += text.len() as u64;
                if let Line::Keys(keys) = line {
                    found.keys.push(KeyRecord { workload: keys.workload, jwks: keys.keys.get().to_owned() });
                }
            }
            (_, Some(found)) => {
                found.tail = tail(text, &before);
                break;
            }
            (_, None) => {
                return match tail(text, &before) {
                    Tail::Damaged => Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "its first line is damaged; run `kest audit verify`, then move the folder aside",
                    )),
                    Tail::Nothing | Tail::Torn(_) | Tail::Unended => Ok(None),
                };
            }
        }
        if !ended && let Some(found) = &mut found {
            found.tail = Tail::Unended;
        }
    }
    Ok(found)
}

fn tail(rest: Vec<u8>, before: &Link) -> Tail {
    if line::is_torn(&rest, before) { Tail::Torn(rest) } else { Tail::Damaged }
}

/// The head of a segment, if it is whole.
pub(super) fn head(path: &Path) -> io::Result<Option<Head>> {
    let mut text = Vec::new();
    BufReader::new(File::open(path)?).take(LONGEST as u64).read_until(b'\n', &mut text)?;
    let line = text.strip_suffix(b"\n").and_then(|line| line::read(line, &chain::START));
    Ok(match line {
        Some((Line::Head(head), _, _)) => Some(head),
        Some((Line::Entry { .. } | Line::Keys(_), _, _)) | None => None,
    })
}
