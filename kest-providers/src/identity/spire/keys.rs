//! The agent's trust bundles, for verifiers.

use std::sync::Arc;

use kest_core::error::IdentityError;
use kest_core::identity::IdentityProvider;
use kest_core::keys::{Jwks, KeyError};
use kest_core::verify::{Authorities, KeySource, SpiffeId, TrustBundles};

use super::SpireProvider;

/// A key source of whatever the agent's trust bundles are at each verification: workloads of one's own and of the
/// federated trust domains are verified by their certificates, and no file has to be kept up to date.
///
/// The bundles are believed for as long as one's own SVID is valid; after that every verification fails.
#[derive(Clone, Debug)]
pub struct SpireKeys(SpireProvider);

impl SpireProvider {
    /// The trust bundles as they are now, of one's own and of the federated trust domains: for a file that others
    /// verify with, see [`TrustBundles::to_json`].
    ///
    /// # Errors
    /// As [`Self::get_svid`].
    pub async fn trust_bundles(&self) -> Result<TrustBundles, IdentityError> {
        self.initialize().await?;
        let mut all = TrustBundles::new();
        for bundle in self.bundles()?.iter() {
            all.insert((*bundle.authorities).clone()).map_err(|error| {
                let message = format!("the agent's trust bundles contradict each other: {error}");
                IdentityError::new(kest_core::error::IdentityErrorKind::TrustDomain, message)
                    .with_source(error)
            })?;
        }
        Ok(all)
    }

    /// A key source over the trust bundles, always the current ones.
    #[must_use]
    pub fn key_source(&self) -> SpireKeys {
        SpireKeys(self.clone())
    }
}

impl KeySource for SpireKeys {
    /// Only before the agent's first answer.
    fn may_block(&self) -> bool {
        self.0.ready().is_some()
    }

    /// None: a workload's keys change with each rotation, and its certificates say which they are.
    fn keys(&self, _principal: &str) -> Result<Option<Jwks>, KeyError> {
        Ok(None)
    }

    fn authorities(&self, principal: &str) -> Result<Option<Arc<Authorities>>, KeyError> {
        // What is no SPIFFE ID is of no trust domain.
        let Ok(id) = SpiffeId::parse(principal) else { return Ok(None) };
        let source = |error| KeyError::Source(Box::new(error));
        self.0.svid_blocking().map_err(source)?;
        let bundles = self.0.bundles().map_err(source)?;
        Ok(bundles.get(id.trust_domain()).map(|bundle| Arc::clone(&bundle.authorities)))
    }
}
