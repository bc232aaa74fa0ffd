//! What a passport is verified against.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::authority::Authority;
use super::keysource::KeySource;
use super::remember::Remembered;
use crate::config::Config;
use crate::error::ConfigurationError;
use crate::jws::unhex;
use crate::passport::{Node, Passport};
use crate::text::Quoted;
use crate::trust::TrustModel;

/// Keys, authority and options of a verification. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verifier {
    pub(super) sources: Arc<[Arc<dyn KeySource>]>,
    pub(super) authority: Arc<Authority>,
    pub(super) models: Arc<Models>,
    pub(super) remembered: Option<Remembered>,
    pub(super) options: Options,
}

#[derive(Clone, Debug)]
pub(super) struct Models {
    pub(super) guide: TrustModel,
    pub(super) spec_v0_3: TrustModel,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) expected_tip: Option<[u8; 32]>,
    pub(super) linear: bool,
    pub(super) strict: bool,
    pub(super) ingress: Option<Ingress>,
    pub(super) received_ms: Option<u64>,
    pub(super) limits: Limits,
    pub(super) threads: Option<usize>,
    pub(super) accept_mock: bool,
    pub(super) skip_signatures: bool,
    pub(super) continues: Option<Continued>,
}

/// What entries of this process count for, by their hash.
#[derive(Clone)]
pub(super) struct Continued(Arc<HashMap<[u8; 32], Arc<Node>>>);

impl Continued {
    pub(super) fn get(&self, hash: &[u8; 32]) -> Option<&Arc<Node>> {
        self.0.get(hash)
    }
}

impl fmt::Debug for Continued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Continued").field("entries", &self.0.len()).finish()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Ingress {
    pub(super) now_ms: u64,
    pub(super) max_age_ms: u64,
    pub(super) skew_ms: u64,
}

impl Ingress {
    fn new(now_ms: u64, max_age: Duration, skew: Duration) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self { now_ms, max_age_ms: ms(max_age), skew_ms: ms(skew) }
    }
}

/// Limits of a verification. Spec §17.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one payload: 64 KiB.
    pub entry_bytes: usize,
    /// Entries of a passport: 1,000,000, but see `ingress_entries`.
    pub entries: usize,
    /// Entries of a passport at ingress: 256.
    pub ingress_entries: usize,
    /// Validations of certificate chains for a passport, good or bad: 1,024. The entries of one SVID cost one.
    pub chains: usize,
    /// Validations of certificate chains for one principal at ingress, good or bad: 64.
    pub ingress_chains: usize,
    /// Parents of an entry: 256.
    pub parents: usize,
    /// Taints in each list of an entry, and in effect after it: 256.
    pub taints: usize,
    /// Bytes of a taint: 256.
    pub taint_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entry_bytes: 64 * 1024,
            entries: 1_000_000,
            ingress_entries: 256,
            chains: 1_024,
            ingress_chains: 64,
            parents: 256,
            taints: 256,
            taint_bytes: 256,
        }
    }
}

impl Verifier {
    /// A verifier with these keys and no options.
    #[must_use]
    pub fn new(keys: impl KeySource + 'static) -> Self {
        Self::builder().keys(keys).build()
    }

    /// Begins a verifier. Without keys it knows nobody, and refuses every entry.
    pub fn builder() -> VerifierBuilder {
        VerifierBuilder {
            sources: Vec::new(),
            authority: Authority::default(),
            models: Models { guide: TrustModel::guide(), spec_v0_3: TrustModel::spec_v0_3() },
            remembered: None,
            options: Options::default(),
        }
    }

    /// The same verifier at another time; it checks time only if it was built for ingress.
    #[must_use]
    pub fn at(&self, now_ms: u64) -> Self {
        let mut other = self.clone();
        other.options.ingress = self.options.ingress.map(|ingress| Ingress { now_ms, ..ingress });
        other
    }

