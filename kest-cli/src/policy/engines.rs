//! The embedded engines over the files of a folder, and everything in it that they refuse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kest_core::policy::PolicyEngine;
#[cfg(feature = "cedar")]
use kest_providers::policy::CedarEngine;
#[cfg(feature = "rego")]
use kest_providers::policy::RegoEngine;

use super::catalog::Kind;
use super::files::{Files, Text};
use crate::input::Unusable;

/// The engines of a folder: each as it would be in a service, or none where it refuses the folder.
#[derive(Debug, Default)]
pub(crate) struct Engines {
    #[cfg(feature = "rego")]
    rego: Option<RegoEngine>,
    #[cfg(feature = "cedar")]
    cedar: Option<CedarEngine>,
    /// Why an engine refuses the folder, one for each file that is wrong.
    pub(crate) faults: Vec<Fault>,
}

/// What is wrong with a file, or with the folder as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// One fault costs one more load of the rest.
#[cfg(feature = "rego")]
const MOST_FAULTS: usize = 100;

impl Engines {
    /// Loads a folder. `schema` is that of its Cedar policies: a service has none that nobody gave it either.
    ///
    /// # Errors
    /// When the folder has policies of a kind that this build does not know, or the schema cannot be read.
    pub(crate) fn load(dir: &Path, files: &Files, schema: Option<&Path>) -> Result<Self, Unusable> {
        let mut engines = Self::default();
        engines.load_rego(dir, &files.rego)?;
        engines.load_cedar(dir, &files.cedar, schema)?;
        Ok(engines)
    }

    /// The engines that hold a policy.
    pub(crate) fn holding(&self, name: &str) -> Vec<(Kind, &dyn PolicyEngine)> {
        type Holding<'a> = Option<(Kind, &'a dyn PolicyEngine)>;
        #[cfg(feature = "rego")]
        let rego: Holding<'_> = self
            .rego
            .as_ref()
            .filter(|engine| engine.digest(name).is_some())
            .map(|engine| (Kind::Rego, engine as _));
        #[cfg(not(feature = "rego"))]
        let rego: Holding<'_> = None;
        #[cfg(feature = "cedar")]
        let cedar: Holding<'_> = self
            .cedar
            .as_ref()
            .filter(|engine| engine.digest(name).is_some())
            .map(|engine| (Kind::Cedar, engine as _));
        #[cfg(not(feature = "cedar"))]
        let cedar: Holding<'_> = None;
        #[cfg(not(any(feature = "rego", feature = "cedar")))]
        let _ = name;
        [rego, cedar].into_iter().flatten().collect()
    }

    /// The digest of a policy as the engine of that kind puts it into entries.
    pub(crate) fn digest(&self, name: &str, kind: Kind) -> Option<String> {
        let digest = match kind {
            #[cfg(feature = "rego")]
            Kind::Rego => self.rego.as_ref()?.digest(name),
            #[cfg(feature = "cedar")]
            Kind::Cedar => self.cedar.as_ref()?.digest(name),
            _ => None::<std::sync::Arc<str>>,
        };
        #[cfg(not(any(feature = "rego", feature = "cedar")))]
        let _ = name;
        digest.map(|digest| digest.to_string())
    }

    #[cfg(feature = "rego")]
    fn load_rego(&mut self, dir: &Path, files: &BTreeMap<String, Text>) -> Result<(), Unusable> {
        if files.is_empty() {
            return Ok(());
        }
        match RegoEngine::from_dir(dir) {
            Ok(engine) => self.rego = Some(engine),
            Err(error) => {
                let error = error.to_string();
                let mut faults = rego_faults(files);
                // The folder may be refused for what no text has, such as a link out of it.
                if !faults.iter().any(|fault| error.contains(&fault.path.display().to_string())) {
                    faults.push(Fault { path: dir.to_owned(), text: error });
                }
                self.faults.extend(faults);
            }
        }
        Ok(())
    }

    #[cfg(not(feature = "rego"))]
    fn load_rego(&mut self, dir: &Path, files: &BTreeMap<String, Text>) -> Result<(), Unusable> {
        if files.is_empty() { Ok(()) } else { Err(not_built(dir, "rego", "Rego")) }
    }

    #[cfg(feature = "cedar")]
    fn load_cedar(
        &mut self,
        dir: &Path,
        files: &BTreeMap<String, Text>,
        schema: Option<&Path>,
    ) -> Result<(), Unusable> {
        if files.is_empty() {
            return Ok(());
        }
        if let Some(path) = schema {
            let bytes = crate::input::regular(path, "schema", 1 << 20)?;
            String::from_utf8(bytes).map_err(|error| {
                Unusable(format!("the schema `{}` is not UTF-8: {error}", path.display()))
            })?;
        }
        let builder = || match schema {
            None => CedarEngine::builder(),
            Some(path) => CedarEngine::builder().schema_file(path),
        };
        match builder().dir(dir).build() {
            Ok(engine) => self.cedar = Some(engine),
            Err(error) => {
                let error = error.to_string();
                let mut faults = cedar_faults(files, builder);
                if !faults.iter().any(|fault| error.contains(&fault.path.display().to_string())) {
                    faults.push(Fault { path: dir.to_owned(), text: error });
                }
                self.faults.extend(faults);
            }
        }
        Ok(())
    }

    #[cfg(not(feature = "cedar"))]
    fn load_cedar(
        &mut self,
        dir: &Path,
        files: &BTreeMap<String, Text>,
        _schema: Option<&Path>,
    ) -> Result<(), Unusable> {
        if files.is_empty() { Ok(()) } else { Err(not_built(dir, "cedar", "Cedar")) }
    }
}

