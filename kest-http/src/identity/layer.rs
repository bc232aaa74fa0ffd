//! The identity layer and its settings.

use std::sync::Arc;
use std::time::Duration;

use kest_core::error::{ConfigurationError, ConfigurationErrorKind};
use kest_core::jws::Algorithm;
use kest_providers::identity::{BearerVerifier, BearerVerifierBuilder};
use tower_layer::Layer;

use super::claims::{ActOrder, Mapping, Users};
use super::service::{IdentityService, Settings};

/// Lets a service know on whose behalf it is called: the bearer token of a request (RFC 6750) is validated before the
/// service is called, and its calls record the user, the agent and the task that the token names. Spec §12.
///
/// ```
/// use axum::{Router, routing::get};
/// use kest_http::IdentityLayer;
///
/// # fn example() -> Result<(), kest_core::error::ConfigurationError> {
/// let identity = IdentityLayer::builder()
///     .issuer("https://login.example.org")
///     .audience("https://orders.example.org")
///     .build()?;
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     // The layer that is added last is the outermost: then add `LineageLayer`.
///     .layer(identity);
/// # drop(app);
/// # Ok(()) }
/// # example().unwrap();
/// ```
///
/// It goes **inside** of [`LineageLayer`](crate::LineageLayer): what a token says replaces what the lineage says. Where
/// the order is wrong, requests with a token are refused with 500.
///
/// `sub` is the user, `client_id` (else `azp`) the agent, `scope` the task; the names can be changed. With `act` (RFC
/// 8693 §4.1) the outermost `act.sub` is the agent. Deeper actors are information only:
/// [`Authenticated::actors`](crate::Authenticated::actors). Roots that name no source count as `authenticated_user`. The
/// token itself goes along to hosts that are named for it, see `kest_core::lineage::get_current_jwt`.
///
/// A token that is not good is refused with 401 whether tokens are optional or not; two `Authorization` headers with
/// 400; and while an issuer's keys cannot be had, its tokens with 503. Tokens are taken from the header alone, never
/// from a query, a form or baggage, and stand in no log.
#[derive(Clone, Debug)]
pub struct IdentityLayer {
    settings: Arc<Settings>,
}

impl IdentityLayer {
    /// Begins a layer. Say at least whose tokens count, and for whom they must be.
    pub fn builder() -> IdentityLayerBuilder {
        IdentityLayerBuilder {
            tokens: BearerVerifier::builder(),
            mapping: Mapping::default(),
            users: None,
            optional: false,
        }
    }
}

impl<S> Layer<S> for IdentityLayer {
    type Service = IdentityService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        IdentityService::new(inner, Arc::clone(&self.settings))
    }
}

/// Settings of an [`IdentityLayer`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct IdentityLayerBuilder {
    tokens: BearerVerifierBuilder,
    mapping: Mapping,
    users: Option<Users>,
    optional: bool,
}

impl IdentityLayerBuilder {
    fn tokens(mut self, change: impl FnOnce(BearerVerifierBuilder) -> BearerVerifierBuilder) -> Self {
        self.tokens = change(self.tokens);
        self
    }

