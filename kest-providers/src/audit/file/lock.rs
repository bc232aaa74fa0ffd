//! One writer at a time.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use kest_core::error::AuditErrorKind;

use crate::audit::failure::Failure;

pub(in crate::audit) fn lock(path: &Path) -> Result<File, Failure> {
    let cannot = |error| Failure::io("lock", path, error).opening();
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            AuditErrorKind::Locked,
            format!(
                "another writer has `{}`; give each process an audit store of its own, and close a sink before it is \
                 opened again",
                path.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

/// Epoch milliseconds.
pub(in crate::audit) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
