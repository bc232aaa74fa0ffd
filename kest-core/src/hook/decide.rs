//! Policies, one by one: the question, and what is made of the answer. Spec §6 step 7, §11.

use std::sync::Arc;

use super::prepare::Prepared;
use crate::error::{ConfigurationError, ConfigurationErrorKind, Error, PolicyDenied, PolicyUnavailable};
use crate::policy::{Decision, Environment, Kept, Object, PolicyEngine, PolicyInput, Subject};

impl Prepared {
    pub(super) fn checks(&self) -> usize {
        self.plan.checks.len()
    }

    /// The engine, the input and the policy of one check.
    pub(super) fn question(&self, index: usize) -> (Arc<dyn PolicyEngine>, PolicyInput<'_>, &str) {
        // `index` comes from `0..self.checks()`.
        #[allow(clippy::indexing_slicing, reason = "the pipeline counts up to `checks()`")]
        let check = &self.plan.checks[index];
        let identity = &self.env.inherited;
        let input = PolicyInput {
            subject: Subject {
                workload: &self.workload,
                user: identity.user.as_deref(),
                agent: identity.agent.as_deref(),
                task: identity.task.as_deref(),
                trust_score: self.trust.score,
                taints: &self.taints,
            },
            object: Object { id: self.resource_id.as_deref(), attributes: &self.resource_attr },
            environment: Environment {
                is_root: self.parents.is_empty(),
                source_type: self.trust.source.as_deref(),
                operation: &self.operation,
                function: self.call.function,
                parent_hash: self.parent_hashes.first().map_or("0", String::as_str),
                parent_hashes: &self.parent_hashes,
                inherited_trust_score: self.trust.inherited,
                inherited_taints: &self.inherited_taints,
                trust_override: self.trust_override,
                removed_taints: &self.removed_taints,
                policy_names: self.plan.lists.of(check.tier),
                policy_tier: check.tier,
                active_deviations: &self.plan.active,
            },
            identity: &self.workload,
            trust_score: self.trust.score,
            memo: Kept(Some(self.plan.memos.of(check.tier))),
        };
        (Arc::clone(&check.engine), input, &check.policy)
    }

    /// Takes an engine's answer; anything but an allow ends the call.
    pub(super) fn judge(
        &mut self,
        index: usize,
        answer: Result<Decision, PolicyUnavailable>,
    ) -> Result<(), Error> {
        #[allow(clippy::indexing_slicing, reason = "the pipeline counts up to `checks()`")]
        let check = &self.plan.checks[index];
        match answer {
            Ok(Decision::Allow { digest }) => {
                let Some(digest) = digest else { return Ok(()) };
                match self.digests.iter().find(|(name, _)| *name == check.policy) {
                    None => self.digests.push((check.policy.clone(), digest)),
                    Some((_, known)) if *known == digest => {}
                    // An auditor could not tell which of the two decided.
                    Some(_) => {
                        return Err(ConfigurationError::new(
                            ConfigurationErrorKind::PolicyNames,
                            format!(
                                "two engines judge `{}` by different texts under the name `{}`; \
                                 give one of the policies another name",
                                self.operation, check.policy
                            ),
                        )
                        .into());
                    }
                }
                Ok(())
            }
            Ok(Decision::Deny { reason }) => {
                let hint = self.trust.defaulted.then(|| {
                    format!(
                        "if the policy looks at the trust score: it is {}, since the lineage starts here without a \
                         source; say where the data comes from with `source_type = \"…\"`, or with \
                         `.source(\"…\")` on the scope",
                        self.trust.score
                    )
                });
                tracing::warn!(
                    target: "kest",
                    entry_id = %self.entry_id,
                    policy = %check.policy,
                    tier = %check.tier,
                    workload_id = %self.workload,
                    operation = %self.operation,
                    reason = reason.as_deref().unwrap_or(""),
                    "denied"
                );
                let tier = check.tier.as_str();
                Err(PolicyDenied::new(&check.policy, tier, reason, &self.entry_id, &self.operation, hint)
                    .into())
            }
            Err(error) => {
                tracing::error!(
                    target: "kest",
                    entry_id = %self.entry_id,
                    policy = %check.policy,
                    tier = %check.tier,
                    workload_id = %self.workload,
                    operation = %self.operation,
                    %error,
                    "no decision, so the call did not run"
                );
                Err(error.into())
            }
        }
    }
}
