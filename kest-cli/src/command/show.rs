//! `kest show`.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use kest_core::verify::{Effective, Finding};
use serde::Serialize;
use serde_json::Value;

use crate::Outcome;
use crate::entry::{Shown, named};
use crate::graph::{self, Row};
use crate::input::{self, Trusted, Unusable};
use crate::lineage::{Status, link};
use crate::output::{Ink, Out};
use crate::text;
use crate::verdict::{Answer, Question};

/// Draw the lineage of a passport: who did what, after what, with which trust and taints
///
/// Oldest entry first. Each entry: mark, short hash, operation, workload (of OpenID Connect: issuer#subject), trust score (90→10: counts for 10 only),
/// taints (+ added, − removed, → kept by the verifier against the entry's word, the others carried on); under it who
/// it was for, the resource, the policies that allowed it and those that were lifted. Marks: ● verified, ○ not verified, ✗ broken. Without --anchors or --bundle nothing is
/// verified, and all of it is only what the passport claims.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("trusted").multiple(true).args(["anchors", "bundle"]))]
pub(crate) struct Show {
    /// File with the passport: a JSON array of compact JWS strings; `-` reads standard input
    passport: PathBuf,
    #[command(flatten)]
    trusted: Trusted,
    /// kest.toml with [verification.authority] and [trust.sources]; else the file in KEST_CONFIG, never ./kest.toml
    #[arg(long, value_name = "FILE", requires = "trusted")]
    config: Option<PathBuf>,
    /// One line per entry
    #[arg(long, conflicts_with = "json")]
    oneline: bool,
    /// Write one JSON object instead of text
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kest show passport.json --anchors anchors.json
  kest show - --oneline --color always < passport.json | less -R

Exit codes: 0 shown and nothing wrong found, 1 a broken entry or a bad verdict, 2 usage error or unreadable input.";

#[derive(Serialize)]
struct Json<'a> {
    passport: String,
    /// `null` without anchors and bundles.
    verification: Option<&'a Answer>,
    lineage: Vec<JsonEntry<'a>>,
}

#[derive(Serialize)]
struct JsonEntry<'a> {
    status: &'static str,
    /// `null` where the passport did not verify.
    effective_trust_score: Option<u8>,
    effective_taints: Option<Vec<&'a str>>,
    #[serde(flatten)]
    entry: &'a Shown,
}

/// The most entries that are drawn.
const SHOWN: usize = 100_000;

impl Show {
    /// # Errors
    /// When something cannot be read. A broken passport is an outcome.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        let passport = input::passport(&self.passport)?;
        if passport.len() > SHOWN {
            return Err(Unusable(format!(
                "the passport has {} entries, and no more than {SHOWN} can be shown; `kest verify` checks it",
                passport.len()
            )));
        }
        let mut entries: Vec<Shown> =
            passport.entries().enumerate().map(|(index, jws)| Shown::read(index, jws)).collect();
        let parents = link(&mut entries);
        let answer = if self.trusted.is_empty() {
            None
        } else {
            let (trusted, config) = (&self.trusted, self.config.as_deref());
            Some(Question { trusted, config, tip: None, linear: false, strict: false }.ask(passport)?)
        };
        let mut findings: HashMap<Option<usize>, Vec<&Finding>> = HashMap::new();
        for finding in answer.iter().flat_map(|answer| &answer.findings) {
            findings.entry(finding.entry).or_default().push(finding);
        }
        let (answer, oneline) = (answer.as_ref(), self.oneline);
        let page = Page { out: *out, entries: &entries, answer, findings, oneline };
        if self.json {
            let lineage = entries.iter().map(|entry| {
                let effective = page.effective(entry);
                JsonEntry {
                    status: page.status(entry).name(),
                    effective_trust_score: effective.map(|effective| effective.trust_score),
                    effective_taints: effective
                        .map(|effective| effective.taints.iter().map(|taint| &**taint).collect()),
                    entry,
                }
            });
            let passport = self.passport.display().to_string();
            out.json(&Json { passport, verification: answer, lineage: lineage.collect() })?;
        } else {
            out.write(&page.render(&parents))?;
        }
        let broken = entries.iter().any(|entry| entry.problem.is_some());
        let refused = answer.is_some_and(|answer| !answer.accepted);
        Ok(if broken || refused { Outcome::Bad } else { Outcome::Good })
    }
}

struct Page<'a> {
    out: Out,
    entries: &'a [Shown],
    answer: Option<&'a Answer>,
    findings: HashMap<Option<usize>, Vec<&'a Finding>>,
    oneline: bool,
}

impl Page<'_> {
    fn status(&self, entry: &Shown) -> Status {
        Status::of(entry, self.answer)
    }

    fn effective(&self, entry: &Shown) -> Option<&Effective> {
        self.answer?.effective.as_ref()?.get(entry.index)
    }

    fn render(&self, parents: &[Vec<usize>]) -> String {
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
        page.push_str(&self.footer());
        page
    }

    fn entry(&self, page: &mut String, entry: &Shown, row: &Row, named: Option<&Vec<usize>>) {
        let status = self.status(entry);
        let mark = match status {
            _ if entry.problem.is_some() => self.out.ink(Ink::Bad, "✗"),
            Status::Failed => self.out.ink(Ink::Bad, "✗"),
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
        if !self.oneline {
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

    fn footer(&self) -> String {
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
        lines.push(format!("allowed by {}", policies.join("; ")));
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
