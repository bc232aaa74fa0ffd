//! `kest.toml`: what a deployment decides, and code cannot. Spec §15.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{ConfigurationError, ConfigurationErrorKind};
use crate::policy::Tier;
use crate::telemetry::{Exporter, PassportAttribute};
use crate::trust::TrustModel;
use crate::verify::Authority;

mod audit;

pub use self::audit::{Audit, Durability, SinkKind};

/// A parsed `kest.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[policies]`.
    pub policies: Policies,
    /// `[[deviations]]`.
    pub deviations: Vec<Deviation>,
    /// `[trust]`.
    pub trust: Trust,
    /// `[propagation]`.
    pub propagation: Propagation,
    /// `[verification]`.
    pub verification: Verification,
    /// `[audit]`.
    pub audit: Audit,
    /// `[telemetry]`.
    pub telemetry: Telemetry,
    /// The file it came from.
    #[serde(skip)]
    pub path: Option<PathBuf>,
}

/// `[policies]`: the catalog, and the tiers every call passes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policies {
    /// The folder of the policy files, relative to the configuration file. Default: `policies`.
    pub dir: Option<PathBuf>,
    /// Names of policies that are no files there, for the check at compile time.
    pub known: Vec<String>,
    /// Policies of the enterprise tier, in order.
    pub enterprise: Vec<String>,
    /// Policies of the platform tier, in order.
    pub platform: Vec<String>,
    /// Policies of the application tier, in order.
    pub app: Vec<String>,
    /// `"off"` turns the check of policy names at compile time off.
    pub policy_check: PolicyCheck,
}

/// Whether literal policy names are checked at compile time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyCheck {
    /// Against the catalog.
    #[default]
    On,
    /// Not at all.
    Off,
}

/// `[[deviations]]`: an approved exemption from one higher-tier policy in one scope. Signed into every entry it touches.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// `module::path::fn`, or a whole-segment prefix of it.
    pub scope: String,
    /// The policy that is lifted.
    pub policy: String,
    /// Its tier: `enterprise`, `platform` or `application`.
    pub tier: String,
    /// Why.
    pub reason: Option<String>,
    /// Who approved it.
    pub approver: Option<String>,
}

impl Deviation {
    /// Whether the deviation holds for `function`.
    #[must_use]
    pub fn covers(&self, function: &str) -> bool {
        function
            .strip_prefix(self.scope.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }
}

/// `[trust]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trust {
    /// `guide` (default) or `spec_v0_3`.
    pub model: Option<String>,
    /// The source of roots that name none, outside ingress scopes.
    pub root_source: Option<String>,
    /// More sources and their scores, 0–100.
    pub sources: BTreeMap<String, u8>,
}

/// `[propagation]`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Propagation {
    /// Believe `kest.user`, `kest.agent` and `kest.task` in plain OpenTelemetry Baggage. Off by
    /// default: any caller can set them.
    pub trust_baggage_identity: bool,
}

/// `[verification]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Verification {
    /// `[verification.authority]`: who may raise trust, start trusted roots and remove taints.
    pub authority: Option<toml::Table>,
}

/// `[telemetry]`: where spans go. `KestTelemetry::from_config` opens it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Which spans have `kest.passport`: `root` (default), `always` or `never`.
    pub passport: Option<PassportAttribute>,
    /// `service.name` of the spans' resource. Required with an exporter.
    pub service_name: Option<String>,
    /// `otlp`, `file`, `sqlite` or `console`.
    pub exporter: Option<Exporter>,
    /// The collector's URL, or the path of the file, relative to the configuration file.
    pub endpoint: Option<String>,
}

impl Telemetry {
    fn check(&self) -> Result<(), ConfigurationError> {
        let refuse = |why: &str| Err(wrong(format!("`[telemetry]` {why}")));
        match (self.exporter, &self.service_name, &self.endpoint) {
            (None, Some(_), _) | (None, _, Some(_)) => {
                refuse("names no `exporter`; use `otlp`, `file`, `sqlite` or `console`")
            }
            (Some(_), None, _) => refuse("names no `service_name`; spans must say whose they are"),
            (Some(_), Some(name), _) if name.trim().is_empty() => refuse("has an empty `service_name`"),
            (Some(_), _, Some(endpoint)) if endpoint.is_empty() => refuse("has an empty `endpoint`"),
            (Some(Exporter::File | Exporter::Sqlite), _, None) => {
                refuse("names no `endpoint`, which is the path of the file")
            }
            (Some(Exporter::Console), _, Some(_)) => {
                refuse("has an `endpoint`, which `console` has no use for; take it away")
            }
            (None, None, None) | (Some(_), Some(_), _) => Ok(()),
        }
    }
}

