//! From the text and what stands beside it to entries.

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use kest_core::error::PropagationError;
use sha2::{Digest as _, Sha256};

use super::super::{malformed, too_large};
use super::{KEY, Kind, form, token};

/// What has been read so far. Nothing is made larger than what it stands for, and no length is believed.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a [u8],
    beside: &'a [u8],
    /// The bytes that the entries may still have, as a JSON array.
    room: usize,
    limit: usize,
    entries: Vec<String>,
    /// The hashes that were asked for.
    hashes: Vec<Option<[u8; 32]>>,
    /// The entry that has it, and the length of its first segment.
    headers: Vec<(usize, usize)>,
    values: Vec<Value<'a>>,
    clock: i64,
}

#[derive(Debug, Clone, Copy)]
struct Value<'a> {
    kind: Kind,
    bytes: &'a [u8],
    /// Of a UUID.
    time: i64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8], beside: &'a [u8], limit: usize) -> Self {
        Self {
            text,
            beside,
            room: limit,
            limit,
            entries: Vec::new(),
            hashes: Vec::new(),
            headers: Vec::new(),
            values: Vec::new(),
            clock: 0,
        }
    }

    /// All entries, at most so many.
    ///
    /// # Errors
    /// When the text says anything that it cannot, or there is more beside it than it asks for.
    pub(super) fn entries(mut self, most: usize) -> Result<Vec<String>, PropagationError> {
        while let Some((form, rest)) = self.text.split_first() {
            if self.entries.len() >= most {
                return Err(too_large(format!("the passport has more than {most} entries (`entries`)")));
            }
            self.text = rest;
            let entry = match *form {
                form::STRING => {
                    let entry = self.part(0, false)?;
                    String::from_utf8(entry)
                        .map_err(|_| malformed(format!("`{KEY}` holds an entry that is no UTF-8")))?
                }
                form::NEW_HEADER => {
                    let header = self.part(0, true)?;
                    let header = URL_SAFE_NO_PAD.encode_to_string(header);
                    self.headers.push((self.entries.len(), header.len()));
                    self.behind(header)?
                }
                form::KNOWN_HEADER => {
                    let known = self.number()?;
                    let header = self
                        .headers
                        .get(known)
                        .and_then(|(entry, length)| self.entries.get(*entry)?.get(..*length))
                        .ok_or_else(|| {
                            malformed(format!("`{KEY}` refers to a header that it does not have"))
                        })?;
                    self.must_fit(header.len())?;
                    let header = header.to_owned();
                    self.behind(header)?
                }
                other => {
                    return Err(malformed(format!("`{KEY}` has an entry of form {other}, which is none")));
                }
            };
            // Quotes, and a comma or the brackets.
            self.must_fit(entry.len() + 3)?;
            self.room -= entry.len() + 3;
            self.entries.push(entry);
            self.hashes.push(None);
        }
        if !self.beside.is_empty() {
            return Err(malformed(format!("`{KEY}` has bytes behind its end")));
        }
        Ok(self.entries)
    }

    /// The entry with this header: its payload and signature follow.
    fn behind(&mut self, mut entry: String) -> Result<String, PropagationError> {
        let payload = self.part(entry.len(), true)?;
        let length = self.number()?;
        let signature = self.take_beside(length)?;
        self.must_fit(entry.len() + payload.len() + signature.len())?;
        entry.push('.');
        URL_SAFE_NO_PAD.encode_append(&payload, &mut entry);
        drop(payload);
        entry.push('.');
        URL_SAFE_NO_PAD.encode_append(signature, &mut entry);
        Ok(entry)
    }

    /// A part; with what it stands behind it must fit.
    fn part(&mut self, behind: usize, encoded: bool) -> Result<Vec<u8>, PropagationError> {
        let mut part = Vec::new();
        loop {
            let byte = self.byte()?;
            match byte {
                token::END => return Ok(part),
                token::BYTE => match self.byte()? {
                    byte if byte < token::PLAIN => part.push(byte),
                    _ => {
                        return Err(malformed(format!("`{KEY}` marks a byte as plain that is plain anyway")));
                    }
                },
                token::ENTRY_HASH => {
                    let hash = self.entry_hash()?;
                    hex(&hash, &mut part);
                }
                token::AGAIN => {
                    let known = self.number()?;
                    let value = *self.values.get(known).ok_or_else(|| {
                        malformed(format!("`{KEY}` refers to a value that it does not have"))
                    })?;
                    value.write(&mut part);
                }
                token::TIME => {
                    let time = self.since()?;
                    part.extend(time.to_string().bytes());
                }
                token::BASE64 => {
                    let length = self.number()?;
                    self.must_fit(length.div_ceil(3).saturating_mul(4).saturating_add(part.len()))?;
                    let (bytes, rest) = self
                        .text
                        .split_at_checked(length)
                        .ok_or_else(|| malformed(format!("`{KEY}` ends in the middle of an entry")))?;
                    self.text = rest;
                    STANDARD.encode_append(bytes, &mut part);
                }
                plain if plain >= token::PLAIN => part.push(plain),
                other => {
                    let kind = Kind::of(other).ok_or_else(|| {
                        malformed(format!("`{KEY}` has the mark {other}, which stands for nothing"))
                    })?;
                    let time = if kind == Kind::Uuid { self.since()? } else { 0 };
                    let value = Value { kind, bytes: self.take_beside(kind.beside())?, time };
                    self.values.push(value);
                    value.write(&mut part);
                }
            }
            let written = if encoded { part.len().div_ceil(3).saturating_mul(4) } else { part.len() };
            self.must_fit(behind.saturating_add(written).saturating_sub(3))?;
        }
    }

    /// The hash of an earlier entry, counted backwards.
    fn entry_hash(&mut self) -> Result<[u8; 32], PropagationError> {
        let back = self.number()?;
        let at = self.entries.len().checked_sub(1).and_then(|last| last.checked_sub(back));
        let found = at.and_then(|at| Some((self.entries.get(at)?, self.hashes.get_mut(at)?)));
        let (entry, hash) =
            found.ok_or_else(|| malformed(format!("`{KEY}` refers to an entry that it does not have")))?;
        Ok(*hash.get_or_insert_with(|| Sha256::digest(entry.as_bytes()).into()))
    }

    fn byte(&mut self) -> Result<u8, PropagationError> {
        let (byte, rest) = self
            .text
            .split_first()
            .ok_or_else(|| malformed(format!("`{KEY}` ends in the middle of an entry")))?;
        self.text = rest;
        Ok(*byte)
    }

    fn take_beside(&mut self, length: usize) -> Result<&'a [u8], PropagationError> {
        let (taken, rest) = self
            .beside
            .split_at_checked(length)
            .ok_or_else(|| malformed(format!("`{KEY}` ends in the middle of its signatures")))?;
        self.beside = rest;
        Ok(taken)
    }

    /// A time, in milliseconds.
    fn since(&mut self) -> Result<i64, PropagationError> {
        let zigzag = self.leb128()?;
        let later = (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed());
        let time = self.clock.checked_add(later).filter(|time| (0..1 << 48).contains(time));
        self.clock = time.ok_or_else(|| malformed(format!("`{KEY}` holds a time that is none")))?;
        Ok(self.clock)
    }

    fn number(&mut self) -> Result<usize, PropagationError> {
        let number = self.leb128()?;
        usize::try_from(number).map_err(|_| malformed(format!("`{KEY}` holds a number that is too large")))
    }

    fn leb128(&mut self) -> Result<u64, PropagationError> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(malformed(format!("`{KEY}` holds a number that is too large")))
    }

    fn must_fit(&self, bytes: usize) -> Result<(), PropagationError> {
        if bytes <= self.room {
            return Ok(());
        }
        Err(too_large(format!(
            "`{KEY}` stands for more than {} bytes (`inflated_bytes`); nothing of it was read",
            self.limit
        )))
    }
}

impl Value<'_> {
    fn write(self, to: &mut Vec<u8>) {
        match self.kind {
            Kind::Hex8 | Kind::Hex16 | Kind::Hex32 => hex(self.bytes, to),
            Kind::Key => URL_SAFE_NO_PAD.encode_append(self.bytes, to),
            Kind::Uuid => {
                let [_, _, time @ ..] = self.time.to_be_bytes();
                for (at, byte) in time.iter().chain(self.bytes).enumerate() {
                    if matches!(at, 4 | 6 | 8 | 10) {
                        to.push(b'-');
                    }
                    hex(&[*byte], to);
                }
            }
        }
    }
}

fn hex(bytes: &[u8], to: &mut Vec<u8>) {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
    to.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}
