//! Lines of a segment: one form each, byte for byte, so that what the hash covers is all there is.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::audit::chain::{self, Link, hex, sha256, unhex};
use crate::audit::item::{KeyRecord, LONGEST_TEXT, is_compact};

/// Longest line that is read.
pub(in crate::audit) const LONGEST: usize = 2 * LONGEST_TEXT;

const ENTRY: &[u8] = b"{\"v\":1,\"received_ms\":";
const JWS: &[u8] = b",\"jws\":\"";
const LINK: &[u8] = b",\"c\":\"";
const END: &[u8] = b"\"}";

/// A line, read.
#[derive(Debug)]
pub(in crate::audit) enum Line<'a> {
    Entry { received_ms: u64, jws: &'a str, hash: [u8; 32] },
    Keys(Keys),
    Head(Head),
}

/// The first line of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::audit) struct Head {
    pub(in crate::audit) v: u8,
    pub(in crate::audit) segment: u64,
    /// Of all segments of a store.
    pub(in crate::audit) store: String,
    pub(in crate::audit) created_ms: u64,
    /// The oldest segment that retention has left.
    pub(in crate::audit) oldest: u64,
    /// What stood at the end of the segment before; none for the first.
    pub(in crate::audit) prev: Option<Prev>,
}

/// The end of a segment, as its successor knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::audit) struct Prev {
    pub(in crate::audit) segment: u64,
    pub(in crate::audit) link: String,
    pub(in crate::audit) lines: u64,
    pub(in crate::audit) why: Why,
}

/// Why a segment was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::audit) enum Why {
    /// It was large or old enough.
    Rotated,
    /// Its device failed to take it: lines after the last one named here were never acknowledged.
    Unsynced,
    /// It was found damaged.
    Damaged,
}

/// Public keys beside entries.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::audit) struct Keys {
    pub(in crate::audit) v: u8,
    pub(in crate::audit) received_ms: u64,
    pub(in crate::audit) workload: String,
    pub(in crate::audit) keys: Box<RawValue>,
}

/// Writes an entry's line, and gives the link after it.
pub(super) fn write_entry(
    out: &mut Vec<u8>,
    before: &Link,
    received_ms: u64,
    jws: &str,
    hash: &[u8; 32],
) -> Link {
    out.extend_from_slice(ENTRY);
    out.extend_from_slice(received_ms.to_string().as_bytes());
    out.extend_from_slice(JWS);
    out.extend_from_slice(jws.as_bytes());
    out.push(b'"');
    let link = chain::after_entry(before, received_ms, hash);
    finish(out, &link);
    link
}

/// Writes the line of keys.
pub(super) fn write_keys(
    out: &mut Vec<u8>,
    before: &Link,
    received_ms: u64,
    keys: &KeyRecord,
) -> serde_json::Result<Link> {
    let line = Keys {
        v: 1,
        received_ms,
        workload: keys.workload.clone(),
        keys: RawValue::from_string(keys.jwks.clone())?,
    };
    write_text(out, before, &line)
}

/// Writes the first line of a segment.
pub(super) fn write_head(out: &mut Vec<u8>, before: &Link, head: &Head) -> serde_json::Result<Link> {
    write_text(out, before, head)
}

fn write_text(out: &mut Vec<u8>, before: &Link, line: &impl Serialize) -> serde_json::Result<Link> {
    let mut text = serde_json::to_vec(line)?;
    text.pop();
    let link = chain::after_text(before, &text);
    out.append(&mut text);
    finish(out, &link);
    Ok(link)
}

fn finish(out: &mut Vec<u8>, link: &Link) {
    out.extend_from_slice(LINK);
    out.extend_from_slice(hex(link).as_bytes());
    out.extend_from_slice(END);
    out.push(b'\n');
}

