//! What a service sends back: verified, bound to whoever answered, and joined.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64_simd::URL_SAFE_NO_PAD;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;
use kest_core::entry::KestEntry;
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::lineage::Outgoing;
use kest_core::text::Quoted;
use kest_core::verify::{Grant, UnverifiedPassport, VerifiedPassport, Verifier, VerifyError, VerifyFailure};
use kest_core::{Passport, PassportEntry};

use super::body::ReturnedBody;
use super::error::listed;
use super::headers::take_returned;
use super::hosts::Target;
use super::{Callee, Outbound, Returned};
use crate::bind;
use crate::lineage::UNCHANGED;
use crate::problem::is_grpc;
use crate::withheld::Withheld;
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
    /// Why nothing comes back, as far as the callee said.
    withheld: Withheld,
}

impl Joining {
    pub(super) fn new(outbound: Outbound, outgoing: Outgoing, wire: Wire, target: Target) -> Self {
        Self { outbound, outgoing, wire, target, withheld: Withheld::Unsaid }
    }

    /// Whether the callee says that it gives nothing back. Then what it says stands in the error.
    pub(super) fn is_withheld(&mut self, values: &[HeaderValue]) -> bool {
        let withheld = Withheld::read(values);
        self.withheld = withheld.unwrap_or(self.withheld);
        withheld.is_some()
    }

    /// Verifies what is about to be sent, for it is verified again with what comes back: what cannot be joined then
    /// keeps the call from being made. Costs little where the verifier remembers it.
    pub(super) async fn prepare(&self) -> Result<(), PropagationError> {
        let Some(returned) = &self.outbound.settings.returned else { return Ok(()) };
        let sent = self.outgoing.passport();
        let lineage: UnverifiedPassport = sent.entries().iter().map(PassportEntry::jws).collect();
        let limits = returned.verifier.limits();
        let most = limits.entries.min(limits.ingress_entries);
        if lineage.len() >= most {
            return Err(PropagationError::new(
                PropagationErrorKind::TooLarge,
                format!(
                    "the lineage has {} entries, and with those of `{}` there could be more than the {most} that the \
                     verifier of `.returned(…)` takes (`Limits::ingress_entries`); the call was not made",
                    lineage.len(),
                    self.target
                ),
            ));
        }
        let error = |what: String| {
            PropagationError::new(
                PropagationErrorKind::Unreturnable,
                format!(
                    "the lineage for `{}` {what}, so that nothing could come back, and the call was not made; the \
                     verifier of `.returned(…)` must know this service and its callers too",
                    self.target
                ),
            )
        };
        match verify(lineage, returned.verifier(&sent)).await {
            // INVARIANT: the age is looked at last, and it is that of other tips by then.
            Some(Err(failed)) if !matches!(failed.failure(), VerifyFailure::TooOld { .. }) => {
                Err(error(format!("does not verify here ({failed})")).with_source(failed))
            }
            Some(Ok(_) | Err(_)) => Ok(()),
            None => Err(error("could not be verified here: its verification panicked".to_owned())),
        }
    }

