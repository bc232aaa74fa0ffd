//! Why a passport does not verify.

use std::error::Error as StdError;
use std::fmt;

use super::certificate::ChainError;
use super::x509::CertificateError;
use crate::canonical::CanonicalError;
use crate::entry::EntryError;
use crate::jws::Algorithm;
use crate::keys::KeyError;
use crate::text::{Quoted, Safe};

/// What was found, one variant per check.
#[derive(Debug)]
#[non_exhaustive]
pub enum VerifyFailure {
    /// More entries than the limit.
    TooManyEntries {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
        /// The member of [`Limits`](super::Limits) that says so.
        setting: &'static str,
    },
    /// An entry over the limit.
    TooLarge {
        /// Which part.
        part: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not three segments. RFC 7515 §7.1.
    Segments {
        /// How many there are.
        found: usize,
    },
    /// Not canonical unpadded base64url.
    Base64 {
        /// The segment.
        segment: &'static str,
    },
    /// The header is not JSON, or has duplicate members.
    HeaderJson(CanonicalError),
    /// The header has a member that must not be there.
    HeaderMember {
        /// The member.
        member: String,
    },
    /// A header member is missing or malformed.
    HeaderMalformed {
        /// The member.
        member: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// An algorithm that Kest does not take.
    Algorithm {
        /// The header's `alg`.
        name: String,
    },
    /// A mock entry, and the verifier was not told to accept them.
    MockNotAccepted,
    /// The payload is not canonical JSON.
    Payload(CanonicalError),
    /// The payload is no entry.
    Schema(EntryError),
    /// A receipt of a denied call is no entry of a lineage.
    Denial,
    /// More parents than the limit.
    TooManyParents {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// More taints than the limit, or a longer one.
    TooManyTaints {
        /// What is over the limit.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A parent that no earlier entry is.
    UnknownParent {
        /// Its hash.
        parent: String,
    },
    /// The same entry twice.
    DuplicateEntry {
        /// Index of the first.
        first: usize,
    },
    /// Two entries of one principal with the same `entry_id`.
    RepeatedEntryId {
        /// Index of the first.
        first: usize,
    },
    /// A principal without trust anchor.
    UnknownPrincipal {
        /// The principal.
        principal: String,
    },
    /// The keys of a principal cannot be had.
    Keys {
        /// The principal.
        principal: String,
        /// Why.
        source: KeyError,
    },
    /// A principal of a trust domain without bundle, whose entry has a certificate.
    UnknownTrustDomain {
        /// The principal.
        principal: String,
        /// Its trust domain.
        trust_domain: String,
    },
    /// More certificate chains to validate than the limit.
    TooManyChains {
        /// How many there may be.
        limit: usize,
        /// The member of [`Limits`](super::Limits) that says so.
        setting: &'static str,
    },
    /// The chain in `x5c` does not speak for the principal.
    Chain {
        /// The principal.
        principal: String,
        /// Why.
        source: ChainError,
    },
    /// `kid` is the thumbprint of none of the principal's keys.
    UnknownKey {
        /// The header's `kid`.
        kid: String,
    },
    /// `alg` does not fit the principal's key.
    AlgorithmMismatch {
        /// The header's `alg`.
        alg: Algorithm,
    },
    /// The algorithm cannot be checked by this build.
    UnsupportedAlgorithm {
        /// The algorithm.
        alg: Algorithm,
    },
    /// The certificate in `x5c` cannot be read.
    Certificate(CertificateError),
    /// The certificate in `x5c` carries none of the anchored keys.
    CertificateKey,
    /// The signature is wrong.
    Signature,
    /// More trust than the model gives, without an override.
    RaisedTrust {
        /// The declared score.
        score: u8,
        /// What the model gives.
        bound: u8,
    },
    /// The score is not the recorded override.
    OverrideMismatch {
        /// The declared score.
        score: u8,
        /// The recorded override.
        recorded: u8,
    },
    /// A trust model that this verifier does not know.
    UnknownModel {
        /// Its name.
        model: String,
    },
    /// A taint is gone that nobody removed.
    DroppedTaint {
        /// The taint.
        taint: String,
    },
    /// A taint is there that came from nowhere.
    UnexplainedTaint {
        /// The taint.
        taint: String,
    },
    /// A `completion` that completes no ancestor of the same principal.
    Completes {
        /// The `entry_id` it names.
        entry_id: String,
    },
    /// A second `completion` of the same entry.
    RepeatedCompletion {
        /// The `entry_id` it names.
        entry_id: String,
    },
    /// Finding the entries that completions complete takes too many steps.
    TooManySteps {
        /// How many steps a passport of this size may take.
        limit: u64,
    },
    /// More taints in effect than the limit: an entry dropped or removed many without authority.
    EffectiveTaints {
        /// The limit.
        limit: usize,
    },
    /// A principal overrode trust, and may not.
    OverrideAuthority,
    /// A principal started a root of that source, and may not.
    RootAuthority {
        /// The source.
        source_type: String,
    },
    /// A principal removed taints, and may not.
    RemovalAuthority {
        /// The first taint.
        taint: String,
    },
    /// A score over the ceiling of its principal.
    Ceiling {
        /// The declared score.
        score: u8,
        /// The ceiling.
        ceiling: u8,
    },
    /// The tips are not exactly the expected one.
    Tip {
        /// The expected tip.
        expected: String,
        /// The tips.
        found: Vec<String>,
    },
    /// The first parent is not the previous entry.
    NotLinear,
    /// A tip is older than `max_age`.
    TooOld {
        /// Its age in milliseconds.
        age_ms: u64,
    },
    /// An entry is from the future.
    FromTheFuture {
        /// By how many milliseconds.
        ahead_ms: u64,
    },
}

impl fmt::Display for VerifyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyEntries { found, limit, setting } => {
                write!(
                    f,
                    "{found} entries, over the limit of {limit}; raise `Limits::{setting}` if that is wanted"
                )
            }
            Self::TooLarge { part, limit } => write!(f, "the {part} is over the limit of {limit} bytes"),
            Self::Segments { found } => write!(f, "a compact JWS has three segments, this has {found}"),
            Self::Base64 { segment } => write!(f, "the {segment} is not canonical unpadded base64url"),
            Self::HeaderJson(source) => write!(f, "the header cannot be read: {}", Safe(source)),
            Self::HeaderMember { member } => write!(f, "header member {} is not allowed", Quoted(member)),
            Self::HeaderMalformed { member, problem } => write!(f, "header member `{member}` {problem}"),
            Self::Algorithm { name } => {
                write!(
                    f,
                    "signature algorithm {} is not accepted; entries are signed with a public-key algorithm",
                    Quoted(name)
                )
            }
            Self::MockNotAccepted => f.write_str(
                "the entry is signed with the mock key, which everybody knows, so it proves nothing; have it signed \
                 with a real identity (in tests, a verifier built with `.dangerous().accept_mock()` takes it)",
            ),
            Self::Payload(source) => write!(f, "the payload is not canonical: {}", Safe(source)),
            Self::Schema(source) => write!(f, "the payload is no entry: {source}"),
            Self::Denial => f.write_str("the receipt of a denied call is no entry of a lineage"),
            Self::TooManyParents { found, limit } => write!(f, "{found} parents, over the limit of {limit}"),
            Self::TooManyTaints { what, limit } => write!(f, "{what} over the limit of {limit}"),
            Self::UnknownParent { parent } => {
                write!(f, "parent `{parent}` is no earlier entry; the passport is truncated or reordered")
            }
            Self::DuplicateEntry { first } => write!(f, "the same entry as number {first}"),
            Self::RepeatedEntryId { first } => {
                write!(f, "the entry id of number {first}, by the same principal")
            }
            Self::UnknownPrincipal { principal } => {
                write!(f, "principal {} has no trust anchor; add its keys to the anchors", Quoted(principal))
            }
            Self::Keys { principal, source } => {
                write!(f, "the keys of {} cannot be had: {source}", Quoted(principal))
            }
            Self::UnknownTrustDomain { principal, trust_domain } => write!(
                f,
                "principal {} has no trust anchor, and its trust domain {} no bundle; add one of them",
                Quoted(principal),
                Quoted(trust_domain)
            ),
            Self::TooManyChains { limit, setting } => write!(
                f,
                "more than {limit} certificate chains to validate; raise `Limits::{setting}` if that is wanted"
            ),
            Self::Chain { principal, source } => {
                write!(f, "the certificate chain does not speak for {}: {source}", Quoted(principal))
            }
            Self::UnknownKey { kid } => write!(f, "key {} is none of the principal's anchored keys", Quoted(kid)),
            Self::AlgorithmMismatch { alg } => {
                write!(f, "algorithm `{alg}` does not fit the principal's key")
            }
            Self::UnsupportedAlgorithm { alg } => {
                write!(
                    f,
                    "signatures of algorithm `{alg}` cannot be checked by this build; build kest with the feature \
                     `aws-lc`"
                )
            }
            Self::Certificate(source) => write!(f, "the certificate in `x5c` cannot be read: {source}"),
            Self::CertificateKey => {
                f.write_str("the certificate in `x5c` carries none of the principal's anchored keys")
            }
            Self::Signature => f.write_str("the signature is wrong"),
            Self::RaisedTrust { score, bound } => {
                write!(
                    f,
                    "trust score {score}, where the model gives {bound} at most and no override is recorded"
                )
            }
            Self::OverrideMismatch { score, recorded } => {
                write!(f, "trust score {score}, where an override of {recorded} is recorded")
            }
            Self::UnknownModel { model } => {
                write!(
                    f,
                    "trust model {} is not known; use `guide`, `spec_v0_3` or `<model>/<evaluator>`",
                    Quoted(model)
                )
            }
            Self::DroppedTaint { taint } => write!(f, "taint {} is gone, and nobody removed it", Quoted(taint)),
            Self::UnexplainedTaint { taint } => {
                write!(f, "taint {} comes from no parent, and nobody added it", Quoted(taint))
            }
            Self::Completes { entry_id } => {
                write!(f, "completes `{entry_id}`, which is no ancestor of the same principal")
            }
            Self::RepeatedCompletion { entry_id } => {
                write!(f, "completes `{entry_id}`, which an earlier entry completed already")
            }
            Self::TooManySteps { limit } => write!(
                f,
                "completions of entries far away in a wide lineage: over {limit} steps to check; split the passport"
            ),
            Self::EffectiveTaints { limit } => write!(
                f,
                "more than {limit} taints are in effect, counting those dropped or removed without authority; \
                 raise `Limits::taints` if that is wanted"
            ),
            Self::OverrideAuthority => f.write_str("the principal may not override trust"),
            Self::RootAuthority { source_type } => {
                write!(f, "the principal may not start a lineage with source {}", Quoted(source_type))
            }
            Self::RemovalAuthority { taint } => {
                write!(f, "the principal may not remove taints, and removed {}", Quoted(taint))
            }
            Self::Ceiling { score, ceiling } => {
                write!(f, "trust score {score}, over the principal's ceiling of {ceiling}")
            }
            Self::Tip { expected, found } => match found.as_slice() {
                [] => write!(f, "no tip, where `{expected}` is expected"),
                [one] => write!(f, "the tip is `{one}`, where `{expected}` is expected"),
                many => {
                    let named = many.get(..4).unwrap_or(many);
                    write!(f, "{} tips, where only `{expected}` is expected: {}", many.len(), named.join(", "))?;
                    match many.len() - named.len() {
                        0 => Ok(()),
                        more => write!(f, " and {more} more"),
                    }
                }
            },
            Self::NotLinear => f.write_str("the first parent is not the previous entry"),
            Self::TooOld { age_ms } => write!(f, "the tip is {age_ms} ms old, over the allowed age"),
            Self::FromTheFuture { ahead_ms } => write!(f, "the entry is {ahead_ms} ms ahead of the clock"),
        }
    }
}

impl StdError for VerifyFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::HeaderJson(source) | Self::Payload(source) => Some(source),
            Self::Schema(source) => Some(source),
            Self::Keys { source, .. } => Some(source),
            Self::Certificate(source) => Some(source),
            Self::Chain { source, .. } => Some(source),
            _ => None,
        }
    }
}
