//! Which policies judge a call, in order, by which engine. Spec §11.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::config::Deviation;
use crate::payload::PolicyLists;
use crate::policy::{Memo, PolicyEngine, Tier};
use crate::runtime::Kest;

/// One policy to ask.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) tier: Tier,
    pub(super) policy: String,
    pub(super) engine: Arc<dyn PolicyEngine>,
}

/// The policies of a call, enterprise first.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) checks: SmallVec<[Check; 2]>,
    /// Names by tier, for inputs and for the entry.
    pub(super) lists: PolicyLists,
    /// The deviations that lift something from this call.
    pub(super) deviations: Vec<Deviation>,
    /// Their policies.
    pub(super) active: Vec<String>,
    pub(super) memos: Memos,
}

/// What engines made of the input, which differs between tiers in its names.
#[derive(Debug, Default)]
pub(super) struct Memos([Memo; 4]);

impl Memos {
    pub(super) fn of(&self, tier: Tier) -> &Memo {
        let [enterprise, platform, application, function] = &self.0;
        match tier {
            Tier::Enterprise => enterprise,
            Tier::Platform => platform,
            Tier::Application => application,
            Tier::Function => function,
        }
    }
}

impl Plan {
    /// `kests` from the outermost to the innermost: each tier of each holds, judged by its own engine.
    /// `engine` judges the function tier alone.
    pub(super) fn new(
        kests: &[Kest],
        function: &str,
        policies: Vec<String>,
        engine: &Arc<dyn PolicyEngine>,
    ) -> Self {
        let mut plan = Self::default();
        let mut frozen = Frozen::default();
        for tier in [Tier::Enterprise, Tier::Platform, Tier::Application] {
            for kest in kests {
                plan.add_tier(kest, tier, function, &mut frozen);
            }
        }
        let engine = frozen.of(engine);
        for policy in &policies {
            plan.checks.push(Check {
                tier: Tier::Function,
                policy: policy.clone(),
                engine: Arc::clone(&engine),
            });
        }
        plan.lists.function = policies;
        plan
    }

    fn add_tier(&mut self, kest: &Kest, tier: Tier, function: &str, frozen: &mut Frozen) {
        for policy in kest.config().tier(tier) {
            let lifted = kest
                .config()
                .deviations
                .iter()
                .find(|d| d.policy == *policy && d.tier == tier.as_str() && d.covers(function));
            if let Some(deviation) = lifted {
                if !self.deviations.contains(deviation) {
                    self.deviations.push(deviation.clone());
                    self.active.push(policy.clone());
                }
                continue;
            }
            self.checks.push(Check { tier, policy: policy.clone(), engine: frozen.of(kest.engine()) });
            let list = self.lists.of_mut(tier);
            if !list.contains(policy) {
                list.push(policy.clone());
            }
        }
    }
}

/// The engines of one call, each as it stood when the call first asked for it.
#[derive(Debug, Default)]
struct Frozen(SmallVec<[Snapshot; 1]>);

/// An engine, and what it was then.
type Snapshot = (Arc<dyn PolicyEngine>, Arc<dyn PolicyEngine>);

impl Frozen {
    fn of(&mut self, engine: &Arc<dyn PolicyEngine>) -> Arc<dyn PolicyEngine> {
        if let Some((_, frozen)) = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, engine)) {
            return Arc::clone(frozen);
        }
        let frozen = engine.snapshot().unwrap_or_else(|| Arc::clone(engine));
        self.0.push((Arc::clone(engine), Arc::clone(&frozen)));
        frozen
    }
}

/// The `Kest`s whose tiers hold, from the outermost to the innermost: those of the scopes around the
/// call and the global one, each once. One that says so in so many words replaces those outside it.
pub(super) fn kests_in_force(scopes: &[Kest], global: Option<Kest>) -> SmallVec<[Kest; 2]> {
    let mut chain: SmallVec<[Kest; 2]> = SmallVec::new();
    let mut replaced = false;
    for kest in scopes.iter().cloned().chain(global) {
        if replaced {
            break;
        }
        replaced = kest.replaces_outer_tiers();
        if !chain.iter().any(|known| known.is(&kest)) {
            chain.push(kest);
        }
    }
    chain.reverse();
    chain
}
