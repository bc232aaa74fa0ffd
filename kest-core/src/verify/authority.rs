//! Who may do what, by principal. Spec §13, `[verification.authority]`.

mod config;

use std::fmt;

use crate::text::Quoted;

/// Who may start `system` and `internal` roots, override trust and remove taints, and up to which score.
///
/// The default says nothing: every anchored principal is own and may do all, but for what goes on from a lineage of this
/// process ([`Verifier::continuing`](super::Verifier::continuing)), which gains nothing over that. As soon as there is
/// one rule, a principal that no rule names has no authority at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    rules: Option<Vec<(Pattern, Grant)>>,
}

/// What a principal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The highest score that is believed.
    pub ceiling: u8,
    /// Whether it may start a root with source `system` or `internal`, as own entries record it. Foreign roots record
    /// none: the ceiling alone bounds them.
    pub may_start_system: bool,
    /// Whether it may override trust.
    pub may_override: bool,
    /// Whether it may remove taints.
    pub may_remove_taints: bool,
}

impl Grant {
    /// Everything: ceiling 100.
    #[must_use]
    pub fn own() -> Self {
        Self { ceiling: 100, may_start_system: true, may_override: true, may_remove_taints: true }
    }

    /// A partner: ceiling 70, and none of the rest.
    #[must_use]
    pub fn federated() -> Self {
        Self { ceiling: 70, ..Self::none() }
    }

    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { ceiling: 0, may_start_system: false, may_override: false, may_remove_taints: false }
    }
}

impl Authority {
    /// Rules by pattern: an exact workload id, `<prefix>*` where the prefix ends with `/`, `:` or
    /// `#`, or a trust domain (`spiffe://example.org`). An exact id goes before prefixes and trust domains, and of those
    /// the longest. Workloads of OpenID Connect go by `<issuer>#<subject>`, and so all of an issuer by `<issuer>#*`.
    ///
    /// # Errors
    /// When a pattern is empty, comes twice or would match half a segment, or a ceiling is over 100.
    pub fn new<S: AsRef<str>>(rules: impl IntoIterator<Item = (S, Grant)>) -> Result<Self, AuthorityError> {
        let mut all: Vec<(Pattern, Grant)> = Vec::new();
        for (pattern, grant) in rules {
            let text = pattern.as_ref();
            let pattern = Pattern::parse(text)?;
            if grant.ceiling > 100 {
                return Err(AuthorityError::Ceiling { pattern: text.to_owned(), found: grant.ceiling });
            }
            if all.iter().any(|(known, _)| *known == pattern) {
                return Err(AuthorityError::Repeated { pattern: text.to_owned() });
            }
            all.push((pattern, grant));
        }
        Ok(Self { rules: Some(all) })
    }

    /// What `principal` may do.
    #[must_use]
    pub fn grant(&self, principal: &str) -> Grant {
        let Some(rules) = &self.rules else { return Grant::own() };
        rules
            .iter()
            .filter_map(|(pattern, grant)| pattern.weight(principal).map(|weight| (weight, *grant)))
            .max_by_key(|(weight, _)| *weight)
            .map_or_else(Grant::none, |(_, grant)| grant)
    }

    /// Whether there are rules.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.rules.is_some()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    Prefix(String),
    /// `spiffe://<domain>`, matching the ids below it.
    TrustDomain(String),
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, AuthorityError> {
        let refuse = || Err(AuthorityError::Pattern { pattern: text.to_owned() });
        match text.strip_suffix('*') {
            Some(prefix) if prefix.contains('*') => refuse(),
            // `spiffe://example.org*` would also match `spiffe://example.organised.crime/…`.
            Some(prefix) if !prefix.ends_with(['/', ':', '#']) || is_scheme(prefix) => refuse(),
            Some(prefix) => Ok(Self::Prefix(prefix.to_owned())),
            None if text.is_empty() || text.contains('*') => refuse(),
            None => match text.strip_prefix("spiffe://") {
                Some("") => refuse(),
                // No SPIFFE ID ends like this: the rule would match nobody, and not the domain that it seems to name.
                Some(path) if path.ends_with('/') => refuse(),
                Some(domain) if !domain.contains('/') => Ok(Self::TrustDomain(text.to_owned())),
                Some(_) | None => Ok(Self::Exact(text.to_owned())),
            },
        }
    }

    /// How closely the pattern fits, if it does.
    fn weight(&self, principal: &str) -> Option<usize> {
        match self {
            Self::Exact(id) => (id == principal).then_some(usize::MAX),
            Self::Prefix(prefix) => principal.starts_with(prefix.as_str()).then_some(prefix.len()),
            Self::TrustDomain(domain) => {
                let path = principal.strip_prefix(domain.as_str())?;
                (path.is_empty() || path.starts_with('/')).then_some(domain.len())
            }
        }
    }
}

/// Whether the prefix is no more than a scheme: every id of its kind would match.
fn is_scheme(prefix: &str) -> bool {
    let scheme = prefix.trim_end_matches(['/', ':']);
    prefix.ends_with("://") || matches!(scheme, "" | "spiffe" | "http" | "https" | "urn" | "arn")
}

/// Why authority rules cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A pattern that cannot be used.
    Pattern {
        /// The pattern.
        pattern: String,
    },
    /// A pattern that comes twice.
    Repeated {
        /// The pattern.
        pattern: String,
    },
    /// A ceiling over 100.
    Ceiling {
        /// The pattern.
        pattern: String,
        /// The ceiling.
        found: u8,
    },
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern { pattern } => write!(
                f,
                "{} is no principal pattern; use a workload id, a trust domain such as `spiffe://example.org`, or a \
                 prefix of more than a scheme that ends with `/*`, `:*` or `#*`",
                Quoted(pattern)
            ),
            Self::Repeated { pattern } => {
                write!(f, "authority of {} is given twice; keep one", Quoted(pattern))
            }
            Self::Ceiling { pattern, found } => {
                write!(f, "ceiling `{found}` of {} is outside 0 to 100", Quoted(pattern))
            }
        }
    }
}

impl std::error::Error for AuthorityError {}
