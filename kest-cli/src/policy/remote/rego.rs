//! The answer of `GET /v1/policies`: modules with their texts and what OPA parsed them into.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::super::lock::{Lock, digest_of};
use super::super::names::is_name;
use super::super::rego_text::references;
use super::{Remote, Skipped, digest};

#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    result: Vec<Module>,
}

#[derive(Debug, Deserialize)]
struct Module {
    id: String,
    raw: String,
    ast: Ast,
}

#[derive(Debug, Deserialize)]
struct Ast {
    package: Package,
    #[serde(default)]
    rules: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
struct Package {
    path: Vec<Term>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    head: Head,
}

#[derive(Debug, Deserialize)]
struct Head {
    name: Option<String>,
    #[serde(rename = "ref")]
    path: Option<Vec<Term>>,
    args: Option<IgnoredAny>,
    key: Option<IgnoredAny>,
    value: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Term {
    #[serde(rename = "type")]
    kind: String,
    value: Value,
}

/// Policies, and the packages whose rules decide them.
type Names = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

const DECISION: &str = "allow";
/// OPA's own packages, such as the policy for its API.
const OWN: &str = "system";

impl Answer {
    /// Each package that defines `allow` is a policy.
    pub(super) fn into_remote(self) -> Remote {
        let mut skipped = Vec::new();
        let mut names = Names::new();
        // What stands in a package is part of its policy, whichever of its modules has the rule.
        let mut packages: BTreeMap<Vec<String>, Vec<&Module>> = BTreeMap::new();
        let mut all: Vec<(String, &str)> = Vec::new();
        for module in &self.result {
            match module.path() {
                Some(path) => {
                    all.push((path.join("/"), &module.raw));
                    for rule in module.ast.rules.iter().flatten() {
                        rule.decides(&path, &module.id, &mut names, &mut skipped);
                    }
                    packages.entry(path).or_default().push(module);
                }
                None => {
                    all.push((module.id.clone(), &module.raw));
                    skipped.push(Skipped {
                        what: module.id.clone(),
                        reason: "its package cannot be read".to_owned(),
                    });
                }
            }
        }
        all.sort_unstable();
        let mut lock = Lock::default();
        for (path, mut of) in names {
            // A rule `b.allow` of the package `a` decides for `a/b`, together with what is in `a.b`.
            of.insert(path.clone());
            let name = path.join("/");
            let digest = if of.iter().any(|package| uses_others(package, &of, &packages)) {
                digest_of_all(&name, &all)
            } else {
                let modules = of.iter().filter_map(|package| packages.get(package)).flatten();
                let mut texts: Vec<&str> = modules.map(|module| module.raw.as_str()).collect();
                texts.sort_unstable();
                digest(texts)
            };
            lock.0.insert(name, digest);
        }
        skipped.sort_by(|one, other| (&one.what, &one.reason).cmp(&(&other.what, &other.reason)));
        skipped.dedup();
        Remote { lock, skipped }
    }
}

/// Whether the modules of a package refer to something that is in none of `of`.
fn uses_others(
    package: &[String],
    of: &BTreeSet<Vec<String>>,
    packages: &BTreeMap<Vec<String>, Vec<&Module>>,
) -> bool {
    let others = || packages.keys().filter(|other| !of.contains(*other));
    let outside = |path: &[String]| {
        !of.iter().any(|own| path.starts_with(own))
            || others().any(|other| path.starts_with(other) || other.starts_with(path))
    };
    let shared = |rule: &Rule| {
        // A rule `b.c` makes `b` a name of the package, which is then also the package below it.
        let begins =
            rule.head.path.as_deref().and_then(|path| path.first()).and_then(|term| term.value.as_str());
        let path: Vec<String> = package.iter().cloned().chain(begins.map(str::to_owned)).collect();
        others().any(|other| other.starts_with(&path) && path.len() > package.len())
    };
    packages.get(package).into_iter().flatten().any(|module| {
        references(&module.raw).iter().any(|path| outside(path))
            || module.ast.rules.iter().flatten().any(shared)
    })
}

/// As `RegoEngine` has it for a policy that uses others: over its name, then over every text in the order of the
/// packages, each as `name NUL length NUL text`.
fn digest_of_all(name: &str, all: &[(String, &str)]) -> String {
    let mut whole = format!("{name}\0");
    for (package, text) in all {
        whole.push_str(&format!("{package}\0{}\0{text}", text.len()));
    }
    digest_of(&whole)
}

impl Module {
    /// The package without `data`.
    fn path(&self) -> Option<Vec<String>> {
        let mut path = constants(&self.ast.package.path)?;
        (path.len() > 1 && path.first().is_some_and(|root| root == "data")).then(|| path.split_off(1))
    }
}

impl Rule {
    /// Adds the name that the rule decides for, if it does, and can.
    fn decides(&self, package: &[String], module: &str, names: &mut Names, skipped: &mut Vec<Skipped>) {
        let path = match (&self.head.path, &self.head.name) {
            (Some(path), _) => constants(path),
            (None, Some(name)) => Some(vec![name.clone()]),
            (None, None) => None,
        };
        let Some((last, before)) = path.as_deref().and_then(<[String]>::split_last) else { return };
        if last != DECISION {
            return;
        }
        let path: Vec<String> = package.iter().chain(before).cloned().collect();
        let reason = if path.first().is_some_and(|first| first == OWN) {
            format!("`{OWN}` is OPA's own")
        } else if self.head.args.is_some() {
            format!("its `{DECISION}` is a function, which decides nothing")
        } else if self.head.key.is_some() && self.head.value.is_none() {
            format!("its `{DECISION}` is a set, where a boolean decides")
        } else if !path.iter().all(|segment| is_name(segment)) {
            "no policy name: the segments of one are of letters, digits, `_` and `-`".to_owned()
        } else {
            names.entry(path).or_default().insert(package.to_vec());
            return;
        };
        skipped.push(Skipped { what: format!("{} ({module})", path.join("/")), reason });
    }
}

/// The names in a reference, if it has no variables but the first.
fn constants(path: &[Term]) -> Option<Vec<String>> {
    let constant = |(index, term): (usize, &Term)| match (&term.value, term.kind.as_str()) {
        (Value::String(name), "string") => Some(name.clone()),
        (Value::String(name), "var") if index == 0 => Some(name.clone()),
        _ => None,
    };
    path.iter().enumerate().map(constant).collect()
}
