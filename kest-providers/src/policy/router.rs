//! One engine made of several: names go to them by prefix. Spec §11.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{BoxFuture, Decision, PolicyEngine, PolicyRequest};
use kest_core::text::Quoted;

/// Sends each policy to the engine that its name's first segments belong to.
///
/// The prefix `payments` takes the policies `payments` and `payments/…`, and not `payments_old`. Of two prefixes that
/// fit, the longer one takes the policy. What no prefix takes goes to the fallback; without one, it is an unknown
/// policy. The engine is asked with the whole name.
///
/// An engine that cannot answer is an error of the call: no other engine is asked in its place.
///
/// ```
/// # use kest_providers::policy::{MockPolicyEngine, Router};
/// # let (rego, remote) = (MockPolicyEngine::allow(), MockPolicyEngine::allow());
/// let router = Router::builder().route("payments/pci", remote).fallback(rego).build()?;
/// assert_eq!(router.prefixes(), ["payments/pci"]);
/// # Ok::<_, kest_core::error::PolicyUnavailable>(())
/// ```
#[derive(Clone)]
pub struct Router {
    /// Longest first: of those that fit, the first one counts.
    routes: Arc<[Route]>,
    fallback: Option<Arc<dyn PolicyEngine>>,
}

#[derive(Clone, Debug)]
struct Route {
    prefix: String,
    engine: Arc<dyn PolicyEngine>,
}

impl Router {
    /// A router without routes.
    pub fn builder() -> RouterBuilder {
        RouterBuilder { routes: Vec::new(), fallback: None }
    }

    /// The prefixes, longest first.
    #[must_use]
    pub fn prefixes(&self) -> Vec<&str> {
        self.routes.iter().map(|route| &*route.prefix).collect()
    }

    fn engine(&self, policy: &str) -> Result<&dyn PolicyEngine, PolicyUnavailable> {
        let route = self.routes.iter().find(|route| takes(&route.prefix, policy));
        route.map(|route| &route.engine).or(self.fallback.as_ref()).map(|engine| &**engine).ok_or_else(|| {
            let known: Vec<_> = self.routes.iter().map(|route| format!("`{}`", route.prefix)).collect();
            PolicyUnavailable::new(
                PolicyErrorKind::UnknownPolicy,
                format!(
                    "no engine is routed for policy {}; the routes are {}; add one, or a fallback",
                    Quoted(policy),
                    known.join(", ")
                ),
            )
        })
    }
}

/// Whether the prefix's segments are the first ones of the name.
fn takes(prefix: &str, policy: &str) -> bool {
    policy.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl PolicyEngine for Router {
    fn evaluate(&self, request: &PolicyRequest<'_>) -> Result<Decision, PolicyUnavailable> {
        self.engine(request.policy)?.evaluate(request)
    }

    fn evaluate_async<'a>(
        &'a self,
        request: &'a PolicyRequest<'a>,
    ) -> BoxFuture<'a, Result<Decision, PolicyUnavailable>> {
        match self.engine(request.policy) {
            Ok(engine) => engine.evaluate_async(request),
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }

    /// All engines as they stand now, each once, whether or not the call will ask them. `None` when none of them
    /// reloads. An engine that asks a server has no snapshot: each policy sees what the server then has.
    fn snapshot(&self) -> Option<Arc<dyn PolicyEngine>> {
        let mut taken = Taken::default();
        let routes = self
            .routes
            .iter()
            .map(|route| Route { prefix: route.prefix.clone(), engine: taken.of(&route.engine) });
        let routes = routes.collect();
        let fallback = self.fallback.as_ref().map(|engine| taken.of(engine));
        taken.any.then(|| Arc::new(Self { routes, fallback }) as Arc<dyn PolicyEngine>)
    }
}

/// Engines, and what each of them was when it was first asked for.
#[derive(Default)]
struct Taken {
    engines: Vec<(Arc<dyn PolicyEngine>, Arc<dyn PolicyEngine>)>,
    any: bool,
}

