//! The body of a response behind a layer: it runs in the layer's scope to its end.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

use crate::lineage::{LINEAGE, Owed, Returning};

/// The body of a response behind a layer: the handler's own, or that of a refusal.
///
/// The handler's body runs in the scope of the request, to its end: calls that a streamed body makes belong to the
/// request's lineage.
pub struct LayerBody<E> {
    kind: Kind<E>,
}

enum Kind<E> {
    /// A refusal, until it is sent.
    Whole(Option<Bytes>),
    Driven {
        /// What makes the body, inside the scope; none once it has ended.
        work: Option<Work>,
        slot: Arc<Mutex<Slot<E>>>,
    },
}

/// A request in its scope, from its arrival to the last byte of the answer.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The head of an answer, with the body if it is a refusal; or the error of the service within.
type Head<S> = Result<Response<Option<Bytes>>, S>;

/// Where the work puts the parts of its answer, for whoever polls it.
pub(crate) struct Desk<S, E> {
    head: Arc<Mutex<Option<Head<S>>>>,
    slot: Arc<Mutex<Slot<E>>>,
}

impl<S, E> Clone for Desk<S, E> {
    fn clone(&self) -> Self {
        Self { head: Arc::clone(&self.head), slot: Arc::clone(&self.slot) }
    }
}

/// An answer whose head was handed on.
pub(crate) struct Begun<R> {
    body: R,
    /// The lineage, if it goes back at the end.
    trailer: Option<Owed>,
    /// Whether any other lineage in the trailers is to go.
    cleans: bool,
}

struct Slot<E> {
    /// The body is asked for a frame.
    wanted: bool,
    frame: Option<Result<Frame<Bytes>, E>>,
    hint: SizeHint,
    ended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S, E> Desk<S, E> {
    fn new() -> Self {
        let slot = Slot { wanted: false, frame: None, hint: SizeHint::default(), ended: false };
        Self { head: Arc::new(Mutex::new(None)), slot: Arc::new(Mutex::new(slot)) }
    }

    /// The answer is a refusal.
    pub(crate) fn refuse(&self, answer: Response<Bytes>) {
        *lock(&self.head) = Some(Ok(answer.map(Some)));
    }

    /// Calls the service and hands on what it answers. Runs inside the scope.
    pub(crate) async fn serve<I, B, R>(self, inner: I, request: Request<B>, returning: Returning)
    where
        I: Service<Request<B>, Response = Response<R>, Error = S>,
        R: Body<Data = Bytes, Error = E>,
    {
        if let Some(begun) = self.begin(inner, request, returning).await {
            self.go_on(begun).await;
        }
    }

    /// Calls the service and hands on the head; what is left of its answer, if anything is.
    pub(crate) async fn begin<I, B, R>(
        &self,
        mut inner: I,
        request: Request<B>,
        returning: Returning,
    ) -> Option<Begun<R>>
    where
        I: Service<Request<B>, Response = Response<R>, Error = S>,
        R: Body<Data = Bytes, Error = E>,
    {
        let (mut parts, body) = match inner.call(request).await {
            Ok(response) => response.into_parts(),
            Err(error) => {
                *lock(&self.head) = Some(Err(error));
                return None;
            }
        };
        drop(inner);
        let cleans = returning.is_ours();
        let whole = body.is_end_stream() || body.size_hint().exact().is_some();
        let trailer = returning.begin(&mut parts, body.is_end_stream(), whole).await;
        let done = body.is_end_stream() && trailer.is_none();
        {
            let mut slot = lock(&self.slot);
            slot.hint = body.size_hint();
            slot.ended = done;
        }
        *lock(&self.head) = Some(Ok(Response::from_parts(parts, None)));
        (!done).then_some(Begun { body, trailer, cleans })
    }

    /// Hands on the body.
    pub(crate) async fn go_on<R>(self, begun: Begun<R>)
    where
        R: Body<Data = Bytes, Error = E>,
    {
        let Begun { body, mut trailer, cleans } = begun;
        let mut body = pin!(body);
        loop {
            self.wanted().await;
            let frame = match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                Some(Ok(frame)) => match (frame.into_trailers(), trailer.take()) {
                    (Ok(mut trailers), Some(owed)) => {
                        owed.end(&mut trailers).await;
                        Ok(Frame::trailers(trailers))
                    }
                    (Ok(mut trailers), None) => {
                        if cleans {
                            trailers.remove(LINEAGE);
                        }
                        Ok(Frame::trailers(trailers))
                    }
                    (Err(data), owed) => {
                        trailer = owed;
                        Ok(data)
                    }
                },
                Some(Err(error)) => Err(error),
                None => {
                    if let Some(owed) = trailer.take() {
                        let mut trailers = http::HeaderMap::new();
                        owed.end(&mut trailers).await;
                        if !trailers.is_empty() {
                            self.put(Ok(Frame::trailers(trailers)), SizeHint::with_exact(0), true);
                        }
                    }
                    return;
                }
            };
            let last = body.is_end_stream() && trailer.is_none();
            self.put(frame, body.size_hint(), last);
            if last {
                return;
            }
        }
    }

