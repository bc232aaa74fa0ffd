//! Rego in this process. Spec §11.

mod check;
mod input;
mod outline;
mod parse;
mod plain;
mod scan;
mod set;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{BoxFuture, Decision, PolicyEngine, PolicyRequest};
use parking_lot::RwLock;
use regorus::Value;

use self::set::Set;
use self::source::Source;

/// Evaluates Rego policies in this process (`regorus`): parsed, checked and compiled once, shared by threads.
///
/// The policy `a/b` is the file `a/b.rego` with `package a.b`, and its rule `allow` decides: only the boolean `true`
/// allows, `false` and undefined deny, anything else is an error. A denial's reason is what the package's rule
/// `reason` (or `deny_reason`) gives, if that is a string.
///
/// Policies are Rego v1. A source of Rego v0 is read too, with a warning, if it has nothing of v1 in it: no `if`,
/// `in`, `every`, `… contains x`, `default … :=`, `import rego.v1` and `import future.keywords`.
///
/// Refused when loading, since each would otherwise be undefined at some call, and `not` of undefined is true:
/// built-ins that are not there (`http.send`, `io.jwt.*`, …) or that are undefined where OPA's fail
/// (`regex.replace`, `json.patch`, `array.slice`, …), references to data that nobody defines, recursion. Refused as by
/// OPA's compiler: rules in conflict (`x` and `x.y`), two defaults of one rule, names that hide `input` or `data`.
/// Built-in errors are errors (OPA's strict mode), never undefined.
///
/// Refused as well, with file, line and limit, is what could hang or overflow the evaluator: files over 1 MiB,
/// brackets nested more than 32 deep (`[` and `{`, which the parser tries in several ways, about 18), expressions more
/// than 64 brackets and operators deep, references of more than 64 parts, rules that use one another in a row of more
/// than 32.
///
/// One difference to OPA remains: `x in input.absent` is false where OPA has it undefined, so that
/// `(x in input.absent) == false` is true. `not x in input.absent` is true in both.
///
/// The digest in a decision is the SHA-256 of the policy's own text; for a policy that refers to other packages, of
/// all loaded texts.
///
/// ```
/// # use kest_providers::policy::RegoEngine;
/// let engine = RegoEngine::from_sources([(
///     "orders/large",
///     "package orders.large\nimport rego.v1\ndefault allow := false\nallow if input.trust_score >= 70",
/// )])?;
/// assert_eq!(engine.names(), ["orders/large"]);
/// # Ok::<_, kest_core::error::PolicyUnavailable>(())
/// ```
pub struct RegoEngine {
    origin: RegoEngineBuilder,
    /// Where the policies come from, for messages.
    from: Arc<str>,
    set: RwLock<Arc<Set>>,
}

/// Where a [`RegoEngine`]'s policies come from, and its limits.
#[derive(Debug, Clone)]
#[must_use]
pub struct RegoEngineBuilder {
    folders: Vec<PathBuf>,
    given: Vec<(String, String)>,
    time_limit: Duration,
}

const MAX_REASON: usize = 1024;

impl RegoEngine {
    /// An engine with every policy below a folder. Hidden entries and `*_test.rego` are left out.
    ///
    /// # Errors
    /// When the folder cannot be read or is empty, or one of its policies cannot be used.
    pub fn from_dir(path: impl AsRef<Path>) -> Result<Self, PolicyUnavailable> {
        Self::builder().dir(path).build()
    }

    /// An engine with the given policies: pairs of a name, such as `kest/allow_trusted`, and a Rego text.
    ///
    /// # Errors
    /// When there is none, or one of them cannot be used.
    pub fn from_sources<N, T>(sources: impl IntoIterator<Item = (N, T)>) -> Result<Self, PolicyUnavailable>
    where
        N: Into<String>,
        T: Into<String>,
    {
        let builder = Self::builder();
        sources.into_iter().fold(builder, |builder, (name, text)| builder.source(name, text)).build()
    }

    /// An engine from several folders and texts, or with another time limit.
    pub fn builder() -> RegoEngineBuilder {
        RegoEngineBuilder { folders: Vec::new(), given: Vec::new(), time_limit: Duration::from_secs(1) }
    }

    /// Reads all policies again. The new set takes over as a whole: an evaluation under way ends with the set it began
    /// with, and so does a [`snapshot`](PolicyEngine::snapshot), which is what holds several policies of one call
    /// together.
    ///
    /// # Errors
    /// As for [`Self::from_dir`]. The old set then stays in force.
    pub fn reload(&self) -> Result<(), PolicyUnavailable> {
        let set = Arc::new(self.origin.load()?);
        *self.set.write() = set;
        Ok(())
    }

