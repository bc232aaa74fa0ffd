//! A lineage as a picture: what is written on its entries and along its edges, in whatever form it is drawn.

pub(crate) mod dot;
pub(crate) mod html;
mod layout;
pub(crate) mod mermaid;
pub(crate) mod svg;

use std::collections::HashSet;

use kest_core::verify::Effective;

use crate::entry::{Shown, named};
use crate::lineage::Status;
use crate::text;
use crate::verdict::Answer;

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture<'a> {
    /// What the passport is called.
    pub(crate) name: &'a str,
    pub(crate) entries: &'a [Shown],
    pub(crate) parents: &'a [Vec<usize>],
    pub(crate) answer: Option<&'a Answer>,
}

/// How an entry is marked: by a sign, a word and a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Verified,
    NotVerified,
    Failed,
    Broken,
}

impl Mark {
    pub(crate) const ALL: [Self; 4] = [Self::Verified, Self::NotVerified, Self::Failed, Self::Broken];

    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Verified => "●",
            Self::NotVerified => "○",
            Self::Failed | Self::Broken => "✗",
        }
    }

    /// Also the name of its class.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::NotVerified => "not verified",
            Self::Failed => "failed",
            Self::Broken => "broken",
        }
    }

    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::NotVerified => "unverified",
            Self::Failed => "failed",
            Self::Broken => "broken",
        }
    }
}

/// How much trust an entry has, for colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    High,
    Middle,
    Low,
    Unknown,
}

impl Level {
    pub(crate) fn of(trust: Option<u64>) -> Self {
        match trust {
            Some(70..) => Self::High,
            Some(40..) => Self::Middle,
            Some(_) => Self::Low,
            None => Self::Unknown,
        }
    }

    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Middle => "middle",
            Self::Low => "low",
            Self::Unknown => "unknown",
        }
    }
}

/// What an earlier entry hands on to a later one.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) level: Level,
    pub(crate) tainted: bool,
    pub(crate) label: String,
}

/// More taints than this are counted.
const LISTED: usize = 3;

impl<'a> Picture<'a> {
    pub(crate) fn new(
        name: &'a str,
        entries: &'a [Shown],
        parents: &'a [Vec<usize>],
        answer: Option<&'a Answer>,
    ) -> Self {
        Self { name, entries, parents, answer }
    }

    pub(crate) fn mark(&self, entry: &Shown) -> Mark {
        match Status::of(entry, self.answer) {
            _ if entry.problem.is_some() => Mark::Broken,
            Status::Failed => Mark::Failed,
            Status::Verified => Mark::Verified,
            Status::NotVerified => Mark::NotVerified,
        }
    }

    fn effective(&self, entry: &Shown) -> Option<&Effective> {
        self.answer?.effective.as_ref()?.get(entry.index)
    }

    /// The lines on an entry: mark, operation, workload, trust and classification, taints if there are any.
    pub(crate) fn lines(&self, entry: &Shown, longest: usize) -> Vec<String> {
        let unknown = || "?".to_owned();
        let mark = self.mark(entry);
        let mut lines = vec![
            format!("{} {} · {}", mark.sign(), mark.word(), text::short_hash(&entry.hash)),
            entry.operation.as_deref().map_or_else(unknown, |operation| text::field(operation, longest)),
            named(entry.principal.as_deref(), entry.oidc.as_ref(), longest).unwrap_or_else(unknown),
            self.trust_line(entry),
        ];
        if is_denial(entry) {
            lines.insert(1, "⊘ denied".to_owned());
        }
        let taints = self.taint_line(entry);
        if !taints.is_empty() {
            lines.push(taints);
        }
        lines
    }

    fn trust_line(&self, entry: &Shown) -> String {
        let mut line =
            entry.trust_score.map_or_else(|| "trust ?".to_owned(), |score| format!("trust {score}"));
        if let Some(counts) =
            self.effective(entry).filter(|it| Some(u64::from(it.trust_score)) != entry.trust_score)
        {
            line.push_str(&format!("→{}", counts.trust_score));
        }
        match entry.classification.as_deref() {
            None | Some("system" | "denial") => {}
            Some(classification) => line.push_str(&format!(" · {}", text::field(classification, 20))),
        }
        line
    }

