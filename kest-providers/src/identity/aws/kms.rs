//! What both identities are made of: a workload id that STS attests, and a KMS key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::MessageType;
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::identity::BoxFuture;
use kest_core::jws::{EncodedHeader, Jws};
use kest_core::keys::{Jwk, Jwks};
use kest_core::text::Quoted;
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::caller::Caller;
use super::der;
use super::explain::{Action, Call, not_run};
use super::plan::{LARGEST_MESSAGE, Plan};
use super::published::{client, public_key};
use super::settings::{Settings, load, region_of};
use crate::aws::{Service, place};
use crate::bridge;

/// Whose id it is.
#[derive(Debug)]
pub(in crate::identity) enum Workload {
    /// The caller's, as STS gives it.
    Caller,
    /// A Bedrock agent's, in the caller's account.
    #[cfg(feature = "bedrock")]
    Agent(Agent),
}

/// A Bedrock agent, or an alias of it.
#[cfg(feature = "bedrock")]
#[derive(Debug)]
pub(in crate::identity) struct Agent {
    pub(in crate::identity) id: String,
    pub(in crate::identity) alias: Option<String>,
}

impl Workload {
    /// The region, where the id says one.
    fn region<'a>(&self, configured: Option<&'a str>, key: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::Caller => configured.or(key),
            // The region is part of the id, so the key's must not stand in for it.
            #[cfg(feature = "bedrock")]
            Self::Agent(_) => configured,
        }
    }

    #[cfg_attr(not(feature = "bedrock"), allow(unused_variables, reason = "a caller's ARN says no region"))]
    fn id(&self, caller: &Caller, region: &str) -> Arc<str> {
        match self {
            Self::Caller => Arc::clone(&caller.arn),
            #[cfg(feature = "bedrock")]
            Self::Agent(agent) => {
                let (partition, account, id) = (&caller.partition, &caller.account, &agent.id);
                let resource = match &agent.alias {
                    None => format!("agent/{id}"),
                    Some(alias) => format!("agent-alias/{id}/{alias}"),
                };
                format!("arn:{partition}:bedrock:{region}:{account}:{resource}").into()
            }
        }
    }
}

/// An identity that AWS attests and KMS signs for.
pub(in crate::identity) struct KmsIdentity(Arc<Shared>);

struct Shared {
    settings: Settings,
    workload: Workload,
    attested: OnceCell<Arc<Attested>>,
    /// The attempt that is under way, or the last one.
    attempt: Mutex<Option<Attempt>>,
}

/// `None` while it runs. Its sender is gone soon after it is over, also by a panic.
type Attempt = watch::Receiver<Option<Result<Arc<Attested>, Failure>>>;

/// A failed attempt, told to everyone who waited for it.
struct Failure(Arc<IdentityError>);

impl KmsIdentity {
    pub(in crate::identity) fn new(settings: Settings, workload: Workload) -> Self {
        Self(Arc::new(Shared { settings, workload, attested: OnceCell::new(), attempt: Mutex::new(None) }))
    }

    pub(in crate::identity) async fn initialize(&self) -> Result<(), IdentityError> {
        self.attested_async().await.map(drop)
    }

