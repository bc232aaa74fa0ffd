//! Which members of the context a policy reads at all: the others need not be made.

use std::collections::BTreeSet;

use cedar_policy::Policy as Statement;
use kest_core::error::PolicyUnavailable;
use serde_json::{Map, Value, json};

use super::asked::Wanted;
use super::refuse;

/// What the statements read of the context. Everything, once they use `context` in any other way than `context.member`,
/// `context["member"]` and `context has member`.
pub(super) fn reads(statements: &[Statement]) -> Result<Wanted, PolicyUnavailable> {
    let mut members = BTreeSet::new();
    for statement in statements {
        let form = statement.to_json().map_err(|error| {
            refuse(format!("{}: the policy has no JSON form: {error}", statement.id())).with_source(error)
        })?;
        if !collect(&form, &context(), &mut members) {
            return Ok(Wanted::everything());
        }
    }
    Ok(Wanted::members(members))
}

/// The variable, in Cedar's JSON form of policies.
fn context() -> Value {
    json!({"Var": "context"})
}

/// Whether `context` is used only to read the members that are added.
fn collect(form: &Value, context: &Value, members: &mut BTreeSet<String>) -> bool {
    match form {
        form if form == context => false,
        Value::Object(node) => match member(node, context) {
            Some(member) => {
                members.insert(member.to_owned());
                true
            }
            None => node.values().all(|part| collect(part, context, members)),
        },
        Value::Array(parts) => parts.iter().all(|part| collect(part, context, members)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// The member that a node reads of the context, if it is such a node: `{".": {"left": …, "attr": "member"}}`.
fn member<'a>(node: &'a Map<String, Value>, context: &Value) -> Option<&'a str> {
    let mut operators = node.iter();
    let (operator, operands) = operators.next()?;
    let reads = matches!(operator.as_str(), "." | "has") && operators.next().is_none();
    let operands = operands.as_object().filter(|operands| reads && operands.len() == 2)?;
    (operands.get("left")? == context).then_some(operands.get("attr")?.as_str()?)
}

#[cfg(test)]
mod tests;
