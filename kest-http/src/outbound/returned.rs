//! What a service sends back: verified, bound to whoever answered, and joined.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;
use kest_core::entry::KestEntry;
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::lineage::Outgoing;
use kest_core::verify::{Grant, UnverifiedPassport, Verdict, VerifiedPassport, Verifier, VerifyError};
use kest_core::{Passport, PassportEntry};

use super::body::ReturnedBody;
use super::headers::take_returned;
use super::hosts::Target;
use super::{Callee, Outbound, Returned};
use crate::bind;
use crate::lineage::UNCHANGED;
use crate::{PeerIdentity, Wire};

/// As for what comes in (spec §12).
const SKEW: Duration = Duration::from_secs(30);
/// So few entries are verified where they are; more go to a thread that may be busy for a while.
const VERIFIED_HERE: usize = 32;

/// Where the lineage of an answer goes.
#[derive(Debug)]
pub(crate) struct Joining {
    outbound: Outbound,
    outgoing: Outgoing,
    wire: Wire,
    target: Target,
}

impl Joining {
    pub(super) fn new(outbound: Outbound, outgoing: Outgoing, wire: Wire, target: Target) -> Self {
        Self { outbound, outgoing, wire, target }
    }

    /// Joins what the headers bring, or lets the body wait for it.
    pub(super) async fn answer<B: Body>(
        self,
        response: Response<B>,
    ) -> Result<Response<ReturnedBody<B>>, PropagationError> {
        let (mut parts, body) = response.into_parts();
        let peer = parts.extensions.get::<PeerIdentity>().cloned();
        let values = take_returned(&mut parts.headers);
        let must = is_success(parts.status) && !failed_by_grpc(&parts.headers);
        let body = if !values.is_empty() {
            self.join(&values, peer.as_ref()).await?;
            ReturnedBody::plain(body)
        } else if body.is_end_stream() {
            if must {
                self.missing()?;
            }
            ReturnedBody::plain(body)
        } else {
            ReturnedBody::waiting(body, self, peer, must)
        };
        Ok(Response::from_parts(parts, body))
    }

    /// What another host answers, to which a client was redirected, is nothing to be joined.
    #[cfg(feature = "reqwest")]
    pub(super) fn must_be_from(&self, answered: &Target) -> Result<(), PropagationError> {
        if self.target.same_origin(answered) {
            return Ok(());
        }
        Err(self.error(
            PropagationErrorKind::Returned,
            format!(
                "a redirect to `{answered}`, which was followed, and the lineage with it; build the client with \
                 `Outbound::client`, or give it a policy of `Outbound::redirects`"
            ),
        ))
    }

    /// Verifies the lineage, and makes its last entries parents of the next.
    pub(super) async fn join(
        &self,
        values: &[HeaderValue],
        peer: Option<&PeerIdentity>,
    ) -> Result<(), PropagationError> {
        let Some(returned) = &self.outbound.settings.returned else { return Ok(()) };
        let values: Vec<&[u8]> = values.iter().map(HeaderValue::as_bytes).collect();
        let sent = self.outgoing.passport();
        if is_unchanged(&values, &sent) {
            return Ok(());
        }
        let arrived = self.wire.read(&values).await.map_err(|error| self.refuse("cannot be read", error))?;
        let Some(lineage) = arrived.lineage.filter(|lineage| !lineage.is_empty()) else {
            let what = "a `kest-lineage` header without lineage".to_owned();
            return Err(self.error(PropagationErrorKind::Returned, what));
        };
        let lineage = after(&sent, &lineage);
        let verifier = returned.verifier.for_ingress(now_ms(), returned.max_age, SKEW).continuing(&sent);
        let Some(verified) = verify(lineage, verifier).await else {
            let what = "a lineage whose verification panicked; please report it".to_owned();
            return Err(self.error(PropagationErrorKind::Returned, what));
        };
        let verified = verified.map_err(|error| self.refuse("did not verify", error))?;
        let signed = verified.report().signatures.verdict;
        let unsigned = signed == Verdict::NotChecked && returned.verifier.accepts_mock();
        if signed != Verdict::Pass && !unsigned {
            let what =
                "a lineage whose signatures were not checked; give `.returned(…)` a verifier that does"
                    .to_owned();
            return Err(self.error(PropagationErrorKind::Unverified, what));
        }
        let verified = self.bind(verified, returned, peer)?;
        self.outgoing.returned(&verified).map_err(|error| self.refuse("is of another call", error))
    }

