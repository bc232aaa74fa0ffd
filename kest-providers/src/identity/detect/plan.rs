//! The probes, as a function of the environment.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text::Quoted;

use super::super::ephemeral::refuse_in_production;
use super::{Candidate, Outcome, Probe};

const FORCE: &str = "KEST_IDENTITY";
const SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";
const AGENT: &str = "AWS_BEDROCK_AGENT_ID";
const ROLE: &str = "AWS_ROLE_ARN";
const EXECUTION: &str = "AWS_EXECUTION_ENV";
const KMS_KEY: &str = "KEST_AWS_KMS_KEY_ID";
const TOKEN: &str = "KEST_OIDC_TOKEN_PATH";

/// The environment: the value of a variable.
type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Whether `KEST_IDENTITY` names a candidate, so that it must be usable, or the probes ask whether it is there.
#[derive(Clone, Copy)]
enum Asked {
    ByName,
    ByProbe,
}

/// Which candidate is taken, and why.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) probes: Vec<Probe>,
    pub(super) verdict: Result<Candidate, IdentityError>,
}

impl Plan {
    pub(super) fn new(env: Env<'_>, compiled: &dyn Fn(Candidate) -> bool) -> Self {
        let forced = match forced(env) {
            Ok(forced) => forced,
            Err(error) => return Self::without_choice(error),
        };
        let asked = if forced.is_some() { Asked::ByName } else { Asked::ByProbe };
        let mut probes = Vec::with_capacity(Candidate::ALL.len());
        let mut verdict: Option<Result<Candidate, IdentityError>> = None;
        for candidate in Candidate::ALL {
            let (outcome, reason) = match (forced, &verdict) {
                (Some(forced), _) if forced != candidate => {
                    (Outcome::PassedOver, format!("`{FORCE}` is `{forced}`"))
                }
                (None, Some(Ok(earlier))) => (Outcome::PassedOver, after(*earlier, candidate, env)),
                (None, Some(Err(_))) => {
                    (Outcome::PassedOver, "a candidate before it is set up and cannot be used".to_owned())
                }
                (Some(_), _) | (None, None) => match look(candidate, asked, env, compiled) {
                    Look::Absent(reason) => (Outcome::PassedOver, reason),
                    Look::Usable(reason) => {
                        verdict = Some(Ok(candidate));
                        (Outcome::Taken, reason)
                    }
                    Look::Unusable(error) => {
                        let reason = error.to_string();
                        verdict = Some(Err(error));
                        (Outcome::Unusable, reason)
                    }
                },
            };
            probes.push(Probe { candidate, outcome, reason });
        }
        // INVARIANT: the last probe, and one that is forced, is never absent.
        let verdict = verdict.unwrap_or_else(|| Err(unusable("no identity is set up".to_owned())));
        Self { probes, verdict }
    }

    /// Nothing is taken, because nobody can tell which one is meant.
    fn without_choice(error: IdentityError) -> Self {
        let reason = format!("`{FORCE}` cannot be used");
        let probe = |candidate| Probe { candidate, outcome: Outcome::PassedOver, reason: reason.clone() };
        Self { probes: Candidate::ALL.into_iter().map(probe).collect(), verdict: Err(error) }
    }
}

/// What one probe sees.
enum Look {
    Absent(String),
    Usable(String),
    Unusable(IdentityError),
}

fn look(candidate: Candidate, asked: Asked, env: Env<'_>, compiled: &dyn Fn(Candidate) -> bool) -> Look {
    let seen = match candidate {
        Candidate::Spire => spire(asked, env),
        Candidate::Bedrock => bedrock(asked, env),
        Candidate::Aws => aws(asked, env),
        Candidate::Oidc => oidc(asked, env),
        Candidate::Local => local(asked, env),
    };
    match seen.unwrap_or_else(Look::Unusable) {
        Look::Usable(reason) if !compiled(candidate) => Look::Unusable(not_compiled(candidate, &reason)),
        seen @ (Look::Usable(_) | Look::Absent(_) | Look::Unusable(_)) => seen,
    }
}

fn spire(asked: Asked, env: Env<'_>) -> Result<Look, IdentityError> {
    Ok(match (variable(SOCKET, env)?, asked) {
        (Some(_), _) => Look::Usable(is_set(SOCKET, asked)),
        (None, Asked::ByName) => Look::Usable(format!(
            "`{FORCE}` is `spire`; `{SOCKET}` is not set, so the agent is expected at its default socket"
        )),
        (None, Asked::ByProbe) => Look::Absent(is_not_set(SOCKET)),
    })
}

fn bedrock(asked: Asked, env: Env<'_>) -> Result<Look, IdentityError> {
    Ok(match (variable(AGENT, env)?, asked) {
        (Some(_), _) => Look::Usable(is_set(AGENT, asked)),
        (None, Asked::ByName) => return Err(needs(Candidate::Bedrock, AGENT, "the id of the agent")),
        (None, Asked::ByProbe) => Look::Absent(is_not_set(AGENT)),
    })
}

