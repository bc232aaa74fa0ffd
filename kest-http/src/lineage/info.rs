//! What a handler can ask about the lineage it runs in.

use std::sync::Arc;

use kest_core::verify::Report;

use crate::bind::Believed;
use crate::peer::PeerIdentity;

/// What the lineage layer found out about a request. It stands in the request's extensions.
///
/// ```
/// # use kest_http::LineageInfo;
/// async fn handler(info: axum::Extension<LineageInfo>) -> String {
///     format!("{:?}, {} entries", info.standing(), info.report().map_or(0, |report| report.entries))
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(handler));
/// ```
#[derive(Clone, Debug)]
pub struct LineageInfo(Arc<Found>);

#[derive(Debug)]
struct Found {
    standing: Standing,
    report: Option<Report>,
    tips: Vec<String>,
    peer: Option<PeerIdentity>,
}

/// How far a request's lineage is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Standing {
    /// There is none: calls start a lineage of their own, as `unauthenticated`.
    Absent,
    /// It verified, and is of the peer or of somebody who is allowed.
    Bound,
    /// It verified, and is of somebody else: it counts for little, and on nobody's behalf.
    Unbound,
}

impl LineageInfo {
    pub(crate) fn new(lineage: Option<&Believed>, peer: Option<PeerIdentity>) -> Self {
        let standing = match lineage {
            None => Standing::Absent,
            Some(Believed { bound: true, .. }) => Standing::Bound,
            Some(Believed { bound: false, .. }) => Standing::Unbound,
        };
        let tips = |believed: &Believed| believed.passport.tips().iter().map(|tip| tip.hash()).collect();
        Self(Arc::new(Found {
            standing,
            report: lineage.map(|believed| believed.passport.report().clone()),
            tips: lineage.map(tips).unwrap_or_default(),
            peer,
        }))
    }

    /// How far the lineage is believed.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.0.standing
    }

    /// What its verification found; none if there was no lineage.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        self.0.report.as_ref()
    }

    /// The hashes of the tips that came in, oldest first.
    #[must_use]
    pub fn tips(&self) -> &[String] {
        &self.0.tips
    }

    /// Whoever is at the other end of the connection, if that proves it.
    #[must_use]
    pub fn peer(&self) -> Option<&PeerIdentity> {
        self.0.peer.as_ref()
    }
}
