//! The running hash over a store: what is edited, deleted or moved breaks it at its place.

use sha2::{Digest, Sha256};

/// The hash after a line or row.
pub(super) type Link = [u8; 32];

/// Before the first one.
pub(super) const START: Link = [0; 32];

/// The link after an entry that was received then and has this SHA-256.
pub(super) fn after_entry(before: &Link, received_ms: u64, hash: &[u8; 32]) -> Link {
    let mut sha = Sha256::new();
    sha.update(before);
    sha.update(b"e");
    sha.update(received_ms.to_be_bytes());
    sha.update(hash);
    sha.finalize().into()
}

/// The link after anything else: keys, or the head of a segment.
pub(super) fn after_text(before: &Link, text: &[u8]) -> Link {
    let mut sha = Sha256::new();
    sha.update(before);
    sha.update(b"t");
    sha.update(Sha256::digest(text));
    sha.finalize().into()
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lowercase hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// 32 bytes of 64 lowercase hex digits.
pub(super) fn unhex(text: &[u8]) -> Option<Link> {
    let nibble = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_depend_on_all_that_they_cover() {
        let hash = sha256(b"a.b.c");
        let link = after_entry(&START, 5, &hash);
        for other in [
            after_entry(&link, 5, &hash),
            after_entry(&START, 6, &hash),
            after_entry(&START, 5, &sha256(b"a.b.d")),
            after_text(&START, b"a.b.c"),
        ] {
            assert_ne!(link, other);
        }
        assert_eq!(unhex(hex(&link).as_bytes()), Some(link));
        assert_eq!(unhex(hex(&link).to_uppercase().as_bytes()), None);
        assert_eq!(unhex(&hex(&link).as_bytes()[1..]), None);
    }
}
