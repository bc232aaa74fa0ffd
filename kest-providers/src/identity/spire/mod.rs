//! Identity from a SPIRE agent, over the SPIFFE Workload API. Spec §10.

mod bundle;
mod callbacks;
mod chain;
mod keys;
mod lane;
mod peers;
mod settings;
mod state;
mod svid;
mod tls;
mod trouble;
mod verify;
mod watch;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::identity::{BoxFuture, IdentityProvider, Svid, VerifiedSvid};
use kest_core::jws::Jws;
use kest_core::keys::Jwks;
use kest_core::text;
use kest_core::verify::Authorities;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

pub use self::chain::svid_workload;
pub use self::keys::SpireKeys;
pub use self::peers::PeerAuthorizer;
pub use self::settings::{DEFAULT_ENDPOINT, ENDPOINT_VARIABLE, SpireProviderBuilder, TlsMinVersion};
pub use self::svid::X509Svid;
pub use self::tls::{TlsContext, TlsRole};

use self::bundle::Bundles;
use self::callbacks::Callbacks;
use self::settings::Settings;
use self::state::State;
use crate::bridge::{self, BridgeError};

/// The identity that a SPIRE agent attests: an X.509-SVID, renewed while the process runs.
///
/// Making one does no I/O: it connects on first use, or when [`initialize`](Self::initialize) is called. The agent's
/// updates come over a stream, so that a rotation reaches the next call. While the agent is away calls go on with the
/// SVID that is held, until it expires. Clones share one connection; it ends with the last of them, or
/// with [`shutdown`](Self::shutdown). TLS configurations, key sources and rotation callbacks may hold clones: with a
/// clone in a callback it is only `shutdown` that ends it.
///
/// ```no_run
/// # async fn example() -> Result<(), kest_core::error::IdentityError> {
/// use kest_providers::identity::spire::SpireProvider;
///
/// let identity = SpireProvider::builder().endpoint("unix:///run/spire/sockets/agent.sock").build()?;
/// println!("{}", identity.get_identity().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SpireProvider(Arc<Inner>);

/// [`SpireProvider`] by the name of the standard that it speaks: any agent with a SPIFFE Workload API will do.
pub type SpiffeIdentityProvider = SpireProvider;

struct Inner {
    state: Arc<State>,
    tasks: Mutex<Tasks>,
    callbacks: Callbacks,
}

#[derive(Default)]
struct Tasks {
    x509: Option<JoinHandle<()>>,
    jwt: Option<JoinHandle<()>>,
}

impl SpireProvider {
    /// A provider to set up.
    pub fn builder() -> SpireProviderBuilder {
        SpireProviderBuilder::new()
    }

    /// A provider of the agent at [`DEFAULT_ENDPOINT`].
    ///
    /// # Errors
    /// None today; as the builder's.
    pub fn new() -> Result<Self, IdentityError> {
        Self::builder().build()
    }

    /// A provider of the agent that `SPIFFE_ENDPOINT_SOCKET` names, or of the one at [`DEFAULT_ENDPOINT`].
    ///
    /// # Errors
    /// When the variable is set to something that is no address.
    pub fn from_env() -> Result<Self, IdentityError> {
        settings::from_environment()?.build()
    }

    /// Connects and waits for the first SVID. Every other call does so too; this one does nothing else.
    ///
    /// # Errors
    /// When the agent cannot be reached in time (`Connection`), or has no identity for this process (`Missing`).
    pub async fn initialize(&self) -> Result<(), IdentityError> {
        self.get_svid().await.map(drop)
    }

    /// Forgets the keys, ends the connection and stops the rotation callbacks. Every later call, of clones too, is an
    /// error of kind `Missing`.
    ///
    /// It has taken effect when its future was polled once, and goes on by itself if that is dropped. A callback that
    /// blocks its thread ends when it comes back.
    pub async fn shutdown(&self) {
        self.0.state.close();
        let tasks = std::mem::take(&mut *self.0.tasks.lock());
        let tasks: Vec<JoinHandle<()>> = [tasks.x509, tasks.jwt].into_iter().flatten().collect();
        for task in &tasks {
            task.abort();
        }
        self.0.callbacks.stop();
        self.0.state.forget();
        if tasks.is_empty() {
            return;
        }
        let state = Arc::clone(&self.0.state);
        let finish = async move {
            for task in tasks {
                // Cancelled, which is what was asked for.
                let _ = task.await;
            }
            // What a task took over while it was told to end.
            state.forget();
        };
        // The tasks ran on the bridge, so it is there.
        let _ = bridge::run(finish).await;
    }

