//! Cedar in this process. Spec §11.

mod asked;
mod conditions;
mod hierarchy;
mod paths;
mod policy;
mod reads;
mod schema;
mod scope;
mod set;
mod statements;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kest_core::error::PolicyUnavailable;
use kest_core::policy::{BoxFuture, Decision, PolicyEngine, PolicyRequest};

use self::set::Set;
use super::folder::{self, Language, Source, refuse};
use super::unknown::unknown;
use super::watch::{Live, Origin, Texts};

/// Evaluates Cedar policies in this process (`cedar-policy`): parsed and checked once, shared by threads.
///
/// The policy `a/b` is the file `a/b.cedar`, and only what is in this file decides it: with at least one `permit` that
/// holds and no `forbid` that does it allows, otherwise it denies. The principal is `Workload::"<workload id>"`, the
/// action `Action::"a/b"`, the resource `Resource::"<resource id>"` or `Resource::"*"`. None of them has attributes or
/// parents: all that is known of a call is in `context`.
///
/// The context is the input document of spec §11, nested (`context.subject.trust_score`), and its leaves once more
/// under dotted keys (`context["subject.trust_score"]`). Members that are `null` are left out: ask for them with `has`.
/// Lists are sets. A member whose own name has a dot in it, and what is under it, is to be had nested only. A call
/// whose input has something that Cedar cannot hold (a fraction, an integer beyond ±(2^53 − 1), `null` in a list, a
/// member `__entity`, `__extn` or `__expr`) ends with an error, whatever the policy reads.
///
/// Cedar skips a policy that fails, a `forbid` too. Here any failure is an error and never an allow.
///
/// A denial's reason is the annotation `@reason("…")` of the first `forbid` that held; if none did, that of the
/// file's `permit`, if exactly one has it.
///
/// Refused when loading, with file and line: what does not parse; templates; a policy whose scope cannot match this
/// name's action, a `Workload` and a `Resource` (a `forbid` with a slip in its scope would silently never apply), or
/// that asks for groups or attributes that these never have (`principal in …`, `resource has …`); files without a
/// policy and over 1 MiB; brackets and operators that are nested or chained too far. A folder is read until two looks
/// in a row show the same.
///
/// With a [schema](CedarEngineBuilder::schema) policies are validated (strictly) when loading, and each call's request
/// against it.
///
/// The digest in a decision is the SHA-256 of the policy's file.
///
/// ```
/// # use kest_providers::policy::CedarEngine;
/// let engine = CedarEngine::from_sources([(
///     "orders/large",
///     r#"@reason("large orders need a trusted caller")
///     permit (principal, action == Action::"orders/large", resource) when { context.trust_score >= 70 };"#,
/// )])?;
/// assert_eq!(engine.names(), ["orders/large"]);
/// # Ok::<_, kest_core::error::PolicyUnavailable>(())
/// ```
pub struct CedarEngine {
    /// Where the policies come from, for messages.
    from: Arc<str>,
    live: Live<CedarEngineBuilder>,
}

/// Where a [`CedarEngine`]'s policies come from.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct CedarEngineBuilder {
    folders: Vec<PathBuf>,
    given: Vec<(String, String)>,
    schema: Option<SchemaFrom>,
    watch: Option<Duration>,
}

#[derive(Debug, Clone)]
enum SchemaFrom {
    Text(String),
    File(PathBuf),
}

const CEDAR: Language = Language {
    extension: ".cedar",
    tests: None,
    segment: |segment| {
        !segment.is_empty() && segment.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
    },
    rule: "policy name; use letters, digits, `_` and `-`",
};

impl CedarEngine {
    /// An engine with every policy below a folder. Hidden entries are left out.
    ///
    /// # Errors
    /// When the folder cannot be read or is empty, or one of its policies cannot be used.
    pub fn from_dir(path: impl AsRef<Path>) -> Result<Self, PolicyUnavailable> {
        Self::builder().dir(path).build()
    }

    /// An engine with the given policies: pairs of a name, such as `kest/allow_trusted`, and a Cedar text.
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

