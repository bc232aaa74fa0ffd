//! The keys beside the entries.

use rusqlite::{Connection, params};

use super::head::Head;
use super::whole;
use crate::audit::chain;
use crate::audit::item::KeyRecord;

/// Keeps keys, unless they are there.
pub(super) fn keep_keys(
    db: &Connection,
    head: &mut Head,
    received_ms: u64,
    keys: &KeyRecord,
) -> rusqlite::Result<()> {
    let known = db
        .prepare_cached("SELECT 1 FROM keys WHERE workload = ?1 AND jwks = ?2")?
        .exists(params![keys.workload, keys.jwks])?;
    if known {
        return Ok(());
    }
    head.keys_seq += 1;
    head.keys_link = chain::after_text(&head.keys_link, &keys_text(received_ms, &keys.workload, &keys.jwks));
    db.prepare_cached(
        "INSERT INTO keys(seq, received_ms, workload, jwks, chain) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![head.keys_seq, whole(received_ms), keys.workload, keys.jwks, head.keys_link])?;
    Ok(())
}

/// What the hash of a row of keys covers.
pub(in crate::audit) fn keys_text(received_ms: u64, workload: &str, jwks: &str) -> Vec<u8> {
    format!("{received_ms}\n{}\n{workload}\n{jwks}", workload.len()).into_bytes()
}
