//! From a [`Value`] to canonical bytes.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};
use smallvec::SmallVec;

use super::lex::{escape_of, plain_run};
use super::{CanonicalError, MAX_INTEGER, deeper};

/// Appends the canonical form of `value` to `out`; on an error `out` is as it was.
///
/// # Errors
///
/// [`CanonicalError::IntegerOutOfRange`] and [`CanonicalError::TooDeep`].
pub fn write_value(out: &mut Vec<u8>, value: &Value) -> Result<(), CanonicalError> {
    let start = out.len();
    write_at(out, value, 0).inspect_err(|_| out.truncate(start))
}

/// Appends `s` as a string literal, quotes included.
// RFC 8785 §3.2.2.2.
pub fn write_str(out: &mut Vec<u8>, s: &str) {
    out.reserve(s.len() + 2);
    out.push(b'"');
    let mut rest = s.as_bytes();
    while let Some((run, tail)) = rest.split_at_checked(plain_run(rest)) {
        out.extend_from_slice(run);
        let Some((&special, after)) = tail.split_first() else {
            break;
        };
        out.extend_from_slice(escape_of(special).as_bytes());
        rest = after;
    }
    out.push(b'"');
}

/// Appends an unsigned integer of at most [`MAX_INTEGER`]; keeping to that bound is the caller's part.
pub fn write_u64(out: &mut Vec<u8>, n: u64) {
    debug_assert!(n <= MAX_INTEGER, "integer beyond 2^53");
    // 20 digits are the most a u64 has.
    let mut digits = [0_u8; 20];
    let mut rest = n;
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.split_at(digits.len() - used).1);
}

/// The order of member names: by UTF-16 code units.
// RFC 8785 §3.2.3.
#[inline]
pub fn cmp_keys(a: &str, b: &str) -> Ordering {
    match a.bytes().zip(b.bytes()).find(|(x, y)| x != y) {
        Some((x, y)) => utf16_rank(x).cmp(&utf16_rank(y)),
        None => a.len().cmp(&b.len()),
    }
}

/// UTF-8 sorts by code point, UTF-16 the same but for one thing: U+10000 and above (lead bytes 0xF0 to 0xF4)
/// are surrogates, 0xD800 to 0xDFFF, and so come before U+E000 to U+FFFF (lead bytes 0xEE and 0xEF). Where
/// two strings first differ, these bytes are always lead bytes, so moving the latter two past 0xF4 is enough.
fn utf16_rank(byte: u8) -> u8 {
    match byte {
        0xEE | 0xEF => byte + 0x10,
        other => other,
    }
}

fn write_at(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(out, number)?,
        Value::String(string) => write_str(out, string),
        Value::Array(items) => write_array(out, items, deeper(depth)?)?,
        Value::Object(members) => write_object(out, members, deeper(depth)?)?,
    }
    Ok(())
}

fn write_array(out: &mut Vec<u8>, items: &[Value], depth: usize) -> Result<(), CanonicalError> {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_at(out, item, depth)?;
    }
    out.push(b']');
    Ok(())
}

fn write_object(out: &mut Vec<u8>, members: &Map<String, Value>, depth: usize) -> Result<(), CanonicalError> {
    let mut sorted: SmallVec<[(&String, &Value); 24]> = members.iter().collect();
    if !sorted.is_sorted_by(|(a, _), (b, _)| cmp_keys(a, b).is_lt()) {
        sorted.sort_unstable_by(|(a, _), (b, _)| cmp_keys(a, b));
    }
    out.push(b'{');
    for (index, (name, member)) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_str(out, name);
        out.push(b':');
        write_at(out, member, depth)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_number(out: &mut Vec<u8>, number: &Number) -> Result<(), CanonicalError> {
    let out_of_range = || CanonicalError::IntegerOutOfRange { value: number.to_string() };
    if let Some(n) = number.as_u64() {
        if n > MAX_INTEGER {
            return Err(out_of_range());
        }
        write_u64(out, n);
    } else if let Some(n) = number.as_i64() {
        if n.unsigned_abs() > MAX_INTEGER {
            return Err(out_of_range());
        }
        out.push(b'-');
        write_u64(out, n.unsigned_abs());
    } else if number.is_f64() {
        let double = number.as_f64().filter(|n| n.is_finite()).ok_or(CanonicalError::Infinite)?;
        // RFC 8785 §3.2.2.3: ECMA-262 Number::toString.
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(double).as_bytes());
    } else {
        // Only with serde_json's `arbitrary_precision`: an integer past 64 bits.
        return Err(out_of_range());
    }
    Ok(())
}
