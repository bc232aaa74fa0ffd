//! The passport in the text, and whether its tips are those that `kest.chain_tip` names.

use std::collections::HashSet;
use std::str::FromStr;

use base64_simd::URL_SAFE_NO_PAD;
use kest_core::Passport;
use kest_core::error::PropagationError;
use kest_core::verify::UnverifiedPassport;
use sha2::{Digest as _, Sha256};

use super::{malformed, too_large};

/// Reads a JSON array of compact JWS strings, without making anything of what it is not.
///
/// A compact JWS (RFC 7515 §7.1) is base64url and dots: no string of the array can have an escape.
///
/// # Errors
/// When it is anything else, or has more than `limit` entries.
pub(super) fn passport(text: &str, limit: usize) -> Result<UnverifiedPassport, PropagationError> {
    let no_array = || malformed("the passport is no JSON array of compact JWS strings");
    let inner = trimmed(text).strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or_else(no_array)?;
    if trimmed(inner).is_empty() {
        return Err(no_entries());
    }
    let mut passport = UnverifiedPassport::new();
    for (index, item) in inner.split(',').enumerate() {
        if index >= limit {
            return Err(too_large(format!("the passport has more than {limit} entries (`entries`)")));
        }
        let entry = trimmed(item).strip_prefix('"').and_then(|t| t.strip_suffix('"')).ok_or_else(no_array)?;
        add(&mut passport, index, entry)?;
    }
    Ok(passport)
}

/// The passport of these entries.
///
/// # Errors
/// As for [`passport`].
pub(super) fn of(entries: Vec<String>) -> Result<UnverifiedPassport, PropagationError> {
    if entries.is_empty() {
        return Err(no_entries());
    }
    let mut passport = UnverifiedPassport::new();
    for (index, entry) in entries.into_iter().enumerate() {
        add(&mut passport, index, entry)?;
    }
    Ok(passport)
}

fn add(
    passport: &mut UnverifiedPassport,
    index: usize,
    entry: impl AsRef<str> + Into<Box<str>>,
) -> Result<(), PropagationError> {
    if entry.as_ref().is_empty() || !is_compact(entry.as_ref()) {
        return Err(malformed(format!("entry {index} of the passport is no compact JWS")));
    }
    passport.add_signature(entry);
    Ok(())
}

fn no_entries() -> PropagationError {
    malformed("the passport has no entries; without a lineage no member is sent")
}

/// Whether a text has the characters of a compact JWS alone. Without an early end, so that many are looked at at once.
fn is_compact(text: &str) -> bool {
    text.bytes().fold(true, |so_far, byte| {
        so_far & (byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'_' | b'.'))
    })
}

/// RFC 8259 §2, white space.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

/// The hashes of the tips, as `kest.chain_tip` has them: oldest first, joined with `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChainTip(Vec<String>);

impl ChainTip {
    pub(super) fn of(passport: &Passport) -> Self {
        Self(passport.tips().iter().map(|tip| tip.hash()).collect())
    }

    pub(super) fn to_wire(&self) -> String {
        self.0.join(".")
    }

    /// Whether the last entry of a passport is one of them.
    pub(super) fn ends(&self, passport: &UnverifiedPassport) -> bool {
        passport.entries().last().is_some_and(|entry| self.0.contains(&hash(entry)))
    }

    /// Checks that exactly these entries of the passport are no parents of others.
    ///
    /// # Errors
    /// When other entries are: a tail was lost, or the members are of two lineages.
    pub(super) fn check(&self, passport: &UnverifiedPassport) -> Result<(), PropagationError> {
        let mut parents = HashSet::new();
        for (index, entry) in passport.entries().enumerate() {
            parents.extend(parents_of(entry).ok_or_else(|| {
                malformed(format!(
                    "entry {index} of the passport names no parents, not even that it is a root"
                ))
            })?);
        }
        parents.remove("0");
        // Hashing costs more than all the rest. Where the parents named are as many as the entries that are no tips,
        // and links are checked when the lineage is verified, the tips need no search.
        let expected = passport.len().checked_sub(self.0.len());
        let named = self.0.iter().any(|tip| parents.contains(tip.as_str()));
        let found = || match self.0.as_slice() {
            [_] => self.ends(passport),
            _ => {
                let hashes: HashSet<String> = passport.entries().map(hash).collect();
                self.0.iter().all(|tip| hashes.contains(tip))
            }
        };
        if !named && expected == Some(parents.len()) && found() {
            return Ok(());
        }
        let tips: HashSet<String> =
            passport.entries().map(hash).filter(|hash| !parents.contains(hash.as_str())).collect();
        if tips.len() == self.0.len() && self.0.iter().all(|tip| tips.contains(tip)) {
            return Ok(());
        }
        Err(malformed(
            "`kest.chain_tip` names other tips than the passport has: its tail was lost, or it is of another lineage",
        ))
    }
}

impl FromStr for ChainTip {
    type Err = PropagationError;

    fn from_str(text: &str) -> Result<Self, PropagationError> {
        let is_hash = |tip: &str| {
            tip.len() == 64 && tip.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let mut seen = HashSet::new();
        let tips: Vec<String> = text.split('.').map(str::to_owned).collect();
        if tips.iter().all(|tip| is_hash(tip) && seen.insert(tip.as_str())) {
            return Ok(Self(tips));
        }
        Err(malformed(
            "`kest.chain_tip` is no list of different SHA-256 hashes in lowercase hex, joined with `.`",
        ))
    }
}

/// What an entry's children call it: lower-case hex SHA-256. Spec §4.
fn hash(entry: &str) -> String {
    Sha256::digest(entry.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The parents that the payload of an entry names; nothing else of it is looked at.
fn parents_of(entry: &str) -> Option<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Parents {
        parent_ids: Vec<String>,
    }
    let payload = URL_SAFE_NO_PAD.decode_to_vec(entry.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Parents>(&payload).ok().map(|payload| payload.parent_ids)
}
