//! Checking a whole store: its running hash, and each entry's signature.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use kest_core::entry::KestEntry;
use kest_core::verify::{Verifier, VerifierBuilder, VerifyFailure};
use kest_providers::audit::{Checked, Checks, Finding, FindingKind, Place, Scan, Stored};
use serde::Serialize;

use super::interrupt::Watch;
use super::progress::{Progress, Seen};
use super::related::hex;
use super::report::{Report, Verdicts};
use super::wanted::time_of;
use super::{Given, open, said, unreadable};
use crate::Outcome;
use crate::entry::Shown;
use crate::input::{Trusted, Unusable};
use crate::output::Out;

/// How a store is checked.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Options {
    /// Check signatures with the keys that the store itself has, which proves less: whoever can write the store can
    /// write keys
    #[arg(long, conflicts_with_all = ["anchors", "bundle"])]
    pub(crate) stored_keys: bool,
    /// A running hash that was kept elsewhere: the store must come by it; may be given several times
    #[arg(long, value_name = "HASH")]
    pub(crate) expect_tip: Vec<String>,
    /// What was received before this time may be gone by retention, though an expected running hash vouches for it:
    /// `2026-11-22T14:30:00Z`, a date, or how long ago (`90s`, `30m`, `2h`, `7d`, `4w`)
    #[arg(long, value_name = "TIME", value_parser = time_of, requires = "expect_tip")]
    pub(crate) retained_since: Option<u64>,
    /// Accept a store that has no entry; else that is refused, as it attests nothing
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// How many threads check signatures, at most four times as many as there are cores; as many as those unless given
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub(crate) threads: Option<usize>,
}

impl Options {
    /// Refuses what is about stores, where there is none.
    ///
    /// # Errors
    /// When anything was given.
    pub(crate) fn are_none(&self) -> Result<(), Unusable> {
        let given = [
            ("--stored-keys", self.stored_keys),
            ("--expect-tip", !self.expect_tip.is_empty()),
            ("--retained-since", self.retained_since.is_some()),
            ("--allow-empty", self.allow_empty),
            ("--threads", self.threads.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((name, _)) => {
                Err(Unusable(format!("{name} is about audit stores, and this is a passport; leave it out")))
            }
        }
    }
}

/// More of a kind is counted.
const LISTED: usize = 1_000;

/// What was found out. The names of the members are a promise: `docs/cli.md`.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    pub(crate) store: String,
    pub(crate) accepted: bool,
    pub(crate) summary: String,
    /// The number of the only segment that was read; none of a whole store.
    pub(crate) segment: Option<u64>,
    pub(crate) entries: u64,
    /// Of them receipts of denials.
    pub(crate) denials: u64,
    pub(crate) keys: &'static str,
    /// The running hash at the end.
    pub(crate) tip: Option<String>,
    /// Lines before the end that it does not vouch for.
    pub(crate) disowned: Option<String>,
    /// What retention has taken, as the store says.
    pub(crate) retired: Option<String>,
    pub(crate) axes: Verdicts,
    pub(crate) findings: Vec<ShownFinding>,
    pub(crate) more_findings: u64,
    pub(crate) failures: Vec<Failure>,
    pub(crate) more_failures: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct ShownFinding {
    pub(crate) place: String,
    pub(crate) kind: String,
    /// Whether the store is not as its writers left it.
    pub(crate) damage: bool,
    pub(crate) text: String,
}

/// An entry that is not what it says.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) place: String,
    pub(crate) hash: String,
    pub(crate) entry_id: Option<String>,
    pub(crate) operation: Option<String>,
    /// As the entry claims.
    pub(crate) principal: Option<String>,
    pub(crate) cause: String,
}

