//! A provider that is made when it is first needed.

use std::fmt;
use std::sync::Arc;

use kest_core::error::IdentityError;
use kest_core::identity::{BoxFuture, IdentityAttributes, IdentityProvider, Svid, VerifiedSvid};
use kest_core::jws::Jws;
use kest_core::keys::Jwks;
use once_cell::sync::OnceCell;

/// Makes a provider on first use, once; after a failure the next use tries again.
///
/// For where the platform's identity comes after the program's start, such as a SPIRE agent's socket. Until then
/// every use is the factory's error: there is no placeholder signature.
///
/// Concurrent first uses wait for one factory call, on their threads. The factory must not use the provider that
/// it makes. [`attributes`](IdentityProvider::attributes) can carry no error, so it is `None` while the factory
/// fails: ask for the workload id first, as hooks do.
///
/// ```
/// # use kest_providers::identity::{LazySigningProvider, LocalEd25519Provider};
/// let identity = LazySigningProvider::new(LocalEd25519Provider::new);
/// ```
pub struct LazySigningProvider<P> {
    provider: OnceCell<P>,
    factory: Box<dyn Fn() -> Result<P, IdentityError> + Send + Sync>,
}

impl<P: IdentityProvider> LazySigningProvider<P> {
    /// A provider that the factory will make.
    pub fn new(factory: impl Fn() -> Result<P, IdentityError> + Send + Sync + 'static) -> Self {
        Self { provider: OnceCell::new(), factory: Box::new(factory) }
    }

    fn provider(&self) -> Result<&P, IdentityError> {
        self.provider.get_or_try_init(|| (self.factory)())
    }
}

impl<P: fmt::Debug> fmt::Debug for LazySigningProvider<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazySigningProvider").field("provider", &self.provider.get()).finish_non_exhaustive()
    }
}

impl<P: IdentityProvider> IdentityProvider for LazySigningProvider<P> {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        self.provider()?.workload_id()
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        self.provider()?.sign(payload)
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(async move { self.provider()?.sign_async(payload).await })
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        self.provider()?.public_keys()
    }

    fn attributes(&self) -> Option<&IdentityAttributes> {
        self.provider().ok()?.attributes()
    }

    fn ready(&self) -> Option<BoxFuture<'_, Result<(), IdentityError>>> {
        match self.provider.get() {
            Some(provider) => provider.ready(),
            None => Some(Box::pin(async move {
                match self.provider()?.ready() {
                    Some(ready) => ready.await,
                    None => Ok(()),
                }
            })),
        }
    }

    fn verify_svid<'a>(&'a self, svid: Svid<'a>) -> BoxFuture<'a, Result<VerifiedSvid, IdentityError>> {
        Box::pin(async move { self.provider()?.verify_svid(svid).await })
    }
}
