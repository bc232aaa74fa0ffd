//! One writer at a time.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use kest_core::error::AuditErrorKind;

use crate::audit::failure::Failure;
use crate::audit::private::{self, FileId};

/// Creates a file beside what is written, and holds it.
pub(in crate::audit) fn lock(path: &Path) -> Result<File, Failure> {
    let made = match private::create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => private::open(path),
        made => made,
    };
    let file = made.map_err(|error| Failure::io("lock", path, error).opening())?;
    hold(&file, path).map_err(|failure| if failure.is_locked() { failure } else { failure.opening() })?;
    Ok(file)
}

/// Holds a file that is written, so that whoever removes `lock` lets no second writer in.
pub(super) fn own(file: &File, path: &Path) -> Result<FileId, Failure> {
    // Elsewhere locks keep readers out too.
    if cfg!(unix) { hold(file, path) } else { named(file, path) }
}

fn hold(file: &File, path: &Path) -> Result<FileId, Failure> {
    match file.try_lock() {
        // What was held before this one may have gone with its name.
        Ok(()) => named(file, path),
        Err(TryLockError::WouldBlock) => Err(locked(path)),
        Err(TryLockError::Error(error)) => Err(Failure::io("lock", path, error)),
    }
}

/// That the path still names the file.
fn named(file: &File, path: &Path) -> Result<FileId, Failure> {
    let cannot = |error| Failure::io("look at", path, error);
    let id = FileId::of(&file.metadata().map_err(cannot)?);
    match fs::symlink_metadata(path) {
        Ok(about) if FileId::of(&about) == id => Ok(id),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot(error)),
        Ok(_) | Err(_) => Err(locked(path)),
    }
}

pub(super) fn locked(path: &Path) -> Failure {
    Failure::new(
        AuditErrorKind::Locked,
        format!(
            "another writer has `{}`; give each process an audit store of its own, and close a sink before it is \
             opened again",
            path.display()
        ),
    )
}

/// Epoch milliseconds.
pub(in crate::audit) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
