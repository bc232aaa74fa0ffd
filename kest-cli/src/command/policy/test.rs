//! `kest policy test`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use kest_core::error::PolicyErrorKind;
use kest_core::policy::{Decision, PolicyEngine};
use kest_providers::policy::cases::{CaseResult, CaseTable};
use serde::Serialize;

use super::count;
use crate::Outcome;
use crate::input::Unusable;
use crate::output::{Ink, Out};
use crate::policy::catalog::Catalog;
use crate::policy::engines::Engines;
use crate::policy::files::{self, Files};
use crate::policy::names::did_you_mean;
use crate::policy::project::{Place, Project};
use crate::policy::remote::Server;
use crate::policy::source::Found;
use crate::text;

/// Ask policies the cases in their tables
///
/// The table of the policy `a/b` is `a/b.cases` in the policy folder:
/// {"cases":[{"name":"…","input":{…},"decision":"allow|deny|error|refused","reason":"…"}]}. It is asked of every engine that
/// holds the policy: one that is there in Rego and in Cedar has to answer alike. With --opa a server is asked instead;
/// a policy that it does not hold (`GET /v1/policies`) fails. A case that an engine cannot judge, since it does not know the policy or does not answer, fails whatever the table
/// says.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Test {
    /// The policies to test; else all that have a table
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// The schema of the Cedar policies, as a service gives it to its engine; else there is none
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Ask the Open Policy Agent at this address, instead of the engines in this process
    #[arg(long, value_name = "URL")]
    opa: Option<String>,
    #[command(flatten)]
    server: Server,
    /// Fail for a policy without a table, as for one that is named
    #[arg(long)]
    require_cases: bool,
    /// Write one JSON object instead of text
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kest policy test
  kest policy test orders/refund --require-cases
  kest policy test --opa http://127.0.0.1:8181

Exit codes: 0 every answer is the expected one, 1 one is not, 2 usage error, no table, or unreadable input.";

/// What came out. The names of the members are a promise: `docs/cli.md`.
#[derive(Serialize)]
struct Answer {
    passed: bool,
    summary: String,
    runs: Vec<Run>,
    /// Tables that no engine was asked with.
    not_run: Vec<String>,
    without_cases: Vec<String>,
}

/// A table and an engine.
#[derive(Serialize)]
struct Run {
    policy: String,
    engine: &'static str,
    cases: usize,
    differences: Vec<Difference>,
}

#[derive(Serialize)]
struct Difference {
    case: String,
    expected: String,
    got: &'static str,
    /// The reason of a denial or the message of an error.
    reason: Option<String>,
}

