//! The passport in the text, and whether its tips are those that `kest.chain_tip` names.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use base64_simd::URL_SAFE_NO_PAD;
use kest_core::Passport;
use kest_core::error::PropagationError;
use kest_core::verify::{Limits, UnverifiedPassport};
use memchr::memmem;
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
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
    let mut rest = inner;
    for index in 0.. {
        if index >= limit {
            return Err(too_large(format!("the passport has more than {limit} entries (`entries`)")));
        }
        let (item, behind) = match memchr::memchr(b',', rest.as_bytes()) {
            Some(comma) => (rest.get(..comma).unwrap_or_default(), rest.get(comma + 1..)),
            None => (rest, None),
        };
        let entry = trimmed(item).strip_prefix('"').and_then(|t| t.strip_suffix('"')).ok_or_else(no_array)?;
        add(&mut passport, index, entry)?;
        match behind {
            Some(behind) => rest = behind,
            None => break,
        }
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
        let mut payload = Vec::new();
        for (index, entry) in passport.entries().enumerate() {
            parents.extend(parents_of(index, entry, &mut payload)?);
        }
        // Hashing costs more than all the rest. Where the parents named are as many as the entries that are no tips,
        // and links are checked when the lineage is verified, the tips need no search.
        let expected = passport.len().checked_sub(self.0.len());
        let named = self.0.iter().filter_map(|tip| digest_of(tip)).any(|tip| parents.contains(&tip));
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
        let is_tip = |entry: &&str| !parents.contains(&Digest::from(Sha256::digest(entry.as_bytes())));
        let tips: HashSet<String> = passport.entries().filter(is_tip).map(hash).collect();
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
        let mut seen = HashSet::new();
        let tips: Vec<String> = text.split('.').map(str::to_owned).collect();
        if tips.iter().all(|tip| digest_of(tip).is_some_and(|tip| seen.insert(tip))) {
            return Ok(Self(tips));
        }
        Err(malformed(
            "`kest.chain_tip` is no list of different SHA-256 hashes in lowercase hex, joined with `.`",
        ))
    }
}

/// What an entry's children call it: lower-case hex SHA-256. Spec §4.
fn hash(entry: &str) -> String {
    let halves = Sha256::digest(entry.as_bytes()).into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.filter_map(|half| char::from_digit(half.into(), 16)).collect()
}

type Digest = [u8; 32];

/// The digest that 64 lowercase hex digits are.
fn digest_of(text: &str) -> Option<Digest> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut digest = Digest::default();
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != digest.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(digest)
}

/// The parents that the payload of an entry names, none for a root; nothing else of it is looked at. `payload` is for
/// the payload.
///
/// # Errors
/// When it names none, or is over a limit that verifiers have (spec §17): so that it costs little to be refused.
fn parents_of(index: usize, entry: &str, payload: &mut Vec<u8>) -> Result<Vec<Digest>, PropagationError> {
    let Limits { entry_bytes, parents: limit, .. } = Limits::default();
    let none =
        || malformed(format!("entry {index} of the passport names no parents, not even that it is a root"));
    let mut dots = memchr::memchr_iter(b'.', entry.as_bytes());
    let start = dots.next().ok_or_else(none)? + 1;
    let segment = entry.get(start..dots.next().unwrap_or(entry.len())).ok_or_else(none)?;
    // Four characters stand for three bytes.
    if segment.len() / 4 * 3 > entry_bytes {
        return Err(too_large(format!("entry {index} of the passport has more than {entry_bytes} bytes")));
    }
    payload.clear();
    URL_SAFE_NO_PAD.decode_append(segment, payload).map_err(|_| none())?;
    if let Some(parents) = plain_parents(payload, limit) {
        return Ok(parents);
    }
    match serde_json::from_slice::<Named>(payload).map_err(|_| none())?.parent_ids {
        Parents::These(parents) => Ok(parents),
        Parents::TooMany => {
            Err(too_large(format!("entry {index} of the passport names more than {limit} parents")))
        }
    }
}

