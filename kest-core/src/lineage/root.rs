//! Scopes opened by hand: `kest.scope`, `kest.enter`, `kest::root`. Spec §5.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::context::OnBehalfOf;
use super::inside::Inside;
use super::outgoing::Jwt;
use super::scope::{self, Entered, IdentityContext, OpenScope, Scope, ScopeEnv};
use crate::clock::random_trace_id;
use crate::passport::{Passport, Tips};
use crate::runtime::Kest;
use crate::verify::VerifiedPassport;

/// What a scope is opened with.
#[derive(Debug, Default)]
struct Opening {
    /// The `Kest` put in force, if any.
    kest: Option<Kest>,
    /// Where the scope was made, for a future that is then polled elsewhere.
    made_in: Option<Arc<Scope>>,
    /// Whether a new lineage starts whatever runs around it.
    fresh: bool,
    /// The verified history that comes on top.
    tips: Tips,
    source: Option<Arc<str>>,
    ingress: bool,
    /// What is believed of whoever sent the request, and whether it was validated here.
    said: Option<(OnBehalfOf, Said)>,
    jwt: Option<Jwt>,
}

/// Who said on whose behalf a request comes.
#[derive(Debug, Clone, Copy)]
enum Said {
    /// The entries that came with it.
    Upstream,
    /// A token that was validated here.
    Token,
}

impl Opening {
    /// What was verified came from outside, so that a root beside it counts as coming from there too.
    fn of_received(tips: Tips) -> Self {
        Self { tips, ingress: true, ..Self::default() }
    }

    /// Opens the scope: a branch of the current one, or the root of a lineage.
    fn open(self) -> OpenScope {
        let current = scope::here_or(self.made_in);
        let mut env = ScopeEnv::inside(current.as_ref());
        if let Some(kest) = self.kest {
            // INVARIANT: a scope adds a `Kest`, so the tiers of those around it stay in force (spec §11).
            env.kests.insert(0, kest);
        }
        if let Some((_, Said::Upstream)) = &self.said {
            // INVARIANT: what comes from outside never starts with the source of what runs around the service.
            env.root_source = None;
        }
        if let Some(source) = self.source {
            env.root_source = Some(source);
        }
        match self.said {
            None => {}
            Some((said, Said::Upstream)) => {
                env.inherited = IdentityContext::default();
                env.ambient = IdentityContext::default();
                env.ambient.replace_with(said);
                env.jwt = None;
            }
            Some((said, Said::Token)) => {
                // INVARIANT: what a hook around it goes by does not outlive what was validated here.
                env.ambient.outdone_by(std::mem::take(&mut env.inherited));
                env.ambient.replace_with(said);
            }
        }
        if self.jwt.is_some() {
            env.jwt = self.jwt;
        }
        // INVARIANT: what serves a request from outside never becomes an inside by a scope of its own.
        env.ingress |= self.ingress;
        let scope = match current {
            Some(_) if self.fresh => {
                env.trace_id = random_trace_id();
                Scope::root(Arc::new(env))
            }
            Some(current) => Scope::branch(&current, Arc::new(env)),
            None => Scope::root(Arc::new(env)),
        };
        // INVARIANT: a verified history comes on top of what is there; nothing sheds it but `kest::root`.
        for tip in &self.tips {
            scope.replace(&[], tip);
        }
        OpenScope::new(scope)
    }
}

pin_project! {
    /// A future in a scope, which is opened when the future is first polled.
    ///
    /// Made by [`Kest::scope`], [`root`] and `VerifiedPassport::scope`.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        #[pin]
        inside: Inside<F>,
        opening: Option<Opening>,
    }
}

impl<F> Scoped<F> {
    fn new(future: F, mut opening: Opening) -> Self {
        opening.made_in = scope::current();
        Self { inside: Inside::new(future, None), opening: Some(opening) }
    }

    pub(crate) fn with_kest(kest: Kest, future: F) -> Self {
        Self::new(future, Opening { kest: Some(kest), ..Opening::default() })
    }

    fn continuing(tips: Tips, future: F) -> Self {
        Self::new(future, Opening::of_received(tips))
    }

    /// The source of roots in this scope that name none, spec §8. An unknown one is the error of the call.
    pub fn source(mut self, source: &str) -> Self {
        if let Some(opening) = &mut self.opening {
            opening.source = Some(Arc::from(source));
        }
        self
    }

    /// Puts a `Kest` in force in the scope, as [`Kest::scope`] does.
    pub fn under(mut self, kest: Kest) -> Self {
        if let Some(opening) = &mut self.opening {
            opening.kest = Some(kest);
        }
        self
    }

    /// Starts a lineage of its own, whatever runs around it: for a service that answers somebody else.
    pub fn apart(mut self) -> Self {
        if let Some(opening) = &mut self.opening {
            opening.fresh = true;
        }
        self
    }

    /// On whose behalf the request comes, as its verified lineage says. Replaces what was ambient, and any token.
    pub fn upstream(mut self, said: OnBehalfOf) -> Self {
        if let Some(opening) = &mut self.opening {
            opening.said = Some((said, Said::Upstream));
            opening.ingress = true;
        }
        self
    }

