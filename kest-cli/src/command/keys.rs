//! `kest keys`.

use clap::{Args, Subcommand, ValueEnum};
use kest_core::keys::Jwk;
use kest_core::verify::Anchors;
use kest_providers::identity::detect::{Candidate, Detected};

use crate::Outcome;
use crate::file::Destination;
use crate::identity::{self, Identity, Limit};
use crate::input::Unusable;
use crate::output::{self, Out};
use crate::text;

/// Hand on public keys
#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    Export(Export),
}

/// Write what verifiers need to check this identity's signatures
///
/// Of a SPIRE workload: the trust bundles of its own and of the federated domains, for `kest verify --bundle`. Of an
/// AWS or Bedrock workload: the public key of its KMS key, as trust anchors. The identity is found as `kest whoami`
/// finds it. A local or OIDC workload has a key of its own process: publish it from there.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct Export {
    /// What to write; by default `bundle` for SPIRE, else `anchors`
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    destination: Destination,
}

const EXAMPLES: &str = "\
Examples:
  kest keys export --output bundle.json && kest verify passport.json --bundle bundle.json
  KEST_IDENTITY=aws kest keys export --format pem

Exit codes: 0 written, 1 there is no identity or it has no such keys to hand on, 2 usage error or unwritable output.";

/// The form of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Trust anchors: {"<workload id>":{"keys":[<JWK>…]}}
    Anchors,
    /// A JWK set: {"keys":[<JWK>…]}
    Jwks,
    /// PEM public keys
    Pem,
    /// SPIFFE trust bundles: {"trust_domains":{"<domain>":{"keys":[…]}}}
    Bundle,
}

impl Keys {
    /// # Errors
    /// When the output cannot be written. No keys are an outcome.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        match self.command {
            KeysCommand::Export(export) => export.run(out),
        }
    }
}

impl Export {
    fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        let text = match exported(self.format) {
            Ok(text) => text,
            Err(cause) => {
                output::complain(&cause);
                return Ok(Outcome::Bad);
            }
        };
        self.destination.write(*out, &text)?;
        Ok(Outcome::Good)
    }
}

/// The keys of the detected identity.
///
/// # Errors
/// When there is no identity, or none whose keys this command could hand on.
fn exported(format: Option<Format>) -> Result<String, String> {
    let limit = Limit::begin();
    let detected = limit.detect()?.identity.map_err(|error| error.to_string())?;
    let candidate = detected.candidate();
    if identity::has_key_of_its_process(candidate) {
        return Err(format!(
            "the key of a `{candidate}` identity is in the running workload alone, and this command would export \
             another one; publish it from there, with `Anchors::from_provider`"
        ));
    }
    match (candidate, format) {
        (Candidate::Spire, None | Some(Format::Bundle)) => {
            limit.ask(candidate, move || identity::bundles(detected))
        }
        (Candidate::Spire, Some(Format::Anchors | Format::Jwks | Format::Pem)) => Err(format!(
            "the key of a `{candidate}` identity changes at each rotation, and its trust bundle vouches for it; \
             leave --format out"
        )),
        (_, Some(Format::Bundle)) => {
            Err(format!("a `{candidate}` identity has no trust bundle; leave --format out"))
        }
        (_, None | Some(Format::Anchors)) => Ok(line(&anchors(&identity(&limit, detected)?)?.to_json())),
        (_, Some(Format::Jwks)) => Ok(line(&identity(&limit, detected)?.keys.to_json())),
        (_, Some(Format::Pem)) => {
            let keys = identity(&limit, detected)?.keys;
            keys.0.iter().map(Jwk::to_pem).collect::<Result<_, _>>().map_err(|error| error.to_string())
        }
    }
}

fn identity(limit: &Limit, detected: Detected) -> Result<Identity, String> {
    limit.ask(detected.candidate(), move || Identity::of(detected))
}

fn anchors(identity: &Identity) -> Result<Anchors, String> {
    let mut anchors = Anchors::new();
    let inserted = anchors.insert(&identity.workload_id, identity.keys.clone());
    inserted.map(|()| anchors).map_err(|error| error.to_string())
}

fn line(json: &serde_json::Value) -> String {
    format!("{}\n", text::json(&json.to_string()))
}
