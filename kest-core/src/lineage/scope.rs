//! A scope: the tips of a lineage where code runs now, and how they flow back. Spec §5.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use opentelemetry::{Context, ContextGuard};
use parking_lot::Mutex;
use serde_json::Value;
use smallvec::SmallVec;

use super::outgoing::Jwt;
use crate::canonical::CanonicalError;
use crate::clock::random_trace_id;
use crate::passport::{Node, Passport, Tips, descends};
use crate::runtime::Kest;

/// On whose behalf code runs. Values are shared by the whole lineage below.
#[derive(Debug, Clone, Default)]
pub(crate) struct IdentityContext {
    pub(crate) user: Option<Arc<Value>>,
    pub(crate) agent: Option<Arc<Value>>,
    pub(crate) task: Option<Arc<Value>>,
}

/// What scopes of one lineage share until one of them changes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ScopeEnv {
    /// The `Kest`s in force, innermost first.
    pub(crate) kests: SmallVec<[Kest; 1]>,
    /// 32 lower-case hex digits.
    pub(crate) trace_id: Arc<str>,
    /// From the enclosing hook.
    pub(crate) inherited: IdentityContext,
    /// From `with_user` and its like, and from a service's identity layer.
    pub(crate) ambient: IdentityContext,
    /// An identity value that cannot be recorded: the error of every call below.
    pub(crate) invalid: Option<Arc<(&'static str, CanonicalError)>>,
    /// The bearer token that was validated here, or that the program goes by.
    pub(crate) jwt: Option<Jwt>,
    /// The source of a root that names none.
    pub(crate) root_source: Option<Arc<str>>,
    /// Whether the lineage serves a request from outside.
    pub(crate) ingress: bool,
}

impl ScopeEnv {
    /// What a scope shares with the one around it; outside any, what a new lineage begins with.
    pub(crate) fn inside(around: Option<&Arc<Scope>>) -> Self {
        match around {
            Some(scope) => Self::clone(scope.env()),
            None => Self { trace_id: random_trace_id(), ..Self::default() },
        }
    }
}

/// A place in the code's own structure that holds tips.
#[derive(Debug)]
pub(crate) struct Scope {
    env: Arc<ScopeEnv>,
    /// Distance from the root scope.
    level: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    parent: Option<Arc<Scope>>,
    /// Those tips of the parent that what happens here comes after.
    base: Tips,
    tips: Tips,
    closed: bool,
}

impl Scope {
    /// A scope without a parent: a new lineage.
    pub(crate) fn root(env: Arc<ScopeEnv>) -> Arc<Self> {
        Self::make(env, None, Tips::new(), Tips::new())
    }

    /// A branch: starts with the tips of `parent` as they are now.
    pub(crate) fn branch(parent: &Arc<Self>, env: Arc<ScopeEnv>) -> Arc<Self> {
        let base = parent.tips();
        Self::make(env, Some(parent), base.clone(), base)
    }

    /// The scope of a hook's body: its one tip is the hook's entry, whose parents are `base`.
    pub(crate) fn body(
        parent: Option<&Arc<Self>>,
        env: Arc<ScopeEnv>,
        base: Tips,
        entry: Arc<Node>,
    ) -> Arc<Self> {
        Self::make(env, parent, base, smallvec::smallvec![entry])
    }

    fn make(env: Arc<ScopeEnv>, parent: Option<&Arc<Self>>, base: Tips, tips: Tips) -> Arc<Self> {
        if let Some(parent) = parent {
            parent.forget_closed_ancestors();
        }
        Arc::new(Self {
            env,
            level: parent.map_or(0, |p| p.level.saturating_add(1)),
            state: Mutex::new(State { parent: parent.cloned(), base, tips, closed: false }),
        })
    }

    pub(crate) fn env(&self) -> &Arc<ScopeEnv> {
        &self.env
    }

    pub(crate) fn tips(&self) -> Tips {
        self.state.lock().tips.clone()
    }

    pub(crate) fn passport(&self) -> Passport {
        Passport::from_tips(self.tips())
    }

