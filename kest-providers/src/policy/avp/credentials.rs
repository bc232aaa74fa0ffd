//! Credentials that are found once for all decisions, and renewed before they expire.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::errand::Errand;

/// The latest credentials of a provider. Decisions wait for it as long as they can, and do not end its work.
#[derive(Clone)]
pub(super) struct Kept(Arc<Shared>);

struct Shared {
    provider: SharedCredentialsProvider,
    held: Mutex<Option<Held>>,
    finding: Errand<Result<Credentials, Arc<CredentialsError>>>,
}

struct Held {
    credentials: Credentials,
    expiry: SystemTime,
    /// When they were last asked for anew.
    renewed: Instant,
}

/// How long a provider may take.
const LONGEST: Duration = Duration::from_secs(20);

/// What says nothing of its end is asked for again after this time.
const UNSAID: Duration = Duration::from_secs(15 * 60);

/// Before their end credentials are renewed, while they still serve.
const AHEAD: Duration = Duration::from_secs(60);

/// How long before their end they serve no more: a request is under way for a while.
const MARGIN: Duration = Duration::from_secs(5);

/// How often they are renewed, where what comes is no newer.
const PAUSE: Duration = Duration::from_secs(5);

impl Kept {
    pub(super) fn new(provider: SharedCredentialsProvider) -> Self {
        Self(Arc::new(Shared { provider, held: Mutex::new(None), finding: Errand::default() }))
    }

    /// Credentials that serve, at once if they are there.
    pub(super) async fn latest(&self) -> Result<Credentials, CredentialsError> {
        if let Some(credentials) = self.0.held() {
            return Ok(credentials);
        }
        // What was found and serves is held.
        let found = self.0.finding.outcome(Result::is_err, || Arc::clone(&self.0).find());
        found.await.map_err(CredentialsError::unhandled)?.map_err(again)
    }
}

impl Shared {
    fn held(self: &Arc<Self>) -> Option<Credentials> {
        let mut held = self.held.lock();
        let held = held.as_mut()?;
        let left = held.expiry.duration_since(SystemTime::now()).unwrap_or_default();
        if left <= MARGIN {
            return None;
        }
        if left <= AHEAD && held.renewed.elapsed() >= PAUSE {
            held.renewed = Instant::now();
            self.finding.begin(|| Arc::clone(self).find());
        }
        Some(held.credentials.clone())
    }

    async fn find(self: Arc<Self>) -> Result<Credentials, Arc<CredentialsError>> {
        let found = match timeout(LONGEST, self.provider.provide_credentials()).await {
            Ok(found) => found,
            Err(_) => {
                let fallback = self.provider.fallback_on_interrupt();
                fallback.ok_or_else(|| CredentialsError::provider_timed_out(LONGEST))
            }
        };
        let credentials = found.map_err(Arc::new)?;
        let expiry = credentials.expiry().unwrap_or_else(|| SystemTime::now() + UNSAID);
        let held = Held { credentials: credentials.clone(), expiry, renewed: Instant::now() };
        *self.held.lock() = Some(held);
        Ok(credentials)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl ProvideCredentials for Kept {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.latest())
    }
}

/// The same error for another who waited.
fn again(error: Arc<CredentialsError>) -> CredentialsError {
    match &*error {
        CredentialsError::CredentialsNotLoaded(_) => CredentialsError::not_loaded(Same(error)),
        CredentialsError::InvalidConfiguration(_) => CredentialsError::invalid_configuration(Same(error)),
        CredentialsError::ProviderTimedOut(late) => {
            CredentialsError::provider_timed_out(late.timeout_duration())
        }
        // An error all the same.
        _ => CredentialsError::provider_error(Same(error)),
    }
}

/// What lies under an error that several have.
#[derive(Debug)]
struct Same(Arc<CredentialsError>);

impl fmt::Display for Same {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Same {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