impl Config {
    /// Parses and checks the text of a `kest.toml`.
    ///
    /// # Errors
    /// On a syntax error, an unknown key, or content that contradicts itself; the message names the key.
    pub fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let config: Self = toml::from_str(text).map_err(|error| wrong(misread(text, &error)))?;
        config.check()?;
        Ok(config)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When the file cannot be read or is over 1 MiB, and as [`Self::parse`] does.
    pub fn read(path: &Path) -> Result<Self, ConfigurationError> {
        const LIMIT: u64 = 1 << 20;
        let name = path.display();
        let cannot = |error: io::Error| {
            wrong(format!("cannot read configuration `{name}`: {error}")).with_source(error)
        };
        let mut bytes = Vec::new();
        fs::File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes)).map_err(cannot)?;
        if bytes.len() as u64 > LIMIT {
            return Err(wrong(format!("configuration `{name}` is over 1 MiB; name the right file")));
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| cannot(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())))?;
        let mut config = Self::parse(&text)
            .map_err(|error| wrong(format!("in `{}`: {error}", path.display())).with_source(error))?;
        config.path = Some(path.to_path_buf());
        Ok(config)
    }

    /// Finds the configuration of a run: `KEST_CONFIG`, else `explicit`, else `./kest.toml`.
    ///
    /// Never searched upward: a planted file must not supply deviations. `None` when there is none.
    ///
    /// # Errors
    /// When the file that was named does not exist, and as [`Self::read`] does.
    pub fn find(explicit: Option<&Path>) -> Result<Option<Self>, ConfigurationError> {
        if let Some(path) = env::var_os("KEST_CONFIG").filter(|path| !path.is_empty()) {
            return Self::read(Path::new(&path)).map(Some);
        }
        if let Some(path) = explicit {
            return Self::read(path).map(Some);
        }
        let here = Path::new("kest.toml");
        match here.try_exists() {
            Ok(false) => Ok(None),
            Ok(true) => Self::read(here).map(Some),
            Err(error) => Err(wrong(format!("cannot look for `./kest.toml`: {error}")).with_source(error)),
        }
    }

    /// The trust model with its registered sources.
    ///
    /// # Errors
    /// When the model is unknown or a source cannot be registered.
    pub fn trust_model(&self) -> Result<TrustModel, ConfigurationError> {
        let name = self.trust.model.as_deref().unwrap_or("guide");
        let mut model = TrustModel::by_name(name).ok_or_else(|| {
            wrong(format!("`[trust] model = \"{name}\"` is unknown; use `guide` or `spec_v0_3`"))
        })?;
        for (source, score) in &self.trust.sources {
            model.register(source, *score)?;
        }
        Ok(model)
    }

    /// The policies of a tier, in order. The function tier stands in the attributes, so it is empty here.
    #[must_use]
    pub fn tier(&self, tier: Tier) -> &[String] {
        match tier {
            Tier::Enterprise => &self.policies.enterprise,
            Tier::Platform => &self.policies.platform,
            Tier::Application => &self.policies.app,
            Tier::Function => &[],
        }
    }

    fn check(&self) -> Result<(), ConfigurationError> {
        let model = self.trust_model()?;
        if let Some(source) = &self.trust.root_source {
            model.require(source)?;
        }
        for tier in [Tier::Enterprise, Tier::Platform, Tier::Application] {
            for (index, name) in self.tier(tier).iter().enumerate() {
                check_policy_name(name)?;
                if self.tier(tier).iter().skip(index + 1).any(|other| other == name) {
                    return Err(wrong(format!("policy `{name}` stands twice in the {tier} tier")));
                }
            }
        }
        Authority::from_config(self)?;
        self.audit.check()?;
        self.telemetry.check()?;
        self.deviations.iter().try_for_each(|deviation| self.check_deviation(deviation))
    }

    fn check_deviation(&self, deviation: &Deviation) -> Result<(), ConfigurationError> {
        let Deviation { scope, policy, tier, .. } = deviation;
        let refuse = |why: &str| Err(wrong(format!("deviation from `{policy}` in `{scope}`: {why}")));
        let lists = match tier.as_str() {
            "enterprise" => &self.policies.enterprise,
            "platform" => &self.policies.platform,
            "application" => &self.policies.app,
            "function" => return refuse("function policies stand in the code and cannot be lifted"),
            other => {
                return refuse(&format!(
                    "unknown tier `{other}`; use `enterprise`, `platform` or `application`"
                ));
            }
        };
        if !lists.contains(policy) {
            return refuse(&format!("the {tier} tier has no such policy, so nothing would be lifted"));
        }
        if scope.is_empty() || scope.split("::").any(str::is_empty) {
            return refuse("the scope is not a path such as `my_crate::module::function`");
        }
        Ok(())
    }
}

/// Refuses what cannot name a policy: a slash path of non-empty segments of letters, digits, `_` and `-`.
///
/// # Errors
/// With the name, and what a name looks like.
pub(crate) fn check_policy_name(name: &str) -> Result<(), ConfigurationError> {
    let segment_ok = |segment: &str| {
        !segment.is_empty() && segment.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    };
    if name.split('/').all(segment_ok) {
        return Ok(());
    }
    Err(ConfigurationError::new(
        ConfigurationErrorKind::PolicyNames,
        format!(
            "`{name}` is not a policy name; a name is a path such as `kest/allow_trusted` \
             of letters, digits, `_` and `-`"
        ),
    ))
}

