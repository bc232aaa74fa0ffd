//! The bearer token of a request, checked for a service. Spec §12.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::jws::Algorithm;
use serde_json::{Map, Value};

use super::failure::Failure;
use super::issuers::{Issuers, IssuersBuilder, refused};
use super::token::Unchecked;

/// Checks the bearer tokens (RFC 6750) that a service is called with: JWTs of issuers that are named, for an audience that
/// is named, signed by a key that the issuer publishes now, and good now (`exp`, `nbf`, `iat`). RFC 8725, RFC 9068 §4.
///
/// ```no_run
/// # use kest_providers::identity::BearerVerifier;
/// # async fn example(token: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let tokens = BearerVerifier::builder()
///     .issuer("https://login.example.org")
///     .audience("https://orders.example.org")
///     .build()?;
/// println!("{}", tokens.verify(token).await?.subject());
/// # Ok(())
/// # }
/// ```
///
/// Clones share the issuers' keys. A key that is not known is asked for at the issuer, at most every ten seconds.
#[derive(Clone, Debug)]
pub struct BearerVerifier {
    shared: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    issuers: Issuers,
    audiences: Vec<Box<str>>,
    algorithms: Vec<Algorithm>,
    access_tokens_only: bool,
    ignore_cnf: bool,
}

impl BearerVerifier {
    /// Settings for a verifier.
    pub fn builder() -> BearerVerifierBuilder {
        BearerVerifierBuilder {
            issuers: IssuersBuilder::new(),
            audiences: Vec::new(),
            algorithms: vec![
                Algorithm::EdDsa,
                Algorithm::Es256,
                Algorithm::Es384,
                Algorithm::Ps256,
                Algorithm::Rs256,
            ],
            access_tokens_only: false,
            ignore_cnf: false,
        }
    }

    /// What the token says, if it is good.
    ///
    /// # Errors
    /// When it is not, or when that cannot be found out.
    pub async fn verify(&self, token: &str) -> Result<ValidatedToken, BearerError> {
        self.shared.check(&self.shared.read(token)?).await
    }
}

impl Rules {
    fn read<'t>(&self, token: &'t str) -> Result<Unchecked<'t>, BearerError> {
        let unchecked = Unchecked::parse(token).map_err(bad)?;
        if !self.algorithms.contains(&unchecked.alg) {
            return Err(bad(Failure::untrusted(format!(
                "tokens signed with `{}` are not taken here; have the issuer use another algorithm",
                unchecked.alg
            ))));
        }
        // RFC 9068 §4: so that no ID token passes for an access token.
        if self.access_tokens_only && !unchecked.is_access_token {
            return Err(bad(Failure::untrusted("the token is not of type `at+jwt`; give an access token")));
        }
        // RFC 7800 §3: whoever shows such a token must prove to hold the key, which nobody does here.
        if !self.ignore_cnf && unchecked.claims.contains_key("cnf") {
            return Err(bad(Failure::untrusted(
                "the token is bound to a key (`cnf`), which a bearer does not prove to hold; request one that is not",
            )));
        }
        Ok(unchecked)
    }

    async fn check(&self, token: &Unchecked<'_>) -> Result<ValidatedToken, BearerError> {
        let claims = self
            .issuers
            .signed_claims(token)
            .await
            .map_err(|failure| BearerError { unavailable: failure.is_of_keys(), error: failure.into() })?;
        claims.is_for_one_of(&self.audiences).map_err(bad)?;
        Ok(ValidatedToken(Arc::new(Validated {
            issuer: claims.issuer,
            subject: claims.subject,
            expires: claims.expires,
            claims: token.claims.clone(),
        })))
    }
}

fn bad(failure: Failure) -> BearerError {
    BearerError { unavailable: false, error: failure.into() }
}

/// What a good token says. Clones share it.
#[derive(Clone, PartialEq)]
pub struct ValidatedToken(Arc<Validated>);

