//! Identity providers. Spec §10.

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "bedrock")]
mod bedrock;
pub mod detect;
mod ephemeral;
mod ext;
mod lazy;
mod local;
mod mock;
#[cfg(feature = "oidc")]
mod oidc;
#[cfg(feature = "spire")]
pub mod spire;
mod static_identity;

#[cfg(feature = "aws")]
pub use self::aws::{AwsWorkloadIdentity, AwsWorkloadIdentityBuilder};
#[cfg(feature = "bedrock")]
pub use self::bedrock::{BedrockAgentIdentity, BedrockAgentIdentityBuilder};
pub use self::detect::get_default_identity;
pub use self::ext::IdentityProviderExt;
pub use self::lazy::LazySigningProvider;
pub use self::local::LocalEd25519Provider;
pub use self::mock::MockIdentityProvider;
#[cfg(feature = "oidc")]
pub use self::oidc::{
    BearerError, BearerVerifier, BearerVerifierBuilder, OidcIdentity, OidcIdentityBuilder, OidcTokenVerifier,
    OidcTokenVerifierBuilder, ValidatedToken,
};
#[cfg(feature = "spire")]
pub use self::spire::{SpiffeIdentityProvider, SpireProvider};
pub use self::static_identity::StaticIdentity;
