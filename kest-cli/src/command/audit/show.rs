//! `kest audit show`.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use kest_core::verify::{Verifier, VerifierBuilder};
use kest_providers::audit::{Filter, Listing, Store, Stored};
use serde::Serialize;

use crate::Outcome;
use crate::entry::Shown;
use crate::input::{Trusted, Unusable};
use crate::lineage::Status;
use crate::output::{Ink, Out, complain};
use crate::page::{Kept, Page};
use crate::store::related::{Related, gather, hex};
use crate::store::wanted::{entry_of, gaps, traces_of};
use crate::store::{open, unreadable};
use crate::text;
use crate::time::utc;

/// Draw what an entry of a store comes from and leads to, or a whole trace, receipts of denials included
///
/// Of an entry: everything that it builds on, and what builds on it in its trace. Of a trace: its entries, and
/// everything that they build on. As `kest show` draws it, and ⊘ marks receipts of denials; parents that are not in the
/// store are named. With --anchors or --bundle each entry's own signature is checked, and no more than that.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("trusted").multiple(true).args(["anchors", "bundle"]))]
pub(crate) struct Show {
    /// The store: a folder, a segment or a database
    store: PathBuf,
    /// An entry id, the hash of an entry or at least its first 4 digits, or a trace id
    #[arg(value_name = "ENTRY|HASH|TRACE")]
    what: String,
    #[command(flatten)]
    trusted: Trusted,
    /// One line per entry
    #[arg(long, conflicts_with = "json")]
    oneline: bool,
    /// Write one JSON object instead of text
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kest audit show audit.db 019abcde-f012-7abc-8def-0123456789ab
  kest audit show /var/lib/orders/audit 10276ca0b2e7 --anchors anchors.json
  kest audit show audit.db 0af7651916cd43dd8448eb211c80319c --oneline

Exit codes: 0 shown and nothing wrong found, 1 a broken entry, a bad signature, or places that could not \
be read (standard error says how many), 2 usage error, unreadable input or nothing found.";

/// The names of the members are a promise: `docs/cli.md`.
#[derive(Serialize)]
struct Json<'a> {
    store: String,
    what: &'a str,
    lineage: Vec<JsonEntry<'a>>,
}

#[derive(Serialize)]
struct JsonEntry<'a> {
    status: &'static str,
    /// What is wrong with its signature.
    failure: Option<&'a str>,
    place: String,
    received: &'a str,
    received_ms: u64,
    asked: bool,
    outside_parents: &'a [String],
    #[serde(flatten)]
    entry: &'a Shown,
}

/// The most entries that are drawn.
const SHOWN: usize = 100_000;

