//! Which policies judge a call, in order, by which engine. Spec §11.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::config::Deviation;
use crate::payload::PolicyLists;
use crate::policy::{PolicyEngine, Tier};
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
        for tier in [Tier::Enterprise, Tier::Platform, Tier::Application] {
            for kest in kests {
                plan.add_tier(kest, tier, function);
            }
        }
        for policy in &policies {
            plan.checks.push(Check {
                tier: Tier::Function,
                policy: policy.clone(),
                engine: Arc::clone(engine),
            });
        }
        plan.lists.function = policies;
        plan
    }

    fn add_tier(&mut self, kest: &Kest, tier: Tier, function: &str) {
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
            self.checks.push(Check { tier, policy: policy.clone(), engine: Arc::clone(kest.engine()) });
            let list = self.lists.of_mut(tier);
            if !list.contains(policy) {
                list.push(policy.clone());
            }
        }
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
