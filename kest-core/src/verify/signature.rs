//! Keys of the principals, and the signatures checked with them: strictly, and one by one.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;

use super::bundle::{Authorities, BundleError};
use super::certificate::{ChainError, Known, Leaves, Refusal};
use super::error::Step;
use super::failure::VerifyFailure;
use super::jose::Parsed;
use super::key::{Key, KeyPrint};
use super::keysource::same_keys;
use super::spiffe_id::SpiffeId;
use super::verifier::Verifier;
use super::x509::subject_public_key_info;
use crate::jws::Algorithm;
use crate::keys::{Jwk, Jwks, KeyError, MOCK_KEY, hmac_sha256, mock_kid};

/// Principals of a passport by number, under the names that they are anchored under.
pub(super) struct Principals<'a> {
    pub(super) ids: Vec<Cow<'a, str>>,
    /// The principal of each entry.
    pub(super) of: Vec<usize>,
}

impl<'a> Principals<'a> {
    pub(super) fn collect(entries: &'a [Parsed]) -> Self {
        let mut known: HashMap<Cow<'a, str>, usize> = HashMap::new();
        let mut ids = Vec::new();
        let of = entries.iter().map(|parsed| {
            let id = parsed.entry.anchored_as();
            if let Some(number) = known.get(&id) {
                return *number;
            }
            ids.push(id.clone());
            known.insert(id, ids.len() - 1);
            ids.len() - 1
        });
        let of = of.collect();
        Self { ids, of }
    }
}

/// What an entry of a principal is checked with.
pub(super) enum Trusted {
    /// Keys that were anchored: never none.
    Keys(Vec<Arc<Key>>),
    /// The authorities of its trust domain, of a principal that nobody anchored.
    Authorities(Arc<Authorities>),
    /// The mock key, of a principal that nobody anchored.
    Mock,
}

/// What the entries of a passport are checked with.
pub(super) struct Resolved {
    /// By the principal's number.
    pub(super) trusted: Vec<Trusted>,
    leaves: Leaves,
    /// The number of each entry's leaf; empty if no principal has certificates, and of no leaf for those that have
    /// none.
    leaf_of: Vec<usize>,
    /// Foreign entries that are dated before their certificates were valid: the first, and how many.
    pub(super) predated: Option<(usize, usize)>,
}

impl Resolved {
    /// The trust domains whose certificates were used.
    pub(super) fn trust_domains(&self) -> BTreeSet<&str> {
        let domains = self.trusted.iter().filter_map(|trusted| match trusted {
            Trusted::Authorities(authorities) => Some(authorities.trust_domain()),
            Trusted::Keys(_) | Trusted::Mock => None,
        });
        domains.collect()
    }

    /// How many principals certificates speak for.
    pub(super) fn certified(&self) -> usize {
        self.trusted.iter().filter(|trusted| matches!(trusted, Trusted::Authorities(_))).count()
    }

    /// Checks the signature of entry `index`, of principal number `principal`. Gives the key under which it is good;
    /// none for the mock key.
    pub(super) fn check(
        &self,
        index: usize,
        principal: usize,
        parsed: &Parsed,
        jws: &str,
    ) -> Result<Option<KeyPrint>, VerifyFailure> {
        let input = jws.as_bytes().get(..parsed.signed).unwrap_or_default();
        if let Some(Trusted::Mock) = self.trusted.get(principal) {
            return check_mock(parsed, input).map(|()| None);
        }
        let mut outcome = Err(VerifyFailure::Signature);
        for key in self.keys(index, principal, parsed)? {
            outcome = key.check(parsed.header.alg, input, &parsed.signature).map(|()| Some(key.print));
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Whether [`Self::check`] would find the signature good, because it did under a key that may sign the entry now
    /// too.
    pub(super) fn was_good(&self, index: usize, principal: usize, parsed: &Parsed) -> bool {
        let Some(print) = parsed.good_under else { return false };
        self.keys(index, principal, parsed).is_ok_and(|keys| keys.iter().any(|key| key.print == print))
    }

    /// The keys that may have signed the entry; none if the mock key may.
    fn keys(&self, index: usize, principal: usize, parsed: &Parsed) -> Result<Candidates<'_>, VerifyFailure> {
        match self.trusted.get(principal) {
            Some(Trusted::Keys(keys)) => {
                let mut keys = certified(candidates(parsed, keys)?, parsed)?;
                keys.truncate(KEYS_TRIED);
                Ok(keys)
            }
            Some(Trusted::Authorities(_)) => {
                let leaf = self.leaf_of.get(index).and_then(|leaf| self.leaves.get(*leaf));
                let key = leaf.ok_or(VerifyFailure::Signature)?;
                of_leaf(key, parsed).map(|()| Candidates::from_elem(key, 1))
            }
            Some(Trusted::Mock) => Ok(Candidates::new()),
            None => Err(VerifyFailure::Signature),
        }
    }
}

type Candidates<'k> = SmallVec<[&'k Key; 4]>;

