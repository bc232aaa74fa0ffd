//! What the commands read: passports, trust anchors and bundles, the configuration.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use kest_core::config::Config;
use kest_core::error::ConfigurationError;
use kest_core::keys::KeyError;
use kest_core::verify::{Anchors, BundleError, KeySource, SpiffeId, TrustBundles, UnverifiedPassport};
use serde_json::Value;

/// The largest passport that is read: some 200,000 entries.
const PASSPORT_BYTES: u64 = 256 << 20;
/// The most strings that are read. Tiny ones would take many times their text.
const PASSPORT_STRINGS: usize = 1_000_000;
const ANCHORS_BYTES: u64 = 64 << 20;
const BUNDLE_BYTES: u64 = 16 << 20;

/// Why the command cannot do its work: what is wrong, and what to do.
#[derive(Debug)]
pub(crate) struct Unusable(pub(crate) String);

/// Reads a passport from a file, or from standard input for `-`.
///
/// # Errors
/// When it cannot be read or is no JSON array of strings. Everything else is for the verifier to judge.
pub(crate) fn passport(path: &Path) -> Result<UnverifiedPassport, Unusable> {
    if path == Path::new("-") {
        return piped_passport(io::stdin().lock(), "standard input");
    }
    passport_of(&file(path, "passport", PASSPORT_BYTES)?, &format!("`{}`", path.display()))
}

/// Reads a passport from what comes out of a pipe.
///
/// # Errors
/// As [`passport`].
pub(crate) fn piped_passport(source: impl Read, name: &str) -> Result<UnverifiedPassport, Unusable> {
    passport_of(&limited(source, "passport", name, PASSPORT_BYTES)?, name)
}

fn passport_of(bytes: &[u8], name: &str) -> Result<UnverifiedPassport, Unusable> {
    if let [0xef, 0xbb, 0xbf, ..] | [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes {
        let fix = "the passport starts with a byte order mark; save it as UTF-8 without one";
        return Err(Unusable(format!("{name}: {fix}")));
    }
    let text = str::from_utf8(bytes)
        .map_err(|error| Unusable(format!("{name}: the passport is not UTF-8: {error}; save it as UTF-8")))?;
    if strings(bytes) > PASSPORT_STRINGS {
        return Err(Unusable(format!(
            "{name}: the passport has more than 1,000,000 entries; give a smaller one, or verify it in code with \
             higher `Limits::entries`"
        )));
    }
    let lines = one_a_line(text);
    UnverifiedPassport::deserialize(lines.as_deref().unwrap_or(text)).map_err(|error| {
        let hint = match text.trim_ascii_start().as_bytes().first() {
            None => " (it holds nothing; an empty passport is `[]`)",
            Some(b'{') => " (it looks like an object; are the passport and the trust anchors swapped?)",
            Some(b'[') if is_many(text) => {
                " (it looks like several passports, one on each line; give them one at a time)"
            }
            Some(b'e') => " (it looks like a single entry; write it as `[\"…\"]`)",
            Some(_) => "",
        };
        let cause = error.source().map_or(String::new(), |source| format!(": {source}"));
        Unusable(format!("{name}: {error}{hint}{cause}"))
    })
}

/// JSON lines with an entry as a string on each, as one array.
fn one_a_line(text: &str) -> Option<String> {
    if !text.trim_ascii_start().starts_with('"') {
        return None;
    }
    let lines: Vec<&str> = text.lines().map(str::trim_ascii).filter(|line| !line.is_empty()).collect();
    Some(format!("[{}]", lines.join(",")))
}

fn is_many(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_ascii).filter(|line| !line.is_empty());
    let is_array = |line: &str| line.starts_with('[') && line.ends_with(']');
    lines.next().is_some_and(is_array) && lines.next().is_some_and(is_array)
}

/// How many strings stand in JSON text.
fn strings(text: &[u8]) -> usize {
    let (mut count, mut inside, mut escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => {
                inside = !inside;
                count += usize::from(inside);
            }
            _ => {}
        }
    }
    count
}

