//! What waits to be written, and which keys belong beside it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use base64_simd::URL_SAFE_NO_PAD;
use kest_core::audit::{AuditRecord, RecordKind};
use kest_core::entry::KestEntry;
use kest_core::error::{AuditError, AuditErrorKind};
use parking_lot::RwLock;
use serde_json::Value;

/// An entry on its way to the store.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) jws: Box<str>,
    pub(super) hash: [u8; 32],
    pub(super) kind: RecordKind,
    /// What the store is asked by, where it keeps that in columns.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "files have no columns"))]
    pub(super) columns: Option<Box<Columns>>,
    /// Keys that the store may not have yet.
    pub(super) keys: Option<Box<KeyRecord>>,
}

impl Item {
    /// Bytes it takes while it waits, about.
    pub(super) fn size(&self) -> usize {
        const AROUND: usize = 256;
        self.jws.len() + AROUND
    }
}

/// Public keys beside the entries that they verify.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct KeyRecord {
    pub(super) workload: String,
    /// A JWK set as JSON text.
    pub(super) jwks: String,
}

/// What entries are found by.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "files are searched by fewer"))]
pub(super) struct Columns {
    pub(super) entry_id: String,
    pub(super) trace_id: Option<String>,
    pub(super) workload: String,
    pub(super) operation: String,
    pub(super) user: Option<String>,
    pub(super) classification: String,
    pub(super) trust: u8,
    pub(super) timestamp_ms: u64,
    pub(super) taints: Vec<String>,
}

impl Columns {
    /// Reads them from the entry itself.
    pub(super) fn of(jws: &str) -> Option<Self> {
        let payload = jws.split('.').nth(1)?;
        let payload = URL_SAFE_NO_PAD.decode_to_vec(payload).ok()?;
        let entry = KestEntry::from_payload(&payload).ok()?;
        Some(Self {
            entry_id: entry.entry_id.hyphenated().to_string(),
            trace_id: entry.label("trace_id").map(str::to_owned),
            workload: entry.anchored_as().into_owned(),
            operation: entry.operation.to_string(),
            user: user(&entry),
            classification: entry.classification.to_string(),
            trust: entry.trust_score,
            timestamp_ms: entry.timestamp_ms,
            taints: entry.taints.iter().map(|taint| taint.to_string()).collect(),
        })
    }

    pub(super) fn is_denial(&self) -> bool {
        self.classification == "denial"
    }
}

/// A string as it is, an object as its canonical JSON.
fn user(entry: &KestEntry) -> Option<String> {
    let identity: Value = serde_json::from_str(entry.label("kest.identity")?).ok()?;
    match identity.get("user")? {
        Value::String(name) => Some(name.clone()),
        other => kest_core::canonical::to_string(other).ok(),
    }
}

/// Remembers for which keys the store has what it needs, so that providers are not asked at each entry.
#[derive(Debug, Default)]
pub(super) struct KnownKeys {
    /// By the protected header, which is made once for a key: workload, and the generation it was given in.
    headers: RwLock<HashMap<Box<str>, (Box<str>, u64)>>,
    generation: AtomicU64,
}

impl KnownKeys {
    /// Keys are wanted anew: a segment has begun that has none.
    pub(super) fn forget(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// The keys to write beside the record, unless the store has them.
    pub(super) fn wanted(
        &self,
        record: &AuditRecord<'_>,
    ) -> Result<Option<(Box<KeyRecord>, u64)>, AuditError> {
        let now = self.generation.load(Ordering::Acquire);
        if let Some((workload, generation)) = self.headers.read().get(record.header())
            && **workload == *record.workload
            && *generation == now
        {
            return Ok(None);
        }
        let keys = record.public_keys().map_err(|error| {
            AuditError::new(
                AuditErrorKind::Keys,
                format!("the public keys of `{}` cannot be kept beside its entry: {error}", record.workload),
            )
            .with_source(error)
        })?;
        let record = KeyRecord { workload: record.workload.to_owned(), jwks: keys.to_json().to_string() };
        Ok(Some((Box::new(record), now)))
    }

    /// The store has acknowledged an entry with these keys.
    pub(super) fn given(&self, record: &AuditRecord<'_>, generation: u64) {
        const MOST: usize = 1_024;
        let mut headers = self.headers.write();
        if headers.len() >= MOST {
            headers.clear();
        }
        headers.insert(record.header().into(), (record.workload.into(), generation));
    }
}