/// Checks a store, and says what was found.
///
/// # Errors
/// When keys or the store cannot be read. Damage is an outcome.
pub(crate) fn run(
    out: Out,
    name: String,
    given: Given,
    trusted: &Trusted,
    options: &Options,
    json: bool,
) -> Result<Outcome, Unusable> {
    let watch = Watch::begin();
    let builder = trusted.keys()?.into_iter().fold(Verifier::builder(), VerifierBuilder::keys);
    let (builder, scan) = match given {
        Given::Store(store) => {
            let builder =
                if options.stored_keys { builder.keys(store.keys().map_err(unreadable)?) } else { builder };
            (builder, store.scan().map_err(unreadable)?)
        }
        Given::Segment(_) if options.stored_keys => {
            let fix = "--stored-keys reads the store twice, and a pipe can be read once; save it to a file";
            return Err(Unusable(fix.to_owned()));
        }
        Given::Segment(source) => (builder, Scan::of_segment(source)),
        Given::Piped(_, name) => {
            return Err(Unusable(format!("{name}: this is no segment of an audit store")));
        }
        Given::File => {
            let changed = || Unusable(format!("`{name}` was replaced meanwhile; try again"));
            return Err(open(Path::new(&name)).err().unwrap_or_else(changed));
        }
    };
    let expecting = |scan: Scan, tip: &String| {
        scan.expecting(tip).map_err(|error| Unusable(format!("--expect-tip: {error}")))
    };
    let scan = options.expect_tip.iter().try_fold(scan, expecting)?;
    let mut checks = scan.check(&builder.build(), options.threads).map_err(unreadable)?;
    let found = Found::of(&mut checks, &options.expect_tip, &watch);
    let scan = checks.into_scan();
    let tip = scan.as_ref().and_then(Scan::tip);
    let disowned = scan.as_ref().and_then(Scan::disowned);
    let retired = scan.as_ref().and_then(Scan::retired);
    let alone = scan.as_ref().is_some_and(|scan| !scan.is_whole());
    let segment = scan.as_ref().and_then(Scan::segment);
    let taken = scan.as_ref().and_then(Scan::taken);
    let report = Report { found, options, tip, alone, segment, disowned, retired, taken, name };
    let answer = report.answer();
    if json {
        out.json(&answer)?;
    } else {
        out.write(&super::report::human(out, &answer))?;
    }
    Ok(if answer.accepted { Outcome::Good } else { Outcome::Bad })
}

/// What the walk came across.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) seen: Seen,
    pub(crate) denials: u64,
    /// Findings that are damage.
    pub(crate) damage: u64,
    /// Whether a running hash that was kept elsewhere was not come by.
    pub(crate) missed_tip: bool,
    /// Whether such a running hash stands only in lines that the next segment disowns.
    pub(crate) disowned_tip: bool,
    /// Whether nothing is left that such a running hash vouches for.
    pub(crate) gone_tip: bool,
    /// Why it could not be read to its end.
    pub(crate) unread: Option<String>,
    pub(crate) findings: Vec<ShownFinding>,
    pub(crate) failures: Vec<Failure>,
}

impl Found {
    fn of(checks: &mut Checks, expected: &[String], watch: &Watch) -> Self {
        let mut found = Self::default();
        let mut progress = Progress::begin(watch);
        while let Some(checked) = checks.next() {
            match checked {
                Ok(Checked::Entry(stored, verdict)) => found.entry(&stored, &verdict),
                Ok(Checked::Finding(finding)) => found.finding(&finding, expected),
                Ok(other) => found.stop(format!("this version cannot judge what it found: {other:?}")),
                Err(error) => found.stop(said(&error)),
            }
            (found.seen.done, found.seen.all) = checks.progress();
            watch.put(&found.seen);
            progress.step();
        }
        found
    }

    fn entry(&mut self, stored: &Stored, verdict: &Result<Arc<KestEntry>, VerifyFailure>) {
        self.seen.entries += 1;
        let failure = match verdict {
            Ok(entry) => {
                self.denials += u64::from(&*entry.classification == "denial");
                return;
            }
            Err(failure) => failure,
        };
        self.seen.wrong += 1;
        if self.failures.len() < LISTED {
            let Shown { entry_id, operation, principal, .. } = Shown::read(0, &stored.jws);
            let (place, hash) = (stored.place.to_string(), hex(&stored.hash));
            let cause = failure.to_string();
            self.failures.push(Failure { place, hash, entry_id, operation, principal, cause });
        }
    }

    fn finding(&mut self, finding: &Finding, expected: &[String]) {
        self.seen.findings += 1;
        let damage = finding.kind.is_damage();
        self.damage += u64::from(damage);
        match finding.kind {
            FindingKind::Gone => self.gone_tip = true,
            FindingKind::Disowned => self.disowned_tip = true,
            _ => {
                self.missed_tip |=
                    finding.place == Place::Store && expected.iter().any(|tip| finding.detail.contains(tip));
            }
        }
        if self.findings.len() < LISTED {
            self.findings.push(ShownFinding {
                place: finding.place.to_string(),
                kind: format!("{:?}", finding.kind).to_lowercase(),
                damage,
                text: finding.detail.clone(),
            });
        }
    }

    fn stop(&mut self, why: String) {
        self.unread.get_or_insert(why);
    }
}