#[cfg(not(all(feature = "rego", feature = "cedar")))]
fn not_built(dir: &Path, feature: &str, language: &str) -> Unusable {
    Unusable(format!(
        "`{}` has policies in {language}, and this build of kest has not the cargo feature `{feature}`; \
         build it with that",
        dir.display()
    ))
}

/// What is wrong with each Rego file. Packages refer to one another, so that a file alone says little: what is refused
/// is taken out, and the rest loaded again, until it loads.
#[cfg(feature = "rego")]
fn rego_faults(files: &BTreeMap<String, Text>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut rest: BTreeMap<&str, (&Path, &str)> = BTreeMap::new();
    let mut refused: Vec<&str> = Vec::new();
    for (name, Text { path, text }) in files {
        match text {
            Ok(text) => {
                rest.insert(name, (path, text));
            }
            Err(why) => {
                refused.push(name);
                faults.push(Fault { path: path.clone(), text: why.clone() });
            }
        }
    }
    while !rest.is_empty() && faults.len() < MOST_FAULTS {
        let Err(error) = RegoEngine::from_sources(rest.iter().map(|(name, (_, text))| (*name, *text))) else {
            break;
        };
        let error = error.to_string();
        let Some((name, at)) = first_named(&error, rest.keys().copied(), "rego") else {
            faults.push(Fault { path: PathBuf::new(), text: error });
            break;
        };
        let Some((path, _)) = rest.remove(name) else { break };
        let mut text = error;
        text.replace_range(at..at + name.len() + ".rego".len(), &path.display().to_string());
        if let Some(other) = refused.iter().find(|other| needs(&text, other)) {
            text.push_str(&format!(" (they are in `{other}.rego`, which is refused itself)"));
        }
        refused.push(name);
        faults.push(Fault { path: path.to_owned(), text });
    }
    faults.sort_by(|one, other| one.path.cmp(&other.path));
    faults
}

/// Whether a message misses rules of that policy's package.
#[cfg(feature = "rego")]
fn needs(message: &str, name: &str) -> bool {
    let data = format!("`data.{}", name.replace('/', "."));
    message.contains("nothing defines")
        && message.split_once(&data).is_some_and(|(_, rest)| rest.starts_with(['.', '`']))
}

/// The file of `names` that a message names first, and where.
#[cfg(feature = "rego")]
fn first_named<'a>(
    message: &str,
    names: impl Iterator<Item = &'a str>,
    extension: &str,
) -> Option<(&'a str, usize)> {
    let begins = |at: usize| {
        let before = message.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '/' | '.'))
    };
    let places = names.flat_map(|name| {
        let file = format!("{name}.{extension}");
        let places: Vec<usize> = message.match_indices(&file).map(|(at, _)| at).collect();
        places.into_iter().map(move |at| (name, at))
    });
    places.filter(|(_, at)| begins(*at)).min_by_key(|(_, at)| *at)
}

/// What is wrong with each Cedar file. Each is evaluated alone, and so it is loaded.
#[cfg(feature = "cedar")]
fn cedar_faults(
    files: &BTreeMap<String, Text>,
    builder: impl Fn() -> kest_providers::policy::CedarEngineBuilder,
) -> Vec<Fault> {
    let fault = |(name, Text { path, text }): (&String, &Text)| {
        let text = match text {
            Err(why) => why.clone(),
            Ok(text) => {
                let error = builder().source(name.clone(), text.clone()).build().err()?.to_string();
                let file = format!("{name}.cedar");
                error.replacen(&file, &path.display().to_string(), 1)
            }
        };
        Some(Fault { path: path.clone(), text })
    };
    files.iter().filter_map(fault).collect()
}
