//! One connection whose peer has proven who it is.

use std::error::Error as StdError;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::time::sleep;
use tower_service::Service;

use super::HTTP_2;
use super::peer::named_by;
use super::server::Shaken;
use crate::PeerIdentity;

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) idle: Duration,
    pub(super) age: Duration,
    pub(super) streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(30), age: Duration::from_secs(3_600), streams: 200 }
    }
}

/// Serves what comes on the connection until its peer closes it, it is too old, or the server stops.
pub(super) async fn serve<S, B>(
    stream: Shaken,
    service: S,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let peer = peer(&stream);
    let builder = builder(&stream, limits);
    let service = TowerToHyperService::new(service);
    let named = service_fn(move |mut request: Request<Incoming>| {
        // INVARIANT: who the peer is comes from the connection and from nowhere else.
        match &peer {
            Some(peer) => drop(request.extensions_mut().insert(peer.clone())),
            None => drop(request.extensions_mut().remove::<PeerIdentity>()),
        }
        hyper::service::Service::call(&service, request)
    });
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), named));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = sleep(limits.age) => None,
        _ = stopping.wait_for(|stopping| *stopping) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(target: "kest", error, "a TLS connection ends");
    }
}

/// Whom the certificate names that the handshake has accepted. `None` where the configuration asks for none, or for
/// such as are no SVIDs: nobody's lineage is bound to such a peer.
fn peer(stream: &Shaken) -> Option<PeerIdentity> {
    let certificates = stream.get_ref().1.peer_certificates()?;
    match named_by(certificates) {
        Ok(peer) => Some(peer),
        Err(error) => {
            tracing::debug!(target: "kest", %error, "the certificate of a TLS peer names no workload");
            None
        }
    }
}

/// Exactly the protocol that was agreed on (RFC 9113 §3.2): nothing is guessed from what is sent.
fn builder(stream: &Shaken, limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle)
        .keep_alive_timeout(limits.idle)
        .max_concurrent_streams(limits.streams);
    match stream.get_ref().1.alpn_protocol() {
        Some(HTTP_2) => builder.http2_only(),
        _ => builder.http1_only(),
    }
}