/// Reads a line without its end: what it says, the link that it states, and the one that it should state.
pub(in crate::audit) fn read<'a>(line: &'a [u8], before: &Link) -> Option<(Line<'a>, Link, Link)> {
    let rest = line.strip_suffix(END)?;
    let (text, link) = rest.split_at_checked(rest.len().checked_sub(64)?)?;
    let stated = unhex(link)?;
    let text = text.strip_suffix(LINK)?;
    if let Some(entry) = read_entry(text) {
        let Line::Entry { received_ms, hash, .. } = &entry else { return None };
        let link = chain::after_entry(before, *received_ms, hash);
        return Some((entry, stated, link));
    }
    let link = chain::after_text(before, text);
    let mut whole = text.to_vec();
    whole.push(b'}');
    if let Ok(keys) = serde_json::from_slice::<Keys>(&whole) {
        return (keys.v == 1).then_some((Line::Keys(keys), stated, link));
    }
    let head = serde_json::from_slice::<Head>(&whole).ok().filter(|head| head.v == 1)?;
    // Nothing stands before the first head: each states on which link it builds.
    let before = match &head.prev {
        None => chain::START,
        Some(prev) => unhex(prev.link.as_bytes())?,
    };
    let link = chain::after_text(&before, text);
    Some((Line::Head(head), stated, link))
}

/// Whether a line is that of an entry, by its beginning.
pub(in crate::audit) fn is_entry(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(ENTRY) else { return false };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    rest.get(digits..).is_some_and(|rest| rest.starts_with(JWS))
}

/// Whether that can be what is left of a line whose writing was cut short: its beginning, and nothing else. All that a
/// kill within a write leaves after good lines is of this kind; anything else was damaged later.
pub(in crate::audit) fn is_torn(rest: &[u8], before: &Link) -> bool {
    let begins = [begins_entry(rest), begins_keys(rest), begins_head(rest)];
    rest.len() <= LONGEST
        && begins.contains(&Err(Stop::Short))
        && read(rest, before).is_none_or(|(_, stated, fitting)| stated == fitting)
}

/// Why a line was not read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// It ends before its form does, or with it.
    Short,
    /// It has another form.
    Other,
}

type Rest<'a> = Result<&'a [u8], Stop>;

fn begins_entry(rest: &[u8]) -> Rest<'_> {
    let rest = run(literal(rest, ENTRY)?, |b| b.is_ascii_digit())?;
    let rest = run(literal(rest, JWS)?, |b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))?;
    let rest = literal(literal(rest, b"\"")?, LINK)?;
    let (hex, rest) = rest.split_at_checked(64).unwrap_or((rest, &[]));
    match run(hex, |b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        Ok(_) | Err(Stop::Other) => Err(Stop::Other),
        Err(Stop::Short) if hex.len() < 64 => Err(Stop::Short),
        Err(Stop::Short) => ended(literal(rest, END)?),
    }
}

fn begins_keys(rest: &[u8]) -> Rest<'_> {
    let rest = run(literal(rest, ENTRY)?, |b| b.is_ascii_digit())?;
    begins_text(literal(rest, b",\"workload\":\"")?)
}

fn begins_head(rest: &[u8]) -> Rest<'_> {
    begins_text(literal(rest, b"{\"v\":1,\"segment\":")?)
}

/// JSON as a writer leaves it, up to where the line ends.
fn begins_text(rest: &[u8]) -> Rest<'_> {
    let whole = std::str::from_utf8(rest).err().is_none_or(|error| error.error_len().is_none());
    if !whole || rest.iter().any(|b| b.is_ascii_control()) {
        return Err(Stop::Other);
    }
    let is_link = |at: &[u8]| at.strip_prefix(LINK).is_some_and(|at| at.get(..64).and_then(unhex).is_some());
    let link = rest.windows(LINK.len() + 64).position(is_link);
    match link.and_then(|at| rest.get(at + LINK.len() + 64..)) {
        None => Err(Stop::Short),
        Some(end) => ended(literal(end, END)?),
    }
}

fn ended(rest: &[u8]) -> Rest<'_> {
    Err(if rest.is_empty() { Stop::Short } else { Stop::Other })
}

