//! A pull parser that takes canonical text only and copies nothing it need not.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Number;
use smallvec::SmallVec;

use super::lex::{self, Escapes, Num};
use super::{CanonicalError, Kind, MAX_DEPTH, cmp_keys, utf8};

/// Reads canonical JSON value by value.
///
/// Every method checks all it passes over: no white space, names strictly ascending by UTF-16 code units,
/// only the escapes and the number forms that [`write_value`](super::write_value) writes, at most
/// [`MAX_DEPTH`](super::MAX_DEPTH) levels. A text read to a successful [`finish`](Self::finish) is canonical,
/// whichever methods did the reading. Strings without escapes are borrowed from the text.
///
/// ```
/// use kest_core::canonical::CanonicalReader;
///
/// let mut reader = CanonicalReader::new(br#"{"parents":["a","b"],"version":2}"#)?;
/// let mut parents = Vec::new();
/// reader.begin_object()?;
/// while let Some(name) = reader.next_key()? {
///     match &*name {
///         "parents" => {
///             reader.begin_array()?;
///             while reader.next_element()? {
///                 parents.push(reader.string()?);
///             }
///         }
///         _ => reader.skip_value()?,
///     }
/// }
/// reader.finish()?;
/// assert_eq!(parents, ["a", "b"]);
/// # Ok::<(), kest_core::canonical::CanonicalError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CanonicalReader<'a> {
    text: &'a str,
    pos: usize,
    /// The open objects and arrays, outermost first.
    open: SmallVec<[Frame; 8]>,
    /// INVARIANT: true exactly when a value, and nothing else, may come next. Without it a caller that asks
    /// out of turn could step over a missing comma or name.
    at_value: bool,
}

/// An open container and what of it was read.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Array { started: bool },
    Object { last: Option<Name> },
}

/// Where a member name stands: nothing is kept of it but its place.
#[derive(Clone, Copy, Debug)]
struct Name {
    quote: usize,
    end: usize,
    escaped: bool,
}

impl<'a> CanonicalReader<'a> {
    /// A reader at the start of `text`.
    ///
    /// # Errors
    ///
    /// [`CanonicalError::Syntax`] if `text` is not UTF-8.
    pub fn new(text: &'a [u8]) -> Result<Self, CanonicalError> {
        utf8(text).map(Self::from_text)
    }

    /// A reader at the start of `text`.
    #[must_use]
    pub fn from_text(text: &'a str) -> Self {
        Self { text, pos: 0, open: SmallVec::new(), at_value: true }
    }

