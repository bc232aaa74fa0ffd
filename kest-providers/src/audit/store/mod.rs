//! Reading audit stores: in order, with what is wrong in them named by its place.

mod check;
mod expected;
mod filter;
mod finding;
mod flow;
mod keys;
mod lines;
mod listing;
#[cfg(feature = "sqlite")]
mod rows;

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kest_core::entry::KestEntry;
use kest_core::error::{AuditError, AuditErrorKind};
use kest_core::verify::Verifier;

pub use self::check::{Checked, Checks};
use self::expected::Expected;
pub use self::expected::Taken;
pub use self::filter::Filter;
pub use self::finding::{Finding, FindingKind, Place};
pub use self::keys::StoredKeys;
use self::lines::Lines;
use self::listing::Listed;
pub use self::listing::Listing;
use super::chain::hex;
use super::failure::Failure;
use super::item::Columns;
#[cfg(feature = "sqlite")]
use rows::Filed;

/// An audit store to read: a folder of segments, one segment, or a database. Its writer may be at work meanwhile.
///
/// What it says of its own integrity holds against accidents and against whoever edits it without doing the sums
/// anew. Against somebody who does them, signatures hold; against one who cuts its end off, what was kept elsewhere.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Folder,
    Segment,
    #[cfg(feature = "sqlite")]
    Sqlite,
}

/// An entry in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Where it stands.
    pub place: Place,
    /// When the store received it, in epoch milliseconds: what `Verifier`s of archives want for `received_at`.
    pub received_ms: u64,
    /// The compact JWS.
    pub jws: String,
    /// SHA-256 of the compact JWS.
    pub hash: [u8; 32],
    /// What a database has it filed under, until somebody has looked.
    columns: Option<Box<Filed>>,
}

/// What no folder has.
#[cfg(not(feature = "sqlite"))]
#[derive(Debug, Clone, PartialEq, Eq)]
enum Filed {}

#[cfg(not(feature = "sqlite"))]
impl Filed {
    fn wrong(&self, _: &Columns) -> Option<&'static str> {
        match *self {}
    }
}

impl Stored {
    /// Whether it is filed under something else than it says, so that searches miss it. Looked at once.
    fn misfiled(&mut self, entry: Option<&KestEntry>) -> Option<Finding> {
        let filed = self.columns.take()?;
        let own = match entry {
            Some(entry) => Some(Columns::of_entry(entry)),
            None => Columns::of(&self.jws),
        };
        let (kind, detail) = match own {
            None => (FindingKind::Malformed, "no entry of kest"),
            Some(own) => (FindingKind::Columns, filed.wrong(&own)?),
        };
        Some(Finding::new(self.place.clone(), kind, detail))
    }
}

/// What a [`Scan`] comes across.
#[derive(Debug)]
#[non_exhaustive]
pub enum Seen {
    /// An entry.
    Entry(Stored),
    /// Something that is not as a sink has left it.
    Finding(Finding),
}

impl Store {
    /// Looks what stands at `path`.
    ///
    /// # Errors
    /// When nothing can be read there, or it is no audit store.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, AuditError> {
        let path = path.into();
        let cannot = |error| unreadable(&path, error);
        let metadata = path.metadata().map_err(cannot)?;
        let form = if metadata.is_dir() {
            Form::Folder
        } else if !metadata.is_file() {
            return Err(AuditError::new(
                AuditErrorKind::Open,
                format!(
                    "`{}` is no regular file, so it was not opened; save what comes through it to a file, or give a \
                     segment to `kest audit verify` on standard input",
                    path.display()
                ),
            ));
        } else {
            match &*beginning(&path, &metadata).map_err(cannot)? {
                SQLITE => sqlite(&path)?,
                b"" => {
                    return Err(AuditError::new(
                        AuditErrorKind::Open,
                        format!(
                            "`{}` is empty: no segment and no database; all that was in it is gone, or nothing was ever \
                             written",
                            path.display()
                        ),
                    ));
                }
                start if start.starts_with(b"{\"v\":1,") => Form::Segment,
                _ => {
                    return Err(AuditError::new(
                        AuditErrorKind::Open,
                        format!(
                            "`{}` is no audit store; name its folder, a segment of it, or its database",
                            path.display()
                        ),
                    ));
                }
            }
        };
        Ok(Self { path, form })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything in order, the running hash checked. Memory does not grow with the store.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub fn scan(&self) -> Result<Scan, AuditError> {
        let steps = match self.form {
            Form::Folder => Steps::Lines(Box::new(Lines::folder(&self.path)?)),
            Form::Segment => Steps::Lines(Box::new(Lines::segment(&self.path)?)),
            #[cfg(feature = "sqlite")]
            Form::Sqlite => Steps::Rows(Box::new(rows::Rows::open(&self.path)?)),
        };
        Ok(Scan::of(steps))
    }

