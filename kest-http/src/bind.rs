//! Whether a verified lineage is of whoever sent it, and what is then believed. Spec §12.

use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use kest_core::canonical::parse_strict;
use kest_core::entry::KestEntry;
use kest_core::lineage::OnBehalfOf;
use kest_core::text::Quoted;
use kest_core::trust::TrustModel;
use kest_core::verify::{Authority, AuthorityError, Grant, Step, VerifiedPassport, VerifyFailure};
use serde_json::Value;

use crate::peer::PeerIdentity;
use crate::problem::{Problem, ProblemKind};

/// Who is believed how far.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    /// INVARIANT: has rules, so that nobody is allowed who is not named.
    allowed: Authority,
    pub(crate) unbound_ceiling: u8,
    pub(crate) unbound_max_age: Duration,
    pub(crate) skew: Duration,
    pub(crate) require_bound: bool,
    /// Nothing is signed that would bind: signatures were not looked at.
    pub(crate) nothing_binds: bool,
    /// Entries may be signed with the mock key.
    pub(crate) takes_mock: bool,
}

/// A verified lineage as far as it is believed.
#[derive(Debug)]
pub(crate) struct Believed {
    pub(crate) passport: VerifiedPassport,
    pub(crate) said: OnBehalfOf,
    pub(crate) bound: bool,
}

impl Binding {
    pub(crate) fn new(allowed: &[String]) -> Result<Self, AuthorityError> {
        Ok(Self {
            allowed: Authority::new(allowed.iter().map(|pattern| (pattern, Grant::own())))?,
            unbound_ceiling: 40,
            unbound_max_age: Duration::from_secs(10 * 60),
            skew: Duration::from_secs(30),
            require_bound: false,
            nothing_binds: false,
            takes_mock: false,
        })
    }

    /// Decides. `passport` has entries.
    pub(crate) fn judge(
        &self,
        passport: VerifiedPassport,
        peer: Option<&PeerIdentity>,
        now_ms: u64,
    ) -> Result<Believed, Problem> {
        // INVARIANT: `tips` and `tip_entries` are the same entries in the same order.
        let mocks: Vec<bool> =
            passport.tips().iter().map(|tip| self.takes_mock && is_mock(tip.jws())).collect();
        let stranger = passport
            .tip_entries()
            .zip(mocks.iter().copied())
            .find(|(tip, mock)| *mock || !self.binds(tip, peer));
        let Some((stranger, made_up)) = stranger else {
            let said = said(&passport)?;
            return Ok(Believed { passport, said, bound: true });
        };
        if self.require_bound {
            return Err(Problem::new(ProblemKind::UnboundLineage, unbound(stranger, made_up, peer)));
        }
        let oldest_ms = passport.tip_entries().map(|tip| tip.timestamp_ms).min().unwrap_or(0);
        let age_ms = now_ms.saturating_sub(oldest_ms);
        let allowed = self.unbound_max_age.saturating_add(self.skew).as_millis();
        if u128::from(age_ms) > allowed {
            let problem = Problem::new(
                ProblemKind::StaleLineage,
                format_args!(
                    "{}; and the lineage of another counts for {} s only, and its tip is {} s old",
                    unbound(stranger, made_up, peer),
                    self.unbound_max_age.as_secs(),
                    age_ms / 1_000
                ),
            );
            return Err(problem.at(None, Step::Time));
        }
        let ceiling = match mocks.contains(&true) {
            true => self.unbound_ceiling.min(unsigned_ceiling()),
            false => self.unbound_ceiling,
        };
        let passport = passport.capped(ceiling);
        Ok(Believed { passport, said: OnBehalfOf::new(), bound: false })
    }

    fn binds(&self, tip: &KestEntry, peer: Option<&PeerIdentity>) -> bool {
        if self.nothing_binds {
            return false;
        }
        // INVARIANT: identities of OpenID Connect go by issuer and subject, so that no `sub` passes for a SPIFFE ID.
        let principal = tip.anchored_as();
        peer.is_some_and(|peer| peer.id() == principal) || self.allowed.grant(&principal) == Grant::own()
    }
}

