//! The policy catalog: where it is, and whether a name is in it. Spec §7, last paragraph.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::config::{self, ConfigFile};
use crate::errors::{nearest, one_of};
use crate::policy_names;

const CONFIG: &str = "kest.toml";
const LOCK: &str = "kest-policies.lock";
const FOLDER: &str = "policies";
const EXTENSIONS: [&str; 2] = ["rego", "cedar"];
/// How deep the folder is searched for names to suggest.
const DEPTH: usize = 8;

/// Where the macro runs: its two inputs from the environment.
#[derive(Debug)]
pub(crate) struct Environment {
    /// `CARGO_MANIFEST_DIR`.
    pub(crate) manifest_dir: PathBuf,
    /// `KEST_CONFIG`; empty is as good as unset, as it is at run time.
    pub(crate) config: Option<String>,
}

impl Environment {
    /// What cargo and the shell gave this compilation.
    pub(crate) fn current() -> Result<Self, String> {
        let manifest_dir = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => std::env::current_dir()
                .map_err(|error| format!("cannot tell the folder that is compiled: {error}"))?,
        };
        let config = match std::env::var("KEST_CONFIG") {
            Ok(path) => Some(path),
            Err(std::env::VarError::NotPresent) => None,
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err("`KEST_CONFIG` is not UTF-8".into());
            }
        };
        Ok(Self { manifest_dir, config })
    }
}

/// What is known about policies and sources when compiling.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// What paths are shown relative to.
    root: PathBuf,
    manifest_dir: PathBuf,
    config: Option<PathBuf>,
    /// Whether `KEST_CONFIG` names the configuration.
    named: bool,
    folder: Option<PathBuf>,
    lock: Option<PathBuf>,
    known: BTreeSet<String>,
    locked: BTreeSet<String>,
    sources: BTreeSet<String>,
    off: bool,
    /// Every file read: what cargo has to rebuild for.
    reads: Vec<PathBuf>,
}

impl Catalog {
    /// Finds and reads the catalog. None at all is not an error yet, see [`Self::check`].
    pub(crate) fn load(environment: &Environment) -> Result<Self, String> {
        let manifest_dir = environment.manifest_dir.clone();
        let root = workspace_root(&manifest_dir);
        let named = environment.config.as_ref().filter(|path| !path.is_empty());
        let config = match named {
            Some(path) => Some(normal(&root.join(path))),
            None => ancestors(&manifest_dir, &root).map(|dir| dir.join(CONFIG)).find(|path| path.is_file()),
        };
        let mut catalog = Self {
            root,
            manifest_dir,
            config,
            named: named.is_some(),
            folder: None,
            lock: None,
            known: BTreeSet::new(),
            locked: BTreeSet::new(),
            sources: BTreeSet::new(),
            off: false,
            reads: Vec::new(),
        };
        catalog.read_config()?;
        catalog.read_lock()?;
        Ok(catalog)
    }

    /// The `kest.toml` in force, as messages show it.
    pub(crate) fn config_seen(&self) -> Option<String> {
        self.config.as_deref().map(|path| self.show(path))
    }

    /// Names of `[trust.sources]`.
    pub(crate) fn sources(&self) -> &BTreeSet<String> {
        &self.sources
    }

    /// Every file read so far.
    pub(crate) fn reads(&self) -> &[PathBuf] {
        &self.reads
    }

    /// Whether the name is one of a policy there is; reads its file.
    pub(crate) fn check(&mut self, name: &str) -> Result<(), String> {
        if self.off {
            return Ok(());
        }
        let listed = self.known.contains(name) || self.locked.contains(name);
        let mut found = listed;
        for extension in EXTENSIONS {
            let Some(path) = self.folder.as_ref().map(|dir| dir.join(format!("{name}.{extension}"))) else {
                continue;
            };
            if !path.is_file() {
                continue;
            }
            let source = self.read(&path)?;
            if extension == "rego" {
                self.check_package(name, &path, &source, listed)?;
            }
            found = true;
        }
        if found { Ok(()) } else { Err(self.unknown(name)) }
    }

