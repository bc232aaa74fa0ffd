//! `[verification.authority]` of a `kest.toml`: who may do what. Spec §13.
//!
//! ```toml
//! [verification.authority]
//! "spiffe://example.org" = "own"
//! "spiffe://partner.example" = "federated"
//! "spiffe://example.org/etl/*" = { ceiling = 60, may_remove_taints = true }
//! ```

use kest_core::config::Config;
use kest_core::verify::{Authority, Grant};

use crate::input::Unusable;

/// The rules of a configuration; without any, every anchored principal may do all.
///
/// # Errors
/// When a rule cannot be used. None is skipped.
pub(crate) fn read(config: &Config) -> Result<Authority, Unusable> {
    let Some(table) = &config.verification.authority else { return Ok(Authority::default()) };
    let mut rules = Vec::new();
    for (pattern, rule) in table {
        let grant = match (rule.as_str(), rule.as_table()) {
            (Some("own"), _) => Grant::own(),
            (Some("federated"), _) => Grant::federated(),
            (Some("none"), _) => Grant::none(),
            (None, Some(members)) => {
                let mut grant = Grant::none();
                let mut ceiling = None;
                for (name, value) in members {
                    let flag = || {
                        value
                            .as_bool()
                            .ok_or_else(|| wrong(pattern, &format!("`{name}` is not `true` or `false`")))
                    };
                    match name.as_str() {
                        "ceiling" => {
                            let score = value.as_integer().and_then(|score| u8::try_from(score).ok());
                            ceiling =
                                Some(score.filter(|score| *score <= 100).ok_or_else(|| {
                                    wrong(pattern, "`ceiling` is not a number from 0 to 100")
                                })?);
                        }
                        "own" => grant.own = flag()?,
                        "may_start_system" => grant.may_start_system = flag()?,
                        "may_override" => grant.may_override = flag()?,
                        "may_remove_taints" => grant.may_remove_taints = flag()?,
                        other => {
                            return Err(wrong(
                                pattern,
                                &format!("`{other}` is no member of a rule; {SHAPE}"),
                            ));
                        }
                    }
                }
                grant.ceiling = ceiling
                    .ok_or_else(|| wrong(pattern, "`ceiling` is missing; add a number from 0 to 100"))?;
                grant
            }
            (Some(other), _) => {
                return Err(wrong(pattern, &format!("`{other}` is no kind of principal; {SHAPE}")));
            }
            (None, None) => return Err(wrong(pattern, SHAPE)),
        };
        rules.push((pattern.as_str(), grant));
    }
    Authority::new(rules).map_err(|error| Unusable(format!("[verification.authority]: {error}")))
}

const SHAPE: &str = "a rule is `\"own\"`, `\"federated\"`, `\"none\"`, or a table with `ceiling` and, as wanted, \
                     `own`, `may_start_system`, `may_override`, `may_remove_taints`";

fn wrong(pattern: &str, why: &str) -> Unusable {
    Unusable(format!("[verification.authority] `{pattern}`: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rules: &str) -> Result<Authority, String> {
        let config = Config::parse(&format!("[verification.authority]\n{rules}")).unwrap();
        read(&config).map_err(|Unusable(message)| message)
    }

    #[test]
    fn without_rules_everybody_may() {
        let authority = read(&Config::parse("").unwrap()).unwrap();
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
            ("\"a\" = { own = true }", "`ceiling` is missing"),
            ("\"a\" = { ceiling = 101 }", "0 to 100"),
            ("\"a\" = { ceiling = 10, may_overide = true }", "`may_overide` is no member"),
            ("\"a\" = { ceiling = 10, own = \"yes\" }", "`own` is not `true` or `false`"),
            ("\"spiffe://example.org*\" = \"own\"", "no principal pattern"),
        ] {
            let found = parse(rules).unwrap_err();
            assert!(found.contains(message), "{rules}: {found}");
        }
    }
}
