//! Chains that were validated, so that the many entries of one SVID cost one validation.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::super::bundle::Authorities;
use super::super::jose::Header;
use super::super::key::Key;
use super::super::remember::{ChainId, Remembered};
use super::super::verifier::{Ingress, Options};
use super::error::{ChainError, Moment};
use super::window::Window;

/// What the validation of a chain gave.
pub(in crate::verify) struct SpeaksUntil {
    /// The leaf's.
    key: Key,
    /// When the leaf is valid.
    leaf: Window,
    /// When all of the chain is: at every moment of it the outcome is the same.
    all: Window,
}

/// Keys of leafs and when they are valid, by number.
#[derive(Default)]
pub(in crate::verify) struct Leaves(Vec<Arc<SpeaksUntil>>);

impl Leaves {
    pub(in crate::verify) fn get(&self, leaf: usize) -> Option<&Key> {
        self.0.get(leaf).map(|speaks| &speaks.key)
    }

    #[cfg(all(test, feature = "aws-lc"))]
    pub(in crate::verify) fn len(&self) -> usize {
        self.0.len()
    }
}

/// When a chain holds, and the number of its leaf.
type Validated = SmallVec<[(Window, usize); 1]>;

/// The chains of one passport that were validated: each with the number of its leaf, and when it holds.
pub(in crate::verify) struct Known<'a> {
    options: &'a Options,
    remembered: Option<&'a Remembered>,
    /// By the digest of the chain and the number of the principal.
    chains: HashMap<([u8; 32], usize), Validated>,
    leaves: Leaves,
    /// Validations so far, good or bad: of the passport, and by the number of the principal.
    tried: usize,
    tried_of: HashMap<usize, usize>,
}

/// Why no certificate speaks for an entry.
pub(in crate::verify) enum Refusal {
    Chain(ChainError),
    /// More validations than the limit, and the member of `Limits` that says so.
    TooMany(usize, &'static str),
}

impl From<ChainError> for Refusal {
    fn from(error: ChainError) -> Self {
        Self::Chain(error)
    }
}

/// How far authorities date certificates back. SPIRE: 10 s.
const BACKDATED_MS: u64 = 10_000;

impl<'a> Known<'a> {
    pub(in crate::verify) fn new(options: &'a Options, remembered: Option<&'a Remembered>) -> Self {
        Self {
            options,
            remembered,
            chains: HashMap::new(),
            leaves: Leaves::default(),
            tried: 0,
            tried_of: HashMap::new(),
        }
    }

    /// The number of the leaf whose key an entry of `principal` is checked with.
    pub(in crate::verify) fn leaf(
        &mut self,
        header: &Header,
        (number, principal): (usize, &str),
        authorities: &Authorities,
        timestamp_ms: u64,
    ) -> Result<usize, Refusal> {
        let Some(digest) = header.chain_digest else { return Err(ChainError::Missing.into()) };
        let id = self.remembered.map(|_| ChainId::new(&digest, &authorities.digest, principal));
        let mut leaf = None;
        for moments in demanded(self.options, timestamp_ms) {
            let before = self.chains.get(&(digest, number)).map(SmallVec::as_slice).unwrap_or_default();
            let known = before.iter().find(|(window, _)| moments.iter().any(|(at, _)| window.contains(*at)));
            if let Some((_, known)) = known {
                leaf = Some(*known);
                continue;
            }
            let mut outcome = Err(ChainError::Missing);
            for (at_ms, moment) in moments {
                self.count(number)?;
                // Counted like the validation that it saves: the limits hold whatever is remembered.
                match self.remembered(id.as_ref(), at_ms).map_or_else(
                    || validate(&header.chain, principal, authorities, at_ms, moment).map(Arc::new),
                    Ok,
                ) {
                    // Valid at one of them is enough; the first says why not.
                    Err(error @ (ChainError::Expired { .. } | ChainError::NotYetValid { .. })) => {
                        if matches!(outcome, Err(ChainError::Missing)) {
                            outcome = Err(error);
                        }
                    }
                    other => {
                        outcome = other;
                        break;
                    }
                }
            }
            let speaks = outcome?;
            if let (Some(remembered), Some(id)) = (self.remembered, &id) {
                remembered.speaks(id, &speaks);
            }
            let number_of_leaf = self.leaves.0.len();
            self.chains.entry((digest, number)).or_default().push((speaks.all, number_of_leaf));
            self.leaves.0.push(speaks);
            leaf = Some(number_of_leaf);
        }
        leaf.ok_or(Refusal::Chain(ChainError::Missing))
    }

