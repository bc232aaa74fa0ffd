//! From a candidate to its provider.

use std::sync::Arc;

use kest_core::error::IdentityError;
use kest_core::identity::IdentityProvider;

use super::Candidate;
#[cfg(feature = "aws")]
use crate::identity::AwsWorkloadIdentity;
#[cfg(feature = "bedrock")]
use crate::identity::BedrockAgentIdentity;
use crate::identity::LocalEd25519Provider;
#[cfg(feature = "oidc")]
use crate::identity::OidcIdentity;
#[cfg(feature = "spire")]
use crate::identity::SpireProvider;

/// The provider that was detected, not yet connected.
#[derive(Debug)]
#[non_exhaustive]
pub enum Detected {
    /// From a SPIRE agent.
    #[cfg(feature = "spire")]
    Spire(SpireProvider),
    /// Of a Bedrock agent.
    #[cfg(feature = "bedrock")]
    Bedrock(BedrockAgentIdentity),
    /// From AWS STS and KMS.
    #[cfg(feature = "aws")]
    Aws(AwsWorkloadIdentity),
    /// From an OpenID Connect token.
    #[cfg(feature = "oidc")]
    Oidc(OidcIdentity),
    /// None; a key of this process.
    Local(LocalEd25519Provider),
}

impl Detected {
    /// Which of the candidates it is.
    #[must_use]
    pub fn candidate(&self) -> Candidate {
        match self {
            #[cfg(feature = "spire")]
            Self::Spire(_) => Candidate::Spire,
            #[cfg(feature = "bedrock")]
            Self::Bedrock(_) => Candidate::Bedrock,
            #[cfg(feature = "aws")]
            Self::Aws(_) => Candidate::Aws,
            #[cfg(feature = "oidc")]
            Self::Oidc(_) => Candidate::Oidc,
            Self::Local(_) => Candidate::Local,
        }
    }

    /// The provider, to sign with.
    #[must_use]
    pub fn into_provider(self) -> Arc<dyn IdentityProvider> {
        match self {
            #[cfg(feature = "spire")]
            Self::Spire(provider) => Arc::new(provider),
            #[cfg(feature = "bedrock")]
            Self::Bedrock(provider) => Arc::new(provider),
            #[cfg(feature = "aws")]
            Self::Aws(provider) => Arc::new(provider),
            #[cfg(feature = "oidc")]
            Self::Oidc(provider) => Arc::new(provider),
            Self::Local(provider) => Arc::new(provider),
        }
    }
}

/// Makes the provider of a candidate, from the environment.
///
/// # Errors
/// When its settings are wrong, or the program was built without it.
pub(super) fn make(candidate: Candidate) -> Result<Detected, IdentityError> {
    match candidate {
        #[cfg(feature = "spire")]
        Candidate::Spire => SpireProvider::from_env().map(Detected::Spire),
        #[cfg(feature = "bedrock")]
        Candidate::Bedrock => BedrockAgentIdentity::from_env().map(Detected::Bedrock),
        #[cfg(feature = "aws")]
        Candidate::Aws => AwsWorkloadIdentity::from_env().map(Detected::Aws),
        #[cfg(feature = "oidc")]
        Candidate::Oidc => OidcIdentity::from_env().map(Detected::Oidc),
        Candidate::Local => LocalEd25519Provider::new().map(Detected::Local),
        #[cfg(not(feature = "spire"))]
        Candidate::Spire => Err(super::plan::not_compiled(candidate, "it is asked for")),
        #[cfg(not(feature = "bedrock"))]
        Candidate::Bedrock => Err(super::plan::not_compiled(candidate, "it is asked for")),
        #[cfg(not(feature = "aws"))]
        Candidate::Aws => Err(super::plan::not_compiled(candidate, "it is asked for")),
        #[cfg(not(feature = "oidc"))]
        Candidate::Oidc => Err(super::plan::not_compiled(candidate, "it is asked for")),
    }
}
