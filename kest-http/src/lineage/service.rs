//! The lineage layer at work.

use std::fmt::Write as _;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use kest_core::Kest;
use kest_core::lineage::scope;
use kest_core::text::Quoted;
use opentelemetry::context::FutureExt as _;
use tower_service::Service;

use super::info::{LineageInfo, Standing};
use super::returning::Returning;
use crate::bind::Believed;
use crate::body::{Desk, LayerBody, LayerFuture};
use crate::peer::PeerIdentity;
use crate::problem::{Problem, ProblemKind};
use crate::receive::{Received, Receiver};
use crate::trace::under_caller;
use crate::wire::Wire;
use crate::withheld::Seldom;

/// What a layer and its services share.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) kest: Kest,
    pub(super) receiver: Receiver,
    /// How lineage goes back, if it does, and to whom.
    pub(super) returns: Option<Returns>,
}

#[derive(Debug)]
pub(super) struct Returns {
    pub(super) wire: Wire,
    pub(super) to: ReturnTo,
    /// Callers who may not have it.
    pub(super) unbound: Seldom,
    /// Lineages that cannot be sent.
    pub(super) failures: Arc<Seldom>,
}

/// Who may have the lineage that their request led to.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReturnTo {
    /// Whoever is bound, or proved by the connection.
    Known,
    Anybody,
}

impl ReturnTo {
    fn may_have(self, info: &LineageInfo) -> bool {
        match (self, info.standing()) {
            (Self::Anybody, _) | (Self::Known, Standing::Bound) => true,
            (Self::Known, Standing::Absent | Standing::Unbound) => info.peer().is_some(),
        }
    }
}

/// A service behind a [`LineageLayer`](super::LineageLayer).
#[derive(Clone, Debug)]
pub struct LineageService<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> LineageService<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }
}

impl<S, B, R> Service<Request<B>> for LineageService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    B: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Send + 'static,
{
    type Response = Response<LayerBody<R::Error>>;
    type Error = S::Error;
    type Future = LayerFuture<S::Error, R::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that was found ready is the one to call.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let settings = Arc::clone(&self.settings);
        LayerFuture::new(move |desk| answer(inner, settings, request, desk))
    }
}

async fn answer<S, B, R>(
    inner: S,
    settings: Arc<Settings>,
    mut request: Request<B>,
    desk: Desk<S::Error, R::Error>,
) where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    let peer = request.extensions().get::<PeerIdentity>().cloned();
    let received = match misplaced(&request) {
        Some(problem) => Err(problem),
        None => settings.receiver.receive(request.headers(), peer.as_ref()).await,
    };
    let Received { lineage, said } = match received {
        Ok(received) => received,
        Err(problem) => return desk.refuse(problem.answer(request.headers())),
    };
    let info = LineageInfo::new(lineage.as_ref(), peer);
    let returning = match &settings.returns {
        Some(returns) if Returning::is_asked(request.headers()) => match returns.to.may_have(&info) {
            true => {
                let received = lineage.as_ref().map(|believed| believed.passport.passport().clone());
                Returning::asked(&request, &returns.wire, received.unwrap_or_default(), &returns.failures)
            }
            false => {
                if returns.unbound.now() {
                    warn_unbound(lineage.as_ref());
                }
                Returning::Unbound
            }
        },
        Some(_) | None => Returning::No,
    };
    request.extensions_mut().insert(info);
    let trace = under_caller(request.headers());
    let served = desk.serve(inner, request, returning);
    let scoped = match &lineage {
        Some(believed) => believed.passport.scope(served),
        None => scope(served),
    };
    // The scope holds the tips; the entries as they were read need no longer be kept.
    drop(lineage);
    // INVARIANT: a request goes on with nothing but what came with it, wherever the service runs.
    let scoped = scoped.apart().under(settings.kest.clone()).upstream(said);
    match trace {
        Some(trace) => scoped.with_context(trace).await,
        None => scoped.await,
    }
}

/// Says why a caller who asks for its lineage gets none: it is told that it is not bound, and no more.
fn warn_unbound(lineage: Option<&Believed>) {
    let mut ends = String::new();
    for tip in lineage.iter().flat_map(|believed| believed.passport.tip_entries()).take(4) {
        let sep = if ends.is_empty() { " ends with " } else { ", " };
        let _ = write!(ends, "{sep}an entry of {}", Quoted(&tip.anchored_as()));
    }
    tracing::warn!(
        target: "kest",
        "a caller asked for its lineage back and got none: what it sent{}, and the connection proves nobody; name the \
         caller with `.allow(…)` at the `LineageLayer`, or use mutual TLS (this is said once a minute at most)",
        if ends.is_empty() { " has no lineage" } else { ends.as_str() }
    );
}

/// What is said on whose behalf inside of the layer would be said outside of it, or what happens inside of two would
/// not all go back.
fn misplaced<B>(request: &Request<B>) -> Option<Problem> {
    if request.extensions().get::<LineageInfo>().is_some() {
        tracing::error!(
            target: "kest",
            "a `LineageLayer` stands inside of another: one of them is enough, take the other away"
        );
        let why = "the service has two lineage layers, one inside of the other";
        return Some(Problem::new(ProblemKind::Misconfigured, why));
    }
    #[cfg(feature = "oidc")]
    if request.extensions().get::<crate::identity::Authenticated>().is_some() {
        tracing::error!(
            target: "kest",
            "`IdentityLayer` stands outside of `LineageLayer`: put it inside (with axum, add it to the router first)"
        );
        return Some(Problem::new(
            ProblemKind::Misconfigured,
            "the service's layers stand in the wrong order",
        ));
    }
    None
}