    fn remembered(&self, id: Option<&ChainId>, at_ms: u64) -> Option<Arc<SpeaksUntil>> {
        self.remembered?.chain(id?).filter(|speaks| speaks.all.contains(at_ms))
    }

    /// By how many seconds an entry is dated before its leaf was valid. Without receipt and ingress the leaf is valid at
    /// the entry's time, or else there is no leaf.
    pub(in crate::verify) fn predates(&self, leaf: usize, timestamp_ms: u64) -> Option<u64> {
        let slack_ms = self.options.ingress.map_or(BACKDATED_MS, |ingress| ingress.skew_ms);
        self.leaves.0.get(leaf).and_then(|speaks| speaks.leaf.predated(timestamp_ms, slack_ms))
    }

    fn count(&mut self, principal: usize) -> Result<(), Refusal> {
        let limits = &self.options.limits;
        self.tried += 1;
        if self.tried > limits.chains {
            return Err(Refusal::TooMany(limits.chains, "chains"));
        }
        let of_principal = self.tried_of.entry(principal).or_default();
        *of_principal += 1;
        if self.options.ingress.is_some() && *of_principal > limits.ingress_chains {
            return Err(Refusal::TooMany(limits.ingress_chains, "ingress_chains"));
        }
        Ok(())
    }

    pub(in crate::verify) fn into_leaves(self) -> Leaves {
        self.leaves
    }
}

type Moments = SmallVec<[(u64, Moment); 4]>;

/// When the certificate of an entry must be valid: at one moment of each list. Spec §13, certificate time.
fn demanded(options: &Options, timestamp_ms: u64) -> SmallVec<[Moments; 2]> {
    let mut all: SmallVec<[Moments; 2]> = SmallVec::new();
    if let Some(Ingress { now_ms, max_age_ms, skew_ms }) = options.ingress {
        let (early, late) = (now_ms.saturating_sub(skew_ms), now_ms.saturating_add(skew_ms));
        let mut moments = Moments::from_slice(&[now_ms, early, late].map(|at| (at, Moment::Now)));
        let age_ms = now_ms.saturating_sub(timestamp_ms);
        if timestamp_ms <= late && age_ms <= max_age_ms.saturating_add(skew_ms) {
            moments.push((timestamp_ms, Moment::Asserted));
        }
        all.push(moments);
    }
    if let Some(received_ms) = options.received_ms {
        all.push(Moments::from_slice(&[(received_ms, Moment::Received)]));
    }
    if all.is_empty() {
        all.push(Moments::from_slice(&[(timestamp_ms, Moment::Asserted)]));
    }
    all
}

#[cfg(feature = "aws-lc")]
fn validate(
    chain: &[Vec<u8>],
    principal: &str,
    authorities: &Authorities,
    at_ms: u64,
    moment: Moment,
) -> Result<SpeaksUntil, ChainError> {
    let super::path::Speaks { key, leaf, all } =
        super::path::validate(chain, principal, authorities, at_ms, moment)?;
    Key::new(key).map(|key| SpeaksUntil { key, leaf, all }).map_err(ChainError::Key)
}

#[cfg(not(feature = "aws-lc"))]
fn validate(
    _chain: &[Vec<u8>],
    _principal: &str,
    _authorities: &Authorities,
    _at_ms: u64,
    _moment: Moment,
) -> Result<SpeaksUntil, ChainError> {
    Err(ChainError::NotBuilt)
}
