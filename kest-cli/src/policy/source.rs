//! The functions in Rust sources that name policies: those with the attribute `kest_verified`. Spec §7.

mod attribute;
mod depth;
mod visit;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

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
    /// Whether some are not known from the text.
    pub(crate) dynamic: bool,
}

/// What the sources hold.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) functions: Vec<Protected>,
    /// Files that have the attribute, or might, and could not be searched; and why.
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
        let mut seen = BTreeSet::new();
        // One folder may be named twice, or within another.
        files.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
        let failed = || Unusable("the sources cannot be searched: there is no thread for it".to_owned());
        // A parser goes as deep as the text does.
        thread::scope(|scope| {
            let thread = thread::Builder::new().stack_size(depth::STACK);
            let search = thread.spawn_scoped(scope, || Self::in_files(&files)).map_err(|_| failed())?;
            search.join().map_err(|_| failed())
        })
    }

    fn in_files(files: &[PathBuf]) -> Self {
        let mut found = Self::default();
        for path in files {
            match functions(path) {
                Ok(functions) => found.functions.extend(functions),
                Err(why) => found.unread.push(why),
            }
        }
        found
    }
}

fn functions(path: &Path) -> Result<Vec<Protected>, String> {
    let shown = path.display().to_string();
    let bytes = input::regular(path, "source", LIMIT).map_err(|Unusable(why)| why)?;
    // Most files have none: those need not be parsed.
    if !bytes.windows(attribute::NAME.len()).any(|bytes| bytes == attribute::NAME.as_bytes()) {
        return Ok(Vec::new());
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| format!("`{shown}` is not searched, as it is not UTF-8: {}", error.utf8_error()))?;
    visit::functions(&shown, &text)
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
        if kind.is_dir() && !is_target(&path) {
            let Some(deeper) = depth.checked_sub(1) else {
                return Err(Unusable(format!(
                    "`{}` is more than {DEEPEST} folders deep; name the sources with --src",
                    path.display()
                )));
            };
            list(&path, deeper, files)?;
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