impl Test {
    /// # Errors
    /// When there is no table, or something cannot be read.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        let project = self.place.open()?;
        let Some(dir) = &project.dir else {
            return Err(Unusable(format!(
                "there is no policy folder: looked for {}; give --dir or --config",
                project.searched()
            )));
        };
        let files = Files::read(dir)?;
        let nothing = Found::default();
        let catalog = Catalog::new(&project, &files, &nothing);
        let (tables, without_cases) = self.tables(&files, &catalog, &project)?;
        let answer = if let Some(url) = &self.opa {
            let engine = self.server.engine(url)?;
            // A package that is not there has no answer, which a table could take for the policy's.
            let held = self.server.opa(url)?.lock.0;
            self.answer(&tables, without_cases, |name| {
                held.contains_key(name).then_some(("opa", &*engine)).into_iter().collect()
            })
        } else {
            self.server.unused()?;
            let engines = Engines::load(dir, &files, self.schema.as_deref())?;
            if let Some(fault) = engines.faults.first() {
                return Err(Unusable(format!("{}; `kest policy check` shows all that is wrong", fault.text)));
            }
            self.answer(&tables, without_cases, |name| {
                engines.holding(name).into_iter().map(|(kind, engine)| (kind.as_str(), engine)).collect()
            })
        };
        if self.json {
            out.json(&answer)?;
        } else {
            out.write(&self.human(*out, &answer))?;
        }
        Ok(if answer.passed { Outcome::Good } else { Outcome::Bad })
    }

    /// Whether a policy without a table fails. One that was asked for was not tested.
    fn needs_cases(&self) -> bool {
        self.require_cases || !self.names.is_empty()
    }

    /// The tables to ask, and the policies that have none.
    fn tables(
        &self,
        files: &Files,
        catalog: &Catalog<'_>,
        project: &Project,
    ) -> Result<(BTreeMap<String, CaseTable>, Vec<String>), Unusable> {
        for name in &self.names {
            if !files.cases.contains_key(name) && !catalog.policies.contains_key(name.as_str()) {
                let all = catalog.policies.keys().copied().chain(files.cases.keys().map(String::as_str));
                return Err(Unusable(format!("unknown policy `{name}`{}", did_you_mean(name, all))));
            }
        }
        let wanted = |name: &str| self.names.is_empty() || self.names.iter().any(|one| one == name);
        let mut tables = BTreeMap::new();
        for (name, path) in files.cases.iter().filter(|(name, _)| wanted(name)) {
            tables.insert(name.clone(), files::table(path)?);
        }
        if tables.is_empty() {
            let of = if self.names.is_empty() {
                project.searched()
            } else {
                format!("{} for `{}`", project.searched(), self.names.join("`, `"))
            };
            return Err(Unusable(format!(
                "nothing was tested: there is no table of cases in {of}; the one of a policy `a/b` is \
                 `a/b.cases` beside it"
            )));
        }
        let bare = catalog.policies.keys().filter(|name| wanted(name) && !files.cases.contains_key(**name));
        let bare = bare.map(|name| (*name).to_owned()).collect();
        Ok((tables, bare))
    }

    fn answer<'a>(
        &self,
        tables: &BTreeMap<String, CaseTable>,
        without_cases: Vec<String>,
        engines: impl Fn(&str) -> Vec<(&'static str, &'a dyn PolicyEngine)>,
    ) -> Answer {
        let (mut runs, mut not_run) = (Vec::new(), Vec::new());
        for (name, table) in tables {
            let engines = engines(name);
            if engines.is_empty() {
                not_run.push(name.clone());
            }
            runs.extend(engines.into_iter().map(|(engine, asked)| run(name, engine, table, asked)));
        }
        let different = runs.iter().filter(|run| !run.differences.is_empty()).count();
        let cases: usize = runs.iter().map(|run| run.cases).sum();
        let passed =
            different == 0 && not_run.is_empty() && (without_cases.is_empty() || !self.needs_cases());
        let mut summary = format!(
            "{} asked of {}: {}",
            count(cases, "case", "cases"),
            count(tables.len(), "policy", "policies"),
            if different == 0 { "all as expected".to_owned() } else { differ(&runs) }
        );
        for (number, what) in [(not_run.len(), "not asked"), (without_cases.len(), "without a table")] {
            if number > 0 {
                summary.push_str(&format!("; {} {what}", count(number, "policy", "policies")));
            }
        }
        Answer { passed, summary, runs, not_run, without_cases }
    }

    fn human(&self, out: Out, answer: &Answer) -> String {
        let mut text = String::new();
        for run in &answer.runs {
            let failed = run.differences.len();
            let (ink, verdict) = if failed == 0 { (Ink::Good, "pass") } else { (Ink::Bad, "fail") };
            let of = if failed == 0 { String::new() } else { format!("{failed} of ") };
            let cases = count(run.cases, "case", "cases");
            text.push_str(&format!(
                "{} {} ({}) {of}{cases}\n",
                out.ink(ink, verdict),
                text::message(&run.policy),
                run.engine
            ));
            for difference in &run.differences {
                text.push_str(&format!("     case     {}\n", text::message(&difference.case)));
                text.push_str(&format!("     expected {}\n", text::message(&difference.expected)));
                let reason = match (&difference.reason, difference.got) {
                    (None, "deny") => " without a reason".to_owned(),
                    (None, _) => String::new(),
                    (Some(reason), "deny") => format!(" because `{reason}`"),
                    (Some(message), _) => format!(": {message}"),
                };
                text.push_str(&format!("     got      {}{}\n", difference.got, text::message(&reason)));
            }
        }
        for policy in &answer.not_run {
            let why = match self.opa {
                Some(_) => format!("OPA does not hold `data.{}.allow`", policy.replace('/', ".")),
                None => "no engine in this process holds it; ask a server with --opa".to_owned(),
            };
            let text_of = format!("{policy}: {why}");
            text.push_str(&format!("{} {}\n", out.ink(Ink::Bad, "fail"), text::message(&text_of)));
        }
        let ink = if self.needs_cases() { Ink::Bad } else { Ink::Unsure };
        for policy in &answer.without_cases {
            text.push_str(&format!(
                "{} {} has no table of cases\n",
                out.ink(ink, "none"),
                text::message(policy)
            ));
        }
        let ink = if answer.passed { Ink::Good } else { Ink::Bad };
        text.push_str(&format!("{}\n", out.ink(ink, &answer.summary)));
        text
    }
}

fn differ(runs: &[Run]) -> String {
    let differences: usize = runs.iter().map(|run| run.differences.len()).sum();
    format!("{differences} not as expected")
}

fn run(policy: &str, engine: &'static str, table: &CaseTable, asked: &dyn PolicyEngine) -> Run {
    let report = table.run(policy, asked);
    let wrong = report.results().iter().filter(|result| !result.passed() || !is_judged(result));
    let differences = wrong.map(difference).collect();
    Run { policy: policy.to_owned(), engine, cases: report.results().len(), differences }
}

/// Whether the policy itself was asked. A server that is away is not the error that a table expects.
fn is_judged(result: &CaseResult) -> bool {
    match &result.got {
        Ok(_) => true,
        Err(error) => matches!(
            error.kind(),
            PolicyErrorKind::Evaluation | PolicyErrorKind::Input | PolicyErrorKind::MalformedAnswer
        ),
    }
}

fn difference(result: &CaseResult) -> Difference {
    let (got, reason) = match &result.got {
        Ok(Decision::Allow { .. }) => ("allow", None),
        Ok(Decision::Deny { reason }) => ("deny", reason.clone()),
        Err(error) => ("error", Some(error.to_string())),
    };
    Difference { case: result.name.clone(), expected: result.expected.to_string(), got, reason }
}
