//! The lineage on its way back to the caller. Spec §12.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, TE, TRAILER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, response};
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::lineage::Outgoing;
use kest_core::{Passport, PassportEntry};

use crate::problem::is_grpc;
use crate::wire::{Parcel, Wire};
use crate::withheld::{Seldom, Withheld};

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
    /// The caller asks, and may have none.
    Unbound,
    Asked {
        lineage: Owed,
        grpc: bool,
        /// Whether the caller takes trailers.
        trailers: bool,
    },
}

/// A lineage that is owed.
#[derive(Debug)]
pub(crate) struct Owed {
    wire: Wire,
    /// What the caller has sent, and so has.
    received: Passport,
    failures: Arc<Seldom>,
}

impl Returning {
    /// Whether the caller asks for its lineage.
    pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
        let mut asked = headers.get_all(RETURN).iter();
        asked.next().is_some_and(|value| value == "1") && asked.next().is_none()
    }

    /// It goes back to a caller who [asks for it](Self::is_asked). `failures` says how often it is logged that it cannot.
    pub(crate) fn asked<B>(
        request: &Request<B>,
        wire: &Wire,
        received: Passport,
        failures: &Arc<Seldom>,
    ) -> Self {
        let headers = request.headers();
        // RFC 9110 §10.1.4. HTTP/2 has trailers for everybody, where there is a body for them to stand behind.
        let takes = |te: &HeaderValue| {
            te.to_str().is_ok_and(|te| te.split(',').any(|one| one.trim().eq_ignore_ascii_case("trailers")))
        };
        let trailers = !matches!(*request.method(), Method::HEAD | Method::CONNECT)
            && (request.version() >= Version::HTTP_2 || headers.get_all(TE).iter().any(takes));
        let lineage = Owed { wire: wire.densest(), received, failures: Arc::clone(failures) };
        Self::Asked { lineage, grpc: is_grpc(headers), trailers }
    }

    /// Whether a lineage in the answer is the layer's own, or none.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::No | Self::Unbound | Self::Asked { .. } => true,
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
        let (lineage, grpc, trailers) = match self {
            Self::Asked { lineage, grpc, trailers } => (Some(lineage), grpc, trailers),
            Self::Unbound => (None, false, false),
            Self::No => return None,
            #[cfg(feature = "oidc")]
            Self::NotOurs => return None,
        };
        // Nobody else may have it from a cache.
        head.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let Some(lineage) = lineage else {
            head.headers.insert(LINEAGE, Withheld::Unbound.header());
            return None;
        };
        if !ended && trailers && has_body(head.status) && (grpc || !whole) {
            if !grpc {
                head.headers.append(TRAILER, HeaderValue::from_static(LINEAGE));
            }
            return Some(lineage);
        }
        lineage.end(&mut head.headers).await;
        None
    }
}

/// RFC 9110 §6.4.1: after these the server sends nothing, whatever body the handler has given them.
fn has_body(status: StatusCode) -> bool {
    !status.is_informational() && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

impl Owed {
    /// Puts the lineage as it stands into the head or the trailers, but for what the caller has: proxies take few KiB of
    /// response headers. Of what cannot be sent it is said why, here and in the log: the call has been made, and its
    /// caller misses what it asked for.
    pub(crate) async fn end(self, to: &mut HeaderMap) {
        let Self { wire, received, failures } = self;
        // What a handler has copied from elsewhere is not the lineage of this call.
        to.remove(LINEAGE);
        let lineage = Outgoing::capture().passport();
        if lineage.is_empty() {
            return;
        }
        let added = lineage.since(&received);
        let text = match added.is_empty() {
            true => Ok(unchanged(&lineage)),
            false => {
                wire.write(&Parcel::of(added), &[]).await.map_err(|error| (reason(&error), error.to_string()))
            }
        };
        let written = text.and_then(|text| {
            HeaderValue::from_str(&text).map_err(|error| (Withheld::Unsaid, error.to_string()))
        });
        to.insert(
            LINEAGE,
            written.unwrap_or_else(|(withheld, error)| {
                if failures.now() {
                    tracing::warn!(target: "kest", %error, "The lineage cannot go back to the caller");
                }
                withheld.header()
            }),
        );
    }
}

fn reason(error: &PropagationError) -> Withheld {
    match error.kind() {
        PropagationErrorKind::TooLarge | PropagationErrorKind::NoSharedCache => Withheld::TooLarge,
        PropagationErrorKind::Cache => Withheld::Unavailable,
        // Also the default: the log says which.
        _ => Withheld::Unsaid,
    }
}

fn unchanged(lineage: &Passport) -> String {
    let tips: Vec<String> = lineage.tips().iter().map(PassportEntry::hash).collect();
    format!("{UNCHANGED}{}", tips.join("."))
}
