//! `kest policy ls`.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::count;
use crate::Outcome;
use crate::input::Unusable;
use crate::output::{Ink, Out};
use crate::policy::catalog::{self, Catalog, Kind};
use crate::policy::engines::Engines;
use crate::policy::files::Files;
use crate::policy::project::{Place, Project, Sources};
use crate::policy::source::{Found, Protected};
use crate::text;

/// List the policies that there are, and the functions and tiers that name them
///
/// A policy is there if it is a file of the policy folder, an entry of `kest-policies.lock`, or a name in `known` of
/// the configuration. Functions are those with the attribute `kest_verified` in the Rust sources.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ls {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    sources: Sources,
    /// Write one JSON object instead of text
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kest policy ls
  kest policy ls --config services/orders/kest.toml --src services/orders/src

Exit codes: 0 every name that is used is there, 1 some are not, an engine refuses the folder, or a source cannot be searched, 2 usage error or \
unreadable input.";

/// What there is. The names of the members are a promise: `docs/cli.md`.
#[derive(Serialize)]
struct Answer {
    config: Option<String>,
    dir: Option<String>,
    policies: Vec<Policy>,
    absent: Vec<Absent>,
    dynamic: Vec<Function>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Policy {
    name: String,
    kinds: Vec<Kind>,
    digests: BTreeMap<Kind, String>,
    tiers: Vec<&'static str>,
    used_by: Vec<Function>,
}

#[derive(Serialize)]
struct Absent {
    name: String,
    tiers: Vec<&'static str>,
    used_by: Vec<Function>,
    /// What to write instead, if anything is near.
    #[serde(skip)]
    suggestion: String,
}

#[derive(Serialize)]
struct Function {
    file: String,
    line: usize,
    function: String,
}

impl Ls {
    /// # Errors
    /// When the configuration, the folder or the sources cannot be read, or the output cannot be written.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        let project = self.place.open()?;
        let (files, engines) = match &project.dir {
            Some(dir) => {
                let files = Files::read(dir)?;
                let engines = Engines::load(dir, &files, None)?;
                (files, engines)
            }
            None => (Files::default(), Engines::default()),
        };
        let found = Found::search(&self.sources.folders(&project))?;
        let answer = answer(&project, &Catalog::new(&project, &files, &found), &engines, &found);
        let good = answer.absent.is_empty() && answer.problems.is_empty();
        if self.json {
            out.json(&answer)?;
        } else {
            out.write(&human(*out, &answer, &project))?;
        }
        Ok(if good { Outcome::Good } else { Outcome::Bad })
    }
}

fn answer(project: &Project, catalog: &Catalog<'_>, engines: &Engines, found: &Found) -> Answer {
    let policies = catalog.policies.iter().map(|(name, policy)| Policy {
        name: (*name).to_owned(),
        kinds: policy.kinds.clone(),
        digests: digests(project, engines, name, policy),
        tiers: tiers(policy),
        used_by: used_by(policy),
    });
    let absent = catalog.absent.iter().map(|(name, policy)| Absent {
        name: (*name).to_owned(),
        tiers: tiers(policy),
        used_by: used_by(policy),
        suggestion: catalog.suggestion(name),
    });
    let faults = engines.faults.iter().map(|fault| fault.text.clone());
    let dynamic = found.functions.iter().filter(|function| function.policies.dynamic);
    Answer {
        config: project.config.path.as_ref().map(|path| path.display().to_string()),
        dir: project.dir.as_ref().map(|path| path.display().to_string()),
        policies: policies.collect(),
        absent: absent.collect(),
        dynamic: dynamic.map(Function::new).collect(),
        problems: faults.chain(found.unread.iter().cloned()).collect(),
    }
}

impl Function {
    fn new(function: &Protected) -> Self {
        let Protected { file, line, function, .. } = function;
        Self { file: file.clone(), line: *line, function: function.clone() }
    }

    fn show(&self) -> String {
        text::message(&format!("{}:{} {}", self.file, self.line, self.function))
    }
}

fn digests(
    project: &Project,
    engines: &Engines,
    name: &str,
    policy: &catalog::Policy<'_>,
) -> BTreeMap<Kind, String> {
    let digest = |kind: &Kind| match kind {
        Kind::Rego | Kind::Cedar => engines.digest(name, *kind),
        Kind::Lock => project.lock.0.get(name).cloned(),
        Kind::Known => None,
    };
    policy.kinds.iter().filter_map(|kind| Some((*kind, digest(kind)?))).collect()
}

fn tiers(policy: &catalog::Policy<'_>) -> Vec<&'static str> {
    policy.tiers.iter().map(|tier| tier.as_str()).collect()
}

fn used_by(policy: &catalog::Policy<'_>) -> Vec<Function> {
    policy.used_by.iter().map(|function| Function::new(function)).collect()
}

/// As much of a digest as a person compares.
const DIGITS: usize = "sha256:".len() + 12;

fn human(out: Out, answer: &Answer, project: &Project) -> String {
    let mut text = String::new();
    let width = answer.policies.iter().map(|policy| policy.name.len()).max().unwrap_or_default();
    for policy in &answer.policies {
        let kind = |kind: &Kind| match policy.digests.get(kind) {
            Some(digest) => format!("{} {}", kind.as_str(), digest.get(..DIGITS).unwrap_or(digest)),
            None => kind.as_str().to_owned(),
        };
        let kinds: Vec<String> = policy.kinds.iter().map(kind).collect();
        let padding = " ".repeat(width - policy.name.len());
        let name = out.ink(Ink::Strong, &text::message(&policy.name));
        text.push_str(&format!("{name}{padding}  {}\n", kinds.join(", ")));
        named_by(&mut text, &policy.tiers, &policy.used_by);
    }
    for absent in &answer.absent {
        let name = text::message(&format!("`{}` is no policy{}", absent.name, absent.suggestion));
        text.push_str(&format!("{} {name}\n", out.ink(Ink::Bad, "absent")));
        named_by(&mut text, &absent.tiers, &absent.used_by);
    }
    for function in &answer.dynamic {
        let what = "names policies that are not known from the text";
        text.push_str(&format!("{} {} {what}\n", out.ink(Ink::Unsure, "dynamic"), function.show()));
    }
    for problem in &answer.problems {
        text.push_str(&format!("{} {}\n", out.ink(Ink::Bad, "problem"), text::message(problem)));
    }
    let unused = answer.policies.iter().filter(|policy| policy.tiers.is_empty() && policy.used_by.is_empty());
    text.push_str(&format!(
        "{} in {}; {} named by nobody; {} absent\n",
        count(answer.policies.len(), "policy", "policies"),
        text::message(&project.searched()),
        unused.count(),
        answer.absent.len()
    ));
    text
}

fn named_by(text: &mut String, tiers: &[&str], used_by: &[Function]) {
    for tier in tiers {
        text.push_str(&format!("    tier {tier}\n"));
    }
    for function in used_by {
        text.push_str(&format!("    {}\n", function.show()));
    }
}
