//! The lineage on its way back to the caller. Spec §12.

use http::header::{TE, TRAILER};
use http::{HeaderMap, HeaderValue, Request, Version, response};
use kest_core::lineage::Outgoing;

use crate::problem::is_grpc;
use crate::wire::{Parcel, Wire};

/// The header, or the trailer, that a lineage comes back in.
pub(crate) const LINEAGE: &str = "kest-lineage";
/// The header by which a caller asks for it.
pub(crate) const RETURN: &str = "kest-return";

/// Whether and how a lineage goes back.
#[derive(Debug)]
pub(crate) enum Returning {
    No,
    Asked {
        wire: Wire,
        grpc: bool,
        /// Whether the caller takes trailers.
        trailers: bool,
    },
}

/// A lineage that is owed in a trailer.
#[derive(Debug)]
pub(crate) struct Owed(Wire);

impl Returning {
    /// What the caller asks for.
    pub(crate) fn asked<B>(request: &Request<B>, wire: &Wire) -> Self {
        let headers = request.headers();
        let mut asked = headers.get_all(RETURN).iter();
        if asked.next().is_none_or(|value| value != "1") || asked.next().is_some() {
            return Self::No;
        }
        // RFC 9110 §10.1.4. HTTP/2 has trailers for everybody.
        let takes = |te: &HeaderValue| {
            te.to_str().is_ok_and(|te| te.split(',').any(|one| one.trim().eq_ignore_ascii_case("trailers")))
        };
        let trailers = request.version() >= Version::HTTP_2 || headers.get_all(TE).iter().any(takes);
        Self::Asked { wire: wire.densest(), grpc: is_grpc(headers), trailers }
    }

    /// Puts the lineage into the head, or promises it for the end. Runs in the scope of the request.
    pub(crate) async fn begin(self, head: &mut response::Parts, ended: bool, whole: bool) -> Option<Owed> {
        let Self::Asked { wire, grpc, trailers } = self else { return None };
        if !ended && trailers && (grpc || !whole) {
            if !grpc {
                head.headers.append(TRAILER, HeaderValue::from_static(LINEAGE));
            }
            return Some(Owed(wire));
        }
        write(&wire, &mut head.headers).await;
        None
    }
}

impl Owed {
    /// Puts the lineage into the trailers.
    pub(crate) async fn end(self, trailers: &mut HeaderMap) {
        write(&self.0, trailers).await;
    }
}

/// The lineage as it stands. What cannot be sent is left out, and said in the log: the call has been made, and its
/// caller misses what it asked for.
async fn write(wire: &Wire, to: &mut HeaderMap) {
    // What a handler has copied from elsewhere is not the lineage of this call.
    to.remove(LINEAGE);
    let parcel = Parcel::of(Outgoing::capture().passport());
    let written = match wire.write(&parcel, &[]).await {
        Ok(text) if text.is_empty() => return,
        Ok(text) => HeaderValue::from_str(&text).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match written {
        Ok(value) => {
            to.insert(LINEAGE, value);
        }
        Err(error) => tracing::warn!(target: "kest", %error, "The lineage cannot go back to the caller"),
    }
}
