//! The syntax of a `baggage` header: <https://www.w3.org/TR/baggage/>, percent-encoding by RFC 3986 §2.1.

use std::borrow::Cow;

use kest_core::error::PropagationError;
use kest_core::text::Quoted;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{malformed, too_large};

/// What members of this prefix mean is for this crate alone to say: those of strangers are dropped.
const OURS: &str = "kest.";

/// What a value may not hold as it is (W3C Baggage §3.3.1.3: all but `baggage-octet`, and `%`), and two characters
/// more that other implementations read wrongly: the OpenTelemetry propagator for Rust cuts at `=`, the one for
/// Python reads `+` as a space.
const ESCAPED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b',').add(b';').add(b'\\').add(b'%').add(b'=').add(b'+');

/// The value as it stands in a header.
pub(super) fn encoded(value: &str) -> String {
    utf8_percent_encode(value, ESCAPED).to_string()
}

/// The value that was encoded.
///
/// # Errors
/// When an escape is broken, or the bytes are no UTF-8.
pub(super) fn decoded(key: &str, value: &str) -> Result<String, PropagationError> {
    let broken = || malformed(format!("`{key}` has a `%` that begins no escape; write it `%25`"));
    let mut out = Vec::with_capacity(value.len());
    let mut parts = value.split('%');
    out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (digits, plain) = part.as_bytes().split_first_chunk::<2>().ok_or_else(broken)?;
        let [high, low] = *digits;
        let (high, low) = hex_digit(high).zip(hex_digit(low)).ok_or_else(broken)?;
        out.push(high << 4 | low);
        out.extend_from_slice(plain);
    }
    String::from_utf8(out).map_err(|_| malformed(format!("`{key}` is no UTF-8 once its escapes are undone")))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// W3C Baggage §3.3.1.3, `baggage-octet`.
fn is_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() & (byte != b'"') & (byte != b',') & (byte != b';') & (byte != b'\\')
}

/// RFC 9110 §5.6.2, `tchar`.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a member is, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Passport,
    PassportZ,
    PassportD,
    ClaimCheck,
    ChainTip,
    User,
    Agent,
    Task,
    Jwt,
}

impl Key {
    const ALL: [Self; 9] = [
        Self::Passport,
        Self::PassportZ,
        Self::PassportD,
        Self::ClaimCheck,
        Self::ChainTip,
        Self::User,
        Self::Agent,
        Self::Task,
        Self::Jwt,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Passport => "kest.passport",
            Self::PassportZ => "kest.passport_z",
            Self::PassportD => "kest.passport_d",
            Self::ClaimCheck => "kest.claim_check",
            Self::ChainTip => "kest.chain_tip",
            Self::User => "kest.user",
            Self::Agent => "kest.agent",
            Self::Task => "kest.task",
            Self::Jwt => "kest.jwt",
        }
    }

    fn of(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name().as_bytes() == name)
    }
}

/// One of our members, as it came.
#[derive(Debug)]
pub(super) struct Raw<'a> {
    pub(super) key: Key,
    value: &'a [u8],
}

impl<'a> Raw<'a> {
    /// The member, when it is one of ours: members of others, and ours that this version does not know, are none.
    pub(super) fn of(member: &'a [u8]) -> Result<Option<Self>, PropagationError> {
        let (name, value) = match memchr::memchr2(b'=', b';', member) {
            Some(at) => member.split_at(at),
            None => (member, &[][..]),
        };
        let Some(key) = Key::of(name.trim_ascii()) else { return Ok(None) };
        match value.split_first() {
            Some((b'=', value)) => Ok(Some(Self { key, value: value.trim_ascii() })),
            _ => Err(malformed(format!("`{}` has no value", key.name()))),
        }
    }

    /// The value, its escapes undone.
    ///
    /// # Errors
    /// When it is none by the grammar, or has properties: ours have none, so whoever added one has touched it.
    pub(super) fn standard(&self) -> Result<String, PropagationError> {
        let key = self.key.name();
        if memchr::memchr(b';', self.value).is_some() {
            return Err(malformed(format!("`{key}` has properties, which members of kest have not")));
        }
        match std::str::from_utf8(self.value) {
            // Without an early end, so that many are looked at at once.
            Ok(text) if self.value.iter().fold(true, |all, byte| all & is_octet(*byte)) => decoded(key, text),
            _ => Err(malformed(format!("`{key}` holds characters that must be percent-encoded in baggage"))),
        }
    }

    /// The value as the middleware of the Python package writes it: nothing encoded. What is encoded all the same is
    /// decoded.
    ///
    /// # Errors
    /// When it is no UTF-8.
    pub(super) fn unescaped(&self) -> Result<String, PropagationError> {
        let key = self.key.name();
        let text = std::str::from_utf8(self.value).map_err(|_| malformed(format!("`{key}` is no UTF-8")))?;
        Ok(decoded(key, text).unwrap_or_else(|_| text.to_owned()))
    }
}

