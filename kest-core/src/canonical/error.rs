//! Why a value has no canonical form, or a text is not in it.

use std::fmt;

use super::{Kind, MAX_DEPTH};
use crate::text::Quoted;

/// What JCS cannot carry, or text that is not canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CanonicalError {
    /// A float that is NaN.
    NotANumber,
    /// A float that is infinite, or number text that overflows to it.
    Infinite,
    /// An integer beyond ±2^53.
    IntegerOutOfRange {
        /// The integer in decimal.
        value: String,
    },
    /// A map key that is neither a string nor an integer, a boolean or a character.
    NonStringKey,
    /// Two members of one object have the same name.
    DuplicateMember {
        /// The name, unescaped.
        name: String,
    },
    /// Objects and arrays nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// JSON, but not as RFC 8785 writes it.
    NotCanonical {
        /// Byte offset into the text.
        offset: usize,
        /// What stands there.
        what: &'static str,
    },
    /// Not JSON.
    Syntax {
        /// Byte offset into the text.
        offset: usize,
        /// What stands there.
        what: &'static str,
    },
    /// A [`CanonicalReader`](super::CanonicalReader) was asked for another kind of value than stands in the
    /// text.
    Unexpected {
        /// Byte offset into the text.
        offset: usize,
        /// What was asked for.
        expected: &'static str,
        /// What stands there.
        found: Kind,
    },
    /// A [`CanonicalReader`](super::CanonicalReader) was called in an order that no document has.
    OutOfTurn {
        /// Byte offset into the text.
        offset: usize,
        /// What must come first.
        what: &'static str,
    },
    /// An error of the `Serialize` implementation itself.
    Custom(String),
}

impl fmt::Display for CanonicalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber => f.write_str("canonical JSON has no NaN; use an `Option` or a string"),
            Self::Infinite => {
                f.write_str("canonical JSON has no infinite number; use an `Option` or a string")
            }
            Self::IntegerOutOfRange { value } => {
                write!(
                    f,
                    "integer `{value}` is beyond ±2^53, where canonical JSON would round it; pass it as a string"
                )
            }
            Self::NonStringKey => {
                f.write_str("a map key is not a string; canonical JSON names members by strings")
            }
            Self::DuplicateMember { name } => {
                write!(f, "member {} stands twice in one object; keep one", Quoted(name))
            }
            Self::TooDeep => write!(f, "nesting deeper than {MAX_DEPTH} levels; flatten the value"),
            Self::NotCanonical { offset, what } => {
                write!(f, "{what} at byte {offset}: the text must be in canonical form (RFC 8785)")
            }
            Self::Syntax { offset, what } => {
                write!(f, "{what} at byte {offset}: not JSON (RFC 8259)")
            }
            Self::Unexpected { offset, expected, found } => {
                write!(f, "expected {expected} at byte {offset}, found {found}")
            }
            Self::OutOfTurn { offset, what } => {
                write!(f, "the reader was called out of turn at byte {offset}: {what}")
            }
            Self::Custom(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for CanonicalError {}

impl serde::ser::Error for CanonicalError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}
