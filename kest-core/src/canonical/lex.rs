//! Strings and numbers, the parts of JSON text where the readers and the writer must agree byte for byte.

use std::borrow::Cow;

use serde_json::Number;

use super::{CanonicalError, MAX_INTEGER};

/// How many bytes at the start of `bytes` a string literal holds as they are: up to a quote, a backslash or a
/// control.
#[inline]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((word, tail)) = rest.split_first_chunk::<8>() {
        let found = special_bytes(u64::from_le_bytes(*word));
        if found != 0 {
            return bytes.len() - rest.len() + (found.trailing_zeros() / 8) as usize;
        }
        rest = tail;
    }
    let tail = rest.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'));
    bytes.len() - rest.len() + tail.unwrap_or(rest.len())
}

/// The high bit of each special byte. A borrow can set a bit too many, but only above one that is rightly
/// set, so the lowest one is exact.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xFF;
    const HIGH: u64 = ONES << 7;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | equal(b'"') | equal(b'\\')) & HIGH
}

/// An escape sequence as RFC 8785 §3.2.2.2 writes it.
pub(super) struct Escape {
    bytes: [u8; 6],
    len: usize,
}

impl Escape {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// The one canonical escape of a quote, a backslash or a control character.
pub(super) fn escape_of(byte: u8) -> Escape {
    let short = |letter: u8| Escape { bytes: [b'\\', letter, 0, 0, 0, 0], len: 2 };
    let hex = |digit: u8| {
        if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
    };
    match byte {
        b'"' | b'\\' => short(byte),
        0x08 => short(b'b'),
        b'\t' => short(b't'),
        b'\n' => short(b'n'),
        0x0C => short(b'f'),
        b'\r' => short(b'r'),
        other => Escape { bytes: [b'\\', b'u', b'0', b'0', hex(other >> 4), hex(other & 0xF)], len: 6 },
    }
}

/// Which escapes a string may hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Escapes {
    /// Those the canonical writer writes, and no other.
    Canonical,
    /// All of RFC 8259 §7.
    Any,
}

/// Reads the string literal whose opening quote is at `open`: its content, and the offset after its closing
/// quote.
#[inline]
pub(super) fn string(
    text: &str,
    open: usize,
    escapes: Escapes,
) -> Result<(Cow<'_, str>, usize), CanonicalError> {
    let end = open + 1 + text.as_bytes().get(open + 1..).map_or(0, plain_run);
    match (text.as_bytes().get(end), text.get(open + 1..end)) {
        (Some(b'"'), Some(content)) => Ok((Cow::Borrowed(content), end + 1)),
        _ => escaped_string(text, open, escapes).map(|(content, end)| (Cow::Owned(content), end)),
    }
}

/// The same for a string with an escape, or with something wrong.
#[cold]
fn escaped_string(text: &str, open: usize, escapes: Escapes) -> Result<(String, usize), CanonicalError> {
    let bytes = text.as_bytes();
    let mut content = String::new();
    let mut from = open + 1;
    loop {
        let at = from + bytes.get(from..).map_or(0, plain_run);
        content.push_str(text.get(from..at).unwrap_or_default());
        match bytes.get(at) {
            Some(b'"') => return Ok((content, at + 1)),
            Some(b'\\') => {
                let (character, len) = unescape(bytes, at)?;
                let written = bytes.get(at..at + len).unwrap_or_default();
                match escapes {
                    Escapes::Canonical if !is_canonical(character, written) => {
                        return Err(CanonicalError::NotCanonical {
                            offset: at,
                            what: "an escape written otherwise",
                        });
                    }
                    Escapes::Canonical | Escapes::Any => content.push(character),
                }
                from = at + len;
            }
            Some(_) => {
                return Err(CanonicalError::Syntax { offset: at, what: "a control character in a string" });
            }
            None => return Err(CanonicalError::Syntax { offset: at, what: "a string without an end" }),
        }
    }
}

// INVARIANT: an escape is canonical if and only if the writer would write these very bytes for its character.
fn is_canonical(character: char, written: &[u8]) -> bool {
    match character {
        '\0'..='\x1F' | '"' | '\\' => escape_of(character as u8).as_bytes() == written,
        _ => false,
    }
}

/// The escape sequence at `at`: its character and its length.
// RFC 8259 §7.
fn unescape(bytes: &[u8], at: usize) -> Result<(char, usize), CanonicalError> {
    let character = match bytes.get(at + 1) {
        Some(&letter @ (b'"' | b'\\' | b'/')) => char::from(letter),
        Some(b'b') => '\x08',
        Some(b'f') => '\x0C',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unescape_utf16(bytes, at),
        Some(_) | None => {
            return Err(CanonicalError::Syntax { offset: at, what: "an unknown escape" });
        }
    };
    Ok((character, 2))
}

