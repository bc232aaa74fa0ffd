//! What a call to another service takes along, and what it brings back. Spec §12.

use std::fmt;
use std::sync::Arc;

use opentelemetry::Context;
use serde_json::Value;
use zeroize::Zeroizing;

use super::context::{Member, effective_identity};
use super::scope::{self, IdentityContext, Scope};
use crate::error::{LineageError, LineageErrorKind};
use crate::passport::{Node, Passport, Tips, descends};
use crate::verify::VerifiedPassport;

/// A bearer token (RFC 6750). Shows itself in no log, and is wiped from memory when the last clone is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Jwt(Arc<Zeroizing<String>>);

impl Jwt {
    /// Holds a token. Nothing of it is checked.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(token.into())))
    }

    /// The token itself: for the `Authorization` header of a host that may have it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jwt(…)")
    }
}

/// The lineage as it stands when a call to another service is made: what goes along, and where the callee's entries
/// come back to.
#[derive(Debug, Clone)]
#[must_use = "what is captured must be sent"]
pub struct Outgoing {
    scope: Option<Arc<Scope>>,
    sent: Tips,
    identity: IdentityContext,
    jwt: Option<Jwt>,
}

impl Outgoing {
    /// Takes the tips and the identity context now. Outside any scope there are none.
    pub fn capture() -> Self {
        Self::of(scope::current())
    }

    /// [`Self::capture`] as it is in an OpenTelemetry context, which a propagator is given and may not attach: its
    /// caller may hold the current one.
    pub fn capture_in(cx: &Context) -> Self {
        Self::of(scope::current_in(cx))
    }

    fn of(scope: Option<Arc<Scope>>) -> Self {
        let (sent, identity, jwt) = match &scope {
            None => (Tips::new(), IdentityContext::default(), None),
            Some(scope) => {
                let env = scope.env();
                let of = |member| effective_identity(env, member);
                let identity = IdentityContext {
                    user: of(Member::User),
                    agent: of(Member::Agent),
                    task: of(Member::Task),
                };
                (scope.tips(), identity, env.jwt.clone())
            }
        };
        Self { scope, sent, identity, jwt }
    }

    /// The history that goes along; empty where nothing has been recorded.
    #[must_use]
    pub fn passport(&self) -> Passport {
        Passport::from_tips(self.sent.iter().cloned())
    }

    /// On whose behalf: a string or an object.
    #[must_use]
    pub fn user(&self) -> Option<&Value> {
        self.identity.user.as_deref()
    }

    /// The agent that acts.
    #[must_use]
    pub fn agent(&self) -> Option<&Value> {
        self.identity.agent.as_deref()
    }

    /// The task it acts for.
    #[must_use]
    pub fn task(&self) -> Option<&Value> {
        self.identity.task.as_deref()
    }

    /// The bearer token, for hosts that may have it.
    #[must_use]
    pub fn jwt(&self) -> Option<&Jwt> {
        self.jwt.as_ref()
    }

    /// Joins what the callee has brought back: the next entry of the scope that the call was made in has its tips as
    /// parents, and no longer those that they come after. Where the callee did nothing, nothing changes.
    /// Where the lineage of the caller has ended meanwhile, there is a warning.
    ///
    /// What it counts for is what `verified` says: verify it with a verifier that is
    /// [continuing](crate::verify::Verifier::continuing) [what was sent](Self::passport).
    ///
    /// # Errors
    /// When a tip that came back does not come after what was sent: it is the history of some other call.
    pub fn returned(&self, verified: &VerifiedPassport) -> Result<(), LineageError> {
        let tips = verified.passport().tip_nodes();
        let after = |tip: &Arc<Node>, sent: &Arc<Node>| tip.hash() == sent.hash() || descends(tip, sent);
        let stranger =
            tips.iter().find(|tip| !self.sent.is_empty() && !self.sent.iter().any(|sent| after(tip, sent)));
        if let Some(tip) = stranger {
            return Err(LineageError::new(
                LineageErrorKind::Unverified,
                format!(
                    "the lineage that came back does not go on from the one that was sent: entry `{}` is of another \
                     call; nothing was joined",
                    crate::jws::hex(tip.hash())
                ),
            ));
        }
        let Some(scope) = &self.scope else { return Ok(()) };
        let mut scope = Arc::clone(scope).still_open();
        while !scope.come_back(&self.sent, tips) {
            let above = Arc::clone(&scope).still_open();
            if Arc::ptr_eq(&above, &scope) {
                scope.come_back_late(&self.sent, tips);
                break;
            }
            scope = above;
        }
        Ok(())
    }
}
