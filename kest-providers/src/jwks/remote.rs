//! A JWK set that is fetched, kept for a while, and fetched again.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use kest_core::keys::Jwks;
use reqwest::{Certificate, Url};

use super::JwksError;
use super::discovery::{Issuer, OidcDiscovery};
use super::flight::Flight;
use super::set;
use crate::bridge;
use crate::http::Http;

/// Where the set is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Url(Url),
    /// Where the issuer's discovery document says, asked anew at each fetch.
    Issuer(Issuer),
}

impl Place {
    fn url(&self) -> &Url {
        match self {
            Self::Url(url) => url,
            Self::Issuer(issuer) => &issuer.well_known,
        }
    }
}

/// Bounds of time and size.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// For the whole fetch, discovery included.
    pub(crate) timeout: Duration,
    /// How long a set is used without asking again.
    pub(crate) ttl: Duration,
    /// How long it is used while the server cannot be asked.
    pub(crate) hard_expiry: Duration,
    /// How soon an unknown `kid`, or a failed fetch while there is a set, leads to the next fetch.
    pub(crate) refetch: Duration,
    pub(crate) bytes: usize,
    pub(crate) keys: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            ttl: Duration::from_secs(5 * 60),
            hard_expiry: Duration::from_secs(60 * 60),
            refetch: Duration::from_secs(10),
            // Spec §17.
            bytes: 1024 * 1024,
            keys: 100,
        }
    }
}

/// How long a failure stands when there is no set: a dead server must not make each caller wait anew.
const FAILURE_STANDS: Duration = Duration::from_secs(1);

/// A set at a URL. Clones share it.
#[derive(Clone)]
pub(crate) struct Remote(Arc<Shared>);

struct Shared {
    place: Place,
    http: Http,
    limits: Limits,
    // INVARIANT: readers of these never wait for a fetch.
    cached: ArcSwapOption<Cached>,
    failed: ArcSwapOption<Failed>,
    flight: Flight<Result<Arc<Jwks>, JwksError>>,
}

struct Cached {
    keys: Arc<Jwks>,
    at: Instant,
}

struct Failed {
    error: JwksError,
    at: Instant,
}

impl Remote {
    /// No I/O: the first use fetches.
    pub(crate) fn new(place: Place, limits: Limits, roots: Vec<Certificate>) -> Self {
        let http = Http::new(limits.bytes, roots);
        let (cached, failed, flight) = (ArcSwapOption::empty(), ArcSwapOption::empty(), Flight::new());
        Self(Arc::new(Shared { place, http, limits, cached, failed, flight }))
    }

    /// The keys, if nothing must be fetched for them.
    pub(crate) fn at_hand(&self) -> Option<Arc<Jwks>> {
        self.0.at_hand()
    }

    /// The keys, fetched if there are none or they are old.
    pub(crate) async fn current(&self) -> Result<Arc<Jwks>, JwksError> {
        match self.at_hand() {
            Some(keys) => Ok(keys),
            None => self.on_bridge(|shared| async move { shared.renewed().await }).await,
        }
    }

    /// [`Self::current`] for a thread that may block.
    pub(crate) fn current_blocking(&self) -> Result<Arc<Jwks>, JwksError> {
        if let Some(keys) = self.at_hand() {
            return Ok(keys);
        }
        let shared = Arc::clone(&self.0);
        bridge::block_on(async move { shared.renewed().await }).map_err(JwksError::network)?
    }

    /// The keys after another fetch, for a `kid` that the current set has not: `None` if the last fetch was so
    /// recent that there is none. Tokens come from strangers, who must not make us ask the server at their pace.
    #[cfg(feature = "oidc")]
    pub(crate) async fn newer(&self) -> Result<Option<Arc<Jwks>>, JwksError> {
        let shared = &*self.0;
        if let Some(error) = shared.failed_within(shared.limits.refetch) {
            return Err(error);
        }
        let recent = |cached: &Arc<Cached>| cached.at.elapsed() < shared.limits.refetch;
        if shared.cached.load().as_ref().is_some_and(recent) {
            return Ok(None);
        }
        self.on_bridge(|shared| async move { shared.flight.join(|| shared.fetch()).await }).await.map(Some)
    }

    /// The keys as they are at the server now.
    pub(crate) async fn fetched(&self) -> Result<Arc<Jwks>, JwksError> {
        self.on_bridge(|shared| async move { shared.flight.anew(|| shared.fetch()).await }).await
    }

    async fn on_bridge<F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<Arc<Jwks>, JwksError>
    where
        F: Future<Output = Result<Arc<Jwks>, JwksError>> + Send + 'static,
    {
        bridge::run(work(Arc::clone(&self.0))).await.map_err(JwksError::network)?
    }
}

impl Shared {
    fn at_hand(&self) -> Option<Arc<Jwks>> {
        let cached = self.cached.load();
        let cached = cached.as_ref()?;
        let age = cached.at.elapsed();
        let retry_later = || self.failed_within(self.limits.refetch).is_some();
        let good = age < self.limits.ttl || (age < self.limits.hard_expiry && retry_later());
        good.then(|| Arc::clone(&cached.keys))
    }

    async fn renewed(&self) -> Result<Arc<Jwks>, JwksError> {
        // Somebody may have fetched them since the caller looked.
        if let Some(keys) = self.at_hand() {
            return Ok(keys);
        }
        let usable = self.cached.load_full().filter(|cached| cached.at.elapsed() < self.limits.hard_expiry);
        let Some(old) = usable else {
            return match self.failed_within(FAILURE_STANDS) {
                Some(error) => Err(error),
                None => self.flight.join(|| self.fetch()).await,
            };
        };
        match self.flight.alone(|| self.fetch()).await {
            Some(Ok(keys)) => Ok(keys),
            Some(Err(error)) => {
                tracing::warn!(target: "kest", %error, "A JWK set could not be renewed; the old one is used");
                Ok(Arc::clone(&old.keys))
            }
            // Somebody is fetching.
            None => Ok(Arc::clone(&old.keys)),
        }
    }

    async fn fetch(&self) -> Result<Arc<Jwks>, JwksError> {
        let fetched = bounded(self.place.url(), self.limits.timeout, async {
            let url = match &self.place {
                Place::Url(url) => url.clone(),
                Place::Issuer(issuer) => OidcDiscovery::get(&self.http, issuer).await?.into_jwks_uri(),
            };
            let text = self.http.get(&url).await?;
            set::read(&url, &text, self.limits.keys)
        });
        match fetched.await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                self.cached.store(Some(Arc::new(Cached { keys: Arc::clone(&keys), at: Instant::now() })));
                self.failed.store(None);
                Ok(keys)
            }
            Err(error) => {
                self.failed.store(Some(Arc::new(Failed { error: error.clone(), at: Instant::now() })));
                Err(error)
            }
        }
    }

    fn failed_within(&self, time: Duration) -> Option<JwksError> {
        let failed = self.failed.load();
        failed.as_ref().filter(|failed| failed.at.elapsed() < time).map(|failed| failed.error.clone())
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.cached.load().as_ref().map(|cached| cached.keys.0.len());
        f.debug_struct("Remote").field("url", &self.0.place.url().as_str()).field("keys", &keys).finish()
    }
}

/// The work's result, or a timeout: also of a server that sends a byte now and then.
pub(super) async fn bounded<T>(
    url: &Url,
    after: Duration,
    work: impl Future<Output = Result<T, JwksError>>,
) -> Result<T, JwksError> {
    match tokio::time::timeout(after, work).await {
        Ok(result) => result,
        Err(_) => Err(JwksError::Timeout { url: url.to_string(), after }),
    }
}
