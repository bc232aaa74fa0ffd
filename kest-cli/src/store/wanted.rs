//! Which entries of a store are wanted.

use std::collections::{HashSet, VecDeque};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use kest_core::canonical;
use kest_core::error::AuditError;
use kest_providers::audit::{Filter, Listing, Store, Stored};

use super::progress::grouped;
use super::{position, said, unreadable};
use crate::input::Unusable;
use crate::time;

/// All that is given has to fit.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which entries")]
pub(crate) struct Wanted {
    /// Received at this time or later: `2026-11-22T14:30:00Z`, a date, or how long ago (`90s`, `30m`, `2h`, `7d`, `4w`)
    #[arg(long, value_name = "TIME", value_parser = time_of)]
    since: Option<u64>,
    /// Received before this time
    #[arg(long, value_name = "TIME", value_parser = time_of)]
    until: Option<u64>,
    /// The label `trace_id`, as given or in lower case
    #[arg(long, value_name = "ID", value_parser = text_of)]
    trace: Option<String>,
    /// Signed by this workload; of OpenID Connect: issuer#subject
    #[arg(long, value_name = "ID", value_parser = text_of)]
    workload: Option<String>,
    /// This operation
    #[arg(long, value_name = "NAME", value_parser = text_of)]
    operation: Option<String>,
    /// For this user: the text, or the object as JSON
    #[arg(long, value_name = "USER", value_parser = user_of)]
    user: Option<String>,
    /// With this taint in effect
    #[arg(long, value_name = "TAINT", value_parser = text_of)]
    taint: Option<String>,
    /// Receipts of denials alone
    #[arg(long, conflicts_with = "allowed")]
    pub(crate) denied: bool,
    /// Everything but receipts of denials
    #[arg(long)]
    allowed: bool,
    /// This entry id; may be given several times
    #[arg(long, value_name = "ID", value_parser = entry_of)]
    entry: Vec<String>,
    /// At most so many
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    limit: Option<usize>,
    /// The newest first, instead of the oldest
    #[arg(long)]
    newest: bool,
}

/// The entries that fit.
pub(crate) struct Listed {
    /// One after the other.
    listings: VecDeque<Merged>,
    left: usize,
    unread: u64,
}

impl Listed {
    /// How many places could not be read.
    pub(crate) fn unread(&self) -> u64 {
        // Each of several goes over the same places.
        self.listings.iter().map(Merged::unread).max().unwrap_or(0).max(self.unread)
    }

    /// What to say of places that could not be read, where there are some.
    pub(crate) fn gaps(&self) -> Option<String> {
        gaps(self.unread())
    }
}

/// What to say of so many places that could not be read, where there are some.
pub(crate) fn gaps(unread: u64) -> Option<String> {
    let places = match unread {
        0 => return None,
        1 => "1 place".to_owned(),
        many => format!("{} places", grouped(many)),
    };
    Some(format!(
        "{places} of the store could not be read, and entries that fit may be missing; `kest audit verify` names them"
    ))
}

impl Iterator for Listed {
    type Item = Result<Stored, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        while let Some(listing) = self.listings.front_mut() {
            if let Some(found) = listing.next() {
                return Some(found);
            }
            if let Some(over) = self.listings.pop_front() {
                self.unread = self.unread.max(over.unread());
            }
        }
        None
    }
}

/// Listings of different entries, in the order of the store.
struct Merged {
    listings: Vec<(Option<Stored>, Listing)>,
    newest_first: bool,
    /// Errors of places that each comes across.
    told: HashSet<String>,
}

impl Merged {
    fn unread(&self) -> u64 {
        self.listings.iter().map(|(_, listing)| listing.unread()).max().unwrap_or(0)
    }
}

