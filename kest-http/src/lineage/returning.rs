//! The lineage on its way back to the caller. Spec §12.

use http::header::{CACHE_CONTROL, TE, TRAILER};
use http::{HeaderMap, HeaderValue, Request, Version, response};
use kest_core::lineage::Outgoing;
use kest_core::{Passport, PassportEntry};

use crate::problem::is_grpc;
use crate::wire::{Parcel, Wire};

/// The header, or the trailer, that a lineage comes back in.
pub(crate) const LINEAGE: &str = "kest-lineage";
/// The header by which a caller asks for it.
pub(crate) const RETURN: &str = "kest-return";

/// What stands before the tips where a callee has added nothing: these alone come back.
pub(crate) const UNCHANGED: &str = "kest.chain_tip=";

/// Whether and how a lineage goes back.
#[derive(Debug)]
pub(crate) enum Returning {
    /// Nor does anything that passes for one.
    No,
    /// It is another layer's to say.
    #[cfg(feature = "oidc")]
    NotOurs,
    Asked {
        wire: Wire,
        /// What the caller has sent, and so has.
        received: Passport,
        grpc: bool,
        /// Whether the caller takes trailers.
        trailers: bool,
    },
}

/// A lineage that is owed in a trailer.
#[derive(Debug)]
pub(crate) struct Owed {
    wire: Wire,
    received: Passport,
}

impl Returning {
    /// What the caller asks for.
    pub(crate) fn asked<B>(request: &Request<B>, wire: &Wire, received: Passport) -> Self {
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
        Self::Asked { wire: wire.densest(), received, grpc: is_grpc(headers), trailers }
    }

    /// Whether a lineage in the answer is the layer's own, or none.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::No | Self::Asked { .. } => true,
            #[cfg(feature = "oidc")]
            Self::NotOurs => false,
        }
    }

    /// Puts the lineage into the head, or promises it for the end. Runs in the scope of the request.
    pub(crate) async fn begin(self, head: &mut response::Parts, ended: bool, whole: bool) -> Option<Owed> {
        if !self.is_ours() {
            return None;
        }
        // What a handler has copied from elsewhere is not the lineage of this call.
        head.headers.remove(LINEAGE);
        let Self::Asked { wire, received, grpc, trailers } = self else { return None };
        // Nobody else may have it from a cache.
        head.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if !ended && trailers && (grpc || !whole) {
            if !grpc {
                head.headers.append(TRAILER, HeaderValue::from_static(LINEAGE));
            }
            return Some(Owed { wire, received });
        }
        write(&wire, &received, &mut head.headers).await;
        None
    }
}

impl Owed {
    /// Puts the lineage into the trailers.
    pub(crate) async fn end(self, trailers: &mut HeaderMap) {
        write(&self.wire, &self.received, trailers).await;
    }
}

/// The lineage as it stands, but for what the caller has: proxies take few KiB of response headers. What cannot be sent is left out, and said in the log: the call has been made, and its
/// caller misses what it asked for.
async fn write(wire: &Wire, received: &Passport, to: &mut HeaderMap) {
    // What a handler has copied from elsewhere is not the lineage of this call.
    to.remove(LINEAGE);
    let lineage = Outgoing::capture().passport();
    if lineage.is_empty() {
        return;
    }
    let added = lineage.since(received);
    let text = match added.is_empty() {
        true => Ok(unchanged(&lineage)),
        false => wire.write(&Parcel::of(added), &[]).await.map_err(|error| error.to_string()),
    };
    let written = text.and_then(|text| HeaderValue::from_str(&text).map_err(|error| error.to_string()));
    match written {
        Ok(value) => {
            to.insert(LINEAGE, value);
        }
        Err(error) => tracing::warn!(target: "kest", %error, "The lineage cannot go back to the caller"),
    }
}

fn unchanged(lineage: &Passport) -> String {
    let tips: Vec<String> = lineage.tips().iter().map(PassportEntry::hash).collect();
    format!("{UNCHANGED}{}", tips.join("."))
}