fn unescape_utf16(bytes: &[u8], at: usize) -> Result<(char, usize), CanonicalError> {
    let lone = CanonicalError::Syntax { offset: at, what: "a lone surrogate" };
    let first = code_unit(bytes, at)?;
    if !(0xD800..0xE000).contains(&first) {
        return char::from_u32(first).map(|character| (character, 6)).ok_or(lone);
    }
    if first >= 0xDC00 || bytes.get(at + 6..at + 8) != Some(b"\\u") {
        return Err(lone);
    }
    let second = code_unit(bytes, at + 6)?;
    if !(0xDC00..0xE000).contains(&second) {
        return Err(lone);
    }
    let point = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    char::from_u32(point).map(|character| (character, 12)).ok_or(lone)
}

fn code_unit(bytes: &[u8], at: usize) -> Result<u32, CanonicalError> {
    bytes
        .get(at + 2..at + 6)
        .and_then(|digits| {
            digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
        })
        .ok_or(CanonicalError::Syntax { offset: at, what: "`\\u` without four hex digits" })
}

/// A number as the readers hand it on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Num {
    /// Zero or above, at most 2^53 in canonical text.
    Unsigned(u64),
    /// Below zero.
    Negative(i64),
    /// Finite, whatever else it is.
    Double(f64),
}

impl TryFrom<Num> for Number {
    type Error = CanonicalError;

    fn try_from(number: Num) -> Result<Self, CanonicalError> {
        match number {
            Num::Unsigned(n) => Ok(n.into()),
            Num::Negative(n) => Ok(n.into()),
            Num::Double(n) => Number::from_f64(n).ok_or(CanonicalError::Infinite),
        }
    }
}

/// Reads the number at `start`, which must be in its ES6 form: the number, and the offset after it.
pub(super) fn canonical_number(text: &str, start: usize) -> Result<(Num, usize), CanonicalError> {
    let rest = text.as_bytes().get(start..).unwrap_or_default();
    let (sign, digits) = match rest.split_first() {
        Some((b'-', digits)) => (1, digits),
        Some(_) | None => (0, rest),
    };
    // Plain integers first: 2^53 has 16 digits.
    let mut magnitude = 0;
    let mut len = 0;
    for &digit in digits.iter().take(16).take_while(|byte| byte.is_ascii_digit()) {
        magnitude = magnitude * 10 + u64::from(digit - b'0');
        len += 1;
    }
    let ends = !matches!(digits.get(len), Some(b'0'..=b'9' | b'.' | b'e' | b'E'));
    let leads = digits.first() != Some(&b'0') || (len == 1 && sign == 0);
    if ends && leads && len > 0 && magnitude <= MAX_INTEGER {
        let number = match sign {
            0 => Num::Unsigned(magnitude),
            _ => Num::Negative(-magnitude.cast_signed()),
        };
        return Ok((number, start + sign + len));
    }

    let (number, end) = strict_number(text, start)?;
    let double = match number {
        Num::Unsigned(n) => n as f64,
        Num::Negative(n) => n as f64,
        Num::Double(double) => double,
    };
    // RFC 8785 §3.2.2.3: `-0` and every other spelling of the same double fall here.
    if text.get(start..end) != Some(ryu_js::Buffer::new().format_finite(double)) {
        return Err(CanonicalError::NotCanonical { offset: start, what: "a number written otherwise" });
    }
    Ok((Num::Double(double), end))
}

/// Reads the number at `start` by the grammar of RFC 8259 §6: the number, and the offset after it.
pub(super) fn strict_number(text: &str, start: usize) -> Result<(Num, usize), CanonicalError> {
    let bytes = text.as_bytes();
    let malformed = |offset: usize| CanonicalError::Syntax { offset, what: "a malformed number" };
    let digits = |from: usize| {
        let count =
            bytes.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 { Err(malformed(from)) } else { Ok(from + count) }
    };

    let first = start + usize::from(bytes.get(start) == Some(&b'-'));
    let integer_end = digits(first)?;
    if bytes.get(first) == Some(&b'0') && integer_end > first + 1 {
        return Err(malformed(first));
    }
    let mut end = integer_end;
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1)?;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        end = digits(end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-'))))?;
    }

    let token = text.get(start..end).ok_or_else(|| malformed(start))?;
    if end == integer_end && token != "-0" {
        if let Ok(n) = token.parse() {
            return Ok((Num::Unsigned(n), end));
        }
        if let Ok(n) = token.parse() {
            return Ok((Num::Negative(n), end));
        }
    }
    let double: f64 = token.parse().map_err(|_| malformed(start))?;
    if double.is_finite() { Ok((Num::Double(double), end)) } else { Err(CanonicalError::Infinite) }
}