    /// On whose behalf the request comes, as a token says that was validated here: replaces what the lineage says. A
    /// root that names no source counts as `authenticated_user`. Spec §8, §12.
    ///
    /// Agent and task of the lineage stay where the token says none and is of the same user.
    pub fn authenticated(mut self, said: OnBehalfOf, token: Jwt) -> Self {
        if let Some(opening) = &mut self.opening {
            opening.said = Some((said, Said::Token));
            opening.jwt = Some(token);
            opening.source = Some(Arc::from("authenticated_user"));
            opening.ingress = true;
        }
        self
    }

    /// Says that the scope serves a request from outside: a root in it that names no source counts as
    /// `unauthenticated`, and one that claims to be `system` or `internal` is refused. Spec §8.
    pub fn ingress(mut self) -> Self {
        if let Some(opening) = &mut self.opening {
            opening.ingress = true;
        }
        self
    }

    /// Gives the passport of the scope beside the value of the future.
    pub fn with_passport(self) -> ScopedWithPassport<F> {
        ScopedWithPassport { scoped: self }
    }
}

impl<F: Future> Scoped<F> {
    fn poll_inner(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(F::Output, Passport)> {
        let mut this = self.project();
        if let Some(opening) = this.opening.take() {
            this.inside.as_mut().open(opening.open());
        }
        match this.inside.as_mut().within(|future| future.poll(cx)) {
            Some(Poll::Ready(value)) => {
                let passport = this.inside.finish().map_or_else(Passport::new, |open| open.scope.passport());
                Poll::Ready((value, passport))
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_inner(cx).map(|(value, _)| value)
    }
}

pin_project! {
    /// A future in a scope; gives its value and the scope's passport.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ScopedWithPassport<F> {
        #[pin]
        scoped: Scoped<F>,
    }
}

impl<F> ScopedWithPassport<F> {
    /// See [`Scoped::source`].
    pub fn source(self, source: &str) -> Self {
        Self { scoped: self.scoped.source(source) }
    }

    /// See [`Scoped::ingress`].
    pub fn ingress(self) -> Self {
        Self { scoped: self.scoped.ingress() }
    }
}

impl<F: Future> Future for ScopedWithPassport<F> {
    type Output = (F::Output, Passport);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().scoped.poll_inner(cx)
    }
}

/// Runs `future` as the root of a lineage of its own: one job of a worker loop.
pub fn root<F: Future>(future: F) -> Scoped<F> {
    Scoped::new(future, Opening { fresh: true, ..Opening::default() })
}

/// Runs `future` with a bearer token, which goes along to hosts that are named for it. Spec §12.
pub fn with_jwt<F: Future>(token: Jwt, future: F) -> Scoped<F> {
    Scoped::new(future, Opening { jwt: Some(token), ..Opening::default() })
}

/// [`root`], giving the passport beside the value.
pub fn root_with_passport<F: Future>(future: F) -> ScopedWithPassport<F> {
    root(future).with_passport()
}

/// Runs `future` in a scope of the enclosing lineage, or of a new one: for layers that add to it what they know.
pub fn scope<F: Future>(future: F) -> Scoped<F> {
    Scoped::new(future, Opening::default())
}

impl VerifiedPassport {
    /// Runs `future` in a scope that goes on from this passport: its calls have the tips as parents.
    ///
    /// Inside an open lineage they have that lineage's tips as well. The scope serves the outside
    /// ([`Scoped::ingress`]): where the passport is empty, a root in it counts as `unauthenticated`.
    pub fn scope<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped::continuing(self.passport().tip_nodes().clone(), future)
    }

    /// [`Self::scope`] for code that is not async: holds until the guard is dropped.
    pub fn enter(&self) -> ScopeGuard {
        ScopeGuard::continuing(self.passport().tip_nodes().clone())
    }
}

/// Keeps the calling thread in a scope. Made by [`Kest::enter`] and `VerifiedPassport::enter`.
#[derive(Debug)]
#[must_use = "the scope is left when the guard is dropped"]
pub struct ScopeGuard {
    // Fields drop in order: the thread leaves the scope before it is closed.
    _entered: Entered,
    open: OpenScope,
}

impl ScopeGuard {
    fn new(opening: Opening) -> Self {
        let open = opening.open();
        Self { _entered: open.enter_guarded(), open }
    }

    pub(crate) fn with_kest(kest: Kest) -> Self {
        Self::new(Opening { kest: Some(kest), ..Opening::default() })
    }

    pub(crate) fn with_kest_and_source(kest: Kest, source: &str) -> Self {
        Self::new(Opening { kest: Some(kest), source: Some(Arc::from(source)), ..Opening::default() })
    }

    pub(crate) fn ingress(kest: Kest) -> Self {
        Self::new(Opening { kest: Some(kest), ingress: true, ..Opening::default() })
    }

    fn continuing(tips: Tips) -> Self {
        Self::new(Opening::of_received(tips))
    }

    /// The passport as it stands: what has ended in this scope.
    #[must_use]
    pub fn passport(&self) -> Passport {
        self.open.scope.passport()
    }
}
