//! Who signs: the trait every identity provider implements. Spec §10.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use crate::error::IdentityError;
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
    fn attributes(&self) -> Option<&IdentityAttributes> {
        None
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
}
