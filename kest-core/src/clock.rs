//! Time and ids: the system's, or fixed ones for vectors that regenerate byte for byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::{Builder, Uuid};

use crate::jws::hex;

/// Where entry ids, trace ids and timestamps come from.
#[derive(Debug, Default)]
pub(crate) enum Clock {
    /// The system clock and random ids.
    #[default]
    System,
    /// A counter: the n-th id carries `start_ms + n` and no randomness.
    Fixed { start_ms: u64, next: AtomicU64 },
}

impl Clock {
    pub(crate) fn fixed(start_ms: u64) -> Self {
        Self::Fixed { start_ms, next: AtomicU64::new(0) }
    }

    /// A UUID v7 (RFC 9562 §5.7) and the epoch milliseconds it was made at.
    pub(crate) fn entry_id(&self) -> (Uuid, u64) {
        match self {
            Self::System => {
                let id = Uuid::now_v7();
                (id, id_ms(&id))
            }
            Self::Fixed { start_ms, next } => {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let ms = start_ms.saturating_add(n);
                let mut random = [0; 10];
                random[2..].copy_from_slice(&n.to_be_bytes());
                (Builder::from_unix_timestamp_millis(ms, &random).into_uuid(), ms)
            }
        }
    }
}

/// The epoch milliseconds that a UUID v7 begins with, RFC 9562 §5.7: id and timestamp cannot disagree.
fn id_ms(id: &Uuid) -> u64 {
    let (high, low, ..) = id.as_fields();
    u64::from(high) << 16 | u64::from(low)
}

/// 32 random lower-case hex digits, as a trace id of a lineage without an OpenTelemetry trace.
pub(crate) fn random_trace_id() -> Arc<str> {
    Arc::from(hex(Uuid::new_v4().as_bytes()))
}
