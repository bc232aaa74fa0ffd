//! The tasks on the bridge that follow the Workload API's streams, and come back when these end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use spiffe::{JwtBundleSet, WorkloadApiClient, WorkloadApiError, X509Context};
use tokio::time::{Instant, timeout, timeout_at};

use super::lane::Lane;
use super::state::State;
use super::trouble::Trouble;

/// Follows a stream until the task is aborted. SPIFFE Workload API §6: whoever loses the stream reconnects, and
/// whatever came last stays valid until it expires.
pub(super) async fn follow<F: Feed>(state: Arc<State>) {
    let mut backoff = FIRST_PAUSE;
    loop {
        let trouble = attempt::<F>(&state, &mut backoff).await;
        let said = trouble.message.clone();
        if F::fail(&state, trouble) {
            tracing::warn!(target: "kest", "{} interrupted: {said}", F::NAME);
        }
        F::pause(&state, backoff).await;
        backoff = (backoff * 2).min(LONGEST_PAUSE);
    }
}

/// A stream of the Workload API.
pub(super) trait Feed: 'static {
    type Update: Send;
    type Held: Send + Sync;
    const NAME: &'static str;

    fn lane(state: &State) -> &Lane<Self::Held>;
    fn open(
        client: &WorkloadApiClient,
    ) -> impl Future<Output = Result<Updates<Self::Update>, WorkloadApiError>> + Send;
    /// Whether the update was usable.
    fn accept(state: &State, update: Self::Update) -> bool;

    fn fail(state: &State, trouble: Trouble) -> bool {
        Self::lane(state).fail(trouble)
    }

    fn pause(state: &State, backoff: Duration) -> impl Future<Output = ()> + Send {
        Self::lane(state).pause(backoff)
    }
}

type Updates<T> = Pin<Box<dyn Stream<Item = Result<T, WorkloadApiError>> + Send>>;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Connects, and takes over updates until something goes wrong.
async fn attempt<F: Feed>(state: &State, backoff: &mut Duration) -> Trouble {
    let deadline = Instant::now() + state.settings.initial_timeout;
    let connected = timeout_at(deadline, async {
        let client = WorkloadApiClient::connect(state.settings.endpoint.clone()).await?;
        let mut updates = F::open(&client).await?;
        let first = next(&mut updates).await;
        Ok::<_, WorkloadApiError>((updates, first))
    });
    let (mut updates, mut update) = match connected.await {
        Err(_) => return Trouble::no_answer(),
        Ok(Err(error)) => return Trouble::from_api(&error),
        Ok(Ok(connected)) => connected,
    };
    loop {
        match update {
            None => return Trouble::ended(),
            Some(Err(error)) => return Trouble::from_api(&error),
            Some(Ok(update)) => {
                if F::accept(state, update) {
                    *backoff = FIRST_PAUSE;
                }
            }
        }
        update = match next_while_alive(state, &mut updates).await {
            Ok(update) => update,
            Err(trouble) => return trouble,
        };
    }
}

/// The next update. A connection may be dead without a word: when the SVID expires the agent is asked again.
async fn next_while_alive<T>(
    state: &State,
    updates: &mut Updates<T>,
) -> Result<Option<Result<T, WorkloadApiError>>, Trouble> {
    loop {
        let Some(left) = state.until_expiry() else { return Ok(next(updates).await) };
        match timeout(left.max(FIRST_PAUSE), next(updates)).await {
            Ok(update) => return Ok(update),
            // Another stream may have brought a new one meanwhile.
            Err(_) if state.until_expiry().is_some_and(|left| left > FIRST_PAUSE) => {}
            Err(_) => return Err(state.x509.trouble().map_or_else(Trouble::silent, |said| (*said).clone())),
        }
    }
}

async fn next<T>(updates: &mut Updates<T>) -> Option<Result<T, WorkloadApiError>> {
    poll_fn(|context| updates.as_mut().poll_next(context)).await
}

/// X.509-SVIDs and trust bundles.
pub(super) enum X509 {}

impl Feed for X509 {
    type Update = X509Context;
    type Held = super::svid::X509Svid;
    const NAME: &'static str = "the stream of X.509-SVIDs";

    fn lane(state: &State) -> &Lane<Self::Held> {
        &state.x509
    }

    async fn open(client: &WorkloadApiClient) -> Result<Updates<X509Context>, WorkloadApiError> {
        Ok(Box::pin(client.stream_x509_contexts().await?))
    }

    fn accept(state: &State, update: X509Context) -> bool {
        state.accept_x509(&update)
    }
}

/// JWT authorities.
pub(super) enum Jwt {}

impl Feed for Jwt {
    type Update = JwtBundleSet;
    type Held = JwtBundleSet;
    const NAME: &'static str = "the stream of JWT bundles";

    fn lane(state: &State) -> &Lane<Self::Held> {
        &state.jwt
    }

    async fn open(client: &WorkloadApiClient) -> Result<Updates<JwtBundleSet>, WorkloadApiError> {
        Ok(Box::pin(client.stream_jwt_bundles().await?))
    }

    fn accept(state: &State, update: JwtBundleSet) -> bool {
        state.accept_jwt(update);
        true
    }

    fn fail(state: &State, trouble: Trouble) -> bool {
        state.lose_jwt();
        state.jwt.fail(trouble)
    }
}
