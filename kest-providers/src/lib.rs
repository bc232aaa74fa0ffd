//! Identity providers and policy engines for Kest.
//!
//! - [`identity`]: who signs. Local, static, mock and lazy providers are always there.
//! - [`policy`]: who decides. The mock engine is always there; Rego and Cedar in this process with the features `rego` and `cedar`.
//! - `jwks`: whose keys a verifier believes, from a JWK set URL, with the feature `jwks`.
//! - [`cache`]: where passports wait that are too large for a header. In memory always, on Redis with the feature `redis`.
//! - [`audit`]: durable sinks. JSON lines always, SQLite with the feature `sqlite`.
//! - [`conformance`]: the suites that every identity provider, every policy engine, every cache and every audit sink passes, for those of one's own too.

#[cfg(any(feature = "jwks", feature = "opa", feature = "cedar-agent"))]
mod address;
pub mod audit;
#[cfg(any(feature = "aws", feature = "avp"))]
mod aws;
#[cfg(any(
    feature = "jwks",
    feature = "spire",
    feature = "aws",
    feature = "opa",
    feature = "cedar-agent",
    feature = "avp",
    feature = "redis"
))]
mod bridge;
pub mod cache;
pub mod conformance;
#[cfg(any(feature = "opa", feature = "cedar-agent", feature = "avp"))]
mod errand;
#[cfg(any(feature = "oidc", feature = "opa", feature = "cedar-agent"))]
mod file;
#[cfg(feature = "jwks")]
mod http;
pub mod identity;
#[cfg(feature = "jwks")]
pub mod jwks;
#[cfg(any(
    feature = "jwks",
    feature = "aws",
    feature = "opa",
    feature = "cedar-agent",
    feature = "avp",
    feature = "redis"
))]
mod masked;
pub mod policy;
#[cfg(feature = "aws-lc")]
#[doc(hidden)]
pub mod signing;