    pub(in crate::identity) fn ready(&self) -> Option<BoxFuture<'_, Result<(), IdentityError>>> {
        match self.0.attested.get() {
            Some(_) => None,
            None => Some(Box::pin(self.initialize())),
        }
    }

    pub(in crate::identity) fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        Ok(Arc::clone(&self.attested()?.workload_id))
    }

    pub(in crate::identity) fn public_keys(&self) -> Result<Jwks, IdentityError> {
        Ok(Jwks(vec![self.attested()?.public.clone()]))
    }

    pub(in crate::identity) fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        let attested = self.attested()?;
        let input = attested.header.signing_input(payload);
        let (kind, message) = attested.message(&input)?;
        let signature =
            bridge::block_on(Arc::clone(&attested).kms_sign(kind, message)).map_err(not_run)??;
        attested.finish(input, &signature)
    }

    pub(in crate::identity) async fn sign_async(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        let attested = self.attested_async().await?;
        let input = attested.header.signing_input(payload);
        let (kind, message) = attested.message(&input)?;
        let signature =
            bridge::run(Arc::clone(&attested).kms_sign(kind, message)).await.map_err(not_run)??;
        attested.finish(input, &signature)
    }

    pub(in crate::identity) fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct(name);
        shown.field("settings", &self.0.settings);
        if let Some(attested) = self.0.attested.get() {
            shown.field("workload_id", &attested.workload_id).field("kid", &attested.public.thumbprint());
        }
        shown.finish_non_exhaustive()
    }

    fn attested(&self) -> Result<Arc<Attested>, IdentityError> {
        match self.0.attested.get() {
            Some(attested) => Ok(Arc::clone(attested)),
            None => bridge::block_on(outcome(self.attempt()?)).map_err(not_run)?,
        }
    }

    async fn attested_async(&self) -> Result<Arc<Attested>, IdentityError> {
        match self.0.attested.get() {
            Some(attested) => Ok(Arc::clone(attested)),
            None => outcome(self.attempt()?).await,
        }
    }

    /// The attempt that is under way, else a new one. It goes on when whoever started it no longer waits.
    fn attempt(&self) -> Result<Attempt, IdentityError> {
        let mut latest = self.0.attempt.lock();
        if let Some(attempt) = &*latest {
            let joins = match &*attempt.borrow() {
                None => attempt.has_changed().is_ok(),
                Some(Ok(_)) => true,
                // Over, also when its sender is not gone yet.
                Some(Err(_)) => false,
            };
            if joins {
                return Ok(attempt.clone());
            }
        }
        let (tell, attempt) = watch::channel(None);
        let shared = Arc::clone(&self.0);
        bridge::handle().map_err(not_run)?.spawn(async move {
            let result = shared.attest().await.map(Arc::new);
            if let Ok(attested) = &result {
                // INVARIANT: attempts follow one another, and none follows one that succeeded.
                let _ = shared.attested.set(Arc::clone(attested));
            }
            let _ = tell.send(Some(result.map_err(|error| Failure(Arc::new(error)))));
        });
        *latest = Some(attempt.clone());
        Ok(attempt)
    }
}

async fn outcome(mut attempt: Attempt) -> Result<Arc<Attested>, IdentityError> {
    match attempt.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(Ok(attested))) => Ok(Arc::clone(attested)),
        Ok(Some(Err(Failure(error)))) => {
            Err(IdentityError::new(error.kind(), error.to_string()).with_source(Arc::clone(error)))
        }
        Ok(None) | Err(_) => Err(not_run(bridge::BridgeError::Panicked)),
    }
}

impl Shared {
    /// Asks STS who this is, and KMS for the key.
    async fn attest(&self) -> Result<Attested, IdentityError> {
        let settings = &self.settings;
        // For the message, should the time be over.
        let step = Mutex::new((Action::GetCallerIdentity, "AWS".to_owned()));
        let attested = timeout(settings.access.timeout, async {
            let sdk = load(&settings.access).await?;
            let configured = sdk.region().map(|region| region.as_ref().to_owned());
            let key_region = region_of(settings.key());
            let region = self.workload.region(configured.as_deref(), key_region).ok_or_else(no_region)?;
            let sts = place(Service::Sts, &sdk, region);
            *step.lock() = (Action::GetCallerIdentity, sts.clone());
            let caller = self.caller(&sdk, region, &sts).await?;
            let (id, key_region) = (self.workload.id(&caller, region), key_region.unwrap_or(region));
            let kms = place(Service::Kms, &sdk, key_region);
            *step.lock() = (Action::GetPublicKey, kms.clone());
            self.key(client(&sdk, key_region), kms, id).await
        })
        .await;
        attested.unwrap_or_else(|_| {
            let (action, place) = step.into_inner();
            Err(self.call(action, &place).timed_out())
        })
    }

