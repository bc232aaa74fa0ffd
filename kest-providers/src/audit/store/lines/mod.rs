//! Segments, one after the other.

mod segment;

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use kest_core::error::{AuditError, AuditErrorKind};

use self::segment::{Segment, Step, head, regular};
use super::{Expected, Finding, FindingKind, Place, Seen, Stored, StoredKeys, unreadable};
use crate::audit::chain::{Link, START, hex, unhex};
use crate::audit::file::{Head, LONGEST, Line, Why, is_entry, read_line, segment_name, segments};

#[derive(Debug)]
pub(super) struct Lines {
    /// Segments still to read.
    rest: VecDeque<PathBuf>,
    current: Option<Segment>,
    /// The end of the segment before.
    ended: Option<Ended>,
    /// The store that the segments belong to.
    store: Option<String>,
    /// What was found, and not yet told.
    findings: VecDeque<Finding>,
    /// An entry that they are about.
    waiting: Option<Stored>,
    /// The oldest segment that must be there, by the newest head.
    first: Option<u64>,
    /// The oldest segment that retention has left, by any head that was read.
    oldest: Option<u64>,
    whole: bool,
    /// Lines that the next segment disowns.
    disowned: Vec<String>,
    /// Bytes of segments that were read, and of all.
    done: u64,
    all: u64,
    /// The hash after the last line that was read.
    link: Option<Link>,
}

#[derive(Debug)]
struct Ended {
    name: String,
    number: u64,
    lines: u64,
    link: Link,
}

impl Lines {
    pub(super) fn folder(folder: &Path) -> Result<Self, AuditError> {
        let numbers = numbers(folder)?;
        let newest = newest_of(folder, &numbers);
        let rest: VecDeque<PathBuf> =
            numbers.iter().map(|number| folder.join(segment_name(*number))).collect();
        let all = rest.iter().map(|path| length(path)).sum();
        let mut lines = Self {
            rest,
            current: None,
            ended: None,
            store: newest.as_ref().map(|head| head.store.clone()),
            findings: VecDeque::new(),
            waiting: None,
            first: newest.as_ref().map(|head| head.oldest),
            oldest: None,
            whole: true,
            disowned: Vec::new(),
            done: 0,
            all,
            link: None,
        };
        if let (Some(first), Some(found)) = (lines.first, numbers.first())
            && *found > first
        {
            lines.findings.push_back(Finding::new(
                Place::Store,
                FindingKind::Missing,
                format!("segments `{}` to `{}` are gone", segment_name(first), segment_name(found - 1)),
            ));
        }
        let aside = put_aside(folder).map_err(|error| unreadable(folder, error))?;
        lines.findings.extend(aside.iter().map(|name| {
            let detail = format!(
                "`{name}` is what a writer found at the end of a segment and put aside as never acknowledged; nothing \
                 of it is checked"
            );
            Finding::new(Place::Store, FindingKind::Aside, detail)
        }));
        Ok(lines)
    }

    pub(super) fn segment(path: &Path) -> Result<Self, AuditError> {
        let store = head(path).map_err(|error| unreadable(path, error))?.map(|head| head.store);
        Ok(Self {
            rest: VecDeque::from([path.to_path_buf()]),
            current: None,
            ended: None,
            store,
            findings: VecDeque::new(),
            waiting: None,
            first: None,
            oldest: None,
            whole: false,
            disowned: Vec::new(),
            done: 0,
            all: length(path),
            link: None,
        })
    }

    /// A segment that comes through a pipe.
    pub(super) fn piped(source: Box<dyn Read + Send>) -> Self {
        Self {
            rest: VecDeque::new(),
            current: Some(Segment::piped(source)),
            ended: None,
            store: None,
            findings: VecDeque::new(),
            waiting: None,
            first: None,
            oldest: None,
            whole: false,
            disowned: Vec::new(),
            done: 0,
            all: 0,
            link: None,
        }
    }

