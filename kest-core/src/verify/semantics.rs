//! Trust and taints, derived again, and held against everybody's authority. Spec §8, §9, §13.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::authority::Grant;
use super::error::Step;
use super::failure::VerifyFailure;
use super::jose::Parsed;
use super::links::Links;
use super::report::{Axis, Report};
use super::verifier::{Models, Verifier};
use crate::entry::{KestEntry, Metadata};
use crate::passport::Node;
use crate::taint::{TaintSet, accumulate};
use crate::trust::{TrustEvaluator, TrustModel, WeakestLink};

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
        nodes: Vec::with_capacity(entries.len()),
        warnings: Vec::new(),
        beyond: Vec::new(),
        unknown: BTreeMap::new(),
    };
    for (index, (jws, parsed)) in passport.into_iter().zip(entries).enumerate() {
        pass.entry(index, jws, parsed)?;
    }
    pass.finish(report)
}

struct Pass<'a> {
    entries: &'a [Parsed],
    links: &'a Links,
    verifier: &'a Verifier,
    nodes: Vec<Arc<Node>>,
    /// Violations by foreign entries, tolerated.
    warnings: Vec<(usize, VerifyFailure)>,
    /// What went beyond somebody's authority, and was lowered.
    beyond: Vec<(usize, VerifyFailure)>,
    /// Sources that could not be checked: the first entry, and how many.
    unknown: BTreeMap<Box<str>, (usize, usize)>,
}

/// What the model gives an entry without an override.
struct Bound {
    score: u8,
    /// The source it could not be checked against.
    unknown: Option<Box<str>>,
}

impl<'a> Pass<'a> {
    fn entry(&mut self, index: usize, jws: Box<str>, parsed: &'a Parsed) -> Result<(), Failed> {
        let entry = &parsed.entry;
        let grant = self.verifier.authority.grant(entry.principal());
        let links = self.links;
        let parents = links.parents.get(index).map(SmallVec::as_slice).unwrap_or_default();
        if &*entry.classification == "denial" {
            self.violation(index, VerifyFailure::Denial)?;
        }
        let trust = self.trust(index, entry, parents, grant)?;
        let taints = self.taints(index, entry, parents, grant)?;
        self.completes(index, entry)?;
        let above = parents.iter().filter_map(|parent| self.nodes.get(*parent)).cloned().collect();
        self.nodes.push(Node::new(jws, parsed.hash, above, trust, taints));
        Ok(())
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
        let score = entry.trust_score;
        let bound = match &entry.metadata {
            Some(metadata) => own_bound(&self.verifier.models, metadata, &declared),
            None => Ok(foreign_bound(&declared)),
        };
        let bound = match bound {
            Ok(bound) => bound,
            Err(failure) => {
                self.violation(index, failure)?;
                foreign_bound(&declared)
            }
        };
        let recorded = entry.metadata.as_ref().and_then(|metadata| metadata.trust_override);
        if let Some(source) = bound.unknown.filter(|_| recorded.is_none()) {
            let seen = self.unknown.entry(source).or_insert((index, 0));
            seen.1 += 1;
        }
        let mut effective = score.min(grant.ceiling);
        match recorded {
            Some(recorded) if recorded != score => {
                self.violation(index, VerifyFailure::OverrideMismatch { score, recorded })?;
            }
            Some(_) | None => {}
        }
        // INVARIANT: without an override by somebody who may, the effective score of a child is at most that of
        // each parent.
        let overridden = recorded.is_some() && grant.may_override;
        if !overridden {
            let lowest =
                parents.iter().filter_map(|parent| self.nodes.get(*parent)).map(|node| node.trust()).min();
            effective = effective.min(lowest.unwrap_or(bound.score)).min(bound.score);
        }
        if recorded.is_some() && !grant.may_override {
            self.beyond.push((index, VerifyFailure::OverrideAuthority));
        }
        if recorded.is_none() && score > bound.score {
            self.violation(index, VerifyFailure::RaisedTrust { score, bound: bound.score })?;
        }
        let source = entry.metadata.as_ref().and_then(|metadata| metadata.source_type.as_deref());
        let forbidden = !grant.may_start_system && entry.is_root();
        if let Some(source @ ("system" | "internal")) = source.filter(|_| forbidden) {
            self.beyond.push((index, VerifyFailure::RootAuthority { source_type: source.to_owned() }));
            effective = effective.min(self.verifier.models.guide.score("unauthenticated").unwrap_or(0));
        }
        if score > grant.ceiling {
            self.beyond.push((index, VerifyFailure::Ceiling { score, ceiling: grant.ceiling }));
        }
        Ok(effective)
    }

