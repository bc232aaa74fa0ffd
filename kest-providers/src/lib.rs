//! Identity providers and policy engines for Kest.
//!
//! - [`identity`]: who signs. Local, static, mock and lazy providers are always there.
//! - [`policy`]: who decides. The mock engine is always there; Rego in this process with the feature `rego`.
//! - `jwks`: whose keys a verifier believes, from a JWK set URL, with the feature `jwks`.
//! - [`conformance`]: the suite that every identity provider passes, for providers of one's own too.

#[cfg(any(feature = "jwks", feature = "spire", feature = "aws"))]
mod bridge;
pub mod conformance;
#[cfg(feature = "jwks")]
mod http;
pub mod identity;
#[cfg(feature = "jwks")]
pub mod jwks;
pub mod policy;
#[cfg(feature = "aws-lc")]
#[doc(hidden)]
pub mod signing;
