//! `kest-policies.lock`: the policies that only a server holds. Spec §15.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::names::is_name;
use crate::input::{self, Unusable};

/// The file's name, beside `kest.toml`.
pub(crate) const FILE: &str = "kest-policies.lock";
const LIMIT: u64 = 16 << 20;

/// Names, and the digest of what stands behind each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lock(pub(crate) BTreeMap<String, String>);

/// `sha256:<hex>` of a text.
pub(crate) fn digest_of(text: &str) -> String {
    let hex: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    policy: Vec<Policy>,
}

#[derive(Deserialize)]
struct Policy {
    name: String,
    digest: String,
}

impl Lock {
    /// Reads a lock; `None` where there is no file.
    ///
    /// # Errors
    /// When it cannot be read or is malformed.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Unusable> {
        let cannot = |error: &dyn std::fmt::Display| Unusable(format!("`{}`: {error}", path.display()));
        if !path.try_exists().map_err(|error| cannot(&error))? {
            return Ok(None);
        }
        let bytes = input::regular(path, "lock file", LIMIT)?;
        let text = String::from_utf8(bytes).map_err(|error| cannot(&error.utf8_error()))?;
        Self::parse(&text).map(Some).map_err(|error| cannot(&error))
    }

    fn parse(text: &str) -> Result<Self, String> {
        const FIX: &str = "write the file with `kest policy sync`";
        let document: Document = toml::from_str(text).map_err(|error| {
            let message = error.message().trim_end().replace('\n', ", ");
            let before = error.span().and_then(|span| text.get(..span.start));
            let line =
                before.map_or(String::new(), |before| format!("line {}: ", before.matches('\n').count() + 1));
            format!("{line}{message}; {FIX}")
        })?;
        let mut policies = BTreeMap::new();
        for Policy { name, digest } in document.policy {
            if !is_name(&name) {
                return Err(format!("`{name}` is not a policy name; {FIX}"));
            }
            let hex = digest.strip_prefix("sha256:").unwrap_or_default();
            if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(format!(
                    "the digest of `{name}` is `{digest}`, not `sha256:` and 64 hex digits; {FIX}"
                ));
            }
            match policies.entry(name) {
                Entry::Vacant(free) => free.insert(digest),
                Entry::Occupied(taken) => {
                    return Err(format!("`{}` stands twice in it; {FIX}", taken.key()));
                }
            };
        }
        Ok(Self(policies))
    }

    /// The file's bytes: sorted by name, the same for the same policies.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = "# Written by `kest policy sync`.\n".to_owned();
        for (name, digest) in &self.0 {
            // Neither has a character that TOML would escape.
            text.push_str(&format!("\n[[policy]]\nname = \"{name}\"\ndigest = \"{digest}\"\n"));
        }
        text
    }

    /// What has to happen to `self` for it to become `other`, by name.
    pub(crate) fn changes<'a>(&'a self, other: &'a Self) -> Vec<(Change, &'a str)> {
        let mut changes: Vec<(Change, &str)> = Vec::new();
        for (name, digest) in &other.0 {
            match self.0.get(name) {
                None => changes.push((Change::Added, name)),
                Some(old) if old != digest => changes.push((Change::Changed, name)),
                Some(_) => {}
            }
        }
        let gone = self.0.keys().filter(|name| !other.0.contains_key(*name));
        changes.extend(gone.map(|name| (Change::Removed, name.as_str())));
        changes.sort_unstable_by_key(|(_, name)| *name);
        changes
    }
}

/// What became of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Changed,
    Removed,
}

impl Change {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(policies: &[(&str, char)]) -> Lock {
        let digest = |digit: &char| format!("sha256:{}", digit.to_string().repeat(64));
        Lock(policies.iter().map(|(name, digit)| ((*name).to_owned(), digest(digit))).collect())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let written = lock(&[("payments-pci/x", 'a'), ("kest", '0')]);
        let text = written.to_toml();
        assert!(text.find("\"kest\"") < text.find("payments"), "{text}");
        assert_eq!(Lock::parse(&text).unwrap(), written);
        assert_eq!(Lock::parse("").unwrap(), Lock::default());
    }

    #[test]
    fn what_is_no_lock_is_refused() {
        let digest = format!("digest = \"sha256:{}\"\n", "0".repeat(64));
        let twice = format!("[[policy]]\nname = \"a\"\n{digest}[[policy]]\nname = \"a\"\n{digest}");
        let no_name = format!("[[policy]]\nname = \"a b\"\n{digest}");
        for (text, wanted) in [
            (twice.as_str(), "`a` stands twice"),
            (&no_name, "`a b` is not a policy name"),
            ("[[policy]]\nname = \"a\"\ndigest = \"sha256:0\"\n", "digest of `a` is `sha256:0`"),
            ("[[policy]]\nname = \"a\"\n", "missing field `digest`"),
            ("[[policy\n", "line 1"),
        ] {
            let error = Lock::parse(text).unwrap_err();
            assert!(error.contains(wanted) && error.ends_with("with `kest policy sync`"), "{error}");
        }
    }

    #[test]
    fn changes_are_by_name() {
        let (old, new) =
            (lock(&[("a", '0'), ("b", '0'), ("c", '0')]), lock(&[("b", '1'), ("c", '0'), ("d", '0')]));
        let wanted = [(Change::Removed, "a"), (Change::Changed, "b"), (Change::Added, "d")];
        assert_eq!(old.changes(&new), wanted);
        assert!(new.changes(&new).is_empty());
    }
}