    /// Joins what the headers bring, or lets the body wait for it.
    pub(super) async fn answer<B: Body>(
        mut self,
        response: Response<B>,
    ) -> Result<Response<ReturnedBody<B>>, PropagationError> {
        let (mut parts, body) = response.into_parts();
        let peer = parts.extensions.get::<PeerIdentity>().cloned();
        let values = take_returned(&mut parts.headers);
        let must = is_success(parts.status) && !failed_by_grpc(&parts.headers);
        let withheld = self.is_withheld(&values);
        let nothing = values.is_empty() || withheld;
        // A layer that gives back lineage has it in the head where it says the length, but for gRPC. After a word in its
        // place nothing comes.
        let known = (withheld || parts.headers.contains_key(CONTENT_LENGTH)) && !is_grpc(&parts.headers);
        let whole = body.is_end_stream() || known;
        if nothing && must && whole {
            self.missing()?;
        }
        let body = if !nothing {
            self.join(&values, peer.as_ref()).await?;
            ReturnedBody::plain(body)
        } else if body.is_end_stream() {
            ReturnedBody::plain(body)
        } else {
            ReturnedBody::waiting(body, self, peer, must && !whole)
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
        let Some(verified) = verify(lineage, returned.verifier(&sent)).await else {
            let what = "a lineage whose verification panicked; please report it".to_owned();
            return Err(self.error(PropagationErrorKind::Returned, what));
        };
        let verified = verified.map_err(|error| self.refuse("did not verify", error))?;
        let verified = self.bind(verified, returned, peer);
        self.outgoing.returned(&verified).map_err(|error| self.refuse("is of another call", error))
    }

    /// Caps what nobody who is known has signed at its end.
    fn bind(
        &self,
        verified: VerifiedPassport,
        returned: &Returned,
        peer: Option<&PeerIdentity>,
    ) -> VerifiedPassport {
        let sent: Vec<String> = self.outgoing.passport().tips().iter().map(|tip| tip.hash()).collect();
        let tips = verified.tips();
        let is_callee = |entry: &KestEntry| {
            let principal = entry.anchored_as();
            let named = |callee: &Callee| {
                callee.host.names(&self.target) && callee.workloads.grant(&principal) == Grant::own()
            };
            peer.is_some_and(|peer| peer.id() == principal) || returned.callees.iter().any(named)
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
        let Some(stranger) = stranger else { return verified };
        let host = self.target.host_and_port();
        let named: Vec<String> = returned.callees.iter().map(|callee| callee.host.to_string()).collect();
        tracing::warn!(
            target: "kest",
            host,
            ceiling = returned.ceiling,
            "the lineage that came back ends with {stranger}, who is neither the authenticated peer nor named as callee \
             for `{host}`; it counts for no more than the ceiling: name the callee with `.callee(\"{host}\", …)` \
             (hosts with callees: {})",
            listed(&named)
        );
        verified.capped(match made_up {
            true => returned.ceiling.min(bind::unsigned_ceiling()),
            false => returned.ceiling,
        })
    }

    /// The error of an answer without lineage, unless that is tolerated.
    pub(super) fn missing(&self) -> Result<(), PropagationError> {
        match &self.outbound.settings.returned {
            Some(returned) if !returned.tolerate_missing => Err(self.error(
                PropagationErrorKind::Returned,
                format!(
                    "no lineage, which was asked for: {}, or say `.tolerate_unreturned()` here",
                    self.remedy()
                ),
            )),
            Some(_) | None => {
                tracing::debug!(target: "kest", host = %self.target, "no lineage came back");
                Ok(())
            }
        }
    }

    /// What makes a callee give lineage back that does not.
    fn remedy(&self) -> String {
        match self.withheld {
            Withheld::Unsaid => "let its layer give it back (`.return_lineage()`)".to_owned(),
            Withheld::Unbound => {
                let sent = self.outgoing.passport();
                let senders: BTreeSet<String> = sent.tips().iter().filter_map(sender).collect();
                let allow = |id: &String| Quoted(&format!(".allow(\"{id}\")")).to_string();
                let allow: Vec<String> = senders.iter().take(4).map(allow).collect();
                match allow.is_empty() {
                    true => "it gives none to callers that it does not know; make the call inside a protected \
                             function, or use mutual TLS"
                        .to_owned(),
                    false => format!(
                        "it gives none to callers that it does not know; let its layer say {}, or use mutual TLS",
                        allow.join(" and ")
                    ),
                }
            }
            Withheld::TooLarge => "what it added does not fit into a header; give both sides a cache that they share \
                                   (`Kest::builder().cache(…)`, such as `RedisCache`), or raise `tier_bytes` and \
                                   `header_bytes` of `Wire` on both sides"
                .to_owned(),
            Withheld::Unavailable => "its cache for claim checks could not be asked; see its log".to_owned(),
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

impl Returned {
    /// As what comes back is verified that goes on from `sent`.
    fn verifier(&self, sent: &Passport) -> Verifier {
        self.verifier.for_ingress(now_ms(), self.max_age, SKEW).continuing(sent)
    }
}

/// Whose entry it is, as a callee names those whom it allows.
fn sender(tip: &PassportEntry) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode_to_vec(tip.jws().split('.').nth(1)?).ok()?;
    Some(KestEntry::from_payload(&payload).ok()?.anchored_as().into_owned())
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
