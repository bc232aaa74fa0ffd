//! Lineage across the wire. Spec §12.

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
pub mod wire;

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
pub use wire::{Arrived, Parcel, Wire, WireBuilder};