impl Show {
    /// # Errors
    /// When something cannot be read, or nothing is found. Broken entries are an outcome.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        let store = open(&self.store)?;
        let asked = Asked::of(&store, &self.what)?;
        let Related { entries, stored, parents, outside, unread } = gather(&store, asked.start, SHOWN)?;
        let gaps = gaps(unread.max(asked.unread));
        let verdicts = self.verdicts(&stored)?;
        let kept: Vec<Kept> = entries
            .iter()
            .zip(&stored)
            .zip(outside)
            .map(|((entry, stored), outside)| {
                let verdict = verdicts.as_ref().and_then(|verdicts| verdicts.get(entry.index));
                let failure = verdict.cloned().flatten();
                let status = match verdict {
                    None => Status::NotVerified,
                    Some(None) => Status::Verified,
                    Some(Some(_)) => Status::Failed,
                };
                let asked = asked.hashes.contains(&entry.hash);
                Kept { received: utc(stored.received_ms), status, failure, outside, asked }
            })
            .collect();
        if self.json {
            let lineage = entries.iter().zip(&stored).zip(&kept).map(|((entry, stored), kept)| JsonEntry {
                status: kept.status.name(),
                failure: kept.failure.as_deref(),
                place: stored.place.to_string(),
                received: &kept.received,
                received_ms: stored.received_ms,
                asked: kept.asked,
                outside_parents: &kept.outside,
                entry,
            });
            let store = self.store.display().to_string();
            out.json(&Json { store, what: &self.what, lineage: lineage.collect() })?;
        } else {
            let (findings, oneline) = (HashMap::new(), self.oneline);
            let page = Page { out: *out, entries: &entries, answer: None, findings, oneline, kept: &kept };
            out.write(&page.render(&parents, &footer(*out, &entries, &kept, verdicts.is_some())))?;
        }
        let bad = entries.iter().any(|entry| entry.problem.is_some())
            || kept.iter().any(|kept| kept.status == Status::Failed)
            || gaps.is_some();
        if let Some(gaps) = gaps {
            complain(&gaps);
        }
        Ok(if bad { Outcome::Bad } else { Outcome::Good })
    }

    /// What is wrong with each signature; none if nobody is trusted.
    fn verdicts(&self, stored: &[Stored]) -> Result<Option<Vec<Option<String>>>, Unusable> {
        if self.trusted.is_empty() {
            return Ok(None);
        }
        let keys = self.trusted.keys()?;
        let verifier = keys.into_iter().fold(Verifier::builder(), VerifierBuilder::keys).build();
        let entries: Vec<(&str, u64)> =
            stored.iter().map(|stored| (stored.jws.as_str(), stored.received_ms)).collect();
        let verdicts = verifier.check_each(&entries);
        Ok(Some(verdicts.into_iter().map(|verdict| verdict.err().map(|error| error.to_string())).collect()))
    }
}

/// What is drawn, before all that it builds on.
struct Asked {
    start: Vec<Stored>,
    /// What is marked: entries that were named.
    hashes: HashSet<String>,
    /// How many places that were come across could not be read.
    unread: u64,
}

impl Asked {
    fn of(store: &Store, what: &str) -> Result<Self, Unusable> {
        let mut store = Places { store, unread: 0 };
        if let Ok(id) = entry_of(what) {
            let named = store.list(&Filter { entry_id: Some(id), ..Filter::default() })?;
            return if named.is_empty() {
                Err(nothing(what, store.unread))
            } else {
                Self::around(store, named)
            };
        }
        // A trace id has 32 digits, and the first twelve of a hash are what lists show.
        let is_hash = matches!(what.len(), 4..=64) && what.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut start = if is_hash && what.len() != 32 { Vec::new() } else { store.trace(what)? };
        if start.is_empty() && is_hash {
            let named = store.by_hash(&what.to_ascii_lowercase())?;
            if !named.is_empty() {
                return Self::around(store, named);
            }
            if what.len() != 32 {
                start = store.trace(what)?;
            }
        }
        if start.is_empty() {
            return Err(nothing(what, store.unread));
        }
        Ok(Self { start, hashes: HashSet::new(), unread: store.unread })
    }

    /// Entries, and what builds on them in their traces.
    fn around(mut store: Places<'_>, named: Vec<Stored>) -> Result<Self, Unusable> {
        let shown: Vec<Shown> = named.iter().map(|stored| Shown::read(0, &stored.jws)).collect();
        let hashes: HashSet<String> = shown.iter().map(|entry| entry.hash.clone()).collect();
        let traces: HashSet<&str> = shown.iter().filter_map(|entry| entry.trace_id.as_deref()).collect();
        let mut start = named;
        for trace in traces {
            let all = store.list(&Filter { trace_id: Some(trace.to_owned()), ..Filter::default() })?;
            let mut rest: Vec<(Shown, Stored)> =
                all.into_iter().map(|stored| (Shown::read(0, &stored.jws), stored)).collect();
            let mut reached = hashes.clone();
            // Each round goes one step down, unless children stand after their parents, as they nearly always do.
            loop {
                let before = rest.len();
                let mut left = Vec::new();
                for (entry, stored) in rest {
                    if entry.parents.iter().any(|parent| reached.contains(parent)) {
                        reached.insert(entry.hash);
                        start.push(stored);
                    } else {
                        left.push((entry, stored));
                    }
                }
                rest = left;
                if rest.len() == before {
                    break;
                }
            }
        }
        Ok(Self { start, hashes, unread: store.unread })
    }
}

