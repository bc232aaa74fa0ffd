//! `IdentityLayer`: on whose behalf a request comes, by its bearer token. Spec §12.

mod claims;
mod layer;
mod service;

use kest_providers::identity::ValidatedToken;

pub use self::claims::Users;
pub use self::layer::{IdentityLayer, IdentityLayerBuilder};
pub use self::service::IdentityService;

/// What the identity layer found out about a request. It stands in the request's extensions, if there was a token.
///
/// ```
/// # use kest_http::Authenticated;
/// async fn handler(who: axum::Extension<Authenticated>) -> String {
///     format!("hello, {}", who.token().subject())
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(handler));
/// ```
#[derive(Clone, Debug)]
pub struct Authenticated {
    token: ValidatedToken,
    actors: Vec<String>,
}

impl Authenticated {
    /// What the token says.
    #[must_use]
    pub fn token(&self) -> &ValidatedToken {
        &self.token
    }

    /// The actors of its `act` claim (RFC 8693 §4.1), the current one first. Only that one counts; those before it are
    /// for information.
    #[must_use]
    pub fn actors(&self) -> &[String] {
        &self.actors
    }
}