    /// The same verifier where a lineage comes in from elsewhere, see [`VerifierBuilder::ingress`].
    #[must_use]
    pub fn for_ingress(&self, now_ms: u64, max_age: Duration, skew: Duration) -> Self {
        let mut other = self.clone();
        other.options.ingress = Some(Ingress::new(now_ms, max_age, skew));
        other
    }

    /// Whether one of the sources would block now, see [`KeySource::may_block`].
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.sources.iter().any(|source| source.may_block())
    }

    /// Whether it leaves signatures unchecked, as it was told by `dangerous().skip_signatures()`.
    #[must_use]
    pub fn skips_signatures(&self) -> bool {
        self.options.skip_signatures
    }

    /// Whether it takes entries that are signed with the mock key.
    #[must_use]
    pub fn accepts_mock(&self) -> bool {
        self.options.accept_mock
    }

    /// The same verifier for a passport that was received at that time, see [`VerifierBuilder::received_at`].
    #[must_use]
    pub fn received_at(&self, received_ms: u64) -> Self {
        let mut other = self.clone();
        other.options.received_ms = Some(received_ms);
        other
    }

    /// The same verifier expecting another tip.
    ///
    /// # Errors
    /// When `tip` is no SHA-256 in lowercase hex.
    pub fn expecting(&self, tip: &str) -> Result<Self, InvalidTip> {
        let mut other = self.clone();
        other.options.expected_tip = Some(parse_tip(tip)?);
        Ok(other)
    }

    /// The same verifier for what goes on from a lineage of this process. Everything is checked as ever; but where an
    /// entry is one of `passport`, it counts for what it counts for there, with the taints that it has there, and so
    /// does what comes after it. Whatever the verifier would make of it by itself: a lineage that was
    /// [capped](super::VerifiedPassport::capped) here, or keeps a taint here, does not come back without.
    #[must_use]
    pub fn continuing(&self, passport: &Passport) -> Self {
        let mut other = self.clone();
        other.options.continues = Some(Continued(Arc::new(passport.nodes())));
        other
    }

    /// The same verifier with a memory, see [`VerifierBuilder::remember`]. One that has a memory keeps its own.
    #[must_use]
    pub fn remembering(&self, remembered: &Remembered) -> Self {
        let mut other = self.clone();
        other.remembered.get_or_insert_with(|| remembered.clone());
        other
    }

    /// Threads for `entries` entries. Starting one costs about as much as checking a signature.
    pub(super) fn threads(&self, entries: usize, least: usize) -> usize {
        if entries < least {
            return 1;
        }
        self.options.threads.unwrap_or_else(|| *CORES).clamp(1, entries)
    }
}

/// Asked once: the answer costs the time of two signatures.
static CORES: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));

/// Builds a [`Verifier`].
#[derive(Debug)]
#[must_use]
pub struct VerifierBuilder {
    sources: Vec<Arc<dyn KeySource>>,
    authority: Authority,
    models: Models,
    remembered: Option<Remembered>,
    options: Options,
}

impl VerifierBuilder {
    /// Adds a source of keys. A principal that two sources know with different keys fails. Keys of a principal go
    /// before the authorities of its trust domain.
    pub fn keys(mut self, source: impl KeySource + 'static) -> Self {
        self.sources.push(Arc::new(source));
        self
    }

    /// Who may do what.
    pub fn authority(mut self, authority: Authority) -> Self {
        self.authority = authority;
        self
    }

    /// What a `kest.toml` says of verification: `[verification.authority]` and `[trust.sources]`.
    ///
    /// # Errors
    /// When a rule or a source cannot be used.
    pub fn config(self, config: &Config) -> Result<Self, ConfigurationError> {
        let builder = self.authority(Authority::from_config(config)?);
        config
            .trust
            .sources
            .iter()
            .try_fold(builder, |builder, (source, score)| builder.source(source, *score))
    }

    /// The score of a source that is not built in, as `[trust.sources]` gives it.
    ///
    /// # Errors
    /// When the name is built in, or has another score already, or the score is over 100.
    pub fn source(mut self, name: &str, score: u8) -> Result<Self, ConfigurationError> {
        let guide = self.models.guide.register(name, score);
        // The maps differ: a source may be built into one of them and be a deployment's own in the other.
        self.models.spec_v0_3.register(name, score).or(guide)?;
        Ok(self)
    }

