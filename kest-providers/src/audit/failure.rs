//! Errors that many waiting calls get at once.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use kest_core::error::{AuditError, AuditErrorKind};

/// An [`AuditError`] that can be given to several callers.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    kind: AuditErrorKind,
    message: Arc<str>,
    source: Option<Shared>,
    #[cfg(feature = "sqlite")]
    unsynced: bool,
    #[cfg(feature = "sqlite")]
    unwritable: bool,
}

#[derive(Debug, Clone)]
struct Shared(Arc<dyn Error + Send + Sync>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Shared {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl Failure {
    pub(super) fn new(kind: AuditErrorKind, message: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
            #[cfg(feature = "sqlite")]
            unsynced: false,
            #[cfg(feature = "sqlite")]
            unwritable: false,
        }
    }

    pub(super) fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Shared(Arc::new(source)));
        self
    }

    /// What the operating system said about `doing` something with `path`.
    pub(super) fn io(doing: &str, path: &Path, error: io::Error) -> Self {
        let name = path.display();
        let (kind, fix) = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                (AuditErrorKind::Full, "make room; the sink then takes entries again by itself")
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                (AuditErrorKind::Write, "mount it writable, or name another path in `[audit]`")
            }
            io::ErrorKind::PermissionDenied => {
                (AuditErrorKind::Write, "let the process write there, or name another path in `[audit]`")
            }
            io::ErrorKind::NotFound => {
                (AuditErrorKind::Write, "create the folder, or name another path in `[audit]`")
            }
            io::ErrorKind::InvalidInput => {
                (AuditErrorKind::Write, "move it away, or name another path in `[audit]`")
            }
            io::ErrorKind::NotADirectory => (
                AuditErrorKind::Write,
                "a store of the sink `file` is a folder: name one in `[audit]`, not a file",
            ),
            _ => (AuditErrorKind::Write, "see to the device that holds it"),
        };
        Self::new(kind, format!("cannot {doing} `{name}`: {error}; {fix}")).caused_by(error)
    }

    /// What the operating system said to somebody who only reads `path`.
    pub(super) fn reading(path: &Path, error: io::Error) -> Self {
        let name = path.display();
        let fix = match error.kind() {
            io::ErrorKind::PermissionDenied => "read it as a user who may, or read a copy",
            io::ErrorKind::NotFound => "name a store that is there",
            io::ErrorKind::InvalidInput => "find out who has put it there",
            _ => "see to the device that holds it, or read a copy",
        };
        Self::new(AuditErrorKind::Open, format!("cannot read `{name}`: {error}; {fix}")).caused_by(error)
    }

    /// The same as an error of opening the store.
    pub(super) fn opening(mut self) -> Self {
        self.kind = AuditErrorKind::Open;
        self
    }

    /// Whether another writer has it.
    pub(super) fn is_locked(&self) -> bool {
        self.kind == AuditErrorKind::Locked
    }

    /// Whether there was no room.
    pub(super) fn is_full(&self) -> bool {
        self.kind == AuditErrorKind::Full
    }

    /// The same, of a flush that failed.
    #[cfg(feature = "sqlite")]
    pub(super) fn mark_unsynced(self) -> Self {
        Self { unsynced: true, ..self }
    }

    /// Whether a flush failed: what the device has is then not known.
    #[cfg(feature = "sqlite")]
    pub(super) fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// Whether SQLite wanted to write where nobody can.
    #[cfg(feature = "sqlite")]
    pub(super) fn is_unwritable(&self) -> bool {
        self.unwritable
    }

    #[cfg(feature = "sqlite")]
    pub(super) fn mark_unwritable(self) -> Self {
        Self { unwritable: true, ..self }
    }

    pub(super) fn to_error(&self) -> AuditError {
        let error = AuditError::new(self.kind, &*self.message);
        match &self.source {
            Some(source) => error.with_source(source.clone()),
            None => error,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