impl Iterator for Merged {
    type Item = Result<Stored, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let [(None, only)] = self.listings.as_mut_slice() {
            return only.next();
        }
        for (next, listing) in &mut self.listings {
            while next.is_none() {
                match listing.next() {
                    Some(Ok(stored)) => *next = Some(stored),
                    Some(Err(error)) if self.told.insert(said(&error)) => return Some(Err(error)),
                    Some(Err(_)) => {}
                    None => break,
                }
            }
        }
        let waiting = self.listings.iter_mut().map(|(next, _)| next).filter(|next| next.is_some());
        let place = |next: &&mut Option<Stored>| next.as_ref().map(|stored| position(&stored.place));
        let first = if self.newest_first { waiting.max_by_key(place) } else { waiting.min_by_key(place) };
        first?.take().map(Ok)
    }
}

impl Wanted {
    /// The entries that fit.
    ///
    /// # Errors
    /// When times are the wrong way round, or the store cannot be read.
    pub(crate) fn list(&self, store: &Store) -> Result<Listed, Unusable> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            return Err(Unusable(format!(
                "--since is {} and --until {}, so nothing can fit; --since is the earlier one",
                time::utc(since),
                time::utc(until)
            )));
        }
        let filter = Filter {
            since_ms: self.since,
            until_ms: self.until,
            entry_id: None,
            trace_id: None,
            workload: self.workload.clone(),
            operation: self.operation.clone(),
            user: self.user.clone(),
            taint: self.taint.clone(),
            denied: self.denied.then_some(true).or_else(|| self.allowed.then_some(false)),
            newest_first: self.newest,
            limit: self.limit,
        };
        let traces = match &self.trace {
            None => vec![None],
            Some(trace) => traces_of(trace).into_iter().map(Some).collect(),
        };
        let list = |filter: &Filter| -> Result<Merged, Unusable> {
            let of = |trace: &Option<String>| {
                let filter = Filter { trace_id: trace.clone(), ..filter.clone() };
                Ok((None, store.list(&filter).map_err(unreadable)?))
            };
            let listings: Result<_, Unusable> = traces.iter().map(of).collect();
            Ok(Merged { listings: listings?, newest_first: self.newest, told: HashSet::new() })
        };
        let of = |id: &String| list(&Filter { entry_id: Some(id.clone()), ..filter.clone() });
        let listings = match self.entry.as_slice() {
            [] => Ok(VecDeque::from([list(&filter)?])),
            ids => ids.iter().map(of).collect::<Result<_, _>>(),
        };
        Ok(Listed { listings: listings?, left: self.limit.unwrap_or(usize::MAX), unread: 0 })
    }
}

/// A time, as all options have it.
pub(crate) fn time_of(text: &str) -> Result<u64, String> {
    time::parse(text, time::now_ms())
}

fn text_of(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it is empty; leave the option out".to_owned()) } else { Ok(text.to_owned()) }
}

/// The forms in which entries may have a trace id: as it is given, and as it should be.
pub(crate) fn traces_of(text: &str) -> Vec<String> {
    let mut traces = vec![text.to_owned()];
    let is_trace = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_trace && text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        traces.push(text.to_ascii_lowercase());
    }
    traces
}

/// Stores have an object as canonical JSON.
fn user_of(text: &str) -> Result<String, String> {
    let object = text.starts_with('{').then(|| canonical::parse_strict(text.as_bytes()).ok()).flatten();
    match object.and_then(|object| canonical::to_string(&object).ok()) {
        Some(canonical) => Ok(canonical),
        None => text_of(text),
    }
}

/// An entry id in the form in which entries have it.
pub(crate) fn entry_of(text: &str) -> Result<String, String> {
    let is_dash = |index| matches!(index, 8 | 13 | 18 | 23);
    let fits = |(index, byte): (usize, u8)| {
        if is_dash(index) { byte == b'-' } else { byte.is_ascii_hexdigit() }
    };
    if text.len() == 36 && text.bytes().enumerate().all(fits) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("an entry id is a UUID, such as `019abcde-f012-7abc-8def-0123456789ab`".to_owned())
}
