//! The requests to a policy store, each within its time.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_verifiedpermissions::Client;
use aws_sdk_verifiedpermissions::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_verifiedpermissions::config::{Builder, ConfigBag, IdentityCache, Intercept, RuntimeComponents};
use aws_sdk_verifiedpermissions::error::{BoxError, SdkError};
use aws_sdk_verifiedpermissions::operation::is_authorized::{IsAuthorizedError, IsAuthorizedOutput};
use aws_sdk_verifiedpermissions::types::{ActionIdentifier, ContextDefinition, EntityIdentifier};
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::Decision;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::answer::{self, Asked, Said};
use super::credentials::Kept;
use super::question::Question;
use super::settings::Settings;
use super::whole::Whole;
use crate::aws::{Attempts, Failure, FailureKind, Request, Service, place};
use crate::errand::Errand;
use crate::policy::cedar_form::{ACTION, PRINCIPAL, RESOURCE};
use crate::policy::deadline;
use crate::policy::listing::{Listing, Listings, nobody_permits};

/// What clones of an engine share.
pub(super) struct Shared {
    settings: Settings,
    store: OnceLock<Arc<Store>>,
    finding: Errand<Result<Arc<Store>, Failure>>,
    listings: Listings,
    /// Requests that may be under way.
    slots: Semaphore,
}

/// A policy store that can be asked.
pub(super) struct Store {
    pub(super) client: Client,
    credentials: Kept,
    pub(super) id: String,
    pub(super) place: String,
    pub(super) max_bytes: usize,
}

/// Time enough for credentials and a first connection.
pub(super) const FIRST: Duration = Duration::from_secs(10);

impl Shared {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        let slots = Semaphore::new(settings.max_connections.min(Semaphore::MAX_PERMITS));
        let (store, finding) = (OnceLock::new(), Errand::default());
        Arc::new(Self { settings, store, finding, listings: Listings::default(), slots })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// One decision, in the time of one decision.
    pub(super) async fn decide(self: &Arc<Self>, question: Question) -> Result<Decision, PolicyUnavailable> {
        let budget = Budget::new(self.settings.access.timeout);
        let policy = question.policy.clone();
        let wanted = Asked { policy: &policy, place: "AWS", timeout: budget.timeout }.is_authorized();
        let store = self.ready(&wanted, &budget).await?;
        let asked = Asked { policy: &policy, place: &store.place, timeout: budget.timeout };
        let no_turn = || answer::no_turn(&asked, self.settings.max_connections);
        let since = Instant::now();
        let _slot = budget.run(self.slot()).await.unwrap_or_else(|| Err(no_turn()))?;
        let waited = since.elapsed();
        let answer = budget.run(store.is_authorized(question, &asked)).await;
        let answer = answer.unwrap_or_else(|| {
            // What was left of the time says nothing of AWS.
            let late = waited < budget.timeout / 2;
            Err(if late { asked.is_authorized().timed_out().into() } else { no_turn() })
        })?;
        match answer::read(&answer, &asked)? {
            Said::Allow => Ok(Decision::allow()),
            Said::Forbidden(reason) => Ok(Decision::Deny { reason: Some(reason) }),
            Said::NotPermitted => match &*self.listing(store, &asked, &budget).await {
                Listing::Names(names) if !names.contains(&policy) => Err(answer::unknown(&asked, store)),
                Listing::Names(_) | Listing::Any => Ok(Decision::deny()),
                Listing::Unread(why) => Ok(Decision::Deny { reason: Some(nobody_permits(why)) }),
            },
        }
    }

    async fn listing(&self, store: &Store, asked: &Asked<'_>, budget: &Budget) -> Arc<Listing> {
        let request = asked.list_policies();
        let read = async {
            store.listing().await.map_err(|error| answer::failed(&request, store, &error).to_string())
        };
        self.listings.latest(budget.end, read, || request.timed_out().message).await
    }

    pub(super) async fn initialize(self: &Arc<Self>) -> Result<(), PolicyUnavailable> {
        let budget = Budget::new(FIRST.max(self.settings.access.timeout));
        let request = |place| Asked { policy: "", place, timeout: budget.timeout }.list_policies();
        let store = self.ready(&request("AWS"), &budget).await?;
        match budget.run(store.policies(None)).await {
            Some(Ok(_)) => Ok(()),
            // It need not be allowed: credentials and store have been found.
            Some(Err(error)) if request(&store.place).failed(&error).kind == FailureKind::Denied => Ok(()),
            Some(Err(error)) => Err(answer::failed(&request(&store.place), store, &error)),
            None => Err(request(&store.place).timed_out().into()),
        }
    }

