//! A policy store of AWS Verified Permissions.

use std::collections::BTreeMap;
use std::time::Duration;

use cedar_policy::{ActionConstraint, Policy, PolicyId};
use kest_providers::policy::{AvpEngine, StoredPolicy};

use super::super::lock::Lock;
use super::super::names::is_name;
use super::{Remote, Skipped, digest};
use crate::input::Unusable;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The type of the actions that Kest asks about. Spec §11.
const ACTION: &str = "Action";

/// The policies of a store.
///
/// # Errors
/// When there is no usable answer in time.
pub(super) fn policies(store: &str, endpoint: Option<&str>) -> Result<Remote, Unusable> {
    let mut builder = AvpEngine::builder().policy_store_id(store).timeout(LIMIT);
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    let policies = builder.build().and_then(|engine| engine.stored_policies());
    Ok(remote(&policies.map_err(|error| Unusable(error.to_string()))?))
}

/// The actions that a policy is for.
struct Scope {
    names: Vec<String>,
    /// Whether it may be for any other too: it names none, a group, or nobody knows.
    any: bool,
}

/// What is for an action counts for the name, what may be for any action for each name. `policies` are sorted by id.
fn remote(policies: &[StoredPolicy]) -> Remote {
    let mut skipped = Vec::new();
    let mut statements: Vec<(Scope, String)> = Vec::new();
    for policy in policies {
        let mut skip = |reason: String| skipped.push(Skipped { what: policy.id.clone(), reason });
        match &policy.statement {
            None => {
                skip(
                    "it is linked to a template, which is not looked into; its id counts for every policy"
                        .to_owned(),
                );
                let of_all = Scope { names: Vec::new(), any: true };
                statements.push((of_all, format!("template-linked policy {}", policy.id)));
            }
            Some(statement) => statements.push((scope(&policy.id, statement, &mut skip), statement.clone())),
        }
    }
    let mut lock = BTreeMap::new();
    for name in statements.iter().flat_map(|(scope, _)| &scope.names) {
        let counts = |scope: &Scope| scope.any || scope.names.contains(name);
        let own =
            statements.iter().filter(|(scope, _)| counts(scope)).map(|(_, statement)| statement.as_str());
        lock.insert(name.clone(), digest(own));
    }
    Remote { lock: Lock(lock), skipped }
}

fn scope(id: &str, statement: &str, skip: &mut impl FnMut(String)) -> Scope {
    let policy = match Policy::parse(Some(PolicyId::new(id)), statement) {
        Ok(policy) => policy,
        Err(error) => {
            skip(format!("it cannot be read, and counts for every policy: {error}"));
            return Scope { names: Vec::new(), any: true };
        }
    };
    // What an action is `in` may be a group: the store's schema says so, which is not looked into.
    let (actions, any) = match policy.action_constraint() {
        ActionConstraint::Any => (Vec::new(), true),
        ActionConstraint::Eq(action) => (vec![action], false),
        ActionConstraint::In(actions) => (actions, true),
    };
    let mut names = Vec::new();
    for action in actions {
        let (kind, name) = (action.type_name().to_string(), action.id().unescaped().to_owned());
        if kind != ACTION {
            skip(format!("its action is of the type `{kind}`, where Kest asks for `{ACTION}`"));
        } else if !is_name(&name) {
            skip(format!(
                "`{name}` is no policy name: the segments of one are of letters, digits, `_` and `-`"
            ));
        } else {
            names.push(name);
        }
    }
    Scope { names, any }
}
