//! The first two steps for one entry: compact JWS, header, payload, schema. RFC 7515 §5.2, spec §3.

use std::str::FromStr;
use std::sync::Arc;

use base64_simd::{AsOut, STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use smallvec::SmallVec;

use super::error::Step;
use super::failure::VerifyFailure;
use super::key::KeyPrint;
use super::remember::Remembered;
use super::verifier::Limits;
use crate::canonical::parse_strict;
use crate::entry::{EntryError, KestEntry};
use crate::jws::{Algorithm, sha256};

/// An entry that was read, and what its signature is checked with. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) entry: Arc<KestEntry>,
    pub(super) header: Arc<Header>,
    /// Length of the signing input: the first two segments and the dot between them.
    pub(super) signed: usize,
    pub(super) signature: SmallVec<[u8; 64]>,
    pub(super) hash: [u8; 32],
    /// Bytes of the payload.
    payload: usize,
    /// The key under which the signature was found good before.
    pub(super) good_under: Option<KeyPrint>,
}

impl Parsed {
    /// Bytes that keeping it takes, about: its text, and what each piece of it takes by itself.
    pub(super) fn weight(&self) -> usize {
        const PIECE: usize = 96;
        self.signed + self.entry.pieces().saturating_mul(PIECE)
    }
}

#[derive(Debug)]
pub(super) struct Header {
    pub(super) alg: Algorithm,
    pub(super) kid: Option<Box<str>>,
    /// The certificates of `x5c` in DER, leaf first.
    pub(super) chain: Vec<Vec<u8>>,
    /// Of the chain, if there is one.
    pub(super) chain_digest: Option<[u8; 32]>,
    /// Why an own entry may not have this header, if it may not.
    foreign_only: Option<ForeignOnly>,
}

impl Header {
    /// The first certificate of `x5c`.
    pub(super) fn leaf(&self) -> Option<&[u8]> {
        self.chain.first().map(Vec::as_slice)
    }
}

#[derive(Debug)]
enum ForeignOnly {
    Member(String),
    Malformed { member: &'static str, problem: &'static str },
}

