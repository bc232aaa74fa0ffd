//! `kest whoami`.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use kest_core::keys::Jwk;
use kest_providers::identity::detect::{Detection, Outcome as Probed, Probe};
use serde::Serialize;

use crate::Outcome;
use crate::identity::{self, Identity, Limit};
use crate::input::Unusable;
use crate::output::{Ink, Out};
use crate::text;

/// Say which identity the platform gives this process, and why that one
///
/// Probes in the order spire, bedrock, aws, oidc, local, as `kest::configure` does for a program without an identity
/// of its own; KEST_IDENTITY names one of them instead. A signal that is set and cannot be used is an error, and
/// nothing weaker is taken in its place. Then connects, for at most 5 seconds. Shows no key and no token.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Whoami {
    /// Write one JSON object instead of text
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kest whoami
  SPIFFE_ENDPOINT_SOCKET=unix:///run/spire/sockets/agent.sock kest whoami --json

Exit codes: 0 there is an identity, 1 there is none that can be used, 2 usage error.";

/// What was found out. The names of the members are a promise: `docs/cli.md`.
#[derive(Serialize)]
struct Answer {
    identity: Option<Shown>,
    failure: Option<String>,
    probes: Vec<ShownProbe>,
}

#[derive(Serialize)]
struct Shown {
    provider: &'static str,
    r#type: &'static str,
    workload_id: String,
    oidc: Option<Oidc>,
    keys: Vec<Key>,
    expires_at_ms: Option<u64>,
}

#[derive(Serialize)]
struct Oidc {
    iss: String,
    sub: String,
}

#[derive(Serialize)]
struct Key {
    /// `null` for a key that may be used with several.
    alg: Option<&'static str>,
    /// `null` for a key that each process makes for itself: this one's is nobody else's.
    kid: Option<String>,
}

#[derive(Serialize)]
struct ShownProbe {
    provider: &'static str,
    outcome: &'static str,
    reason: String,
}

impl Whoami {
    /// # Errors
    /// When the output cannot be written. No identity is an outcome.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        let limit = Limit::begin();
        let (probes, identity) = match limit.detect() {
            Ok(Detection { probes, identity, .. }) => (probes, identity.map_err(|error| error.to_string())),
            Err(late) => (Vec::new(), Err(late)),
        };
        let identity =
            identity.and_then(|detected| limit.ask(detected.candidate(), move || Identity::of(detected)));
        let outcome = if identity.is_ok() { Outcome::Good } else { Outcome::Bad };
        if self.json {
            out.json(&answer(&probes, identity))?;
        } else {
            out.write(&human(*out, &answer(&probes, identity)))?;
        }
        Ok(outcome)
    }
}

fn answer(probes: &[Probe], identity: Result<Identity, String>) -> Answer {
    let probes = probes.iter().map(|probe| ShownProbe {
        provider: probe.candidate.name(),
        outcome: match probe.outcome {
            Probed::Taken => TAKEN,
            Probed::PassedOver => "passed over",
            Probed::Unusable => UNUSABLE,
        },
        reason: probe.reason.clone(),
    });
    let (identity, failure) = match identity {
        Ok(identity) => (Some(shown(identity)), None),
        Err(failure) => (None, Some(failure)),
    };
    Answer { identity, failure, probes: probes.collect() }
}

const TAKEN: &str = "taken";
const UNUSABLE: &str = "unusable";

fn shown(identity: Identity) -> Shown {
    let of_process = identity::has_key_of_its_process(identity.candidate);
    let key = |key: &Jwk| Key {
        alg: key.algorithm().map(|alg| alg.as_str()),
        kid: (!of_process).then(|| key.thumbprint()),
    };
    Shown {
        provider: identity.candidate.name(),
        r#type: identity.candidate.provider(),
        workload_id: identity.workload_id.to_string(),
        oidc: identity.oidc.map(|oidc| Oidc { iss: oidc.issuer.to_string(), sub: oidc.subject.to_string() }),
        keys: identity.keys.0.iter().map(key).collect(),
        expires_at_ms: identity.expires_at_ms,
    }
}

fn human(out: Out, answer: &Answer) -> String {
    let mut text = String::new();
    for probe in &answer.probes {
        let ink = match probe.outcome {
            TAKEN => Ink::Good,
            UNUSABLE => Ink::Bad,
            _ => Ink::Quiet,
        };
        let outcome = out.ink(ink, &format!("{:<11}", probe.outcome));
        text.push_str(&format!("{:<8} {outcome}  {}\n", probe.provider, text::message(&probe.reason)));
    }
    if let Some(failure) = &answer.failure {
        // The probe's own line says why.
        let unusable = answer.probes.iter().find(|probe| probe.outcome == UNUSABLE);
        let why = match unusable {
            Some(probe) => format!("`{}` cannot be used", probe.provider),
            None => text::message(failure),
        };
        text.push_str(&out.ink(Ink::Bad, &format!("no identity: {why}")));
        text.push('\n');
    }
    if let Some(identity) = &answer.identity {
        text.push_str(&format!("provider {}\n", identity.r#type));
        if let Some(oidc) = &identity.oidc {
            text.push_str(&format!("issuer   {}\n", text::id(&oidc.iss, LONGEST)));
        }
        for key in &identity.keys {
            let alg = key.alg.unwrap_or("RSA");
            let kid = key.kid.as_ref().map_or(OF_PROCESS.to_owned(), |kid| format!("kid {kid}"));
            text.push_str(&format!("key      {alg}, {kid}\n"));
        }
        if let Some(at) = identity.expires_at_ms {
            text.push_str(&format!("expires  {}\n", from_now(at)));
        }
        let workload_id = text::id(&identity.workload_id, LONGEST);
        text.push_str(&format!("{}\n", out.ink(Ink::Strong, &workload_id)));
    }
    text
}

/// More of an id is cut; the JSON form has it whole.
const LONGEST: usize = 200;
const OF_PROCESS: &str = "made by each process for itself";

fn from_now(at_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let seconds = u128::from(at_ms).saturating_sub(now) / 1000;
    match seconds {
        0..=119 => format!("in {seconds} seconds"),
        120..=7199 => format!("in {} minutes", seconds / 60),
        7200.. => format!("in {} hours", seconds / 3600),
    }
}