/// Whose signatures are trusted.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Trusted {
    /// File with the public keys that are trusted: {"<workload id>":{"keys":[<JWK>…]}}; may be given several times, and
    /// a workload that is in several has the keys of all
    #[arg(long, value_name = "FILE")]
    anchors: Vec<PathBuf>,
    /// SPIFFE trust bundles, for workloads that sign with X.509-SVIDs: a file with a map of them, or
    /// TRUST_DOMAIN=FILE with one, in SPIFFE's JSON form or as certificates in PEM; may be given several times
    #[arg(long, value_name = "BUNDLE")]
    bundle: Vec<String>,
}

impl Trusted {
    /// Whether nobody is trusted.
    pub(crate) fn is_empty(&self) -> bool {
        self.anchors.is_empty() && self.bundle.is_empty()
    }

    /// The trust anchors as JSON; none where none were given.
    ///
    /// # Errors
    /// When they cannot be read, or one of their keys cannot be used.
    pub(crate) fn anchors_json(&self) -> Result<Option<Value>, Unusable> {
        Ok(self.united()?.map(|anchors| anchors.to_json()))
    }

    /// The anchors of all files; none where none were given.
    fn united(&self) -> Result<Option<Anchors>, Unusable> {
        let Some((first, more)) = self.anchors.split_first() else { return Ok(None) };
        let mut all = anchors(first)?;
        for path in more {
            all = unite(&all, &anchors(path)?)
                .map_err(|error| Unusable(format!("`{}`: {error}", path.display())))?;
        }
        Ok(Some(all))
    }

    /// Whether trust bundles were given.
    pub(crate) fn has_bundles(&self) -> bool {
        !self.bundle.is_empty()
    }

    /// The key sources.
    ///
    /// # Errors
    /// When one cannot be read or used, or two bundles are of one trust domain and differ.
    pub(crate) fn keys(&self) -> Result<Vec<Box<dyn KeySource>>, Unusable> {
        let mut sources: Vec<Box<dyn KeySource>> = Vec::new();
        if let Some(anchors) = self.united()? {
            sources.push(Box::new(anchors));
        }
        if !self.bundle.is_empty() {
            let mut bundles = TrustBundles::new();
            self.bundle.iter().try_for_each(|bundle| add_bundle(&mut bundles, bundle))?;
            sources.push(Box::new(bundles));
        }
        Ok(sources)
    }
}

fn add_bundle(bundles: &mut TrustBundles, argument: &str) -> Result<(), Unusable> {
    // What stands before the `=` of a path with a folder in it is no trust domain.
    let is_domain = |name: &str| SpiffeId::parse(&format!("spiffe://{name}")).is_ok() && !name.contains('/');
    let (domain, path) = match argument.split_once('=') {
        Some((name, path)) => {
            let domain = name.strip_prefix("spiffe://").unwrap_or(name);
            if is_domain(domain) {
                (Some(domain), Path::new(path))
            } else if let Ok(false) = Path::new(argument).try_exists() {
                return Err(Unusable(format!(
                    "`{name}` is no trust domain, and no file is named `{argument}`; write `example.org=FILE`"
                )));
            } else {
                (None, Path::new(argument))
            }
        }
        None => (None, Path::new(argument)),
    };
    if path == Path::new("-") {
        return Err(Unusable("trust bundles are read from files; only the passport can be `-`".to_owned()));
    }
    let bytes = file(path, "trust bundle", BUNDLE_BYTES)?;
    let unusable = |error: BundleError| {
        let shape = "give a map `{\"trust_domains\":{\"<trust domain>\":{\"keys\":[…]}}}`, or `<trust domain>=FILE` \
                     with one bundle in SPIFFE's JSON form or in PEM";
        Unusable(format!("`{}`: {error}; {shape}", path.display()))
    };
    let Some(domain) = domain else {
        return TrustBundles::from_json(&bytes).and_then(|more| bundles.merge(more)).map_err(unusable);
    };
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        return bundles.insert_spiffe_json(domain, &bytes).map_err(unusable);
    }
    let text = str::from_utf8(&bytes)
        .map_err(|error| Unusable(format!("`{}`: the trust bundle is not text: {error}", path.display())))?;
    bundles.insert_pem(domain, text).map_err(unusable)
}

