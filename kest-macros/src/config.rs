//! What the macro reads of `kest.toml` and `kest-policies.lock`. Spec §15.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// The sections the macro uses.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(crate) policies: Policies,
    pub(crate) trust: Trust,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    #[serde(default)]
    policies: Policies,
    #[serde(default)]
    trust: Trust,
    #[serde(rename = "deviations")]
    _deviations: Option<IgnoredAny>,
    #[serde(rename = "propagation")]
    _propagation: Option<IgnoredAny>,
    #[serde(rename = "verification")]
    _verification: Option<IgnoredAny>,
}

/// `[policies]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policies {
    pub(crate) dir: Option<String>,
    #[serde(default)]
    pub(crate) known: BTreeSet<String>,
    #[serde(default)]
    pub(crate) policy_check: PolicyCheck,
    #[serde(rename = "enterprise")]
    _enterprise: Option<IgnoredAny>,
    #[serde(rename = "platform")]
    _platform: Option<IgnoredAny>,
    #[serde(rename = "app")]
    _app: Option<IgnoredAny>,
}

/// `policy_check`: the one opt-out there is for a whole crate.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PolicyCheck {
    #[default]
    On,
    Off,
}

impl PolicyCheck {
    pub(crate) fn is_off(self) -> bool {
        self == Self::Off
    }
}

/// `[trust]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trust {
    #[serde(default)]
    pub(crate) sources: BTreeMap<String, IgnoredAny>,
    #[serde(rename = "model")]
    _model: Option<IgnoredAny>,
    #[serde(rename = "root_source")]
    _root_source: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Lock {
    #[serde(default)]
    policy: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    digest: String,
}

/// Reads a `kest.toml`; the error says the line.
pub(crate) fn parse_config(text: &str) -> Result<ConfigFile, String> {
    let Sections { policies, trust, .. } = parse(text)?;
    Ok(ConfigFile { policies, trust })
}

/// Reads a `kest-policies.lock` and gives the names in it.
pub(crate) fn parse_lock(text: &str) -> Result<BTreeSet<String>, String> {
    let lock: Lock = parse(text)?;
    for Locked { name, digest } in &lock.policy {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(format!(
                "the digest of `{name}` is `{digest}`, not `sha256:` and 64 hex digits; \
                 write the file with `kest policy sync`"
            ));
        }
    }
    Ok(lock.policy.into_iter().map(|policy| policy.name).collect())
}

/// Whether a `Cargo.toml` is a workspace's.
pub(crate) fn has_workspace(text: &str) -> bool {
    text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("workspace"))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let message = error.message().trim_end().replace('\n', ", ");
        match error.span().and_then(|span| text.get(..span.start)) {
            Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
            None => message,
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn config() {
        let text = "[policies]\ndir = \"p\"\nknown = [\"a/b\"]\nenterprise = []\nplatform = []\napp = []\n\
                    [[deviations]]\nscope = \"x\"\n[trust]\nmodel = \"guide\"\nroot_source = \"internal\"\n\
                    [trust.sources]\npartner_feed = 55\n[propagation]\n[verification.authority]\n";
        let file = parse_config(text).unwrap();
        assert_eq!(file.policies.dir.as_deref(), Some("p"));
        assert!(file.policies.known.contains("a/b"));
        assert!(!file.policies.policy_check.is_off());
        assert!(file.trust.sources.contains_key("partner_feed"));
        assert!(parse_config("[policies]\npolicy_check = \"off\"").unwrap().policies.policy_check.is_off());
        assert_eq!(parse_config("").unwrap().policies.dir, None);
    }

    #[test]
    fn refused_config() {
        for (text, wanted) in [
            ("[policies]\ndirr = \"p\"\n", "line 2: unknown field `dirr`"),
            ("\n[policy]\n", "line 2: unknown field `policy`"),
            ("[trust]\nsource = 1\n", "line 2: unknown field `source`"),
            ("[policies]\npolicy_check = \"of\"\n", "line 2: unknown variant `of`"),
            ("[policies]\ndir = 5\n", "line 2: invalid type"),
            ("[policies\n", "line 1: "),
        ] {
            let error = parse_config(text).unwrap_err();
            assert!(error.starts_with(wanted), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn lock() {
        let digest = "0".repeat(64);
        let text = format!("[[policy]]\nname = \"payments-pci/x\"\ndigest = \"sha256:{digest}\"\n");
        assert!(parse_lock(&text).unwrap().contains("payments-pci/x"));
        assert!(parse_lock("").unwrap().is_empty());
        assert!(parse_lock("[[policy]]\nname = \"a\"\n").unwrap_err().contains("missing field `digest`"));
        assert!(
            parse_lock("[[policy]]\nname = \"a\"\ndigest = \"sha256:0\"\n")
                .unwrap_err()
                .contains("digest of `a`")
        );
    }

    #[test]
    fn workspace() {
        assert!(has_workspace("[workspace]\n"));
        assert!(has_workspace("[workspace.package]\nversion = \"1.0.0\"\n"));
        assert!(!has_workspace("[package]\nname = \"x\"\n"));
        assert!(!has_workspace("[package]\ndescription = \"\"\"\n[workspace]\n\"\"\"\n"));
        assert!(!has_workspace("[dependencies]\nkest = { workspace = true }\n"));
    }
}