    fn call<'a>(&'a self, action: Action, place: &'a str) -> Call<'a> {
        Call { action, key: self.settings.key(), place, timeout: self.settings.access.timeout }
    }

    async fn caller(&self, sdk: &SdkConfig, region: &str, place: &str) -> Result<Caller, IdentityError> {
        let config = aws_sdk_sts::config::Builder::from(sdk).region(Region::new(region.to_owned())).build();
        let answer = aws_sdk_sts::Client::from_conf(config).get_caller_identity().send().await;
        let answer = answer.map_err(|error| self.call(Action::GetCallerIdentity, place).failed(&error))?;
        Caller::read(answer.arn(), answer.account())
    }

    async fn key(
        &self,
        client: Client,
        place: String,
        workload_id: Arc<str>,
    ) -> Result<Attested, IdentityError> {
        let (settings, timeout) = (&self.settings, self.settings.access.timeout);
        let found = public_key(&client, settings.key(), &place, timeout).await?;
        let plan = found.plan(settings.rsa_pss)?;
        let public = found.for_plan(plan)?;
        let header = EncodedHeader::new(plan.algorithm(), &public.thumbprint());
        Ok(Attested { workload_id, key_arn: found.arn, place, plan, public, header, client, timeout })
    }
}

fn no_region() -> IdentityError {
    let message = "no AWS region is known; set `AWS_REGION`, or give one to the builder";
    IdentityError::new(IdentityErrorKind::Missing, message)
}

/// Id and key, as they were found and will stay.
struct Attested {
    workload_id: Arc<str>,
    /// What an alias pointed to then. Spec §10: what signs must be what was published.
    key_arn: String,
    place: String,
    plan: Plan,
    public: Jwk,
    header: EncodedHeader,
    client: Client,
    timeout: Duration,
}

impl Attested {
    fn message(&self, input: &str) -> Result<(MessageType, Blob), IdentityError> {
        self.plan.message(input.as_bytes()).map_err(|length| {
            let key = Quoted(&self.key_arn);
            let message = format!(
                "the entry's signing input has {length} bytes, and KMS takes {LARGEST_MESSAGE} at most for the \
                 `ECC_NIST_EDWARDS25519` key {key}; use an `ECC_NIST_P256` key, which gets a digest of any entry"
            );
            IdentityError::new(IdentityErrorKind::Signing, message)
        })
    }

    async fn kms_sign(self: Arc<Self>, kind: MessageType, message: Blob) -> Result<Vec<u8>, IdentityError> {
        let call =
            Call { action: Action::Sign, key: &self.key_arn, place: &self.place, timeout: self.timeout };
        let request = self
            .client
            .sign()
            .key_id(&self.key_arn)
            .message_type(kind)
            .message(message)
            .signing_algorithm(self.plan.signing_algorithm());
        let answer = timeout(self.timeout, request.send()).await.map_err(|_| call.timed_out())?;
        let answer = answer.map_err(|error| call.failed(&error))?;
        let signature = answer.signature.ok_or_else(|| self.useless("is missing"))?;
        Ok(signature.into_inner())
    }

    /// The signed form, once the signature is known to fit the key that is published.
    fn finish(&self, input: String, signature: &[u8]) -> Result<Jws, IdentityError> {
        let fixed = match self.plan.coordinate() {
            Some(size) => der::to_fixed(signature, size)
                .map_err(|error| self.useless("is malformed").with_source(error))?,
            None => signature.to_vec(),
        };
        self.public
            .verify(self.plan.algorithm(), input.as_bytes(), &fixed)
            .map_err(|error| self.useless("does not fit the key").with_source(error))?;
        Ok(EncodedHeader::assemble(input, &fixed))
    }

    fn useless(&self, why: &str) -> IdentityError {
        let (place, key) = (&self.place, Quoted(&self.key_arn));
        let message = format!(
            "the signature that {place} gave for key {key} {why}; check the endpoint that is configured for it"
        );
        IdentityError::new(IdentityErrorKind::Signing, message)
    }
}