    fn put(&self, frame: Result<Frame<Bytes>, E>, hint: SizeHint, ended: bool) {
        let mut slot = lock(&self.slot);
        // Whoever polls may have asked more than once for this frame.
        slot.wanted = false;
        slot.frame = Some(frame);
        slot.hint = hint;
        slot.ended = ended;
    }

    /// Waits until somebody polls the body. Nobody need be woken: they poll the work themselves.
    async fn wanted(&self) {
        poll_fn(|_| match std::mem::take(&mut lock(&self.slot).wanted) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}

/// The answer of a layer to one request. `S` is the error of the service within, `E` that of its bodies.
#[must_use = "futures do nothing unless polled"]
pub struct LayerFuture<S, E> {
    work: Option<Work>,
    desk: Desk<S, E>,
}

impl<S, E> LayerFuture<S, E> {
    /// Runs the work that `make` makes, until it has put a head on the desk.
    pub(crate) fn new<F>(make: impl FnOnce(Desk<S, E>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let desk = Desk::new();
        Self { work: Some(Box::pin(make(desk.clone()))), desk }
    }
}

impl<S, E> Future for LayerFuture<S, E> {
    type Output = Result<Response<LayerBody<E>>, S>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if poll_work(&mut this.work, cx).is_pending() && lock(&this.desk.head).is_none() {
            return Poll::Pending;
        }
        let head = lock(&this.desk.head).take();
        let kind = |whole: Option<Bytes>, work| match whole {
            Some(bytes) => Kind::Whole(Some(bytes)),
            None => Kind::Driven { work, slot: Arc::clone(&this.desk.slot) },
        };
        Poll::Ready(match head {
            Some(Ok(response)) => {
                let (parts, whole) = response.into_parts();
                Ok(Response::from_parts(parts, LayerBody { kind: kind(whole, this.work.take()) }))
            }
            Some(Err(error)) => Err(error),
            // INVARIANT: the work ends with a head on the desk.
            None => {
                let mut response = Response::new(LayerBody { kind: Kind::Whole(None) });
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                Ok(response)
            }
        })
    }
}

/// Goes on with the work, and drops it where it ends.
fn poll_work(work: &mut Option<Work>, cx: &mut Context<'_>) -> Poll<()> {
    let Some(running) = work else { return Poll::Ready(()) };
    let polled = running.as_mut().poll(cx);
    if polled.is_ready() {
        *work = None;
    }
    polled
}

impl<E> Body for LayerBody<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        match &mut self.kind {
            Kind::Whole(bytes) => {
                Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b))))
            }
            Kind::Driven { work, slot } => {
                lock(slot).wanted = true;
                let polled = poll_work(work, cx);
                match (lock(slot).frame.take(), polled) {
                    (Some(frame), _) => Poll::Ready(Some(frame)),
                    (None, Poll::Ready(())) => Poll::Ready(None),
                    (None, Poll::Pending) => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Kind::Driven { slot, .. } => lock(slot).ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Kind::Driven { slot, .. } => lock(slot).hint,
        }
    }
}

impl<E> fmt::Debug for LayerBody<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Whole(_) => "LayerBody(refusal)",
            Kind::Driven { .. } => "LayerBody",
        })
    }
}

impl<S, E> fmt::Debug for LayerFuture<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LayerFuture")
    }
}
