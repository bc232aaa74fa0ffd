//! `kest policy sync`.

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::count;
use crate::Outcome;
use crate::file;
use crate::input::Unusable;
use crate::output::{Ink, Out};
use crate::policy::lock::{Change, Lock};
use crate::policy::project::Place;
use crate::policy::remote::{self, Remote, Server, Skipped};
use crate::text;

/// Write the names and digests of a server's policies to `kest-policies.lock`
///
/// The attribute looks policies up in that file when it compiles, without any network: commit it. Names come from the
/// packages of an Open Policy Agent that define `allow`, or from the actions that the static policies of an AWS
/// Verified Permissions store name; with --opa and --avp from both. The file stands beside kest.toml; it is written whole or not at all, sorted, and
/// the same for the same policies. What the server has under names that are none is listed, and left out. Every answer
/// has to be there within 5 seconds.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Sync {
    #[command(flatten)]
    place: Place,
    /// The Open Policy Agent; else the one that KEST_OPA_URL names, unless --avp is given. `https`, or `http` to this
    /// machine
    #[arg(long, value_name = "URL")]
    opa: Option<String>,
    #[command(flatten)]
    server: Server,
    /// The policy store of AWS Verified Permissions; region and credentials as the AWS SDK finds them
    #[arg(long, value_name = "STORE_ID")]
    avp: Option<String>,
    /// Ask this address instead of AWS; `https`, or `http` to this machine
    #[arg(long, value_name = "URL", requires = "avp")]
    avp_endpoint: Option<String>,
    /// Write to this file instead of `kest-policies.lock` beside kest.toml
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write nothing; exit with 1 and the difference if the file is not up to date
    #[arg(long)]
    check: bool,
    /// Write one JSON object instead of text
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kest policy sync --opa https://opa.example.org --token-file /run/secrets/opa
  kest policy sync --avp PSEXAMPLEabcdefg111111
  kest policy sync --check

Exit codes: 0 written, or up to date, 1 not up to date with --check, or the server has no policy, 2 usage error, no \
usable answer, or unwritable output.";

/// What was found out. The names of the members are a promise: `docs/cli.md`.
#[derive(Serialize)]
struct Answer {
    file: String,
    /// Whether the file is now, or was with --check, what the server says.
    current: bool,
    written: bool,
    policies: usize,
    changes: Vec<Changed>,
    skipped: Vec<Skipped>,
}

#[derive(Serialize)]
struct Changed {
    policy: String,
    change: &'static str,
    #[serde(skip)]
    kind: Change,
}

impl Sync {
    /// # Errors
    /// When the server gives no usable answer, or the file cannot be read or written.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        let project = self.place.open_without_lock()?;
        let path = self.output.clone().unwrap_or_else(|| project.lock_path.clone());
        let Remote { lock: new, skipped } = self.ask()?;
        if new.0.is_empty() {
            let answer = Answer {
                current: false,
                written: false,
                policies: 0,
                changes: Vec::new(),
                skipped,
                file: shown(&path),
            };
            self.write(*out, &answer)?;
            return Ok(Outcome::Bad);
        }
        let old = Lock::read(&path);
        let changes = match &old {
            Ok(old) => changes(old.as_ref().unwrap_or(&Lock::default()), &new),
            // What cannot be read is replaced, and is not up to date.
            Err(_) => changes(&Lock::default(), &new),
        };
        let current = matches!(&old, Ok(Some(old)) if *old == new);
        if self.check {
            // What cannot be read cannot be compared.
            old?;
        } else {
            file::replace(&path, new.to_toml().as_bytes())?;
        }
        let answer = Answer {
            file: shown(&path),
            current: current || !self.check,
            written: !self.check,
            policies: new.0.len(),
            changes,
            skipped,
        };
        self.write(*out, &answer)?;
        Ok(if answer.current { Outcome::Good } else { Outcome::Bad })
    }

    fn ask(&self) -> Result<Remote, Unusable> {
        let url = match (&self.opa, &self.avp) {
            (Some(url), _) => Some(url.clone()),
            (None, Some(_)) => {
                self.server.unused()?;
                None
            }
            (None, None) => Some(from_environment()?),
        };
        let mut all = Remote::default();
        if let Some(url) = url {
            all = all.merge(self.server.opa(&url)?)?;
        }
        if let Some(store) = &self.avp {
            all = all.merge(remote::avp(store, self.avp_endpoint.as_deref())?)?;
        }
        Ok(all)
    }

    fn write(&self, out: Out, answer: &Answer) -> Result<(), Unusable> {
        if self.json { out.json(answer) } else { out.write(&human(out, answer)) }
    }
}

fn from_environment() -> Result<String, Unusable> {
    let Some(url) = env::var_os("KEST_OPA_URL").filter(|url| !url.is_empty()) else {
        let fix = "give --opa URL, set `KEST_OPA_URL`, or give --avp STORE_ID";
        return Err(Unusable(format!("no server is named: {fix}")));
    };
    // What it holds may be a password, and is not shown.
    let not_text = |_| Unusable("`KEST_OPA_URL` is not UTF-8; set it to a URL, or give --opa URL".to_owned());
    url.into_string().map_err(not_text)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn changes(old: &Lock, new: &Lock) -> Vec<Changed> {
    let changed =
        |(kind, policy): (Change, &str)| Changed { policy: policy.to_owned(), change: kind.as_str(), kind };
    old.changes(new).into_iter().map(changed).collect()
}

fn human(out: Out, answer: &Answer) -> String {
    let mut text = String::new();
    for skipped in &answer.skipped {
        let line = text::message(&format!("{}: {}", skipped.what, skipped.reason));
        text.push_str(&format!("{} {line}\n", out.ink(Ink::Unsure, "skipped")));
    }
    for Changed { policy, change, kind } in &answer.changes {
        let ink = match kind {
            Change::Added => Ink::Good,
            Change::Changed => Ink::Unsure,
            Change::Removed => Ink::Bad,
        };
        text.push_str(&format!("{} {policy}\n", out.ink(ink, &format!("{change:<7}"))));
    }
    let file = text::message(&answer.file);
    let policies = count(answer.policies, "policy", "policies");
    let summary = match (answer.policies, answer.written, answer.current) {
        (0, ..) => format!("the server has no policy that can be named, so `{file}` is left as it is"),
        (_, true, _) => format!("`{file}` has {policies}"),
        (_, false, true) => format!("`{file}` is up to date: {policies}"),
        (_, false, false) => format!("`{file}` is not up to date; `kest policy sync` writes it"),
    };
    let ink = if answer.current { Ink::Good } else { Ink::Bad };
    text.push_str(&format!("{}\n", out.ink(ink, &summary)));
    text
}