fn literal<'a>(rest: &'a [u8], text: &[u8]) -> Rest<'a> {
    rest.strip_prefix(text).ok_or(if text.starts_with(rest) { Stop::Short } else { Stop::Other })
}

fn run(rest: &[u8], fits: fn(u8) -> bool) -> Rest<'_> {
    let end = rest.iter().position(|b| !fits(*b)).ok_or(Stop::Short)?;
    rest.get(end..).ok_or(Stop::Short)
}

fn read_entry(text: &[u8]) -> Option<Line<'_>> {
    let rest = text.strip_prefix(ENTRY)?;
    let digits = rest.iter().position(|b| !b.is_ascii_digit())?;
    let (number, rest) = rest.split_at_checked(digits)?;
    let jws = rest.strip_prefix(JWS)?.strip_suffix(b"\"")?;
    if !is_compact(jws) {
        return None;
    }
    let number = std::str::from_utf8(number).ok()?;
    let received_ms: u64 = number.parse().ok()?;
    // One form only.
    if number.len() > 1 && number.starts_with('0') {
        return None;
    }
    Some(Line::Entry { received_ms, jws: std::str::from_utf8(jws).ok()?, hash: sha256(jws) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_beginning_of_a_line_is_torn_and_nothing_else() {
        let mut entry = Vec::new();
        let link = write_entry(&mut entry, &chain::START, 17, "a-b._c.d", &sha256(b"a-b._c.d"));
        let keys = KeyRecord { workload: "spiffe://example.org/ü".into(), jwks: "{\"keys\":[]}".into() };
        let (mut text, mut head) = (Vec::new(), Vec::new());
        write_keys(&mut text, &chain::START, 17, &keys).unwrap();
        let store = "00".repeat(16);
        let prev = Prev { segment: 1, link: hex(&link), lines: 3, why: Why::Rotated };
        let whole = Head { v: 1, segment: 2, store, created_ms: 5, oldest: 1, prev: Some(prev) };
        write_head(&mut head, &link, &whole).unwrap();
        for line in [entry, text, head] {
            let line = line.strip_suffix(b"\n").unwrap();
            for end in 0..=line.len() {
                assert!(is_torn(&line[..end], &chain::START), "{end}");
            }
            let after = |byte| [line, &[byte]].concat();
            for other in [after(b'\n'), after(b'x'), after(0), vec![0; 80], b"[".to_vec()] {
                assert!(!is_torn(&other, &chain::START), "{}", String::from_utf8_lossy(&other));
            }
            for zeroed in 1..line.len() {
                let mut other = line.to_vec();
                other[zeroed..].fill(0);
                assert!(!is_torn(&other, &chain::START), "{zeroed}");
            }
            let mut other = line.to_vec();
            let last = other.len() - 3;
            other[last] = if other[last] == b'0' { b'1' } else { b'0' };
            assert!(!is_torn(&other, &chain::START), "another link");
        }
        assert!(!is_torn(&[ENTRY, &[b'1'; LONGEST]].concat(), &chain::START), "too long");
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let mut out = Vec::new();
        let link = write_entry(&mut out, &chain::START, 17, "a-b._c.d", &sha256(b"a-b._c.d"));
        let line = out.strip_suffix(b"\n").unwrap().to_vec();
        let (read_line, stated, expected) = read(&line, &chain::START).unwrap();
        assert!(matches!(read_line, Line::Entry { received_ms: 17, jws: "a-b._c.d", .. }));
        assert_eq!((stated, expected), (link, link));
        for (index, byte) in line.iter().enumerate() {
            let mut edited = line.clone();
            edited[index] = if *byte == b'1' { b'2' } else { b'1' };
            let same = read(&edited, &chain::START).is_some_and(|(_, stated, link)| stated == link);
            assert!(!same, "byte {index}");
        }
        let text = String::from_utf8(line).unwrap();
        for other in [text.replace(":17", ": 17"), text.replace(":17", ":017"), format!(" {text}")] {
            assert!(read(other.as_bytes(), &chain::START).is_none(), "{other}");
        }
    }
}