    /// The entries that a filter lets through, in order, or the newest first. A database finds them by its postings and
    /// does not check the running hash; a row with values that no sink writes, where it might be wanted, is an error, and
    /// the rows after it are still given. A folder is read segment by segment until there are enough, and findings are
    /// passed over: they are [`Self::scan`]'s to tell, and [`Listing::unread`] says of how many places nothing is known.
    ///
    /// # Errors
    /// When the store cannot be opened. The iterator gives an error where something cannot be read, and ends if nothing
    /// after it can.
    pub fn list(&self, filter: &Filter) -> Result<Listing, AuditError> {
        let found = match self.form {
            Form::Folder => Listed::Lines(Box::new(filter.over(lines::paths(&self.path)?))),
            Form::Segment => Listed::Lines(Box::new(filter.over(vec![self.path.clone()]))),
            #[cfg(feature = "sqlite")]
            Form::Sqlite => Listed::Rows(Box::new(rows::Listed::open(&self.path, filter)?)),
        };
        Ok(Listing::of(found))
    }

    /// The public keys that stand beside the entries.
    ///
    /// They are what the writers said. Whoever can edit the store can edit them too, so an auditor compares them with
    /// keys that came another way.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn keys(&self) -> Result<StoredKeys, AuditError> {
        match self.form {
            Form::Folder => lines::keys(&lines::paths(&self.path)?),
            Form::Segment => lines::keys(std::slice::from_ref(&self.path)),
            #[cfg(feature = "sqlite")]
            Form::Sqlite => rows::keys(&self.path),
        }
    }
}

/// The first bytes of a file.
fn beginning(path: &Path, about: &Metadata) -> io::Result<Vec<u8>> {
    let read = || {
        let mut start = Vec::new();
        File::open(path)?.take(SQLITE.len() as u64).read_to_end(&mut start)?;
        Ok(start)
    };
    #[cfg(feature = "sqlite")]
    return super::sqlite::unless_held(about, read).unwrap_or_else(|| Ok(SQLITE.to_vec()));
    #[cfg(not(feature = "sqlite"))]
    {
        let _ = about;
        read()
    }
}

/// What a database begins with.
const SQLITE: &[u8] = b"SQLite format 3\0";

