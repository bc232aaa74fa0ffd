//! `kest audit export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kest_providers::audit::{Store, Stored};
use serde::Serialize;

use crate::Outcome;
use crate::file::Destination;
use crate::input::Unusable;
use crate::output::{Out, Reader, complain, json_line};
use crate::store::related::{Related, gather, hex};
use crate::store::wanted::{Wanted, gaps};
use crate::store::{open, said, unreadable};
use crate::time::utc;

/// Take entries out of a store: as a passport that `kest verify` checks, or as lines
///
/// A passport has the entries that fit and everything that they build on, every parent before its children. Receipts
/// of denials are never part of one. If a parent is not in the store, nothing is written but the list of what is
/// missing: such a passport would be refused.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Export {
    /// The store: a folder, a segment or a database
    store: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
    /// What to write
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Passport, help_heading = "Options")]
    format: Format,
    /// Write a passport though parents are missing; `kest verify` refuses it
    #[arg(long, help_heading = "Options")]
    partial: bool,
    #[command(flatten, next_help_heading = "Options")]
    destination: Destination,
}

const EXAMPLES: &str = "\
Examples:
  kest audit export audit.db --trace 0af7651916cd43dd8448eb211c80319c --output passport.json
  kest audit export audit --entry 019abcde-f012-7abc-8def-0123456789ab | kest verify - --anchors anchors.json
  kest audit export audit.db --since 7d --denied --format jsonl > denied.jsonl

Exit codes: 0 written; 1 parents are missing, nothing fits, or places of the store could not be read (what could be was \
written); 2 usage error, unreadable input or unwritable output.";

/// The form of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A JSON array of compact JWS strings
    Passport,
    /// One JSON object on a line for each entry that fits: place, received, received_ms, hash, jws
    Jsonl,
}

/// The names of the members are a promise: `docs/cli.md`.
#[derive(Serialize)]
struct Line<'a> {
    place: String,
    received: String,
    received_ms: u64,
    hash: String,
    jws: &'a str,
}

/// As many as `kest verify` reads.
const ENTRIES: usize = 1_000_000;
/// As large as what `kest verify` reads.
const BYTES: usize = 256 << 20;