    pub(super) fn step(
        &mut self,
        keys: &mut StoredKeys,
        expected: &mut Expected,
    ) -> Option<Result<Seen, AuditError>> {
        loop {
            if let Some(finding) = self.findings.pop_front() {
                return Some(Ok(Seen::Finding(finding)));
            }
            if let Some(stored) = self.waiting.take() {
                return Some(Ok(Seen::Entry(stored)));
            }
            let Some(segment) = &mut self.current else {
                let path = self.rest.pop_front()?;
                match Segment::open(path, self.rest.front().map(PathBuf::as_path), !self.whole) {
                    Ok(segment) => self.current = Some(segment),
                    Err((path, error))
                        if error.kind() == io::ErrorKind::NotFound && self.was_retired(&path) => {}
                    Err((path, error)) if error.kind() == io::ErrorKind::InvalidInput && self.whole => {
                        let name = path.file_name().unwrap_or_default().display();
                        let detail = format!("`{name}` is no regular file, so it was not opened");
                        self.findings.push_back(Finding::new(Place::Store, FindingKind::Malformed, detail));
                    }
                    Err((path, error)) => {
                        self.rest.clear();
                        return Some(Err(unreadable(&path, error)));
                    }
                }
                continue;
            };
            match segment.step(keys, expected, &mut self.findings) {
                Err(error) => {
                    let error = unreadable(&segment.path, error);
                    self.current = None;
                    self.rest.clear();
                    return Some(Err(error));
                }
                Ok(Step::Entry(stored)) => {
                    // What was found about this line is told before it.
                    if self.findings.is_empty() {
                        return Some(Ok(Seen::Entry(stored)));
                    }
                    self.waiting = Some(stored);
                }
                Ok(Step::Head) => self.joins(expected),
                Ok(Step::Nothing) => {}
                Ok(Step::End) => self.ends(),
            }
        }
    }

    /// Whether retention took a segment while the scan was under way.
    fn was_retired(&mut self, path: &Path) -> bool {
        let Some(folder) = path.parent().filter(|_| self.whole) else { return false };
        let Ok(newest) = newest_head(folder) else { return false };
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        let gone = newest.zip(number).is_some_and(|(newest, number)| {
            let same = self.store.as_ref().is_none_or(|store| *store == newest.store);
            self.first = Some(newest.oldest);
            same && number < newest.oldest
        });
        if gone {
            self.ended = None;
        }
        gone
    }

    /// What retention has taken, as heads say.
    pub(super) fn retired(&self) -> Option<String> {
        self.retired_after(0)
    }

    /// What of it is not among the so many oldest segments.
    pub(super) fn retired_after(&self, told: u64) -> Option<String> {
        let last = self.first.max(self.oldest)?.saturating_sub(1);
        match last.saturating_sub(told) {
            0 => None,
            1 => Some(format!("segment `{}`", segment_name(last))),
            _ => Some(format!("segments `{}` to `{}`", segment_name(told + 1), segment_name(last))),
        }
    }

    /// The number of a segment that is read alone, as its head says, and whether it is.
    pub(super) fn alone(&self) -> (bool, Option<u64>) {
        if self.whole {
            return (false, None);
        }
        let head = self.current.as_ref().and_then(|segment| segment.head.as_ref());
        let ended = self.ended.as_ref().map(|ended| ended.number);
        (true, head.map(|head| head.segment).or(ended))
    }

    /// Lines that the next segment disowns, so that no running hash after them covers them.
    pub(super) fn disowned(&self) -> Option<String> {
        const NAMED: usize = 4;
        let named = self.disowned.get(..NAMED).unwrap_or(&self.disowned).join(", ");
        match self.disowned.len() {
            0 => None,
            all if all > NAMED => Some(format!("{named} and of {} more segments", all - NAMED)),
            _ => Some(named),
        }
    }

    /// The hash after the last line that was read.
    pub(super) fn link(&self) -> Option<Link> {
        self.current
            .as_ref()
            .filter(|segment| segment.head.is_some())
            .map(|segment| segment.link)
            .or(self.link)
    }

    /// Bytes read, of all; 0 where that is not known.
    pub(super) fn progress(&self) -> (u64, u64) {
        let done = self.done + self.current.as_ref().map_or(0, |segment| segment.read);
        (done, if self.all == 0 { 0 } else { self.all.max(done) })
    }