#[cfg(feature = "sqlite")]
fn sqlite(_: &Path) -> Result<Form, AuditError> {
    Ok(Form::Sqlite)
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(path: &Path) -> Result<Form, AuditError> {
    Err(AuditError::new(
        AuditErrorKind::Open,
        format!(
            "`{}` is an SQLite database, and this build cannot read it; add the feature `sqlite`",
            path.display()
        ),
    ))
}

/// A walk through a whole store.
#[derive(Debug)]
#[must_use = "a scan does nothing unless it is iterated"]
pub struct Scan {
    steps: Steps,
    keys: StoredKeys,
    expected: Expected,
    /// An entry that a finding was told about.
    waiting: Option<Stored>,
    over: bool,
}

#[derive(Debug)]
enum Steps {
    Lines(Box<Lines>),
    #[cfg(feature = "sqlite")]
    Rows(Box<rows::Rows>),
}

impl Scan {
    /// The lines of one segment from somewhere else than a file, such as a pipe from an archive. What stood before it
    /// is not known, and neither is how much there is to read.
    pub fn of_segment(source: impl Read + Send + 'static) -> Self {
        Self::of(Steps::Lines(Box::new(Lines::piped(Box::new(source)))))
    }

    fn of(steps: Steps) -> Self {
        let (keys, expected) = (StoredKeys::default(), Expected::default());
        Self { steps, keys, expected, waiting: None, over: false }
    }

    /// The keys that the scan has come across so far.
    #[must_use]
    pub fn keys(&self) -> &StoredKeys {
        &self.keys
    }

    /// The keys that the scan has come across.
    #[must_use]
    pub fn into_keys(self) -> StoredKeys {
        self.keys
    }
}

impl Scan {
    /// Looks for a running hash that was kept elsewhere ([`Self::tip`] of an earlier scan). If the store does not come
    /// by it, its end was cut off, or what stands before was changed by somebody who did the sums anew: a finding.
    ///
    /// It counts as met where it comes out of a line or row that was read. If it is only what the store says stood
    /// before its beginning, nothing is left to compare it with: [`FindingKind::Gone`]. Lines that the next segment
    /// disowns do not count: [`FindingKind::Disowned`].
    ///
    /// # Errors
    /// When `tip` is no SHA-256 in lowercase hex.
    pub fn expecting(mut self, tip: &str) -> Result<Self, AuditError> {
        self.expected.add(tip)?;
        Ok(self)
    }

    /// The running hash after what was read so far, in hex: at the end of the scan that of the whole store. Kept where
    /// nobody can change it, it vouches for all that stands before it. None before the first entry.
    #[must_use]
    pub fn tip(&self) -> Option<String> {
        let link = match &self.steps {
            Steps::Lines(lines) => lines.link(),
            #[cfg(feature = "sqlite")]
            Steps::Rows(rows) => rows.link(),
        };
        link.map(|link| hex(&link))
    }

    /// Whether it goes through a whole store. One segment by itself is none: of what stands before and after it nothing
    /// is known, whatever running hashes are met in it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match &self.steps {
            Steps::Lines(lines) => !lines.alone().0,
            #[cfg(feature = "sqlite")]
            Steps::Rows(_) => true,
        }
    }

    /// The number of the segment that is read by itself, as its head says; none before its head was read, and where the
    /// scan [is whole](Self::is_whole).
    #[must_use]
    pub fn segment(&self) -> Option<u64> {
        match &self.steps {
            Steps::Lines(lines) => lines.alone().1,
            #[cfg(feature = "sqlite")]
            Steps::Rows(_) => None,
        }
    }

    /// Lines before the [tip](Self::tip) that it does not vouch for, in words: the segment after theirs disowns them.
    /// Known at the end of the scan; none where there are none.
    #[must_use]
    pub fn disowned(&self) -> Option<String> {
        match &self.steps {
            Steps::Lines(lines) => lines.disowned(),
            #[cfg(feature = "sqlite")]
            Steps::Rows(_) => None,
        }
    }

    /// What retention has taken, as the store itself says, in words: known at the end of the scan. None where nothing
    /// was taken.
    #[must_use]
    pub fn retired(&self) -> Option<String> {
        match &self.steps {
            Steps::Lines(lines) => lines.retired(),
            #[cfg(feature = "sqlite")]
            Steps::Rows(rows) => rows.retired(),
        }
    }

    /// What retention has taken, as the store itself says, of what an [expected](Self::expecting) running hash vouches
    /// for: after the first of them was kept. Known at the end of the scan. None where nothing was taken since, and where
    /// none of them was met.
    #[must_use]
    pub fn taken(&self) -> Option<Taken> {
        let met = self.expected.met()?;
        let what = match &self.steps {
            Steps::Lines(lines) => lines.retired_after(met.told),
            #[cfg(feature = "sqlite")]
            Steps::Rows(rows) => rows.retired_after(met.told),
        };
        Some(Taken { what: what?, before_ms: met.begun_ms })
    }

    /// Goes on with each entry checked by itself, on `threads` threads: as many as there are cores, and at
    /// most four times as many.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn check(self, verifier: &Verifier, threads: Option<usize>) -> Result<Checks, AuditError> {
        Checks::start(self, verifier, threads)
    }

    /// The next, with what it is filed under still to be looked at.
    fn advance(&mut self) -> Option<Result<Seen, AuditError>> {
        if self.over {
            return self.expected.missed().map(|finding| Ok(Seen::Finding(finding)));
        }
        let step = match &mut self.steps {
            Steps::Lines(lines) => lines.step(&mut self.keys, &mut self.expected),
            #[cfg(feature = "sqlite")]
            Steps::Rows(rows) => rows.step(&mut self.keys, &mut self.expected),
        };
        match step {
            Some(Ok(seen)) => Some(Ok(seen)),
            Some(Err(error)) => {
                // Nothing can be said of what was not read.
                self.expected = Expected::default();
                Some(Err(error))
            }
            None => {
                self.over = true;
                self.expected.missed().map(|finding| Ok(Seen::Finding(finding)))
            }
        }
    }

    /// How much was read, and of how much: bytes of segments, or rows. Of how much is 0 where that is not known.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        match &self.steps {
            Steps::Lines(lines) => lines.progress(),
            #[cfg(feature = "sqlite")]
            Steps::Rows(rows) => rows.progress(),
        }
    }
}

impl Iterator for Scan {
    type Item = Result<Seen, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(stored) = self.waiting.take() {
            return Some(Ok(Seen::Entry(stored)));
        }
        let mut stored = match self.advance()? {
            Ok(Seen::Entry(stored)) => stored,
            other => return Some(other),
        };
        match stored.misfiled(None) {
            None => Some(Ok(Seen::Entry(stored))),
            Some(finding) => {
                self.waiting = Some(stored);
                Some(Ok(Seen::Finding(finding)))
            }
        }
    }
}

fn unreadable(path: &Path, error: io::Error) -> AuditError {
    Failure::reading(path, error).to_error()
}