#[derive(PartialEq)]
struct Validated {
    issuer: Arc<str>,
    subject: Arc<str>,
    expires: u64,
    claims: Map<String, Value>,
}

impl ValidatedToken {
    /// `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// `sub`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// `exp`, in seconds since the epoch.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.0.expires
    }

    /// A claim, as the issuer says it.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.0.claims.get(name)
    }

    /// All claims.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.0.claims
    }
}

impl fmt::Debug for ValidatedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidatedToken")
            .field("issuer", &self.issuer())
            .field("subject", &self.subject())
            .finish_non_exhaustive()
    }
}

/// Why a bearer token does not count.
pub struct BearerError {
    unavailable: bool,
    error: IdentityError,
}

impl BearerError {
    /// Whether nothing is known about the token, because its issuer's keys cannot be had. Else it is bad.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.unavailable
    }

    /// Whether the token was good once.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        !self.unavailable && self.error.kind() == IdentityErrorKind::SvidExpired
    }
}

impl fmt::Debug for BearerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        kest_core::text::debug(self, f)
    }
}

impl fmt::Display for BearerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for BearerError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.error)
    }
}

/// Settings of a [`BearerVerifier`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct BearerVerifierBuilder {
    issuers: IssuersBuilder,
    audiences: Vec<Box<str>>,
    algorithms: Vec<Algorithm>,
    access_tokens_only: bool,
    ignore_cnf: bool,
}

impl BearerVerifierBuilder {
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

    /// For whom a token must be (`aud`). Must be said; said several times, one of them is enough.
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

    /// How soon a key that is not known may lead to another request to the issuer; 10 seconds by default.
    pub fn refetch_after(mut self, time: Duration) -> Self {
        self.issuers.refetch_after(time);
        self
    }

    /// Certificate authorities in PEM, believed for the issuers' servers beside those of the system.
    pub fn root_certificates_pem(mut self, pem: &[u8]) -> Self {
        self.issuers.add_roots(pem);
        self
    }

    /// The algorithms that tokens may be signed with; by default `EdDSA`, `ES256`, `ES384`, `PS256` and `RS256`. Whatever is
    /// said, a key only verifies its own kind of signature, and shared secrets none.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Takes tokens of the type `at+jwt` only (RFC 9068): for issuers that write it, so that no other kind of token
    /// passes for an access token.
    pub fn access_tokens_only(mut self) -> Self {
        self.access_tokens_only = true;
        self
    }

    /// Takes tokens that are bound to a key (`cnf`: DPoP, mutual TLS), although nobody proves to hold it here. For
    /// services behind a gateway that has it proven.
    pub fn ignore_cnf(mut self) -> Self {
        self.ignore_cnf = true;
        self
    }

    /// How many issuers are listed.
    #[must_use]
    pub fn issuers(&self) -> usize {
        self.issuers.len()
    }

    /// The verifier. Nothing is fetched yet.
    ///
    /// # Errors
    /// When no issuer or no audience is listed, an issuer is listed twice, or a setting cannot be used.
    pub fn build(self) -> Result<BearerVerifier, IdentityError> {
        if self.audiences.is_empty() || self.audiences.iter().any(|name| name.is_empty()) {
            return Err(refused(
                "no audience is listed, or an empty one; say with `.audience(…)` for whom a token must be: one for \
                 another service could be used here",
            ));
        }
        if self.algorithms.is_empty() {
            return Err(refused("no algorithm is listed, so that no token could be good; name one"));
        }
        if self.algorithms.contains(&Algorithm::Hs256) {
            return Err(refused("`HS256` is of shared secrets, which no issuer publishes; leave it out"));
        }
        let rules = Rules {
            issuers: self.issuers.build()?,
            audiences: self.audiences,
            algorithms: self.algorithms,
            access_tokens_only: self.access_tokens_only,
            ignore_cnf: self.ignore_cnf,
        };
        Ok(BearerVerifier { shared: Arc::new(rules) })
    }
}
