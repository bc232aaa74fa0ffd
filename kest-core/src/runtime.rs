//! `Kest`: identity, engine and configuration in one handle, and the process-wide default. Spec §15.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use crate::audit::AuditSink;
use crate::claim::ClaimCache;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{ConfigurationError, ConfigurationErrorKind, Error};
use crate::hook::DenialBudget;
use crate::identity::IdentityProvider;
use crate::lineage::{ScopeGuard, Scoped};
use crate::policy::PolicyEngine;
use crate::telemetry::{self, PassportAttribute};
use crate::trust::{TrustEvaluator, TrustModel};

/// Everything a protected call needs from its deployment. Cheap to clone.
///
/// ```
/// # fn main() -> Result<(), kest_core::Error> {
/// # use kest_core::{Kest, policy::*, identity::*, error::*, jws::Jws, keys::Jwks};
/// # fn configure(identity: impl IdentityProvider + 'static, engine: impl PolicyEngine + 'static) -> Result<(), Error> {
/// let kest = Kest::builder().identity(identity).engine(engine).build()?;
/// kest_core::configure(kest)?;
/// # Ok(()) }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Kest {
    // INVARIANT: never changes, so that nobody signs under another identity half-way.
    identity: Option<Arc<dyn IdentityProvider>>,
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<dyn PolicyEngine>,
    config: Config,
    /// Whether a configuration was found, or its absence was agreed to.
    config_settled: bool,
    model: TrustModel,
    evaluator: Option<Arc<dyn TrustEvaluator>>,
    model_name: Arc<str>,
    audit: OnceLock<Arc<dyn AuditSink>>,
    denials: Option<DenialBudget>,
    cache: Option<Arc<dyn ClaimCache>>,
    passport_attribute: Option<PassportAttribute>,
    clock: Clock,
    replaces_outer_tiers: bool,
}

impl Kest {
    /// Begins a configuration.
    pub fn builder() -> KestBuilder {
        KestBuilder::default()
    }

