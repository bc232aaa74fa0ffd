//! Where the policies, the configuration and the sources are.

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;
use kest_core::config::Config;

use super::lock::{self, Lock};
use crate::input::Unusable;

/// Where the policies are.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Place {
    /// The configuration; else the file that KEST_CONFIG names, else ./kest.toml if it exists
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the policies; else `dir` of `[policies]` in the configuration, else `policies` beside it
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Where the functions are.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Sources {
    /// Where the Rust sources are, may be given several times; else the folder of the configuration. Left out are
    /// hidden entries and the `target` folders of cargo
    #[arg(long = "src", value_name = "DIR")]
    pub(crate) src: Vec<PathBuf>,
}

/// What the configuration and the options say.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) config: Config,
    /// The folder of the configuration, else this one. Empty for this one.
    pub(crate) root: PathBuf,
    /// The folder of the policies, if there is one.
    pub(crate) dir: Option<PathBuf>,
    pub(crate) lock: Lock,
    pub(crate) lock_path: PathBuf,
}

const FOLDER: &str = "policies";

impl Place {
    /// Reads the configuration and the lock.
    ///
    /// # Errors
    /// When one of them cannot be read, or the folder that is named is none.
    pub(crate) fn open(&self) -> Result<Project, Unusable> {
        let mut project = self.open_without_lock()?;
        if let Some(lock) = Lock::read(&project.lock_path)? {
            project.lock = lock;
        }
        Ok(project)
    }

    /// As [`Self::open`] for a command to which the lock that there is may be malformed.
    ///
    /// # Errors
    /// As for [`Self::open`], but for the lock.
    pub(crate) fn open_without_lock(&self) -> Result<Project, Unusable> {
        let config = match &self.config {
            Some(path) => Config::read(path).map(Some),
            None => Config::find(None),
        };
        let config = config.map_err(|error| Unusable(error.to_string()))?.unwrap_or_default();
        let root = config.path.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
        let dir = match (&self.dir, &config.policies.dir) {
            (Some(dir), _) => Some(folder(dir.clone(), "--dir")?),
            (None, Some(dir)) => Some(folder(root.join(dir), "`dir` of `[policies]`")?),
            (None, None) => Some(root.join(FOLDER)).filter(|dir| dir.is_dir()),
        };
        let lock_path = root.join(lock::FILE);
        Ok(Project { config, root, dir, lock: Lock::default(), lock_path })
    }
}

impl Project {
    /// Where the catalog was looked for.
    pub(crate) fn searched(&self) -> String {
        match &self.dir {
            Some(dir) => format!("`{}`", dir.display()),
            None => format!("`{}`, which is missing", self.root.join(FOLDER).display()),
        }
    }
}

impl Sources {
    /// The folders to search.
    pub(crate) fn folders(&self, project: &Project) -> Vec<PathBuf> {
        if self.src.is_empty() { vec![project.root.clone()] } else { self.src.clone() }
    }
}

/// The path of a folder that may be this one.
pub(crate) fn here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn folder(path: PathBuf, named_by: &str) -> Result<PathBuf, Unusable> {
    if path.is_dir() {
        return Ok(path);
    }
    let what = if path.exists() { "which is no folder" } else { "which does not exist" };
    let from = env::current_dir().map_or(String::new(), |dir| format!(" (from `{}`)", dir.display()));
    let from = if path.is_relative() { from } else { String::new() };
    Err(Unusable(format!(
        "{named_by} names `{}`, {what}{from}; name the folder of the policies",
        path.display()
    )))
}
