//! gRPC clients by tonic. Spec §12.
//!
//! The whole of it is [`OutboundLayer`](crate::outbound::OutboundLayer) on the channel, which names no host in its
//! requests, so that it must be told:
//!
//! ```
//! use kest_http::outbound::{Outbound, OutboundLayer};
//! use tower::ServiceBuilder;
//!
//! # fn run() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let outbound = Outbound::builder().host("orders.internal:8443").build()?;
//! let channel = tonic::transport::Channel::from_static("https://orders.internal:8443").connect_lazy();
//! let channel = ServiceBuilder::new()
//!     .layer(OutboundLayer::to_origin(outbound, "https://orders.internal:8443")?)
//!     .service(channel);
//! // `OrdersClient::new(channel)`, as tonic generates it.
//! # drop(channel);
//! # Ok(())
//! # })
//! # }
//! # run().unwrap();
//! ```
//!
//! Where only an interceptor fits there is [`Outbound::interceptor`].

use std::sync::Arc;

use kest_core::error::{PropagationError, PropagationErrorKind};
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

use crate::outbound::{Call, Outbound, OutboundError, Target};

/// Lineage for the calls of a client of tonic. Made by [`Outbound::interceptor`].
#[derive(Debug, Clone)]
pub struct OutboundInterceptor {
    outbound: Outbound,
    target: Target,
}

impl Outbound {
    /// An interceptor for a client whose channel goes to `origin`, such as `https://orders.internal:8443`: an
    /// interceptor does not see where a request goes. Use one for one channel.
    ///
    /// It writes at once, and so holds the thread where a claim check has to be kept in a cache over the network; the
    /// layer does not. What the service did cannot come back this way.
    ///
    /// # Errors
    /// When the origin cannot be read, or lineage is asked back.
    pub fn interceptor(&self, origin: &str) -> Result<OutboundInterceptor, OutboundError> {
        if self.asks_for_return() {
            return Err(OutboundError::CannotJoin);
        }
        Ok(OutboundInterceptor { outbound: self.clone(), target: Target::origin(origin)? })
    }
}

impl Interceptor for OutboundInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let headers = request.metadata_mut().as_mut();
        let written = Call::capture(&self.outbound)
            .plan(&self.target, headers)
            .and_then(|plan| plan.write_blocking(headers));
        match written {
            Ok(()) => Ok(request),
            Err(error) => Err(status_of(error)),
        }
    }
}

/// The status of a call that was not made. The error itself is its source.
fn status_of(error: PropagationError) -> Status {
    let code = match error.kind() {
        PropagationErrorKind::Cache => Code::Unavailable,
        PropagationErrorKind::TooLarge => Code::ResourceExhausted,
        _ => Code::FailedPrecondition,
    };
    let mut status = Status::new(code, error.to_string());
    status.set_source(Arc::new(error));
    status
}
