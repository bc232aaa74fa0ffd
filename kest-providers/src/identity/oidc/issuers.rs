//! The issuers whose tokens count.

use std::time::Duration;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text::Quoted;

use super::check::signed_claims;
use super::claims::{Claims, DEFAULT_LEEWAY, LONGEST_LEEWAY};
use super::failure::Failure;
use super::state::Keys;
use super::token::Unchecked;
use crate::http::{key_url, root_certificates};
use crate::jwks::{Issuer, JwksError, Limits, Place, Remote};

/// Settings of [`Issuers`].
#[derive(Clone, Debug)]
pub(super) struct IssuersBuilder {
    named: Vec<(String, Option<String>)>,
    leeway: Duration,
    limits: Limits,
    roots: Vec<u8>,
}

impl IssuersBuilder {
    pub(super) fn new() -> Self {
        Self { named: Vec::new(), leeway: DEFAULT_LEEWAY, limits: Limits::default(), roots: Vec::new() }
    }

    /// One more; without a `jwks_uri` its discovery document says where its keys are.
    pub(super) fn add(&mut self, issuer: String, jwks_uri: Option<String>) {
        self.named.push((issuer, jwks_uri));
    }

    pub(super) fn len(&self) -> usize {
        self.named.len()
    }

    pub(super) fn leeway(&mut self, leeway: Duration) {
        self.leeway = leeway;
    }

    pub(super) fn timeout(&mut self, timeout: Duration) {
        self.limits.timeout = timeout;
    }

    pub(super) fn refetch_after(&mut self, time: Duration) {
        self.limits.refetch = time;
    }

    pub(super) fn add_roots(&mut self, pem: &[u8]) {
        self.roots.extend_from_slice(pem);
        self.roots.push(b'\n');
    }

    /// # Errors
    /// When none is named, one twice, or a setting cannot be used.
    pub(super) fn build(self) -> Result<Issuers, IdentityError> {
        if self.named.is_empty() {
            return Err(refused("no issuer is listed; say with `.issuer(…)` whose tokens count"));
        }
        let leeway = checked_leeway(self.leeway)?;
        let roots = match self.roots.is_empty() {
            true => Vec::new(),
            false => root_certificates(&self.roots).map_err(Failure::from)?,
        };
        let mut listed: Vec<Keys> = Vec::with_capacity(self.named.len());
        for (name, uri) in self.named {
            if listed.iter().any(|known| known.issuer == name) {
                return Err(refused(format!("issuer {} is listed twice; keep one", Quoted(&name))));
            }
            let place = place(&name, uri.as_deref()).map_err(Failure::from)?;
            listed
                .push(Keys { issuer: name, remote: Remote::new(place, self.limits.clone(), roots.clone()) });
        }
        Ok(Issuers { listed, leeway })
    }
}

/// The issuers whose tokens count, with their keys.
#[derive(Debug)]
pub(super) struct Issuers {
    listed: Vec<Keys>,
    leeway: Duration,
}

impl Issuers {
    /// What the token says, if one of these has signed it and it is good now. Its audience is not looked at.
    pub(super) async fn signed_claims(&self, token: &Unchecked<'_>) -> Result<Claims, Failure> {
        let name = token.issuer()?;
        let Some(keys) = self.listed.iter().find(|keys| keys.issuer == name) else {
            return Err(Failure::untrusted(format!(
                "the token is from issuer {}, which does not count here; if it should, list it with `.issuer(…)`",
                Quoted(name)
            )));
        };
        signed_claims(token, &keys.issuer, &keys.remote, self.leeway).await
    }
}

/// The leeway, if it keeps no token alive for long.
pub(super) fn checked_leeway(leeway: Duration) -> Result<Duration, IdentityError> {
    if leeway > LONGEST_LEEWAY {
        let most = LONGEST_LEEWAY.as_secs();
        return Err(refused(format!(
            "a leeway of more than {most} s would keep expired tokens alive; lower it"
        )));
    }
    Ok(leeway)
}

/// Where the keys of an issuer are.
pub(super) fn place(issuer: &str, jwks_uri: Option<&str>) -> Result<Place, JwksError> {
    let issuer = Issuer::parse(issuer)?;
    match jwks_uri {
        Some(uri) => key_url(uri).map(Place::Url),
        None => Ok(Place::Issuer(issuer)),
    }
}

pub(super) fn refused(why: impl Into<String>) -> IdentityError {
    IdentityError::new(IdentityErrorKind::Refused, why)
}