    /// Runs `future` under this `Kest`, in a scope: a branch of the current lineage, or a new one.
    ///
    /// Inside a scope of another `Kest`, or beside a global one, the tiers of all of them hold.
    pub fn scope<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped::with_kest(self.clone(), future)
    }

    /// [`Self::scope`] for code that is not async: holds until the guard is dropped.
    ///
    /// Do not hold the guard across an `.await`: while the task is suspended, other tasks of the same thread
    /// would run in this scope. Use [`Self::scope`] there.
    pub fn enter(&self) -> ScopeGuard {
        ScopeGuard::with_kest(self.clone())
    }

    /// [`Self::enter`], with the source of roots that name none.
    pub fn enter_from(&self, source: &str) -> ScopeGuard {
        ScopeGuard::with_kest_and_source(self.clone(), source)
    }

    /// [`Self::enter`], for code that serves a request from outside: see [`Scoped::ingress`].
    pub fn enter_ingress(&self) -> ScopeGuard {
        ScopeGuard::ingress(self.clone())
    }

    /// The identity provider. `None` for a `Kest` that was built without one: calls in its scopes sign with the
    /// identity around them.
    #[must_use]
    pub fn identity(&self) -> Option<&Arc<dyn IdentityProvider>> {
        self.identity.as_ref()
    }

    /// The same `Kest` with this identity; this one, its clones and its running scopes stay as they are.
    /// `kest::configure` sets the global one so, with what the platform gives.
    ///
    /// Where both are in force, their tiers hold once.
    #[must_use]
    pub fn with_identity(&self, identity: Arc<dyn IdentityProvider>) -> Self {
        Self { identity: Some(identity), inner: Arc::clone(&self.inner) }
    }

    /// Gives this `Kest` and its clones the sink that their configuration names, as `kest::configure` does. One that
    /// has a sink keeps it.
    pub fn open_audit(&self, sink: Arc<dyn AuditSink>) {
        self.inner.audit.get_or_init(|| sink);
    }

    /// The policy engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn PolicyEngine> {
        &self.inner.engine
    }

    /// The configuration in force; the default one when there is no file.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The trust model.
    #[must_use]
    pub fn trust_model(&self) -> &TrustModel {
        &self.inner.model
    }

    pub(crate) fn evaluator(&self) -> &Arc<dyn TrustEvaluator> {
        self.inner.evaluator.as_ref().unwrap_or_else(|| self.inner.model.evaluator())
    }

    /// What `metadata.trust.model` says: the model, or `model/evaluator` with an evaluator of one's own.
    pub(crate) fn model_name(&self) -> &Arc<str> {
        &self.inner.model_name
    }

    /// The audit sink, if there is one.
    #[must_use]
    pub fn audit(&self) -> Option<&Arc<dyn AuditSink>> {
        self.inner.audit.get()
    }

    pub(crate) fn denials(&self) -> Option<&DenialBudget> {
        self.inner.denials.as_ref()
    }

    /// The cache of claim checks, if there is one.
    #[must_use]
    pub fn cache(&self) -> Option<&Arc<dyn ClaimCache>> {
        self.inner.cache.as_ref()
    }

    /// Which spans of its calls have the whole lineage.
    pub(crate) fn passport_attribute(&self) -> PassportAttribute {
        self.inner
            .passport_attribute
            .or(self.inner.config.telemetry.passport)
            .unwrap_or_else(telemetry::passport_attribute)
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub(crate) fn config_settled(&self) -> bool {
        self.inner.config_settled
    }

    pub(crate) fn replaces_outer_tiers(&self) -> bool {
        self.inner.replaces_outer_tiers
    }

    /// Whether both are of one `build`: the same engine and configuration, so the same tiers. Who signs may differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl fmt::Debug for Kest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kest")
            .field("identity", &self.identity)
            .field("engine", &self.inner.engine)
            .field("config", &self.inner.config.path)
            .field("trust_model", &self.inner.model_name)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Kest`].
#[derive(Debug, Default)]
#[must_use]
pub struct KestBuilder {
    identity: Option<Arc<dyn IdentityProvider>>,
    engine: Option<Arc<dyn PolicyEngine>>,
    config: Option<Config>,
    config_path: Option<PathBuf>,
    without_config: bool,
    model: Option<TrustModel>,
    evaluator: Option<Arc<dyn TrustEvaluator>>,
    audit: Option<Arc<dyn AuditSink>>,
    cache: Option<Arc<dyn ClaimCache>>,
    passport_attribute: Option<PassportAttribute>,
    fixed_clock: Option<u64>,
    replaces_outer_tiers: bool,
}

impl KestBuilder {
    /// Who signs. Left away, it is what `kest::configure` detects, and in the scopes of this `Kest` the identity
    /// around them.
    pub fn identity(mut self, identity: impl IdentityProvider + 'static) -> Self {
        self.identity = Some(Arc::new(identity));
        self
    }

    /// Who decides. The deployment's engine judges the enterprise, platform and application tiers,
    /// and the function tier unless a call names an engine of its own.
    pub fn engine(mut self, engine: impl PolicyEngine + 'static) -> Self {
        self.engine = Some(Arc::new(engine));
        self
    }

    /// The configuration file to read when `KEST_CONFIG` is not set. Default: `./kest.toml` if it exists.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config_path = Some(path.into());
        self
    }

    /// A configuration made in code, instead of a file. `KEST_CONFIG` is not read.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Agrees to run without a configuration, also where code was compiled with one: no enterprise,
    /// platform and application tiers.
    pub fn without_config(mut self) -> Self {
        self.without_config = true;
        self
    }

    /// The trust model, instead of the configuration's.
    pub fn trust_model(mut self, model: TrustModel) -> Self {
        self.model = Some(model);
        self
    }

    /// An evaluator of one's own, over the model's sources.
    pub fn trust_evaluator(mut self, evaluator: impl TrustEvaluator + 'static) -> Self {
        self.evaluator = Some(Arc::new(evaluator));
        self
    }

    /// A durable sink that acknowledges every entry before the protected body runs.
    pub fn audit(mut self, sink: impl AuditSink + 'static) -> Self {
        self.audit = Some(Arc::new(sink));
        self
    }

    /// Where passports wait that are too large for the wire. Spec §12.
    pub fn cache(mut self, cache: impl ClaimCache + 'static) -> Self {
        self.cache = Some(Arc::new(cache));
        self
    }

    /// Which spans have `kest.passport`, whatever the configuration says. Spec §14.
    pub fn passport_attribute(mut self, passport: PassportAttribute) -> Self {
        self.passport_attribute = Some(passport);
        self
    }

    /// Options that weaken what Kest promises.
    pub fn dangerous(self) -> DangerousBuilder {
        DangerousBuilder(self)
    }

    /// The `Kest`.
    ///
    /// # Errors
    /// When the engine is missing, the configuration cannot be read, or receipts of denials are to be signed and there
    /// is no sink. A missing identity is one of
    /// [`configure`], or of the first call in a scope where there is none either.
    pub fn build(self) -> Result<Kest, Error> {
        let engine = self.engine.ok_or_else(|| {
            ConfigurationError::new(
                ConfigurationErrorKind::MissingEngine,
                "no policy engine: give one with `.engine(…)`, such as `RegoEngine::from_dir(\"policies\")?`",
            )
        })?;
        let (config, config_settled) = match (self.config, self.without_config) {
            (Some(config), _) => (config, true),
            (None, true) => (Config::default(), true),
            (None, false) => match Config::find(self.config_path.as_deref())? {
                Some(config) => (config, true),
                None => (Config::default(), false),
            },
        };
        let model = match self.model {
            Some(model) => model,
            None => config.trust_model()?,
        };
        if let Some(source) = &config.trust.root_source {
            model.require(source)?;
        }
        let model_name = match &self.evaluator {
            Some(evaluator) => model.name_with(&**evaluator)?,
            None => Arc::from(model.name()),
        };
        if config.audit.sign_denials && config.audit.sink.is_none() && self.audit.is_none() {
            return Err(ConfigurationError::new(
                ConfigurationErrorKind::Audit,
                "`[audit] sign_denials` needs a sink for the receipts: name one with `sink` and `path`, or give it \
                 with `.audit(…)`",
            )
            .into());
        }
        let denials = config.audit.denial_rate().map(DenialBudget::new);
        let inner = Inner {
            engine,
            config,
            config_settled,
            model,
            evaluator: self.evaluator,
            model_name,
            audit: self.audit.map(OnceLock::from).unwrap_or_default(),
            denials,
            cache: self.cache,
            passport_attribute: self.passport_attribute,
            clock: self.fixed_clock.map_or_else(Clock::default, Clock::fixed),
            replaces_outer_tiers: self.replaces_outer_tiers,
        };
        Ok(Kest { identity: self.identity, inner: Arc::new(inner) })
    }
}

