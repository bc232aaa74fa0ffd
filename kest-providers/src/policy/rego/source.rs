//! Policy texts: from a folder or given by the caller, each under its policy name.

use std::fs;
use std::path::{Path, PathBuf};

use kest_core::error::PolicyUnavailable;

use super::refuse;

/// One policy file.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The policy's name, such as `kest/allow_trusted`.
    pub(super) name: String,
    /// Where it is, for messages.
    pub(super) file: String,
    /// The Rego text.
    pub(super) text: String,
}

pub(super) const MAX_FILE: usize = 1024 * 1024;
const MAX_FILES: usize = 10_000;
const MAX_FOLDERS: usize = 32;

/// Words of the language, which no segment of a package can be.
const KEYWORDS: &[&str] = &[
    "as", "contains", "default", "else", "every", "false", "if", "import", "in", "not", "null", "package",
    "some", "true", "with",
];

/// A text given by the caller. The name may end in `.rego`.
pub(super) fn given(name: &str, text: String) -> Result<Source, PolicyUnavailable> {
    let name = name.strip_suffix(".rego").unwrap_or(name);
    let file = format!("{name}.rego");
    check_name(name, &file)?;
    Ok(Source { name: name.to_owned(), file, text })
}

/// Every `.rego` file below `root`, sorted by name. Hidden entries and `*_test.rego` are left out.
///
/// Links to files are followed as long as they stay below `root` (a mounted ConfigMap consists of such links);
/// links out of it, and links to folders, are refused.
pub(super) fn folder(root: &Path) -> Result<Vec<Source>, PolicyUnavailable> {
    let unreadable = |path: &Path, error: std::io::Error| {
        refuse(format!("policies cannot be read from `{}`: {error}; check the folder", path.display()))
            .with_source(error)
    };
    let real_root = fs::canonicalize(root).map_err(|error| unreadable(root, error))?;
    let mut found = Vec::new();
    let mut pending = vec![(real_root.clone(), Vec::<String>::new())];
    while let Some((folder, segments)) = pending.pop() {
        let shown = shown(root, &segments);
        if segments.len() > MAX_FOLDERS {
            return Err(refuse(format!("`{}` is more than {MAX_FOLDERS} folders deep", shown.display())));
        }
        for entry in fs::read_dir(&folder).map_err(|error| unreadable(&shown, error))? {
            let entry = entry.map_err(|error| unreadable(&shown, error))?;
            let Ok(file_name) = entry.file_name().into_string() else {
                let name = entry.file_name();
                return Err(refuse(format!(
                    "the name of `{}` is not UTF-8; rename it",
                    shown.join(name).display()
                )));
            };
            if file_name.starts_with('.') {
                continue;
            }
            let path = shown.join(&file_name);
            let kind = entry.file_type().map_err(|error| unreadable(&path, error))?;
            let real = if kind.is_symlink() {
                let real = fs::canonicalize(entry.path()).map_err(|error| unreadable(&path, error))?;
                if !real.starts_with(&real_root) {
                    return Err(refuse(format!(
                        "`{}` is a link out of the policy folder; put the file itself there",
                        path.display()
                    )));
                }
                if real.is_dir() {
                    return Err(refuse(format!(
                        "`{}` is a link to a folder; put the folder itself there",
                        path.display()
                    )));
                }
                real
            } else {
                entry.path()
            };
            if kind.is_dir() {
                pending.push((real, segments.iter().cloned().chain([file_name]).collect()));
                continue;
            }
            let Some(stem) = file_name.strip_suffix(".rego") else { continue };
            if stem.ends_with("_test") {
                continue;
            }
            let name = segments.iter().map(String::as_str).chain([stem]).collect::<Vec<_>>().join("/");
            let file = path.display().to_string();
            check_name(&name, &file)?;
            let size = fs::metadata(&real).map_err(|error| unreadable(&path, error))?.len();
            if usize::try_from(size).map_or(true, |size| size > MAX_FILE) {
                return Err(refuse(format!("`{file}` has {size} bytes; a policy may have {MAX_FILE}")));
            }
            let text = fs::read_to_string(&real).map_err(|error| unreadable(&path, error))?;
            found.push(Source { name, file, text });
            if found.len() > MAX_FILES {
                return Err(refuse(format!("`{}` holds more than {MAX_FILES} policies", root.display())));
            }
        }
    }
    if found.is_empty() {
        return Err(refuse(format!(
            "`{}` holds no policy; a policy `a/b` is the file `a/b.rego` in it",
            root.display()
        )));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn shown(root: &Path, segments: &[String]) -> PathBuf {
    root.iter().chain(segments.iter().map(AsRef::as_ref)).collect()
}

fn check_name(name: &str, file: &str) -> Result<(), PolicyUnavailable> {
    for segment in name.split('/') {
        let mut letters = segment.bytes();
        let starts = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_');
        let continues = letters.all(|c| c.is_ascii_alphanumeric() || c == b'_');
        if !starts || !continues || KEYWORDS.contains(&segment) {
            return Err(refuse(format!(
                "`{file}` cannot be a policy: `{segment}` is no Rego name; use letters, digits and `_`"
            )));
        }
    }
    Ok(())
}