    /// The SPIFFE ID of this workload. Once given it never changes.
    ///
    /// # Errors
    /// As [`Self::get_svid`].
    pub async fn get_identity(&self) -> Result<Arc<str>, IdentityError> {
        self.get_svid().await.map(|svid| svid.shared_id())
    }

    /// The current X.509-SVID.
    ///
    /// # Errors
    /// When there is none: as [`Self::initialize`]; when it has expired and was not renewed: `SvidExpired`.
    pub async fn get_svid(&self) -> Result<Arc<X509Svid>, IdentityError> {
        if let Some(svid) = self.held(Arc::clone)? {
            return Ok(svid);
        }
        self.start()?;
        bridge::run(first_svid(Arc::clone(&self.0.state))).await.map_err(bridge_error)?
    }

    /// The X.509 authorities of a trust domain: one's own, or a federated one by its name.
    ///
    /// # Errors
    /// As [`Self::get_svid`]; `TrustDomain` when the agent has sent no bundle of that domain.
    pub async fn get_trust_bundle(
        &self,
        trust_domain: Option<&str>,
    ) -> Result<Arc<Authorities>, IdentityError> {
        let svid = self.get_svid().await?;
        let bundles = self.bundles()?;
        bundles
            .named(trust_domain.unwrap_or(svid.trust_domain()))
            .map(|bundle| Arc::clone(&bundle.authorities))
    }

    /// Has `callback` called after each rotation with the new SVID; the first one is no rotation. It may be registered
    /// before or after the first use.
    ///
    /// Each callback runs on a thread of its own with a tokio run-time, one call at a time, and may block it. A callback
    /// that is still busy when the next rotation comes is called once more when it is done, with the newest SVID. Its
    /// errors and panics are logged.
    ///
    /// A callback lives as long as the provider. One that holds a clone of it keeps it alive, connection and key
    /// included, until [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    /// When the provider was shut down, or the operating system gives no thread.
    pub fn register_rotation_callback<C, F>(&self, callback: C) -> Result<(), IdentityError>
    where
        C: Fn(Arc<X509Svid>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        self.0.state.refuse_closed()?;
        self.0.callbacks.register(self.0.state.rotations(), callback)
    }

    /// Whether there is a valid SVID and a trust bundle of one's own trust domain: for readiness probes.
    pub async fn health_check(&self) -> bool {
        match self.get_trust_bundle(None).await {
            Ok(bundle) => bundle.certificates().len() > 0,
            Err(error) => {
                tracing::debug!(target: "kest", %error, "the SPIRE provider is not healthy");
                false
            }
        }
    }

    fn with_settings(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            state: Arc::new(State::new(settings)),
            tasks: Mutex::new(Tasks::default()),
            callbacks: Callbacks::new(),
        }))
    }

    /// What `with` makes of the SVID that is held; `None` before the first.
    fn held<R>(&self, with: impl FnOnce(&Arc<X509Svid>) -> R) -> Result<Option<R>, IdentityError> {
        self.0.state.with_svid(with).inspect_err(|_| {
            // Whatever has become of the stream's task, it is asked for another. The error at hand says more.
            let _ = self.start();
        })
    }

    /// [`Self::get_svid`], blocking.
    fn svid_blocking(&self) -> Result<Arc<X509Svid>, IdentityError> {
        if let Some(svid) = self.held(Arc::clone)? {
            return Ok(svid);
        }
        self.start()?;
        bridge::block_on(first_svid(Arc::clone(&self.0.state))).map_err(bridge_error)?
    }

    fn bundles(&self) -> Result<Arc<Bundles>, IdentityError> {
        self.0.state.bundles()?.ok_or_else(|| self.0.state.no_svid())
    }

    /// Has the agent's stream of X.509-SVIDs followed.
    fn start(&self) -> Result<(), IdentityError> {
        self.run(|tasks| &mut tasks.x509, |state| Box::pin(watch::follow::<watch::X509>(state)))
    }

    fn run(
        &self,
        slot: impl FnOnce(&mut Tasks) -> &mut Option<JoinHandle<()>>,
        task: impl FnOnce(Arc<State>) -> BoxFuture<'static, ()>,
    ) -> Result<(), IdentityError> {
        let mut tasks = self.0.tasks.lock();
        // Under the lock: a shutdown takes the tasks after it has closed.
        self.0.state.refuse_closed()?;
        let slot = slot(&mut tasks);
        if slot.as_ref().is_none_or(JoinHandle::is_finished) {
            let handle = bridge::handle().map_err(bridge_error)?;
            *slot = Some(handle.spawn(task(Arc::clone(&self.0.state))));
        }
        Ok(())
    }
}