/// A store, and how many of its places could not be read where it was looked through.
struct Places<'a> {
    store: &'a Store,
    unread: u64,
}

impl Places<'_> {
    fn list(&mut self, filter: &Filter) -> Result<Vec<Stored>, Unusable> {
        let filter = Filter { limit: Some(SHOWN + 1), ..filter.clone() };
        let mut listing = self.store.list(&filter).map_err(unreadable)?;
        let found: Result<Vec<Stored>, _> = listing.by_ref().collect();
        let found = found.map_err(unreadable)?;
        self.saw(&listing);
        if found.len() > SHOWN {
            return Err(Unusable(format!(
                "that is more than {SHOWN} entries, and no more can be shown; name one entry"
            )));
        }
        Ok(found)
    }

    fn trace(&mut self, id: &str) -> Result<Vec<Stored>, Unusable> {
        let mut found = Vec::new();
        for id in traces_of(id) {
            found.extend(self.list(&Filter { trace_id: Some(id), ..Filter::default() })?);
        }
        Ok(found)
    }

    /// The entry whose hash begins so. All of the store is looked through.
    fn by_hash(&mut self, prefix: &str) -> Result<Vec<Stored>, Unusable> {
        const NAMED: usize = 5;
        let mut found: Vec<Stored> = Vec::new();
        let mut listing = self.store.list(&Filter::default()).map_err(unreadable)?;
        for stored in listing.by_ref() {
            let stored = stored.map_err(unreadable)?;
            if hex(&stored.hash).starts_with(prefix) && found.iter().all(|other| other.hash != stored.hash) {
                found.push(stored);
            }
            if found.len() > NAMED {
                break;
            }
        }
        self.saw(&listing);
        if found.len() < 2 {
            return Ok(found);
        }
        let hashes: Vec<String> =
            found.iter().take(NAMED).map(|stored| hex(&stored.hash).chars().take(16).collect()).collect();
        Err(Unusable(format!(
            "several hashes begin with `{prefix}`, such as {}; give more digits",
            hashes.join(", ")
        )))
    }

    fn saw(&mut self, listing: &Listing) {
        // Each goes over the same places.
        self.unread = self.unread.max(listing.unread());
    }
}

fn nothing(what: &str, unread: u64) -> Unusable {
    let what = kest_core::text::Quoted(what);
    Unusable(match gaps(unread) {
        None => format!(
            "no entry of the store has {what} as its id, hash or trace; `kest audit ls` lists what is there, and of a \
             hash at least 4 digits are needed"
        ),
        Some(gaps) => {
            format!("no entry that could be read has {what} as its id, hash or trace, but {gaps}")
        }
    })
}

fn footer(out: Out, entries: &[Shown], kept: &[Kept], checked: bool) -> String {
    let count = |number: usize, one: &str, many: &str| match number {
        0 => None,
        1 => Some(format!("1 {one}")),
        number => Some(format!("{number} {many}")),
    };
    let broken = entries.iter().filter(|entry| entry.problem.is_some()).count();
    let failed = kept.iter().filter(|kept| kept.status == Status::Failed).count();
    let outside: HashSet<&String> = kept.iter().flat_map(|kept| &kept.outside).collect();
    let parts = [
        count(entries.len(), "entry", "entries"),
        count(entries.iter().filter(|entry| entry.is_denial()).count(), "denied", "denied"),
        count(broken, "broken", "broken"),
        count(outside.len(), "parent outside of this store", "parents outside of this store"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let (ink, verdict) = match (checked, failed) {
        (false, _) => (Ink::Unsure, "not verified: give --anchors or --bundle".to_owned()),
        (true, 0) => {
            (Ink::Strong, "each signature is good; what entries follow from is not checked".to_owned())
        }
        (true, failed) => (Ink::Bad, format!("{failed} bad")),
    };
    format!("{}\n", out.ink(ink, &text::message(&format!("{}; {verdict}", parts.join(", ")))))
}
