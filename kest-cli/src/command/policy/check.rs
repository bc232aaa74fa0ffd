//! `kest policy check`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use kest_core::config::PolicyCheck;
use serde::Serialize;

use super::count;
use crate::Outcome;
use crate::input::Unusable;
use crate::output::{Ink, Out};
use crate::policy::catalog::{Catalog, Kind};
use crate::policy::engines::Engines;
use crate::policy::files::{self, Files};
use crate::policy::lock::digest_of;
use crate::policy::names::is_name;
use crate::policy::project::{Place, Project, Sources, here};
use crate::policy::rego_text;
use crate::policy::source::Found;
use crate::text;

/// Check that policies load, and that every name stands for one
///
/// Errors are: files that an engine refuses (syntax, package and path, built-ins that it has not, the schema), names
/// in the sources or in the tiers of the configuration for which there is no policy, tables of cases that cannot be
/// read or belong to no policy, sources that have the attribute and cannot be searched. Warnings are: policies that
/// nobody names, entries of `kest-policies.lock` for a Rego file that differs, names in `unchecked(…)` that are no
/// policy here, sources in which no function has the attribute.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Check {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    sources: Sources,
    /// The schema of the Cedar policies, as a service gives it to its engine; else there is none
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Exit with 1 for warnings too
    #[arg(long)]
    deny_warnings: bool,
    /// Write one JSON object instead of text
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kest policy check
  kest policy check --dir policies --src src --src examples --deny-warnings

Exit codes: 0 no errors, 1 errors, or warnings with --deny-warnings, 2 usage error or unreadable input.";

/// What was found out. The names of the members are a promise: `docs/cli.md`.
#[derive(Serialize)]
struct Answer {
    accepted: bool,
    summary: String,
    policies: usize,
    functions: usize,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    level: Level,
    /// A file, with its line where that is known.
    at: Option<String>,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Error,
    Warning,
}

impl Check {
    /// # Errors
    /// When there is nothing to check, or something cannot be read.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        let project = self.place.open()?;
        let (files, engines) = match &project.dir {
            Some(dir) => {
                let files = Files::read(dir)?;
                let engines = Engines::load(dir, &files, self.schema.as_deref())?;
                (files, engines)
            }
            None => (Files::default(), Engines::default()),
        };
        let folders = self.sources.folders(&project);
        let found = Found::search(&folders)?;
        let catalog = Catalog::new(&project, &files, &found);
        if catalog.policies.is_empty() && catalog.absent.is_empty() && files.cases.is_empty() {
            return Err(Unusable(format!(
                "there is nothing to check: no policy in {}, none in a lock file, and none that the sources name; \
                 give --dir or --config",
                project.searched()
            )));
        }
        let mut findings = Findings::default();
        for fault in &engines.faults {
            findings.error(Some(fault.path.display().to_string()), fault.text.clone());
        }
        self.schema_without_policies(&files, &mut findings);
        absent(&project, &catalog, &mut findings);
        tables(&catalog, &files, &mut findings);
        unused(&files, &catalog, &found, &mut findings);
        lock(&project, &files, &engines, &mut findings);
        for unread in &found.unread {
            findings.error(None, unread.clone());
        }
        if found.functions.is_empty() && found.unread.is_empty() {
            let text = format!(
                "no function with `kest_verified` is in {}; name the sources with --src",
                listed(&folders)
            );
            findings.warning(None, text);
        }
        let answer = findings.answer(catalog.policies.len(), found.functions.len(), self.deny_warnings);
        let outcome = if answer.accepted { Outcome::Good } else { Outcome::Bad };
        if self.json {
            out.json(&answer)?;
        } else {
            out.write(&human(*out, &answer))?;
        }
        Ok(outcome)
    }

    fn schema_without_policies(&self, files: &Files, findings: &mut Findings) {
        if let (Some(schema), true) = (&self.schema, files.cedar.is_empty()) {
            let text = "there is no Cedar policy that the schema could be checked with".to_owned();
            findings.warning(Some(schema.display().to_string()), text);
        }
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, at: Option<String>, text: String) {
        self.0.push(Finding { level: Level::Error, at, text });
    }

    fn warning(&mut self, at: Option<String>, text: String) {
        self.0.push(Finding { level: Level::Warning, at, text });
    }

    fn answer(mut self, policies: usize, functions: usize, deny_warnings: bool) -> Answer {
        self.0.sort_by_key(|finding| finding.level == Level::Warning);
        let errors = self.0.iter().filter(|finding| finding.level == Level::Error).count();
        let warnings = self.0.len() - errors;
        Answer {
            accepted: errors == 0 && (warnings == 0 || !deny_warnings),
            summary: format!(
                "{}, {}: {}, {}",
                count(policies, "policy", "policies"),
                count(functions, "function", "functions"),
                count(errors, "error", "errors"),
                count(warnings, "warning", "warnings")
            ),
            policies,
            functions,
            findings: self.0,
        }
    }
}