/// Options that weaken what Kest promises. Each is named for what it gives up.
#[derive(Debug)]
#[must_use]
pub struct DangerousBuilder(KestBuilder);

impl DangerousBuilder {
    /// In a scope of this `Kest`, the tiers of the global one and of enclosing scopes do not hold.
    pub fn replace_outer_tiers(mut self) -> KestBuilder {
        self.0.replaces_outer_tiers = true;
        self.0
    }

    /// A counter instead of clock and randomness, from `start_ms` (epoch milliseconds) on: entries
    /// regenerate byte for byte. For test vectors only; ids then repeat from run to run.
    pub fn fixed_clock(mut self, start_ms: u64) -> KestBuilder {
        self.0.fixed_clock = Some(start_ms);
        self.0
    }
}

static GLOBAL: RwLock<Option<Kest>> = RwLock::new(None);

/// Sets the process-wide default, once.
///
/// # Errors
/// When there is one already ([`reconfigure`] replaces it), or this one has no identity.
pub fn configure(kest: Kest) -> Result<(), ConfigurationError> {
    let mut global = GLOBAL.write();
    if global.is_some() {
        return Err(ConfigurationError::new(
            ConfigurationErrorKind::AlreadyConfigured,
            "kest is configured already; use `kest::reconfigure` to replace it, \
             or `kest.scope(…)` for one task or test",
        ));
    }
    require_identity(&kest)?;
    warn_of_unopened_telemetry(&kest);
    *global = Some(kest);
    Ok(())
}

