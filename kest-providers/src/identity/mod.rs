//! Identity providers. Spec §10.

mod ephemeral;
mod ext;
mod lazy;
mod local;
mod mock;
mod static_identity;

pub use self::ext::IdentityProviderExt;
pub use self::lazy::LazySigningProvider;
pub use self::local::LocalEd25519Provider;
pub use self::mock::MockIdentityProvider;
pub use self::static_identity::StaticIdentity;