/// What the parser says and where, without the text around it: a source of the error would have the whole file in it.
fn misread(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map(|before| format!("line {}: ", before.matches('\n').count() + 1));
    format!("kest.toml: {}{}", line.unwrap_or_default(), error.message())
}

fn wrong(message: String) -> ConfigurationError {
    ConfigurationError::new(ConfigurationErrorKind::ConfigFile, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Config::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_refusal_has_its_line_and_nothing_else_of_the_file() {
        let error = Config::parse("# s3cret\n\nfolder = \"s3cret\"\n").unwrap_err();
        assert!(error.to_string().starts_with("kest.toml: line 3: unknown field `folder`, "), "{error}");
        // What `main` prints.
        assert_eq!(format!("{:?}", crate::Error::from(error)), refused("# s3cret\n\nfolder = \"s3cret\"\n"));
        assert!(!refused("# s3cret\n\nfolder = \"s3cret\"\n").contains("s3cret"));
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(refused("[policies]\nenterprize = []").contains("enterprize"));
        assert!(refused("[polices]\n").contains("polices"));
    }

    #[test]
    fn a_deviation_must_lift_something() {
        let deviation = |tier: &str, policy: &str| {
            format!(
                "[policies]\nplatform = [\"payments-pci\"]\n[[deviations]]\nscope = \"a::b\"\n\
                 policy = \"{policy}\"\ntier = \"{tier}\"\n"
            )
        };
        assert!(Config::parse(&deviation("platform", "payments-pci")).is_ok());
        assert!(refused(&deviation("enterprise", "payments-pci")).contains("nothing would be lifted"));
        assert!(refused(&deviation("function", "payments-pci")).contains("cannot be lifted"));
        assert!(refused(&deviation("galaxy", "payments-pci")).contains("unknown tier `galaxy`"));
    }

    #[test]
    fn a_deviation_covers_whole_segments_only() {
        let deviation = Deviation {
            scope: "shop::orders".into(),
            policy: "p".into(),
            tier: "platform".into(),
            reason: None,
            approver: None,
        };
        assert!(deviation.covers("shop::orders"));
        assert!(deviation.covers("shop::orders::refund"));
        assert!(!deviation.covers("shop::orders_archive::refund"));
        assert!(!deviation.covers("shop"));
    }

    #[test]
    fn telemetry_says_where_to_or_nothing() {
        let good = |rest: &str| Config::parse(&format!("[telemetry]\n{rest}")).unwrap().telemetry;
        let telemetry = good("service_name = \"shop\"\nexporter = \"otlp\"\npassport = \"never\"");
        assert_eq!(telemetry.exporter, Some(Exporter::Otlp));
        assert_eq!(telemetry.passport, Some(PassportAttribute::Never));
        assert_eq!(good("passport = \"always\"").passport, Some(PassportAttribute::Always));
        assert_eq!(good("").passport, None);
        good("service_name = \"shop\"\nexporter = \"console\"");

        for (text, named) in [
            ("exporter = \"jaeger\"\nservice_name = \"shop\"", "jaeger"),
            ("passport = \"sometimes\"", "sometimes"),
            ("exporters = \"file\"", "exporters"),
            ("exporter = \"otlp\"", "no `service_name`"),
            ("exporter = \"otlp\"\nservice_name = \" \"", "empty `service_name`"),
            ("exporter = \"otlp\"\nservice_name = \"shop\"\nendpoint = \"\"", "empty `endpoint`"),
            ("exporter = \"file\"\nservice_name = \"shop\"", "path of the file"),
            ("exporter = \"sqlite\"\nservice_name = \"shop\"", "path of the file"),
            ("exporter = \"console\"\nservice_name = \"shop\"\nendpoint = \"x\"", "take it away"),
            ("service_name = \"shop\"", "no `exporter`"),
            ("endpoint = \"http://127.0.0.1:4317\"", "no `exporter`"),
        ] {
            let message = refused(&format!("[telemetry]\n{text}"));
            assert!(message.contains(named), "{text}: {message}");
        }
    }

    #[test]
    fn sources_and_models_are_checked() {
        assert!(refused("[trust]\nmodel = \"gide\"").contains("`guide` or `spec_v0_3`"));
        assert!(refused("[trust.sources]\nllm = 90").contains("built in"));
        assert!(refused("[trust]\nroot_source = \"fax\"").contains("unknown source type `fax`"));
        let config = Config::parse("[trust]\nroot_source = \"fax\"\n[trust.sources]\nfax = 20").unwrap();
        assert_eq!(config.trust_model().unwrap().score("fax"), Some(20));
    }
}