/// The anchors of both: a workload that has made a key in each of its processes is in several files.
fn unite(one: &Anchors, other: &Anchors) -> Result<Anchors, KeyError> {
    let principals: BTreeSet<&str> = one.principals().chain(other.principals()).collect();
    let mut all = Anchors::new();
    for principal in principals {
        let mut keys = one.keys(principal)?.unwrap_or_default();
        for key in other.keys(principal)?.unwrap_or_default().0 {
            if !keys.0.contains(&key) {
                keys.0.push(key);
            }
        }
        all.insert(principal, keys)?;
    }
    Ok(all)
}

/// Reads trust anchors.
///
/// # Errors
/// When they cannot be read, or one of their keys cannot be used.
fn anchors(path: &Path) -> Result<Anchors, Unusable> {
    if path == Path::new("-") {
        return Err(Unusable("trust anchors are read from a file; only the passport can be `-`".to_owned()));
    }
    let bytes = file(path, "trust anchors", ANCHORS_BYTES)?;
    Anchors::from_json(&bytes).map_err(|error| {
        let shape = "trust anchors are `{\"<workload id>\":{\"keys\":[<public JWK>…]}}`";
        Unusable(format!("`{}`: {error}; {shape}", path.display()))
    })
}

/// Reads the configuration from where the caller says, else from where `KEST_CONFIG` says. There is no third place:
/// a planted file must not grant authority. Spec §14.
///
/// # Errors
/// When a file is named that cannot be read or is malformed.
pub(crate) fn config(explicit: Option<&Path>) -> Result<Option<Config>, Unusable> {
    let named = explicit.map(Path::to_path_buf);
    let named =
        named.or_else(|| env::var_os("KEST_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from));
    let Some(path) = named else { return Ok(None) };
    Config::read(&path).map(Some).map_err(|error| malformed(&error))
}

/// What is wrong with a configuration. The message names the file, and need not do it twice.
pub(crate) fn malformed(error: &ConfigurationError) -> Unusable {
    Unusable(error.to_string().replacen("`: kest.toml: ", "`: ", 1))
}

/// Reads a file that is one: a pipe or a device could keep the command for ever.
///
/// # Errors
/// When it is none, cannot be read or is larger than `limit`.
pub(crate) fn regular(path: &Path, what: &str, limit: u64) -> Result<Vec<u8>, Unusable> {
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
            Err(Unusable(format!("cannot read the {what} `{}`: it is no regular file", path.display())))
        }
        Ok(_) | Err(_) => file(path, what, limit),
    }
}

fn file(path: &Path, what: &str, limit: u64) -> Result<Vec<u8>, Unusable> {
    let name = format!("`{}`", path.display());
    let cannot = |error: io::Error| Unusable(format!("cannot read the {what} {name}: {error}"));
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if metadata.is_dir() {
        return Err(Unusable(format!("cannot read the {what} {name}: it is a directory; name a file in it")));
    }
    if metadata.len() > limit {
        return Err(too_large(what, &name, limit));
    }
    limited(file, what, &name, limit)
}

fn limited(source: impl Read, what: &str, name: &str, limit: u64) -> Result<Vec<u8>, Unusable> {
    let mut bytes = Vec::new();
    let read = source.take(limit + 1).read_to_end(&mut bytes);
    let length = read.map_err(|error| Unusable(format!("cannot read the {what} {name}: {error}")))?;
    if u64::try_from(length).is_ok_and(|length| length <= limit) {
        Ok(bytes)
    } else {
        Err(too_large(what, name, limit))
    }
}

fn too_large(what: &str, name: &str, limit: u64) -> Unusable {
    Unusable(format!("the {what} {name} is larger than {} MiB; give a smaller one", limit >> 20))
}
