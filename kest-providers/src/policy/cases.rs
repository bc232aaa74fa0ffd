//! Tables of cases: inputs of a policy and what it must make of them. Spec §11.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use kest_core::canonical;
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{Decision, InputDocument, PolicyEngine, PolicyRequest};
use serde::Deserialize;

/// What a policy must decide, read from `<name>.cases` beside it.
///
/// The same table holds for every engine, so a policy that is there in Rego and in Cedar has one.
///
/// ```
/// # use kest_providers::policy::MockPolicyEngine;
/// # use kest_providers::policy::cases::CaseTable;
/// let table = CaseTable::parse(
///     r#"{"cases": [
///         {"name": "enough", "input": {"trust_score": 40}, "decision": "allow"},
///         {"name": "too little", "input": {"trust_score": 39}, "decision": "deny"}
///     ]}"#,
/// )?;
/// let report = table.run("orders/large", &MockPolicyEngine::allow());
/// assert!(!report.passed());
/// assert!(report.to_string().contains("`too little`: expected deny, got allow"));
/// # Ok::<_, kest_providers::policy::cases::CaseTableError>(())
/// ```
#[derive(Debug, Clone)]
pub struct CaseTable {
    cases: Vec<Case>,
}

/// One row of a [`CaseTable`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Case {
    /// What the case shows. Unique in its table.
    pub name: String,
    /// What the policy is asked.
    pub input: InputDocument,
    /// What it must answer.
    pub expected: Expected,
}

/// The answer that a [`Case`] asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// An allow.
    Allow,
    /// The policy's own no, for exactly this reason if one is given.
    Deny {
        /// Why; `None` takes any reason, and none.
        reason: Option<String>,
    },
    /// No decision: the policy fails, or cannot be given this input. A name that the engine does not know and a server
    /// that does not answer are no such error.
    Error,
    /// A denial or an error that follows from the input, never an allow: for values of a wrong type, which Rego can
    /// test and Cedar cannot.
    Refused,
}

/// The largest table that is read.
const MAX_TABLE: usize = 1024 * 1024;

impl CaseTable {
    /// Reads a table from its JSON text.
    ///
    /// # Errors
    /// When the text is no such table, has unknown members or a member twice, no case at all, or two cases of one name.
    pub fn parse(text: &str) -> Result<Self, CaseTableError> {
        if text.len() > MAX_TABLE {
            return Err(CaseTableError::new(format!("the table of cases is longer than {MAX_TABLE} bytes")));
        }
        let table: RawTable = serde_json::from_str(text).map_err(CaseTableError::unreadable)?;
        // Of a member that is there twice, in attributes say, the first would be lost.
        canonical::parse_strict(text.as_bytes()).map_err(CaseTableError::unreadable)?;
        let mut names = BTreeSet::new();
        for case in &table.cases {
            if case.name.trim().is_empty() {
                return Err(CaseTableError::new("a case has an empty name; say what it shows"));
            }
            if !names.insert(case.name.as_str()) {
                return Err(CaseTableError::new(format!(
                    "two cases are named `{}`; rename one",
                    case.name.escape_debug()
                )));
            }
        }
        if names.is_empty() {
            return Err(CaseTableError::new("the table has no cases; write at least one"));
        }
        Ok(Self { cases: table.cases.into_iter().map(RawCase::checked).collect::<Result<_, _>>()? })
    }

    /// Reads a table from a file.
    ///
    /// # Errors
    /// When the file cannot be read, is no regular file or is larger than 1 MiB, and as for [`Self::parse`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, CaseTableError> {
        let path = path.as_ref();
        let text = bounded(path).map_err(|error| CaseTableError {
            message: format!("`{}` cannot be read: {error}", path.display()),
            source: Some(error.into()),
        })?;
        Self::parse(&text).map_err(|error| CaseTableError {
            message: format!("`{}`: {}", path.display(), error.message),
            source: error.source,
        })
    }

    /// The rows, in the order of the file.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Asks an engine every case of the policy. May block, as [`PolicyEngine::evaluate`] may.
    pub fn run(&self, policy: &str, engine: &dyn PolicyEngine) -> CaseReport {
        let results = self.cases.iter().map(|case| CaseResult {
            name: case.name.clone(),
            expected: case.expected.clone(),
            got: engine.evaluate(&PolicyRequest { policy, input: &case.input.as_input() }),
        });
        CaseReport { policy: policy.to_owned(), results: results.collect() }
    }
}

/// What an engine made of a [`CaseTable`]. Displays as a line that counts, and one for each difference.
#[derive(Debug)]
#[must_use]
pub struct CaseReport {
    policy: String,
    results: Vec<CaseResult>,
}