    /// Checks the declared taints, and gives the effective ones.
    fn taints(
        &mut self,
        index: usize,
        entry: &KestEntry,
        parents: &[usize],
        grant: Grant,
    ) -> Result<TaintSet, Failed> {
        if let Some(taint) = entry.removed_taints.first().filter(|_| !grant.may_remove_taints) {
            self.beyond.push((index, VerifyFailure::RemovalAuthority { taint: taint.to_string() }));
        }
        let declared: SmallVec<[TaintSet; 4]> = parents
            .iter()
            .filter_map(|parent| Some(Arc::clone(&self.entries.get(*parent)?.entry.taints)))
            .collect();
        let expected = accumulate(&declared, &entry.added_taints, &entry.removed_taints);
        let inherited: SmallVec<[TaintSet; 4]> =
            parents.iter().filter_map(|parent| Some(Arc::clone(self.nodes.get(*parent)?.taints()))).collect();
        let derived = if grant.may_remove_taints && inherited == declared {
            Arc::clone(&expected)
        } else {
            let removed: &[Arc<str>] = if grant.may_remove_taints { &entry.removed_taints } else { &[] };
            accumulate(&inherited, &entry.added_taints, removed)
        };
        if let Some(taint) = missing(&entry.taints, &expected) {
            self.violation(index, VerifyFailure::DroppedTaint { taint })?;
        }
        // What this verifier keeps on the parents against their word, an honest child keeps too.
        if let Some(taint) = missing(&unite(expected, &derived), &entry.taints) {
            self.violation(index, VerifyFailure::UnexplainedTaint { taint })?;
        }
        // INVARIANT: a taint leaves the effective set only where somebody removed it who may.
        if derived == entry.taints {
            return Ok(Arc::clone(&entry.taints));
        }
        Ok(unite(derived, &entry.taints))
    }

    /// A `completion` completes an ancestor of the same principal.
    fn completes(&mut self, index: usize, entry: &KestEntry) -> Result<(), Failed> {
        let Some(completion) = entry.metadata.as_ref().and_then(|metadata| metadata.completion.as_ref())
        else {
            return Ok(());
        };
        let ancestor =
            self.links.by_id(index, completion.completes).is_some_and(|a| self.links.descends(index, a));
        if ancestor {
            return Ok(());
        }
        self.violation(index, VerifyFailure::Completes { entry_id: completion.completes.to_string() })
    }

    /// Fails for own entries, at ingress and under `strict`; else a warning. Spec §13.
    fn violation(&mut self, index: usize, failure: VerifyFailure) -> Result<(), Failed> {
        let own = self.entries.get(index).is_none_or(|parsed| parsed.entry.is_own());
        let options = &self.verifier.options;
        if own || options.strict || options.ingress.is_some() {
            return Err((index, Step::Semantics, failure));
        }
        self.warnings.push((index, failure));
        Ok(())
    }

    fn finish(self, report: &mut Report) -> Result<Vec<Arc<Node>>, Failed> {
        if self.verifier.options.strict {
            if let Some((index, failure)) = self.beyond.into_iter().next() {
                return Err((index, Step::Authority, failure));
            }
            return Ok(conclude(report, self.nodes, &[], &[], &self.unknown));
        }
        Ok(conclude(report, self.nodes, &self.warnings, &self.beyond, &self.unknown))
    }
}

