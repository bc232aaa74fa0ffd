//! **Provable execution.** One attribute on a function, and every call of it is tied to a workload
//! identity, allowed by policy, signed, and chained into a Merkle DAG that anyone can verify later.
//!
//! ```text
//!  receive_order ──▶ screen_order ──▶ check_stock ──┐
//!   trust 40          trust 40   └──▶ price_order ──┴─▶ confirm ──▶ …   each box: who, for whom, on what,
//!   +unverified       +unverified     (fork)     (join)               allowed by which policy; signed, hashed
//! ```
//!
//! # Quick start
//!
//! ```
//! use kest::{Kest, kest_verified};
//! use kest::identity::LocalEd25519Provider;
//! use kest::policy::MockPolicyEngine;
//!
//! #[kest_verified(
//!     policy = "kest/allow_trusted",
//!     source_type = "user_input",
//!     user = "alice",
//!     resource_attr = serde_json::json!({ "order": order }),
//! )]
//! fn approve(order: &str) -> Result<String, kest::Error> {
//!     Ok(format!("{order} approved"))
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = std::sync::Arc::new(LocalEd25519Provider::new()?);
//! let kest = Kest::builder()
//!     .identity(std::sync::Arc::clone(&identity))
//!     .engine(MockPolicyEngine::allow()) // in a service: RegoEngine::from_dir("policies")?
//!     .without_config()
//!     .build()?;
//!
//! let lineage = kest.enter();
//! assert_eq!(approve("order-17")?, "order-17 approved");
//!
//! // Anybody who has the public keys can check the record.
//! use kest::verify::{Anchors, UnverifiedPassport, Verifier};
//! let text = lineage.passport().serialize();
//! let verifier = Verifier::builder().keys(Anchors::from_provider(&*identity)?).build();
//! let verified = UnverifiedPassport::deserialize(&text)?.verify(&verifier)?;
//! assert_eq!(&*verified.entries()[0].operation, "approve");
//! # Ok(())
//! # }
//! ```
//!
//! # Where to read on
//!
//! - [`kest_verified`]: the attribute, its arguments, and what is checked at compile time.
//! - [`Kest`]: identity, engine and `kest.toml` in one handle; [`configure`], which detects the identity where none
//!   is named; [`Kest::scope`].
//! - [`lineage`]: how the DAG follows the code; [`join!`], [`spawn`], [`lineage::LineageExt::in_lineage`].
//! - [`identity`], [`policy`], [`trust`]: what a call consults, and the traits to bring one's own.
//! - [`audit`]: where entries are kept for good; `docs/audit.md` in the repository is the guide.
//! - `http` (feature): lineage across services; `docs/services.md` in the repository is the guide.
//! - [`verify`]: from bytes to a [`verify::VerifiedPassport`], and the report.
//! - `docs/spec.md` in the repository: the contract, section by section.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `rego` | yes | [`policy::RegoEngine`]: Rego policies in the process |
//! | `tokio` | yes | [`spawn`]: tokio tasks that keep their lineage |
//! | `cedar` | no | `policy::CedarEngine`: Cedar policies in the process |
//! | `opa` | no | `policy::OpaEngine`: the Open Policy Agent |
//! | `cedar-agent` | no | `policy::CedarAgentEngine`: cedar-agent |
//! | `avp` | no | `policy::AvpEngine`: AWS Verified Permissions |
//! | `spire` | no | `identity::SpireProvider`: identity from a SPIRE agent |
//! | `aws` | no | `identity::AwsWorkloadIdentity`: identity from AWS STS, signatures by KMS |
//! | `bedrock` | no | `identity::BedrockAgentIdentity`: identity of an Amazon Bedrock agent, signatures by KMS |
//! | `oidc` | no | `identity::OidcIdentity`: identity from an OpenID Connect token |
//! | `jwks` | no | `jwks::JwksUrl`: keys for verifiers from a JWK set URL |
//! | `http` | no | `http`: lineage over HTTP: propagator, tower layers for servers and clients, JWKS route |
//! | `grpc` | no | the same for tonic |
//! | `reqwest` | no | middleware for `reqwest` |
//! | `redis` | no | `cache::RedisCache`: claim checks on Redis or Valkey |
//! | `sqlite` | no | `audit::SqliteAudit`: entries kept in an SQLite database |
//! | `aws-lc` | no | signatures by aws-lc-rs: Ed25519 there, ECDSA, RSA, X.509 chains; `spire`, `aws`, `bedrock`, `oidc` and `jwks` imply it |

#[cfg(feature = "tokio")]
pub use kest_core::lineage::{JoinHandle, spawn};
pub use kest_core::lineage::{
    get_current_agent, get_current_jwt, get_current_passport, get_current_task, get_current_user, root,
    root_with_passport, with_agent, with_jwt, with_task, with_user,
};
pub use kest_core::trust::register_origin_trust;
pub use kest_core::{
    Error, Kest, KestBuilder, Passport, PassportEntry, clear, get_active_cache, get_active_engine,
    get_active_identity, global, join,
};
pub use kest_core::{
    canonical, config, entry, error, jws, keys, lineage, taint, telemetry, text, trust, verify,
};
pub use kest_macros::kest_verified;
pub use kest_providers::identity::get_default_identity;

pub use self::setup::{configure, reconfigure};

mod setup;

/// Who signs: the trait, and the providers of this build.
pub mod identity {
    pub use kest_core::identity::*;
    pub use kest_providers::identity::*;
}

/// Who decides: the trait, and the engines of this build.
pub mod policy {
    pub use kest_core::policy::*;
    pub use kest_providers::policy::*;
}

/// Where entries are kept: the trait, the sinks of this build, and a reader for their stores.
pub mod audit {
    pub use kest_core::audit::*;
    pub use kest_providers::audit::*;
}

/// Where passports wait that are too large for the wire: the trait, and the caches of this build.
pub mod cache {
    pub use kest_core::claim::*;
    pub use kest_providers::cache::*;
}

/// Lineage across the wire: the propagator, layers for servers and clients, the JWKS route.
#[cfg(feature = "http")]
pub use kest_http as http;
/// Suites that every provider passes, for those who write their own.
pub use kest_providers::conformance;
#[cfg(feature = "jwks")]
pub use kest_providers::jwks;

#[doc(hidden)]
pub use kest_core::__private;