/// Whether an entry is signed with the key that everybody has, spec §3: it binds nobody. What cannot be read counts as
/// if it were.
pub(crate) fn is_mock(jws: &str) -> bool {
    let header = jws.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode_to_vec(header).ok());
    let header = header.and_then(|header| parse_strict(&header).ok());
    let alg = header.as_ref().and_then(|header| header.get("alg")).and_then(Value::as_str);
    alg.is_none_or(|alg| alg == "HS256")
}

/// What counts for at most that anybody can have made up: as much as `unauthenticated`.
pub(crate) fn unsigned_ceiling() -> u8 {
    TrustModel::guide().score("unauthenticated").unwrap_or(0)
}

fn unbound(tip: &KestEntry, made_up: bool, peer: Option<&PeerIdentity>) -> String {
    if made_up {
        return format!(
            "the last entry is signed with the mock key, which everybody has, in the name of {}: have the call sign \
             with an identity of its own",
            Quoted(&tip.anchored_as())
        );
    }
    let sender = match peer {
        Some(peer) => format!("not of the peer {}", Quoted(peer.id())),
        None => "and the connection proves nobody to be its sender".to_owned(),
    };
    format!(
        "the last entry is of {}, {sender}: have the call sign an entry of its own and come over mutual TLS, or allow \
         that workload at the service",
        Quoted(&tip.anchored_as())
    )
}

/// On whose behalf the signers of the tips say that they act. What they do not agree on is left out.
fn said(passport: &VerifiedPassport) -> Result<OnBehalfOf, Problem> {
    let mut tips = passport.tip_entries().map(identity);
    let Some(first) = tips.next() else { return Ok(OnBehalfOf::new()) };
    let mut said = first?;
    let mut of_one_user = true;
    for tip in tips {
        let tip = tip?;
        of_one_user &= said.user == tip.user;
        let members = [
            ("user", &mut said.user, tip.user),
            ("agent", &mut said.agent, tip.agent),
            ("task", &mut said.task, tip.task),
        ];
        for (name, known, other) in members {
            if *known != other {
                tracing::warn!(
                    target: "kest",
                    member = name,
                    "The tips of a lineage do not agree on whose behalf they act; it is left out"
                );
                *known = None;
            }
        }
    }
    // An agent or a task must not stand beside another user than the one they were said with.
    Ok(if of_one_user { said } else { OnBehalfOf::new() })
}

/// `kest.identity` of an entry, spec §2.
fn identity(tip: &KestEntry) -> Result<OnBehalfOf, Problem> {
    let malformed = || {
        let why = "the label `kest.identity` of a last entry is no JSON object";
        Problem::new(ProblemKind::MalformedLineage, why)
    };
    let Some(text) = tip.label("kest.identity") else {
        // A label that is there and no string is none that says nothing.
        let present = tip.labels.iter().any(|(name, _)| &**name == "kest.identity");
        return if present { Err(malformed()) } else { Ok(OnBehalfOf::new()) };
    };
    let Ok(Value::Object(members)) = parse_strict(text.as_bytes()) else { return Err(malformed()) };
    let mut said = OnBehalfOf::new();
    for (name, value) in members {
        let value = Some(value).filter(|value| !value.is_null());
        match name.as_str() {
            "user" => said.user = value,
            "agent" => said.agent = value,
            "task" => said.task = value,
            // Other runtimes may record more.
            _ => {}
        }
    }
    Ok(said)
}

/// What a failed verification is to whoever sent the lineage.
pub(crate) fn problem_of(step: Step, failure: &VerifyFailure) -> ProblemKind {
    match failure {
        VerifyFailure::Keys { .. } => return ProblemKind::KeysUnavailable,
        VerifyFailure::TooManyEntries { .. }
        | VerifyFailure::TooLarge { .. }
        | VerifyFailure::TooManyParents { .. }
        | VerifyFailure::TooManyTaints { .. }
        | VerifyFailure::TooManyChains { .. }
        | VerifyFailure::TooManySteps { .. }
        | VerifyFailure::EffectiveTaints { .. } => return ProblemKind::OversizedLineage,
        _ => {}
    }
    match step {
        Step::Parse | Step::Schema | Step::Links | Step::Completeness => ProblemKind::MalformedLineage,
        Step::Authority => ProblemKind::ForbiddenLineage,
        Step::Time => ProblemKind::StaleLineage,
        // Also the default: whatever else fails does not prove who it is from.
        Step::Principals | Step::Signatures | Step::Semantics | _ => ProblemKind::UnverifiedLineage,
    }
}