    /// The byte offset of what is read next.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.pos
    }

    /// The kind of the next value, which stays unread.
    ///
    /// # Errors
    ///
    /// [`CanonicalError::OutOfTurn`] if no value may come next, [`CanonicalError::Syntax`] or
    /// [`CanonicalError::NotCanonical`] if none stands there.
    #[inline]
    pub fn peek(&self) -> Result<Kind, CanonicalError> {
        if !self.at_value {
            return Err(self.out_of_turn("`next_key` or `next_element` comes first"));
        }
        match self.byte() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(_) | None => Err(self.stray("no value")),
        }
    }

    /// Enters an object; [`next_key`](Self::next_key) follows until it gives `None`.
    ///
    /// # Errors
    ///
    /// [`CanonicalError::Unexpected`] for another kind of value, [`CanonicalError::TooDeep`], and those of
    /// [`peek`](Self::peek).
    pub fn begin_object(&mut self) -> Result<(), CanonicalError> {
        self.expect(Kind::Object, "an object")?;
        self.enter(Frame::Object { last: None })
    }

    /// The name of the next member, whose value must be read before the next call; `None` leaves the object.
    ///
    /// # Errors
    ///
    /// [`CanonicalError::DuplicateMember`], [`CanonicalError::NotCanonical`] for a name out of order,
    /// [`CanonicalError::OutOfTurn`] outside an object or before a value, [`CanonicalError::Syntax`].
    pub fn next_key(&mut self) -> Result<Option<Cow<'a, str>>, CanonicalError> {
        const OUTSIDE: &str = "`begin_object` or the value of the last member comes first";
        if self.at_value {
            return Err(self.out_of_turn(OUTSIDE));
        }
        let Some(&Frame::Object { last }) = self.open.last() else {
            return Err(self.out_of_turn(OUTSIDE));
        };
        let quote = match (self.byte(), last) {
            (Some(b'}'), _) => {
                self.open.pop();
                self.pos += 1;
                return Ok(None);
            }
            (Some(b','), Some(_)) => self.pos + 1,
            (_, None) => self.pos,
            (_, Some(_)) => return Err(self.stray("neither a comma nor the end of the object")),
        };
        let bytes = self.text.as_bytes();
        if bytes.get(quote) != Some(&b'"') {
            return Err(stray_at(bytes, quote, "no member name"));
        }
        let (name, end) = lex::string(self.text, quote, Escapes::Canonical)?;
        if let Some(last) = last {
            self.check_order(last, quote, &name)?;
        }
        if bytes.get(end) != Some(&b':') {
            return Err(stray_at(bytes, end, "no colon after a member name"));
        }
        if let Some(Frame::Object { last }) = self.open.last_mut() {
            *last = Some(Name { quote, end, escaped: matches!(name, Cow::Owned(_)) });
        }
        self.pos = end + 1;
        self.at_value = true;
        Ok(Some(name))
    }

    /// Enters an array; [`next_element`](Self::next_element) follows until it gives `false`.
    ///
    /// # Errors
    ///
    /// [`CanonicalError::Unexpected`] for another kind of value, [`CanonicalError::TooDeep`], and those of
    /// [`peek`](Self::peek).
    pub fn begin_array(&mut self) -> Result<(), CanonicalError> {
        self.expect(Kind::Array, "an array")?;
        self.enter(Frame::Array { started: false })
    }

    /// Whether another element follows, which must be read before the next call; `false` leaves the array.
    ///
    /// # Errors
    ///
    /// [`CanonicalError::OutOfTurn`] outside an array or before an element is read,
    /// [`CanonicalError::Syntax`] and [`CanonicalError::NotCanonical`] for anything but a comma or the end.
    pub fn next_element(&mut self) -> Result<bool, CanonicalError> {
        const OUTSIDE: &str = "`begin_array` or the last element comes first";
        if self.at_value {
            return Err(self.out_of_turn(OUTSIDE));
        }
        let byte = self.byte();
        let Some(Frame::Array { started }) = self.open.last_mut() else {
            return Err(self.out_of_turn(OUTSIDE));
        };
        match (byte, *started) {
            (Some(b']'), _) => {
                self.open.pop();
                self.pos += 1;
                return Ok(false);
            }
            (Some(b','), true) => self.pos += 1,
            (_, false) => *started = true,
            (_, true) => return Err(self.stray("neither a comma nor the end of the array")),
        }
        self.at_value = true;
        Ok(true)
    }

    /// Reads a string, borrowed unless it holds an escape.
    ///
    /// # Errors
    ///
    /// [`CanonicalError::Unexpected`] for another kind of value, [`CanonicalError::NotCanonical`] for an
    /// escape the canonical form does not have, and those of [`peek`](Self::peek).
    pub fn string(&mut self) -> Result<Cow<'a, str>, CanonicalError> {
        self.expect(Kind::String, "a string")?;
        let (content, end) = lex::string(self.text, self.pos, Escapes::Canonical)?;
        self.past(end);
        Ok(content)
    }

    /// Reads an integer of 0 to 2^53.
    ///
    /// # Errors
    ///
    /// [`CanonicalError::Unexpected`] for any other number or kind, and those of [`number`](Self::number).
    pub fn unsigned(&mut self) -> Result<u64, CanonicalError> {
        const EXPECTED: &str = "an integer of 0 to 2^53";
        self.expect(Kind::Number, EXPECTED)?;
        match lex::canonical_number(self.text, self.pos)? {
            (Num::Unsigned(n), end) => {
                self.past(end);
                Ok(n)
            }
            (Num::Negative(_) | Num::Double(_), _) => {
                Err(CanonicalError::Unexpected { offset: self.pos, expected: EXPECTED, found: Kind::Number })
            }
        }
    }

    /// Reads any number.
    ///
    /// # Errors
    ///
    /// [`CanonicalError::Unexpected`] for another kind of value, [`CanonicalError::NotCanonical`] for a
    /// number not in ES6 form, and those of [`peek`](Self::peek).
    pub fn number(&mut self) -> Result<Number, CanonicalError> {
        self.expect(Kind::Number, "a number")?;
        let (number, end) = lex::canonical_number(self.text, self.pos)?;
        self.past(end);
        number.try_into()
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    ///
    /// [`CanonicalError::Unexpected`] for another kind of value, and those of [`peek`](Self::peek).
    pub fn boolean(&mut self) -> Result<bool, CanonicalError> {
        self.expect(Kind::Bool, "a boolean")?;
        let truth = self.byte() == Some(b't');
        self.word(if truth { "true" } else { "false" })?;
        Ok(truth)
    }

    /// Reads `null`.
    ///
    /// # Errors
    ///
    /// [`CanonicalError::Unexpected`] for another kind of value, and those of [`peek`](Self::peek).
    pub fn null(&mut self) -> Result<(), CanonicalError> {
        self.expect(Kind::Null, "null")?;
        self.word("null")
    }

    /// Ends the reading: the one value was read whole and nothing follows it.
    ///
    /// # Errors
    ///
    /// [`CanonicalError::OutOfTurn`] if part of the value is unread, [`CanonicalError::NotCanonical`] or
    /// [`CanonicalError::Syntax`] if anything follows it.
    pub fn finish(self) -> Result<(), CanonicalError> {
        if self.at_value || !self.open.is_empty() {
            return Err(self.out_of_turn("the rest of the value comes first"));
        }
        if self.pos < self.text.len() { Err(self.stray("text after the value")) } else { Ok(()) }
    }

    // RFC 8785 §3.2.3; strictly ascending also means that no name comes twice.
    #[inline]
    fn check_order(&self, last: Name, quote: usize, name: &str) -> Result<(), CanonicalError> {
        let order = match self.text.get(last.quote + 1..last.end - 1) {
            Some(plain) if !last.escaped => cmp_keys(plain, name),
            Some(_) | None => {
                let (unescaped, _) = lex::string(self.text, last.quote, Escapes::Canonical)?;
                cmp_keys(&unescaped, name)
            }
        };
        match order {
            Ordering::Less => Ok(()),
            Ordering::Equal => Err(CanonicalError::DuplicateMember { name: name.to_owned() }),
            Ordering::Greater => {
                Err(CanonicalError::NotCanonical { offset: quote, what: "a member out of order" })
            }
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    #[inline]
    fn expect(&self, kind: Kind, expected: &'static str) -> Result<(), CanonicalError> {
        let found = self.peek()?;
        if found == kind {
            Ok(())
        } else {
            Err(CanonicalError::Unexpected { offset: self.pos, expected, found })
        }
    }

    #[inline]
    fn enter(&mut self, frame: Frame) -> Result<(), CanonicalError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(CanonicalError::TooDeep);
        }
        self.open.push(frame);
        self.pos += 1;
        self.at_value = false;
        Ok(())
    }

    #[inline]
    fn past(&mut self, end: usize) {
        self.pos = end;
        self.at_value = false;
    }

    fn word(&mut self, word: &str) -> Result<(), CanonicalError> {
        let end = self.pos + word.len();
        if self.text.as_bytes().get(self.pos..end) != Some(word.as_bytes()) {
            return Err(self.stray("no value"));
        }
        self.past(end);
        Ok(())
    }

    fn out_of_turn(&self, what: &'static str) -> CanonicalError {
        CanonicalError::OutOfTurn { offset: self.pos, what }
    }

    fn stray(&self, what: &'static str) -> CanonicalError {
        stray_at(self.text.as_bytes(), self.pos, what)
    }
}

/// Text where something else must stand.
fn stray_at(bytes: &[u8], offset: usize, what: &'static str) -> CanonicalError {
    match bytes.get(offset) {
        Some(b' ' | b'\t' | b'\n' | b'\r') => CanonicalError::NotCanonical { offset, what: "white space" },
        Some(_) => CanonicalError::Syntax { offset, what },
        None => CanonicalError::Syntax { offset, what: "the end of the text" },
    }
}
