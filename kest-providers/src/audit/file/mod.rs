//! JSON lines in a folder: segments that are only ever appended to, one writer, a running hash.

mod disk;
mod line;
mod lock;
mod recover;
mod rotate;
mod segment;
mod segments;
mod spare;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kest_core::audit::{AuditRecord, AuditSink};
use kest_core::config::Durability;
use kest_core::error::AuditError;
use kest_core::identity::BoxFuture;

use self::disk::{Disk, RealDisk};
pub(super) use self::line::{Head, LONGEST, Line, Why, is_entry, is_torn, read as read_line};
#[cfg(feature = "sqlite")]
pub(super) use self::lock::{lock, now_ms};
pub(super) use self::segments::{list as segments, name as segment_name};
use self::write::FileBackend;
use super::queue::{Queue, RETRY, Settings};

/// An audit sink of JSON lines in a folder.
///
/// Each line is an entry as it was signed, when it was received, and the running hash of the segment:
///
/// ```json
/// {"v":1,"received_ms":1795304503210,"jws":"eyJ…","c":"9f86d081…"}
/// ```
///
/// Lines with `keys` hold the public keys of a workload; the first line of a segment names the segment before it and
/// that one's last hash. One process at a time writes; anybody may read meanwhile ([`Store`](super::Store)).
#[must_use = "a sink takes entries while it is held by a `Kest`"]
pub struct FileAudit {
    queue: Queue,
    folder: PathBuf,
}

impl FileAudit {
    /// Opens the store in `folder`, or begins one there. The folder is created; the one it stands in must exist.
    ///
    /// # Errors
    /// When the folder cannot be written or another process writes there.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, AuditError> {
        Self::builder(folder).open()
    }

    /// Settings before opening.
    pub fn builder(folder: impl Into<PathBuf>) -> FileAuditBuilder {
        FileAuditBuilder { folder: folder.into(), ..FileAuditBuilder::default() }
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Writes what waits and closes the store; the sink then refuses. Dropping it does the same.
    ///
    /// # Errors
    /// When the end cannot be written as promised.
    pub fn close(&self) -> Result<(), AuditError> {
        self.queue.close()
    }
}

impl fmt::Debug for FileAudit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileAudit").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl AuditSink for FileAudit {
    fn append(&self, record: &AuditRecord<'_>) -> Result<(), AuditError> {
        self.queue.append_blocking(record)
    }

    fn append_async<'a>(&'a self, record: &'a AuditRecord<'a>) -> BoxFuture<'a, Result<(), AuditError>> {
        Box::pin(self.queue.append(record))
    }
}

/// Settings of a [`FileAudit`].
#[derive(Debug, Clone)]
#[must_use]
pub struct FileAuditBuilder {
    pub(super) folder: PathBuf,
    pub(super) durability: Durability,
    pub(super) rotate_bytes: u64,
    pub(super) rotate_age: Option<Duration>,
    pub(super) retain_files: Option<u32>,
    pub(super) retain_age: Option<Duration>,
    pub(super) max_bytes: Option<u64>,
    pub(super) timeout: Duration,
    pub(super) queue_bytes: usize,
    retry: Duration,
}

impl Default for FileAuditBuilder {
    fn default() -> Self {
        Self {
            folder: PathBuf::new(),
            durability: Durability::Process,
            rotate_bytes: 64 << 20,
            rotate_age: None,
            retain_files: None,
            retain_age: None,
            max_bytes: None,
            timeout: Duration::from_secs(10),
            queue_bytes: 16 << 20,
            retry: RETRY,
        }
    }
}

impl FileAuditBuilder {
    /// What an acknowledged entry survives: the end of the process, unless said otherwise.
    ///
    /// With [`Durability::Power`] opening writes the last segment anew, flushes it, and puts it in the place of the old
    /// one. For that a flush failed is known only to the process that it failed in: in the next one the kernel may take
    /// pages for clean that never reached the device, and say so to whoever flushes again. What is acknowledged rests
    /// on bytes that this process has flushed itself; opening needs room for one more segment.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// A segment is ended before it gets larger: 64 MiB.
    pub fn rotate_bytes(mut self, bytes: u64) -> Self {
        self.rotate_bytes = bytes;
        self
    }

    /// A segment is ended by the first entry after that time. With [`Self::retain_age`] an eighth of it, else never.
    pub fn rotate_age(mut self, age: Duration) -> Self {
        self.rotate_age = Some(age);
        self
    }

    /// How many segments are kept, the one being written included: all. When one is begun, the oldest go.
    pub fn retain_files(mut self, files: u32) -> Self {
        self.retain_files = Some(files);
        self
    }

    /// Segments whose entries are all older go when a new one is begun: never. Where there are such, one is begun when
    /// the store is opened, and when `max_bytes` is reached.
    pub fn retain_age(mut self, age: Duration) -> Self {
        self.retain_age = Some(age);
        self
    }

    /// The most bytes of all segments: no limit. What does not fit is refused.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// How long a call waits for room and its acknowledgement: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Most bytes that wait to be written: 16 MiB. Calls beyond wait for room.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Opens the store, or begins one. The beginning of a last line, as a killed process leaves it, is put into a file
    /// beside the segment that ends in `.torn`: it was never acknowledged. A line that lacks only its end is given it. An end that is damaged in any other way
    /// stays, and a new segment says so.
    ///
    /// # Errors
    /// When the folder cannot be written or another process writes there.
    pub fn open(self) -> Result<FileAudit, AuditError> {
        self.open_on(RealDisk)
    }

    fn open_on(self, disk: impl Disk) -> Result<FileAudit, AuditError> {
        let settings = Settings {
            timeout: self.timeout,
            queue_bytes: self.queue_bytes,
            columns: false,
            retry: self.retry,
        };
        let folder = self.folder.clone();
        let started = FileBackend::open(self, disk).and_then(|backend| Queue::start(backend, settings));
        Ok(FileAudit { queue: started.map_err(|failure| failure.to_error())?, folder })
    }
}
