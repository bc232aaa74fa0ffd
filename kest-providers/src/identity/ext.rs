//! What every provider can do besides.

use std::sync::Arc;

use kest_core::canonical;
use kest_core::error::{CanonicalizationError, Error, IdentityError, IdentityErrorKind};
use kest_core::identity::{BoxFuture, IdentityProvider};
use kest_core::jws::Jws;
use kest_core::keys::Jwks;
use serde::Serialize;

/// Conveniences of every [`IdentityProvider`].
pub trait IdentityProviderExt: IdentityProvider {
    /// The first public key as a PEM SubjectPublicKeyInfo, RFC 7468 §13.
    ///
    /// # Errors
    /// When the provider has no public key, or it cannot be had.
    fn public_key(&self) -> Result<String, IdentityError> {
        let keys = self.public_keys()?;
        let Some(key) = keys.0.first() else {
            let message = "this identity has no public key; a mock identity never has one";
            return Err(IdentityError::new(IdentityErrorKind::Missing, message));
        };
        key.to_pem().map_err(|error| {
            let message = format!("the public key has no PEM form: {error}");
            IdentityError::new(IdentityErrorKind::Signing, message).with_source(error)
        })
    }

    /// [`workload_id`](IdentityProvider::workload_id) without blocking the calling thread.
    ///
    /// # Errors
    /// As its.
    fn workload_id_async(&self) -> BoxFuture<'_, Result<Arc<str>, IdentityError>> {
        Box::pin(async move {
            if let Some(ready) = self.ready() {
                ready.await?;
            }
            self.workload_id()
        })
    }

    /// [`public_keys`](IdentityProvider::public_keys) without blocking the calling thread.
    ///
    /// # Errors
    /// As its.
    fn public_keys_async(&self) -> BoxFuture<'_, Result<Jwks, IdentityError>> {
        Box::pin(async move {
            if let Some(ready) = self.ready() {
                ready.await?;
            }
            self.public_keys()
        })
    }

    /// Signs the canonical form (RFC 8785) of a value.
    ///
    /// # Errors
    /// When JCS cannot carry the value, or the key cannot sign.
    fn sign_payload<T: Serialize + ?Sized>(&self, payload: &T) -> Result<Jws, Error> {
        let canonical =
            canonical::to_vec(payload).map_err(|error| CanonicalizationError::new("payload", error))?;
        Ok(self.sign(&canonical)?)
    }
}

impl<P: IdentityProvider + ?Sized> IdentityProviderExt for P {}
