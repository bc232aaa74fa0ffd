//! Rego in this process. Spec §11.

mod check;
mod input;
mod outline;
mod parse;
mod plain;
mod reads;
mod scan;
mod set;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{BoxFuture, Decision, PolicyEngine, PolicyRequest};
use regorus::Value;

use self::set::Set;
use super::folder::{self, Language, Source, refuse};
use super::name::is_rego;
use super::reason::bounded;
use super::unknown::unknown;
use super::watch::{Live, Origin, Texts};

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
    /// Where the policies come from, for messages.
    from: Arc<str>,
    live: Live<RegoEngineBuilder>,
}

/// Where a [`RegoEngine`]'s policies come from, and its limits.
#[derive(Debug, Clone)]
#[must_use]
pub struct RegoEngineBuilder {
    folders: Vec<PathBuf>,
    given: Vec<(String, String)>,
    time_limit: Duration,
    watch: Option<Duration>,
}

const REGO: Language = Language {
    extension: ".rego",
    tests: Some("_test"),
    segment: is_rego,
    rule: "Rego name; use letters, digits and `_`",
};

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
        RegoEngineBuilder {
            folders: Vec::new(),
            given: Vec::new(),
            time_limit: Duration::from_secs(1),
            watch: None,
        }
    }

    /// Reads all policies again. The new set takes over as a whole: an evaluation under way ends with the set it began
    /// with, and so does a [`snapshot`](PolicyEngine::snapshot), which is what holds several policies of one call
    /// together.
    ///
    /// # Errors
    /// As for [`Self::from_dir`]. The old set then stays in force.
    pub fn reload(&self) -> Result<(), PolicyUnavailable> {
        self.live.reload()
    }

    /// Why the policies that [`watch`](RegoEngineBuilder::watch) saw last are not in force. Nothing when they are.
    #[must_use]
    pub fn reload_error(&self) -> Option<Arc<PolicyUnavailable>> {
        self.live.reload_error()
    }

    /// The names of all policies, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.live.set().names().into_iter().map(str::to_owned).collect()
    }

    /// The digest of a policy, as its decisions carry it.
    #[must_use]
    pub fn digest(&self, policy: &str) -> Option<Arc<str>> {
        self.live.set().get(policy).map(|policy| Arc::clone(&policy.digest))
    }

    /// The engine with the set that is in force now.
    fn standing(&self) -> Standing {
        Standing { from: Arc::clone(&self.from), set: self.live.set() }
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

    /// Looks for other content of the folders every so often, at least every 10 ms, on a thread that ends with the
    /// engine. What is the same at two looks in a row, so that nobody is still writing it, takes over as by
    /// [`reload`](RegoEngine::reload). What cannot be loaded is logged, said by
    /// [`reload_error`](RegoEngine::reload_error), and leaves the old set in force.
    pub fn watch(mut self, every: Duration) -> Self {
        self.watch = Some(every);
        self
    }

    /// Reads, checks and compiles the policies.
    ///
    /// # Errors
    /// As for [`RegoEngine::from_dir`], and when there is no folder to watch.
    pub fn build(self) -> Result<RegoEngine, PolicyUnavailable> {
        let (from, watch) = (folder::shown_origin(&self.folders, !self.given.is_empty()), self.watch);
        if watch.is_some() && self.folders.is_empty() {
            return Err(refuse("there is no folder to watch; name one with `dir`"));
        }
        Ok(RegoEngine { from: from.into(), live: Live::new(self, watch)? })
    }
}

impl Origin for RegoEngineBuilder {
    type Set = Set;

    fn read(&self) -> Result<Texts, PolicyUnavailable> {
        Ok(Texts { policies: REGO.all(&self.folders, &self.given)?, schema: None })
    }

    fn build(&self, texts: &Texts) -> Result<Set, PolicyUnavailable> {
        Set::build(&texts.policies, self.time_limit)
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

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").field("policies", &self.set.names()).finish_non_exhaustive()
    }
}

impl PolicyEngine for Standing {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        let set = &self.set;
        let Some(policy) = set.get(request.policy) else {
            return Err(unknown(request.policy, &set.names(), &self.from));
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
                Ok(Decision::Deny {
                    reason: reason.as_ref().and_then(|reason| Some(bounded(reason.as_string().ok()?))),
                })
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
