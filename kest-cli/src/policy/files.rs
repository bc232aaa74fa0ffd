//! The files of a policy folder, each under the name of its policy.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kest_providers::policy::cases::CaseTable;

use crate::input::{self, Unusable};

/// What a policy folder holds.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) rego: BTreeMap<String, Text>,
    pub(crate) cedar: BTreeMap<String, Text>,
    /// Tables of cases.
    pub(crate) cases: BTreeMap<String, PathBuf>,
}

/// A file with its text, or why it has none.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) path: PathBuf,
    pub(crate) text: Result<String, String>,
}

/// As large as a policy may be for an engine.
const LIMIT: u64 = 1 << 20;
const MOST: usize = 10_000;
const DEEPEST: usize = 32;
const CASES: &str = ".cases";

impl Files {
    /// Lists a folder and reads its policies. Hidden entries and `*_test.rego` are left out, as engines do.
    ///
    /// # Errors
    /// When the folder cannot be read or holds too much.
    pub(crate) fn read(dir: &Path) -> Result<Self, Unusable> {
        let mut files = Self::default();
        let mut pending = vec![(dir.to_owned(), String::new(), 0)];
        while let Some((folder, prefix, depth)) = pending.pop() {
            let cannot = |error| Unusable(format!("cannot read the folder `{}`: {error}", folder.display()));
            for entry in fs::read_dir(&folder).map_err(cannot)? {
                let entry = entry.map_err(cannot)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with('.') {
                    continue;
                }
                let path = entry.path();
                if entry.file_type().map_err(cannot)?.is_dir() {
                    if depth == DEEPEST {
                        let shown = path.display();
                        return Err(Unusable(format!("`{shown}` is more than {DEEPEST} folders deep")));
                    }
                    pending.push((path, format!("{prefix}{name}/"), depth + 1));
                } else {
                    files.add(path, &prefix, &name);
                }
            }
            if files.rego.len() + files.cedar.len() + files.cases.len() > MOST {
                return Err(Unusable(format!("`{}` holds more than {MOST} files", dir.display())));
            }
        }
        Ok(files)
    }

    /// The names of all policies.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let cedar = self.cedar.keys().filter(|name| !self.rego.contains_key(*name));
        self.rego.keys().chain(cedar).map(String::as_str)
    }

    fn add(&mut self, path: PathBuf, prefix: &str, name: &str) {
        if let Some(stem) = name.strip_suffix(CASES) {
            self.cases.insert(format!("{prefix}{stem}"), path);
        } else if let Some(stem) = name.strip_suffix(".rego") {
            if !stem.ends_with("_test") {
                self.rego.insert(format!("{prefix}{stem}"), Text::read(path));
            }
        } else if let Some(stem) = name.strip_suffix(".cedar") {
            self.cedar.insert(format!("{prefix}{stem}"), Text::read(path));
        }
    }
}

/// Reads a table of cases.
///
/// # Errors
/// When it cannot be read, or is none.
pub(crate) fn table(path: &Path) -> Result<CaseTable, Unusable> {
    let bytes = input::regular(path, "table of cases", LIMIT)?;
    let shown = path.display();
    let text = String::from_utf8(bytes)
        .map_err(|error| Unusable(format!("`{shown}` is not UTF-8: {}", error.utf8_error())))?;
    CaseTable::parse(&text).map_err(|error| Unusable(format!("`{shown}`: {error}")))
}

impl Text {
    fn read(path: PathBuf) -> Self {
        let text = input::regular(&path, "policy", LIMIT).map_err(|Unusable(why)| why).and_then(|bytes| {
            String::from_utf8(bytes)
                .map_err(|error| format!("`{}` is not UTF-8: {}", path.display(), error.utf8_error()))
        });
        Self { path, text }
    }
}
