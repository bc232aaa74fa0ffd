//! From entries to the text and what stands beside it.

use std::collections::HashMap;

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::{Kind, form, token};

/// What has been written so far.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) text: Vec<u8>,
    pub(super) beside: Vec<u8>,
    /// The entries written, by their hash.
    hashes: HashMap<[u8; 32], usize>,
    entries: usize,
    headers: HashMap<String, usize>,
    values: HashMap<(Kind, [u8; 32]), usize>,
    /// The last time written, in milliseconds.
    clock: i64,
}

impl Writer {
    pub(super) fn entry(&mut self, entry: &str) {
        let (text, beside, clock) = (self.text.len(), self.beside.len(), self.clock);
        let (headers, values) = (self.headers.len(), self.values.len());
        let plain = entry.len() + 2;
        if self.apart(entry).is_none() || self.text.len() - text > plain {
            self.text.truncate(text);
            self.beside.truncate(beside);
            self.headers.retain(|_, at| *at < headers);
            self.values.retain(|_, at| *at < values);
            self.clock = clock;
            self.text.push(form::STRING);
            for byte in entry.bytes() {
                self.literal(byte);
            }
            self.text.push(token::END);
        }
        self.hashes.insert(Sha256::digest(entry.as_bytes()).into(), self.entries);
        self.entries += 1;
    }

    /// Writes a JWS by its segments. What has been written must be taken back where it is none.
    fn apart(&mut self, entry: &str) -> Option<()> {
        let mut segments = entry.split('.');
        let (header, payload, signature) = (segments.next()?, segments.next()?, segments.next()?);
        if segments.next().is_some() {
            return None;
        }
        match self.headers.get(header) {
            Some(known) => {
                let known = *known;
                self.text.push(form::KNOWN_HEADER);
                self.number(known);
            }
            None => {
                self.text.push(form::NEW_HEADER);
                self.part(&decoded(header)?);
                self.headers.insert(header.to_owned(), self.headers.len());
            }
        }
        self.part(&decoded(payload)?);
        let signature = decoded(signature)?;
        self.number(signature.len());
        self.beside.extend(signature);
        Some(())
    }

    fn part(&mut self, part: &[u8]) {
        let mut rest = part;
        let mut before = 0_u8;
        while let Some((byte, behind)) = rest.split_first() {
            let taken = if before.is_ascii_alphanumeric() { None } else { self.value(before, rest) };
            match taken {
                Some(taken) => {
                    rest = rest.get(taken..).unwrap_or_default();
                    before = b'0';
                }
                None => {
                    self.literal(*byte);
                    rest = behind;
                    before = *byte;
                }
            }
        }
        self.text.push(token::END);
    }

    /// Writes what a text begins with, if it is something that has a shorter form; how long it is.
    fn value(&mut self, before: u8, text: &[u8]) -> Option<usize> {
        let digits = text.iter().take(65).take_while(|byte| hex_digit(**byte).is_some()).count();
        let ends = text.get(digits).is_none_or(|byte| !byte.is_ascii_alphanumeric());
        match digits {
            8 if text.get(8) == Some(&b'-') => return self.uuid(text),
            13 if ends && before == b':' => return self.time(text.get(..13)?),
            16 if ends => return self.hex(Kind::Hex8, text.get(..16)?),
            32 if ends => return self.hex(Kind::Hex16, text.get(..32)?),
            64 if ends => return self.hex(Kind::Hex32, text.get(..64)?),
            _ => {}
        }
        if before != b'"' {
            return None;
        }
        if text.get(43) == Some(&b'"')
            && let Some(key) = text.get(..43).and_then(|key| std::str::from_utf8(key).ok())
            && let Some(bytes) = decoded(key)
        {
            self.known_or_new(Kind::Key, &bytes);
            return Some(43);
        }
        // DER of more than 127 bytes (X.690 §8.1.3.5): certificates.
        if text.starts_with(b"MI") {
            let length = text.iter().position(|byte| *byte == b'"')?;
            let encoded = text.get(..length)?;
            let bytes = STANDARD.decode_to_vec(encoded).ok()?;
            if STANDARD.encode_to_string(&bytes).as_bytes() == encoded {
                self.text.push(token::BASE64);
                self.number(bytes.len());
                self.text.extend(bytes);
                return Some(length);
            }
        }
        None
    }

    fn hex(&mut self, kind: Kind, digits: &[u8]) -> Option<usize> {
        let bytes = unhex(digits)?;
        let entry = <[u8; 32]>::try_from(bytes.as_slice()).ok().and_then(|hash| self.hashes.get(&hash));
        match entry {
            Some(entry) => {
                let back = self.entries.saturating_sub(*entry + 1);
                self.text.push(token::ENTRY_HASH);
                self.number(back);
            }
            None => self.known_or_new(kind, &bytes),
        }
        Some(digits.len())
    }

    fn uuid(&mut self, text: &[u8]) -> Option<usize> {
        const LENGTH: usize = 36;
        let uuid = text.get(..LENGTH)?;
        let hyphens = [8, 13, 18, 23];
        let digits: Vec<u8> = uuid.iter().copied().filter(|byte| *byte != b'-').collect();
        let well_formed = digits.len() == 32
            && hyphens.into_iter().all(|at| uuid.get(at) == Some(&b'-'))
            && uuid.get(14) == Some(&b'7')
            && text.get(LENGTH).is_none_or(|byte| !byte.is_ascii_alphanumeric());
        if !well_formed {
            return None;
        }
        let bytes = unhex(&digits)?;
        self.known_or_new(Kind::Uuid, &bytes);
        Some(LENGTH)
    }

    fn time(&mut self, digits: &[u8]) -> Option<usize> {
        let text = std::str::from_utf8(digits).ok()?;
        let time: i64 = text.parse().ok()?;
        if time.to_string() != text {
            return None;
        }
        self.text.push(token::TIME);
        self.since(time);
        Some(digits.len())
    }

    fn known_or_new(&mut self, kind: Kind, bytes: &[u8]) {
        let mut key = [0; 32];
        key.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let next = self.values.len();
        let known = *self.values.entry((kind, key)).or_insert(next);
        if known < next {
            self.text.push(token::AGAIN);
            self.number(known);
            return;
        }
        self.text.push(kind.token());
        let (time, random) = bytes.split_at(bytes.len() - kind.beside());
        if kind == Kind::Uuid {
            self.since(time.iter().fold(0, |all, byte| all << 8 | i64::from(*byte)));
        }
        self.beside.extend(random);
    }

    fn literal(&mut self, byte: u8) {
        if byte < token::PLAIN {
            self.text.push(token::BYTE);
        }
        self.text.push(byte);
    }

    /// How much later than the last one a time is. Both have at most 48 bits.
    fn since(&mut self, time: i64) {
        let later = time - self.clock;
        self.clock = time;
        self.leb128(((later << 1) ^ (later >> 63)).cast_unsigned());
    }

    fn number(&mut self, number: usize) {
        self.leb128(number as u64);
    }

    fn leb128(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.text.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.text.push(number as u8);
    }
}

/// What a segment encodes, if it is the one text that does.
fn decoded(segment: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode_to_vec(segment).ok()?;
    (URL_SAFE_NO_PAD.encode_to_string(&bytes) == segment).then_some(bytes)
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    digits
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(hex_digit(*high)? << 4 | hex_digit(*low)?),
            _ => None,
        })
        .collect()
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
