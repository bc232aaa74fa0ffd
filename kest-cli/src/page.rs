//! Entries drawn as text, with the lines that lead from each to its children.

use std::collections::{HashMap, HashSet};

use kest_core::verify::{Effective, Finding};
use serde_json::Value;

use crate::entry::{Denied, Shown, named};
use crate::graph::{self, Row};
use crate::lineage::Status;
use crate::output::{Ink, Out};
use crate::text;
use crate::verdict::Answer;

/// What an audit store knows of an entry besides.
#[derive(Debug)]
pub(crate) struct Kept {
    /// When it was received, in words.
    pub(crate) received: String,
    pub(crate) status: Status,
    /// What is wrong with its signature.
    pub(crate) failure: Option<String>,
    /// Parents that are not in the store.
    pub(crate) outside: Vec<String>,
    /// Whether it is what was asked for.
    pub(crate) asked: bool,
}

/// What is drawn.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub(crate) out: Out,
    pub(crate) entries: &'a [Shown],
    pub(crate) answer: Option<&'a Answer>,
    pub(crate) findings: HashMap<Option<usize>, Vec<&'a Finding>>,
    pub(crate) oneline: bool,
    /// One for each entry where they come from an audit store; else none.
    pub(crate) kept: &'a [Kept],
}

impl Page<'_> {
    pub(crate) fn status(&self, entry: &Shown) -> Status {
        self.kept.get(entry.index).map_or_else(|| Status::of(entry, self.answer), |kept| kept.status)
    }

    pub(crate) fn effective(&self, entry: &Shown) -> Option<&Effective> {
        self.answer?.effective.as_ref()?.get(entry.index)
    }

    pub(crate) fn render(&self, parents: &[Vec<usize>], footer: &str) -> String {
        let mut page = String::new();
        match graph::draw(parents) {
            Some(rows) => {
                for (entry, row) in self.entries.iter().zip(&rows) {
                    self.entry(&mut page, entry, row, None);
                }
            }
            None => {
                page.push_str("too many branches to draw: the parents are named instead\n");
                let row =
                    Row { before: String::new(), after: " ".to_owned(), below: "  ".to_owned(), gap: false };
                for (entry, parents) in self.entries.iter().zip(parents) {
                    self.entry(&mut page, entry, &row, Some(parents));
                }
            }
        }
        for finding in self.findings.get(&None).into_iter().flatten() {
            page.push_str(&format!("finding: {}\n", text::message(&finding.text)));
        }
        if let Some(more) = self.answer.map(|answer| answer.more_findings).filter(|more| *more > 0) {
            page.push_str(&format!("finding: and {more} more\n"));
        }
        page.push_str(footer);
        page
    }

    fn entry(&self, page: &mut String, entry: &Shown, row: &Row, named: Option<&Vec<usize>>) {
        let status = self.status(entry);
        let mark = match status {
            _ if entry.problem.is_some() => self.out.ink(Ink::Bad, "✗"),
            Status::Failed => self.out.ink(Ink::Bad, "✗"),
            Status::Verified if entry.is_denial() => self.out.ink(Ink::Good, "⊘"),
            Status::NotVerified if entry.is_denial() => self.out.ink(Ink::Unsure, "⊘"),
            Status::Verified => self.out.ink(Ink::Good, "●"),
            Status::NotVerified => self.out.ink(Ink::Unsure, "○"),
        };
        let Row { before, after, below, gap } = row;
        page.push_str(&format!("{before}{mark}{after}{}\n", self.headline(entry)));
        let mut details = Vec::new();
        if let Some(parents) = named.filter(|parents| !parents.is_empty()) {
            let hashes = parents.iter().filter_map(|parent| self.entries.get(*parent));
            details.push(format!(
                "after {}",
                listed(hashes.map(|parent| text::short_hash(&parent.hash).to_owned()))
            ));
        }
        let kept = self.kept.get(entry.index);
        if let Some(kept) = kept {
            let outside = kept.outside.iter().map(|parent| text::field(text::short_hash(parent), 24));
            if !kept.outside.is_empty() {
                let line = format!("after {}, outside of this store", listed(outside));
                details.push(self.out.ink(Ink::Unsure, &line));
            }
            if let Some(failure) = &kept.failure {
                details.push(self.out.ink(Ink::Bad, &format!("fails: {}", text::message(failure))));
            }
        }
        if let Some(denied) = &entry.denied {
            details.push(self.out.ink(Ink::Bad, &denied_line(denied)));
        }
        if !self.oneline {
            let received = kept.map(|kept| format!("received {}", kept.received));
            details.extend(received.map(|line| self.out.ink(Ink::Quiet, &line)));
            details.extend(detailed(entry).iter().map(|line| self.out.ink(Ink::Quiet, line)));
        }
        if let Some(problem) = entry.problem.as_ref().filter(|_| status != Status::Failed) {
            details.push(self.out.ink(Ink::Bad, &format!("broken: {}", text::message(problem))));
        }
        if let Some(answer) = self.answer {
            if let (Status::Failed, Some(failure)) = (status, &answer.failure) {
                let line = format!("fails at step {}: {}", failure.step, text::message(&failure.cause));
                details.push(self.out.ink(Ink::Bad, &line));
            }
            for finding in self.findings.get(&Some(entry.index)).into_iter().flatten() {
                details
                    .push(self.out.ink(Ink::Unsure, &format!("finding: {}", text::message(&finding.text))));
            }
        }
        for line in &details {
            page.push_str(&format!("{below}  {line}\n"));
        }
        if details.is_empty() && *gap {
            page.push_str(&format!("{}\n", below.trim_end()));
        }
    }

    fn headline(&self, entry: &Shown) -> String {
        let unknown = || "?".to_owned();
        let operation =
            entry.operation.as_deref().map_or_else(unknown, |operation| text::field(operation, 60));
        let mut line = format!(
            "{} {}  {}  trust {}",
            self.out.ink(Ink::Unsure, text::short_hash(&entry.hash)),
            self.out.ink(Ink::Strong, &operation),
            named(entry.principal.as_deref(), entry.oidc.as_ref(), 48).unwrap_or_else(unknown),
            entry.trust_score.map_or_else(unknown, |score| score.to_string()),
        );
        if self.kept.get(entry.index).is_some_and(|kept| kept.asked) {
            line.insert_str(0, &self.out.ink(Ink::Strong, "▶ "));
        }
        let effective = self.effective(entry);
        if let Some(counts) = effective.filter(|it| Some(u64::from(it.trust_score)) != entry.trust_score) {
            line.push_str(&self.out.ink(Ink::Bad, &format!("→{}", counts.trust_score)));
        }
        if let Some(classification) = entry.classification.as_deref().filter(|class| *class != "system") {
            line.push_str(&format!("  {}", text::field(classification, 24)));
        }
        let added = entry.added_taints.iter().map(|taint| (Ink::Bad, "+", taint));
        let removed = entry.removed_taints.iter().map(|taint| (Ink::Good, "−", taint));
        let new: HashSet<&String> = entry.added_taints.iter().collect();
        let carried = entry.taints.iter().filter(|taint| !new.contains(taint));
        let declared: HashSet<&str> = entry.taints.iter().map(String::as_str).collect();
        let kept = effective.into_iter().flat_map(|effective| effective.taints.iter());
        let kept = kept.map(|taint| &**taint).filter(|taint| !declared.contains(taint));
        let all: Vec<(Ink, &str, &str)> = added
            .chain(removed)
            .chain(carried.map(|taint| (Ink::Quiet, "", taint)))
            .map(|(ink, sign, taint)| (ink, sign, taint.as_str()))
            .chain(kept.map(|taint| (Ink::Bad, "→", taint)))
            .collect();
        for (index, (ink, sign, taint)) in all.iter().take(LISTED).enumerate() {
            line.push_str(if index == 0 { "  " } else { " " });
            line.push_str(&self.out.ink(*ink, &format!("{sign}{}", text::field(taint, 32))));
        }
        if all.len() > LISTED {
            line.push_str(&format!(" and {} more", all.len() - LISTED));
        }
        line
    }

    pub(crate) fn footer(&self) -> String {
        let broken = self.entries.iter().filter(|entry| entry.problem.is_some()).count();
        let (ink, line) = match self.answer {
            Some(answer) if answer.accepted => (Ink::Strong, answer.summary.clone()),
            Some(answer) => {
                let to_do = answer
                    .failure
                    .as_ref()
                    .map_or(String::new(), |failure| format!("\nto do: {}", text::message(&failure.fix)));
                let cause = answer.failure.as_ref().filter(|failure| failure.entry.is_none());
                let cause =
                    cause.map_or(String::new(), |failure| format!("\n{}", text::message(&failure.cause)));
                return format!(
                    "{}{cause}{to_do}\n",
                    self.out.ink(Ink::Bad, &text::message(&answer.summary))
                );
            }
            None if self.entries.is_empty() => {
                (Ink::Unsure, "the passport is empty: there is nothing to show".to_owned())
            }
            None => {
                let count = self.entries.len();
                let entries = if count == 1 { "entry" } else { "entries" };
                let broken = if broken == 0 { String::new() } else { format!(", {broken} broken") };
                (Ink::Unsure, format!("{count} {entries}{broken}; not verified: give --anchors or --bundle"))
            }
        };
        format!("{}\n", self.out.ink(ink, &text::message(&line)))
    }
}