    /// Puts a signed entry in the place of the tips it names as parents.
    pub(crate) fn replace(&self, parents: &[Arc<Node>], entry: &Arc<Node>) {
        self.state.lock().absorb(parents, std::slice::from_ref(entry));
    }

    /// Puts tips that came back from elsewhere in the place of those they come after. False where the scope is closed,
    /// and they would change it.
    #[must_use]
    pub(crate) fn come_back(&self, sent: &[Arc<Node>], tips: &[Arc<Node>]) -> bool {
        let mut state = self.state.lock();
        let new = state.not_yet(sent, tips);
        if state.closed && !new.is_empty() {
            return false;
        }
        state.take(new);
        true
    }

    /// [`Self::come_back`] where the whole lineage has ended: code that still holds the scope goes on from there.
    pub(crate) fn come_back_late(&self, sent: &[Arc<Node>], tips: &[Arc<Node>]) {
        let mut state = self.state.lock();
        let new = state.not_yet(sent, tips);
        if new.is_empty() {
            return;
        }
        state.take(new);
        drop(state);
        tracing::warn!(
            target: "kest",
            "a lineage came back after the end of the one that the call was made in; its entries stand in no passport: \
             read the answer to its end before that lineage ends"
        );
    }

    /// Ends the scope: its tips flow to the nearest ancestor that is still open.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.flow();
    }

    /// Hands the tips to the nearest ancestor that is still open, and goes on from there.
    ///
    /// A closed scope on the way takes them too, so that code which still holds it goes on from them.
    pub(crate) fn flow(&self) {
        let (base, tips, mut next) = {
            let mut state = self.state.lock();
            let tips = state.tips.clone();
            (mem::replace(&mut state.base, tips.clone()), tips, state.parent.clone())
        };
        while let Some(scope) = next {
            let mut state = scope.state.lock();
            state.absorb(&base, &tips);
            if !state.closed {
                return;
            }
            let above = state.parent.clone();
            drop(state);
            if above.is_none() && tips.iter().any(|tip| !contains(&base, tip)) {
                tracing::warn!(
                    target: "kest",
                    "a branch ended after its whole lineage had; its entries are signed and audited, \
                     but stand in no passport: join the branch before the lineage ends"
                );
            }
            next = above;
        }
    }

    fn parent(&self) -> Option<Arc<Self>> {
        self.state.lock().parent.clone()
    }

    /// Cuts closed scopes out of the way up: a task that goes on by spawning its successor
    /// must not keep all its predecessors.
    fn forget_closed_ancestors(&self) {
        let Some(mut parent) = self.parent() else { return };
        let mut moved = false;
        loop {
            let above = {
                let state = parent.state.lock();
                if state.closed { state.parent.clone() } else { None }
            };
            match above {
                Some(above) => {
                    parent = above;
                    moved = true;
                }
                None => break,
            }
        }
        if moved {
            let old = self.state.lock().parent.replace(parent);
            drop(old);
        }
    }

    /// The scope itself, or, once it is closed, the nearest open one above it: there is what happened since.
    pub(crate) fn still_open(self: Arc<Self>) -> Arc<Self> {
        let mut at = Arc::clone(&self);
        loop {
            let above = {
                let state = at.state.lock();
                if !state.closed {
                    drop(state);
                    return at;
                }
                state.parent.clone()
            };
            match above {
                Some(above) => at = above,
                // The whole lineage has ended: its own end is all the history there is.
                None => return self,
            }
        }
    }

    /// Whether `self` is `other` or stands above it.
    fn encloses(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = Some(Arc::clone(other));
        while let Some(scope) = at {
            if Arc::ptr_eq(self, &scope) {
                return true;
            }
            at = if scope.level > self.level { scope.parent() } else { None };
        }
        false
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let mut next = self.state.get_mut().parent.take();
        while let Some(scope) = next {
            next = Arc::into_inner(scope).and_then(|mut scope| scope.state.get_mut().parent.take());
        }
    }
}

