//! The identity layer at work.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use kest_core::lineage::{Jwt, OnBehalfOf, Scoped, scope};
use kest_providers::identity::BearerVerifier;
use tower_service::Service;

use super::Authenticated;
use super::claims::Mapping;
use crate::body::{Desk, LayerBody, LayerFuture};
use crate::lineage::Returning;
use crate::problem::{Problem, ProblemKind};

/// What a layer and its services share.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) tokens: BearerVerifier,
    pub(super) mapping: Mapping,
    pub(super) optional: bool,
}

/// A service behind an [`IdentityLayer`](super::IdentityLayer).
#[derive(Clone, Debug)]
pub struct IdentityService<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> IdentityService<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }
}

impl<S, B, R> Service<Request<B>> for IdentityService<S>
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
    // What somebody else put there was validated by nobody.
    request.extensions_mut().remove::<Authenticated>();
    let token = match bearer(request.headers()) {
        Ok(Some(token)) => token,
        // INVARIANT: who sends no token may do no more than who does: both come from outside.
        Ok(None) if settings.optional => return serve(desk, inner, request, Validated::Nobody).await,
        Ok(None) => {
            let why = "the service takes no requests without a token; send `Authorization: Bearer <token>`";
            let problem = Problem::new(ProblemKind::MissingToken, why);
            return desk.refuse(problem.answer(request.headers()));
        }
        Err(problem) => return desk.refuse(problem.answer(request.headers())),
    };
    let (said, authenticated) = match settings.authenticate(&token).await {
        Ok(found) => found,
        Err(problem) => return desk.refuse(problem.answer(request.headers())),
    };
    request.extensions_mut().insert(authenticated);
    serve(desk, inner, request, Validated::Somebody(Box::new(said), token)).await;
}

/// What was found out about a request.
#[derive(Clone)]
enum Validated {
    Nobody,
    Somebody(Box<OnBehalfOf>, Jwt),
}

impl Validated {
    fn scope<F: Future>(self, future: F) -> Scoped<F> {
        match self {
            Self::Nobody => scope(future).ingress(),
            Self::Somebody(said, token) => scope(future).authenticated(*said, token),
        }
    }
}

/// Runs the service, and then its body, in scopes of their own: what the handler has done stands in the lineage of the
/// request when its head goes out.
async fn serve<S, B, R>(desk: Desk<S::Error, R::Error>, inner: S, request: Request<B>, who: Validated)
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    if let Some(begun) = who.clone().scope(desk.begin(inner, request, Returning::NotOurs)).await {
        who.scope(desk.go_on(begun)).await;
    }
}

impl Settings {
    async fn authenticate(&self, token: &Jwt) -> Result<(OnBehalfOf, Authenticated), Problem> {
        let token = self.tokens.verify(token.reveal()).await.map_err(|error| {
            if error.is_unavailable() {
                // Names of servers are nothing for strangers.
                tracing::warn!(target: "kest", %error, "A bearer token could not be checked");
                let why = "the keys of the token's issuer cannot be had; try again later";
                return Problem::new(ProblemKind::IssuerUnavailable, why);
            }
            Problem::new(ProblemKind::InvalidToken, error)
        })?;
        let (said, actors) =
            self.mapping.read(&token).map_err(|why| Problem::new(ProblemKind::InvalidToken, why))?;
        Ok((said, Authenticated { token, actors }))
    }
}

/// The token in the `Authorization` header, RFC 6750 §2.1. Other schemes are none; forms and queries are not read.
fn bearer(headers: &HeaderMap) -> Result<Option<Jwt>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        // RFC 9110 §5.3: it is no list, and which of them counts would be anybody's guess.
        let why = "there is more than one `Authorization` header; send one";
        return Err(Problem::new(ProblemKind::MalformedCredentials, why));
    }
    // RFC 9110 §5.6.2, §11.1: a scheme is a `token`, and has no case.
    let text = value.as_bytes().trim_ascii_start();
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = text.iter().position(|byte| !is_tchar(byte)).unwrap_or(text.len());
    let (scheme, rest) = text.split_at_checked(end).unwrap_or((text, b""));
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let bad = || Problem::new(ProblemKind::InvalidToken, "the bearer token is empty, or no token");
    // RFC 9110 §11.4: `1*SP`. What is nearly that is a token that is not good, and not none.
    let Some(token) = rest.strip_prefix(b" ").filter(|_| text.len() == value.len()) else {
        return Err(bad());
    };
    let spaces = token.iter().take_while(|byte| **byte == b' ').count();
    let token = token.get(spaces..).unwrap_or_default();
    // `b64token`.
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if token.is_empty() || !token.iter().all(fits) {
        return Err(bad());
    }
    std::str::from_utf8(token).map(|token| Some(Jwt::new(token))).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<String>, ProblemKind> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, http::HeaderValue::from_bytes(value).unwrap());
        }
        match bearer(&headers) {
            Ok(token) => Ok(token.map(|token| token.reveal().to_owned())),
            Err(problem) => Err(problem.kind()),
        }
    }

    #[test]
    fn a_token_is_read_from_one_bearer_header_and_nothing_else() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"Bearer abc.def_-~+/="]), Ok(Some("abc.def_-~+/=".to_owned())));
        assert_eq!(read(&[b"bEARER   x"]), Ok(Some("x".to_owned())));
        for other in [b"Basic dXNlcjpwYXNz" as &[u8], b"Bear", b"Bearers x", b"DPoP x", b""] {
            assert_eq!(read(&[other]), Ok(None));
        }
        for bad in [
            b"Bearer" as &[u8],
            b"Bearer ",
            b"Bearer a b",
            b"Bearer a, Bearer b",
            b"Bearer \xff",
            b"Bearer \"a\"",
            b"Bearer\tx",
            b"Bearer \tx",
            b"bearer,x",
            b"Bearer=x",
            b"Bearer\"x\"",
            b" Bearer x",
            b"\tBearer x",
        ] {
            assert_eq!(read(&[bad]), Err(ProblemKind::InvalidToken), "{bad:?}");
        }
        for two in [[b"Bearer a" as &[u8], b"Bearer b"], [b"Bearer a", b"Basic b"], [b"Basic a", b"Bearer b"]]
        {
            assert_eq!(read(&two), Err(ProblemKind::MalformedCredentials));
        }
    }
}
