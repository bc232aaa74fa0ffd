//! `[verification.authority]` of a `kest.toml`: who may do what. Spec §13.
//!
//! ```toml
//! [verification.authority]
//! "spiffe://example.org" = "own"
//! "spiffe://partner.example" = "federated"
//! "spiffe://example.org/etl/*" = { ceiling = 60, may_remove_taints = true }
//! ```

use super::{Authority, Grant};
use crate::config::Config;
use crate::error::{ConfigurationError, ConfigurationErrorKind};

impl Authority {
    /// The rules of a configuration; without any, every anchored principal may do all.
    ///
    /// # Errors
    /// When a rule cannot be used. None is skipped.
    pub fn from_config(config: &Config) -> Result<Self, ConfigurationError> {
        let Some(table) = &config.verification.authority else { return Ok(Self::default()) };
        let rules = table
            .iter()
            .map(|(pattern, rule)| Ok((pattern.as_str(), grant(pattern, rule)?)))
            .collect::<Result<Vec<_>, ConfigurationError>>()?;
        Self::new(rules)
            .map_err(|error| wrong(format!("[verification.authority]: {error}")).with_source(error))
    }
}

const SHAPE: &str = "a rule is `\"own\"`, `\"federated\"`, `\"none\"`, or a table with `ceiling` and, as wanted, \
                     `may_start_system`, `may_override`, `may_remove_taints`";

fn grant(pattern: &str, rule: &toml::Value) -> Result<Grant, ConfigurationError> {
    let refuse = |why: String| Err(wrong(format!("[verification.authority] `{pattern}`: {why}")));
    let members = match (rule.as_str(), rule.as_table()) {
        (Some("own"), _) => return Ok(Grant::own()),
        (Some("federated"), _) => return Ok(Grant::federated()),
        (Some("none"), _) => return Ok(Grant::none()),
        (Some(other), _) => return refuse(format!("`{other}` is no kind of principal; {SHAPE}")),
        (None, None) => return refuse(SHAPE.to_owned()),
        (None, Some(members)) => members,
    };
    let (mut grant, mut ceiling) = (Grant::none(), None);
    for (name, value) in members {
        let flag = match name.as_str() {
            "ceiling" => {
                ceiling = value
                    .as_integer()
                    .and_then(|score| u8::try_from(score).ok())
                    .filter(|score| *score <= 100);
                if ceiling.is_none() {
                    return refuse("`ceiling` is not a number from 0 to 100".to_owned());
                }
                continue;
            }
            "may_start_system" => &mut grant.may_start_system,
            "may_override" => &mut grant.may_override,
            "may_remove_taints" => &mut grant.may_remove_taints,
            other => return refuse(format!("`{other}` is no member of a rule; {SHAPE}")),
        };
        match value.as_bool() {
            Some(value) => *flag = value,
            None => return refuse(format!("`{name}` is not `true` or `false`")),
        }
    }
    match ceiling {
        Some(ceiling) => Ok(Grant { ceiling, ..grant }),
        None => refuse("`ceiling` is missing; add a number from 0 to 100".to_owned()),
    }
}

fn wrong(message: String) -> ConfigurationError {
    ConfigurationError::new(ConfigurationErrorKind::ConfigFile, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rules: &str) -> Result<Authority, String> {
        let config = Config::parse(&format!("[verification.authority]\n{rules}"));
        config.and_then(|config| Authority::from_config(&config)).map_err(|error| error.to_string())
    }

    #[test]
    fn without_rules_everybody_may() {
        let authority = Authority::from_config(&Config::default()).unwrap();
        assert!(!authority.is_configured());
        let nobody = parse("").unwrap();
        assert!(nobody.is_configured());
        assert_eq!(nobody.grant("spiffe://example.org/a"), Grant::none());
    }

    #[test]
    fn rules_are_read() {
        let authority = parse(
            "\"spiffe://example.org\" = \"own\"\n\"spiffe://partner.example\" = \"federated\"\n\
             \"spiffe://example.org/etl/*\" = { ceiling = 60, may_remove_taints = true }\n\
             \"spiffe://example.org/scratch\" = \"none\"",
        )
        .unwrap();
        assert_eq!(authority.grant("spiffe://example.org/a"), Grant::own());
        assert_eq!(authority.grant("spiffe://partner.example/a"), Grant::federated());
        assert_eq!(authority.grant("spiffe://example.org/scratch"), Grant::none());
        let etl = Grant { ceiling: 60, may_remove_taints: true, ..Grant::none() };
        assert_eq!(authority.grant("spiffe://example.org/etl/1"), etl);
    }

    #[test]
    fn a_rule_that_cannot_be_used_is_an_error() {
        for (rules, message) in [
            ("\"a\" = \"owner\"", "`owner` is no kind of principal"),
            ("\"a\" = 3", "a rule is"),
            ("\"a\" = { may_override = true }", "`ceiling` is missing"),
            ("\"a\" = { ceiling = 101 }", "0 to 100"),
            ("\"a\" = { ceiling = 10, may_overide = true }", "`may_overide` is no member"),
            ("\"a\" = { ceiling = 10, may_override = \"yes\" }", "`may_override` is not `true` or `false`"),
            ("\"spiffe://example.org*\" = \"own\"", "no principal pattern"),
        ] {
            let found = parse(rules).unwrap_err();
            assert!(found.contains(message), "{rules}: {found}");
        }
    }
}
