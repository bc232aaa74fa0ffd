//! Which names a store has policies for.
//!
//! A policy without an action in its scope, `permit` or `forbid`, makes every name a known one, and so does one whose
//! action cannot be told.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

/// What the list of policies says of names.
pub(super) enum Listing {
    /// These names have policies, and no others.
    Names(HashSet<String>),
    /// A policy is, or may be, for every name.
    Any,
    /// Nothing, and why.
    Unread(String),
}

/// The latest list. It decides between two ways of saying no and nothing else, so it may be a little old.
#[derive(Default)]
pub(super) struct Listings(Mutex<Option<(Instant, Arc<Listing>)>>);

const KEPT: Duration = Duration::from_secs(10);

impl Listings {
    /// The list, read by one caller for all who wait. `late` says that there was no time for it.
    pub(super) async fn latest(
        &self,
        end: Instant,
        read: impl Future<Output = Result<Listing, String>>,
        late: impl Fn() -> String,
    ) -> Arc<Listing> {
        let late = || Arc::new(Listing::Unread(late()));
        let Ok(mut kept) = timeout_at(end, self.0.lock()).await else { return late() };
        if let Some((_, listing)) = kept.as_ref().filter(|(read, _)| read.elapsed() < KEPT) {
            return Arc::clone(listing);
        }
        let listing = match timeout_at(end, read).await {
            Ok(read) => Arc::new(read.unwrap_or_else(Listing::Unread)),
            Err(_) => late(),
        };
        *kept = Some((Instant::now(), Arc::clone(&listing)));
        listing
    }
}

/// The reason of a denial that may be an unknown name.
pub(super) fn nobody_permits(why: &str) -> String {
    format!("no policy of the store permits it; whether one is for this name is not known: {why}")
}