    /// `+` added, `−` removed, `→` kept by the verifier against the entry's word, the others carried on.
    fn taint_line(&self, entry: &Shown) -> String {
        let new: HashSet<&String> = entry.added_taints.iter().collect();
        let declared: HashSet<&str> = entry.taints.iter().map(String::as_str).collect();
        let kept = self.effective(entry).into_iter().flat_map(|effective| effective.taints.iter());
        let added = entry.added_taints.iter().map(|taint| ("+", taint.as_str()));
        let removed = entry.removed_taints.iter().map(|taint| ("−", taint.as_str()));
        let carried = entry.taints.iter().filter(|taint| !new.contains(taint));
        let kept = kept.map(|taint| &**taint).filter(|taint| !declared.contains(taint));
        let all: Vec<(&str, &str)> = added
            .chain(removed)
            .chain(carried.map(|taint| ("", taint.as_str())))
            .chain(kept.map(|taint| ("→", taint)))
            .collect();
        listed(&all)
    }

    /// The edges, by later entry and then as that names its parents.
    pub(crate) fn edges(&self) -> Vec<Edge> {
        let all = self.entries.iter().zip(self.parents).flat_map(|(entry, parents)| {
            parents.iter().filter_map(|parent| Some(self.edge(self.entries.get(*parent)?, entry)))
        });
        all.collect()
    }

    fn edge(&self, from: &Shown, to: &Shown) -> Edge {
        let counts = self.effective(from);
        let trust = counts.map_or(from.trust_score, |it| Some(u64::from(it.trust_score)));
        let taints: Vec<&str> = match counts {
            Some(effective) => effective.taints.iter().map(|taint| &**taint).collect(),
            None => from.taints.iter().map(String::as_str).collect(),
        };
        let mut label = trust.map_or_else(|| "trust ?".to_owned(), |score| format!("trust {score}"));
        let carried: Vec<(&str, &str)> = taints.iter().map(|taint| ("", *taint)).collect();
        if !carried.is_empty() {
            label.push_str(&format!(" · {}", listed(&carried)));
        }
        Edge { from: from.index, to: to.index, level: Level::of(trust), tainted: !taints.is_empty(), label }
    }

    /// One line about the whole.
    pub(crate) fn verdict(&self) -> String {
        match self.answer {
            Some(answer) => text::message(&answer.summary),
            None if self.entries.is_empty() => "the passport is empty: there is nothing to draw".to_owned(),
            None => {
                let entries = if self.entries.len() == 1 { "entry" } else { "entries" };
                format!("{} {entries}: not verified, only what the passport claims", self.entries.len())
            }
        }
    }

    /// Why an entry is marked as failed or broken.
    pub(crate) fn trouble(&self, entry: &Shown) -> Option<String> {
        let failure = self.answer.and_then(|answer| answer.failure.as_ref());
        match failure.filter(|failure| failure.entry == Some(entry.index)) {
            Some(failure) => {
                Some(format!("fails at step {}: {}", failure.step, text::message(&failure.cause)))
            }
            None => entry.problem.as_ref().map(|problem| format!("broken: {}", text::message(problem))),
        }
    }
}

/// Whether the entry is the receipt of a call that was not allowed.
pub(crate) fn is_denial(entry: &Shown) -> bool {
    entry.classification.as_deref() == Some("denial")
}

fn listed(taints: &[(&str, &str)]) -> String {
    let shown = taints.iter().take(LISTED).map(|(sign, taint)| format!("{sign}{}", text::field(taint, 20)));
    let mut line = shown.collect::<Vec<_>>().join(" ");
    if taints.len() > LISTED {
        line.push_str(&format!(" and {} more", taints.len() - LISTED));
    }
    line
}
