//! Small projects: policies, sources and a configuration in a new folder.
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Run, folder, run_in};

/// A folder with files in it.
pub(crate) struct Tree(pub(crate) PathBuf);

impl Tree {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(folder());
        files.iter().fold(tree, |tree, (path, text)| tree.with(path, text))
    }

    pub(crate) fn with(self, path: &str, text: &str) -> Self {
        self.write(path, text.as_bytes());
        self
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// Runs `kest policy` in the folder.
    pub(crate) fn policy(&self, args: &[&str]) -> Run {
        run_in(Path::new(&self.0), &[&["policy"], args].concat())
    }
}

/// A Rego policy that allows from a score on.
pub(crate) fn rego(name: &str, score: u8) -> String {
    format!(
        "package {}\n\nimport rego.v1\n\ndefault allow := false\n\nallow if input.trust_score >= {score}\n",
        name.replace('/', ".")
    )
}

/// The same in Cedar.
pub(crate) fn cedar(name: &str, score: u8) -> String {
    format!(
        "permit (principal, action == Action::\"{name}\", resource)\nwhen {{ context.trust_score >= {score} }};\n"
    )
}

/// A table that holds for both from 40 on.
pub(crate) const CASES: &str = r#"{"cases": [
    {"name": "enough", "input": {"trust_score": 40}, "decision": "allow"},
    {"name": "too little", "input": {"trust_score": 39}, "decision": "deny"}
]}"#;

/// A source with one function for each pair of a name and an argument.
pub(crate) fn source(functions: &[(&str, &str)]) -> String {
    let function = |(name, policy): &(&str, &str)| {
        format!("#[kest_verified(policy = {policy}, source_type = \"internal\")]\nfn {name}() {{}}\n")
    };
    functions.iter().map(function).collect()
}