impl State {
    /// Those of `tips` that came after what was sent and that nothing here has gone on from.
    fn not_yet(&self, sent: &[Arc<Node>], tips: &[Arc<Node>]) -> Tips {
        let is_old = |tip: &Arc<Node>| {
            contains(sent, tip)
                || contains(&self.tips, tip)
                || self.tips.iter().any(|later| descends(later, tip))
        };
        tips.iter().filter(|tip| !is_old(tip)).cloned().collect()
    }

    /// Puts new tips in the place of those they come after.
    fn take(&mut self, new: Tips) {
        self.tips.retain(|tip| !new.iter().any(|later| descends(later, tip)));
        self.tips.extend(new);
    }

    /// `tips = tips − base ∪ new`. Where nothing happened since `base`, nothing changes.
    fn absorb(&mut self, base: &[Arc<Node>], new: &[Arc<Node>]) {
        if new.iter().all(|tip| contains(base, tip)) {
            return;
        }
        self.tips.retain(|tip| !contains(base, tip));
        for tip in new {
            if !contains(base, tip) && !contains(&self.tips, tip) {
                self.tips.push(Arc::clone(tip));
            }
        }
    }
}

fn contains(tips: &[Arc<Node>], tip: &Arc<Node>) -> bool {
    tips.iter().any(|t| Arc::ptr_eq(t, tip) || t.hash() == tip.hash())
}

thread_local! {
    /// The scopes this thread is in, innermost last. A stack with names, for guards may be dropped in any order.
    static ENTERED: RefCell<Stack> = const { RefCell::new(Stack { next: 0, scopes: Vec::new() }) };
}

struct Stack {
    next: u64,
    scopes: Vec<(u64, Arc<Scope>)>,
}

/// The scope as the OpenTelemetry context carries it.
#[derive(Debug)]
struct Carried {
    scope: Arc<Scope>,
    /// The guard that attached it, by its thread and name there; futures attach theirs poll by poll.
    guard: Option<(ThreadId, u64)>,
}

impl Carried {
    /// Whether a guard attached it to this thread and lives on in a future that is suspended. What runs
    /// now is another task.
    fn is_parked(&self) -> bool {
        let Some((thread, name)) = self.guard else { return false };
        thread == thread::current().id()
            && !self.scope.state.lock().closed
            && ENTERED
                .try_with(|stack| !stack.borrow().scopes.iter().any(|(entered, _)| *entered == name))
                .unwrap_or(false)
    }
}

/// The context that carries `scope`, made from the current one.
pub(crate) fn context_with(scope: &Arc<Scope>) -> Context {
    Context::current_with_value(Carried { scope: Arc::clone(scope), guard: None })
}

/// The scope in which the calling code runs.
///
/// Kest keeps its own store and mirrors it into the OpenTelemetry context. Where the two differ,
/// the deeper of two related scopes wins (a stale context must not hide what happened since, and a
/// context carried into a task by hand counts); of two unrelated ones, Kest's own.
pub(crate) fn current() -> Option<Arc<Scope>> {
    here(Context::map_current(carried))
}

/// [`current`] as it is in a context that is not attached.
pub(crate) fn current_in(cx: &Context) -> Option<Arc<Scope>> {
    here(carried(cx))
}

fn carried(cx: &Context) -> Option<Arc<Scope>> {
    cx.get::<Carried>().filter(|carried| !carried.is_parked()).map(|carried| Arc::clone(&carried.scope))
}

fn here(carried: Option<Arc<Scope>>) -> Option<Arc<Scope>> {
    // Where the thread is already ending there is no scope any more.
    let own = ENTERED.try_with(|stack| stack.borrow().scopes.last().map(|(_, scope)| Arc::clone(scope)));
    let own = own.ok().flatten();
    let carried = carried.map(|scope| scope.still_open());
    match (own, carried) {
        (Some(own), Some(carried)) => Some(deeper(own, carried)),
        (own, carried) => own.or(carried),
    }
}

