//! Keys of the principals, and the signatures checked with them: strictly, and one by one.

use std::collections::HashMap;
use std::str;

use ed25519_dalek::{Signature, VerifyingKey};

use super::error::Step;
use super::failure::VerifyFailure;
use super::jose::Parsed;
use super::verifier::Verifier;
use super::x509::subject_public_key_info;
use crate::jws::Algorithm;
use crate::keys::{Jwk, Jwks, KeyError, MOCK_KEY, hmac_sha256, is_canonical_point, mock_kid};

/// Principals of a passport by number.
pub(super) struct Principals<'a> {
    pub(super) ids: Vec<&'a str>,
    /// The principal of each entry.
    pub(super) of: Vec<usize>,
}

impl<'a> Principals<'a> {
    pub(super) fn collect(entries: &'a [Parsed]) -> Self {
        let mut known: HashMap<&str, usize> = HashMap::new();
        let mut ids = Vec::new();
        let of = entries.iter().map(|parsed| {
            let id = parsed.entry.principal();
            *known.entry(id).or_insert_with(|| {
                ids.push(id);
                ids.len() - 1
            })
        });
        let of = of.collect();
        Self { ids, of }
    }
}

/// What an entry of a principal is checked with.
pub(super) enum Trusted {
    /// Keys that were anchored: never none.
    Keys(Vec<Key>),
    /// The mock key, of a principal that nobody anchored.
    Mock,
}

pub(super) struct Key {
    jwk: Jwk,
    thumbprint: String,
    spki: Vec<u8>,
    ed25519: Option<VerifyingKey>,
}

/// More keys than any principal needs to rotate; bounds what an entry without a usable `kid` costs.
const KEYS_TRIED: usize = 16;

/// The keys of every principal, before any signature is looked at.
pub(super) fn resolve(
    verifier: &Verifier,
    principals: &Principals<'_>,
    entries: &[Parsed],
) -> Result<Vec<Trusted>, (usize, Step, VerifyFailure)> {
    let mut all = Vec::with_capacity(principals.ids.len());
    // The first entry of each principal, and the first that is not signed with the mock key.
    let mut firsts: Vec<(Option<usize>, Option<usize>)> = vec![(None, None); principals.ids.len()];
    for (index, (parsed, number)) in entries.iter().zip(&principals.of).enumerate() {
        if let Some((first, real)) = firsts.get_mut(*number) {
            first.get_or_insert(index);
            if parsed.header.alg != Algorithm::Hs256 {
                real.get_or_insert(index);
            }
        }
    }
    for (id, (first, real)) in principals.ids.iter().zip(firsts) {
        let trusted = ask(verifier, id);
        let failed = match trusted {
            Ok(Some(keys)) => {
                all.push(Trusted::Keys(keys));
                continue;
            }
            // Only what nobody anchors, and only in entries that say so, is the mock provider's.
            Ok(None) => match if verifier.options.accept_mock { real } else { first } {
                None => {
                    all.push(Trusted::Mock);
                    continue;
                }
                Some(index) => (index, VerifyFailure::UnknownPrincipal { principal: (*id).to_owned() }),
            },
            Err(source) => (first.unwrap_or(0), VerifyFailure::Keys { principal: (*id).to_owned(), source }),
        };
        return Err((failed.0, Step::Principals, failed.1));
    }
    Ok(all)
}

fn ask(verifier: &Verifier, id: &str) -> Result<Option<Vec<Key>>, KeyError> {
    let mut found: Option<Jwks> = None;
    for source in verifier.sources.iter() {
        match (source.keys(id)?, &found) {
            (None, _) => {}
            (Some(keys), Some(known)) if keys != *known => {
                return Err(KeyError::Shadowed { principal: id.to_owned() });
            }
            (Some(keys), _) => found = Some(keys),
        }
    }
    match found {
        None => Ok(None),
        Some(Jwks(keys)) if keys.is_empty() => Err(KeyError::NoKeys { principal: id.to_owned() }),
        Some(Jwks(keys)) => keys.into_iter().map(Key::new).collect::<Result<_, _>>().map(Some),
    }
}