    /// An issuer whose tokens count, exactly as their `iss` says it. Can be said several times.
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        self.tokens(|tokens| tokens.issuer(issuer))
    }

    /// An issuer whose keys are at `jwks_uri`, if its discovery document cannot be asked.
    pub fn issuer_with_jwks(self, issuer: impl Into<String>, jwks_uri: impl Into<String>) -> Self {
        self.tokens(|tokens| tokens.issuer_with_jwks(issuer, jwks_uri))
    }

    /// For whom a token must be (`aud`). Must be said; said several times, one of them is enough.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.tokens(|tokens| tokens.audience(audience))
    }

    /// How far the issuers' clocks and this one may differ; 30 seconds by default, 5 minutes at most.
    pub fn leeway(self, leeway: Duration) -> Self {
        self.tokens(|tokens| tokens.leeway(leeway))
    }

    /// How long asking an issuer for its keys may take; 5 seconds by default.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.tokens(|tokens| tokens.timeout(timeout))
    }

    /// How soon a key that is not known may lead to another request to the issuer; 10 seconds by default.
    pub fn refetch_after(self, time: Duration) -> Self {
        self.tokens(|tokens| tokens.refetch_after(time))
    }

    /// Certificate authorities in PEM, believed for the issuers' servers beside those of the system.
    pub fn root_certificates_pem(self, pem: &[u8]) -> Self {
        self.tokens(|tokens| tokens.root_certificates_pem(pem))
    }

    /// The algorithms that tokens may be signed with, see [`BearerVerifierBuilder::algorithms`].
    pub fn algorithms(self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.tokens(|tokens| tokens.algorithms(algorithms))
    }

    /// Takes tokens of the type `at+jwt` only, RFC 9068.
    pub fn access_tokens_only(self) -> Self {
        self.tokens(BearerVerifierBuilder::access_tokens_only)
    }

    /// Takes tokens that are bound to a key, see [`BearerVerifierBuilder::ignore_cnf`].
    pub fn ignore_cnf(self) -> Self {
        self.tokens(BearerVerifierBuilder::ignore_cnf)
    }

    /// Lets requests without a token pass, as what their lineage says; without a [`LineageLayer`](crate::LineageLayer)
    /// they serve the outside all the same, and start no lineage as `internal`. A token that is there must be good.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// The claim that names the user; `sub` by default. A token without it is refused. Choose one that the issuer gives
    /// to nobody else later.
    pub fn user_claim(mut self, claim: impl Into<String>) -> Self {
        self.mapping.user = claim.into();
        self
    }

    /// The claims that name the agent where there is no `act`, the first that is there; `client_id`, `azp` by default.
    pub fn agent_claims<C: Into<String>>(mut self, claims: impl IntoIterator<Item = C>) -> Self {
        self.mapping.agents = claims.into_iter().map(Into::into).collect();
        self
    }

    /// The claim that names the task; `scope` by default. A list counts as its items with a space between.
    pub fn task_claim(mut self, claim: impl Into<String>) -> Self {
        self.mapping.task = Some(claim.into());
        self
    }

    /// Takes no task from tokens.
    pub fn no_task(mut self) -> Self {
        self.mapping.task = None;
        self
    }

    /// What users are called. Must be said where there are several issuers: each could have an `alice`.
    pub fn users(mut self, users: Users) -> Self {
        self.users = Some(users);
        self
    }

    /// Reads `act` as the Python package does: the outermost `act.sub` is the user, and `sub` the agent. For issuers that
    /// write it so, against RFC 8693.
    pub fn python_act_order(mut self) -> Self {
        self.mapping.act = ActOrder::Inverse;
        self
    }

    /// The layer. Nothing is fetched yet.
    ///
    /// # Errors
    /// When no issuer or no audience is listed, it is not said what users of several issuers are called, or another
    /// setting cannot be used.
    pub fn build(self) -> Result<IdentityLayer, ConfigurationError> {
        let Self { tokens, mut mapping, users, optional } = self;
        let refuse = |why: String| ConfigurationError::new(ConfigurationErrorKind::Layer, why);
        if tokens.issuers() > 1 && users.is_none() {
            return Err(refuse(
                "there are several issuers, and each could have an `alice`: say `.users(Users::ByIssuer)`, or \
                 `.users(Users::AsNamed)` if they never give one name to two people"
                    .to_owned(),
            ));
        }
        let named = [&mapping.user].into_iter().chain(&mapping.agents).chain(&mapping.task);
        if named.into_iter().any(String::is_empty) {
            return Err(refuse("a claim has no name; name it".to_owned()));
        }
        mapping.users = users.unwrap_or(Users::AsNamed);
        let tokens = tokens.build().map_err(|error| {
            refuse(format!("the identity layer cannot be made: {error}")).with_source(error)
        })?;
        Ok(IdentityLayer { settings: Arc::new(Settings { tokens, mapping, optional }) })
    }
}
