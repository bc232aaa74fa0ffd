//! `kest show`.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use kest_core::verify::Finding;
use serde::Serialize;

use crate::Outcome;
use crate::entry::Shown;
use crate::input::{self, Trusted, Unusable};
use crate::lineage::link;
use crate::output::Out;
use crate::page::Page;
use crate::store;
use crate::verdict::Answer;

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
        store::is_none(&self.passport)?;
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
        let answer = Answer::to(passport, &self.trusted, self.config.as_deref())?;
        let mut findings: HashMap<Option<usize>, Vec<&Finding>> = HashMap::new();
        for finding in answer.iter().flat_map(|answer| &answer.findings) {
            findings.entry(finding.entry).or_default().push(finding);
        }
        let (answer, oneline) = (answer.as_ref(), self.oneline);
        let page = Page { out: *out, entries: &entries, answer, findings, oneline, kept: &[] };
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
            out.write(&page.render(&parents, &page.footer()))?;
        }
        let broken = entries.iter().any(|entry| entry.problem.is_some());
        let refused = answer.is_some_and(|answer| !answer.accepted);
        Ok(if broken || refused { Outcome::Bad } else { Outcome::Good })
    }
}
