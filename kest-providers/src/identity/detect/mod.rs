//! The identity that the platform gives, found from the environment. Spec §10.
//!
//! The probes, in this order; the first whose signal is set is taken:
//!
//! | candidate | signal | what it needs besides |
//! |---|---|---|
//! | `spire` | `SPIFFE_ENDPOINT_SOCKET` | |
//! | `bedrock` | `AWS_BEDROCK_AGENT_ID` | |
//! | `aws` | `AWS_ROLE_ARN`, or `AWS_EXECUTION_ENV` | `KEST_AWS_KMS_KEY_ID` |
//! | `oidc` | `KEST_OIDC_TOKEN_PATH` | the file |
//! | `local` | none of these | `KEST_ENV` is not `production` |
//!
//! `KEST_IDENTITY` names one of them, and the others are then not looked at. It needs the same, but for the signals
//! that only say where a program runs: `spire` without its variable is the default socket, `aws` needs only the key.
//!
//! A signal that is set and cannot be used is an error, and nothing weaker is taken in its place: a cargo feature
//! that the program was built without, a variable that is empty or not UTF-8, a malformed address, a missing file.
//! An empty variable is no absent one. What comes after the one that is taken is not looked at.
//!
//! Nothing connects here: a SPIRE agent may come later than the program.

mod candidate;
mod make;
mod plan;

use std::env;
use std::sync::Arc;

use kest_core::error::IdentityError;
use kest_core::identity::IdentityProvider;

pub use self::candidate::Candidate;
pub use self::make::Detected;
use self::plan::Plan;

/// The identity that the platform gives, by the probes of [this module](self).
///
/// Each call probes anew and makes a new provider, with a key of its own where the platform gives none: keep the one
/// you get. `kest::configure` calls this for a `Kest` without an identity.
///
/// # Errors
/// When a signal is set and cannot be used, naming the variable, the cargo feature or the file; when `KEST_IDENTITY`
/// names no provider; when nothing is set up and `KEST_ENV` is `production`.
pub fn get_default_identity() -> Result<Arc<dyn IdentityProvider>, IdentityError> {
    let Detection { probes, identity } = detect();
    let identity = identity?;
    for Probe { candidate, reason, .. } in probes.iter().filter(|probe| probe.outcome == Outcome::Taken) {
        tracing::info!(target: "kest", "identity detected: {} ({reason})", candidate.provider());
    }
    Ok(identity.into_provider())
}

/// Runs the probes, and says of each what came of it.
#[must_use]
pub fn detect() -> Detection {
    let Plan { mut probes, verdict } = Plan::new(&|name| env::var_os(name), &Candidate::is_compiled);
    let identity = verdict.and_then(|candidate| {
        make::make(candidate).map_err(|error| {
            let Some(probe) = probes.iter_mut().find(|probe| probe.candidate == candidate) else {
                return error;
            };
            // What the provider itself finds wrong with its settings is as final as what the probe finds.
            probe.outcome = Outcome::Unusable;
            probe.reason = format!("{}, and cannot be used: {error}", probe.reason);
            IdentityError::new(error.kind(), probe.reason.clone()).with_source(error)
        })
    });
    Detection { probes, identity }
}

/// What the probes found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Detection {
    /// One for each candidate, in order.
    pub probes: Vec<Probe>,
    /// The identity, not yet connected; or why there is none.
    pub identity: Result<Detected, IdentityError>,
}

/// What came of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// What was looked for.
    pub candidate: Candidate,
    /// Whether it was found.
    pub outcome: Outcome,
    /// Why, for people.
    pub reason: String,
}

/// Whether a candidate was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// This is the identity.
    Taken,
    /// It is not set up, or another one goes before it.
    PassedOver,
    /// It is set up and cannot be used; so there is no identity.
    Unusable,
}
