//! The service that the layer makes.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::Outbound;
use super::body::ReturnedBody;
use super::call::Call;
use super::error::BoxError;
use super::hosts::Target;

/// A client whose calls take lineage along. Made by [`OutboundLayer`](super::OutboundLayer).
///
/// Its errors are those of the client, and [`PropagationError`](kest_core::error::PropagationError) where lineage could
/// not be sent or what came back could not be joined: `error.downcast_ref::<PropagationError>()`. In the second case the
/// call has been made, and must not be made again as if it had not
/// ([`call_was_made`](kest_core::error::PropagationError::call_was_made)).
#[derive(Debug, Clone)]
pub struct OutboundService<S> {
    inner: S,
    outbound: Outbound,
    origin: Option<Target>,
}

impl<S> OutboundService<S> {
    pub(super) fn new(inner: S, outbound: Outbound, origin: Option<Target>) -> Self {
        Self { inner, outbound, origin }
    }
}

impl<S, B, R> Service<Request<B>> for OutboundService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
    R: Body + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<ReturnedBody<R>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // What was made ready is the service that is here now (tower's `Service`, "Be careful when cloning").
        let ready = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, ready);
        let target = self.origin.clone().unwrap_or_else(|| Target::of(request.uri()));
        let plan = Call::capture(&self.outbound).plan(&target, request.headers_mut());
        Box::pin(async move {
            let joining = plan?.write(request.headers_mut()).await?;
            let response = inner.call(request).await.map_err(Into::into)?;
            match joining {
                None => Ok(response.map(ReturnedBody::plain)),
                Some(joining) => Ok(joining.answer(response).await?),
            }
        })
    }
}