/// The same where they stand as every canonical payload has them; reading all the rest as JSON takes much longer. None
/// where it could be anything else: with `\u` a name can be written in many ways.
///
/// Where the one `parent_ids` stands deeper, or the payload is no JSON, the verification refuses the entry.
fn plain_parents(payload: &[u8], limit: usize) -> Option<Vec<Digest>> {
    const NAME: &str = "\"parent_ids\"";
    let text = std::str::from_utf8(payload).ok()?;
    let name = memmem::find(payload, NAME.as_bytes())?;
    let (before, after) = (text.get(..name)?, text.get(name + NAME.len()..)?);
    let again = memmem::find(after.as_bytes(), NAME.as_bytes()).is_some();
    if !before.ends_with([',', '{']) || again || memmem::find(payload, b"\\u").is_some() {
        return None;
    }
    let (items, _) = after.strip_prefix(":[")?.split_once(']')?;
    let mut parents = Vec::new();
    for (index, item) in items.split(',').enumerate() {
        let item = item.strip_prefix('"')?.strip_suffix('"')?;
        if index >= limit {
            return None;
        }
        if item != "0" {
            parents.push(digest_of(item)?);
        }
    }
    Some(parents)
}

#[derive(serde::Deserialize)]
struct Named {
    parent_ids: Parents,
}

enum Parents {
    These(Vec<Digest>),
    TooMany,
}

impl<'de> Deserialize<'de> for Parents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ParentsVisitor)
    }
}

struct ParentsVisitor;

impl<'de> Visitor<'de> for ParentsVisitor {
    type Value = Parents;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`[\"0\"]`, or hashes in lowercase hex")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Parents, A::Error> {
        let limit = Limits::default().parents;
        let mut parents = Vec::new();
        let mut found = 0_usize;
        // Borrowed: a hash has no escapes, so that nothing is copied.
        while let Some(item) = items.next_element::<&str>()? {
            found += 1;
            if found > limit {
                // The rest is read over, which keeps nothing.
                while items.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                return Ok(Parents::TooMany);
            }
            match digest_of(item) {
                Some(parent) => parents.push(parent),
                None if item == "0" => {}
                None => return Err(A::Error::custom("a parent is no hash")),
            }
        }
        Ok(Parents::These(parents))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parents(payload: &str) -> Option<Vec<Digest>> {
        let entry = format!("e30.{}.AA", URL_SAFE_NO_PAD.encode_to_string(payload));
        parents_of(0, &entry, &mut Vec::new()).ok()
    }

    #[test]
    fn parents_are_read_however_they_are_written() {
        let limit = Limits::default().parents;
        let (a, b) = ("ab".repeat(32), "cd".repeat(32));
        let plain = [
            (
                format!(r#"{{"operation":"x","parent_ids":["{a}","{b}"],"z":[1]}}"#),
                vec![[0xab; 32], [0xcd; 32]],
            ),
            (r#"{"parent_ids":["0"]}"#.to_owned(), vec![]),
            (format!(r#"{{"a":"\",\"parent_ids\":[\"0\"]","parent_ids":["{a}"]}}"#), vec![[0xab; 32]]),
        ];
        for (payload, expected) in plain {
            assert_eq!(plain_parents(payload.as_bytes(), limit), Some(expected.clone()), "{payload}");
            assert_eq!(parents(&payload), Some(expected), "{payload}");
        }
        let otherwise = [
            (format!(r#"{{"parent_ids" : [ "{a}" ]}}"#), Some(vec![[0xab; 32]])),
            (r#"{"parent_ids":[]}"#.to_owned(), Some(vec![])),
            (
                format!(r#"{{"x":{{"parent_ids":["{b}"]}},"parent\u005fids":["{a}"]}}"#),
                Some(vec![[0xab; 32]]),
            ),
            (format!(r#"{{"x":{{"parent_ids":["{b}"]}},"parent_ids":["{a}"]}}"#), Some(vec![[0xab; 32]])),
            (format!(r#"{{"x":"parent_ids","parent_ids":["{a}"]}}"#), Some(vec![[0xab; 32]])),
            (r#"{"parent_ids":["a b"]}"#.to_owned(), None),
            (format!(r#"{{"parent_ids":["{a}"],"parent_ids":["{b}"]}}"#), None),
            (r#"{"parent_ids":[7]}"#.to_owned(), None),
            (r#"{"x":"parent_ids"}"#.to_owned(), None),
            ("{}".to_owned(), None),
            (format!(r#"{{"parent_ids":[{}]}}"#, vec![r#""0""#; limit + 1].join(",")), None),
        ];
        for (payload, expected) in otherwise {
            assert_eq!(plain_parents(payload.as_bytes(), limit), None, "{payload}");
            assert_eq!(parents(&payload), expected, "{payload}");
        }
    }
}