/// Sets or replaces the process-wide default.
///
/// # Errors
/// When this one has no identity. What was set before then stays.
pub fn reconfigure(kest: Kest) -> Result<(), ConfigurationError> {
    require_identity(&kest)?;
    warn_of_unopened_telemetry(&kest);
    let old = GLOBAL.write().replace(kest);
    drop(old);
    Ok(())
}

fn require_identity(kest: &Kest) -> Result<(), ConfigurationError> {
    kest.identity().map(drop).ok_or_else(missing_identity)
}

/// Whoever holds the exporter flushes it at the end of `main`, so it cannot be opened here.
fn warn_of_unopened_telemetry(kest: &Kest) {
    if let Some(exporter) = kest.config().telemetry.exporter
        && !telemetry::has_tracer_provider()
    {
        tracing::warn!(
            target: "kest",
            %exporter,
            "`[telemetry]` names an exporter, and this process has no tracer provider, so no spans go there: \
             call `KestTelemetry::from_config(kest.config())` before `kest::configure`, and keep what it gives"
        );
    }
}

/// Why a call under a `Kest` has nobody to sign for it.
pub(crate) fn missing_identity() -> ConfigurationError {
    ConfigurationError::new(
        ConfigurationErrorKind::MissingIdentity,
        "no identity provider: give one with `.identity(…)`, such as `kest::get_default_identity()?`, which takes \
         what the platform gives, or pass the `Kest` through `kest::configure`, which does the same",
    )
}

/// Removes the process-wide default.
pub fn clear() {
    let old = GLOBAL.write().take();
    drop(old);
}

/// The process-wide default, if there is one.
#[must_use]
pub fn global() -> Option<Kest> {
    GLOBAL.read().clone()
}

/// The `Kest` in force for the calling code: the innermost scope's, else the global one.
#[must_use]
pub fn current() -> Option<Kest> {
    crate::lineage::scope::current().and_then(|scope| scope.env().kests.first().cloned()).or_else(global)
}

/// The engine in force for the calling code.
#[must_use]
pub fn get_active_engine() -> Option<Arc<dyn PolicyEngine>> {
    current().map(|kest| Arc::clone(kest.engine()))
}

/// The cache of claim checks in force for the calling code.
#[must_use]
pub fn get_active_cache() -> Option<Arc<dyn ClaimCache>> {
    current().and_then(|kest| kest.cache().cloned())
}

/// The identity in force for the calling code: that of the innermost scope that has one, else the global one.
#[must_use]
pub fn get_active_identity() -> Option<Arc<dyn IdentityProvider>> {
    let scope = crate::lineage::scope::current();
    let scopes = scope.as_ref().map_or(&[][..], |scope| &scope.env().kests);
    identity_in_force(scopes, global().as_ref())
}

/// The identity of the first of `scopes`, the innermost, that has one, else of the global `Kest`. Spec §6 step 1.
pub(crate) fn identity_in_force(scopes: &[Kest], global: Option<&Kest>) -> Option<Arc<dyn IdentityProvider>> {
    scopes.iter().chain(global).find_map(Kest::identity).cloned()
}
