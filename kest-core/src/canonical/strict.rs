//! RFC 8259 text of foreign origin: any spelling, no duplicate members.

use serde_json::{Map, Number, Value};

use super::lex::{self, Escapes};
use super::{CanonicalError, deeper, insert_new, utf8};

/// Parses one RFC 8259 text. White space and every escape are allowed; duplicate members, nesting beyond
/// [`MAX_DEPTH`](super::MAX_DEPTH), lone surrogates, numbers that overflow a double, and anything after the
/// value are refused.
///
/// Integers that fit 64 bits are kept whole, so that [`write_value`](super::write_value) can refuse those
/// beyond 2^53.
///
/// # Errors
///
/// [`CanonicalError::Syntax`], [`CanonicalError::DuplicateMember`], [`CanonicalError::TooDeep`] and
/// [`CanonicalError::Infinite`].
pub fn parse_strict(text: &[u8]) -> Result<Value, CanonicalError> {
    let mut parser = Parser { text: utf8(text)?, pos: 0 };
    let value = parser.value(0)?;
    match parser.token() {
        None => Ok(value),
        Some(_) => Err(parser.syntax("text after the value")),
    }
}

struct Parser<'a> {
    text: &'a str,
    pos: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, CanonicalError> {
        match self.token() {
            Some(b'{') => self.object(deeper(depth)?).map(Value::Object),
            Some(b'[') => self.array(deeper(depth)?).map(Value::Array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => {
                let (number, end) = lex::strict_number(self.text, self.pos)?;
                self.pos = end;
                Number::try_from(number).map(Value::Number)
            }
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.syntax("no value")),
            None => Err(self.syntax("the end of the text")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Map<String, Value>, CanonicalError> {
        let mut members = Map::new();
        self.pos += 1;
        if self.take(b'}') {
            return Ok(members);
        }
        loop {
            if self.token() != Some(b'"') {
                return Err(self.syntax("no member name"));
            }
            let name = self.string()?;
            if !self.take(b':') {
                return Err(self.syntax("no colon after a member name"));
            }
            let value = self.value(depth)?;
            insert_new(&mut members, name, value)?;
            if self.take(b'}') {
                return Ok(members);
            }
            if !self.take(b',') {
                return Err(self.syntax("neither a comma nor the end of the object"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, CanonicalError> {
        let mut items = Vec::new();
        self.pos += 1;
        if self.take(b']') {
            return Ok(items);
        }
        loop {
            items.push(self.value(depth)?);
            if self.take(b']') {
                return Ok(items);
            }
            if !self.take(b',') {
                return Err(self.syntax("neither a comma nor the end of the array"));
            }
        }
    }

    fn string(&mut self) -> Result<String, CanonicalError> {
        let (content, end) = lex::string(self.text, self.pos, Escapes::Any)?;
        self.pos = end;
        Ok(content.into_owned())
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, CanonicalError> {
        if !self.text.get(self.pos..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(self.syntax("no value"));
        }
        self.pos += word.len();
        Ok(value)
    }

    /// The next byte that is not white space; it stays unread.
    fn token(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.pos..)?;
        self.pos += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.text.as_bytes().get(self.pos).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.token() == Some(byte);
        self.pos += usize::from(found);
        found
    }

    fn syntax(&self, what: &'static str) -> CanonicalError {
        CanonicalError::Syntax { offset: self.pos, what }
    }
}
