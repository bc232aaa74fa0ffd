//! The durable record: sinks acknowledge an entry before the protected body runs. Spec §14.

use std::fmt;

use crate::error::AuditError;
use crate::identity::BoxFuture;

/// What a sink is handed.
#[derive(Debug, Clone, Copy)]
pub struct AuditRecord<'a> {
    /// The compact JWS.
    pub jws: &'a str,
    /// SHA-256 of the compact JWS.
    pub hash: &'a [u8; 32],
    /// The entry's id.
    pub entry_id: &'a str,
}

/// Takes entries and loses none that it acknowledged.
pub trait AuditSink: fmt::Debug + Send + Sync {
    /// Stores the entry. May block. `Ok` means stored to the sink's promised durability.
    ///
    /// # Errors
    /// When the sink cannot take the entry: the protected function then does not run.
    fn append(&self, record: &AuditRecord<'_>) -> Result<(), AuditError>;

    /// [`Self::append`] without blocking the calling thread.
    fn append_async<'a>(&'a self, record: &'a AuditRecord<'a>) -> BoxFuture<'a, Result<(), AuditError>>;
}