    /// The names of all policies, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.set().names().into_iter().map(str::to_owned).collect()
    }

    /// The digest of a policy, as its decisions carry it.
    #[must_use]
    pub fn digest(&self, policy: &str) -> Option<Arc<str>> {
        self.set().get(policy).map(|policy| Arc::clone(&policy.digest))
    }

    fn set(&self) -> Arc<Set> {
        Arc::clone(&self.set.read())
    }

    /// The engine with the set that is in force now.
    fn standing(&self) -> Standing {
        Standing { from: Arc::clone(&self.from), set: self.set() }
    }
}

impl RegoEngineBuilder {
    /// Adds every policy below a folder.
    pub fn dir(mut self, path: impl AsRef<Path>) -> Self {
        self.folders.push(path.as_ref().to_owned());
        self
    }

    /// Adds a policy by its name and text.
    pub fn source(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.given.push((name.into(), text.into()));
        self
    }

    /// How long one evaluation may take. One second by default.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Reads, checks and compiles the policies.
    ///
    /// # Errors
    /// As for [`RegoEngine::from_dir`].
    pub fn build(self) -> Result<RegoEngine, PolicyUnavailable> {
        let set = Arc::new(self.load()?);
        Ok(RegoEngine { from: self.shown().into(), origin: self, set: RwLock::new(set) })
    }

    fn load(&self) -> Result<Set, PolicyUnavailable> {
        let mut sources: Vec<Source> = Vec::new();
        for folder in &self.folders {
            sources.extend(source::folder(folder)?);
        }
        for (name, text) in &self.given {
            sources.push(source::given(name, text.clone())?);
        }
        Set::build(&sources, self.time_limit)
    }

    fn shown(&self) -> String {
        let mut from: Vec<String> = self.folders.iter().map(|path| format!("`{}`", path.display())).collect();
        if !self.given.is_empty() {
            from.push("given sources".to_owned());
        }
        from.join(", ")
    }
}

impl fmt::Debug for RegoEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegoEngine").field("policies", &self.names()).finish_non_exhaustive()
    }
}

impl PolicyEngine for RegoEngine {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        self.standing().evaluate(request)
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        Box::pin(async move { self.evaluate(request) })
    }

    fn snapshot(&self) -> Option<Arc<dyn PolicyEngine>> {
        Some(Arc::new(self.standing()))
    }
}

/// A [`RegoEngine`] with one set of policies, whatever is loaded later.
struct Standing {
    from: Arc<str>,
    set: Arc<Set>,
}

impl Standing {
    fn unknown(&self, name: &str) -> PolicyUnavailable {
        let mut names: Vec<(usize, &str)> = self
            .set
            .names()
            .into_iter()
            .map(|known| (strsim::damerau_levenshtein(known, name), known))
            .collect();
        names.sort_unstable();
        let near: Vec<String> = names
            .iter()
            .filter(|(distance, _)| *distance <= (name.len() / 3).max(2))
            .take(3)
            .map(|(_, known)| format!("`{known}`"))
            .collect();
        let hint = if near.is_empty() {
            format!("{} policies are loaded", names.len())
        } else {
            format!("did you mean {}?", near.join(" or "))
        };
        let from = &self.from;
        PolicyUnavailable::new(
            PolicyErrorKind::UnknownPolicy,
            format!("unknown policy `{name}`; {hint} (loaded from {from})"),
        )
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").field("policies", &self.set.names()).finish_non_exhaustive()
    }
}

impl PolicyEngine for Standing {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        let set = &self.set;
        let Some(policy) = set.get(request.policy) else {
            return Err(self.unknown(request.policy));
        };
        match set.allow(policy, request.input)? {
            Value::Bool(true) => Ok(Decision::Allow { digest: Some(Arc::clone(&policy.digest)) }),
            Value::Bool(false) | Value::Undefined => {
                // The answer is no already: a reason that fails makes it neither better nor worse.
                let reason = set.reason(policy, request.input).unwrap_or_else(|error| {
                    let policy = request.policy;
                    tracing::warn!(target: "kest", policy, %error, "the reason of a denial could not be had");
                    None
                });
                Ok(Decision::Deny { reason: reason.as_ref().and_then(bounded) })
            }
            other @ (Value::Null
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Set(_)
            | Value::Object(_)) => Err(PolicyUnavailable::new(
                PolicyErrorKind::MalformedAnswer,
                format!(
                    "policy `{}` answers with {} where a boolean is due; make `allow` true or false in `{}`",
                    request.policy,
                    kind(&other),
                    policy.file
                ),
            )),
        }
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        Box::pin(async move { self.evaluate(request) })
    }
}

fn bounded(reason: &Value) -> Option<String> {
    let reason = reason.as_string().ok()?;
    let end = reason.floor_char_boundary(MAX_REASON);
    reason.get(..end).map(str::to_owned)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Set(_) => "a set",
        Value::Object(_) => "an object",
        Value::Undefined => "nothing",
    }
}

fn refuse(message: impl Into<String>) -> PolicyUnavailable {
    PolicyUnavailable::new(PolicyErrorKind::Load, message)
}
