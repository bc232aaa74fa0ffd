//! Identity from an OpenID Connect token. Spec §10.

mod bearer;
mod binding;
mod builder;
mod check;
mod claims;
mod failure;
mod issuers;
mod source;
mod state;
mod token;

use std::fmt;
use std::sync::Arc;

use kest_core::error::IdentityError;
use kest_core::identity::{BoxFuture, IdentityAttributes, IdentityProvider};
use kest_core::jws::Jws;
use kest_core::keys::Jwks;

pub use self::bearer::{BearerError, BearerVerifier, BearerVerifierBuilder, ValidatedToken};
pub use self::binding::{OidcTokenVerifier, OidcTokenVerifierBuilder};
pub use self::builder::OidcIdentityBuilder;
use self::failure::bridged;
use self::state::Shared;
use crate::bridge;

/// The workload that a token in a file or a variable speaks of: CI jobs, Kubernetes pods, federated clouds.
///
/// The token is checked (signature by the issuer's published keys, `iss`, `aud`, `exp`, `nbf`, `iat`), its `sub` is the
/// workload id, and entries carry `kest.oidc.iss` and `kest.oidc.sub`. They are signed by an Ed25519 key that is made
/// with the provider and gone with it. [`OidcTokenVerifier::bind`] tells how a verifier gets to believe that key.
///
/// A rotated file is read again, in the background, at most once a second. While the new token cannot be used the
/// old one counts until it expires. That is so for a token of another `iss` too, which is never believed. A good token
/// of another `sub` ends all signing at once, because an identity never changes. The token is neither kept nor shown anywhere.
///
/// ```
/// # use kest_providers::identity::OidcIdentity;
/// let identity = OidcIdentity::builder()
///     .token_path("/var/run/secrets/oidc-token")
///     .issuer("https://token.actions.githubusercontent.com")
///     .audience("kest")
///     .build()?;
/// # Ok::<_, kest_core::error::IdentityError>(())
/// ```
///
/// Nothing is read or fetched before the first use, or [`initialize`](Self::initialize).
pub struct OidcIdentity {
    shared: Arc<Shared>,
}

impl OidcIdentity {
    /// Settings for an identity.
    pub fn builder() -> OidcIdentityBuilder {
        OidcIdentityBuilder::new()
    }

    /// The identity that the environment names: the token's file in `KEST_OIDC_TOKEN_PATH`, its issuer in
    /// `KEST_OIDC_ISSUER`, its audience in `KEST_OIDC_AUDIENCE` (else `kest`). Without an issuer the token's own `iss`
    /// is asked for its keys: entries name it, and verifiers believe only the issuers they know.
    ///
    /// # Errors
    /// When `KEST_OIDC_TOKEN_PATH` is not set, or one of the three cannot be used.
    pub fn from_env() -> Result<Self, IdentityError> {
        OidcIdentityBuilder::from_vars(&|name| std::env::var_os(name))?.build()
    }

    /// Reads and checks the token now.
    ///
    /// # Errors
    /// When there is none, or it does not prove an identity.
    pub async fn initialize(&self) -> Result<(), IdentityError> {
        match self.shared.at_hand() {
            Some(known) => known.map(drop),
            None => self.renewed().await,
        }
    }

    /// Reads and checks the token now, although the last one is good. After a rotation, for those who cannot wait
    /// for the next look.
    ///
    /// # Errors
    /// When the token cannot be used, also if the last one still counts.
    pub async fn refresh(&self) -> Result<(), IdentityError> {
        let shared = Arc::clone(&self.shared);
        bridge::run(async move { shared.renew_anew().await }).await.map_err(bridged)??;
        Ok(())
    }

    /// When the token that counts expires, in epoch milliseconds. `None` before it was read.
    #[must_use]
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.shared.expires_at_ms()
    }

    /// The thumbprint of the key that signs, RFC 7638.
    #[must_use]
    pub fn key_thumbprint(&self) -> &str {
        self.shared.thumbprint()
    }

    /// The thumbprint as a URI, RFC 9278: the audience to ask the issuer for, so that the token vouches for the key.
    /// Such a token is accepted whatever audience is configured.
    #[must_use]
    pub fn key_thumbprint_uri(&self) -> String {
        claims::thumbprint_uri(self.shared.thumbprint())
    }

    fn known_or_wait(&self) -> Result<&IdentityAttributes, IdentityError> {
        if let Some(known) = self.shared.at_hand() {
            return known;
        }
        let shared = Arc::clone(&self.shared);
        bridge::block_on(async move { shared.renew().await }).map_err(bridged)??;
        self.shared.now_known()
    }

    async fn renewed(&self) -> Result<(), IdentityError> {
        let shared = Arc::clone(&self.shared);
        bridge::run(async move { shared.renew().await }).await.map_err(bridged)??;
        self.shared.now_known().map(drop)
    }
}

impl fmt::Debug for OidcIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl IdentityProvider for OidcIdentity {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        self.known_or_wait()?;
        self.shared.subject()
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        self.known_or_wait()?;
        self.shared.sign(payload)
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(async move {
            self.initialize().await?;
            self.shared.sign(payload)
        })
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        Ok(self.shared.public_keys())
    }

    fn attributes(&self) -> Option<&IdentityAttributes> {
        self.shared.attributes()
    }

    fn ready(&self) -> Option<BoxFuture<'_, Result<(), IdentityError>>> {
        match self.shared.at_hand() {
            // Good, or refused: `workload_id` answers at once.
            Some(_) => None,
            None => Some(Box::pin(self.renewed())),
        }
    }
}