fn aws(asked: Asked, env: Env<'_>) -> Result<Look, IdentityError> {
    let key = variable(KMS_KEY, env)?;
    match (asked, &key) {
        (Asked::ByName, Some(_)) => return Ok(Look::Usable(is_set(KMS_KEY, asked))),
        (Asked::ByName, None) => return Err(needs(Candidate::Aws, KMS_KEY, "the KMS key that signs")),
        (Asked::ByProbe, _) => {}
    }
    let signal = match (variable(ROLE, env)?, variable(EXECUTION, env)?) {
        (Some(_), _) => Some(ROLE),
        (None, Some(_)) => Some(EXECUTION),
        (None, None) => None,
    };
    Ok(match (signal, key) {
        (Some(signal), Some(_)) => Look::Usable(format!("`{signal}` and `{KMS_KEY}` are set")),
        (Some(signal), None) => Look::Unusable(unusable(format!(
            "`{signal}` is set, but `{KMS_KEY}` is not: name the KMS key that signs there, or say with `{FORCE}` \
             which identity to use instead"
        ))),
        (None, Some(_)) => Look::Absent(format!(
            "neither `{ROLE}` nor `{EXECUTION}` is set; `{KMS_KEY}` is, and `{FORCE}=aws` takes it"
        )),
        (None, None) => Look::Absent(format!("neither `{ROLE}` nor `{EXECUTION}` is set")),
    })
}

fn oidc(asked: Asked, env: Env<'_>) -> Result<Look, IdentityError> {
    let path = match (variable(TOKEN, env)?, asked) {
        (Some(path), _) => path,
        (None, Asked::ByName) => return Err(needs(Candidate::Oidc, TOKEN, "the path of the token's file")),
        (None, Asked::ByProbe) => return Ok(Look::Absent(is_not_set(TOKEN))),
    };
    let unreadable = |error: io::Error| {
        let message = format!(
            "`{TOKEN}` names {}, which cannot be read: {error}; mount the token there, or correct the path",
            Quoted(&path)
        );
        unusable(message).with_source(error)
    };
    let metadata = fs::metadata(&path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unusable(format!(
            "`{TOKEN}` names {}, which is no file; name the file that holds the token",
            Quoted(&path)
        )));
    }
    File::open(&path).map_err(unreadable)?;
    Ok(Look::Usable(is_set(TOKEN, asked)))
}

fn local(asked: Asked, env: Env<'_>) -> Result<Look, IdentityError> {
    let environment = env("KEST_ENV").map(|value| value.to_string_lossy().into_owned());
    if refuse_in_production("LocalEd25519Provider", environment.as_deref()).is_err() {
        let cause = match asked {
            Asked::ByName => format!("`{FORCE}` is `local`"),
            Asked::ByProbe => "no identity is set up".to_owned(),
        };
        let message = format!(
            "{cause}, and `KEST_ENV` is `production`, where a key that proves nothing is refused; set `{SOCKET}`, \
             `{AGENT}`, `{ROLE}` with `{KMS_KEY}`, or `{TOKEN}`"
        );
        return Err(IdentityError::new(IdentityErrorKind::Refused, message));
    }
    Ok(Look::Usable(match asked {
        Asked::ByName => format!("`{FORCE}` is `local`"),
        Asked::ByProbe => "no other identity is set up; for development".to_owned(),
    }))
}

fn forced(env: Env<'_>) -> Result<Option<Candidate>, IdentityError> {
    let Some(name) = variable(FORCE, env)? else { return Ok(None) };
    let known = name.parse().map(Some);
    known.map_err(|unknown| unusable(format!("`{FORCE}` is {}: {unknown}", Quoted(&name))))
}

/// A variable's value, if it is set.
///
/// # Errors
/// When it is empty: somebody meant to set it, and what it would have said is lost. When it is not UTF-8.
fn variable(name: &str, env: Env<'_>) -> Result<Option<String>, IdentityError> {
    match env(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(value)) if value.trim().is_empty() => {
            Err(unusable(format!("`{name}` is set and empty; give it a value, or unset it")))
        }
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(unusable(format!("the value of `{name}` is not UTF-8; correct it, or unset it"))),
    }
}

/// Why a candidate behind the one that is taken does not matter.
fn after(earlier: Candidate, candidate: Candidate, env: Env<'_>) -> String {
    let signals: &[&str] = match candidate {
        Candidate::Spire => &[SOCKET],
        Candidate::Bedrock => &[AGENT],
        Candidate::Aws => &[ROLE, EXECUTION],
        Candidate::Oidc => &[TOKEN],
        Candidate::Local => &[],
    };
    match signals.iter().find(|name| env(name).is_some()) {
        Some(name) => format!("`{name}` is set, but `{earlier}` comes first"),
        None => format!("`{earlier}` comes first"),
    }
}

fn is_set(name: &str, asked: Asked) -> String {
    match asked {
        Asked::ByName => format!("`{FORCE}` says so, and `{name}` is set"),
        Asked::ByProbe => format!("`{name}` is set"),
    }
}

fn is_not_set(name: &str) -> String {
    format!("`{name}` is not set")
}

fn needs(candidate: Candidate, name: &str, what: &str) -> IdentityError {
    unusable(format!("`{FORCE}` is `{candidate}`, but `{name}` is not set; it gives {what}"))
}

pub(super) fn not_compiled(candidate: Candidate, reason: &str) -> IdentityError {
    unusable(format!(
        "{reason}, but this program was built without kest's cargo feature `{candidate}`: add the feature, or say \
         with `{FORCE}` which identity to use instead"
    ))
}

fn unusable(message: String) -> IdentityError {
    IdentityError::new(IdentityErrorKind::Missing, message)
}

#[cfg(test)]
mod tests;
