//! A passport that nobody has checked yet.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::error::VerifyError;
use super::failure::VerifyFailure;
use super::jose::Parser;
use super::verified::VerifiedPassport;
use super::verifier::{Limits, Verifier};
use crate::canonical::parse_strict;
use crate::entry::KestEntry;
use crate::error::{LineageError, LineageErrorKind};
use crate::jws::{hex, sha256};

/// A passport as it was received: compact JWS strings, of which nothing is believed.
#[derive(Clone, Default)]
pub struct UnverifiedPassport {
    entries: Vec<Box<str>>,
    /// SHA-256 of each entry, once somebody has asked.
    ///
    /// INVARIANT: of these very entries. Whatever changes them forgets it.
    hashes: OnceLock<Box<[[u8; 32]]>>,
}

impl UnverifiedPassport {
    /// A passport without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a JSON array of strings. `[]` is a valid empty passport. Spec §4.
    ///
    /// # Errors
    /// When the text is anything else. Malformed input is never an empty passport.
    pub fn deserialize(text: &str) -> Result<Self, LineageError> {
        let malformed = |what: &str| {
            let message = format!("{what}; a passport is a JSON array of compact JWS strings");
            LineageError::new(LineageErrorKind::Malformed, message)
        };
        let value = parse_strict(text.as_bytes())
            .map_err(|error| malformed("the passport cannot be read").with_source(error))?;
        let Value::Array(items) = value else {
            return Err(malformed("the passport is no JSON array"));
        };
        let entries = items.into_iter().enumerate().map(|(index, item)| match item {
            Value::String(jws) => Ok(jws.into_boxed_str()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err(malformed(&format!("entry {index} of the passport is no string")))
            }
        });
        Ok(Self { entries: entries.collect::<Result<_, _>>()?, hashes: OnceLock::new() })
    }

    /// The JSON array of the entries.
    #[must_use]
    pub fn serialize(&self) -> String {
        let entries = self.entries.iter().map(|jws| Value::String(jws.to_string())).collect();
        Value::Array(entries).to_string()
    }

    /// Appends a compact JWS, unchecked.
    pub fn add_signature(&mut self, jws: impl Into<Box<str>>) {
        self.hashes = OnceLock::new();
        self.entries.push(jws.into());
    }

    /// The compact JWS strings, in the order they came.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.iter().map(|jws| &**jws)
    }

    /// What the entries say, with the hash of each, for showing them. Nobody has checked any of it.
    pub fn decode_unverified(&self) -> impl Iterator<Item = (String, Result<KestEntry, VerifyFailure>)> {
        self.entries.iter().map(|jws| {
            let entry = Parser::new(&Limits::default(), true)
                .parse(jws, None)
                .map(|parsed| Arc::unwrap_or_clone(parsed.entry));
            (hex(&sha256(jws.as_bytes())), entry.map_err(|(_, failure)| failure))
        })
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Of how many entries a verifier would check the signature, as it [remembers](super::Remembered) nothing of them: says
    /// what [`Self::verify`] will cost, and decides nothing. An entry that is remembered may have to be checked all the same,
    /// under another key.
    ///
    /// Hashes every entry, once for this and for the verification.
    #[must_use]
    pub fn new_to(&self, verifier: &Verifier) -> usize {
        let Some(remembered) = &verifier.remembered else { return self.entries.len() };
        let hashes =
            self.hashes.get_or_init(|| self.entries.iter().map(|jws| sha256(jws.as_bytes())).collect());
        hashes.iter().filter(|hash| !remembered.knows(hash)).count()
    }

    /// Bytes of the entries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|jws| jws.len()).sum()
    }

    /// Checks everything that spec §13 says, step by step, each step over all entries before the next.
    ///
    /// # Errors
    /// The first failure, with its entry, its step and the report up to there.
    pub fn verify(self, verifier: &Verifier) -> Result<VerifiedPassport, VerifyError> {
        super::run(self.entries, self.hashes.into_inner(), verifier)
    }
}

impl<S: Into<Box<str>>> FromIterator<S> for UnverifiedPassport {
    fn from_iter<I: IntoIterator<Item = S>>(entries: I) -> Self {
        Self { entries: entries.into_iter().map(Into::into).collect(), hashes: OnceLock::new() }
    }
}

impl PartialEq for UnverifiedPassport {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for UnverifiedPassport {}

impl fmt::Debug for UnverifiedPassport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedPassport").field("entries", &self.entries).finish()
    }
}
