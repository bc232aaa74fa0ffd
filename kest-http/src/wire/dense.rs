//! `kest.passport_d`: the entries taken apart, so that nothing is sent twice and nothing that the reader can work out.
//!
//! Base64url hides from a compressor what two payloads have in common, and most of what differs between them has no
//! pattern at all: hashes, signatures, random ids. So the segments of each compact JWS are decoded, what has a
//! pattern is written into a *text*, and what has none beside it, as bytes. In base64url without padding:
//!
//! | part | what |
//! |---|---|
//! | 1 byte | 1: this form, and the dictionary of this version |
//! | a stream of RFC 1951 | the text, as if [`dictionary::TEXT`] had been written before it |
//! | the rest | the bytes without pattern, in the order in which the text asks for them |
//!
//! The text is a list of entries, to its end. Numbers are LEB128; those with a sign are zigzag.
//!
//! | an entry | is |
//! |---|---|
//! | 16, part | the string itself |
//! | 17, part, part, number | header and payload decoded, length of the signature, which stands beside the text |
//! | 18, number, part, number | the same with the header of an earlier entry, counted from the first |
//!
//! | in a part | stands for |
//! |---|---|
//! | 0 | its end |
//! | 1, byte | the byte, which is below 16 |
//! | 2, number | SHA-256 in hex of the entry so many before the last one |
//! | 3, number | one of the values that 4 to 8 brought, counted from the first |
//! | 4, 5, 6 | 8, 16, 32 bytes from beside the text, in hex |
//! | 7, signed number | a UUID of version 7: its time less the last time, and 10 bytes from beside the text |
//! | 8 | 32 bytes from beside the text, in base64url |
//! | 9, signed number | a time in decimal, less the last one |
//! | 10, number, bytes | bytes in base64 with padding |
//! | 11 to 15 | nothing |
//! | anything else | itself |
//!
//! What a JWS is not, or what would grow by being taken apart, is sent as the string it is. So every list of strings
//! comes back as it was.

mod dictionary;
mod read;
mod stream;
#[cfg(test)]
mod tests;
mod write;

use base64_simd::URL_SAFE_NO_PAD;
use kest_core::error::PropagationError;

use super::malformed;

const KEY: &str = "kest.passport_d";
/// Names the form and the dictionary.
const VERSION: u8 = 1;

/// Packs entries.
pub(super) fn packed<'a>(entries: impl Iterator<Item = &'a str>) -> Result<String, PropagationError> {
    let mut writer = write::Writer::default();
    for entry in entries {
        writer.entry(entry);
    }
    let mut bytes = vec![VERSION];
    stream::deflate(&writer.text, &mut bytes)
        .map_err(|error| malformed("the lineage could not be compressed").with_source(error))?;
    bytes.extend(writer.beside);
    Ok(URL_SAFE_NO_PAD.encode_to_string(bytes))
}

/// Unpacks what came. Neither the text nor the entries, written as a JSON array, may have more than `limit` bytes.
///
/// # Errors
/// When it is not wholly what [`packed`] can have written, or would be larger than a limit.
pub(super) fn unpacked(value: &str, limit: usize, most: usize) -> Result<Vec<String>, PropagationError> {
    let bytes = URL_SAFE_NO_PAD
        .decode_to_vec(value.as_bytes())
        .map_err(|_| malformed(format!("`{KEY}` is no base64url without padding")))?;
    let packed = match bytes.split_first() {
        Some((&VERSION, packed)) => packed,
        Some((version, _)) => {
            return Err(malformed(format!(
                "`{KEY}` is of form {version}, and this version of the library reads form {VERSION} alone; update \
                 the receiver, or let the sender leave out `.dense()`"
            )));
        }
        None => return Err(malformed(format!("`{KEY}` is empty"))),
    };
    let (text, beside) = stream::inflate(packed, limit)?;
    read::Reader::new(&text, beside, limit).entries(most)
}

/// What stands for something else in a part.
mod token {
    pub(super) const END: u8 = 0;
    pub(super) const BYTE: u8 = 1;
    pub(super) const ENTRY_HASH: u8 = 2;
    pub(super) const AGAIN: u8 = 3;
    pub(super) const TIME: u8 = 9;
    pub(super) const BASE64: u8 = 10;
    /// The first byte that is itself.
    pub(super) const PLAIN: u8 = 16;
}

/// How an entry begins.
mod form {
    pub(super) const STRING: u8 = 16;
    pub(super) const NEW_HEADER: u8 = 17;
    pub(super) const KNOWN_HEADER: u8 = 18;
}

/// A value without pattern, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Hex8,
    Hex16,
    Hex32,
    /// Of version 7 (RFC 9562 §5.7).
    Uuid,
    /// Base64url: a thumbprint (RFC 7638).
    Key,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Hex8, Self::Hex16, Self::Hex32, Self::Uuid, Self::Key];

    fn token(self) -> u8 {
        match self {
            Self::Hex8 => 4,
            Self::Hex16 => 5,
            Self::Hex32 => 6,
            Self::Uuid => 7,
            Self::Key => 8,
        }
    }

    fn of(token: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.token() == token)
    }

    /// How many bytes stand beside the text.
    fn beside(self) -> usize {
        match self {
            Self::Hex8 => 8,
            Self::Hex16 => 16,
            Self::Hex32 | Self::Key => 32,
            Self::Uuid => 10,
        }
    }
}
