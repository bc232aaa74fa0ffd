//! The tasks on the bridge that follow the Workload API's streams, and come back when these end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use spiffe::{JwtBundleSet, WorkloadApiClient, WorkloadApiError, X509Context};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::lane::Lane;
use super::state::State;
use super::trouble::Trouble;

/// Follows a stream until the task is aborted. SPIFFE Workload API §6: whoever loses the stream reconnects, and
/// whatever came last stays valid until it expires.
pub(super) async fn follow<F: Feed>(state: Arc<State>) {
    let _followed = F::lane(&state).followed();
    let mut backoff = FIRST_PAUSE;
    loop {
        let ended = guarded(attempt::<F>(Arc::clone(&state))).await;
        let (trouble, usable) = ended.unwrap_or_else(|| (Trouble::panicked(), false));
        if usable {
            backoff = FIRST_PAUSE;
        }
        let said = trouble.message.clone();
        if F::fail(&state, trouble) {
            let warn = async move { tracing::warn!(target: "kest", "{} interrupted: {said}", F::NAME) };
            guarded(warn).await;
        }
        F::pause(&state, backoff).await;
        backoff = (backoff * 2).min(LONGEST_PAUSE);
    }
}

/// A stream of the Workload API.
pub(super) trait Feed: 'static {
    type Update: Send + 'static;
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

/// Runs a step as a task of its own: a panic in it, of a log's subscriber say, gives `None` and ends nothing else. The
/// step ends with whoever waits for it.
async fn guarded<T: Send + 'static>(step: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let mut task = JoinSet::new();
    task.spawn(step);
    task.join_next().await?.ok()
}

/// Connects, and takes over updates until something goes wrong. Whether one of them was usable is given back too.
async fn attempt<F: Feed>(state: Arc<State>) -> (Trouble, bool) {
    let state = &*state;
    let mut usable = false;
    let connected = timeout(state.settings.initial_timeout, async {
        let client = WorkloadApiClient::connect(state.settings.endpoint.clone()).await?;
        let mut updates = F::open(&client).await?;
        let first = next(&mut updates).await;
        Ok::<_, WorkloadApiError>((updates, first))
    });
    let (mut updates, mut update) = match connected.await {
        Err(_) => return (Trouble::no_answer(), usable),
        Ok(Err(error)) => return (Trouble::from_api(&error), usable),
        Ok(Ok(connected)) => connected,
    };
    loop {
        match update {
            None => return (Trouble::ended(), usable),
            Some(Err(error)) => return (Trouble::from_api(&error), usable),
            Some(Ok(update)) => usable |= F::accept(state, update),
        }
        update = match next_while_alive(state, &mut updates).await {
            Ok(update) => update,
            Err(trouble) => return (trouble, usable),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::spire::state::tests::state;

    #[test]
    fn a_time_out_without_end_does_not_overflow() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (state, _) = state();
        let (trouble, usable) = runtime.block_on(attempt::<X509>(Arc::new(state)));
        assert!(!usable && !trouble.settled, "{trouble:?}");
    }

    #[test]
    fn a_step_ends_with_whoever_waits_for_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            assert_eq!(guarded(async { 1 }).await, Some(1));
            assert_eq!(
                guarded(async {
                    if true {
                        panic!("on purpose")
                    }
                })
                .await,
                None
            );
            let (alive, ended) = tokio::sync::oneshot::channel::<()>();
            let step = guarded(async move {
                let _alive = alive;
                std::future::pending::<()>().await;
            });
            timeout(Duration::from_millis(20), step).await.unwrap_err();
            timeout(Duration::from_secs(20), ended).await.unwrap().unwrap_err();
        });
    }
}
