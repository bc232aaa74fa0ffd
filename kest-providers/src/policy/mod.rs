//! Policy engines. Spec §11.

mod mock;
#[cfg(feature = "rego")]
mod rego;

pub use self::mock::{MockPolicyEngine, RecordedCall};
#[cfg(feature = "rego")]
pub use self::rego::{RegoEngine, RegoEngineBuilder};
