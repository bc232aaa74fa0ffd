//! The files of a database that is open: that nobody in this process takes away its locks, and nobody else the files.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use kest_core::error::AuditErrorKind;
use parking_lot::Mutex;

use crate::audit::failure::Failure;
use crate::audit::private::FileId;

/// Databases that this process has open, some more than once.
static HELD: Mutex<Vec<FileId>> = Mutex::new(Vec::new());

/// Says that a database is open, from before SQLite opens it until after it has closed it.
#[derive(Debug)]
pub(in crate::audit) struct Held(FileId);

impl Held {
    pub(in crate::audit) fn new(path: &Path) -> io::Result<Self> {
        let mut held = HELD.lock();
        let id = FileId::of(&fs::metadata(path)?);
        held.push(id);
        Ok(Self(id))
    }

    /// Whether the database is still at its path, and its log beside it if there is to be one.
    pub(super) fn undisturbed(&self, path: &Path, log: Option<FileId>) -> Result<(), Failure> {
        let beside = log_of(path);
        let files = [(path, Some(self.0)), (&*beside, log)];
        for (file, id) in files.into_iter().filter_map(|(file, id)| Some((file, id?))) {
            let what = match fs::symlink_metadata(file) {
                Ok(about) if FileId::of(&about) == id => continue,
                Ok(_) => "was replaced by another file".to_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => "was moved or deleted".to_owned(),
                Err(error) => format!("cannot be looked at: {error}"),
            };
            return Err(Failure::new(
                AuditErrorKind::Changed,
                format!(
                    "`{}` {what} while it was written; put it back, with the files beside it, or stop the process, find \
                     out who did that, and name another file",
                    file.display()
                ),
            ));
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = HELD.lock();
        if let Some(at) = held.iter().position(|id| *id == self.0) {
            held.swap_remove(at);
        }
    }
}

/// Looks into a file, unless this process has it open as a database; none then. Closing any descriptor of a file takes
/// away all locks that the process has on it (POSIX.1-2017, `fcntl`), and without them others may delete the log of a
/// database that is being written.
pub(in crate::audit) fn unless_held<T>(about: &Metadata, look: impl FnOnce() -> T) -> Option<T> {
    let held = HELD.lock();
    (!cfg!(unix) || !held.contains(&FileId::of(about))).then(look)
}

/// The log beside a database.
pub(in crate::audit) fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    PathBuf::from(log)
}