/// More than this of one kind is counted.
const LISTED: usize = 12;

/// The lines under an entry.
fn detailed(entry: &Shown) -> Vec<String> {
    let mut lines = Vec::new();
    let mut context = Vec::new();
    for (name, value) in [("user", &entry.user), ("agent", &entry.agent), ("task", &entry.task)] {
        if !value.is_null() {
            context.push(format!("{name} {}", json_field(value)));
        }
    }
    if let Some(resource) = &entry.resource_id {
        context.push(format!("resource {}", text::field(resource, 60)));
    }
    if !entry.resource_attr.is_null() {
        context.push(format!("attributes {}", json_field(&entry.resource_attr)));
    }
    if !context.is_empty() {
        lines.push(context.join("  "));
    }
    let tiers = [
        ("enterprise", &entry.policies.enterprise),
        ("platform", &entry.policies.platform),
        ("application", &entry.policies.application),
        ("function", &entry.policies.function),
    ];
    let higher = tiers.iter().take(3).any(|(_, names)| !names.is_empty());
    let policies: Vec<String> = tiers
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(tier, names)| {
            let names = listed(names.iter().map(|name| text::field(name, 48)));
            if higher { format!("{tier}: {names}") } else { names }
        })
        .collect();
    if !policies.is_empty() {
        // A receipt names those that were asked.
        let label = if entry.is_denial() { "asked" } else { "allowed by" };
        lines.push(format!("{label} {}", policies.join("; ")));
    }
    for deviation in entry.deviations.iter().take(LISTED) {
        let of = |value: &Option<String>| {
            value.as_deref().map_or_else(|| "?".to_owned(), |text| text::field(text, 60))
        };
        lines.push(format!(
            "deviates from {} ({}): {}, approved by {}",
            of(&deviation.policy),
            of(&deviation.tier),
            of(&deviation.reason),
            of(&deviation.approver)
        ));
    }
    if entry.deviations.len() > LISTED {
        lines.push(format!("and {} more deviations", entry.deviations.len() - LISTED));
    }
    lines
}

fn denied_line(denied: &Denied) -> String {
    let of = |value: &Option<String>| {
        value.as_deref().map_or_else(|| "?".to_owned(), |text| text::field(text, 60))
    };
    let mut line = format!("denied by {} ({})", of(&denied.policy), of(&denied.tier));
    if denied.reason.is_some() {
        line.push_str(&format!(": {}", of(&denied.reason)));
    }
    line
}

fn json_field(value: &Value) -> String {
    match value {
        Value::String(text) => text::field(text, 60),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            text::message(&value.to_string().chars().take(120).collect::<String>())
        }
    }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    if names.len() > LISTED {
        let more = names.len() - LISTED;
        names.truncate(LISTED);
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}
