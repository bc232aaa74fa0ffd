//! What the policy servers are given, and how their answers are compared.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cedar_policy::PolicySet;
use kest::error::{PolicyErrorKind, PolicyUnavailable};
use kest::policy::cases::CaseTable;
use kest::policy::{Decision, InputDocument, PolicyEngine, PolicyRequest};

use crate::repository;

/// A policy of the library, in the languages that it is there in, and its table.
#[derive(Debug)]
pub struct Shipped {
    /// Its name, as `kest/allow_trusted`.
    pub name: String,
    /// Its Cedar text.
    pub cedar: Option<String>,
    /// What it must answer.
    pub cases: CaseTable,
}

/// Where the policy library is.
#[must_use]
pub fn library_folder() -> PathBuf {
    repository().join("policies")
}

/// Every policy of the library that has a table of cases.
///
/// # Panics
/// When a file cannot be read.
#[must_use]
pub fn library() -> Vec<Shipped> {
    let root = library_folder();
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Shipped>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
            continue;
        }
        let relative = path.strip_prefix(root).unwrap().to_str().unwrap();
        let Some(name) = relative.strip_suffix(".cases") else { continue };
        let cedar = root.join(format!("{name}.cedar"));
        found.push(Shipped {
            name: name.to_owned(),
            cedar: cedar.exists().then(|| fs::read_to_string(&cedar).unwrap()),
            cases: CaseTable::read(&path).unwrap(),
        });
    }
}

/// The policies of a Cedar text, one by one, as servers want them: an id of their own and the text.
///
/// # Panics
/// When it is no Cedar.
#[must_use]
pub fn statements(name: &str, cedar: &str) -> Vec<(String, String)> {
    let set: PolicySet = cedar.parse().unwrap_or_else(|error| panic!("`{name}`: {error}"));
    // Their ids are `policy0`, `policy1`, … in each text.
    set.policies().map(|policy| (format!("{name}#{}", policy.id()), policy.to_string())).collect()
}

/// An answer without the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// An allow.
    Allow,
    /// The policy's own no.
    Deny,
    /// No decision.
    Error(PolicyErrorKind),
}

impl From<&Result<Decision, PolicyUnavailable>> for Verdict {
    fn from(answer: &Result<Decision, PolicyUnavailable>) -> Self {
        match answer {
            Ok(Decision::Allow { .. }) => Self::Allow,
            Ok(Decision::Deny { .. }) => Self::Deny,
            Err(error) => Self::Error(error.kind()),
        }
    }
}

/// Asks one engine.
///
/// # Errors
/// What the engine answers.
pub fn ask(
    engine: &dyn PolicyEngine,
    policy: &str,
    input: &InputDocument,
) -> Result<Decision, PolicyUnavailable> {
    engine.evaluate(&PolicyRequest { policy, input: &input.as_input() })
}

/// Holds an engine to a table, and its verdicts to those of another engine.
///
/// # Panics
/// With what differs.
pub fn agree(policy: &str, cases: &CaseTable, engine: &dyn PolicyEngine, embedded: &dyn PolicyEngine) {
    let (theirs, ours) = (cases.run(policy, engine), cases.run(policy, embedded));
    assert!(theirs.passed(), "{theirs}");
    for (theirs, ours) in theirs.results().iter().zip(ours.results()) {
        let (there, here) = (Verdict::from(&theirs.got), Verdict::from(&ours.got));
        assert_eq!(there, here, "`{policy}`, {theirs}; embedded: {ours}");
    }
}

/// Asserts that the library is there: a loop over nothing shows nothing.
///
/// # Panics
/// When one of the policies that ship is missing.
pub fn is_whole(library: &[Shipped]) {
    let names: BTreeSet<&str> = library.iter().map(|shipped| shipped.name.as_str()).collect();
    for name in [
        "bell_lapadula",
        "biba",
        "brewer_nash",
        "clark_wilson",
        "financial",
        "goguen_meseguer",
        "healthcare",
        "kest",
        "kest/allow_trusted",
        "security",
    ] {
        assert!(names.contains(name), "`{name}` has no table of cases");
    }
}