    /// Caps what nobody who is known has signed at its end.
    fn bind(
        &self,
        verified: VerifiedPassport,
        returned: &Returned,
        peer: Option<&PeerIdentity>,
    ) -> Result<VerifiedPassport, PropagationError> {
        let sent: Vec<String> = self.outgoing.passport().tips().iter().map(|tip| tip.hash()).collect();
        let tips = verified.tips();
        let is_callee = |entry: &KestEntry| {
            let principal = entry.anchored_as();
            let named = |callee: &Callee| {
                callee.host.names(&self.target) && callee.workloads.grant(&principal) == Grant::own()
            };
            // Where nothing was sent, the entries of a workload that is named may be of any other call.
            peer.is_some_and(|peer| peer.id() == principal)
                || (!sent.is_empty() && returned.callees.iter().any(named))
        };
        // Everybody has the mock key.
        let is_mock = |tip: &PassportEntry| returned.verifier.accepts_mock() && bind::is_mock(tip.jws());
        let made_up = tips.iter().any(|tip| !sent.contains(&tip.hash()) && is_mock(tip));
        // INVARIANT: `tips` and `tip_entries` are the same entries in the same order.
        let stranger = tips
            .iter()
            .zip(verified.tip_entries())
            .find(|(tip, entry)| !sent.contains(&tip.hash()) && (is_mock(tip) || !is_callee(entry)))
            .map(|(_, entry)| entry.to_string());
        let Some(stranger) = stranger else { return Ok(verified) };
        if sent.is_empty() {
            return Err(self.error(
                PropagationErrorKind::Unbound,
                format!(
                    "a lineage that ends with {stranger}, which is bound to nobody: nothing was sent that it could go \
                     on from, and the connection does not say that it is they who answer; make the call inside a \
                     protected function, or use mutual TLS"
                ),
            ));
        }
        tracing::warn!(
            target: "kest",
            host = %self.target,
            ceiling = returned.ceiling,
            "the lineage that came back ends with {stranger}, who is neither the authenticated peer nor a named \
             callee; it counts for no more than the ceiling: name the callee with `.callee(host, …)`"
        );
        Ok(verified.capped(match made_up {
            true => returned.ceiling.min(bind::unsigned_ceiling()),
            false => returned.ceiling,
        }))
    }

    /// The error of an answer without lineage, unless that is tolerated.
    pub(super) fn missing(&self) -> Result<(), PropagationError> {
        match &self.outbound.settings.returned {
            Some(returned) if !returned.tolerate_missing => Err(self.error(
                PropagationErrorKind::Returned,
                "no lineage, which was asked for; let its layer give it back (`.return_lineage()`), or say \
                 `.tolerate_unreturned()` here"
                    .to_owned(),
            )),
            Some(_) | None => {
                tracing::debug!(target: "kest", host = %self.target, "no lineage came back");
                Ok(())
            }
        }
    }

    fn refuse(&self, what: &str, cause: impl std::error::Error + Send + Sync + 'static) -> PropagationError {
        self.error(PropagationErrorKind::Returned, format!("a lineage that {what}: {cause}"))
            .with_source(cause)
    }

    fn error(&self, kind: PropagationErrorKind, what: String) -> PropagationError {
        PropagationError::new(kind, format!("`{}` sent back {what}", self.target))
    }
}

/// Whether a callee says that it added nothing: the tips alone, and none but those that were sent.
fn is_unchanged(values: &[&[u8]], sent: &Passport) -> bool {
    let [value] = values else { return false };
    let Some(tips) = std::str::from_utf8(value).ok().and_then(|value| value.strip_prefix(UNCHANGED)) else {
        return false;
    };
    let sent = sent.tips();
    tips.split('.').all(|tip| sent.iter().any(|sent| sent.hash() == tip))
}

/// What was sent and, behind it, what is new in what came back: the callee may give back the whole, or what it added.
fn after(sent: &Passport, came: &UnverifiedPassport) -> UnverifiedPassport {
    let sent = sent.entries();
    let known: HashSet<&str> = sent.iter().map(PassportEntry::jws).collect();
    let new = came.entries().filter(|entry| !known.contains(entry));
    sent.iter().map(PassportEntry::jws).chain(new).collect()
}

/// None where the verification did not come to an end.
async fn verify(
    lineage: UnverifiedPassport,
    verifier: Verifier,
) -> Option<Result<VerifiedPassport, VerifyError>> {
    let here = lineage.len() <= VERIFIED_HERE && !verifier.may_block();
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) if !here => runtime.spawn_blocking(move || lineage.verify(&verifier)).await.ok(),
        Ok(_) | Err(_) => Some(lineage.verify(&verifier)),
    }
}

/// An answer of which lineage is expected: what refuses or fails may come from a proxy, or from a layer that refused
/// before anything ran, and must reach the caller as it is.
fn is_success(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS
}

/// Whether it is the failure of a gRPC call, in headers (trailers-only) or trailers.
pub(super) fn failed_by_grpc(headers: &HeaderMap) -> bool {
    headers.get("grpc-status").is_some_and(|status| status.as_bytes() != b"0")
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
