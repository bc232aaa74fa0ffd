//! Calls to other services: what goes along, to whom, and what comes back. Spec §12.
//!
//! [`Outbound`] names the hosts that may receive lineage; a client gets it as a layer: [`OutboundLayer`] for tower
//! (hyper-util, tonic's `Channel`), [`Outbound::client`] for `reqwest`, [`Outbound::interceptor`] for tonic's generated
//! clients where no layer fits.
//!
//! ```
//! use http::{Request, Response};
//! use kest_http::{Outbound, OutboundLayer};
//! use tower::{Layer as _, ServiceExt as _};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let outbound = Outbound::builder().host("orders.internal").host("stock.internal:8443").build()?;
//! // In place of this echo stands a client, such as that of hyper-util.
//! let client = tower::service_fn(|request: Request<String>| async move {
//!     Ok::<_, std::convert::Infallible>(Response::new(request.into_body()))
//! });
//! let client = OutboundLayer::new(outbound).layer(client);
//! let answer = client.oneshot(Request::get("https://orders.internal/17").body(String::new())?).await?;
//! # assert!(answer.status().is_success());
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run()).unwrap();
//! ```

mod body;
mod call;
mod error;
mod headers;
mod hosts;
mod layer;
#[cfg(feature = "reqwest")]
mod reqwest;
mod returned;
mod service;

use std::sync::Arc;
use std::time::Duration;

use kest_core::verify::{Authority, Grant, Remembered, Verifier};

pub use self::body::ReturnedBody;
#[cfg(feature = "grpc")]
pub(crate) use self::call::Call;
pub use self::error::OutboundError;
use self::hosts::HostName;
#[cfg(feature = "grpc")]
pub(crate) use self::hosts::Target;
pub use self::layer::OutboundLayer;
#[cfg(feature = "reqwest")]
pub use self::reqwest::{DangerousOutbound, OutboundMiddleware};
pub use self::service::OutboundService;
use crate::Wire;

/// Header (and trailer) in which the lineage of a callee comes back.
pub(crate) const RETURNED: &str = "kest-lineage";
/// Header by which a caller asks for it.
pub(crate) const ASKS: &str = "kest-return";

/// What goes along with calls, to which hosts, and whether something is to come back. Cheap to clone.
///
/// A host that is not named receives neither lineage nor identity nor token: what another propagator or the calling
/// code has put there is taken out. Where lineage should go and cannot, because it is too large, or no cache can be
/// asked, the call fails and nothing is sent.
#[derive(Debug, Clone)]
pub struct Outbound {
    settings: Arc<Settings>,
}

#[derive(Debug)]
struct Settings {
    hosts: Hosts,
    jwt_hosts: Vec<HostName>,
    jwt_over_plain_http: bool,
    jwt_in_baggage: bool,
    refuse_unnamed: bool,
    wire: Option<Wire>,
    returned: Option<Returned>,
}

#[derive(Debug)]
enum Hosts {
    Named(Vec<HostName>),
    Any,
}

/// How what comes back is verified and believed.
#[derive(Debug)]
struct Returned {
    verifier: Verifier,
    callees: Vec<Callee>,
    ceiling: u8,
    max_age: Duration,
    tolerate_missing: bool,
}

/// Whose entries a host may bring back.
#[derive(Debug)]
struct Callee {
    host: HostName,
    /// INVARIANT: has rules.
    workloads: Authority,
}

/// As [`LineageLayer`](crate::LineageLayer) remembers.
const REMEMBERED: usize = 10_000;
const CEILING: u8 = 40;
const MAX_AGE: Duration = Duration::from_hours(1);

impl Outbound {
    /// Begins with no host named.
    pub fn builder() -> OutboundBuilder {
        OutboundBuilder {
            hosts: Vec::new(),
            any_host: false,
            jwt_hosts: Vec::new(),
            jwt_over_plain_http: false,
            jwt_in_baggage: false,
            refuse_unnamed: false,
            wire: None,
            verifier: None,
            callees: Vec::new(),
            ceiling: None,
            max_age: None,
            tolerate_missing: false,
        }
    }