impl Taken {
    fn of(&mut self, engine: &Arc<dyn PolicyEngine>) -> Arc<dyn PolicyEngine> {
        if let Some((_, taken)) = self.engines.iter().find(|(known, _)| Arc::ptr_eq(known, engine)) {
            return Arc::clone(taken);
        }
        let snapshot = engine.snapshot();
        self.any |= snapshot.is_some();
        let taken = snapshot.unwrap_or_else(|| Arc::clone(engine));
        self.engines.push((Arc::clone(engine), Arc::clone(&taken)));
        taken
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_map();
        for Route { prefix, engine } in &*self.routes {
            shown.entry(prefix, engine);
        }
        if let Some(engine) = &self.fallback {
            shown.entry(&"*", engine);
        }
        shown.finish()
    }
}

/// Routes of a [`Router`].
#[derive(Debug)]
#[must_use]
pub struct RouterBuilder {
    routes: Vec<Route>,
    fallback: Option<Arc<dyn PolicyEngine>>,
}

impl RouterBuilder {
    /// Policies whose name begins with these segments, such as `payments` or `payments/pci`, are asked of this engine.
    ///
    /// An engine with several routes is given by [`routes`](Self::routes), so that a call sees one snapshot of it.
    /// Clones of an engine, and clones of an `Arc` of its own type, are engines of their own here; clones of one
    /// `Arc<dyn PolicyEngine>` are one engine, also as the fallback.
    pub fn route(mut self, prefix: impl Into<String>, engine: impl PolicyEngine + 'static) -> Self {
        self.routes.push(Route { prefix: prefix.into(), engine: shared(engine) });
        self
    }

    /// The same with several prefixes for one engine.
    pub fn routes<P: Into<String>>(
        mut self,
        prefixes: impl IntoIterator<Item = P>,
        engine: impl PolicyEngine + 'static,
    ) -> Self {
        let engine = shared(engine);
        let routes =
            prefixes.into_iter().map(|prefix| Route { prefix: prefix.into(), engine: Arc::clone(&engine) });
        self.routes.extend(routes);
        self
    }

    /// All other policies are asked of this engine.
    pub fn fallback(mut self, engine: impl PolicyEngine + 'static) -> Self {
        self.fallback = Some(shared(engine));
        self
    }

    /// The router.
    ///
    /// # Errors
    /// Without a route and a fallback, and when a prefix is no path of a policy name, or given twice.
    pub fn build(self) -> Result<Router, PolicyUnavailable> {
        let Self { mut routes, fallback } = self;
        if routes.is_empty() && fallback.is_none() {
            return Err(wrong("a router needs a route; give one with `.route(…)`".to_owned()));
        }
        routes.sort_by(|a, b| b.prefix.len().cmp(&a.prefix.len()).then_with(|| a.prefix.cmp(&b.prefix)));
        let mut before = None;
        for route in &routes {
            let prefix = &*route.prefix;
            if !is_name(prefix) {
                return Err(wrong(format!(
                    "{} is no prefix of policy names; use one such as `payments` or `payments/pci`, of letters, \
                     digits, `_` and `-`",
                    Quoted(prefix)
                )));
            }
            if before == Some(prefix) {
                return Err(wrong(format!("the prefix `{prefix}` is routed twice; leave one of them away")));
            }
            before = Some(prefix);
        }
        Ok(Router { routes: routes.into(), fallback })
    }
}

/// The engine itself where it is shared already, so that it is known again in another route.
fn shared(engine: impl PolicyEngine + 'static) -> Arc<dyn PolicyEngine> {
    match (&engine as &dyn Any).downcast_ref::<Arc<dyn PolicyEngine>>() {
        Some(shared) => Arc::clone(shared),
        None => Arc::new(engine),
    }
}

/// As policy names are in attributes and in `kest.toml`.
fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    text.split('/').all(|segment| !segment.is_empty() && segment.chars().all(fits))
}

fn wrong(message: String) -> PolicyUnavailable {
    PolicyUnavailable::new(PolicyErrorKind::Load, message)
}
