//! One segment, line by line.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::audit::chain::{self, Link};
use crate::audit::file::{Head, LONGEST, Line, Why, is_torn, read_line, segment_name};
use crate::audit::store::expected::Expected;
use crate::audit::store::{Finding, FindingKind, Place, Stored, StoredKeys};

/// A segment that is read.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) reader: BufReader<Source>,
    pub(super) lines: u64,
    pub(super) link: Link,
    pub(super) head: Option<Head>,
    /// How many lines its successor vouches for, and why it ended.
    pub(super) vouched: Option<(u64, Why)>,
    /// The link after the last line vouched for.
    pub(super) vouched_link: Option<Link>,
    pub(super) last: bool,
    /// Whether it is read without the segments around it: nobody knows whether another follows.
    pub(super) alone: bool,
    pub(super) told_unacknowledged: bool,
    /// Bytes that were read.
    pub(super) read: u64,
}

/// Where the lines come from.
pub(super) struct Source(Box<dyn Read + Send>);

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

/// What a line was.
pub(super) enum Step {
    Entry(Stored),
    Head,
    Nothing,
    End,
}

impl Segment {
    pub(super) fn open(
        path: PathBuf,
        next: Option<&Path>,
        alone: bool,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let prev = next.and_then(|next| head(next).ok().flatten()).and_then(|head| head.prev);
        let file = match regular(&path) {
            Ok(file) => file,
            Err(error) => return Err((path, error)),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let vouched =
            prev.filter(|prev| segment_name(prev.segment) == name).map(|prev| (prev.lines, prev.why));
        Ok(Self::new(path, name, Box::new(file), vouched, (next.is_none(), alone)))
    }

    /// One that comes through a pipe. Its head gives it its name.
    pub(super) fn piped(source: Box<dyn Read + Send>) -> Self {
        Self::new(PathBuf::from(PIPED), PIPED.to_owned(), source, None, (true, true))
    }

    pub(super) fn is_unnamed(&self) -> bool {
        self.name == PIPED
    }

    fn new(
        path: PathBuf,
        name: String,
        source: Box<dyn Read + Send>,
        vouched: Option<(u64, Why)>,
        (last, alone): (bool, bool),
    ) -> Self {
        Self {
            path,
            name,
            reader: BufReader::with_capacity(1 << 18, Source(source)),
            lines: 0,
            link: chain::START,
            head: None,
            vouched,
            vouched_link: None,
            last,
            alone,
            told_unacknowledged: false,
            read: 0,
        }
    }

    pub(super) fn step(
        &mut self,
        keys: &mut StoredKeys,
        expected: &mut Expected,
        findings: &mut VecDeque<Finding>,
    ) -> io::Result<Step> {
        let mut text = Vec::new();
        let limit = LONGEST as u64 + 1;
        self.reader.by_ref().take(limit).read_until(b'\n', &mut text)?;
        if text.is_empty() {
            return Ok(Step::End);
        }
        self.read += text.len() as u64;
        self.lines += 1;
        let number = self.lines;
        let place = || Place::Line { segment: self.name.clone(), line: number };
        let mut found = |kind, detail: &str| findings.push_back(Finding::new(place(), kind, detail));
        let line = match text.strip_suffix(b"\n") {
            Some(line) => line,
            None => {
                let at_end = self.last && self.reader.fill_buf()?.is_empty();
                let fits = |(_, stated, fitting)| stated == fitting;
                if at_end && read_line(&text, &self.link).is_some_and(fits) {
                    found(FindingKind::Torn, "the last line is whole but for its line end, and counts");
                    &text
                } else if at_end && is_torn(&text, &self.link) {
                    self.lines -= 1;
                    let detail = match self.alone {
                        false => "the last line is not whole, so it was never acknowledged",
                        true => {
                            "the last line is not whole: a writer was cut short there, or the segment was"
                        }
                    };
                    found(FindingKind::Torn, detail);
                    return Ok(Step::End);
                } else {
                    found(FindingKind::Malformed, "no line of an audit store");
                    // The rest of a line that is too long, piece by piece.
                    return Ok(Step::Nothing);
                }
            }
        };
        if self.vouched.is_some_and(|(lines, why)| why == Why::Damaged && self.lines == lines + 1) {
            found(
                FindingKind::Damaged,
                "a writer found it damaged from here on, and went on in the next segment",
            );
        }
        let unsynced = self.vouched.is_some_and(|(lines, why)| why == Why::Unsynced && self.lines > lines);
        if unsynced && !self.told_unacknowledged {
            self.told_unacknowledged = true;
            found(FindingKind::Unacknowledged, "from here on lines were written when the device failed");
        }
        let Some((line, stated, fitting)) = read_line(line, &self.link) else {
            found(FindingKind::Malformed, "no line of an audit store");
            return Ok(Step::Nothing);
        };
        if stated != fitting {
            found(
                FindingKind::Broken,
                "the running hash does not fit: the line was edited, or lines before it were deleted or moved",
            );
        }
        self.link = stated;
        if let Line::Head(head) = &line {
            expected.is_told(head.oldest.saturating_sub(1));
            expected.begins_at(head.created_ms);
        }
        // What a line claims is not what it comes to.
        if self.vouched.is_some_and(|(lines, _)| number > lines) {
            expected.pass_disowned(&fitting, place);
        } else {
            expected.pass(&fitting);
        }
        if self.vouched.is_some_and(|(lines, _)| lines == self.lines) {
            self.vouched_link = Some(stated);
        }
        match line {
            Line::Entry { received_ms, jws, hash } => {
                let jws = jws.to_owned();
                Ok(Step::Entry(Stored { place: place(), received_ms, jws, hash, columns: None }))
            }
            Line::Keys(line) => {
                if let Err(error) = keys.add(&line.workload, line.keys.get()) {
                    found(FindingKind::Malformed, &format!("public keys that cannot be read: {error}"));
                }
                Ok(Step::Nothing)
            }
            Line::Head(head) if self.lines == 1 => {
                self.head = Some(head);
                Ok(Step::Head)
            }
            Line::Head(_) => {
                found(FindingKind::Broken, "a second head, and a segment has one");
                Ok(Step::Nothing)
            }
        }
    }
}

/// What a segment is called before its head has said its number. No file has that name.
const PIPED: &str = "-";

/// Opens what is a regular file: a pipe keeps whoever opens it waiting.
pub(super) fn regular(path: &Path) -> io::Result<File> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file, so it was not opened",
        ));
    }
    File::open(path)
}

/// The head of a segment, if it is whole.
pub(super) fn head(path: &Path) -> io::Result<Option<Head>> {
    let mut text = Vec::new();
    BufReader::new(regular(path)?).take(LONGEST as u64).read_until(b'\n', &mut text)?;
    let line = read_line(text.strip_suffix(b"\n").unwrap_or(&text), &chain::START);
    Ok(match line {
        Some((Line::Head(head), _, _)) => Some(head),
        Some((Line::Entry { .. } | Line::Keys(_), _, _)) | None => None,
    })
}