    fn may_have_lineage(&self, target: &hosts::Target) -> bool {
        match &self.settings.hosts {
            Hosts::Any => true,
            Hosts::Named(hosts) => hosts::any_names(hosts, target),
        }
    }

    fn may_have_jwt(&self, target: &hosts::Target) -> bool {
        hosts::any_names(&self.settings.jwt_hosts, target)
    }

    #[cfg(feature = "grpc")]
    pub(crate) fn asks_for_return(&self) -> bool {
        self.settings.returned.is_some()
    }
}

/// Builds an [`Outbound`].
#[derive(Debug, Clone)]
#[must_use]
pub struct OutboundBuilder {
    hosts: Vec<String>,
    any_host: bool,
    jwt_hosts: Vec<String>,
    jwt_over_plain_http: bool,
    jwt_in_baggage: bool,
    refuse_unnamed: bool,
    wire: Option<Wire>,
    verifier: Option<Verifier>,
    callees: Vec<(String, String)>,
    ceiling: Option<u8>,
    max_age: Option<Duration>,
    tolerate_missing: bool,
}

impl OutboundBuilder {
    /// Names a host that may receive lineage: `orders.internal`, `orders.internal:8443`, `[::1]:9000`.
    ///
    /// It must be the host of the request's URI exactly, in lower or upper case; `.` at the end makes another name, and
    /// names below it are not meant. Without a port it is the default port of the URI's scheme (80 or 443), with one
    /// it is this port. A name beyond ASCII is written as clients send it (`xn--…`, RFC 5890).
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// [`Self::host`] for several.
    pub fn hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.hosts.extend(hosts.into_iter().map(Into::into));
        self
    }

    /// Lets every host have the lineage, whoever runs it: for clients that speak to services of one's own only.
    /// The token goes to named hosts all the same.
    pub fn any_host(mut self) -> Self {
        self.any_host = true;
        self
    }

    /// Names a host that may have the bearer token ([`get_current_jwt`](kest_core::lineage::get_current_jwt)), as
    /// `Authorization: Bearer …` (RFC 6750) where the request has no such header. Says nothing about lineage.
    ///
    /// A call to it without TLS fails, but on the loopback interface. What counts is the URI: a client that goes there
    /// by way of a proxy shows the proxy what is not encrypted.
    pub fn jwt_host(mut self, host: impl Into<String>) -> Self {
        self.jwt_hosts.push(host.into());
        self
    }

    /// Lets the token go to its hosts without TLS: whoever is on the way can take it and use it.
    pub fn jwt_over_plain_http(mut self) -> Self {
        self.jwt_over_plain_http = true;
        self
    }

    /// Sends the token as baggage member `kest.jwt` too, as the Python package does, to hosts that are named for both
    /// lineage and token.
    pub fn jwt_in_baggage(mut self) -> Self {
        self.jwt_in_baggage = true;
        self
    }

    /// A call to a host that is not named for lineage fails, instead of going there without.
    pub fn refuse_unnamed(mut self) -> Self {
        self.refuse_unnamed = true;
        self
    }

    /// How the lineage is written. By default with the limits of spec §17 and the cache of the `Kest` in force.
    pub fn wire(mut self, wire: Wire) -> Self {
        self.wire = Some(wire);
        self
    }

    /// Asks services for the lineage of what they did, verifies it, and joins it: the next protected call has their
    /// last entries as parents. The service's layer must give it back, see
    /// [`LineageLayer`](crate::LineageLayer).
    ///
    /// What comes back must go on from what was sent, and counts for no more than that does here. Its last entries must
    /// be of whoever answered: the peer that the connection authenticated, or a [callee](Self::callee). Otherwise it
    /// counts for [at most 40](Self::unbound_ceiling). Where nothing was sent that it could go on from, only what the
    /// authenticated peer signed is joined, and all else refused: it may be of any other call.
    /// An answer without lineage is an error if it is a success; see [`Self::tolerate_unreturned`]. When these errors
    /// arise the call has been made ([`PropagationError::call_was_made`]).
    ///
    /// The verifier has to know the keys of everybody in the lineage, this service and its callers included. Unless it
    /// has a memory, it gets one of 10,000 entries.
    ///
    /// [`PropagationError::call_was_made`]: kest_core::error::PropagationError::call_was_made
    pub fn returned(mut self, verifier: Verifier) -> Self {
        self.verifier = Some(verifier);
        self
    }

    /// Names whose entries may come back from a host although the connection does not say who answers: a workload id, a
    /// trust domain, or a prefix that ends with `/*`, as [`Authority::new`] reads them. The host is written as for
    /// [`Self::host`], and has to be named there too. Another host that sends back entries of these workloads, which
    /// it may have seen anywhere, is none of them.
    pub fn callee(mut self, host: impl Into<String>, pattern: impl Into<String>) -> Self {
        self.callees.push((host.into(), pattern.into()));
        self
    }

    /// What a lineage counts for that came back from nobody known: 40.
    pub fn unbound_ceiling(mut self, ceiling: u8) -> Self {
        self.ceiling = Some(ceiling);
        self
    }

    /// How old the last entry may be that comes back: one hour. A longer call needs more.
    pub fn returned_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// An answer without lineage is taken as it is: for callees that do not know how to give it back. One with a
    /// lineage that cannot be joined is an error all the same.
    pub fn tolerate_unreturned(mut self) -> Self {
        self.tolerate_missing = true;
        self
    }

    /// The settings.
    ///
    /// # Errors
    /// When a host or a callee cannot be read, no host is named, the ceiling is over 100, or there are settings for what
    /// comes back and nothing is asked back.
    pub fn build(self) -> Result<Outbound, OutboundError> {
        let names =
            |hosts: &[String]| hosts.iter().map(|host| HostName::parse(host)).collect::<Result<Vec<_>, _>>();
        let named = names(&self.hosts)?;
        let jwt_hosts = names(&self.jwt_hosts)?;
        let hosts = match (self.any_host, named.is_empty()) {
            (true, _) => Hosts::Any,
            (false, true) if jwt_hosts.is_empty() => return Err(OutboundError::NoHost),
            (false, _) => Hosts::Named(named),
        };
        let for_return = !self.callees.is_empty()
            || self.tolerate_missing
            || self.ceiling.is_some()
            || self.max_age.is_some();
        if self.verifier.is_none() && for_return {
            return Err(OutboundError::NothingReturned);
        }
        if let Some(found) = self.ceiling.filter(|ceiling| *ceiling > 100) {
            return Err(OutboundError::Ceiling { found });
        }
        let callee = |(host, pattern): &(String, String)| {
            let workloads = Authority::new([(pattern, Grant::own())])
                .map_err(|source| OutboundError::Callee { source })?;
            Ok(Callee { host: HostName::parse(host)?, workloads })
        };
        let callees = self.callees.iter().map(callee).collect::<Result<_, _>>()?;
        let returned = self.verifier.map(|verifier| Returned {
            verifier: verifier.remembering(&Remembered::new(REMEMBERED)),
            callees,
            ceiling: self.ceiling.unwrap_or(CEILING),
            max_age: self.max_age.unwrap_or(MAX_AGE),
            tolerate_missing: self.tolerate_missing,
        });
        let settings = Settings {
            hosts,
            jwt_hosts,
            jwt_over_plain_http: self.jwt_over_plain_http,
            jwt_in_baggage: self.jwt_in_baggage,
            refuse_unnamed: self.refuse_unnamed,
            wire: self.wire,
            returned,
        };
        Ok(Outbound { settings: Arc::new(settings) })
    }
}
