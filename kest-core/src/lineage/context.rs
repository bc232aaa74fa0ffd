//! On whose behalf: `with_user` and its like, and what protected code can ask. Spec §12, §15.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use opentelemetry::Context;
use opentelemetry::baggage::{BaggageExt, BaggageMetadata, KeyValueMetadata};
use pin_project_lite::pin_project;
use serde_json::Value;

use super::inside::Inside;
use super::outgoing::Jwt;
use super::scope::{self, IdentityContext, OpenScope, Scope, ScopeEnv};
use crate::call::Attribute;
use crate::canonical::{self, CanonicalError};
use crate::passport::Passport;
use crate::runtime;

/// Runs `future` on behalf of `user`: protected calls in it that name no user record this one.
///
/// Opens a scope, so that the calls inside are one lineage. The value is mirrored into OpenTelemetry
/// Baggage as `kest.user`, for other instrumentation to read. A value that JCS cannot carry is the
/// error of the calls inside.
pub fn with_user<T: Attribute + ?Sized, F: Future>(user: &T, future: F) -> WithIdentity<F> {
    WithIdentity::new(future, Member::User, user.to_value())
}

/// [`with_user`] for the agent that acts.
pub fn with_agent<T: Attribute + ?Sized, F: Future>(agent: &T, future: F) -> WithIdentity<F> {
    WithIdentity::new(future, Member::Agent, agent.to_value())
}

/// [`with_user`] for the task it acts for.
pub fn with_task<T: Attribute + ?Sized, F: Future>(task: &T, future: F) -> WithIdentity<F> {
    WithIdentity::new(future, Member::Task, task.to_value())
}

/// The user on whose behalf the calling code runs: a string or an object.
#[must_use]
pub fn get_current_user() -> Option<Value> {
    current_member(Member::User)
}

/// The agent that acts.
#[must_use]
pub fn get_current_agent() -> Option<Value> {
    current_member(Member::Agent)
}

/// The task it acts for.
#[must_use]
pub fn get_current_task() -> Option<Value> {
    current_member(Member::Task)
}

/// The bearer token that was validated for this request, or that the program goes by ([`with_jwt`](super::with_jwt)).
#[must_use]
pub fn get_current_jwt() -> Option<Jwt> {
    scope::current().and_then(|scope| scope.env().jwt.clone())
}

/// The passport of the scope the calling code runs in: inside a protected function it ends with that
/// function's own entry. `None` outside any scope.
#[must_use]
pub fn get_current_passport() -> Option<Passport> {
    scope::current().map(|scope| scope.passport())
}

/// On whose behalf a request comes in, as somebody said it who is believed. Spec §12.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct OnBehalfOf {
    /// The user: a string or an object.
    pub user: Option<Value>,
    /// The agent that acts.
    pub agent: Option<Value>,
    /// The task it acts for.
    pub task: Option<Value>,
}

impl OnBehalfOf {
    /// Of nobody known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with this user.
    #[must_use]
    pub fn user(mut self, user: impl Into<Value>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// The same with this agent.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<Value>) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// The same with this task.
    #[must_use]
    pub fn task(mut self, task: impl Into<Value>) -> Self {
        self.task = Some(task.into());
        self
    }
}

impl IdentityContext {
    /// What `nearer` says counts before what is here.
    pub(crate) fn outdone_by(&mut self, nearer: Self) {
        let Self { user, agent, task } = nearer;
        for (member, value) in [(Member::User, user), (Member::Agent, agent), (Member::Task, task)] {
            if value.is_some() {
                *member.of_mut(self) = value;
            }
        }
    }

    /// What is said replaces what was there. A user who differs from the one that was there takes nothing over: an
    /// agent or a task of somebody else must not stand beside them.
    pub(crate) fn replace_with(&mut self, said: OnBehalfOf) {
        let OnBehalfOf { user, agent, task } = said;
        if user.is_some() && self.user.as_deref() != user.as_ref() {
            *self = Self::default();
        }
        for (member, value) in [(Member::User, user), (Member::Agent, agent), (Member::Task, task)] {
            if let Some(value) = value {
                *member.of_mut(self) = Some(Arc::new(value));
            }
        }
    }
}

/// One of the three parts of an identity context.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Member {
    User,
    Agent,
    Task,
}

