//! From a token that vouches for a key to a trust anchor.

use std::sync::Arc;
use std::time::Duration;

use kest_core::error::IdentityError;
use kest_core::identity::OidcSubject;
use kest_core::keys::{Jwk, Jwks};
use kest_core::verify::Anchors;

use super::claims::{Audience, DEFAULT_AUDIENCE, thumbprint_uri};
use super::failure::{Failure, bridged};
use super::issuers::{Issuers, IssuersBuilder, refused};
use super::token::Unchecked;
use crate::bridge;

/// Believes a workload's key because a token of an issuer vouches for it.
///
/// The key that an [`OidcIdentity`](super::OidcIdentity) signs with is its own: its issuer knows nothing of it, unless the
/// workload had the token issued for the key. Such a token carries the key's RFC 7638 thumbprint, either
/// - in `cnf` (`jkt` or `jwk`, RFC 7800 §3.2, RFC 9449 §6.1), and is for the audience that is configured here, or
/// - in `aud`, as an RFC 9278 URI or bare: for issuers that let the workload choose no more than the audience.
///
/// The workload shows token and public key once, and the verifier keeps the anchor:
///
/// ```no_run
/// # use kest_core::{keys::Jwk, verify::Verifier, error::Error};
/// # use kest_providers::identity::OidcTokenVerifier;
/// # async fn example(token: &str, key: &Jwk) -> Result<(), Error> {
/// let tokens = OidcTokenVerifier::builder()
///     .issuer("https://token.actions.githubusercontent.com")
///     .build()?;
/// let anchors = tokens.bind(token, key).await?;
/// let verifier = Verifier::builder().keys(anchors).build();
/// # Ok(())
/// # }
/// ```
///
/// Clones share the issuers' keys.
#[derive(Clone, Debug)]
pub struct OidcTokenVerifier {
    shared: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    issuers: Issuers,
    audience: Audience,
}

impl OidcTokenVerifier {
    /// Settings for a verifier.
    pub fn builder() -> OidcTokenVerifierBuilder {
        OidcTokenVerifierBuilder { issuers: IssuersBuilder::new(), audiences: Vec::new() }
    }

    /// The key as the trust anchor of the token's subject, under the name `<iss>#<sub>`.
    ///
    /// # Errors
    /// When the token is from an issuer that is not listed, is not good now, or does not vouch for this key; when the
    /// issuer's keys cannot be had.
    pub async fn bind(&self, token: &str, key: &Jwk) -> Result<Anchors, IdentityError> {
        let (rules, token, key) =
            (Arc::clone(&self.shared), zeroize::Zeroizing::new(token.to_owned()), key.clone());
        let bound = bridge::run(async move { rules.bind(&token, key).await }).await;
        Ok(bound.map_err(bridged)??)
    }

    /// [`Self::bind`] for a thread that may block.
    ///
    /// # Errors
    /// As its.
    pub fn bind_blocking(&self, token: &str, key: &Jwk) -> Result<Anchors, IdentityError> {
        let (rules, token, key) =
            (Arc::clone(&self.shared), zeroize::Zeroizing::new(token.to_owned()), key.clone());
        let bound = bridge::block_on(async move { rules.bind(&token, key).await });
        Ok(bound.map_err(bridged)??)
    }
}

impl Rules {
    async fn bind(&self, token: &str, key: Jwk) -> Result<Anchors, Failure> {
        let unchecked = Unchecked::parse(token)?;
        let claims = self.issuers.signed_claims(&unchecked).await?;
        let thumbprint = key.thumbprint();
        match claims.confirmed_key()? {
            Some(confirmed) if confirmed == thumbprint => claims.is_for(&self.audience, &thumbprint)?,
            Some(_) => return Err(Failure::untrusted("the token's `cnf` vouches for another key")),
            None if claims.is_for_key(&thumbprint) => {}
            None => {
                return Err(Failure::untrusted(format!(
                    "the token does not vouch for the key: have it issued for the audience `{}`, or with the key's \
                     thumbprint in `cnf.jkt`",
                    thumbprint_uri(&thumbprint)
                )));
            }
        }
        let mut anchors = Anchors::new();
        let subject = OidcSubject { issuer: claims.issuer, subject: claims.subject };
        anchors
            .insert(&subject.anchored_as(), Jwks(vec![key]))
            .map_err(|error| Failure::untrusted(format!("the key cannot be anchored: {error}")))?;
        Ok(anchors)
    }
}

/// Settings of an [`OidcTokenVerifier`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct OidcTokenVerifierBuilder {
    issuers: IssuersBuilder,
    audiences: Vec<Box<str>>,
}

impl OidcTokenVerifierBuilder {
    /// An issuer whose tokens count, exactly as their `iss` says it. Can be said several times.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuers.add(issuer.into(), None);
        self
    }

    /// An issuer whose keys are at `jwks_uri`, if its discovery document cannot be asked.
    pub fn issuer_with_jwks(mut self, issuer: impl Into<String>, jwks_uri: impl Into<String>) -> Self {
        self.issuers.add(issuer.into(), Some(jwks_uri.into()));
        self
    }

    /// For whom a token with `cnf` must be; `kest` by default. Said several times, one of them is enough.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into().into_boxed_str());
        self
    }

    /// How far the issuers' clocks and this one may differ; 30 seconds by default, 5 minutes at most.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.issuers.leeway(leeway);
        self
    }

    /// How long asking an issuer for its keys may take; 5 seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.issuers.timeout(timeout);
        self
    }

    /// Certificate authorities in PEM, believed for the issuers' servers beside those of the system.
    pub fn root_certificates_pem(mut self, pem: &[u8]) -> Self {
        self.issuers.add_roots(pem);
        self
    }

    /// The verifier. Nothing is fetched yet.
    ///
    /// # Errors
    /// When no issuer is listed, one is listed twice, or a setting cannot be used.
    pub fn build(mut self) -> Result<OidcTokenVerifier, IdentityError> {
        if self.audiences.iter().any(|name| name.is_empty()) {
            return Err(refused("an audience is empty; name it"));
        }
        if self.audiences.is_empty() {
            self.audiences.push(DEFAULT_AUDIENCE.into());
        }
        let rules = Rules { issuers: self.issuers.build()?, audience: Audience::Named(self.audiences) };
        Ok(OidcTokenVerifier { shared: Arc::new(rules) })
    }
}
