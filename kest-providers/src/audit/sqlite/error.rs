//! What SQLite says, as an error of a sink.

use std::path::Path;

use kest_core::error::AuditErrorKind;
use rusqlite::{ErrorCode, ffi};

use crate::audit::failure::Failure;

/// After a flush that failed.
pub(super) fn unsynced(path: &Path) -> Failure {
    Failure::new(
        AuditErrorKind::Write,
        format!(
            "the device of `{}` failed to flush, so what it has is not known; see to it, check the store with \
             `kest audit verify`, and start the process again with a store on a device that works",
            path.display()
        ),
    )
}

/// What SQLite said about `doing` something with `path`.
pub(in crate::audit) fn failure(doing: &str, path: &Path, error: rusqlite::Error) -> Failure {
    let name = path.display();
    let code = error.sqlite_error().map(|error| (error.code, error.extended_code));
    let flush = [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC];
    let (kind, fix) = match code {
        Some((_, extended)) if flush.contains(&extended) => {
            return unsynced(path).caused_by(error).mark_unsynced();
        }
        Some((ErrorCode::DiskFull, _)) => (
            AuditErrorKind::Full,
            "make room or raise `max_bytes`; the sink then takes entries again by itself",
        ),
        Some((ErrorCode::ReadOnly | ErrorCode::CannotOpen, _)) if doing == "read" => (
            AuditErrorKind::Open,
            "copy it, with its `-wal` and `-shm` where they are, to a place that can be written, and read the copy",
        ),
        Some((ErrorCode::ReadOnly, _)) => {
            (AuditErrorKind::Write, "let the process write there, or name another path in `[audit]`")
        }
        Some((ErrorCode::CannotOpen, _)) => {
            (AuditErrorKind::Write, "create its folder and let the process write there")
        }
        Some((ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt, _)) => {
            (AuditErrorKind::Write, "keep it as it is, and name another file in `[audit]`")
        }
        Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => {
            (AuditErrorKind::Locked, "another program holds it; only `kest` may write there")
        }
        _ => (AuditErrorKind::Write, "see to the device that holds it"),
    };
    let unwritable = matches!(code, Some((ErrorCode::ReadOnly | ErrorCode::CannotOpen, _)));
    let failure = Failure::new(kind, format!("cannot {doing} `{name}`: {error}; {fix}")).caused_by(error);
    if unwritable { failure.mark_unwritable() } else { failure }
}

/// When the store is not as the sink knows it.
pub(super) fn changed(path: &Path) -> Failure {
    Failure::new(
        AuditErrorKind::Write,
        format!(
            "`{}` does not end where this sink has left it, so somebody else has changed it; keep it as it is and \
             begin another",
            path.display()
        ),
    )
}
