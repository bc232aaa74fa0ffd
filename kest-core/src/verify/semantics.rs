//! Trust and taints, derived again, and held against everybody's authority. Spec §8, §9, §13.

mod bound;
mod sets;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use smallvec::SmallVec;

use self::bound::{Bound, Unchecked};
use self::sets::{Sets, missing};
use super::authority::Grant;
use super::error::Step;
use super::failure::VerifyFailure;
use super::jose::Parsed;
use super::links::{Links, Steps};
use super::report::{Axis, Report};
use super::verifier::Verifier;
use crate::entry::KestEntry;
use crate::passport::Node;
use crate::taint::TaintSet;
use crate::text::Quoted;

type Failed = (usize, Step, VerifyFailure);

/// Derives every entry from its parents; gives the nodes, with effective scores and taints.
pub(super) fn check(
    passport: Vec<Box<str>>,
    entries: &[Parsed],
    links: &Links,
    verifier: &Verifier,
    report: &mut Report,
) -> Result<Vec<Arc<Node>>, Failed> {
    let mut pass = Pass {
        entries,
        links,
        verifier,
        report,
        nodes: Vec::with_capacity(entries.len()),
        sets: Sets::default(),
        declared: Vec::with_capacity(entries.len()),
        seen: HashSet::new(),
        completed: HashSet::new(),
        steps: links.steps(),
        unchecked: BTreeMap::new(),
        counts: Counts::default(),
    };
    for (index, (jws, parsed)) in passport.into_iter().zip(entries).enumerate() {
        pass.entry(index, jws, parsed)?;
    }
    Ok(pass.finish())
}

struct Pass<'a> {
    entries: &'a [Parsed],
    links: &'a Links,
    verifier: &'a Verifier,
    report: &'a mut Report,
    nodes: Vec<Arc<Node>>,
    sets: Sets,
    /// The taints that each entry declares.
    declared: Vec<TaintSet>,
    /// Every taint that an entry so far declared.
    seen: HashSet<Arc<str>>,
    /// Entries that were completed.
    completed: HashSet<usize>,
    steps: Steps,
    /// What bounds could not be checked against: the first entry, and how many.
    unchecked: BTreeMap<Unchecked, (usize, usize)>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    /// Violations by foreign entries.
    tolerated: usize,
    /// What went beyond somebody's authority, and was lowered.
    limited: usize,
    /// Overrides and removals by those who may.
    overrides: usize,
    removals: usize,
}

impl<'a> Pass<'a> {
    fn entry(&mut self, index: usize, jws: Box<str>, parsed: &'a Parsed) -> Result<(), Failed> {
        let entry = &parsed.entry;
        let grant = self.grant(entry);
        let links = self.links;
        let parents = links.parents.get(index).map(SmallVec::as_slice).unwrap_or_default();
        if &*entry.classification == "denial" {
            self.violation(index, VerifyFailure::Denial)?;
        }
        let trust = self.trust(index, entry, parents, grant)?;
        let taints = self.taints(index, entry, parents, grant)?;
        self.completes(index, entry)?;
        if let Some(known) = self.verifier.options.continues.as_ref().and_then(|all| all.get(&parsed.hash)) {
            // INVARIANT: what goes on from a lineage of this process derives from what that counts for here.
            self.compare(index, entry, known.trust(), known.taints());
            self.nodes.push(Arc::clone(known));
            return Ok(());
        }
        self.compare(index, entry, trust, &taints);
        let above = parents.iter().filter_map(|parent| self.nodes.get(*parent)).cloned().collect();
        self.nodes.push(Node::new(jws, parsed.hash, above, trust, taints));
        Ok(())
    }

    fn grant(&self, entry: &KestEntry) -> Grant {
        let granted = self.verifier.authority.grant(&entry.anchored_as());
        if !self.verifier.options.skip_signatures {
            return granted;
        }
        // A name that nobody signed for gives nothing, and takes away what it takes away.
        let nobody = self.verifier.models.guide.score("unauthenticated").unwrap_or(0);
        Grant { ceiling: nobody.min(granted.ceiling), ..Grant::none() }
    }

