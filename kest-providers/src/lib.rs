//! Identity providers and policy engines for Kest.
//!
//! - [`identity`]: who signs. Local, static, mock and lazy providers are always there.
//! - [`policy`]: who decides. The mock engine is always there; Rego in this process with the feature `rego`.
//! - [`conformance`]: the suite that every identity provider passes, for providers of one's own too.

#[cfg(any(feature = "jwks", feature = "spire", feature = "aws"))]
mod bridge;
pub mod conformance;
pub mod identity;
pub mod policy;