    /// An engine from several folders and texts, or with a schema.
    pub fn builder() -> CedarEngineBuilder {
        CedarEngineBuilder::default()
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

    /// Why the policies that [`watch`](CedarEngineBuilder::watch) saw last are not in force. Nothing when they are.
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

impl CedarEngineBuilder {
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

    /// A schema, in Cedar's own syntax, instead of any given before.
    ///
    /// It declares `entity Workload; entity Resource;` and an action for each policy name, with what policies read of
    /// the context: `action "a/b" appliesTo { principal: Workload, resource: Resource, context: { trust_score: Long } };`.
    /// Members at the top of the context that it does not declare are not given to the policies. So a policy that reads
    /// one, with `has` too, is refused when loading, and so is one that uses the whole `context`: to it every such
    /// member would be missing. What may be `null` is declared optional (`"object.id"?: String`). An input that does not
    /// fit is an error of kind `Input`: a record is declared with all that it may hold (`subject` is seldom worth it,
    /// `"subject.user.sub"` is).
    ///
    /// A policy that can never apply to what is declared is refused too; the validator's other warnings are logged.
    pub fn schema(mut self, text: impl Into<String>) -> Self {
        self.schema = Some(SchemaFrom::Text(text.into()));
        self
    }

    /// [`Self::schema`] from a file, which is read again with the policies.
    pub fn schema_file(mut self, path: impl AsRef<Path>) -> Self {
        self.schema = Some(SchemaFrom::File(path.as_ref().to_owned()));
        self
    }

    /// Looks for other content of the folders every so often, at least every 10 ms, on a thread that ends with the
    /// engine. What is the same at two looks in a row, so that nobody is still writing it, takes over as by
    /// [`reload`](CedarEngine::reload). What cannot be loaded is logged, said by
    /// [`reload_error`](CedarEngine::reload_error), and leaves the old set in force.
    pub fn watch(mut self, every: Duration) -> Self {
        self.watch = Some(every);
        self
    }

    /// Reads and checks the policies.
    ///
    /// # Errors
    /// As for [`CedarEngine::from_dir`]; when the schema cannot be used, or there is no folder to watch.
    pub fn build(self) -> Result<CedarEngine, PolicyUnavailable> {
        if self.watch.is_some() && self.folders.is_empty() {
            return Err(refuse("there is no folder to watch; name one with `dir`"));
        }
        let (from, watch) = (folder::shown_origin(&self.folders, !self.given.is_empty()), self.watch);
        Ok(CedarEngine { from: from.into(), live: Live::new(self, watch)? })
    }
}

impl Origin for CedarEngineBuilder {
    type Set = Set;

    fn read(&self) -> Result<Texts, PolicyUnavailable> {
        let schema = match &self.schema {
            None => None,
            Some(SchemaFrom::Text(text)) => Some(("the schema".to_owned(), text.clone())),
            Some(SchemaFrom::File(path)) => Some((path.display().to_string(), folder::read(path, path)?)),
        };
        Ok(Texts {
            policies: CEDAR.all(&self.folders, &self.given)?,
            schema: schema.map(|(file, text)| Source { name: String::new(), file, text }),
        })
    }

    fn build(&self, texts: &Texts) -> Result<Set, PolicyUnavailable> {
        on_a_large_stack(|| Set::build(&texts.policies, texts.schema.as_ref()))
    }
}

/// What [`statements`] lets pass takes the parser and the validator some 20 MiB at most, and the evaluator some 40,
/// without optimisation.
const STACK: usize = 64 * 1024 * 1024;

fn on_a_large_stack<T: Send>(
    load: impl FnOnce() -> Result<T, PolicyUnavailable> + Send,
) -> Result<T, PolicyUnavailable> {
    let log = tracing::dispatcher::get_default(Clone::clone);
    thread::scope(|scope| {
        let loading = thread::Builder::new()
            .name("kest-policies".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, || tracing::dispatcher::with_default(&log, load))
            .map_err(|error| {
                refuse(format!("the thread that loads policies cannot start: {error}")).with_source(error)
            })?;
        loading.join().unwrap_or_else(|_| Err(refuse("the policy library panicked")))
    })
}

impl fmt::Debug for CedarEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CedarEngine").field("policies", &self.names()).finish_non_exhaustive()
    }
}

impl PolicyEngine for CedarEngine {
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

/// A [`CedarEngine`] with one set of policies, whatever is loaded later.
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
        match self.set.get(request.policy) {
            Some(policy) => self.set.decide(policy, request.input),
            None => Err(unknown(request.policy, &self.set.names(), &self.from)),
        }
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        Box::pin(async move { self.evaluate(request) })
    }
}
