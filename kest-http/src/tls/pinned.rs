//! Who the server is, where a client does not pass on what its connector knows.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use kest_core::error::IdentityError;
use kest_providers::identity::spire::{PeerAuthorizer, SpireProvider};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::SpiffeConnector;
use super::peer::named;
use crate::PeerIdentity;

impl SpiffeConnector {
    /// A connector that connects to one workload and no other, and a layer that says so on each response: for clients
    /// that do not pass on what the connector knows, as tonic's `Channel`. The layer belongs on that client and on no
    /// other one.
    ///
    /// # Errors
    /// When `id` is no SPIFFE ID of a workload, or there is no SVID.
    pub async fn pinned(provider: &SpireProvider, id: &str) -> Result<(Self, PinnedLayer), IdentityError> {
        let config = provider.tls_client_config(PeerAuthorizer::ids([id])?).await?;
        Ok((Self::new(config), PinnedLayer { peer: named(id)? }))
    }
}

/// Puts the [`PeerIdentity`](crate::PeerIdentity) of the one server that a client can be connected to into the
/// extensions of each response. Made by [`SpiffeConnector::pinned`].
#[derive(Debug, Clone)]
pub struct PinnedLayer {
    peer: PeerIdentity,
}

impl<S> Layer<S> for PinnedLayer {
    type Service = Pinned<S>;

    fn layer(&self, inner: S) -> Pinned<S> {
        Pinned { inner, peer: self.peer.clone() }
    }
}

/// Made by [`PinnedLayer`].
#[derive(Debug, Clone)]
pub struct Pinned<S> {
    inner: S,
    peer: PeerIdentity,
}

impl<S, B, R> Service<Request<B>> for Pinned<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = PinnedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        PinnedFuture { inner: self.inner.call(request), peer: Some(self.peer.clone()) }
    }
}

pin_project! {
    /// Made by [`Pinned`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct PinnedFuture<F> {
        #[pin]
        inner: F,
        peer: Option<PeerIdentity>,
    }
}

impl<F, R, E> Future for PinnedFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let peer = this.peer;
        this.inner.poll(cx).map_ok(|mut response| {
            if let Some(peer) = peer.take() {
                response.extensions_mut().insert(peer);
            }
            response
        })
    }
}
