//! Settings and limits of the wire form. Spec §17.

use std::sync::Arc;
use std::time::Duration;

use kest_core::claim::{self, ClaimCache};

use super::kept::Kept;

/// The wire form with its settings. Clones share them.
///
/// [`Wire::default`] has the limits of spec §17 and no cache: a lineage that does not fit into a header is an error.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    pub(super) settings: Arc<Settings>,
}

impl Wire {
    /// Other settings than the default ones.
    pub fn builder() -> WireBuilder {
        WireBuilder { settings: Settings::default() }
    }

    /// The same for what only this library reads: always the fewest bytes. Proxies take less of a response's head
    /// than of a request's (nginx 4,096 bytes).
    #[cfg(feature = "http")]
    pub(crate) fn densest(&self) -> Self {
        let settings =
            Settings { plain: Plain::Never, packed: Packed::Dense, ..Settings::clone(&self.settings) };
        Self { settings: Arc::new(settings) }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) cache: Option<Arc<dyn ClaimCache>>,
    pub(super) claim_ttl: Duration,
    pub(super) tier_bytes: usize,
    pub(super) header_bytes: usize,
    pub(super) members: usize,
    pub(super) inflated_bytes: usize,
    pub(super) entries: usize,
    pub(super) plain: Plain,
    pub(super) packed: Packed,
    pub(super) accepted: Accepted,
    pub(super) kept: Kept,
}

/// Whether the plain tier is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    WhenItFits,
    Never,
}

/// What is written where the plain tier is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    Zlib,
    Dense,
}

/// Which forms are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepted {
    Standard,
    PythonToo,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache: None,
            claim_ttl: claim::TTL,
            tier_bytes: 4096,
            header_bytes: 8192,
            members: 64,
            inflated_bytes: 1 << 20,
            entries: 256,
            plain: Plain::WhenItFits,
            packed: Packed::Zlib,
            accepted: Accepted::Standard,
            kept: Kept::default(),
        }
    }
}

/// Makes a [`Wire`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct WireBuilder {
    settings: Settings,
}

impl WireBuilder {
    /// Where a lineage is kept that does not fit into a header. To send a claim check it must be shared with the
    /// receiver ([`ClaimCache::is_shared`]).
    pub fn cache(mut self, cache: Arc<dyn ClaimCache>) -> Self {
        self.settings.cache = Some(cache);
        self
    }

    /// How long a claim can be redeemed: 300 s.
    pub fn claim_ttl(mut self, ttl: Duration) -> Self {
        self.settings.claim_ttl = ttl;
        self
    }

    /// The largest value of a passport that is written into the header, encoded: 4,096 bytes.
    pub fn tier_bytes(mut self, bytes: usize) -> Self {
        self.settings.tier_bytes = bytes;
        self
    }

    /// The largest baggage that is written and read, members of others included: 8,192 bytes.
    pub fn header_bytes(mut self, bytes: usize) -> Self {
        self.settings.header_bytes = bytes;
        self
    }

    /// The most members that are written and read, those of others included: 64.
    pub fn members(mut self, members: usize) -> Self {
        self.settings.members = members;
        self
    }

    /// The largest passport that is sent and read, as JSON: 1 MiB. Receivers must take as much as senders send.
    pub fn inflated_bytes(mut self, bytes: usize) -> Self {
        self.settings.inflated_bytes = bytes;
        self
    }

    /// The most entries that are sent and read: 256. Receivers must take as many as senders send.
    pub fn entries(mut self, entries: usize) -> Self {
        self.settings.entries = entries;
        self
    }

    /// Writes `kest.passport_z`, or with [`Self::dense`] `kest.passport_d`, also where `kest.passport` would fit: fewer
    /// bytes for more work. `kest.passport_z` is the only tier that the Python package reads from a header of
    /// percent-encoded members.
    pub fn always_compressed(mut self) -> Self {
        self.settings.plain = Plain::Never;
        self
    }

    /// Writes `kest.passport_d` instead of `kest.passport_z`: two to five times as many entries in as many bytes.
    /// For services whose receivers all are this library, of a version that reads it; others, the Python package too,
    /// find no lineage.
    ///
    /// What fits as `kest.passport` is still written so, but for [`Self::always_compressed`].
    pub fn dense(mut self) -> Self {
        self.settings.packed = Packed::Dense;
        self
    }

    /// Reads also what the middleware of the Python package sends: members that are not percent-encoded, and a
    /// stale tier beside the right one.
    pub fn accept_python_form(mut self) -> Self {
        self.settings.accepted = Accepted::PythonToo;
        self
    }

    /// The wire form with these settings.
    #[must_use]
    pub fn build(self) -> Wire {
        Wire { settings: Arc::new(self.settings) }
    }
}
