//! The layer for tower clients.

use tower_layer::Layer;

use super::hosts::Target;
use super::service::OutboundService;
use super::{Outbound, OutboundError};

/// Lineage for the calls of a tower client: hyper-util's `Client`, tonic's `Channel`.
///
/// It stands next to the client: under layers that follow redirects, so that each request they make is looked at by
/// itself, and over those that hand calls to another task (`Buffer`), where there is no scope to take lineage from.
/// What a call takes along is what there is when it is made, not when its future is polled.
#[derive(Debug, Clone)]
pub struct OutboundLayer {
    outbound: Outbound,
    origin: Option<Target>,
}

impl OutboundLayer {
    /// For a client that goes where the URI of each request says.
    #[must_use]
    pub fn new(outbound: Outbound) -> Self {
        Self { outbound, origin: None }
    }

    /// For a client that goes to one place, such as tonic's `Channel`, whose generated clients name no host:
    /// `https://orders.internal:8443`, as its endpoint has it. A request whose URI names another scheme, host or port is
    /// not made ([`HostNotNamed`]).
    ///
    /// Whether a token goes over TLS is judged by this origin: what the client really does is not seen here.
    ///
    /// [`HostNotNamed`]: kest_core::error::PropagationErrorKind::HostNotNamed
    ///
    /// # Errors
    /// When the origin is not written like this.
    pub fn to_origin(outbound: Outbound, origin: &str) -> Result<Self, OutboundError> {
        Ok(Self { outbound, origin: Some(Target::origin(origin)?) })
    }
}

impl<S> Layer<S> for OutboundLayer {
    type Service = OutboundService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        OutboundService::new(inner, self.outbound.clone(), self.origin.clone())
    }
}
