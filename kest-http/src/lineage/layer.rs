//! The lineage layer and its settings.

use std::sync::Arc;
use std::time::Duration;

use kest_core::Kest;
use kest_core::error::{ConfigurationError, ConfigurationErrorKind};
use kest_core::verify::{Remembered, Verifier};
use tower_layer::Layer;

use super::service::{LineageService, ReturnTo, Returns, Settings};
use crate::bind::Binding;
use crate::receive::{Clock, Gate, Receiver};
use crate::wire::Wire;
use crate::withheld::Seldom;

/// Lets a service go on with the lineage of its callers: what arrives in `baggage` is read, verified and bound to its
/// sender before the service is called, and the service runs in a scope that goes on from it. Spec §12.
///
/// ```
/// use axum::{Router, routing::get};
/// use kest_core::{Kest, verify::{Anchors, Verifier}};
/// use kest_http::LineageLayer;
/// # use kest_providers::{identity::LocalEd25519Provider, policy::MockPolicyEngine};
///
/// # fn example() -> Result<(), kest_core::Error> {
/// let kest = Kest::builder()
///     .identity(LocalEd25519Provider::new()?.with_workload_id("spiffe://example.org/orders"))
///     .engine(MockPolicyEngine::allow())
///     .without_config()
///     .build()?;
/// // Whose entries count: keys by workload id.
/// let callers = Verifier::new(Anchors::from_json(br#"{}"#).expect("anchors"));
/// let layer = LineageLayer::builder(kest, callers)
///     .allow("spiffe://example.org/gateway")
///     .build()?;
/// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(layer);
/// # drop(app);
/// # Ok(()) }
/// # example().unwrap();
/// ```
///
/// It is a tower layer over `http` types: for axum (`Router::layer`), tonic (`Server::layer`) and hyper alike. A request
/// that is refused never reaches the service; [`Problem`](crate::Problem) has the table of refusals.
///
/// **Bound** is a lineage whose every tip is an entry of the peer ([`PeerIdentity`](crate::PeerIdentity): mutual TLS),
/// or of a workload that is [allowed](LineageLayerBuilder::allow). Its scores count as far as the verifier's
/// authority lets them, and what its tips sign as `user`, `agent` and `task` is on whose behalf the service runs. What
/// the tips do not agree on is left out. **Unbound** is every other: whoever has seen it could have sent it. Its scores
/// count for [`unbound_ceiling`](LineageLayerBuilder::unbound_ceiling) at most, on nobody's behalf, and for ten
/// minutes. `kest.user` and its like in baggage count for nothing, unless `[propagation] trust_baggage_identity` is
/// set, and `kest.jwt` neither: a token is validated by [`IdentityLayer`](crate::IdentityLayer), which goes inside of this
/// layer. **Without** lineage the service runs in a scope of its own, whose roots are `unauthenticated`. A tip under the
/// mock key, where the verifier takes those, binds nobody, and counts for as little.
///
/// One layer is enough: a request that has passed one and comes to another is refused with 500.
///
/// The body of a response runs in the scope too: what a streamed body calls is of the same lineage.
///
/// Verification takes place where the request is polled if the passport has at most 32 entries and no key has to be
/// fetched ([`Verifier::may_block`]), else on a thread that may block. Passports that are inflated, redeemed or verified
/// on such a thread are limited to [`verifications_at_once`](LineageLayerBuilder::verifications_at_once); the others
/// wait, holding little but their headers, and are refused with 503 after five seconds. Signatures that were good are
/// [remembered](LineageLayerBuilder::remember), and checked once.
#[derive(Clone, Debug)]
pub struct LineageLayer {
    settings: Arc<Settings>,
}

impl LineageLayer {
    /// Begins a layer: whose hooks run in the service, and whose entries it believes. The verifier's options for
    /// ingress are set by the layer.
    pub fn builder(kest: Kest, verifier: Verifier) -> LineageLayerBuilder {
        LineageLayerBuilder {
            kest,
            verifier,
            wire: None,
            allowed: Vec::new(),
            unbound_ceiling: 40,
            unbound_max_age: Duration::from_secs(10 * 60),
            max_age: Duration::from_secs(60 * 60),
            skew: Duration::from_secs(30),
            require_bound: false,
            require_lineage: false,
            return_to: None,
            accept_unverified: false,
            at_once: 32,
            remembered: None,
            clock: Clock::system(),
        }
    }
}

