//! `[audit]`: the durable sink, and receipts of denials. Spec §6, §14, §15.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::{Config, wrong};
use crate::error::ConfigurationError;

/// `[audit]`: where entries are kept, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The kind of store. Without it there is none.
    pub sink: Option<SinkKind>,
    /// The store: a folder for `file`, a file for `sqlite`; relative to the configuration file.
    pub path: Option<PathBuf>,
    /// What an acknowledged entry survives.
    pub durability: Durability,
    /// `file`: a segment is closed before it gets larger. Default: 64 MiB.
    pub rotate_bytes: Option<u64>,
    /// `file`: a segment is closed when it is that old, such as `"24h"`.
    #[serde(deserialize_with = "duration")]
    pub rotate_age: Option<Duration>,
    /// `file`: how many segments are kept; the oldest go first. Default: all.
    pub retain_files: Option<u32>,
    /// How long entries are kept, such as `"400d"`. Default: for ever.
    #[serde(deserialize_with = "duration")]
    pub retain_age: Option<Duration>,
    /// The most bytes that the store may take; beyond, calls are refused. Default: no limit.
    pub max_bytes: Option<u64>,
    /// How long a call waits for its acknowledgement. Default: 10 s.
    #[serde(deserialize_with = "duration")]
    pub timeout: Option<Duration>,
    /// Whether a denial leaves a signed receipt in the store. Default: false.
    pub sign_denials: bool,
    /// The most receipts in a second. Default: 10.
    pub denials_per_second: Option<u32>,
}

/// Kinds of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SinkKind {
    /// JSON lines in a folder.
    File,
    /// An SQLite database.
    Sqlite,
}

/// What an acknowledged entry survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The end of the process, `kill -9` included: the operating system has the bytes.
    #[default]
    Process,
    /// The end of the power: the device has said that it has the bytes (`fsync`).
    Power,
}

impl Audit {
    /// Receipts in a second, where denials are signed.
    #[must_use]
    pub fn denial_rate(&self) -> Option<u32> {
        self.sign_denials.then(|| self.denials_per_second.unwrap_or(10))
    }