async fn first_svid(state: Arc<State>) -> Result<Arc<X509Svid>, IdentityError> {
    state.x509.settle(state.settings.initial_timeout).await;
    state.with_svid(Arc::clone)?.ok_or_else(|| state.no_svid())
}

fn bridge_error(error: BridgeError) -> IdentityError {
    IdentityError::new(IdentityErrorKind::Connection, format!("the SPIRE agent could not be asked: {error}"))
        .with_source(error)
}

impl IdentityProvider for SpireProvider {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        match self.held(|svid| svid.shared_id())? {
            Some(id) => Ok(id),
            None => self.svid_blocking().map(|svid| svid.shared_id()),
        }
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        match self.held(|svid| svid.sign(payload))? {
            Some(signed) => signed,
            None => self.svid_blocking()?.sign(payload),
        }
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(async move {
            match self.held(|svid| svid.sign(payload))? {
                Some(signed) => signed,
                None => self.get_svid().await?.sign(payload),
            }
        })
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        self.svid_blocking().map(|svid| Jwks(vec![svid.public_key().clone()]))
    }

    fn ready(&self) -> Option<BoxFuture<'_, Result<(), IdentityError>>> {
        match self.held(|_| ()) {
            Ok(None) => Some(Box::pin(self.initialize())),
            Ok(Some(())) | Err(_) => None,
        }
    }

    fn verify_svid<'a>(&'a self, svid: Svid<'a>) -> BoxFuture<'a, Result<VerifiedSvid, IdentityError>> {
        Box::pin(verify::verify(self, svid))
    }
}

impl fmt::Debug for SpireProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = &self.0.state;
        f.debug_struct("SpireProvider")
            .field("settings", &state.settings)
            .field("id", &state.id().map(|id| text::id(id, 200)))
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let tasks = self.tasks.get_mut();
        for task in [&tasks.x509, &tasks.jwt].into_iter().flatten() {
            task.abort();
        }
        self.callbacks.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Has the task ended by force, as nothing should.
    fn kill(provider: &SpireProvider, slot: fn(&mut Tasks) -> &mut Option<JoinHandle<()>>) {
        let lived = || slot(&mut provider.0.tasks.lock()).as_ref().is_some_and(|task| !task.is_finished());
        slot(&mut provider.0.tasks.lock()).as_ref().unwrap().abort();
        let deadline = Instant::now() + Duration::from_secs(20);
        while lived() {
            assert!(Instant::now() < deadline, "the task goes on");
            std::thread::yield_now();
        }
    }

    fn alive(provider: &SpireProvider, slot: fn(&mut Tasks) -> &mut Option<JoinHandle<()>>) -> bool {
        slot(&mut provider.0.tasks.lock()).as_ref().is_some_and(|task| !task.is_finished())
    }

    fn provider(state: State) -> SpireProvider {
        SpireProvider(Arc::new(Inner {
            state: Arc::new(state),
            tasks: Mutex::new(Tasks::default()),
            callbacks: Callbacks::new(),
        }))
    }

    #[test]
    fn an_expired_svid_has_a_dead_stream_started_again() {
        let provider = provider(state::tests::expired());
        provider.start().unwrap();
        kill(&provider, |tasks| &mut tasks.x509);
        let error = provider.sign(b"{}").unwrap_err();
        assert_eq!(error.kind(), IdentityErrorKind::SvidExpired);
        assert!(alive(&provider, |tasks| &mut tasks.x509));
    }

    #[test]
    fn jwt_bundles_that_are_held_have_a_dead_stream_started_again() {
        let (state, update) = state::tests::state();
        assert!(state.accept_x509(&update));
        state.accept_jwt(spiffe::JwtBundleSet::new());
        let provider = provider(state);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ask = || {
            let document = Svid::Jwt { token: "a.b.c", audience: "orders" };
            runtime.block_on(provider.verify_svid(document)).unwrap_err()
        };
        ask();
        kill(&provider, |tasks| &mut tasks.jwt);
        assert_eq!(ask().kind(), IdentityErrorKind::Untrusted);
        assert!(alive(&provider, |tasks| &mut tasks.jwt));
    }
}