    /// The store, with credentials to ask it by. Both are still looked for when the time is over: the next request
    /// finds what this one began, and does not begin again.
    pub(super) async fn ready(
        self: &Arc<Self>,
        request: &Request<'_>,
        budget: &Budget,
    ) -> Result<&Store, PolicyUnavailable> {
        let store =
            budget.run(self.store()).await.ok_or_else(|| answer::not_ready(request, "AWS region"))??;
        let request = Request { place: &store.place, ..*request };
        match budget.run(store.credentials.latest()).await {
            Some(Ok(_)) => Ok(store),
            Some(Err(error)) => {
                let unsent = SdkError::<IsAuthorizedError, _>::construction_failure(error);
                Err(answer::failed(&request, store, &unsent))
            }
            None => Err(answer::not_ready(&request, "AWS credentials")),
        }
    }

    async fn store(self: &Arc<Self>) -> Result<&Store, PolicyUnavailable> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let found = self.finding.outcome(Result::is_err, || {
            let shared = Arc::clone(self);
            async move {
                let access = &shared.settings.access;
                // STS too: it may give the credentials.
                let sdk = access.load(Attempts::One, &[Service::VerifiedPermissions, Service::Sts]).await?;
                let store = Arc::new(Store::new(&sdk, &shared.settings)?);
                Ok(Arc::clone(shared.store.get_or_init(|| store)))
            }
        });
        let found = found.await.map_err(answer::not_run)??;
        Ok(self.store.get_or_init(|| found))
    }

    async fn slot(&self) -> Result<SemaphorePermit<'_>, PolicyUnavailable> {
        // INVARIANT: the slots are never closed.
        let closed = |error: tokio::sync::AcquireError| {
            PolicyUnavailable::new(PolicyErrorKind::Connection, error.to_string())
        };
        self.slots.acquire().await.map_err(closed)
    }
}

impl Store {
    fn new(sdk: &SdkConfig, settings: &Settings) -> Result<Self, Failure> {
        let Some(region) = sdk.region() else {
            let message = "no AWS region is known; set `AWS_REGION`, or give one to the builder".to_owned();
            return Err(Failure::new(FailureKind::Setting, message));
        };
        let Some(provider) = sdk.credentials_provider() else {
            let message = "the AWS SDK has no way to credentials; give `.credentials_provider(…)`".to_owned();
            return Err(Failure::new(FailureKind::NoCredentials, message));
        };
        let (max_bytes, credentials) = (settings.max_bytes, Kept::new(provider));
        // The SDK's own cache forgets what it has begun when a request is given up.
        let config = Builder::from(sdk)
            .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
            .identity_cache(IdentityCache::no_cache())
            .interceptor(Limit(max_bytes));
        Ok(Self {
            client: Client::from_conf(config.build()),
            credentials,
            id: settings.store.clone(),
            place: place(Service::VerifiedPermissions, sdk, region.as_ref()),
            max_bytes,
        })
    }

    async fn is_authorized(
        &self,
        question: Question,
        asked: &Asked<'_>,
    ) -> Result<IsAuthorizedOutput, PolicyUnavailable> {
        let Question { policy, principal, resource, context } = question;
        let entity = |kind: &str, id: String| {
            EntityIdentifier::builder().entity_type(kind).entity_id(id).build().map_err(answer::unbuilt)
        };
        let action = ActionIdentifier::builder().action_type(ACTION).action_id(policy).build();
        let request = self
            .client
            .is_authorized()
            .policy_store_id(&self.id)
            .principal(entity(PRINCIPAL, principal)?)
            .action(action.map_err(answer::unbuilt)?)
            .resource(entity(RESOURCE, resource)?)
            .context(ContextDefinition::ContextMap(context));
        let whole = request.customize().interceptor(Whole);
        whole.send().await.map_err(|error| answer::failed(&asked.is_authorized(), self, &error))
    }
}

/// The time that all requests for one decision have together.
pub(super) struct Budget {
    pub(super) timeout: Duration,
    end: Instant,
}

impl Budget {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, end: deadline::after(timeout) }
    }

    /// What comes of it, or nothing when the time is over.
    pub(super) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.end, work).await.ok()
    }
}

/// Bounds the answers. Spec §17.
#[derive(Debug)]
struct Limit(usize);

impl Intercept for Limit {
    fn name(&self) -> &'static str {
        "KestLimit"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let unbounded = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(unbounded, self.0));
        Ok(())
    }
}