    pub(super) fn check(&self) -> Result<(), ConfigurationError> {
        let refuse = |why: &str| Err(wrong(format!("`[audit]`: {why}")));
        let rotation =
            self.rotate_bytes.is_some() || self.rotate_age.is_some() || self.retain_files.is_some();
        match (self.sink, &self.path) {
            (Some(_), None) => return refuse("`sink` needs a `path`"),
            (Some(_), Some(path)) if path.as_os_str().is_empty() => return refuse("`path` is empty"),
            (None, Some(_)) => return refuse("`path` needs `sink = \"file\"` or `\"sqlite\"`"),
            (Some(SinkKind::Sqlite), _) if rotation => {
                return refuse(
                    "`rotate_bytes`, `rotate_age` and `retain_files` are for `sink = \"file\"`; \
                     give `retain_age` or `max_bytes`",
                );
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        if self.sink.is_none() {
            let keys = [
                ("durability", self.durability != Durability::default()),
                ("rotate_bytes", self.rotate_bytes.is_some()),
                ("rotate_age", self.rotate_age.is_some()),
                ("retain_files", self.retain_files.is_some()),
                ("retain_age", self.retain_age.is_some()),
                ("max_bytes", self.max_bytes.is_some()),
                ("timeout", self.timeout.is_some()),
            ];
            if let Some((name, _)) = keys.iter().find(|(_, given)| *given) {
                return refuse(&format!("`{name}` needs a `sink`"));
            }
        }
        if self.denials_per_second.is_some() && !self.sign_denials {
            return refuse("`denials_per_second` needs `sign_denials = true`");
        }
        let zero = [
            ("rotate_age", self.rotate_age == Some(Duration::ZERO)),
            ("retain_age", self.retain_age == Some(Duration::ZERO)),
            ("timeout", self.timeout == Some(Duration::ZERO)),
            ("retain_files", self.retain_files == Some(0)),
            ("denials_per_second", self.denials_per_second == Some(0)),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, zero)| *zero) {
            return refuse(&format!("`{name}` is 0; leave it away for the default"));
        }
        const SMALLEST: u64 = 1 << 20;
        for (name, bytes) in [("rotate_bytes", self.rotate_bytes), ("max_bytes", self.max_bytes)] {
            if bytes.is_some_and(|bytes| bytes < SMALLEST) {
                return refuse(&format!("`{name}` is under 1 MiB (1048576)"));
            }
        }
        Ok(())
    }
}

impl Config {
    /// `[audit] path`, from where the configuration file stands.
    #[must_use]
    pub fn audit_path(&self) -> Option<PathBuf> {
        let path = self.audit.path.as_ref()?;
        Some(match self.path.as_ref().and_then(|file| file.parent()) {
            Some(folder) => folder.join(path),
            None => path.clone(),
        })
    }
}

/// A whole number and its unit: `s`, `m`, `h` or `d`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text.char_indices().last().and_then(|(end, unit)| {
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        let number = text.get(..end).filter(|n| n.bytes().all(|b| b.is_ascii_digit()))?;
        number.parse::<u64>().ok()?.checked_mul(seconds)
    });
    match parsed {
        Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
        None => Err(de::Error::custom(format!(
            "`{text}` is no length of time; write a whole number and `s`, `m`, `h` or `d`, such as `24h`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Config::parse(&format!("[audit]\n{text}")).unwrap_err().to_string()
    }

    #[test]
    fn a_whole_section_is_read() {
        let config = Config::parse(
            "[audit]\nsink = \"file\"\npath = \"log\"\ndurability = \"power\"\nrotate_bytes = 1048576\n\
             rotate_age = \"24h\"\nretain_files = 9\nretain_age = \"400d\"\nmax_bytes = 2097152\n\
             timeout = \"5s\"\nsign_denials = true\ndenials_per_second = 3\n",
        )
        .unwrap();
        let audit = &config.audit;
        assert_eq!((audit.sink, audit.durability), (Some(SinkKind::File), Durability::Power));
        assert_eq!(audit.rotate_age, Some(Duration::from_secs(86_400)));
        assert_eq!(audit.retain_age, Some(Duration::from_secs(400 * 86_400)));
        assert_eq!((audit.timeout, audit.denial_rate()), (Some(Duration::from_secs(5)), Some(3)));
        assert_eq!(config.audit_path(), Some("log".into()));
        let config = Config { path: Some("/etc/kest/kest.toml".into()), ..config };
        assert_eq!(config.audit_path(), Some("/etc/kest/log".into()));
        assert_eq!(Config::parse("").unwrap().audit, Audit::default());
        assert_eq!(Audit::default().denial_rate(), None);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        assert!(refused("sinc = \"file\"").contains("sinc"));
        assert!(refused("sink = \"paper\"").contains("paper"));
        assert!(refused("sink = \"file\"").contains("needs a `path`"));
        assert!(refused("sink = \"file\"\npath = \"\"").contains("`path` is empty"));
        assert!(refused("path = \"x\"").contains("needs `sink"));
        assert!(refused("durability = \"power\"").contains("`durability` needs a `sink`"));
        assert!(refused("max_bytes = 1048576").contains("`max_bytes` needs a `sink`"));
        assert!(refused("denials_per_second = 5").contains("sign_denials = true"));
        assert!(refused("sign_denials = true\ndenials_per_second = 0").contains("is 0"));
        for sqlite in ["rotate_bytes = 1048576", "rotate_age = \"1h\"", "retain_files = 3"] {
            let error = refused(&format!("sink = \"sqlite\"\npath = \"x\"\n{sqlite}"));
            assert!(error.contains("for `sink = \"file\"`"), "{error}");
        }
        let file = "sink = \"file\"\npath = \"x\"\n";
        assert!(refused(&format!("{file}retain_files = 0")).contains("`retain_files` is 0"));
        assert!(refused(&format!("{file}rotate_bytes = 10")).contains("under 1 MiB"));
        for time in ["24", "h", "", "-1h", "1.5h", "1w", "99999999999999999999d"] {
            assert!(
                refused(&format!("{file}rotate_age = \"{time}\"")).contains("no length of time"),
                "{time}"
            );
        }
        assert!(refused(&format!("{file}retain_age = \"0d\"")).contains("`retain_age` is 0"));
    }
}