impl CaseReport {
    /// The policy that was asked.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Every case, in the order of the table.
    #[must_use]
    pub fn results(&self) -> &[CaseResult] {
        &self.results
    }

    /// The cases that differ.
    pub fn failures(&self) -> impl Iterator<Item = &CaseResult> {
        self.results.iter().filter(|result| !result.passed())
    }

    /// Whether all cases came out as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.results.iter().all(CaseResult::passed)
    }
}

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (policy, all) = (&self.policy, self.results.len());
        let cases = if all == 1 { "case" } else { "cases" };
        let failed = self.failures().count();
        if failed == 0 {
            return write!(f, "policy `{policy}`: {all} {cases} as expected");
        }
        write!(f, "policy `{policy}`: {failed} of {all} {cases} not as expected")?;
        self.failures().try_for_each(|result| write!(f, "\n  {result}"))
    }
}

/// What an engine made of one case. Displays as `` `name`: expected …, got … ``.
#[derive(Debug)]
#[non_exhaustive]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// What it asks for.
    pub expected: Expected,
    /// What the engine answered.
    pub got: Result<Decision, PolicyUnavailable>,
}

impl CaseResult {
    /// Whether the answer is the expected one.
    #[must_use]
    pub fn passed(&self) -> bool {
        match (&self.expected, &self.got) {
            (Expected::Allow, Ok(Decision::Allow { .. }))
            | (Expected::Refused, Ok(Decision::Deny { .. })) => true,
            // The policy or its engine judged the input. A misspelt name or a server that is down has judged nothing.
            (Expected::Error | Expected::Refused, Err(error)) => matches!(
                error.kind(),
                PolicyErrorKind::Evaluation | PolicyErrorKind::Input | PolicyErrorKind::MalformedAnswer
            ),
            (Expected::Deny { reason: wanted }, Ok(Decision::Deny { reason })) => {
                wanted.is_none() || wanted == reason
            }
            (Expected::Allow, Ok(Decision::Deny { .. }) | Err(_))
            | (Expected::Deny { .. }, Ok(Decision::Allow { .. }) | Err(_))
            | (Expected::Error, Ok(Decision::Allow { .. } | Decision::Deny { .. }))
            | (Expected::Refused, Ok(Decision::Allow { .. })) => false,
        }
    }
}

impl fmt::Display for CaseResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: expected {}, got ", self.name.escape_debug(), self.expected)?;
        match &self.got {
            Ok(Decision::Allow { .. }) => f.write_str("allow"),
            Ok(Decision::Deny { reason: None }) => f.write_str("deny without a reason"),
            Ok(Decision::Deny { reason: Some(reason) }) => {
                write!(f, "deny because `{}`", reason.escape_debug())
            }
            Err(error) => write!(f, "error ({:?}): {error}", error.kind()),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allow"),
            Self::Deny { reason: None } => f.write_str("deny"),
            Self::Deny { reason: Some(reason) } => write!(f, "deny because `{}`", reason.escape_debug()),
            Self::Error => f.write_str("error"),
            Self::Refused => f.write_str("refused"),
        }
    }
}

/// Why a table of cases cannot be used.
pub struct CaseTableError {
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl CaseTableError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { message: format!("the table of cases cannot be read: {error}"), source: Some(error.into()) }
    }
}

impl fmt::Debug for CaseTableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        kest_core::text::debug(self, f)
    }
}

impl fmt::Display for CaseTableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CaseTableError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// A file's text, never more than a table may have and a little.
fn bounded(path: &Path) -> io::Result<String> {
    // Opening a pipe would wait for whoever writes to it.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_TABLE as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    cases: Vec<RawCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: String,
    input: InputDocument,
    decision: RawDecision,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawDecision {
    Allow,
    Deny,
    Error,
    Refused,
}

impl RawCase {
    fn checked(self) -> Result<Case, CaseTableError> {
        let Self { name, input, decision, reason } = self;
        let expected = match (decision, reason) {
            (RawDecision::Allow, None) => Expected::Allow,
            (RawDecision::Deny, reason) => Expected::Deny { reason },
            (RawDecision::Error, None) => Expected::Error,
            (RawDecision::Refused, None) => Expected::Refused,
            (RawDecision::Allow | RawDecision::Error | RawDecision::Refused, Some(_)) => {
                return Err(CaseTableError::new(format!(
                    "case `{}` has a `reason` and no denial; leave the reason out",
                    name.escape_debug()
                )));
            }
        };
        Ok(Case { name, input, expected })
    }
}
