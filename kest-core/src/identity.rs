//! Who signs: the trait every identity provider implements. Spec §10.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use crate::error::{IdentityError, IdentityErrorKind};
use crate::jws::Jws;
use crate::keys::Jwks;

/// A boxed future, as object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A workload identity with a key that signs.
///
/// Private keys live in memory only, are zeroised, and never appear in `Debug`, logs or files.
/// Every provider passes the public conformance suite (`kest_providers::conformance::identity`).
pub trait IdentityProvider: fmt::Debug + Send + Sync {
    /// The workload id: a SPIFFE ID, an ARN, an OIDC `sub`.
    ///
    /// # Errors
    /// When the platform has given no identity, or it has expired.
    fn workload_id(&self) -> Result<Arc<str>, IdentityError>;

    /// Signs `payload` (canonical JSON) as a compact JWS, RFC 7515 §7.1. May block.
    ///
    /// # Errors
    /// When the key cannot sign. There is no fallback: an unsigned entry does not exist.
    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError>;

    /// [`Self::sign`] without blocking the calling thread.
    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>>;

    /// The public keys that verify what this provider signs, RFC 7517 §5.
    ///
    /// # Errors
    /// When the keys cannot be had.
    fn public_keys(&self) -> Result<Jwks, IdentityError>;

    /// What the provider says about every call made under it: fixed `user`, `agent`, `task`
    /// (such as `StaticIdentity`'s) and labels (such as OIDC's issuer). None by default.
    ///
    /// Hooks ask it after [`Self::workload_id`], and take it for fixed from then on.
    fn attributes(&self) -> Option<&IdentityAttributes> {
        None
    }

    /// What [`Self::workload_id`] and [`Self::public_keys`] would block on, if anything: the first contact with an
    /// agent, a token that must be checked again. Hooks of async functions await it first, so that they block no
    /// thread. `None`, the default, says that both answer at once.
    fn ready(&self) -> Option<BoxFuture<'_, Result<(), IdentityError>>> {
        None
    }

    /// Checks a document that names another workload, against the trust bundles of this one. Providers outside SPIFFE
    /// have none and refuse, which is the default.
    ///
    /// It is the document that is checked, not who sent it: see [`Svid::X509`] and [`Svid::Jwt`].
    ///
    /// # Errors
    /// When the document is not its trust domain's word on a workload, or the provider cannot tell.
    fn verify_svid<'a>(&'a self, svid: Svid<'a>) -> BoxFuture<'a, Result<VerifiedSvid, IdentityError>> {
        let _ = svid;
        Box::pin(std::future::ready(Err(IdentityError::new(
            IdentityErrorKind::Refused,
            "this identity provider has no trust bundles to check an SVID with; use `SpireProvider`",
        ))))
    }
}

/// A SPIFFE Verifiable Identity Document to check.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Svid<'a> {
    /// An X.509-SVID: its chain in DER, leaf first. SPIFFE X509-SVID §5.
    ///
    /// It names a workload, and is public: whoever has seen a passport or a handshake has such a chain. That somebody is
    /// this workload needs the private key: a TLS handshake with this certificate, or a signature that its key verifies.
    X509(&'a [Vec<u8>]),
    /// A JWT-SVID, and the audience it must be meant for. SPIFFE JWT-SVID §4.
    Jwt {
        /// The token. Whoever has it can use it, so it appears in no `Debug`.
        token: &'a str,
        /// The audience.
        audience: &'a str,
    },
}

impl fmt::Debug for Svid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X509(chain) => f.debug_struct("X509").field("certificates", &chain.len()).finish(),
            Self::Jwt { audience, .. } => {
                f.debug_struct("Jwt").field("audience", audience).finish_non_exhaustive()
            }
        }
    }
}

/// What a checked document says. Of an X.509-SVID it says whom the certificate names, not who showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedSvid {
    /// The SPIFFE ID.
    pub workload_id: Arc<str>,
    /// When the document expires, in epoch milliseconds.
    pub expires_at_ms: u64,
}

impl VerifiedSvid {
    /// What a provider found in a document that it has checked.
    #[must_use]
    pub fn new(workload_id: impl Into<Arc<str>>, expires_at_ms: u64) -> Self {
        Self { workload_id: workload_id.into(), expires_at_ms }
    }
}

impl<T: IdentityProvider + ?Sized> IdentityProvider for Arc<T> {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        (**self).workload_id()
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        (**self).sign(payload)
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        (**self).sign_async(payload)
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        (**self).public_keys()
    }

    fn attributes(&self) -> Option<&IdentityAttributes> {
        (**self).attributes()
    }

    fn ready(&self) -> Option<BoxFuture<'_, Result<(), IdentityError>>> {
        (**self).ready()
    }

    fn verify_svid<'a>(&'a self, svid: Svid<'a>) -> BoxFuture<'a, Result<VerifiedSvid, IdentityError>> {
        (**self).verify_svid(svid)
    }
}

/// Fixed identity context of a provider.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IdentityAttributes {
    /// On whose behalf: a string or an object.
    pub user: Option<Value>,
    /// The agent that acts.
    pub agent: Option<Value>,
    /// The task it acts for.
    pub task: Option<Value>,
    /// Where the identity comes from, as `kest.oidc.iss` and `kest.oidc.sub`. Spec §2. They stand in every entry.
    pub oidc: Option<OidcSubject>,
}

/// Who an OpenID Connect token speaks of. A subject is unique only within its issuer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OidcSubject {
    /// The token's `iss`.
    pub issuer: Arc<str>,
    /// The token's `sub`, which is the workload id.
    pub subject: Arc<str>,
}

impl OidcSubject {
    /// The name its keys are anchored under: `<issuer>#<subject>`. An issuer is a URL without fragment (OpenID Connect
    /// Discovery §3), so nobody else has that name.
    #[must_use]
    pub fn anchored_as(&self) -> String {
        qualified(&self.issuer, &self.subject)
    }
}

pub(crate) fn qualified(issuer: &str, subject: &str) -> String {
    format!("{issuer}#{subject}")
}