impl<S> Layer<S> for LineageLayer {
    type Service = LineageService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LineageService::new(inner, Arc::clone(&self.settings))
    }
}

/// Settings of a [`LineageLayer`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct LineageLayerBuilder {
    kest: Kest,
    verifier: Verifier,
    wire: Option<Wire>,
    allowed: Vec<String>,
    unbound_ceiling: u8,
    unbound_max_age: Duration,
    max_age: Duration,
    skew: Duration,
    require_bound: bool,
    require_lineage: bool,
    return_to: Option<ReturnTo>,
    accept_unverified: bool,
    at_once: usize,
    remembered: Option<Remembered>,
    clock: Clock,
}

/// Entries that a layer remembers by default.
const REMEMBERED: usize = 10_000;

impl LineageLayerBuilder {
    /// How lineage is read and written; by default with the limits of spec §17 and the cache of the `Kest`.
    pub fn wire(mut self, wire: Wire) -> Self {
        self.wire = Some(wire);
        self
    }

    /// Believes a lineage whose tips are by these workloads, whoever sends it: for callers behind a proxy, or without
    /// mutual TLS. An exact workload id, a prefix such as `spiffe://example.org/payments/*`, or a trust domain (the patterns
    /// of [`Authority::new`](kest_core::verify::Authority::new)). Can be said several times.
    ///
    /// Whoever has seen such a lineage can send it again, for as long as its tips are younger than
    /// [`max_age`](Self::max_age). That is everybody to whom an allowed workload gives its lineage back: allow none whose
    /// layer has [`return_lineage_to_anybody`](Self::return_lineage_to_anybody).
    pub fn allow(mut self, workloads: impl Into<String>) -> Self {
        self.allowed.push(workloads.into());
        self
    }

    /// What a lineage counts for at most that is bound to nobody; 40 by default.
    pub fn unbound_ceiling(mut self, score: u8) -> Self {
        self.unbound_ceiling = score;
        self
    }

    /// How old the tips of such a lineage may be; 10 minutes by default. Never longer than [`Self::max_age`].
    pub fn unbound_max_age(mut self, max_age: Duration) -> Self {
        self.unbound_max_age = max_age;
        self
    }

    /// How old the tips of a lineage may be; 1 hour by default.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// How far the callers' clocks and this one may differ; 30 seconds by default.
    pub fn skew(mut self, skew: Duration) -> Self {
        self.skew = skew;
        self
    }

    /// Refuses a lineage that is not bound to its sender.
    pub fn require_bound(mut self) -> Self {
        self.require_bound = true;
        self
    }

    /// Refuses calls without lineage.
    pub fn require_lineage(mut self) -> Self {
        self.require_lineage = true;
        self
    }

    /// Gives the lineage back to callers who ask for it (`kest-return: 1`), with what the service has added: in the
    /// response header `kest-lineage`, and for gRPC and bodies without a known length in a trailer of that name, where
    /// the caller takes trailers; never for `HEAD`, and answers without body. Refusals carry none. What has lineage may not be stored on the way
    /// (`Cache-Control: no-store`).
    ///
    /// Only callers who are known get it: whose lineage is bound, or whom the connection proves
    /// ([`PeerIdentity`](crate::PeerIdentity)). They can then read the entries of the calls that their request led to, and
    /// send them to services that [allow](Self::allow) this one. Others are told `kest-lineage: none;reason=unbound`,
    /// whom the log names once a minute at most.
    pub fn return_lineage(mut self) -> Self {
        self.return_to.get_or_insert(ReturnTo::Known);
        self
    }

    /// The same for callers whom nobody knows.
    ///
    /// The tip of what they get is an entry of this service. Every service that [allows](Self::allow) it, without mutual
    /// TLS, believes them as it would this one, until the tip is too old.
    pub fn return_lineage_to_anybody(mut self) -> Self {
        self.return_to = Some(ReturnTo::Anybody);
        self
    }

