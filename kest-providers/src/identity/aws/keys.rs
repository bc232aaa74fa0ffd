//! The keys that verify what workloads on AWS signed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_kms::config::{ProvideCredentials, SharedCredentialsProvider};
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::keys::{Jwk, Jwks, KeyError};
use kest_core::text::Quoted;
use kest_core::verify::{Anchors, KeySource};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::explain::{Action, Call, not_run};
use super::published::{client, public_key};
use super::settings::{access, check_key_id, load, region_of};
use crate::aws::{Access, Service, place};
use crate::bridge;

/// Public keys from KMS, for principals that you name. Needs `kms:GetPublicKey`.
///
/// Each principal is mapped to its KMS keys by whoever verifies: what an entry says is never looked up. Name key ARNs:
/// an alias gives the key that it points to now, which is not the one that signed before it was moved.
///
/// A key is asked for again when it is older than the [`ttl`](KmsKeysBuilder::ttl), ten minutes unless set. When KMS
/// cannot be asked, the verification fails. While it is asked, the verifying thread waits: in an async service, await
/// [`Self::anchors`] and verify with those. Keep them also for archives that outlive keys.
///
/// ```no_run
/// use kest_core::verify::Verifier;
/// use kest_providers::identity::aws::KmsKeys;
///
/// let keys = KmsKeys::builder()
///     .key("arn:aws:sts::123456789012:assumed-role/payments/task-1", "arn:aws:kms:eu-west-1:123456789012:key/1234abcd")
///     .build()?;
/// let verifier = Verifier::builder().keys(keys).build();
/// # Ok::<_, kest_core::error::IdentityError>(())
/// ```
#[derive(Clone)]
pub struct KmsKeys(Arc<Shared>);

struct Shared {
    principals: BTreeMap<String, Vec<String>>,
    access: Access,
    ttl: Duration,
    sdk: OnceCell<SdkConfig>,
    cache: Mutex<BTreeMap<String, (Instant, Jwk)>>,
}

impl KmsKeys {
    /// No principals yet.
    pub fn builder() -> KmsKeysBuilder {
        KmsKeysBuilder { principals: BTreeMap::new(), access: access(), ttl: Duration::from_secs(600) }
    }

    /// All principals with their keys as they are now, to verify with from then on without KMS.
    ///
    /// # Errors
    /// When one of the keys cannot be had.
    pub async fn anchors(&self) -> Result<Anchors, KeyError> {
        let mut anchors = Anchors::new();
        for (principal, key_ids) in &self.0.principals {
            let (shared, key_ids) = (Arc::clone(&self.0), key_ids.clone());
            let keys = bridge::run(async move { shared.fetch_all(&key_ids).await }).await;
            let keys = keys.map_err(not_run).and_then(|keys| keys).map_err(source)?;
            anchors.insert(principal, keys)?;
        }
        Ok(anchors)
    }
}

impl KeySource for KmsKeys {
    fn keys(&self, principal: &str) -> Result<Option<Jwks>, KeyError> {
        let Some(key_ids) = self.0.principals.get(principal) else { return Ok(None) };
        if let Some(keys) = self.0.cached(key_ids) {
            return Ok(Some(keys));
        }
        let (shared, key_ids) = (Arc::clone(&self.0), key_ids.clone());
        let keys = bridge::block_on(async move { shared.fetch_all(&key_ids).await });
        keys.map_err(not_run).and_then(|keys| keys).map(Some).map_err(source)
    }
}

fn source(error: IdentityError) -> KeyError {
    KeyError::Source(Box::new(error))
}

impl fmt::Debug for KmsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsKeys")
            .field("principals", &self.0.principals)
            .field("ttl", &self.0.ttl)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn cached(&self, key_ids: &[String]) -> Option<Jwks> {
        let cache = self.cache.lock();
        let fresh = |id: &String| {
            cache.get(id).filter(|(fetched, _)| fetched.elapsed() < self.ttl).map(|(_, key)| key.clone())
        };
        key_ids.iter().map(fresh).collect::<Option<_>>().map(Jwks)
    }

    async fn fetch_all(&self, key_ids: &[String]) -> Result<Jwks, IdentityError> {
        let mut keys = Vec::with_capacity(key_ids.len());
        for id in key_ids {
            let wait = self.access.timeout;
            let call = Call { action: Action::GetPublicKey, key: id, place: "KMS", timeout: wait };
            let key = timeout(wait, self.fetch(id)).await.map_err(|_| call.timed_out())??;
            self.cache.lock().insert(id.clone(), (Instant::now(), key.clone()));
            keys.push(key);
        }
        Ok(Jwks(keys))
    }

    async fn fetch(&self, id: &str) -> Result<Jwk, IdentityError> {
        let sdk = self.sdk.get_or_try_init(|| load(&self.access)).await?;
        let region = region_of(id).or_else(|| sdk.region().map(AsRef::as_ref)).ok_or_else(|| {
            let message =
                format!("no AWS region is known for key {}; name its ARN, or set `AWS_REGION`", Quoted(id));
            IdentityError::new(IdentityErrorKind::Missing, message)
        })?;
        public_key(&client(sdk, region), id, &place(Service::Kms, sdk, region), self.access.timeout)
            .await?
            .jwk()
    }
}

/// Settings of [`KmsKeys`].
#[must_use]
pub struct KmsKeysBuilder {
    principals: BTreeMap<String, Vec<String>>,
    access: Access,
    ttl: Duration,
}

impl KmsKeysBuilder {
    /// Trusts this KMS key to speak for this workload. A workload may have several.
    pub fn key(mut self, principal: impl Into<String>, kms_key_id: impl Into<String>) -> Self {
        self.principals.entry(principal.into()).or_default().push(kms_key_id.into());
        self
    }

    /// How long a key is used before it is asked for again: ten minutes unless set.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The region of keys that are not named by ARN.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.access.region = Some(region.into());
        self
    }

    /// Where KMS is, rather than at AWS: `https`, or `http` to this machine.
    pub fn endpoint_url(mut self, url: impl Into<String>) -> Self {
        self.access.endpoint_url = Some(url.into());
        self
    }

    /// How long one key may take, all attempts included: 5 seconds unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.access.timeout = timeout;
        self
    }

    /// Credentials, rather than those of the SDK's default chain.
    pub fn credentials_provider(mut self, provider: impl ProvideCredentials + 'static) -> Self {
        self.access.credentials = Some(SharedCredentialsProvider::new(provider));
        self
    }

    /// The source. Nothing is contacted yet.
    ///
    /// # Errors
    /// When a principal is empty, or a key or a setting cannot be used.
    pub fn build(self) -> Result<KmsKeys, IdentityError> {
        let Self { principals, access, ttl } = self;
        access.check()?;
        if principals.keys().any(|principal| principal.trim().is_empty()) {
            let message = "a KMS key is given to an empty principal; name the workload id it speaks for";
            return Err(IdentityError::new(IdentityErrorKind::Missing, message));
        }
        principals.values().flatten().try_for_each(|key| check_key_id(key))?;
        let (sdk, cache) = (OnceCell::new(), Mutex::new(BTreeMap::new()));
        Ok(KmsKeys(Arc::new(Shared { principals, access, ttl, sdk, cache })))
    }
}

impl fmt::Debug for KmsKeysBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsKeysBuilder").field("principals", &self.principals).finish_non_exhaustive()
    }
}
