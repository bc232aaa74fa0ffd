//! Lineage across the wire. Spec §12.
//!
//! What a protected call leaves behind travels with the request, is verified before anything runs, and comes back
//! with what was done:
//!
//! ```text
//!   caller                                                    callee
//!   #[kest_verified] ─▶ OutboundLayer ─── baggage ───▶ LineageLayer ─▶ IdentityLayer ─▶ #[kest_verified]
//!          ▲                 │                          read, verify,     bearer token        │
//!          └──── join ◀──────┴────── kest-lineage ◀──── bind to the peer ◀────────────────────┘
//! ```
//!
//! - [`LineageLayer`]: for servers by tower (axum, tonic, hyper). Refuses what does not verify, and believes on whose
//!   behalf a request comes only of a peer it knows.
//! - `IdentityLayer` (feature `oidc`), inside of it: bearer tokens of OpenID Connect issuers.
//! - [`outbound`]: for clients by tower, `reqwest` (feature `reqwest`) and tonic (feature `grpc`). Lineage and tokens go
//!   to named hosts only.
//! - [`jwks`]: publishes a service's keys. `tls` (feature `spire`): mutual TLS whose peer the layers know.
//! - [`wire`]: the codec by itself; [`propagator`]: the same for carriers of OpenTelemetry. Neither needs a feature.

#[cfg(feature = "http")]
mod bind;
#[cfg(feature = "http")]
mod body;
#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "oidc")]
mod identity;
#[cfg(feature = "http")]
pub mod jwks;
#[cfg(feature = "http")]
mod lineage;
#[cfg(feature = "http")]
pub mod outbound;
#[cfg(feature = "http")]
mod peer;
#[cfg(feature = "http")]
mod problem;
pub mod propagator;
#[cfg(feature = "http")]
mod receive;
#[cfg(feature = "spire")]
pub mod tls;
#[cfg(feature = "http")]
mod trace;
pub mod wire;
#[cfg(feature = "http")]
mod withheld;

#[cfg(feature = "http")]
pub use body::{LayerBody, LayerFuture};
#[cfg(feature = "oidc")]
pub use identity::{Authenticated, IdentityLayer, IdentityLayerBuilder, IdentityService, Users};
#[cfg(feature = "http")]
pub use jwks::{JwksService, JwksServiceBuilder};
#[cfg(feature = "http")]
pub use lineage::{
    DangerousLineageLayerBuilder, LineageInfo, LineageLayer, LineageLayerBuilder, LineageService, Standing,
};
#[cfg(feature = "http")]
pub use outbound::{Outbound, OutboundBuilder, OutboundError, OutboundLayer, OutboundService};
#[cfg(feature = "http")]
pub use peer::{PeerIdentity, PeerProof};
#[cfg(feature = "http")]
pub use problem::{Problem, ProblemKind};
pub use propagator::KestPropagator;
/// The clients that [`Outbound::client`] is for, in the version that it takes.
#[cfg(feature = "reqwest")]
pub use reqwest;
#[cfg(feature = "reqwest")]
pub use reqwest_middleware;
pub use wire::{Arrived, Parcel, Wire, WireBuilder};
