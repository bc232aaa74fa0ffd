//! Which members of the context a policy reads at all: the others need not be made.

use std::collections::BTreeSet;

use cedar_policy::Policy as Statement;
use kest_core::error::PolicyUnavailable;
use serde_json::{Map, Value};

use super::asked::Wanted;
use super::conditions::{conditions, is_variable, operation};

/// What the statements read of the context. Everything, once one uses the whole of it.
pub(super) fn reads(statements: &[Statement]) -> Result<Wanted, PolicyUnavailable> {
    let mut all = BTreeSet::new();
    for statement in statements {
        match members(statement)? {
            Some(members) => all.extend(members),
            None => return Ok(Wanted::everything()),
        }
    }
    Ok(Wanted::members(all))
}

/// What a statement reads of the context. Nothing, if it uses `context` in any other way than `context.member`,
/// `context["member"]` and `context has member`.
pub(super) fn members(statement: &Statement) -> Result<Option<BTreeSet<String>>, PolicyUnavailable> {
    let mut members = BTreeSet::new();
    let only = conditions(statement)?.iter().all(|condition| collect(condition, &mut members));
    Ok(only.then_some(members))
}

/// Whether `context` is used only to read the members that are added.
fn collect(form: &Value, members: &mut BTreeSet<String>) -> bool {
    match form {
        form if is_variable(form, "context") => false,
        Value::Object(node) => match member(node) {
            Some(member) => {
                members.insert(member.to_owned());
                true
            }
            None => node.values().all(|part| collect(part, members)),
        },
        Value::Array(parts) => parts.iter().all(|part| collect(part, members)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// The member that a node reads of the context, if it is such a node: `{".": {"left": …, "attr": "member"}}`.
fn member(node: &Map<String, Value>) -> Option<&str> {
    let (operator, operands) = operation(node)?;
    let reads = matches!(operator, "." | "has") && is_variable(operands.get("left")?, "context");
    let member = match operands.get("attr").filter(|_| reads)? {
        // `context has a.b`
        Value::Array(path) => path.first()?,
        member => member,
    };
    member.as_str()
}

#[cfg(test)]
mod tests;