/// More keys than any principal needs to rotate; bounds what an entry without a usable `kid` costs.
const KEYS_TRIED: usize = 16;

/// The keys of every principal, before any signature is looked at.
pub(super) fn resolve(
    verifier: &Verifier,
    principals: &Principals<'_>,
    entries: &[Parsed],
) -> Result<Resolved, (usize, Step, VerifyFailure)> {
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
            Ok(Some(trusted)) => {
                all.push(trusted);
                continue;
            }
            // Only what nobody anchors, and only in entries that say so, is the mock provider's.
            Ok(None) => match if verifier.options.accept_mock { real } else { first } {
                None => {
                    all.push(Trusted::Mock);
                    continue;
                }
                Some(index) => (index, unknown(id, entries.get(index))),
            },
            Err(source) => (first.unwrap_or(0), VerifyFailure::Keys { principal: id.to_string(), source }),
        };
        return Err((failed.0, Step::Principals, failed.1));
    }
    certify(verifier, principals, entries, all)
}

fn unknown(id: &str, entry: Option<&Parsed>) -> VerifyFailure {
    let principal = id.to_owned();
    match (entry.and_then(|parsed| parsed.header.leaf()), workload(id)) {
        (Some(_), Some(id)) => {
            VerifyFailure::UnknownTrustDomain { principal, trust_domain: id.trust_domain().to_owned() }
        }
        (_, _) => VerifyFailure::UnknownPrincipal { principal },
    }
}

/// The leaf of each entry that a certificate speaks for.
fn certify(
    verifier: &Verifier,
    principals: &Principals<'_>,
    entries: &[Parsed],
    trusted: Vec<Trusted>,
) -> Result<Resolved, (usize, Step, VerifyFailure)> {
    let mut known = Known::new(&verifier.options, verifier.remembered.as_ref());
    let mut leaf_of = Vec::new();
    let mut predated: Option<(usize, usize)> = None;
    if trusted.iter().any(|trusted| matches!(trusted, Trusted::Authorities(_))) {
        leaf_of.reserve(entries.len());
        for (index, (parsed, number)) in entries.iter().zip(&principals.of).enumerate() {
            let Some(Trusted::Authorities(authorities)) = trusted.get(*number) else {
                leaf_of.push(usize::MAX);
                continue;
            };
            let principal = principals.ids.get(*number).map(|id| &**id).unwrap_or_default();
            let stamp = parsed.entry.timestamp_ms;
            let refuse = |refusal| {
                let failure = match refusal {
                    Refusal::Chain(source) => {
                        VerifyFailure::Chain { principal: principal.to_owned(), source }
                    }
                    Refusal::TooMany(limit, setting) => VerifyFailure::TooManyChains { limit, setting },
                };
                (index, Step::Principals, failure)
            };
            let leaf =
                known.leaf(&parsed.header, (*number, principal), authorities, stamp).map_err(refuse)?;
            match known.predates(leaf, stamp) {
                Some(seconds) if parsed.entry.is_own() => {
                    return Err(refuse(Refusal::Chain(ChainError::Predates { seconds })));
                }
                Some(_) => predated.get_or_insert((index, 0)).1 += 1,
                None => {}
            }
            leaf_of.push(leaf);
        }
    }
    Ok(Resolved { trusted, leaves: known.into_leaves(), leaf_of, predated })
}

/// The SPIFFE ID of a workload. That of a trust domain itself is none: X509-SVID §5.2.
fn workload(id: &str) -> Option<SpiffeId<'_>> {
    SpiffeId::parse(id).ok().filter(|id| !id.path().is_empty())
}

/// Keys go before authorities: whoever pins a key means this key.
fn ask(verifier: &Verifier, id: &str) -> Result<Option<Trusted>, KeyError> {
    if let Some(keys) = ask_keys(verifier, id)? {
        return Ok(Some(Trusted::Keys(keys)));
    }
    Ok(ask_authorities(verifier, id)?.map(Trusted::Authorities))
}

