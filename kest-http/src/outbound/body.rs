//! A response's body, at whose end lineage may come back.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use kest_core::error::PropagationError;
use kest_core::identity::BoxFuture;
use pin_project_lite::pin_project;

use super::error::BoxError;
use super::headers::take_returned;
use super::returned::{Joining, failed_by_grpc};
use crate::PeerIdentity;

pin_project! {
    /// The body of an answer. Where lineage was asked for and did not come in a header, it is joined when the body has
    /// been read to its end; if it cannot be, that is the body's last error.
    pub struct ReturnedBody<B> {
        #[pin]
        inner: B,
        state: State,
    }

    impl<B> PinnedDrop for ReturnedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            this.project().state.abandoned();
        }
    }
}

enum State {
    /// Nothing more is to come.
    Plain,
    /// A trailer is to come, or at least may.
    Waiting { joining: Box<Joining>, peer: Option<PeerIdentity>, must: bool },
    /// It came. The other trailers are passed on when it is joined.
    Joins {
        /// Never locked: the mutex makes a body of it that threads can share, as `reqwest` wants.
        join: Mutex<BoxFuture<'static, Result<(), PropagationError>>>,
        trailers: HeaderMap,
    },
}

impl State {
    /// Says so when a body is dropped before what it would have brought.
    fn abandoned(&self) {
        match self {
            Self::Waiting { must: true, .. } | Self::Joins { .. } => tracing::warn!(
                target: "kest",
                "an answer was dropped before its end, where its lineage would have come back; the next entry does \
                 not have the callee's as parents: read the body to its end"
            ),
            Self::Waiting { must: false, .. } | Self::Plain => {}
        }
    }
}

impl<B> ReturnedBody<B> {
    pub(super) fn plain(inner: B) -> Self {
        Self { inner, state: State::Plain }
    }

    /// A body at whose end the lineage comes, or may come.
    pub(super) fn waiting(inner: B, joining: Joining, peer: Option<PeerIdentity>, must: bool) -> Self {
        Self { inner, state: State::Waiting { joining: Box::new(joining), peer, must } }
    }
}

impl<B: Body> Body for ReturnedBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        loop {
            if let State::Joins { join, trailers } = this.state {
                let joined = ready!(join.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx));
                let trailers = mem::take(trailers);
                *this.state = State::Plain;
                return Poll::Ready(Some(match joined {
                    Ok(()) => Ok(Frame::trailers(trailers)),
                    Err(error) => Err(error.into()),
                }));
            }
            let Some(frame) = ready!(this.inner.as_mut().poll_frame(cx)) else {
                let ended = match mem::replace(this.state, State::Plain) {
                    State::Waiting { joining, must: true, .. } => joining.missing(),
                    State::Waiting { must: false, .. } | State::Plain | State::Joins { .. } => Ok(()),
                };
                return Poll::Ready(ended.err().map(|error| Err(error.into())));
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    *this.state = State::Plain;
                    return Poll::Ready(Some(Err(error.into())));
                }
            };
            let mut trailers = match frame.into_trailers() {
                Ok(trailers) => trailers,
                Err(data) => return Poll::Ready(Some(Ok(data))),
            };
            match mem::replace(this.state, State::Plain) {
                State::Plain | State::Joins { .. } => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                State::Waiting { mut joining, peer, must } => {
                    let values = take_returned(&mut trailers);
                    if values.is_empty() || joining.is_withheld(&values) {
                        let ended =
                            if must && !failed_by_grpc(&trailers) { joining.missing() } else { Ok(()) };
                        return Poll::Ready(Some(match ended {
                            Ok(()) => Ok(Frame::trailers(trailers)),
                            Err(error) => Err(error.into()),
                        }));
                    }
                    let join = Box::pin(async move { joining.join(&values, peer.as_ref()).await });
                    *this.state = State::Joins { join: Mutex::new(join), trailers };
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // INVARIANT: whoever reads to the end comes past what is to be joined or is missing.
        matches!(self.state, State::Plain) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: fmt::Debug> fmt::Debug for ReturnedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReturnedBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}
