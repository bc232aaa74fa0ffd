//! Middleware for `reqwest`.

use http::Extensions;
use http::Response as HttpResponse;
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Body, Client, ClientBuilder, Request, Response, ResponseBuilderExt as _, Url};
use reqwest_middleware::{ClientWithMiddleware, Error, Middleware, Next, Result};

use super::Outbound;
use super::call::Call;
use super::hosts::Target;

/// Lineage for the calls of a `reqwest` client. Made with the client, by [`Outbound::client`].
///
/// What a call takes along is what there is when its future is first polled. Its errors are those of the client, and
/// [`PropagationError`](kest_core::error::PropagationError) in [`Error::Middleware`]; whether the call had been made by
/// then says [`call_was_made`](kest_core::error::PropagationError::call_was_made). Middleware that retries stands after
/// this one, so that it sees none of these errors.
#[derive(Debug, Clone)]
pub struct OutboundMiddleware {
    outbound: Outbound,
}

impl Outbound {
    /// A `reqwest` client whose calls take lineage along, and whose redirects do not take it elsewhere.
    ///
    /// Sets the client's redirect policy to [`Self::redirects`] of the default one.
    ///
    /// ```no_run
    /// use kest_http::outbound::Outbound;
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let outbound = Outbound::builder().host("orders.internal").build()?;
    /// let client = outbound.client(reqwest::Client::builder())?;
    /// let answer = client.get("https://orders.internal/17").send().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the client cannot be built.
    pub fn client(&self, client: ClientBuilder) -> reqwest::Result<ClientWithMiddleware> {
        Ok(self.client_builder(client, Policy::default())?.build())
    }

    /// The same for more middleware, and a redirect policy of one's own within [`Self::redirects`]. Middleware that
    /// sends a request on to another host must stand before this one.
    ///
    /// # Errors
    /// When the client cannot be built.
    pub fn client_builder(
        &self,
        client: ClientBuilder,
        policy: Policy,
    ) -> reqwest::Result<reqwest_middleware::ClientBuilder> {
        let client: Client = client.redirect(self.redirects(policy)).build()?;
        Ok(reqwest_middleware::ClientBuilder::new(client).with(OutboundMiddleware { outbound: self.clone() }))
    }

    /// A redirect policy under which nothing follows to another host that was meant for one.
    ///
    /// `reqwest` follows redirects below all middleware, with the headers of the first request: of a request to a host
    /// that may have lineage or a token, a redirect to another scheme, host or port is an error; ask the other one
    /// directly. Where nothing went along, and within an origin, `policy` decides.
    #[must_use]
    pub fn redirects(&self, policy: Policy) -> Policy {
        let outbound = self.clone();
        Policy::custom(move |attempt| outbound.redirect(attempt, &policy))
    }

    fn redirect(&self, attempt: Attempt<'_>, policy: &Policy) -> Action {
        let next = target_of(attempt.url());
        let leaves = |previous: &Url| {
            let previous = target_of(previous);
            let has_something = self.may_have_lineage(&previous) || self.may_have_jwt(&previous);
            has_something && !previous.same_origin(&next)
        };
        if attempt.previous().iter().any(leaves) {
            let text = format!(
                "the redirect goes to `{next}`, and lineage or token that were meant for another host would go along; \
                 ask it directly"
            );
            return attempt.error(text);
        }
        policy.redirect(attempt)
    }

    /// Ways that are as safe as what is around them.
    #[must_use]
    pub fn dangerous(&self) -> DangerousOutbound {
        DangerousOutbound(self.clone())
    }
}

/// Ways that are as safe as what is around them.
#[derive(Debug, Clone)]
pub struct DangerousOutbound(Outbound);

impl DangerousOutbound {
    /// The middleware by itself, for a client that exists already. Unless its redirect policy is one of
    /// [`Outbound::redirects`], whatever it is redirected to receives the lineage.
    #[must_use]
    pub fn middleware(self) -> OutboundMiddleware {
        OutboundMiddleware { outbound: self.0 }
    }
}

#[async_trait::async_trait]
impl Middleware for OutboundMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let target = target_of(request.url());
        let plan =
            Call::capture(&self.outbound).plan(&target, request.headers_mut()).map_err(Error::middleware)?;
        let joining = plan.write(request.headers_mut()).await.map_err(Error::middleware)?;
        let response = next.run(request, extensions).await?;
        let Some(joining) = joining else { return Ok(response) };
        let url = response.url().clone();
        joining.must_be_from(&target_of(&url)).map_err(Error::middleware)?;
        let answered =
            joining.answer(HttpResponse::<Body>::from(response)).await.map_err(Error::middleware)?;
        let (parts, body) = answered.into_parts();
        // Only a builder can say the URL of a response.
        let mut rebuilt =
            HttpResponse::builder().url(url).body(Body::wrap(body)).map_err(Error::middleware)?;
        *rebuilt.status_mut() = parts.status;
        *rebuilt.version_mut() = parts.version;
        *rebuilt.headers_mut() = parts.headers;
        rebuilt.extensions_mut().extend(parts.extensions);
        Ok(Response::from(rebuilt))
    }
}

/// INVARIANT: `reqwest` connects to what the URL has after the WHATWG rules (lower case, IDNA, addresses in their usual
/// form), and it is this that is compared. A URL that is no URI has no host.
fn target_of(url: &Url) -> Target {
    url.as_str().parse().map_or_else(|_| Target::nowhere(), |uri| Target::of(&uri))
}