    /// Checks the declared score, and gives the effective one.
    fn trust(
        &mut self,
        index: usize,
        entry: &KestEntry,
        parents: &[usize],
        grant: Grant,
    ) -> Result<u8, Failed> {
        let declared: SmallVec<[u8; 8]> =
            parents.iter().filter_map(|parent| Some(self.entries.get(*parent)?.entry.trust_score)).collect();
        let inherited: SmallVec<[u8; 8]> =
            parents.iter().filter_map(|parent| Some(self.nodes.get(*parent)?.trust())).collect();
        let score = entry.trust_score;
        let bound = match self.bound(entry, &declared) {
            Ok(bound) => bound,
            Err(failure) => {
                self.violation(index, failure)?;
                bound::foreign(&declared)
            }
        };
        let recorded = entry.metadata.as_ref().and_then(|metadata| metadata.trust_override);
        let mut effective = score.min(grant.ceiling);
        match recorded {
            None => {
                if let Some(unchecked) = bound.unchecked {
                    self.unchecked.entry(unchecked).or_insert((index, 0)).1 += 1;
                }
                if score > bound.score {
                    self.violation(index, VerifyFailure::RaisedTrust { score, bound: bound.score })?;
                }
            }
            Some(recorded) => {
                if recorded != score {
                    self.violation(index, VerifyFailure::OverrideMismatch { score, recorded })?;
                }
                if grant.may_override {
                    self.counts.overrides += 1;
                } else {
                    self.beyond(index, VerifyFailure::OverrideAuthority)?;
                }
            }
        }
        // INVARIANT: without an override by somebody who may, the effective score of a child is at most that of
        // each parent, and at most what the model makes of them.
        if recorded.is_none() || !grant.may_override {
            let of_inherited = if inherited == declared {
                bound.score
            } else {
                self.bound(entry, &inherited).map_or(0, |bound| bound.score)
            };
            let lowest = inherited.iter().min().copied().unwrap_or(100);
            effective = effective.min(bound.score).min(of_inherited).min(lowest);
        }
        let source = entry.metadata.as_ref().and_then(|metadata| metadata.source_type.as_deref());
        let forbidden = !grant.may_start_system && entry.is_root();
        if let Some(source @ ("system" | "internal")) = source.filter(|_| forbidden) {
            self.beyond(index, VerifyFailure::RootAuthority { source_type: source.to_owned() })?;
            effective = effective.min(self.verifier.models.guide.score("unauthenticated").unwrap_or(0));
        }
        if score > grant.ceiling {
            self.beyond(index, VerifyFailure::Ceiling { score, ceiling: grant.ceiling })?;
        }
        Ok(effective)
    }

    fn bound(&self, entry: &KestEntry, parents: &[u8]) -> Result<Bound, VerifyFailure> {
        let Some(metadata) = &entry.metadata else { return Ok(bound::foreign(parents)) };
        let mut bound = bound::own(&self.verifier.models, metadata, parents)?;
        // What Kest signs beside a call is not evaluated: it has the lowest parent's score.
        if matches!(&*entry.classification, "completion" | "snapshot") && !parents.is_empty() {
            bound.unchecked = None;
        }
        Ok(bound)
    }

    /// Checks the declared taints, and gives the effective ones.
    fn taints(
        &mut self,
        index: usize,
        entry: &KestEntry,
        parents: &[usize],
        grant: Grant,
    ) -> Result<TaintSet, Failed> {
        let limit = self.verifier.options.limits.taints;
        let too_many = || (index, Step::Semantics, VerifyFailure::EffectiveTaints { limit });
        let (own, new) = self.sets.intern(Arc::clone(&entry.taints));
        let of_parents = |sets: &dyn Fn(usize) -> Option<TaintSet>| -> SmallVec<[TaintSet; 4]> {
            parents.iter().filter_map(|parent| sets(*parent)).collect()
        };
        let inherited = of_parents(&|parent| Some(Arc::clone(self.nodes.get(parent)?.taints())));
        let declared = of_parents(&|parent| self.declared.get(parent).map(Arc::clone));
        let removed: &[Arc<str>] = if grant.may_remove_taints { &entry.removed_taints } else { &[] };
        let derived =
            self.sets.derive(&inherited, &entry.added_taints, removed, limit).ok_or_else(too_many)?;
        let same = inherited.iter().zip(&declared).all(|(a, b)| Arc::ptr_eq(a, b));
        let expected = if grant.may_remove_taints && same {
            Arc::clone(&derived)
        } else {
            // Within the limit too: what a parent declares is in effect after it.
            let removed = &entry.removed_taints;
            self.sets.derive(&declared, &entry.added_taints, removed, limit).ok_or_else(too_many)?
        };
        if let Some(taint) = missing(&own, &expected).next() {
            self.violation(index, VerifyFailure::DroppedTaint { taint: taint.to_string() })?;
        }
        self.carried(index, &own, [&expected, &derived])?;
        self.removal(index, entry, grant)?;
        if new {
            self.seen.extend(own.iter().cloned());
        }
        self.seen.extend(entry.added_taints.iter().cloned());
        self.declared.push(Arc::clone(&own));
        // INVARIANT: a taint leaves the effective set only where somebody removed it who may.
        if Arc::ptr_eq(&derived, &own) {
            return Ok(own);
        }
        self.sets.derive(&[derived, own], &[], &[], limit).ok_or_else(too_many)
    }