    /// The only tip the passport may have, as the hash of its JWS. Catches a truncated tail, which nothing else can,
    /// and a second root spliced in.
    ///
    /// # Errors
    /// When `tip` is no SHA-256 in lowercase hex.
    pub fn expected_tip(mut self, tip: &str) -> Result<Self, InvalidTip> {
        self.options.expected_tip = Some(parse_tip(tip)?);
        Ok(self)
    }

    /// Every entry's first parent must be the entry before it. Forks and second roots fail. An entry may have more
    /// parents: joining older entries again is linear.
    pub fn linear(mut self) -> Self {
        self.options.linear = true;
        self
    }

    /// Semantic violations by foreign entries and whatever goes beyond a principal's authority fail, instead of being
    /// a finding.
    pub fn strict(mut self) -> Self {
        self.options.strict = true;
        self
    }

    /// Where a lineage comes in from elsewhere: at most [`Limits::ingress_entries`] entries, tips at most `max_age`
    /// old, nothing later than `now_ms` and `skew`, and no semantic violation by anybody. Certificates are valid now,
    /// give or take `skew`, or else the entry is at most `max_age` old and they were valid at its time.
    pub fn ingress(mut self, now_ms: u64, max_age: Duration, skew: Duration) -> Self {
        self.options.ingress = Some(Ingress::new(now_ms, max_age, skew));
        self
    }

    /// For archives: when the passport was received, by the clock of whoever keeps it. Certificates must have been
    /// valid then, to the millisecond, and no own entry is dated before its certificate; without this they must have been valid at the times that the entries give
    /// themselves.
    pub fn received_at(mut self, received_ms: u64) -> Self {
        self.options.received_ms = Some(received_ms);
        self
    }

    /// Other limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Threads that parse entries and check signatures; by default as many as there are cores.
    pub fn threads(mut self, threads: usize) -> Self {
        self.options.threads = Some(threads);
        self
    }

    /// Remembers good signatures, so that each costs once. Everything else is checked every time: see [`Remembered`].
    pub fn remember(mut self, remembered: Remembered) -> Self {
        self.remembered = Some(remembered);
        self
    }

    /// Options that weaken the verification.
    pub fn dangerous(self) -> DangerousVerifierBuilder {
        DangerousVerifierBuilder(self)
    }

    /// The verifier.
    #[must_use]
    pub fn build(self) -> Verifier {
        Verifier {
            sources: self.sources.into(),
            authority: Arc::new(self.authority),
            models: Arc::new(self.models),
            remembered: self.remembered,
            options: self.options,
        }
    }
}

/// Options that weaken the verification.
#[derive(Debug)]
#[must_use]
pub struct DangerousVerifierBuilder(VerifierBuilder);

impl DangerousVerifierBuilder {
    /// Accepts entries signed with the mock key, of principals without anchors. Anybody can make such entries.
    pub fn accept_mock(mut self) -> VerifierBuilder {
        self.0.options.accept_mock = true;
        self.0
    }

    /// Checks no signature, and asks nobody for keys: anybody can make any entry, under any name. Everything else is
    /// checked, and no entry counts for more than `unauthenticated`, nor has any authority. The axes signatures and
    /// identity read `not checked`.
    pub fn skip_signatures(mut self) -> VerifierBuilder {
        self.0.options.skip_signatures = true;
        self.0
    }
}

/// A tip that is no hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTip(String);

impl fmt::Display for InvalidTip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tip {} is no SHA-256 in lowercase hex (64 digits)", Quoted(&self.0))
    }
}

impl std::error::Error for InvalidTip {}

fn parse_tip(tip: &str) -> Result<[u8; 32], InvalidTip> {
    unhex(tip).ok_or_else(|| InvalidTip(tip.to_owned()))
}