fn ask_authorities(verifier: &Verifier, id: &str) -> Result<Option<Arc<Authorities>>, KeyError> {
    let Some(workload) = workload(id) else { return Ok(None) };
    let mut found: Option<Arc<Authorities>> = None;
    for source in verifier.sources.iter() {
        let Some(authorities) = source.authorities(id)? else { continue };
        if authorities.trust_domain() != workload.trust_domain() {
            let trust_domain = authorities.trust_domain().to_owned();
            return Err(KeyError::Source(Box::new(BundleError::OtherDomain { trust_domain })));
        }
        match &found {
            Some(known) if **known != *authorities => {
                let trust_domain = authorities.trust_domain().to_owned();
                return Err(KeyError::Source(Box::new(BundleError::Conflict { trust_domain })));
            }
            Some(_) => {}
            None => found = Some(authorities),
        }
    }
    Ok(found)
}

fn ask_keys(verifier: &Verifier, id: &str) -> Result<Option<Vec<Arc<Key>>>, KeyError> {
    let ready = |jwk: Jwk| match &verifier.remembered {
        Some(remembered) => remembered.key(jwk),
        None => Key::new(jwk).map(Arc::new),
    };
    let mut found: Option<Jwks> = None;
    for source in verifier.sources.iter() {
        match (source.keys(id)?, &found) {
            (None, _) => {}
            (Some(keys), Some(known)) if !same_keys(&keys, known) => {
                return Err(KeyError::Shadowed { principal: id.to_owned() });
            }
            (Some(keys), _) => found = Some(keys),
        }
    }
    match found {
        None => Ok(None),
        Some(Jwks(keys)) if keys.is_empty() => Err(KeyError::NoKeys { principal: id.to_owned() }),
        Some(Jwks(keys)) => keys.into_iter().map(ready).collect::<Result<_, _>>().map(Some),
    }
}

/// Whether the key of the leaf, whose chain was validated, may have signed the entry.
fn of_leaf(key: &Key, parsed: &Parsed) -> Result<(), VerifyFailure> {
    let alg = parsed.header.alg;
    let kid = parsed.header.kid.as_deref().unwrap_or_default();
    if parsed.entry.is_own() && key.thumbprint != kid {
        let principal = parsed.entry.principal().to_owned();
        return Err(VerifyFailure::Chain { principal, source: ChainError::Kid { kid: kid.to_owned() } });
    }
    // RFC 8725 §3.1: the key says which algorithm it is for.
    if !key.jwk.accepts(alg) {
        return Err(VerifyFailure::AlgorithmMismatch { alg });
    }
    Ok(())
}

/// The keys an entry may be signed with; never none.
fn candidates<'k>(parsed: &Parsed, keys: &'k [Arc<Key>]) -> Result<Candidates<'k>, VerifyFailure> {
    let alg = parsed.header.alg;
    let kid = parsed.header.kid.as_deref().unwrap_or_default();
    let named = |key: &Key| key.thumbprint == kid;
    if parsed.entry.is_own() && !keys.iter().any(|key| named(key)) {
        return Err(VerifyFailure::UnknownKey { kid: kid.to_owned() });
    }
    // RFC 8725 §3.1: the key says which algorithm it is for, the header only agrees.
    let mut fitting: Candidates<'_> =
        keys.iter().map(|key| &**key).filter(|key| key.jwk.accepts(alg)).collect();
    if parsed.entry.is_own() {
        fitting.retain(|key| named(key));
    } else {
        // Spec §3: a foreign `kid` is a hint, so its keys come first.
        fitting.sort_by_key(|key| !(named(key) || key.jwk.kid() == Some(kid)));
    }
    if fitting.is_empty() { Err(VerifyFailure::AlgorithmMismatch { alg }) } else { Ok(fitting) }
}

/// Of these keys those that the certificate in `x5c`, if there is one, carries.
fn certified<'k>(keys: Candidates<'k>, parsed: &Parsed) -> Result<Candidates<'k>, VerifyFailure> {
    let Some(leaf) = parsed.header.leaf() else { return Ok(keys) };
    let spki = subject_public_key_info(leaf).map_err(VerifyFailure::Certificate)?;
    let carried: Candidates<'_> = keys.into_iter().filter(|key| key.spki == spki).collect();
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
#[cfg(feature = "aws-lc")]
mod tests;
