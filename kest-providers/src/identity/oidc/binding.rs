//! From a token that vouches for a key to a trust anchor.

use std::sync::Arc;
use std::time::Duration;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::identity::OidcSubject;
use kest_core::keys::{Jwk, Jwks};
use kest_core::text::Quoted;
use kest_core::verify::Anchors;

use super::check::signed_claims;
use super::claims::{Audience, DEFAULT_AUDIENCE, DEFAULT_LEEWAY, LONGEST_LEEWAY, thumbprint_uri};
use super::failure::{Failure, bridged};
use super::state::Keys;
use super::token::Unchecked;
use crate::bridge;
use crate::http::{key_url, root_certificates};
use crate::jwks::{Issuer, JwksError, Limits, Place, Remote};

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
    issuers: Vec<Keys>,
    audience: Audience,
    leeway: Duration,
}

impl OidcTokenVerifier {
    /// Settings for a verifier.
    pub fn builder() -> OidcTokenVerifierBuilder {
        OidcTokenVerifierBuilder {
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway: DEFAULT_LEEWAY,
            timeout: Limits::default().timeout,
            roots: Vec::new(),
        }
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
        let name = unchecked.issuer()?;
        let Some(keys) = self.issuers.iter().find(|keys| keys.issuer == name) else {
            return Err(Failure::untrusted(format!(
                "the token is from issuer {}, which is not listed; add it with `.issuer(…)` if it may speak here",
                Quoted(name)
            )));
        };
        let claims = signed_claims(&unchecked, &keys.issuer, &keys.remote, self.leeway).await?;
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
    issuers: Vec<(String, Option<String>)>,
    audiences: Vec<Box<str>>,
    leeway: Duration,
    timeout: Duration,
    roots: Vec<u8>,
}

impl OidcTokenVerifierBuilder {
    /// An issuer whose tokens count, exactly as their `iss` says it. Can be said several times.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuers.push((issuer.into(), None));
        self
    }

    /// An issuer whose keys are at `jwks_uri`, if its discovery document cannot be asked.
    pub fn issuer_with_jwks(mut self, issuer: impl Into<String>, jwks_uri: impl Into<String>) -> Self {
        self.issuers.push((issuer.into(), Some(jwks_uri.into())));
        self
    }

    /// For whom a token with `cnf` must be; `kest` by default. Said several times, one of them is enough.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into().into_boxed_str());
        self
    }

    /// How far the issuers' clocks and this one may differ; 30 seconds by default, 5 minutes at most.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// How long asking an issuer for its keys may take; 5 seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Certificate authorities in PEM, believed for the issuers' servers beside those of the system.
    pub fn root_certificates_pem(mut self, pem: &[u8]) -> Self {
        self.roots.extend_from_slice(pem);
        self.roots.push(b'\n');
        self
    }

    /// The verifier. Nothing is fetched yet.
    ///
    /// # Errors
    /// When no issuer is listed, one is listed twice, or a setting cannot be used.
    pub fn build(mut self) -> Result<OidcTokenVerifier, IdentityError> {
        let refuse = |why: String| Err(IdentityError::new(IdentityErrorKind::Refused, why));
        if self.issuers.is_empty() {
            return refuse("no issuer is listed; say with `.issuer(…)` whose tokens count".to_owned());
        }
        if self.leeway > LONGEST_LEEWAY {
            let most = LONGEST_LEEWAY.as_secs();
            return refuse(format!(
                "a leeway of more than {most} s would keep expired tokens alive; lower it"
            ));
        }
        if self.audiences.iter().any(|name| name.is_empty()) {
            return refuse("an audience is empty; name it".to_owned());
        }
        if self.audiences.is_empty() {
            self.audiences.push(DEFAULT_AUDIENCE.into());
        }
        let roots = match self.roots.is_empty() {
            true => Vec::new(),
            false => root_certificates(&self.roots).map_err(Failure::from)?,
        };
        let limits = Limits { timeout: self.timeout, ..Limits::default() };
        let mut issuers: Vec<Keys> = Vec::new();
        for (name, uri) in self.issuers {
            if issuers.iter().any(|known| known.issuer == name) {
                return refuse(format!("issuer {} is listed twice; keep one", Quoted(&name)));
            }
            let place = place(&name, uri.as_deref()).map_err(Failure::from)?;
            issuers.push(Keys { issuer: name, remote: Remote::new(place, limits.clone(), roots.clone()) });
        }
        let rules = Rules { issuers, audience: Audience::Named(self.audiences), leeway: self.leeway };
        Ok(OidcTokenVerifier { shared: Arc::new(rules) })
    }
}

/// Where the keys of an issuer are.
pub(super) fn place(issuer: &str, jwks_uri: Option<&str>) -> Result<Place, JwksError> {
    let issuer = Issuer::parse(issuer)?;
    match jwks_uri {
        Some(uri) => key_url(uri).map(Place::Url),
        None => Ok(Place::Issuer(issuer)),
    }
}