    /// Checks what an entry declares without having it from its parents.
    fn carried(
        &mut self,
        index: usize,
        own: &TaintSet,
        [expected, derived]: [&TaintSet; 2],
    ) -> Result<(), Failed> {
        // What this verifier keeps on the parents against their word, an honest child keeps too.
        let carried: SmallVec<[&Arc<str>; 4]> =
            missing(expected, own).filter(|taint| derived.binary_search(taint).is_err()).collect();
        let stranger = carried.iter().find(|taint| !self.seen.contains(**taint));
        match (stranger, carried.first()) {
            (Some(taint), _) => {
                self.violation(index, VerifyFailure::UnexplainedTaint { taint: taint.to_string() })
            }
            // Another verifier, with other authority, keeps more: the safe direction.
            (None, Some(taint)) => {
                let text = "carries on what an earlier entry had and its parents have not: taint";
                self.report.find(Some(index), format_args!("{text} {}", Quoted(taint)));
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    fn removal(&mut self, index: usize, entry: &KestEntry, grant: Grant) -> Result<(), Failed> {
        let Some(taint) = entry.removed_taints.first() else { return Ok(()) };
        if !grant.may_remove_taints {
            return self.beyond(index, VerifyFailure::RemovalAuthority { taint: taint.to_string() });
        }
        self.counts.removals += 1;
        if entry.metadata.is_none() {
            let text = "a foreign entry removes taints on its word alone, among them";
            self.report.find(Some(index), format_args!("{text} {}", Quoted(taint)));
        }
        Ok(())
    }

    /// A `completion` completes an ancestor of the same principal, which no other did.
    fn completes(&mut self, index: usize, entry: &KestEntry) -> Result<(), Failed> {
        let Some(completion) = entry.metadata.as_ref().and_then(|metadata| metadata.completion.as_ref())
        else {
            return Ok(());
        };
        let entry_id = completion.completes.to_string();
        let Some(ancestor) = self.links.by_id(index, completion.completes) else {
            return self.violation(index, VerifyFailure::Completes { entry_id });
        };
        if !self.completed.insert(ancestor) {
            return self.violation(index, VerifyFailure::RepeatedCompletion { entry_id });
        }
        let descends = self.links.descends(index, ancestor, &mut self.steps);
        if descends.map_err(|failure| (index, Step::Semantics, failure))? {
            return Ok(());
        }
        self.violation(index, VerifyFailure::Completes { entry_id })
    }

    /// Says where an entry counts for something else than it declares.
    fn compare(&mut self, index: usize, entry: &KestEntry, trust: u8, taints: &TaintSet) {
        let declared = entry.trust_score;
        if trust != declared {
            let text = format_args!("declares trust score {declared}, and counts as {trust}");
            self.report.find(Some(index), text);
        }
        let mut more = missing(&entry.taints, taints);
        if let Some(first) = more.next() {
            let rest = match more.count() {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            self.report.find(Some(index), format_args!("counts as tainted with {}{rest} too", Quoted(first)));
        }
    }

    /// Fails for own entries, at ingress and under `strict`; else a warning. Spec §13.
    fn violation(&mut self, index: usize, failure: VerifyFailure) -> Result<(), Failed> {
        let own = self.entries.get(index).is_none_or(|parsed| parsed.entry.is_own());
        let options = &self.verifier.options;
        if own || options.strict || options.ingress.is_some() {
            return Err((index, Step::Semantics, failure));
        }
        self.counts.tolerated += 1;
        self.report.find(Some(index), format_args!("tolerated in a foreign entry: {failure}"));
        Ok(())
    }

    /// Fails under `strict`; else a warning, and without effect.
    fn beyond(&mut self, index: usize, failure: VerifyFailure) -> Result<(), Failed> {
        if self.verifier.options.strict {
            return Err((index, Step::Authority, failure));
        }
        self.counts.limited += 1;
        self.report
            .find(Some(index), format_args!("beyond its authority, so its effect is limited: {failure}"));
        Ok(())
    }

    fn finish(self) -> Vec<Arc<Node>> {
        let Self { report, nodes, unchecked, counts, verifier, .. } = self;
        let (mut sources, mut evaluators) = (0_usize, 0_usize);
        for (what, (first, count)) in unchecked {
            let what = match what {
                Unchecked::NoSource => {
                    sources += count;
                    "no trust source is recorded".to_owned()
                }
                Unchecked::Source(name) => {
                    sources += count;
                    format!("trust source {} is not known here", Quoted(&name))
                }
                Unchecked::Evaluator(name) => {
                    evaluators += count;
                    format!("trust evaluator {} is the signer's own", Quoted(&name))
                }
            };
            let text = "bounded by parents and ceilings alone, not checked";
            report.find(Some(first), format_args!("{what}: {text} (entries: {count})"));
        }
        if nodes.is_empty() {
            return nodes;
        }
        let open: Vec<String> = [
            ("tolerated violations", counts.tolerated),
            ("unknown sources", sources),
            ("evaluators of the signers' own", evaluators),
            ("beyond authority", counts.limited),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{what}: {count}"))
        .collect();
        let rules = if verifier.authority.is_configured() {
            String::new()
        } else {
            let Counts { overrides, removals, .. } = counts;
            let text = "no authority rules were given; overrides believed";
            format!("; {text}: {overrides}, removals believed: {removals}")
        };
        report.semantics = if open.is_empty() {
            Axis::pass(format!("trust and taints follow from those of the parents{rules}"))
        } else {
            let open = open.join(", ");
            Axis::not_checked(format!("not everything could be derived: {open} (see the findings){rules}"))
        };
        nodes
    }
}
