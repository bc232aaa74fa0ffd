//! The durable record: sinks acknowledge an entry before the protected body runs. Spec §14.

use std::fmt;
use std::sync::Arc;

use crate::error::{AuditError, IdentityError};
use crate::identity::{BoxFuture, IdentityProvider};
use crate::keys::Jwks;

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordKind {
    /// An entry: what it records does not happen without the acknowledgement.
    Entry,
    /// The receipt of a denial: nothing depends on it, and it must not take the place of entries. Spec §6.
    Denial,
}

/// What a sink is handed.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AuditRecord<'a> {
    /// The compact JWS.
    pub jws: &'a str,
    /// SHA-256 of the compact JWS.
    pub hash: &'a [u8; 32],
    /// The entry's id.
    pub entry_id: &'a str,
    /// The name under which verifiers look for the signer's keys, see
    /// [`KestEntry::anchored_as`](crate::entry::KestEntry::anchored_as).
    pub workload: &'a str,
    /// Entry or receipt.
    pub kind: RecordKind,
    signer: &'a dyn IdentityProvider,
}

impl<'a> AuditRecord<'a> {
    /// A record of an entry that `signer` has signed.
    #[must_use]
    pub fn new(
        jws: &'a str,
        hash: &'a [u8; 32],
        entry_id: &'a str,
        workload: &'a str,
        signer: &'a dyn IdentityProvider,
    ) -> Self {
        Self { jws, hash, entry_id, workload, kind: RecordKind::Entry, signer }
    }

    /// The same record as the receipt of a denial.
    #[must_use]
    pub fn denial(self) -> Self {
        Self { kind: RecordKind::Denial, ..self }
    }

    /// The protected header's segment. It is made once for a key (and its certificates), so a store that has the keys
    /// for it need not ask again.
    #[must_use]
    pub fn header(&self) -> &'a str {
        self.jws.split_once('.').map_or(self.jws, |(header, _)| header)
    }

    /// The signer's public keys as they are now.
    ///
    /// # Errors
    /// When the identity provider cannot give them.
    pub fn public_keys(&self) -> Result<Jwks, IdentityError> {
        self.signer.public_keys()
    }
}

/// Takes entries and loses none that it acknowledged.
///
/// Every sink passes the public conformance suite (`kest_providers::conformance::audit`).
pub trait AuditSink: fmt::Debug + Send + Sync {
    /// Stores the entry. May block. `Ok` means stored to the sink's promised durability.
    ///
    /// # Errors
    /// When the sink cannot take the entry: the protected function then does not run.
    fn append(&self, record: &AuditRecord<'_>) -> Result<(), AuditError>;

    /// [`Self::append`] without blocking the calling thread.
    fn append_async<'a>(&'a self, record: &'a AuditRecord<'a>) -> BoxFuture<'a, Result<(), AuditError>>;
}

impl<T: AuditSink + ?Sized> AuditSink for Arc<T> {
    fn append(&self, record: &AuditRecord<'_>) -> Result<(), AuditError> {
        (**self).append(record)
    }

    fn append_async<'a>(&'a self, record: &'a AuditRecord<'a>) -> BoxFuture<'a, Result<(), AuditError>> {
        (**self).append_async(record)
    }
}