/// The members of one header: what stands between commas, without white space, and without the empty ones that RFC
/// 9110 §5.6.1 lets stand in any list.
pub(super) fn members(header: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut start = 0;
    for end in memchr::memchr_iter(b',', header).chain([header.len()]) {
        found.extend(header.get(start..end).map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()));
        start = end + 1;
    }
    found
}

/// [`members`] where the brackets of a passport keep its commas together: the Python middleware does not encode them.
pub(super) fn members_with_brackets(header: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut place = Place::Key;
    for (at, byte) in header.iter().enumerate() {
        place = match (place, byte) {
            (Place::Brackets, b']') => Place::Rest,
            (Place::Brackets, _) => Place::Brackets,
            (_, b',') => {
                found.extend(header.get(start..at));
                start = at + 1;
                Place::Key
            }
            (Place::Key, b'=') => match header.get(start..at).map(<[u8]>::trim_ascii) {
                Some(key) if key == Key::Passport.name().as_bytes() => Place::Passport,
                _ => Place::Rest,
            },
            (Place::Passport, b'[') => Place::Brackets,
            (Place::Passport, b' ' | b'\t') => Place::Passport,
            (Place::Key, _) => Place::Key,
            (Place::Passport | Place::Rest, _) => Place::Rest,
        };
    }
    found.extend(header.get(start..));
    found.into_iter().map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()).collect()
}

/// Where in a member a byte stands.
#[derive(Clone, Copy)]
enum Place {
    Key,
    /// Right behind the `=` of `kest.passport`.
    Passport,
    Brackets,
    Rest,
}

/// The members that others wrote, for sending them along unchanged. What begins `kest.` is not theirs to send, in
/// whatever spelling: it is left out.
///
/// # Errors
/// When a member is none by the grammar: with it the header would be none.
pub(super) fn foreign<'a>(headers: &[&'a str], longest: usize) -> Result<Vec<&'a str>, PropagationError> {
    let mut kept = Vec::new();
    for member in headers.iter().flat_map(|header| header.split(',')) {
        let member = member.trim_matches([' ', '\t']);
        if member.is_empty() {
            continue;
        }
        if member.len() > longest {
            return Err(too_large(format!(
                "member {} of `baggage` has {} bytes, more than the {longest} that `header_bytes` allows in all",
                Quoted(key_of(member)),
                member.len()
            )));
        }
        if !is_member(member) {
            return Err(malformed(format!(
                "member {} of `baggage`, which another propagator wrote, is none by W3C Baggage; percent-encode its \
                 value",
                Quoted(key_of(member))
            )));
        }
        if !is_reserved(key_of(member)) {
            kept.push(member);
        }
    }
    Ok(kept)
}

pub(super) fn key_of(member: &str) -> &str {
    member.split(['=', ';']).next().unwrap_or(member).trim_matches([' ', '\t'])
}

/// Some readers undo escapes in keys, so `kest%2Euser` is one of ours there.
fn is_reserved(key: &str) -> bool {
    let plain: Cow<'_, [u8]> = percent_encoding::percent_decode_str(key).into();
    plain.get(..OURS.len()).is_some_and(|head| head.eq_ignore_ascii_case(OURS.as_bytes()))
}

/// W3C Baggage §3.3.1, `list-member`.
fn is_member(member: &str) -> bool {
    let trimmed = |text: &str| text.trim_matches([' ', '\t']).to_owned();
    let is_token = |text: &str| !text.is_empty() && text.bytes().all(is_token_byte);
    let is_value = |text: &str| text.bytes().all(is_octet);
    let pair = |text: &str| text.split_once('=').map(|(key, value)| (trimmed(key), trimmed(value)));
    let mut parts = member.split(';');
    let first = parts.next().and_then(pair);
    first.is_some_and(|(key, value)| is_token(&key) && is_value(&value))
        && parts.all(|property| match pair(property) {
            Some((key, value)) => is_token(&key) && is_value(&value),
            None => is_token(&trimmed(property)),
        })
}

/// A member of OpenTelemetry Baggage, as a header has it.
pub(crate) fn foreign_member(key: &str, value: &str, properties: &str) -> String {
    let semicolon = if properties.is_empty() { "" } else { ";" };
    format!("{key}={}{semicolon}{properties}", encoded(value))
}

/// The header without our members, but for those that say on whose behalf: for readers that would keep a lineage or
/// a token where it does not belong.
pub(crate) fn without_private(header: &str) -> String {
    let told = [Key::User, Key::Agent, Key::Task].map(Key::name);
    let mut kept = header.split(',').filter(|member| {
        let key = key_of(member);
        !is_reserved(key) || told.contains(&key)
    });
    let first = kept.next().unwrap_or_default().to_owned();
    kept.fold(first, |all, member| all + "," + member)
}