    /// Holds a segment's head to the end of the segment before.
    fn joins(&mut self, expected: &mut Expected) {
        let Some(segment) = &mut self.current else { return };
        let Some(head) = &segment.head else { return };
        if segment.is_unnamed() {
            segment.name = segment_name(head.segment);
        }
        if self.ended.is_none()
            && let Some(before) = head.prev.as_ref().and_then(|prev| unhex(prev.link.as_bytes()))
        {
            expected.begins_after(&before);
        }
        self.oldest = self.oldest.max(Some(head.oldest));
        let place = Place::Line { segment: segment.name.clone(), line: 1 };
        let mut wrong = |kind, detail: String| {
            self.findings.push_back(Finding::new(place.clone(), kind, detail));
        };
        if segment_name(head.segment) != segment.name {
            wrong(FindingKind::Broken, format!("it says that it is `{}`", segment_name(head.segment)));
        }
        if self.store.as_ref().is_some_and(|store| *store != head.store) {
            wrong(FindingKind::Broken, "it belongs to another store".to_owned());
        }
        if !self.whole {
            return;
        }
        match (&head.prev, &self.ended) {
            (Some(prev), Some(ended)) => {
                if prev.segment != ended.number {
                    let gone = segment_name(prev.segment);
                    wrong(FindingKind::Missing, format!("`{gone}`, which stood before it, is gone"));
                } else if prev.link != hex(&ended.link) || prev.lines != ended.lines {
                    let detail = format!(
                        "it follows line {} of `{}`, where another end is found at line {}: lines were edited, deleted \
                         or added there",
                        prev.lines, ended.name, ended.lines
                    );
                    wrong(FindingKind::Broken, detail);
                }
            }
            (Some(prev), None) if self.first.is_some_and(|first| first <= prev.segment) => {
                let gone = segment_name(prev.segment);
                wrong(FindingKind::Missing, format!("`{gone}`, which stood before it, is gone"));
            }
            (None, Some(ended)) => {
                wrong(
                    FindingKind::Broken,
                    format!("it does not know `{}`, which stands before it", ended.name),
                );
            }
            (None | Some(_), None) => {}
        }
    }

    fn ends(&mut self) {
        let Some(segment) = self.current.take() else { return };
        self.done += segment.read;
        let Some(head) = segment.head else {
            let place = Place::Line { segment: segment.name, line: 1 };
            let detail = "it has no head";
            // A line that is there and no head was found already.
            let kind =
                if segment.last && segment.lines == 0 { FindingKind::Torn } else { FindingKind::Malformed };
            self.findings.push_back(Finding::new(place, kind, detail));
            return;
        };
        if let Some((lines, _)) = segment.vouched.filter(|(lines, _)| segment.lines > *lines) {
            self.disowned.push(format!("lines {} to {} of `{}`", lines + 1, segment.lines, segment.name));
        }
        let (lines, link) = match (segment.vouched, segment.vouched_link) {
            (Some((lines, Why::Unsynced | Why::Damaged)), Some(link)) => (lines, link),
            _ => (segment.lines, segment.link),
        };
        self.link = Some(link);
        self.ended = Some(Ended { name: segment.name, number: head.segment, lines, link });
    }
}

/// The segments of a folder, in order.
pub(super) fn paths(folder: &Path) -> Result<Vec<PathBuf>, AuditError> {
    Ok(numbers(folder)?.iter().map(|number| folder.join(segment_name(*number))).collect())
}

/// Names of what writers have put aside.
fn put_aside(folder: &Path) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let name = file?.file_name();
        all.extend(name.to_str().filter(|name| name.ends_with(".torn")).map(str::to_owned));
    }
    all.sort_unstable();
    Ok(all)
}

fn numbers(folder: &Path) -> Result<Vec<u64>, AuditError> {
    let numbers = segments(folder).map_err(|error| unreadable(folder, error))?;
    if numbers.is_empty() {
        return Err(AuditError::new(
            AuditErrorKind::Open,
            format!("`{}` has no segment of an audit store", folder.display()),
        ));
    }
    Ok(numbers)
}

fn newest_head(folder: &Path) -> io::Result<Option<Head>> {
    Ok(newest_of(folder, &segments(folder)?))
}

fn newest_of(folder: &Path, numbers: &[u64]) -> Option<Head> {
    numbers.iter().rev().find_map(|number| head(&folder.join(segment_name(*number))).ok().flatten())
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// The keys of segments. Lines of entries are passed over unread.
pub(super) fn keys(paths: &[PathBuf]) -> Result<StoredKeys, AuditError> {
    let mut keys = StoredKeys::default();
    let mut text = Vec::new();
    for path in paths {
        let cannot = |error| unreadable(path, error);
        let mut reader = match regular(path) {
            // Retention took it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => BufReader::with_capacity(1 << 18, opened.map_err(cannot)?),
        };
        loop {
            text.clear();
            let limit = LONGEST as u64 + 1;
            if reader.by_ref().take(limit).read_until(b'\n', &mut text).map_err(cannot)? == 0 {
                break;
            }
            let line = text.strip_suffix(b"\n").unwrap_or(&text);
            if is_entry(line) {
                continue;
            }
            if let Some((Line::Keys(line), _, _)) = read_line(line, &START) {
                // What cannot be read verifies nothing; a scan tells of it.
                let _ = keys.add(&line.workload, line.keys.get());
            }
        }
    }
    Ok(keys)
}
