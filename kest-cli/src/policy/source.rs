//! The functions in Rust sources that name policies: those with the attribute `kest_verified`. Spec §7.

mod attribute;
mod visit;

use std::fs;
use std::path::{Path, PathBuf};

use super::project::here;
use crate::input::{self, Unusable};

/// A function with the attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protected {
    pub(crate) file: String,
    pub(crate) line: usize,
    /// Its name, after the modules that the file has around it.
    pub(crate) function: String,
    pub(crate) policies: Policies,
}

/// The policies that an attribute names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policies {
    pub(crate) names: Vec<String>,
    /// Whether they stand in `unchecked(…)`: the macro does not look them up.
    pub(crate) unchecked: bool,
    /// Whether some are known at run time alone.
    pub(crate) dynamic: bool,
}

/// What the sources hold.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) functions: Vec<Protected>,
    /// Files that could not be searched, and why.
    pub(crate) unread: Vec<String>,
}

const LIMIT: u64 = 16 << 20;
const MOST: usize = 100_000;
const DEEPEST: usize = 64;

impl Found {
    /// Searches files and folders, the latter without hidden entries, links and cargo's target folders.
    ///
    /// # Errors
    /// When one of `roots` is missing, or a folder cannot be read or holds too much.
    pub(crate) fn search(roots: &[PathBuf]) -> Result<Self, Unusable> {
        let mut files: Vec<PathBuf> = Vec::new();
        for root in roots {
            let metadata = fs::metadata(here(root)).map_err(|error| {
                Unusable(format!(
                    "cannot search the sources `{}`: {error}; name them with --src",
                    root.display()
                ))
            })?;
            if metadata.is_dir() {
                list(root, DEEPEST, &mut files)?;
            } else {
                files.push(root.clone());
            }
        }
        files.sort_unstable();
        files.dedup();
        let mut found = Self::default();
        for path in &files {
            let shown = path.display().to_string();
            let text = input::regular(path, "source", LIMIT).map_err(|Unusable(why)| why).and_then(|bytes| {
                String::from_utf8(bytes)
                    .map_err(|error| format!("`{shown}` is not UTF-8: {}", error.utf8_error()))
            });
            let functions = text.and_then(|text| {
                // Most files have none: those need not be parsed.
                if text.contains(attribute::NAME) { visit::functions(&shown, &text) } else { Ok(Vec::new()) }
            });
            match functions {
                Ok(functions) => found.functions.extend(functions),
                Err(why) => found.unread.push(why),
            }
        }
        Ok(found)
    }
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Unusable> {
    let cannot = |error| Unusable(format!("cannot search the folder `{}`: {error}", here(folder).display()));
    for entry in fs::read_dir(here(folder)).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name();
        let kind = entry.file_type().map_err(cannot)?;
        let path = folder.join(&name);
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_dir() && depth > 0 && !is_target(&path) {
            list(&path, depth - 1, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
        if files.len() > MOST {
            return Err(Unusable(format!(
                "there are more than {MOST} sources; name fewer folders with --src"
            )));
        }
    }
    Ok(())
}

/// Whether cargo made the folder. A module may be called `target` too.
fn is_target(path: &Path) -> bool {
    let beside = path.parent().is_some_and(|parent| parent.join("Cargo.toml").is_file());
    path.file_name().is_some_and(|name| name == "target") && (beside || path.join("CACHEDIR.TAG").is_file())
}
