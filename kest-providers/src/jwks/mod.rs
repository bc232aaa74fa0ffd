//! Keys from a JWK set URL. Spec §13.

mod discovery;
mod error;
mod flight;
mod remote;
mod set;

use std::time::Duration;

use kest_core::keys::{Jwks, KeyError};
use kest_core::verify::{Authority, Grant, KeySource};
use reqwest::Certificate;

#[cfg(feature = "oidc")]
pub(crate) use self::discovery::Issuer;
pub use self::discovery::OidcDiscovery;
pub use self::error::JwksError;
#[cfg(feature = "oidc")]
pub(crate) use self::flight::Flight;
pub(crate) use self::remote::{Limits, Place, Remote};
use crate::http::{key_url, root_certificates};

/// The keys of some principals, from a JWK set URL (RFC 7517 §5).
///
/// The server speaks only for the principals on its allow list. A set is kept for its `ttl` and then fetched anew; while
/// the server is down it is used until its `hard_expiry`, and then verifying fails. Reading a set that is kept takes no
/// lock. What the server gives for other purposes (encryption keys, unknown types) is left out.
///
/// ```
/// # use kest_providers::jwks::JwksUrl;
/// use kest_core::verify::Verifier;
///
/// let keys = JwksUrl::builder("https://payments.example.org/jwks.json")
///     .allow("spiffe://example.org/payments/*")
///     .build()?;
/// let verifier = Verifier::builder().keys(keys).build();
/// # Ok::<_, kest_providers::jwks::JwksError>(())
/// ```
///
/// `keys` may block for as long as a fetch takes. In async code await [`ready`](Self::ready) before, or verify on a thread
/// that may block.
#[derive(Clone, Debug)]
pub struct JwksUrl {
    remote: Remote,
    allowed: Authority,
}

impl JwksUrl {
    /// A source for the set at `url`: `https`, or `http` to this machine.
    pub fn builder(url: &str) -> JwksUrlBuilder {
        JwksUrlBuilder::new(key_url(url).map(Place::Url))
    }

    /// A source for the set that an OpenID Connect issuer's discovery document names.
    pub fn discover(issuer: &str) -> JwksUrlBuilder {
        JwksUrlBuilder::new(discovery::Issuer::parse(issuer).map(Place::Issuer))
    }

    /// Has a set at hand, so that `keys` does not block: fetches where there is none or it is old, at once for all who
    /// wait. A failure stands for a second, or as [`retry_after`](JwksUrlBuilder::retry_after) says.
    ///
    /// # Errors
    /// When there is no set and none can be had.
    pub async fn ready(&self) -> Result<(), JwksError> {
        self.remote.current().await.map(drop)
    }

    /// Fetches the set now, whatever its age: after a rotation, for those who cannot wait for its `ttl`. All who wait
    /// while another fetch is under way share the next one.
    ///
    /// # Errors
    /// When it cannot be had. A set that is kept stays.
    pub async fn refresh(&self) -> Result<(), JwksError> {
        self.remote.fetched().await.map(drop)
    }
}

impl KeySource for JwksUrl {
    fn keys(&self, principal: &str) -> Result<Option<Jwks>, KeyError> {
        if self.allowed.grant(principal) != Grant::own() {
            return Ok(None);
        }
        let keys = self.remote.current_blocking().map_err(|error| KeyError::Source(Box::new(error)))?;
        Ok(Some(Jwks::clone(&keys)))
    }

    fn may_block(&self) -> bool {
        self.remote.at_hand().is_none()
    }
}

/// Settings of a [`JwksUrl`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct JwksUrlBuilder {
    place: Result<Place, JwksError>,
    limits: Limits,
    allowed: Vec<String>,
    roots: Result<Vec<Certificate>, JwksError>,
}

impl JwksUrlBuilder {
    fn new(place: Result<Place, JwksError>) -> Self {
        Self { place, limits: Limits::default(), allowed: Vec::new(), roots: Ok(Vec::new()) }
    }

    /// Lets the server speak for these principals: an exact workload id, a prefix such as
    /// `spiffe://example.org/payments/*`, or a trust domain (the patterns of [`Authority::new`]). For entries of
    /// OpenID Connect workloads the name is `<iss>#<sub>`. Can be said several times.
    pub fn allow(mut self, principals: impl Into<String>) -> Self {
        self.allowed.push(principals.into());
        self
    }

    /// How long a set is used before it is fetched anew; 5 minutes by default.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.limits.ttl = ttl;
        self
    }

    /// How long a set is used while the server cannot be asked; 1 hour by default.
    pub fn hard_expiry(mut self, hard_expiry: Duration) -> Self {
        self.limits.hard_expiry = hard_expiry;
        self
    }

    /// How long after a failed renewal the next is tried, while there is a set to use; 10 seconds by default.
    pub fn retry_after(mut self, retry_after: Duration) -> Self {
        self.limits.refetch = retry_after;
        self
    }

    /// How long a fetch may take, from looking up the host to the last byte; 5 seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout;
        self
    }

    /// How large a set may be; 1 MiB by default. Spec §17.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// How many keys a set may have; 100 by default.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.limits.keys = keys;
        self
    }

    /// Certificate authorities in PEM, believed for this server beside those of the system.
    pub fn root_certificates_pem(mut self, pem: &[u8]) -> Self {
        self.roots = match (self.roots, root_certificates(pem)) {
            (Ok(mut all), Ok(more)) => {
                all.extend(more);
                Ok(all)
            }
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        };
        self
    }

    /// The source. Nothing is fetched yet.
    ///
    /// # Errors
    /// When the address or a pattern cannot be used, nobody is allowed, or the hard expiry comes before the end of
    /// the `ttl`.
    pub fn build(mut self) -> Result<JwksUrl, JwksError> {
        let place = self.place?;
        if self.allowed.is_empty() {
            let why = "a JWK set URL needs an allow list: say with `.allow(…)` for which workload ids its keys stand";
            return Err(JwksError::Setting { why });
        }
        if self.limits.hard_expiry < self.limits.ttl {
            let why = "the hard expiry of a JWK set comes before its `ttl`; make it longer";
            return Err(JwksError::Setting { why });
        }
        self.allowed.sort_unstable();
        self.allowed.dedup();
        let allowed = Authority::new(self.allowed.iter().map(|pattern| (pattern, Grant::own())))
            .map_err(|error| JwksError::Pattern { source: std::sync::Arc::new(error) })?;
        Ok(JwksUrl { remote: Remote::new(place, self.limits, self.roots?), allowed })
    }
}