    /// How many passports may be inflated, redeemed or verified off the run-time's threads at a time; 32 by default.
    /// Each takes a few MiB at most. To wait takes a tokio run-time with a timer (`enable_time`), as `#[tokio::main]`
    /// makes it; without, what would have to wait is refused with 500.
    pub fn verifications_at_once(mut self, limit: usize) -> Self {
        self.at_once = limit;
        self
    }

    /// Where entries are remembered whose signatures were good, so that a lineage that comes again costs its new entries
    /// alone; by default a memory of this layer for 10,000 entries, which take some 20 MB, and 50 MB at most. Layers that are given clones
    /// of one memory share it, and `Remembered::new(0)` remembers nothing. A verifier that was built with a memory keeps
    /// its own, unless this is called.
    ///
    /// What is believed does not depend on it: see [`Remembered`].
    pub fn remember(mut self, remembered: Remembered) -> Self {
        self.remembered = Some(remembered);
        self
    }

    /// The clock, in epoch milliseconds; the system's by default.
    pub fn clock(mut self, now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(now_ms);
        self
    }

    /// Options that weaken the layer.
    pub fn dangerous(self) -> DangerousLineageLayerBuilder {
        DangerousLineageLayerBuilder(self)
    }

    /// The layer.
    ///
    /// # Errors
    /// When a pattern cannot be used, the ceiling is over 100, or the verifier skips signatures and the layer does not
    /// accept that.
    pub fn build(self) -> Result<LineageLayer, ConfigurationError> {
        let refuse = |why: String| ConfigurationError::new(ConfigurationErrorKind::Layer, why);
        let mut binding = Binding::new(&self.allowed).map_err(|error| {
            refuse(format!("the lineage layer cannot allow that: {error}")).with_source(error)
        })?;
        if self.unbound_ceiling > 100 {
            let found = self.unbound_ceiling;
            return Err(refuse(format!(
                "the ceiling of unbound lineages is `{found}`; scores go from 0 to 100"
            )));
        }
        binding.unbound_ceiling = self.unbound_ceiling;
        binding.unbound_max_age = self.unbound_max_age.min(self.max_age);
        binding.skew = self.skew;
        binding.require_bound = self.require_bound;
        let skips = self.verifier.skips_signatures();
        if skips != self.accept_unverified {
            return Err(refuse(
                match skips {
                    true => {
                        "the verifier of the lineage layer was told to skip signatures; say `.dangerous()\
                         .accept_unverified()` to the layer too, or give it another verifier"
                    }
                    false => {
                        "the lineage layer is to accept what was not verified, but its verifier checks signatures; \
                         build that with `.dangerous().skip_signatures()`"
                    }
                }
                .to_owned(),
            ));
        }
        binding.nothing_binds = skips;
        binding.takes_mock = self.verifier.accepts_mock();
        let wire = self.wire.unwrap_or_else(|| match self.kest.cache() {
            Some(cache) => Wire::builder().cache(Arc::clone(cache)).build(),
            None => Wire::default(),
        });
        let verifier = match &self.remembered {
            Some(remembered) => self.verifier.with_memory(remembered),
            None => self.verifier.remembering(&Remembered::new(REMEMBERED)),
        };
        let receiver = Receiver {
            verifier,
            binding,
            max_age: self.max_age,
            require_lineage: self.require_lineage,
            trust_baggage: self.kest.config().propagation.trust_baggage_identity,
            clock: self.clock,
            gate: Gate::new(self.at_once, Duration::from_secs(5)),
            wire: wire.clone(),
        };
        let returns = self.return_to.map(|to| Returns {
            wire,
            to,
            unbound: Seldom::default(),
            failures: Arc::default(),
        });
        Ok(LineageLayer { settings: Arc::new(Settings { kest: self.kest, receiver, returns }) })
    }
}

/// Options that weaken a [`LineageLayer`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct DangerousLineageLayerBuilder(LineageLayerBuilder);

impl DangerousLineageLayerBuilder {
    /// Takes lineages whose signatures nobody checks, with a verifier that was told to skip them
    /// (`VerifierBuilder::dangerous().skip_signatures()`): anybody can make them up. They are bound to nobody.
    pub fn accept_unverified(mut self) -> LineageLayerBuilder {
        self.0.accept_unverified = true;
        self.0
    }
}
