//! Questions to a policy server over HTTP/1.1: one request, one bounded answer. Spec §11.
//!
//! Nothing is tried twice and no redirect is followed. There is no decompression, so an answer is as large as it
//! looks, and no proxy.

mod address;
mod answer;
mod connection;
mod credentials;
mod names;
mod settings;
mod tls;
mod turn;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{Decision, PolicyRequest};
use kest_core::text::Quoted;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use self::address::Endpoint;
pub(super) use self::answer::Answer;
use self::connection::Pool;
use self::credentials::Authorization;
pub(super) use self::credentials::Secret;
pub(super) use self::settings::{Settings, knobs};
pub(super) use self::turn::Turn;
use super::deadline;
use crate::bridge::{self, BridgeError};

/// A policy server. Clones share its connections.
#[derive(Clone)]
pub(super) struct Rest(Arc<Shared>);

struct Shared {
    /// The product, for messages.
    server: &'static str,
    endpoint: Endpoint,
    authorization: Authorization,
    pool: Pool,
    health: Mutex<Health>,
    /// Requests that may be under way.
    slots: Arc<Semaphore>,
    limits: Limits,
}

/// How the server has been lately.
#[derive(Clone, Copy)]
struct Health {
    /// When it last answered; at first, when the engine was made.
    answered: Instant,
    /// Whether the latest request failed.
    failing: bool,
}

/// Bounds of time and size.
#[derive(Clone, Debug)]
struct Limits {
    timeout: Duration,
    queue_timeout: Duration,
    max_connections: usize,
    max_bytes: usize,
}

impl Rest {
    /// A turn to ask about a policy, once fewer requests are under way than may be. Time runs from then on.
    ///
    /// While the server answers nobody, a turn comes or is refused within twice the time limit of a request.
    pub(super) async fn turn(&self, policy: &str) -> Result<Turn, PolicyUnavailable> {
        let limits = &self.0.limits;
        let since = Instant::now();
        let slot = Arc::clone(&self.0.slots).acquire_owned();
        let slot = match timeout_at(deadline::after(limits.queue_timeout), slot).await {
            // INVARIANT: the slots are never closed.
            Ok(slot) => slot.map_err(|error| self.fail(policy, PolicyErrorKind::Connection, error))?,
            Err(_) => {
                let Limits { queue_timeout, max_connections, .. } = limits;
                let why = format!(
                    "its turn did not come within {queue_timeout:?} behind {max_connections} requests under way; \
                     raise `max_connections` or `queue_timeout`, or ask less often"
                );
                return Err(self.fail(policy, PolicyErrorKind::Timeout, why));
            }
        };
        // Who waits behind requests that fail would wait in line only to fail as well.
        let Health { answered, failing } = *self.0.health.lock();
        if failing && answered.max(since).elapsed() >= limits.timeout {
            let why = format!(
                "it has answered nobody for {:?}, while this question waited for its turn; see why it does not answer",
                limits.timeout
            );
            return Err(self.fail(policy, PolicyErrorKind::Timeout, why));
        }
        Ok(Turn::new(self.clone(), policy, deadline::after(limits.timeout), slot))
    }

    /// What came of a request.
    fn note(&self, answered: bool) {
        let mut health = self.0.health.lock();
        health.failing = !answered;
        if answered {
            health.answered = Instant::now();
        }
    }

    fn fail(&self, policy: &str, kind: PolicyErrorKind, why: impl fmt::Display) -> PolicyUnavailable {
        let Shared { server, endpoint, .. } = &*self.0;
        let policy = Quoted(policy);
        let said = format!("policy {policy} could not be asked of {server} at `{endpoint}`: {why}");
        PolicyUnavailable::new(kind, said)
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { server, endpoint, limits, .. } = &*self.0;
        f.debug_struct("Rest")
            .field("server", server)
            .field("url", &endpoint.to_string())
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

/// Decides on the bridge while the calling thread waits.
pub(super) fn wait<F>(request: &PolicyRequest<'_>, work: F) -> Result<Decision, PolicyUnavailable>
where
    F: Future<Output = Result<Decision, PolicyUnavailable>> + Send + 'static,
{
    bridge::block_on(work).map_err(|error| bridged(request, error))?
}

/// Decides on the bridge, for as long as the caller wants to know.
pub(super) async fn follow<F>(request: &PolicyRequest<'_>, work: F) -> Result<Decision, PolicyUnavailable>
where
    F: Future<Output = Result<Decision, PolicyUnavailable>> + Send + 'static,
{
    bridge::run_wanted(work).await.map_err(|error| bridged(request, error))?
}

fn bridged(request: &PolicyRequest<'_>, error: BridgeError) -> PolicyUnavailable {
    let policy = Quoted(request.policy);
    PolicyUnavailable::new(
        PolicyErrorKind::Connection,
        format!("policy {policy} could not be asked: {error}"),
    )
    .with_source(error)
}

/// A setting that cannot be used.
pub(super) fn refuse(why: impl Into<String>) -> PolicyUnavailable {
    PolicyUnavailable::new(PolicyErrorKind::Load, why)
}