/// Parses entries, remembering the headers seen last: a principal signs with few.
pub(super) struct Parser<'a> {
    limits: &'a Limits,
    accept_mock: bool,
    remembered: Option<&'a Remembered>,
    payload: Vec<u8>,
    headers: SmallVec<[(&'a str, Arc<Header>); 8]>,
}

/// Longest header and signature segments; headers carry certificate chains.
const HEADER_LIMIT: usize = 64 * 1024;
const SIGNATURE_LIMIT: usize = 2 * 1024;
/// Most certificates of a chain.
const CHAIN_LIMIT: usize = 10;

type Failed = (Step, VerifyFailure);

impl<'a> Parser<'a> {
    pub(super) fn new(limits: &'a Limits, accept_mock: bool) -> Self {
        Self { limits, accept_mock, remembered: None, payload: Vec::new(), headers: SmallVec::new() }
    }

    /// Looks there first.
    pub(super) fn remembering(mut self, remembered: Option<&'a Remembered>) -> Self {
        self.remembered = remembered;
        self
    }

    /// `hash`: of the text, if it is known.
    pub(super) fn parse(&mut self, jws: &'a str, hash: Option<[u8; 32]>) -> Result<Parsed, Failed> {
        // Longer than the longest that can be read: not worth a hash.
        let fits =
            jws.len() / 4 * 3 <= self.limits.entry_bytes.saturating_add(HEADER_LIMIT + SIGNATURE_LIMIT);
        let Some(remembered) = self.remembered.filter(|_| fits) else { return self.read(jws, hash) };
        let hash = hash.unwrap_or_else(|| sha256(jws.as_bytes()));
        match remembered.entry(&hash) {
            Some(parsed) => self.check_again(&parsed).map(|()| parsed),
            None => self.read(jws, Some(hash)),
        }
    }

    /// INVARIANT: all that [`Self::read`] makes of a text that can be read, beyond what the text says: in its order.
    fn check_again(&self, parsed: &Parsed) -> Result<(), Failed> {
        let limit = self.limits.entry_bytes;
        if parsed.payload > limit {
            return Err((Step::Parse, VerifyFailure::TooLarge { part: "payload", limit }));
        }
        self.check_mock(&parsed.header).map_err(|failure| (Step::Parse, failure))?;
        self.check_limits(&parsed.entry).map_err(|failure| (Step::Schema, failure))
    }

    fn read(&mut self, jws: &'a str, hash: Option<[u8; 32]>) -> Result<Parsed, Failed> {
        let parse = |failure| (Step::Parse, failure);
        let mut dots = memchr::memchr_iter(b'.', jws.as_bytes());
        let (Some(first), Some(signed), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(parse(VerifyFailure::Segments { found: jws.split('.').count() }));
        };
        let segment = |from: usize, to: usize| jws.get(from..to).unwrap_or_default();
        let (header, payload) = (segment(0, first), segment(first + 1, signed));
        let signature = segment(signed + 1, jws.len());
        let header = self.header(header).map_err(parse)?;
        self.decode_payload(payload).map_err(parse)?;
        let signature = decode_signature(signature).map_err(parse)?;
        self.check_mock(&header).map_err(parse)?;
        let entry = KestEntry::from_payload(&self.payload).map_err(|error| match error {
            EntryError::Canonical(source) => parse(VerifyFailure::Payload(source)),
            other => (Step::Schema, VerifyFailure::Schema(other)),
        })?;
        if entry.is_own() {
            match &header.foreign_only {
                None => {}
                Some(ForeignOnly::Member(member)) => {
                    return Err(parse(VerifyFailure::HeaderMember { member: member.clone() }));
                }
                Some(ForeignOnly::Malformed { member, problem }) => {
                    return Err(parse(VerifyFailure::HeaderMalformed { member, problem }));
                }
            }
        }
        self.check_limits(&entry).map_err(|failure| (Step::Schema, failure))?;
        let hash = hash.unwrap_or_else(|| sha256(jws.as_bytes()));
        let (entry, payload) = (Arc::new(entry), self.payload.len());
        Ok(Parsed { entry, header, signed, signature, hash, payload, good_under: None })
    }

    fn check_mock(&self, header: &Header) -> Result<(), VerifyFailure> {
        if header.alg == Algorithm::Hs256 && !self.accept_mock {
            return Err(VerifyFailure::MockNotAccepted);
        }
        Ok(())
    }

    fn header(&mut self, segment: &'a str) -> Result<Arc<Header>, VerifyFailure> {
        if let Some((_, header)) = self.headers.iter().find(|(known, _)| *known == segment) {
            return Ok(Arc::clone(header));
        }
        if segment.len() > HEADER_LIMIT {
            return Err(VerifyFailure::TooLarge { part: "header", limit: HEADER_LIMIT });
        }
        let header = Arc::new(read_header(segment)?);
        if self.headers.len() == self.headers.inline_size() {
            self.headers.remove(0);
        }
        self.headers.push((segment, Arc::clone(&header)));
        Ok(header)
    }

    fn decode_payload(&mut self, segment: &str) -> Result<(), VerifyFailure> {
        let limit = self.limits.entry_bytes;
        // Four characters stand for three bytes.
        if segment.len() / 4 * 3 > limit {
            return Err(VerifyFailure::TooLarge { part: "payload", limit });
        }
        self.payload.clear();
        URL_SAFE_NO_PAD
            .decode_append(segment, &mut self.payload)
            .map_err(|_| VerifyFailure::Base64 { segment: "payload" })?;
        // Without padding the length of the text says it only to within two bytes.
        if self.payload.len() > limit {
            Err(VerifyFailure::TooLarge { part: "payload", limit })
        } else {
            Ok(())
        }
    }

    fn check_limits(&self, entry: &KestEntry) -> Result<(), VerifyFailure> {
        let Limits { parents, taints, taint_bytes, .. } = *self.limits;
        if entry.parents.len() > parents {
            return Err(VerifyFailure::TooManyParents { found: entry.parents.len(), limit: parents });
        }
        for list in [&entry.added_taints, &entry.removed_taints, &*entry.taints] {
            if list.len() > taints {
                return Err(VerifyFailure::TooManyTaints { what: "more taints", limit: taints });
            }
            if list.iter().any(|taint| taint.len() > taint_bytes) {
                return Err(VerifyFailure::TooManyTaints {
                    what: "a taint of more bytes",
                    limit: taint_bytes,
                });
            }
        }
        Ok(())
    }
}

fn decode_signature(segment: &str) -> Result<SmallVec<[u8; 64]>, VerifyFailure> {
    let failure = VerifyFailure::Base64 { segment: "signature" };
    if segment.len() > SIGNATURE_LIMIT {
        return Err(VerifyFailure::TooLarge { part: "signature", limit: SIGNATURE_LIMIT });
    }
    // 86 characters are the 64 bytes of an EdDSA or ES256 signature.
    let mut bytes = SmallVec::from_elem(0, segment.len() / 4 * 3 + 2);
    let length = match URL_SAFE_NO_PAD.decode(segment.as_bytes(), bytes.as_mut_slice().as_out()) {
        Ok(decoded) => decoded.len(),
        Err(_) => return Err(failure),
    };
    bytes.truncate(length);
    Ok(bytes)
}

fn read_header(segment: &str) -> Result<Header, VerifyFailure> {
    let json =
        URL_SAFE_NO_PAD.decode_to_vec(segment).map_err(|_| VerifyFailure::Base64 { segment: "header" })?;
    let malformed = |member, problem| VerifyFailure::HeaderMalformed { member, problem };
    let Value::Object(members) = parse_strict(&json).map_err(VerifyFailure::HeaderJson)? else {
        return Err(malformed("alg", "is missing: the header is no object"));
    };
    // Spec §3. An extension that must be understood is one that is not; a key never comes with its signature.
    for member in ["crit", "b64", "jwk", "jku", "x5u"] {
        if members.contains_key(member) {
            return Err(VerifyFailure::HeaderMember { member: member.to_owned() });
        }
    }
    let alg = match members.get("alg") {
        Some(Value::String(name)) => {
            Algorithm::from_str(name).map_err(|_| VerifyFailure::Algorithm { name: name.clone() })?
        }
        Some(_) => return Err(malformed("alg", "is not a string")),
        None => return Err(malformed("alg", "is missing")),
    };
    let kid = match members.get("kid") {
        Some(Value::String(kid)) => Some(kid.as_str().into()),
        Some(_) => return Err(malformed("kid", "is not a string")),
        None => None,
    };
    let chain = members.get("x5c").map(certificate_chain).transpose()?.unwrap_or_default();
    let chain_digest = (!chain.is_empty()).then(|| digest(&chain));
    let unknown = members.keys().find(|name| !matches!(name.as_str(), "alg" | "kid" | "typ" | "x5c"));
    let foreign_only = if let Some(member) = unknown {
        Some(ForeignOnly::Member(member.clone()))
    } else if kid.is_none() {
        Some(ForeignOnly::Malformed { member: "kid", problem: "is missing" })
    } else if members.get("typ").and_then(Value::as_str) != Some("JWS") {
        Some(ForeignOnly::Malformed { member: "typ", problem: "is not `JWS`" })
    } else {
        None
    };
    Ok(Header { alg, kid, chain, chain_digest, foreign_only })
}

/// RFC 7515 §4.1.6: a list of certificates in standard base64, leaf first.
fn certificate_chain(x5c: &Value) -> Result<Vec<Vec<u8>>, VerifyFailure> {
    let malformed = |problem| VerifyFailure::HeaderMalformed { member: "x5c", problem };
    let no_chain = || malformed("is no list of certificates in base64");
    let chain = x5c.as_array().filter(|chain| !chain.is_empty()).ok_or_else(no_chain)?;
    if chain.len() > CHAIN_LIMIT {
        return Err(malformed("has more than 10 certificates"));
    }
    let decoded = chain.iter().map(|certificate| STANDARD.decode_to_vec(certificate.as_str()?).ok());
    decoded.collect::<Option<_>>().ok_or_else(no_chain)
}

fn digest(chain: &[Vec<u8>]) -> [u8; 32] {
    // With their lengths, so that no other cut of the same bytes is the same chain.
    let parts = chain.iter().flat_map(|der| [der.len().to_be_bytes().to_vec(), der.clone()]);
    sha256(&parts.collect::<Vec<_>>().concat())
}