impl Export {
    /// # Errors
    /// When something cannot be read or written. Missing parents are an outcome.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        self.destination.spares(&self.store)?;
        let store = open(&self.store)?;
        match self.format {
            Format::Passport => self.passport(*out, &store),
            Format::Jsonl => self.lines(*out, &store),
        }
    }

    fn passport(&self, out: Out, store: &Store) -> Result<Outcome, Unusable> {
        if self.wanted.denied {
            return Err(Unusable(
                "receipts of denials are never part of a passport; `--format jsonl` writes them".to_owned(),
            ));
        }
        let (mut start, mut denials) = (Vec::new(), 0_usize);
        let mut listed = self.wanted.list(store)?;
        for stored in listed.by_ref() {
            let stored = stored.map_err(unreadable)?;
            if is_denial(&stored) {
                denials += 1;
                continue;
            }
            start.push(stored);
            if start.len() > ENTRIES {
                return Err(too_many());
            }
        }
        if start.is_empty() {
            let why = match denials {
                0 => "no entry fits, so nothing was written".to_owned(),
                _ => format!(
                    "only receipts of denials fit ({denials}), and those are never part of a passport; \
                     `--format jsonl` writes them"
                ),
            };
            complain(&why);
            return Ok(whole(listed.unread(), Outcome::Bad));
        }
        let related = gather(store, start, ENTRIES)?;
        let unread = listed.unread().max(related.unread);
        if let Some(denial) = related.entries.iter().find(|entry| entry.is_denial()) {
            complain(&format!(
                "an entry builds on the receipt of a denial, `{}`, which is never part of a passport, so nothing was \
                 written; `--format jsonl` writes it",
                denial.hash
            ));
            return Ok(whole(unread, Outcome::Bad));
        }
        let missing = missing(&related);
        if !missing.is_empty() {
            complain(&told(&missing, self.partial));
            if !self.partial {
                return Ok(whole(unread, Outcome::Bad));
            }
        }
        let texts: Vec<&str> = related.stored.iter().map(|stored| stored.jws.as_str()).collect();
        let passport = json_line(&texts)?;
        if passport.len() > BYTES {
            return Err(too_many());
        }
        self.destination.write(out, &passport)?;
        Ok(whole(unread, Outcome::Good))
    }

    fn lines(&self, out: Out, store: &Store) -> Result<Outcome, Unusable> {
        let to_file = self.destination.path().is_some();
        let (mut stream, mut text, mut any) = (out.stream(), String::new(), false);
        let mut outcome = Outcome::Good;
        let mut listed = self.wanted.list(store)?;
        for stored in listed.by_ref() {
            let stored = match stored {
                Ok(stored) => stored,
                Err(error) if to_file => return Err(unreadable(error)),
                // Others may still be read.
                Err(error) => {
                    complain(&said(&error));
                    outcome = Outcome::Bad;
                    continue;
                }
            };
            any = true;
            let line = json_line(&Line {
                place: stored.place.to_string(),
                received: utc(stored.received_ms),
                received_ms: stored.received_ms,
                hash: hex(&stored.hash),
                jws: &stored.jws,
            })?;
            if to_file {
                text.push_str(&line);
                if text.len() > BYTES {
                    return Err(Unusable(format!(
                        "that is more than {} MiB; write it to standard output, which has no such limit",
                        BYTES >> 20
                    )));
                }
            } else if stream.write(&line)? == Reader::Closed {
                return Ok(outcome);
            }
        }
        stream.flush()?;
        drop(stream);
        if !any {
            complain("no entry fits, so nothing was written");
            return Ok(whole(listed.unread(), Outcome::Bad));
        }
        if to_file {
            self.destination.write(out, &text)?;
        }
        Ok(whole(listed.unread(), outcome))
    }
}

/// What was written is not all that was asked for where places could not be read.
fn whole(unread: u64, outcome: Outcome) -> Outcome {
    match gaps(unread) {
        None => outcome,
        Some(gaps) => {
            complain(&gaps);
            Outcome::Bad
        }
    }
}

fn is_denial(stored: &Stored) -> bool {
    crate::entry::Shown::read(0, &stored.jws).is_denial()
}

fn too_many() -> Unusable {
    Unusable(format!(
        "that is more than {ENTRIES} entries or {} MiB, and `kest verify` reads no more; ask for fewer",
        BYTES >> 20
    ))
}

/// Parents that are not there, each with the first entry that names it.
fn missing(related: &Related) -> Vec<(&str, &str)> {
    let mut missing = Vec::new();
    let mut told = std::collections::HashSet::new();
    for (entry, outside) in related.entries.iter().zip(&related.outside) {
        let child = entry.entry_id.as_deref().unwrap_or(&entry.hash);
        missing.extend(
            outside
                .iter()
                .filter(|parent| told.insert(parent.as_str()))
                .map(|parent| (parent.as_str(), child)),
        );
    }
    missing
}

fn told(missing: &[(&str, &str)], partial: bool) -> String {
    const NAMED: usize = 4;
    let quoted = kest_core::text::Quoted;
    let mut named: Vec<String> = missing
        .iter()
        .take(NAMED)
        .map(|(parent, child)| format!("{} of entry {}", quoted(parent), quoted(child)))
        .collect();
    if missing.len() > NAMED {
        named.push(format!("{} more", missing.len() - NAMED));
    }
    let count = if missing.len() == 1 { "a parent is" } else { "parents are" };
    let what = if partial {
        "so `kest verify` refuses what was written"
    } else {
        "so nothing was written; other services' entries are in their own stores, and --partial writes what is here"
    };
    format!("{count} not in this store: {}; {what}", named.join(", "))
}
