//! `kest verify`.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use kest_core::verify::{Axis, Finding, Verdict};
use serde::Serialize;

use crate::Outcome;
use crate::entry::named;
use crate::input::{self, Trusted, Unusable};
use crate::output::{Ink, Out};
use crate::store::check::{self, Options};
use crate::store::{Given, recognise};
use crate::text;
use crate::verdict::{Answer, Failure, Question};

/// Check a passport: signatures, links, identities, trust and taints, completeness; or a whole audit store
///
/// Checks who signed each entry, that every parent is there, and that trust and taints follow from those of the
/// parents. Says of each axis whether it passes, fails or was not checked. An expected tip is the only way to
/// notice that entries are missing at the end. An audit store is checked as `kest audit verify` does.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("trusted").required(true).multiple(true).args(["anchors", "bundle", "stored_keys"]))]
pub(crate) struct Verify {
    /// File with the passport: a JSON array of compact JWS strings, or one such string on each line; `-` reads standard
    /// input. Or an audit store: a folder, a segment or a database
    #[arg(value_name = "PASSPORT|STORE")]
    passport: PathBuf,
    #[command(flatten)]
    trusted: Trusted,
    /// Hash of the entry that the passport must end with: SHA-256 of its JWS, in hex
    #[arg(long, value_name = "HASH")]
    tip: Option<String>,
    /// Refuse forks and second roots: each entry's first parent must be the entry before it
    #[arg(long)]
    linear: bool,
    /// Refuse what would be a finding: trust or taints of other implementations that do not add up, scores over a
    /// ceiling
    #[arg(long)]
    strict: bool,
    /// kest.toml with [verification.authority] and [trust.sources]; else the file in KEST_CONFIG, never ./kest.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Of audit stores")]
    store: Options,
    /// Write one JSON object instead of text
    #[arg(long, help_heading = "Options")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kest verify passport.json --anchors anchors.json
  curl -s https://orders.example.org/passport | kest verify - --anchors anchors.json --json
  kest verify passport.json --bundle bundles.json
  kest verify /var/lib/orders/audit --anchors anchors.json
  kest verify passport.json --bundle example.org=example.pem --bundle partner.example=partner.json

Exit codes: 0 accepted, 1 refused, 2 usage error or unreadable input, 130 interrupted (Ctrl-C, of an audit store).";

#[derive(Serialize)]
struct Json<'a> {
    passport: String,
    #[serde(flatten)]
    answer: &'a Answer,
}

impl Verify {
    /// # Errors
    /// When something cannot be read. A bad verdict is an outcome.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        let passport = match recognise(&self.passport)? {
            given @ (Given::Store(_) | Given::Segment(_)) => return self.store(*out, given),
            Given::File => input::passport(&self.passport)?,
            Given::Piped(source, name) => input::piped_passport(source, &name)?,
        };
        self.store.are_none()?;
        let question = Question {
            trusted: &self.trusted,
            config: self.config.as_deref(),
            tip: self.tip.as_deref(),
            linear: self.linear,
            strict: self.strict,
        };
        let answer = question.ask(passport)?;
        if self.json {
            out.json(&Json { passport: self.passport.display().to_string(), answer: &answer })?;
        } else {
            out.write(&human(*out, &answer))?;
        }
        Ok(if answer.accepted { Outcome::Good } else { Outcome::Bad })
    }

    fn store(&self, out: Out, given: Given) -> Result<Outcome, Unusable> {
        let of_passports = [
            ("--tip", self.tip.is_some(), "; a store's running hash is `--expect-tip`"),
            ("--linear", self.linear, ""),
            ("--strict", self.strict, ""),
            ("--config", self.config.is_some(), ""),
        ];
        if let Some((name, _, instead)) = of_passports.into_iter().find(|(_, given, _)| *given) {
            return Err(Unusable(format!(
                "{name} is about passports, and this is an audit store; leave it out{instead}"
            )));
        }
        let name = self.passport.display().to_string();
        check::run(out, name, given, &self.trusted, &self.store, self.json)
    }
}

fn human(out: Out, answer: &Answer) -> String {
    let mut text = String::new();
    let axes = &answer.axes;
    let named: [(&str, &Axis); 6] = [
        ("signatures", &axes.signatures),
        ("links", &axes.links),
        ("identity", &axes.identity),
        ("semantics", &axes.semantics),
        ("completeness", &axes.completeness),
        ("time", &axes.time),
    ];
    for (name, axis) in named {
        let verdict = format!("{:<11}", axis.verdict.to_string());
        let ink = match axis.verdict {
            Verdict::Pass => Ink::Good,
            Verdict::Fail => Ink::Bad,
            Verdict::NotChecked => Ink::Unsure,
        };
        text.push_str(&format!("{name:<13} {}  {}\n", out.ink(ink, &verdict), text::message(&axis.reason)));
    }
    for (what, entries) in grouped(&answer.findings) {
        text.push_str(&format!("{:<13} {}{}\n", "finding", place(&entries), text::message(what)));
    }
    if answer.more_findings > 0 {
        text.push_str(&format!("{:<13} and {} more\n", "finding", answer.more_findings));
    }
    let tips = answer.tips.iter().flatten();
    for tip in tips.clone().take(LISTED) {
        text.push_str(&format!("{:<13} {tip}\n", "tip"));
    }
    if tips.clone().count() > LISTED {
        text.push_str(&format!("{:<13} and {} more: see --json\n", "tip", tips.count() - LISTED));
    }
    if let Some(failure) = &answer.failure {
        text.push_str(&explained(out, failure));
    }
    let ink = if answer.accepted { Ink::Strong } else { Ink::Bad };
    text.push_str(&out.ink(ink, &text::message(&answer.summary)));
    text.push('\n');
    text
}

/// More tips than this are counted, and more entries of one finding.
const LISTED: usize = 4;

/// Findings by text, in the order of the first of each, with the entries they are about.
fn grouped(findings: &[Finding]) -> Vec<(&str, Vec<usize>)> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    for finding in findings {
        let place = *places.entry(&finding.text).or_insert_with(|| {
            groups.push((&finding.text, Vec::new()));
            groups.len() - 1
        });
        if let Some((_, entries)) = groups.get_mut(place) {
            entries.extend(finding.entry);
        }
    }
    groups
}

fn place(entries: &[usize]) -> String {
    let named = entries.iter().take(LISTED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match entries {
        [] => String::new(),
        [one] => format!("entry {one}: "),
        many if many.len() > LISTED => format!("entries {named} and {} more: ", many.len() - LISTED),
        _ => format!("entries {named}: "),
    }
}

fn explained(out: Out, failure: &Failure) -> String {
    let mut place = match failure.entry {
        Some(entry) => format!("entry {entry}"),
        None => "the passport as a whole".to_owned(),
    };
    if let Some(operation) = &failure.operation {
        place.push_str(&format!(", operation {}", text::field(operation, 60)));
    }
    if let Some(principal) = named(failure.principal.as_deref(), failure.oidc.as_ref(), 80) {
        place.push_str(&format!(", by {principal}"));
    }
    let failed = out.ink(Ink::Bad, "failed       ");
    let cause = text::message(&failure.cause);
    format!(
        "{failed} {place}\nstep          {}\ncause         {cause}\nto do         {}\n",
        failure.step,
        text::message(&failure.fix)
    )
}