/// The current scope; for a future that was made in another place, where it was made, unless it is polled inside of that.
pub(crate) fn here_or(made_in: Option<Arc<Scope>>) -> Option<Arc<Scope>> {
    match (made_in, current()) {
        (Some(made_in), Some(here)) if made_in.encloses(&here) => Some(here),
        (Some(made_in), _) => Some(made_in),
        (None, here) => here,
    }
}

fn deeper(own: Arc<Scope>, carried: Arc<Scope>) -> Arc<Scope> {
    if carried.encloses(&own) {
        own
    } else if own.encloses(&carried) {
        carried
    } else {
        tracing::warn!(
            target: "kest",
            "the OpenTelemetry context carries the lineage of another request; \
             Kest goes on with its own: do not attach contexts across requests"
        );
        own
    }
}

/// While it lives, code on this thread runs in the scope.
#[derive(Debug)]
#[must_use = "the scope is left when the guard is dropped"]
pub(crate) struct Entered {
    name: Option<u64>,
    _context: ContextGuard,
    /// Entering is a matter of one thread.
    _not_send: PhantomData<*const ()>,
}

/// Enters a scope on this thread.
fn enter(scope: &Arc<Scope>, context: impl FnOnce(Option<u64>) -> Context) -> Entered {
    let name = ENTERED.try_with(|stack| {
        let stack = &mut *stack.borrow_mut();
        let name = stack.next;
        stack.next += 1;
        stack.scopes.push((name, Arc::clone(scope)));
        name
    });
    let name = name.ok();
    Entered { name, _context: context(name).attach(), _not_send: PhantomData }
}

/// Scopes that a suspended future entered with a guard and did not leave. They are taken from the thread while it is
/// suspended, so that other tasks do not run in them.
#[derive(Debug, Default)]
pub(crate) struct Parked(Vec<(u64, Arc<Scope>)>);

// INVARIANT: a future that holds a guard is not `Send`, so what is parked comes back to its own thread.

impl Entered {
    /// Enters the scopes that the future entered before it was suspended.
    pub(crate) fn resume(&self, parked: &mut Parked) {
        if !parked.0.is_empty() {
            let _ = ENTERED.try_with(|stack| stack.borrow_mut().scopes.append(&mut parked.0));
        }
    }

    /// Leaves, taking along what the future has entered and not left.
    pub(crate) fn suspend(self, parked: &mut Parked) {
        let _ = ENTERED.try_with(|stack| {
            let scopes = &mut stack.borrow_mut().scopes;
            if let Some(at) = scopes.iter().rposition(|(name, _)| Some(*name) == self.name) {
                parked.0 = scopes.split_off(at + 1);
            }
        });
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let left = ENTERED.try_with(|stack| {
            let scopes = &mut stack.borrow_mut().scopes;
            let at = scopes.iter().rposition(|(name, _)| Some(*name) == self.name)?;
            Some(scopes.remove(at))
        });
        // Dropped outside the borrow: the last reference may drop a whole lineage.
        drop(left);
    }
}

/// A scope with the context to enter it by; closed when the last owner lets go.
#[derive(Debug)]
pub(crate) struct OpenScope {
    pub(crate) scope: Arc<Scope>,
    pub(crate) context: Context,
}

impl OpenScope {
    pub(crate) fn new(scope: Arc<Scope>) -> Self {
        let context = context_with(&scope);
        Self { scope, context }
    }

    /// With the span of a call in the context.
    pub(crate) fn under(scope: Arc<Scope>, context: Context) -> Self {
        let context = context.with_value(Carried { scope: Arc::clone(&scope), guard: None });
        Self { scope, context }
    }

    pub(crate) fn enter(&self) -> Entered {
        enter(&self.scope, |_| self.context.clone())
    }

    /// [`Self::enter`] by a guard in somebody's hands, which may be held while a task is suspended.
    pub(crate) fn enter_guarded(&self) -> Entered {
        enter(&self.scope, |name| {
            let guard = name.map(|name| (thread::current().id(), name));
            self.context.with_value(Carried { scope: Arc::clone(&self.scope), guard })
        })
    }
}

impl Drop for OpenScope {
    fn drop(&mut self) {
        self.scope.close();
    }
}