    /// A policy `a/b` is `data.a.b.allow`, so the file has to declare `package a.b`. Spec §11.
    fn check_package(&self, name: &str, path: &Path, source: &str, listed: bool) -> Result<(), String> {
        let shown = self.show(path);
        if let Some(segment) = policy_names::not_rego(name) {
            if listed {
                return Ok(());
            }
            return Err(format!(
                "policy `{name}` cannot be a Rego file ({shown}): Rego cannot name `{segment}` in a package; \
                 use `_` in the name, or list the name in `known` when another engine judges it"
            ));
        }
        let wanted = name.replace('/', ".");
        match policy_names::rego_package(source) {
            Some(package) if package == name => Ok(()),
            Some(package) => Err(format!(
                "policy `{name}`: {shown} declares `package {}`; its path asks for `package {wanted}`",
                package.replace('/', ".")
            )),
            None => Err(format!(
                "policy `{name}`: {shown} does not begin with a package; its path asks for `package {wanted}`"
            )),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let searched = self.searched();
        if searched.is_empty() {
            let place = match self.show(&self.manifest_dir) {
                dir if dir.is_empty() => String::new(),
                dir => format!(" from {dir}/ up to the workspace root"),
            };
            return format!(
                "no policy catalog to look up `{name}` in: there is no kest.toml and no policies/ folder{place}; \
                 write a kest.toml beside Cargo.toml\n\n    [policies]\n    dir = \"policies\"\n\n\
                 and put the policy in policies/{name}.rego"
            );
        }
        let names = self.names();
        let near = nearest(name, names.iter().map(String::as_str));
        let fix = match (near.is_empty(), &self.folder) {
            (false, _) => format!("; did you mean {}?", one_of(&near)),
            (true, Some(dir)) => format!("; add {}/{name}.rego or {name}.cedar", self.show(dir)),
            (true, None) => String::new(),
        };
        format!("unknown policy `{name}`{fix} (searched {}){}", searched.join(", "), self.overlooked())
    }

    /// Says why the crate's own folder, if it has one, is not the one that is searched.
    fn overlooked(&self) -> String {
        let own = self.manifest_dir.join(FOLDER);
        let Some(config) =
            self.config.as_ref().filter(|_| own.is_dir() && self.folder.as_ref() != Some(&own))
        else {
            return String::new();
        };
        let (own, shown) = (self.show(&own), self.show(config));
        let why = match (self.named, parent(config) == self.manifest_dir) {
            (true, _) => format!("`KEST_CONFIG` names {shown}"),
            (false, true) => format!("{shown} names another as `dir`"),
            (false, false) => format!(
                "{shown} holds for this crate; to make that folder the crate's own, write a kest.toml beside its \
                 Cargo.toml\n\n    [policies]\n    dir = \"policies\"\n"
            ),
        };
        format!(
            "\n\nthe folder {own}/ of this crate is not searched: {why} (paths are from the workspace root)"
        )
    }

    /// The places there are, as messages show them.
    fn searched(&self) -> Vec<String> {
        let mut places = Vec::new();
        if let Some(dir) = &self.folder {
            let missing = if dir.is_dir() { "" } else { ", which is missing" };
            places.push(format!("{}/{missing}", self.show(dir)));
        }
        if let (Some(config), false) = (&self.config, self.known.is_empty()) {
            places.push(format!("`known` in {}", self.show(config)));
        }
        if let Some(lock) = &self.lock {
            places.push(self.show(lock));
        }
        places
    }

    /// Every name there is.
    fn names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.known.union(&self.locked).cloned().collect();
        if let Some(dir) = &self.folder {
            collect(dir, "", DEPTH, &mut names);
        }
        names
    }

    fn read_config(&mut self) -> Result<(), String> {
        let Some(path) = self.config.clone() else {
            self.folder = [&self.manifest_dir, &self.root]
                .into_iter()
                .map(|dir| dir.join(FOLDER))
                .find(|dir| dir.is_dir());
            return Ok(());
        };
        if self.named && !path.is_file() {
            return Err(format!("`KEST_CONFIG` names {}, which is no file", self.show(&path)));
        }
        let text = self.read(&path)?;
        let shown = self.show(&path);
        let ConfigFile { policies, trust } =
            config::parse_config(&text).map_err(|error| format!("{shown}: {error}"))?;
        let dir = normal(&parent(&path).join(policies.dir.as_deref().unwrap_or(FOLDER)));
        if policies.dir.is_some() && !dir.is_dir() {
            return Err(format!(
                "{shown}: `dir` of `[policies]` names {}/, which is no folder",
                self.show(&dir)
            ));
        }
        self.folder = Some(dir);
        self.off = policies.policy_check.is_off();
        self.known = policies.known;
        self.sources = trust.sources.into_keys().collect();
        Ok(())
    }

    /// The lock is beside the `kest.toml`, else beside the policies.
    fn read_lock(&mut self) -> Result<(), String> {
        let beside = match (&self.config, &self.folder) {
            (Some(config), _) => vec![parent(config)],
            (None, Some(folder)) => vec![parent(folder)],
            (None, None) => vec![self.manifest_dir.clone(), self.root.clone()],
        };
        self.lock = beside.iter().map(|dir| dir.join(LOCK)).find(|path| path.is_file());
        let Some(path) = self.lock.clone() else {
            return Ok(());
        };
        let text = self.read(&path)?;
        self.locked = config::parse_lock(&text).map_err(|error| format!("{}: {error}", self.show(&path)))?;
        Ok(())
    }

    fn read(&mut self, path: &Path) -> Result<String, String> {
        let text =
            fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", self.show(path)))?;
        if path.to_str().is_none() {
            return Err(format!("the path of {} is not UTF-8, so cargo cannot watch it", self.show(path)));
        }
        self.reads.push(path.to_owned());
        Ok(text)
    }

    /// A path as messages show it: never of this machine.
    fn show(&self, path: &Path) -> String {
        let relative = [Some(self.root.as_path()), self.config.as_deref().and_then(Path::parent)]
            .into_iter()
            .flatten()
            .find_map(|base| path.strip_prefix(base).ok())
            .or_else(|| path.file_name().map(Path::new))
            .unwrap_or(path);
        relative.to_string_lossy().replace('\\', "/")
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// The nearest folder, from the manifest upwards, whose `Cargo.toml` has a `[workspace]`.
fn workspace_root(manifest_dir: &Path) -> PathBuf {
    manifest_dir
        .ancestors()
        .find(|dir| {
            fs::read_to_string(dir.join("Cargo.toml"))
                .is_ok_and(|text| text.contains("workspace") && config::has_workspace(&text))
        })
        .unwrap_or(manifest_dir)
        .to_owned()
}

fn ancestors<'a>(from: &'a Path, root: &'a Path) -> impl Iterator<Item = &'a Path> {
    from.ancestors().take_while(move |dir| dir.starts_with(root))
}

/// Resolves `.` and `..` in the text of the path, so that it can be shown.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

fn collect(dir: &Path, prefix: &str, depth: usize, names: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            if let (Some(name), true) = (path.file_name().and_then(|name| name.to_str()), depth > 0) {
                collect(&path, &format!("{prefix}{name}/"), depth - 1, names);
            }
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if let (Some(stem), Some(extension)) = (stem, extension)
            && EXTENSIONS.contains(&extension)
            && !stem.ends_with("_test")
        {
            names.insert(format!("{prefix}{stem}"));
        }
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