/// Names that stand for nothing.
fn absent(project: &Project, catalog: &Catalog<'_>, findings: &mut Findings) {
    let off = project.config.policies.policy_check == PolicyCheck::Off;
    for (name, policy) in &catalog.absent {
        let text = if is_name(name) {
            format!("unknown policy `{name}`{}", catalog.suggestion(name))
        } else {
            format!("`{name}` is not a policy name; write a slash path such as `kest/allow_trusted`")
        };
        for tier in &policy.tiers {
            let config = project.config.path.as_deref().unwrap_or(Path::new("kest.toml"));
            findings.error(Some(config.display().to_string()), format!("{text} (in the {tier} tier)"));
        }
        for function in &policy.used_by {
            let at = Some(format!("{}:{}", function.file, function.line));
            let text = format!("{text} (named by `{}`)", function.function);
            if off || function.policies.unchecked {
                findings.warning(at, text)
            } else {
                findings.error(at, text)
            }
        }
    }
}

/// Tables of cases that are none, or nobody's.
fn tables(catalog: &Catalog<'_>, files: &Files, findings: &mut Findings) {
    for (name, path) in &files.cases {
        let at = || Some(path.display().to_string());
        if let Err(Unusable(why)) = files::table(path) {
            findings.error(at(), why);
        }
        if !catalog.policies.contains_key(name.as_str()) {
            let suggestion = catalog.suggestion(name);
            findings
                .error(at(), format!("the table is for `{name}`, and there is no such policy{suggestion}"));
        }
    }
}

fn unused(files: &Files, catalog: &Catalog<'_>, found: &Found, findings: &mut Findings) {
    let dynamic = found.functions.iter().any(|function| function.policies.dynamic);
    let but = if dynamic { ", unless those do whose policies are not known from the text" } else { "" };
    let helpers: BTreeSet<&str> = files.names().filter(|name| is_referred_to(files, name)).collect();
    for (name, policy) in &catalog.policies {
        if policy.tiers.is_empty() && policy.used_by.is_empty() && !helpers.contains(name) {
            let path = files.rego.get(*name).or_else(|| files.cedar.get(*name));
            let at = path.map(|file| file.path.display().to_string());
            findings.warning(at, format!("no function and no tier names the policy `{name}`{but}"));
        }
    }
}

/// Whether another Rego file has the package's name in it.
fn is_referred_to(files: &Files, name: &str) -> bool {
    let data = format!("data.{}", name.replace('/', "."));
    let refers = |text: &str| {
        let text = rego_text::code(text);
        text.match_indices(&data).any(|(at, _)| {
            let next = text.get(at + data.len()..).and_then(|rest| rest.chars().next());
            next.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_')
        })
    };
    files.rego.iter().any(|(other, file)| other != name && file.text.as_deref().is_ok_and(refers))
}

/// Entries of the lock for policies that are here and differ: one of the two is not what decides. A server has a Cedar
/// policy in another form, so that those cannot be compared.
fn lock(project: &Project, files: &Files, engines: &Engines, findings: &mut Findings) {
    for (name, digest) in &project.lock.0 {
        let Some(file) = files.rego.get(name) else { continue };
        let of_text = || file.text.as_ref().ok().map(|text| digest_of(text));
        if engines.digest(name, Kind::Rego).or_else(of_text).as_ref() != Some(digest) {
            let at = Some(file.path.display().to_string());
            let lock = project.lock_path.display();
            findings
                .warning(at, format!("the digest of `{name}` in `{lock}` is another than that of the file"));
        }
    }
}

/// Folders as a message shows them.
fn listed(folders: &[PathBuf]) -> String {
    let shown: Vec<String> = folders.iter().map(|folder| format!("`{}`", here(folder).display())).collect();
    shown.join(", ")
}

fn human(out: Out, answer: &Answer) -> String {
    let mut text = String::new();
    for finding in &answer.findings {
        let level = match finding.level {
            Level::Error => out.ink(Ink::Bad, "error  "),
            Level::Warning => out.ink(Ink::Unsure, "warning"),
        };
        // Many messages begin with the place.
        let place = match &finding.at {
            Some(at) if !finding.text.contains(at.as_str()) => format!("{at}: "),
            Some(_) | None => String::new(),
        };
        text.push_str(&format!("{level} {}\n", text::message(&format!("{place}{}", finding.text))));
    }
    let ink = if answer.accepted { Ink::Good } else { Ink::Bad };
    text.push_str(&format!("{}\n", out.ink(ink, &answer.summary)));
    text
}
