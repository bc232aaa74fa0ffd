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
enum Scope {
    Any,
    Names(Vec<String>),
}

/// What is for an action counts for the name, what is for any action for each name. `policies` are sorted by id.
fn remote(policies: &[StoredPolicy]) -> Remote {
    let mut skipped = Vec::new();
    let mut statements: Vec<(Scope, &str)> = Vec::new();
    for policy in policies {
        let mut skip = |reason: String| skipped.push(Skipped { what: policy.id.clone(), reason });
        match &policy.statement {
            None => skip("it is linked to a template, which is not looked into".to_owned()),
            Some(statement) => match scope(&policy.id, statement, &mut skip) {
                Ok(scope) => statements.push((scope, statement)),
                Err(why) => skip(why),
            },
        }
    }
    let mut lock = BTreeMap::new();
    for (scope, _) in &statements {
        let Scope::Names(names) = scope else { continue };
        for name in names {
            let counts = |scope: &Scope| match scope {
                Scope::Any => true,
                Scope::Names(names) => names.contains(name),
            };
            let own = statements.iter().filter(|(scope, _)| counts(scope)).map(|(_, statement)| *statement);
            lock.insert(name.clone(), digest(own));
        }
    }
    Remote { lock: Lock(lock), skipped }
}

fn scope(id: &str, statement: &str, skip: &mut impl FnMut(String)) -> Result<Scope, String> {
    let policy = Policy::parse(Some(PolicyId::new(id)), statement)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    let actions = match policy.action_constraint() {
        ActionConstraint::Any => return Ok(Scope::Any),
        ActionConstraint::Eq(action) => vec![action],
        ActionConstraint::In(actions) => actions,
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
    Ok(Scope::Names(names))
}
