//! A service's public keys, for those who verify what it signs. Spec §10, §12.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::identity::IdentityProvider;
use kest_core::keys::{Jwk, Jwks};
use tower_service::Service;

/// Where the key set usually stands.
pub const PATH: &str = "/.well-known/jwks.json";

/// More retired keys than any rotation leaves behind within a day; the oldest go first.
const MOST_RETIRED: usize = 64;

/// Publishes the public keys of an identity as a JWK set (RFC 7517 §5): the current ones, and for a while those that
/// they replaced, so that entries signed just before a rotation verify too. Spec §10.
///
/// A tower service for `GET` and `HEAD` at any path; a verifier reads it with `kest_providers::jwks::JwksUrl`. It
/// needs no protection: a key set says nothing secret. But who may speak for a workload is the reader's decision, so the
/// reader should come over TLS.
///
/// ```
/// use std::sync::Arc;
/// use axum::Router;
/// use kest_http::{JwksService, jwks};
/// # use kest_providers::identity::LocalEd25519Provider;
///
/// # fn example() -> Result<(), kest_core::error::IdentityError> {
/// let identity = Arc::new(LocalEd25519Provider::new()?.with_workload_id("spiffe://example.org/orders"));
/// let keys = JwksService::builder(Arc::clone(&identity)).build();
/// let app: Router = Router::new().route_service(jwks::PATH, keys);
/// # drop(app);
/// # Ok(()) }
/// # example().unwrap();
/// ```
///
/// A rotation is noticed when the set is asked for, or by [`observe`](Self::observe): call that where the provider
/// tells of rotations, or now and then, or else a key that came and went between two requests is never published.
#[derive(Clone)]
pub struct JwksService {
    shared: Arc<Shared>,
}

struct Shared {
    provider: Arc<dyn IdentityProvider>,
    keep_retired: Duration,
    max_age: Duration,
    seen: Mutex<Seen>,
}

/// What was published last, and what was before. Oldest first.
#[derive(Default)]
struct Seen {
    current: Vec<Jwk>,
    retired: Vec<(Jwk, Instant)>,
}

impl JwksService {
    /// Begins a service for the keys of this identity: a provider, or an `Arc` of one.
    pub fn builder(provider: impl IdentityProvider + 'static) -> JwksServiceBuilder {
        JwksServiceBuilder {
            provider: Arc::new(provider),
            keep_retired: Duration::from_secs(24 * 60 * 60),
            max_age: Duration::from_secs(60),
        }
    }

    /// Looks at the identity's keys now, and gives what is published from now on.
    ///
    /// # Errors
    /// When the identity has none now, or can publish none (the mock provider's key is no public key).
    pub async fn observe(&self) -> Result<Jwks, IdentityError> {
        if let Some(ready) = self.shared.provider.ready() {
            ready.await?;
        }
        let current = self.shared.provider.public_keys()?;
        if current.0.is_empty() {
            let why = "the identity has no public keys to publish; use a provider with a key pair";
            return Err(IdentityError::new(IdentityErrorKind::Missing, why));
        }
        let now = Instant::now();
        let mut seen = self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(seen.look(current.0, now, self.shared.keep_retired))
    }

    async fn answer(self, method: Method) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match self.observe().await {
            Ok(keys) => {
                // A `HEAD` has the headers of a `GET`; the server leaves the body away.
                let mut response = Response::new(Full::new(Bytes::from(keys.to_json().to_string())));
                let cache = format!("public, max-age={}", self.shared.max_age.as_secs());
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
                if let Ok(cache) = HeaderValue::from_str(&cache) {
                    headers.insert(CACHE_CONTROL, cache);
                }
                headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
                response
            }
            Err(error) => {
                tracing::warn!(target: "kest", %error, "The public keys cannot be published");
                let mut response = status(StatusCode::SERVICE_UNAVAILABLE);
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                response
            }
        }
    }
}

impl Seen {
    /// Takes note of what is current; what no longer is counts as retired now.
    fn look(&mut self, current: Vec<Jwk>, now: Instant, keep: Duration) -> Jwks {
        let has = |keys: &[Jwk], key: &Jwk| keys.iter().any(|other| other.thumbprint() == key.thumbprint());
        let gone = std::mem::replace(&mut self.current, current);
        let gone = gone.into_iter().filter(|key| !has(&self.current, key)).map(|key| (key, now));
        self.retired.extend(gone);
        self.retired
            .retain(|(key, at)| now.saturating_duration_since(*at) < keep && !has(&self.current, key));
        let surplus = self.retired.len().saturating_sub(MOST_RETIRED);
        self.retired.drain(..surplus);
        let retired = self.retired.iter().rev().map(|(key, _)| key);
        Jwks(self.current.iter().chain(retired).cloned().collect())
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<B> Service<Request<B>> for JwksService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (service, method) = (self.clone(), request.method().clone());
        Box::pin(async move { Ok(service.answer(method).await) })
    }
}

impl fmt::Debug for JwksService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwksService").field("provider", &self.shared.provider).finish_non_exhaustive()
    }
}

/// Settings of a [`JwksService`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct JwksServiceBuilder {
    provider: Arc<dyn IdentityProvider>,
    keep_retired: Duration,
    max_age: Duration,
}

impl JwksServiceBuilder {
    /// How long a key stays published after its rotation; 24 hours by default. A key that may have been stolen must go
    /// at once: say zero, and start anew.
    pub fn keep_retired(mut self, time: Duration) -> Self {
        self.keep_retired = time;
        self
    }

    /// How long others may keep the set (`Cache-Control: max-age`); 1 minute by default. A new key's entries are not
    /// verified by those who still hold the old set.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// The service. The keys that the identity has at hand are taken note of.
    #[must_use]
    pub fn build(self) -> JwksService {
        let Self { provider, keep_retired, max_age } = self;
        let mut seen = Seen::default();
        if provider.ready().is_none()
            && let Ok(keys) = provider.public_keys()
        {
            seen.current = keys.0;
        }
        JwksService { shared: Arc::new(Shared { provider, keep_retired, max_age, seen: Mutex::new(seen) }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Jwk {
        Jwk::ed25519(&[byte; 32])
    }

    #[test]
    fn replaced_keys_stay_for_their_time_and_no_longer() {
        let (start, keep) = (Instant::now(), Duration::from_secs(10));
        let mut seen = Seen::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(seen.look(vec![key(1)], at(0), keep).0, [key(1)]);
        assert_eq!(seen.look(vec![key(2)], at(1), keep).0, [key(2), key(1)]);
        assert_eq!(seen.look(vec![key(3)], at(5), keep).0, [key(3), key(2), key(1)]);
        // A key that comes back is current, and stands in the set once.
        assert_eq!(seen.look(vec![key(3), key(2)], at(6), keep).0, [key(3), key(2), key(1)]);
        assert_eq!(seen.look(vec![key(3), key(2)], at(11), keep).0, [key(3), key(2)]);
        assert_eq!(seen.look(vec![key(4)], at(12), Duration::ZERO).0, [key(4)]);
    }

    #[test]
    fn retired_keys_are_bounded() {
        let (now, keep) = (Instant::now(), Duration::from_secs(10));
        let mut seen = Seen::default();
        for byte in 0..=255 {
            assert!(seen.look(vec![key(byte)], now, keep).0.len() <= MOST_RETIRED + 1);
        }
    }
}