impl Member {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Agent => "agent",
            Self::Task => "task",
        }
    }

    fn baggage_key(self) -> &'static str {
        match self {
            Self::User => "kest.user",
            Self::Agent => "kest.agent",
            Self::Task => "kest.task",
        }
    }

    pub(crate) fn of(self, context: &IdentityContext) -> &Option<Arc<Value>> {
        match self {
            Self::User => &context.user,
            Self::Agent => &context.agent,
            Self::Task => &context.task,
        }
    }

    fn of_mut(self, context: &mut IdentityContext) -> &mut Option<Arc<Value>> {
        match self {
            Self::User => &mut context.user,
            Self::Agent => &mut context.agent,
            Self::Task => &mut context.task,
        }
    }
}

fn current_member(member: Member) -> Option<Value> {
    let scope = scope::current();
    let known = scope.as_ref().and_then(|scope| effective_identity(scope.env(), member));
    let believes_baggage = || {
        let kest = scope.as_ref().and_then(|s| s.env().kests.first().cloned()).or_else(runtime::global);
        kest.is_some_and(|kest| kest.config().propagation.trust_baggage_identity)
    };
    match known {
        Some(value) => Some(Value::clone(&value)),
        None if believes_baggage() => baggage_identity(member).map(Value::String),
        None => None,
    }
}

/// What the enclosing hook had, else what is ambient. Spec §6 step 4.
pub(crate) fn effective_identity(env: &ScopeEnv, member: Member) -> Option<Arc<Value>> {
    member.of(&env.inherited).as_ref().or(member.of(&env.ambient).as_ref()).cloned()
}

/// A baggage string, believed only under `[propagation] trust_baggage_identity`. It never becomes an object.
pub(crate) fn baggage_identity(member: Member) -> Option<String> {
    Context::map_current(|cx| cx.baggage().get(member.baggage_key()).map(|v| v.as_str().to_owned()))
}

pin_project! {
    /// A future with an identity context. Made by [`with_user`], [`with_agent`] and [`with_task`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct WithIdentity<F> {
        #[pin]
        inside: Inside<F>,
        member: Member,
        value: Option<Result<Value, CanonicalError>>,
        made_in: Option<Arc<Scope>>,
    }
}

impl<F> WithIdentity<F> {
    fn new(future: F, member: Member, value: Result<Value, CanonicalError>) -> Self {
        Self { inside: Inside::new(future, None), member, value: Some(value), made_in: scope::current() }
    }
}

impl<F: Future> Future for WithIdentity<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(value) = this.value.take() {
            this.inside.as_mut().open(open(*this.member, value, this.made_in.take()));
        }
        this.inside.poll(cx)
    }
}

fn open(member: Member, value: Result<Value, CanonicalError>, made_in: Option<Arc<Scope>>) -> OpenScope {
    let current = scope::here_or(made_in);
    let mut env = ScopeEnv::inside(current.as_ref());
    let mut mirrored = None;
    match value {
        Ok(Value::Null) => *member.of_mut(&mut env.ambient) = None,
        Ok(value) => {
            mirrored = match &value {
                Value::String(text) => Some(text.clone()),
                other => canonical::to_string(other).ok(),
            };
            *member.of_mut(&mut env.ambient) = Some(Arc::new(value));
        }
        Err(error) => env.invalid = Some(Arc::new((member.name(), error))),
    }
    let env = Arc::new(env);
    let scope = match &current {
        Some(current) => Scope::branch(current, env),
        None => Scope::root(env),
    };
    let mut open = OpenScope::new(scope);
    if mirrored.is_some() || open.context.baggage().get(member.baggage_key()).is_some() {
        // `with_baggage` replaces everything, so what is there goes along, but for a value that holds no more.
        let mut all: Vec<KeyValueMetadata> = open
            .context
            .baggage()
            .iter()
            .filter(|(key, _)| key.as_str() != member.baggage_key())
            .map(|(key, (value, metadata))| {
                KeyValueMetadata::new(key.clone(), value.clone(), metadata.clone())
            })
            .collect();
        all.extend(
            mirrored
                .map(|text| KeyValueMetadata::new(member.baggage_key(), text, BaggageMetadata::default())),
        );
        open.context = open.context.with_baggage(all);
    }
    open
}
