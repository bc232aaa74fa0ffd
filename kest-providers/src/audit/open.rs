//! The sink that a `kest.toml` names.

use std::sync::Arc;

use kest_core::audit::AuditSink;
use kest_core::config::{Config, SinkKind};
use kest_core::error::{AuditError, AuditErrorKind};

use super::FileAudit;
#[cfg(feature = "sqlite")]
use super::SqliteAudit;

/// Opens the sink that `[audit]` names; none if it names none.
///
/// # Errors
/// When the store cannot be opened, or this build has no such sink.
pub fn open(config: &Config) -> Result<Option<Arc<dyn AuditSink>>, AuditError> {
    let audit = &config.audit;
    let (Some(kind), Some(path)) = (audit.sink, config.audit_path()) else { return Ok(None) };
    match kind {
        SinkKind::File => {
            let mut builder = FileAudit::builder(path).durability(audit.durability);
            if let Some(bytes) = audit.rotate_bytes {
                builder = builder.rotate_bytes(bytes);
            }
            if let Some(age) = audit.rotate_age {
                builder = builder.rotate_age(age);
            }
            if let Some(files) = audit.retain_files {
                builder = builder.retain_files(files);
            }
            if let Some(age) = audit.retain_age {
                builder = builder.retain_age(age);
            }
            if let Some(bytes) = audit.max_bytes {
                builder = builder.max_bytes(bytes);
            }
            if let Some(timeout) = audit.timeout {
                builder = builder.timeout(timeout);
            }
            Ok(Some(Arc::new(builder.open()?)))
        }
        #[cfg(feature = "sqlite")]
        SinkKind::Sqlite => {
            let mut builder = SqliteAudit::builder(path).durability(audit.durability);
            if let Some(age) = audit.retain_age {
                builder = builder.retain_age(age);
            }
            if let Some(bytes) = audit.max_bytes {
                builder = builder.max_bytes(bytes);
            }
            if let Some(timeout) = audit.timeout {
                builder = builder.timeout(timeout);
            }
            Ok(Some(Arc::new(builder.open()?)))
        }
        other => Err(AuditError::new(
            AuditErrorKind::Open,
            format!("`[audit] sink` is {other:?}, and this build has no such sink; add the feature `sqlite`"),
        )),
    }
}
