//! What goes out and what comes in, before and after it is text.

use kest_core::Passport;
use kest_core::lineage::{Jwt, Outgoing};
use kest_core::verify::UnverifiedPassport;
use serde_json::Value;

/// What goes along with a call to another service. Take away what its host may not have.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Parcel {
    /// The history.
    pub passport: Passport,
    /// On whose behalf: a string or an object.
    pub user: Option<Value>,
    /// The agent that acts.
    pub agent: Option<Value>,
    /// The task it acts for.
    pub task: Option<Value>,
    /// The bearer token. Whoever can read the header can use it.
    pub jwt: Option<Jwt>,
}

impl Parcel {
    /// A parcel with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a bearer token in it.
    #[must_use]
    pub fn with_jwt(mut self, jwt: Jwt) -> Self {
        self.jwt = Some(jwt);
        self
    }

    /// The history alone: what a response takes back.
    #[must_use]
    pub fn of(passport: Passport) -> Self {
        Self { passport, ..Self::default() }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { passport, user, agent, task, jwt } = self;
        passport.is_empty() && user.is_none() && agent.is_none() && task.is_none() && jwt.is_none()
    }
}

impl From<&Outgoing> for Parcel {
    /// History and identity context, and never the token: see [`Self::with_jwt`].
    fn from(outgoing: &Outgoing) -> Self {
        Self {
            passport: outgoing.passport(),
            user: outgoing.user().cloned(),
            agent: outgoing.agent().cloned(),
            task: outgoing.task().cloned(),
            jwt: None,
        }
    }
}

/// What arrived. Nobody has checked any of it: the lineage is to be verified, the strings are hearsay.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Arrived {
    /// The lineage, whose tips are those that `kest.chain_tip` names. None when the sender had none.
    pub lineage: Option<UnverifiedPassport>,
    /// Whom the sender claims to act for.
    pub user: Option<String>,
    /// The agent it claims acts.
    pub agent: Option<String>,
    /// The task it claims to act for.
    pub task: Option<String>,
    /// A bearer token.
    pub jwt: Option<Jwt>,
}