fn conclude(
    report: &mut Report,
    nodes: Vec<Arc<Node>>,
    warnings: &[(usize, VerifyFailure)],
    beyond: &[(usize, VerifyFailure)],
    unknown: &BTreeMap<Box<str>, (usize, usize)>,
) -> Vec<Arc<Node>> {
    for (index, failure) in warnings {
        report.find(Some(*index), format!("tolerated in a foreign entry: {failure}"));
    }
    for (index, failure) in beyond {
        report.find(Some(*index), format!("beyond its authority, so its effect is limited: {failure}"));
    }
    for (source, (first, count)) in unknown {
        let source = match &**source {
            "" => "no trust source is recorded".to_owned(),
            name => format!("trust source `{name}` is not known here"),
        };
        let text = format!("{source}: bounded by parents and ceilings alone, not checked (entries: {count})");
        report.find(Some(*first), text);
    }
    if nodes.is_empty() {
        return nodes;
    }
    report.semantics = if warnings.is_empty() && unknown.is_empty() {
        Axis::pass(match beyond.len() {
            0 => "trust and taints follow from those of the parents".to_owned(),
            n => format!("trust and taints follow from those of the parents; limited by authority: {n}"),
        })
    } else {
        Axis::not_checked(format!(
            "not everything could be derived: tolerated violations: {}, unknown sources: {} (see the findings)",
            warnings.len(),
            unknown.values().map(|(_, count)| count).sum::<usize>()
        ))
    };
    nodes
}

fn unite(one: TaintSet, other: &TaintSet) -> TaintSet {
    if one == *other { one } else { accumulate(&[one, Arc::clone(other)], &[], &[]) }
}

/// The first of `of` that is not in `from`; both are sorted.
fn missing(from: &TaintSet, of: &TaintSet) -> Option<String> {
    if Arc::ptr_eq(from, of) || from == of {
        return None;
    }
    of.iter().find(|taint| from.binary_search(taint).is_err()).map(ToString::to_string)
}

/// Nothing is known of a foreign entry but that it may not raise trust.
fn foreign_bound(parents: &[u8]) -> Bound {
    match parents.iter().min() {
        Some(lowest) => Bound { score: *lowest, unknown: None },
        None => Bound { score: 100, unknown: Some("".into()) },
    }
}

fn own_bound(models: &Models, metadata: &Metadata, parents: &[u8]) -> Result<Bound, VerifyFailure> {
    let (name, custom) = match metadata.model.split_once('/') {
        Some((name, evaluator)) if !evaluator.is_empty() => (name, true),
        Some(_) => ("", false),
        None => (&*metadata.model, false),
    };
    let model: &TrustModel = match name {
        "guide" => &models.guide,
        "spec_v0_3" => &models.spec_v0_3,
        _ => return Err(VerifyFailure::UnknownModel { model: metadata.model.to_string() }),
    };
    let source = metadata.source_type.as_deref();
    let own = source.map(|source| model.score(source));
    let unknown = source.filter(|_| own == Some(None)).map(Into::into);
    let score = match (parents, own) {
        // Spec §8: a root without a source is worth what nobody vouches for.
        ([], None) => model.score("unauthenticated").unwrap_or(0),
        ([], Some(own)) => own.unwrap_or(100),
        // Whatever an evaluator of one's own gives, it may not exceed the lowest parent.
        (parents, _) if custom => WeakestLink.calculate(100, parents),
        (parents, own) => model.evaluator().calculate(own.flatten().unwrap_or(100), parents),
    };
    // A custom evaluator is bounded without regard to the source, so an unknown one hides nothing.
    let unknown = if custom && !parents.is_empty() { None } else { unknown };
    Ok(Bound { score, unknown })
}
