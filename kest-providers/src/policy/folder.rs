//! Policy texts: from a folder or given by the caller, each under its policy name.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};

/// One policy file.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The policy's name, such as `kest/allow_trusted`.
    pub(super) name: String,
    /// Where it is, for messages.
    pub(super) file: String,
    /// What it holds.
    pub(super) text: String,
}

/// A language of policies, as its files go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Language {
    /// What the files end in, with its dot.
    pub(super) extension: &'static str,
    /// What files that are tests of policies end in before the extension, if there are such.
    pub(super) tests: Option<&'static str>,
    /// Whether one part of a policy's path may be called that.
    pub(super) segment: fn(&str) -> bool,
    /// What a part that may not is not, and what is allowed.
    pub(super) rule: &'static str,
}

/// Bytes of one file.
const MAX_FILE: u64 = 1024 * 1024;
const MAX_FILES: usize = 10_000;
const MAX_FOLDERS: usize = 32;

impl Language {
    /// What is in the folders, then what is given.
    pub(super) fn all(
        self,
        folders: &[PathBuf],
        given: &[(String, String)],
    ) -> Result<Vec<Source>, PolicyUnavailable> {
        let mut sources = Vec::new();
        for folder in folders {
            sources.extend(self.folder(folder)?);
        }
        for (name, text) in given {
            sources.push(self.given(name, text.clone())?);
        }
        Ok(sources)
    }

    /// A text given by the caller. The name may end in the extension.
    pub(super) fn given(self, name: &str, text: String) -> Result<Source, PolicyUnavailable> {
        let name = name.strip_suffix(self.extension).unwrap_or(name);
        let file = format!("{name}{}", self.extension);
        self.check_name(name, &file)?;
        if u64::try_from(text.len()).map_or(true, |size| size > MAX_FILE) {
            return Err(too_large(&file));
        }
        Ok(Source { name: name.to_owned(), file, text })
    }

    /// Every policy below `root`, sorted by name. Hidden entries and tests are left out.
    ///
    /// Links to files are followed as long as they stay below `root` (a mounted ConfigMap consists of such links);
    /// links out of it, and links to folders, are refused.
    pub(super) fn folder(self, root: &Path) -> Result<Vec<Source>, PolicyUnavailable> {
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
                let real =
                    if kind.is_symlink() { linked(&real_root, &entry.path(), &path)? } else { entry.path() };
                if kind.is_dir() {
                    pending.push((real, segments.iter().cloned().chain([file_name]).collect()));
                    continue;
                }
                let Some(stem) = file_name.strip_suffix(self.extension) else { continue };
                if self.tests.is_some_and(|tests| stem.ends_with(tests)) {
                    continue;
                }
                let name = segments.iter().map(String::as_str).chain([stem]).collect::<Vec<_>>().join("/");
                let shown = path.display().to_string();
                self.check_name(&name, &shown)?;
                found.push(Source { name, text: read(&real, &path)?, file: shown });
                if found.len() > MAX_FILES {
                    return Err(refuse(format!("`{}` holds more than {MAX_FILES} policies", root.display())));
                }
            }
        }
        if found.is_empty() {
            return Err(refuse(format!(
                "`{}` holds no policy; a policy `a/b` is the file `a/b{}` in it",
                root.display(),
                self.extension
            )));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn check_name(self, name: &str, file: &str) -> Result<(), PolicyUnavailable> {
        match name.split('/').find(|segment| !(self.segment)(segment)) {
            Some(segment) => {
                Err(refuse(format!("`{file}` cannot be a policy: `{segment}` is no {}", self.rule)))
            }
            None => Ok(()),
        }
    }
}

/// The text of one file at `real`, which messages call `path`.
pub(super) fn read(real: &Path, path: &Path) -> Result<String, PolicyUnavailable> {
    // Not to be opened: that of a named pipe waits for a writer.
    if !fs::metadata(real).map_err(|error| unreadable(path, error))?.is_file() {
        return Err(refuse(format!("`{}` is no regular file; put one there", path.display())));
    }
    let mut text = String::new();
    let file = File::open(real).map_err(|error| unreadable(path, error))?;
    let size = file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| unreadable(path, error))?;
    if u64::try_from(size).map_or(true, |size| size > MAX_FILE) {
        return Err(too_large(&path.display().to_string()));
    }
    Ok(text)
}

/// Where policies come from, for messages.
pub(super) fn shown_origin(folders: &[PathBuf], given: bool) -> String {
    let mut from: Vec<String> = folders.iter().map(|path| format!("`{}`", path.display())).collect();
    if given {
        from.push("given sources".to_owned());
    }
    from.join(", ")
}

/// A policy that cannot be used.
pub(super) fn refuse(message: impl Into<String>) -> PolicyUnavailable {
    PolicyUnavailable::new(PolicyErrorKind::Load, message)
}

/// The file that a link leads to, if it may.
fn linked(real_root: &Path, link: &Path, path: &Path) -> Result<PathBuf, PolicyUnavailable> {
    let real = fs::canonicalize(link).map_err(|error| unreadable(path, error))?;
    if !real.starts_with(real_root) {
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
    Ok(real)
}

fn unreadable(path: &Path, error: std::io::Error) -> PolicyUnavailable {
    refuse(format!("policies cannot be read from `{}`: {error}; check the folder", path.display()))
        .with_source(error)
}

fn too_large(file: &str) -> PolicyUnavailable {
    refuse(format!("`{file}` is too large; a policy may have {MAX_FILE} bytes"))
}

fn shown(root: &Path, segments: &[String]) -> PathBuf {
    root.iter().chain(segments.iter().map(AsRef::as_ref)).collect()
}
