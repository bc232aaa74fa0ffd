//! Where the policies, the configuration and the sources are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use kest_core::config::Config;

use super::lock::{self, Lock};
use crate::input::{self, Unusable};

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
    /// Where the Rust sources are, may be given several times; else the folder of the configuration and this one. Left
    /// out are hidden entries and the `target` folders of cargo
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

const CONFIG: &str = "kest.toml";
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
        let config = match self.config_path()? {
            Some(path) => Config::read(&path).map_err(|error| input::malformed(&error))?,
            None => Config::default(),
        };
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

impl Place {
    /// The configuration that is named, or here.
    fn config_path(&self) -> Result<Option<PathBuf>, Unusable> {
        if let Some(path) = &self.config {
            return Ok(Some(path.clone()));
        }
        let above = cargo_folders()?;
        if let Some(path) = env::var_os("KEST_CONFIG").filter(|path| !path.is_empty()) {
            return of_environment(PathBuf::from(path), &above).map(Some);
        }
        let here = Path::new(CONFIG);
        if here.try_exists().map_err(|error| Unusable(format!("cannot look for `./{CONFIG}`: {error}")))? {
            return Ok(Some(here.to_owned()));
        }
        match above.iter().map(|dir| dir.join(CONFIG)).find(|path| path.is_file()) {
            Some(path) if self.dir.is_none() => {
                let path = path.display();
                Err(Unusable(format!("`{path}` is what the attribute reads; give --config {path}")))
            }
            Some(_) | None => Ok(None),
        }
    }
}

/// What `KEST_CONFIG` names: for the attribute from the root of the workspace, for a program from where it starts.
fn of_environment(path: PathBuf, above: &[PathBuf]) -> Result<PathBuf, Unusable> {
    let Some(root) = above.last().filter(|_| path.is_relative()) else { return Ok(path) };
    let of_attribute = root.join(&path);
    match (of_attribute.is_file(), path.is_file()) {
        (true, false) => Ok(of_attribute),
        (false, true) => Ok(path),
        (true, true) if same(&of_attribute, &path) => Ok(path),
        (true, true) => Err(Unusable(format!(
            "`KEST_CONFIG` names `{}` to the attribute and `{}` to a program that starts here; give the one with \
             --config",
            of_attribute.display(),
            path.display()
        ))),
        (false, false) => Err(Unusable(format!(
            "`KEST_CONFIG` names `{}`, which is no file, and neither is `{}`, which the attribute would read",
            path.display(),
            of_attribute.display()
        ))),
    }
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// The folders above this one up to the root of its workspace, as the attribute sees it: the nearest with a `Cargo.toml`
/// that has a `[workspace]`, else the nearest with a `Cargo.toml`. None where there is none, or it is here.
fn cargo_folders() -> Result<Vec<PathBuf>, Unusable> {
    let here =
        env::current_dir().map_err(|error| Unusable(format!("cannot tell the current folder: {error}")))?;
    let mut package = None;
    for (up, dir) in here.ancestors().enumerate() {
        // What cannot be read is cargo's to refuse.
        let Ok(text) = fs::read_to_string(dir.join("Cargo.toml")) else { continue };
        package = package.or(Some(up));
        if text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("workspace")) {
            package = Some(up);
            break;
        }
    }
    let above = 1..=package.unwrap_or_default();
    Ok(above.map(|up| (0..up).map(|_| "..").collect()).collect())
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
        if !self.src.is_empty() {
            return self.src.clone();
        }
        let mut folders = vec![project.root.clone()];
        // A configuration is often beside others, and the code here.
        if !project.root.as_os_str().is_empty() {
            folders.push(PathBuf::new());
        }
        folders
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