impl Key {
    fn new(jwk: Jwk) -> Result<Self, KeyError> {
        let malformed = |_| KeyError::Malformed { member: "x", why: "is not a point of the curve" };
        if jwk.as_ed25519().is_some_and(|point| !is_canonical_point(point)) {
            return Err(KeyError::Malformed { member: "x", why: "is not the canonical form of its point" });
        }
        let ed25519 = jwk.as_ed25519().map(VerifyingKey::from_bytes).transpose().map_err(malformed)?;
        Ok(Self { thumbprint: jwk.thumbprint(), spki: jwk.to_spki(), ed25519, jwk })
    }

    fn check(&self, alg: Algorithm, input: &[u8], signature: &[u8]) -> Result<(), VerifyFailure> {
        match (alg, &self.ed25519) {
            (Algorithm::EdDsa, Some(key)) => Signature::from_slice(signature)
                // RFC 8032 §5.1.7, and no key or commitment of small order.
                .and_then(|signature| key.verify_strict(input, &signature))
                .map_err(|_| VerifyFailure::Signature),
            (Algorithm::EdDsa, None) | (Algorithm::Hs256, _) => Err(VerifyFailure::AlgorithmMismatch { alg }),
            (Algorithm::Es256 | Algorithm::Es384 | Algorithm::Rs256 | Algorithm::Ps256, _) => {
                Err(VerifyFailure::UnsupportedAlgorithm { alg })
            }
        }
    }
}

/// Checks one signature.
pub(super) fn check(parsed: &Parsed, jws: &str, trusted: &Trusted) -> Result<(), VerifyFailure> {
    let input = jws.as_bytes().get(..parsed.signed).unwrap_or_default();
    match trusted {
        Trusted::Mock => check_mock(parsed, input),
        Trusted::Keys(keys) => {
            let candidates = certified(candidates(parsed, keys)?, parsed)?;
            let mut outcome = Err(VerifyFailure::Signature);
            for key in candidates.into_iter().take(KEYS_TRIED) {
                outcome = key.check(parsed.header.alg, input, &parsed.signature);
                if outcome.is_ok() {
                    break;
                }
            }
            outcome
        }
    }
}

/// The keys an entry may be signed with; never none.
fn candidates<'k>(parsed: &Parsed, keys: &'k [Key]) -> Result<Vec<&'k Key>, VerifyFailure> {
    let alg = parsed.header.alg;
    let kid = parsed.header.kid.as_deref().unwrap_or_default();
    let named = |key: &Key| key.thumbprint == kid;
    if parsed.entry.is_own() && !keys.iter().any(named) {
        return Err(VerifyFailure::UnknownKey { kid: kid.to_owned() });
    }
    // RFC 8725 §3.1: the key says which algorithm it is for, the header only agrees.
    let mut fitting: Vec<&Key> = keys.iter().filter(|key| key.jwk.accepts(alg)).collect();
    if parsed.entry.is_own() {
        fitting.retain(|key| named(key));
    } else {
        // Spec §3: a foreign `kid` is a hint, so its keys come first.
        fitting.sort_by_key(|key| !(named(key) || key.jwk.kid() == Some(kid)));
    }
    if fitting.is_empty() { Err(VerifyFailure::AlgorithmMismatch { alg }) } else { Ok(fitting) }
}

/// Of these keys those that the certificate in `x5c`, if there is one, carries.
fn certified<'k>(keys: Vec<&'k Key>, parsed: &Parsed) -> Result<Vec<&'k Key>, VerifyFailure> {
    let Some(leaf) = &parsed.header.leaf else { return Ok(keys) };
    let spki = subject_public_key_info(leaf).map_err(VerifyFailure::Certificate)?;
    let carried: Vec<&Key> = keys.into_iter().filter(|key| key.spki == spki).collect();
    if carried.is_empty() { Err(VerifyFailure::CertificateKey) } else { Ok(carried) }
}

fn check_mock(parsed: &Parsed, input: &[u8]) -> Result<(), VerifyFailure> {
    let kid = parsed.header.kid.as_deref().unwrap_or_default();
    if parsed.entry.is_own() && kid != mock_kid() {
        return Err(VerifyFailure::UnknownKey { kid: kid.to_owned() });
    }
    let expected = hmac_sha256(MOCK_KEY, input);
    // In constant time, although the key is no secret.
    let differ = expected.iter().zip(&parsed.signature).fold(0, |sum, (a, b)| sum | (a ^ b));
    if parsed.signature.len() == expected.len() && differ == 0 {
        Ok(())
    } else {
        Err(VerifyFailure::Signature)
    }
}

#[cfg(test)]
mod wycheproof_vectors;
