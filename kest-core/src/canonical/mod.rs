//! Canonical JSON, RFC 8785 (JCS), as spec §2 and §3 need it.
//!
//! Two ways out and two ways in:
//!
//! * [`to_value`] and [`write_value`] turn any [`Serialize`] into the one byte string that is signed and hashed.
//!   What JCS cannot carry is refused, never rounded or replaced.
//! * [`parse_canonical`], and [`CanonicalReader`] under it, take only text that already is canonical.
//!   [`parse_strict`] takes any RFC 8259 text without duplicate members.
//!
//! None of them depends on the order of [`serde_json::Map`], so `preserve_order` changes nothing here. Nor does
//! `float_roundtrip`: numbers are parsed here, to the nearest double.

mod compound;
mod error;
mod key;
mod kind;
mod lex;
mod reader;
mod ser;
mod strict;
mod walk;
mod write;

use serde::Serialize;
use serde_json::map::Entry;
use serde_json::{Map, Value};

pub use self::error::CanonicalError;
pub use self::kind::Kind;
pub use self::reader::CanonicalReader;
pub use self::ser::to_value;
pub use self::strict::parse_strict;
pub use self::write::{cmp_keys, write_str, write_u64, write_value};

/// How many objects and arrays may lie inside one another, in every reader and writer of this module.
pub const MAX_DEPTH: usize = 128;

/// 2^53: up to here, and down to its negative, every integer has a double of its own.
// RFC 8785 §3.2.2.3 with RFC 7493 §2.2.
pub const MAX_INTEGER: u64 = 1 << 53;

/// The canonical bytes of `value`.
///
/// # Errors
///
/// What [`to_value`] refuses: NaN, infinities, integers beyond 2^53, duplicate members, keys that are not
/// strings, nesting beyond [`MAX_DEPTH`], and whatever `value` itself fails with.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    to_string(value).map(String::into_bytes)
}

/// The canonical form of `value` as text.
///
/// # Errors
///
/// As [`to_vec`].
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, CanonicalError> {
    let mut out = Vec::with_capacity(256);
    write_value(&mut out, &to_value(value)?)?;
    String::from_utf8(out).map_err(|error| CanonicalError::Custom(error.to_string()))
}

/// Parses text that is exactly canonical: accepted if and only if [`write_value`] of the result gives `text`
/// again.
///
/// One pass; nothing is serialised again to compare. Integer text beyond 2^53 becomes a double and stands if
/// it is that double's ES6 form.
///
/// # Errors
///
/// [`CanonicalError::Syntax`] for what is not JSON, [`CanonicalError::NotCanonical`] and
/// [`CanonicalError::DuplicateMember`] for JSON in another form, [`CanonicalError::TooDeep`] beyond
/// [`MAX_DEPTH`].
pub fn parse_canonical(text: &[u8]) -> Result<Value, CanonicalError> {
    let mut reader = CanonicalReader::new(text)?;
    let value = reader.value()?;
    reader.finish()?;
    Ok(value)
}

/// The depth inside one more object or array.
fn deeper(depth: usize) -> Result<usize, CanonicalError> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(CanonicalError::TooDeep) }
}

/// Adds a member, refusing a name that is there already.
fn insert_new(map: &mut Map<String, Value>, name: String, value: Value) -> Result<(), CanonicalError> {
    match map.entry(name) {
        Entry::Vacant(free) => {
            free.insert(value);
            Ok(())
        }
        Entry::Occupied(taken) => Err(CanonicalError::DuplicateMember { name: taken.key().clone() }),
    }
}

/// `bytes` as text, naming the first byte that is not UTF-8.
fn utf8(bytes: &[u8]) -> Result<&str, CanonicalError> {
    std::str::from_utf8(bytes).map_err(|error| CanonicalError::Syntax {
        offset: error.valid_up_to(),
        what: "bytes that are not UTF-8",
    })
}
