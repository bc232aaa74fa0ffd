//! Entries by themselves, as an audit store has them: who signed each, not what it follows from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::VerifyFailure;
use super::jose::{Parsed, Parser};
use super::signature::{self, Principals};
use super::verifier::Verifier;
use crate::entry::KestEntry;

type Checked = Result<Arc<KestEntry>, VerifyFailure>;

impl Verifier {
    /// Checks entries one by one, as a store keeps them: the steps parse, schema, principals and signatures of spec
    /// §13, for each compact JWS and the time in epoch milliseconds at which it was received (see
    /// [`VerifierBuilder::received_at`](super::VerifierBuilder::received_at)). The answers are in their order.
    ///
    /// What an entry follows from, and whether that lets it say what it says, is not looked at: that takes its whole
    /// lineage, see [`UnverifiedPassport::verify`](super::UnverifiedPassport::verify). A receipt of a denial is checked
    /// like any other entry.
    ///
    /// All of it happens on the calling thread.
    #[must_use]
    pub fn check_each(&self, entries: &[(&str, u64)]) -> Vec<Checked> {
        let mut parser =
            Parser::new(&self.options.limits, self.options.accept_mock).remembering(self.remembered.as_ref());
        // What is not proven below stays refused.
        let mut proofs: Vec<Result<(), VerifyFailure>> = Vec::with_capacity(entries.len());
        let mut parsed: Vec<Option<Parsed>> = Vec::with_capacity(entries.len());
        for (jws, _) in entries {
            let (entry, proof) = match parser.parse(jws, None) {
                Ok(entry) if self.options.skip_signatures => (Some(entry), Ok(())),
                Ok(entry) => (Some(entry), Err(VerifyFailure::Signature)),
                Err((_, failure)) => (None, Err(failure)),
            };
            parsed.push(entry);
            proofs.push(proof);
        }
        if !self.options.skip_signatures {
            for ((_, received_ms), group) in grouped(&parsed, entries) {
                let verifier = match received_ms {
                    Some(received_ms) => Cow::Owned(self.received_at(received_ms)),
                    None => Cow::Borrowed(self),
                };
                prove(&verifier, entries, &parsed, group, &mut proofs);
            }
        }
        parsed
            .into_iter()
            .zip(proofs)
            .map(|(parsed, proof)| proof.and_then(|()| Ok(parsed.ok_or(VerifyFailure::Signature)?.entry)))
            .collect()
    }
}

/// Entries of one principal, and of one time where they bring certificates.
fn grouped<'a>(
    parsed: &'a [Option<Parsed>],
    entries: &[(&str, u64)],
) -> BTreeMap<(Cow<'a, str>, Option<u64>), Vec<usize>> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, (parsed, (_, received_ms))) in parsed.iter().zip(entries).enumerate() {
        let Some(parsed) = parsed else { continue };
        let time = parsed.header.leaf().map(|_| *received_ms);
        groups.entry((parsed.entry.anchored_as(), time)).or_default().push(index);
    }
    groups
}

/// The keys of a group, and its signatures. What fails is taken out, and the others are asked for anew.
fn prove(
    verifier: &Verifier,
    entries: &[(&str, u64)],
    parsed: &[Option<Parsed>],
    mut group: Vec<usize>,
    proofs: &mut [Result<(), VerifyFailure>],
) {
    let mut say = |index: usize, proof: Result<(), VerifyFailure>| {
        if let Some(place) = proofs.get_mut(index) {
            *place = proof;
        }
    };
    while !group.is_empty() {
        let members: Vec<Parsed> = group.iter().filter_map(|index| parsed.get(*index)?.clone()).collect();
        let principals = Principals::collect(&members);
        match signature::resolve(verifier, &principals, &members) {
            Ok(resolved) => {
                for (number, (index, member)) in group.iter().zip(&members).enumerate() {
                    let jws = entries.get(*index).map_or("", |(jws, _)| jws);
                    if resolved.was_good(number, 0, member) {
                        say(*index, Ok(()));
                        continue;
                    }
                    let under = resolved.check(number, 0, member, jws);
                    if let (Ok(Some(key)), Some(remembered)) = (&under, &verifier.remembered) {
                        remembered.good(member, *key);
                    }
                    say(*index, under.map(|_| ()));
                }
                return;
            }
            Err((_, _, VerifyFailure::UnknownPrincipal { principal })) if !verifier.options.accept_mock => {
                for index in group.drain(..) {
                    say(index, Err(VerifyFailure::UnknownPrincipal { principal: principal.clone() }));
                }
            }
            Err((number, _, failure)) => {
                let number = number.min(group.len() - 1);
                say(group.remove(number), Err(failure));
            }
        }
    }
}
