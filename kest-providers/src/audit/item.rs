//! What waits to be written.

use std::sync::Arc;

use base64_simd::URL_SAFE_NO_PAD;
use kest_core::audit::{AuditRecord, RecordKind};
use kest_core::entry::KestEntry;
use kest_core::error::{AuditError, AuditErrorKind};
use serde_json::Value;

use super::chain::sha256;
pub(super) use super::known::{Kept, KeyRecord, KnownKeys};

/// An entry on its way to the store.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) jws: Box<str>,
    pub(super) hash: [u8; 32],
    pub(super) kind: RecordKind,
    /// What the store is asked by, where it keeps that in columns.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "files have no columns"))]
    pub(super) columns: Option<Box<Columns>>,
    /// Keys that belong beside it, unless they stand there already.
    pub(super) keys: Arc<KeyRecord>,
}

impl Item {
    /// Checks a record, and makes ready what can be made ready on the caller's thread.
    pub(super) fn of(
        record: &AuditRecord<'_>,
        with_columns: bool,
        known: &KnownKeys,
    ) -> Result<Self, AuditError> {
        let malformed = |why: String| AuditError::new(AuditErrorKind::Malformed, why);
        if record.jws.len() > LONGEST_TEXT {
            return Err(malformed(format!("the entry is larger than {LONGEST_TEXT} bytes")));
        }
        if !is_compact(record.jws.as_bytes()) {
            return Err(malformed("the entry is no compact JWS".to_owned()));
        }
        if sha256(record.jws.as_bytes()) != *record.hash {
            return Err(malformed("the hash of the record is not that of its entry".to_owned()));
        }
        let columns = match with_columns {
            false => None,
            true => Some(Box::new(Columns::of(record.jws).ok_or_else(|| {
                malformed("the record is no entry of kest, so it cannot be filed".to_owned())
            })?)),
        };
        let keys = known.of(record)?;
        Ok(Self { jws: record.jws.into(), hash: *record.hash, kind: record.kind, columns, keys })
    }

    /// Bytes it takes while it waits, about.
    pub(super) fn size(&self) -> usize {
        const AROUND: usize = 256;
        self.jws.len() + AROUND
    }
}

/// Longest JWS, and longest set of keys, in bytes: what readers of lines take.
pub(super) const LONGEST_TEXT: usize = 1 << 20;

/// Whether a text has the letters of a compact JWS and no others.
pub(super) fn is_compact(jws: &[u8]) -> bool {
    // Without a way out early the compiler makes it many bytes at once.
    jws.iter().fold(true, |good, b| good & (b.is_ascii_alphanumeric() | matches!(b, b'-' | b'_' | b'.')))
}

/// What entries are found by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "files are searched by fewer"))]
pub(super) struct Columns {
    pub(super) entry_id: String,
    pub(super) trace_id: Option<String>,
    pub(super) workload: String,
    pub(super) operation: String,
    pub(super) user: Option<String>,
    pub(super) classification: String,
    pub(super) taints: Vec<String>,
}

impl Columns {
    /// Reads them from the entry itself.
    pub(super) fn of(jws: &str) -> Option<Self> {
        let payload = jws.split('.').nth(1)?;
        let payload = URL_SAFE_NO_PAD.decode_to_vec(payload).ok()?;
        Some(Self::of_entry(&KestEntry::from_payload(&payload).ok()?))
    }

    pub(super) fn of_entry(entry: &KestEntry) -> Self {
        Self {
            entry_id: entry.entry_id.hyphenated().to_string(),
            trace_id: entry.label("trace_id").map(str::to_owned),
            workload: entry.anchored_as().into_owned(),
            operation: entry.operation.to_string(),
            user: user(entry),
            classification: entry.classification.to_string(),
            taints: entry.taints.iter().map(|taint| taint.to_string()).collect(),
        }
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

#[cfg(test)]
pub(super) mod tests {
    use kest_core::canonical;
    use kest_core::identity::IdentityProvider as _;
    use kest_core::jws::Jws;
    use serde_json::json;

    use super::*;
    use crate::identity::LocalEd25519Provider;

    /// A signed entry.
    pub(in crate::audit) fn entry(signer: &LocalEd25519Provider, number: u64, taints: &[&str]) -> Jws {
        let workload = signer.workload_id().unwrap();
        let payload = json!({
            "added_taints": taints, "classification": "system", "content_hash": "",
            "entry_id": format!("01900000-0000-7000-8000-{number:012x}"), "environment": {}, "input_hash": "",
            "labels": { "principal": &*workload, "trace_id": format!("{number:032x}") },
            "metadata": {
                "function": "shop::pay", "policies": {},
                "trust": { "model": "guide", "override": null, "source_type": "system" },
            },
            "operation": "pay", "otel_context": {}, "parent_ids": ["0"],
            "policy_context": {
                "app_policies": [], "deviations": [], "enterprise_policies": [], "function_policies": ["kest"],
                "platform_policies": [],
            },
            "removed_taints": [], "runtime": { "name": "kest-rust", "version": "0.1.0" },
            "schema_version": "0.3.0", "taints": taints, "timestamp_ms": 1_795_304_503_000_u64 + number,
            "trust_score": 100,
        });
        signer.sign(&canonical::to_vec(&payload).unwrap()).unwrap()
    }

    #[test]
    fn what_readers_could_not_read_is_refused() {
        let signer = LocalEd25519Provider::new().unwrap();
        let known = KnownKeys::default();
        let jws = entry(&signer, 1, &[]);
        let hash = jws.hash();
        let of = |jws: &str, hash: &[u8; 32]| {
            Item::of(&AuditRecord::new(jws, hash, "id", "w", &signer), true, &known)
                .map_err(|error| (error.kind(), error.to_string()))
        };
        assert_eq!(of(jws.as_str(), &hash).unwrap().hash, hash);
        let long = "a".repeat(LONGEST_TEXT + 1);
        for (text, hash, why) in [
            (jws.as_str(), [0; 32], "not that of its entry"),
            ("a\".b.c", sha256(b"a\".b.c"), "no compact JWS"),
            ("a.b.c", sha256(b"a.b.c"), "cannot be filed"),
            (&*long, sha256(long.as_bytes()), "larger than"),
        ] {
            let (kind, message) = of(text, &hash).unwrap_err();
            assert_eq!(kind, AuditErrorKind::Malformed);
            assert!(message.contains(why), "{message}");
        }
    }
}
