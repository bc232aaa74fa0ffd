//! What the commands read: passports, trust anchors, the configuration.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kest_core::config::Config;
use kest_core::verify::{Anchors, UnverifiedPassport};

/// The largest passport that is read: some 200,000 entries.
const PASSPORT_BYTES: u64 = 256 << 20;
/// The most strings that are read. Tiny ones would take many times their text.
const PASSPORT_STRINGS: usize = 1_000_000;
const ANCHORS_BYTES: u64 = 64 << 20;

/// Why the command cannot do its work: what is wrong, and what to do.
#[derive(Debug)]
pub(crate) struct Unusable(pub(crate) String);

/// Reads a passport from a file, or from standard input for `-`.
///
/// # Errors
/// When it cannot be read or is no JSON array of strings. Everything else is for the verifier to judge.
pub(crate) fn passport(path: &Path) -> Result<UnverifiedPassport, Unusable> {
    let from_stdin = path == Path::new("-");
    let name = if from_stdin { "standard input".to_owned() } else { format!("`{}`", path.display()) };
    let bytes = if from_stdin {
        limited(io::stdin().lock(), "passport", &name, PASSPORT_BYTES)?
    } else {
        file(path, "passport", PASSPORT_BYTES)?
    };
    if let [0xef, 0xbb, 0xbf, ..] | [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes.as_slice() {
        let fix = "the passport starts with a byte order mark; save it as UTF-8 without one";
        return Err(Unusable(format!("{name}: {fix}")));
    }
    let text = str::from_utf8(&bytes)
        .map_err(|error| Unusable(format!("{name}: the passport is not UTF-8: {error}; save it as UTF-8")))?;
    if strings(&bytes) > PASSPORT_STRINGS {
        return Err(Unusable(format!(
            "{name}: the passport has more than 1,000,000 entries; give a smaller one, or verify it in code with \
             higher `Limits::entries`"
        )));
    }
    UnverifiedPassport::deserialize(text).map_err(|error| {
        let hint = match text.trim_ascii_start().as_bytes().first() {
            None => " (it holds nothing; an empty passport is `[]`)",
            Some(b'{') => " (it looks like an object; are the passport and the trust anchors swapped?)",
            Some(b'e') => " (it looks like a single entry; write it as `[\"…\"]`)",
            Some(_) => "",
        };
        let cause = error.source().map_or(String::new(), |source| format!(": {source}"));
        Unusable(format!("{name}: {error}{hint}{cause}"))
    })
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

/// Reads trust anchors.
///
/// # Errors
/// When they cannot be read, or one of their keys cannot be used.
pub(crate) fn anchors(path: &Path) -> Result<Anchors, Unusable> {
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
    Config::read(&path).map(Some).map_err(|error| Unusable(error.to_string()))
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
