//! What asks for a group or an attribute of the caller or the resource. There are none, so that a `forbid` for a group
//! would silently never apply.

use cedar_policy::Policy as Statement;
use kest_core::error::PolicyUnavailable;
use serde_json::Value;

use super::conditions::{conditions, is_variable, operation};
use super::refuse;

/// Refuses a statement whose conditions ask so.
pub(super) fn check(statement: &Statement) -> Result<(), PolicyUnavailable> {
    match conditions(statement)?.iter().find_map(fault) {
        Some(fault) => Err(refuse(format!("{}: {fault}", statement.id()))),
        None => Ok(()),
    }
}

/// For `in`, in a scope or in a condition.
pub(super) const GROUPS: &str = "write `==`; workloads and resources have no groups";

const ATTRIBUTES: &str = "read the `context`; principal, action and resource have no attributes";

fn fault(form: &Value) -> Option<&'static str> {
    let node = match form {
        Value::Object(node) => node,
        Value::Array(parts) => return parts.iter().find_map(fault),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    if let Some((operator, operands)) = operation(node) {
        let left = operands.get("left");
        let of_action = || left.is_some_and(|left| is_variable(left, "action"));
        let groups = match operator {
            "in" => operands.get("right"),
            "is" => operands.get("in"),
            _ => None,
        };
        if groups.is_some_and(|groups| !of_action() || mentions(groups, &["principal", "resource"])) {
            return Some(GROUPS);
        }
        let asks = matches!(operator, "has" | "hasTag");
        if asks && left.is_none_or(|left| mentions(left, &["principal", "action", "resource"])) {
            return Some(ATTRIBUTES);
        }
    }
    node.values().find_map(fault)
}

/// Whether one of the variables is somewhere in it.
fn mentions(form: &Value, variables: &[&str]) -> bool {
    match form {
        form if variables.iter().any(|variable| is_variable(form, variable)) => true,
        Value::Object(node) => node.values().any(|part| mentions(part, variables)),
        Value::Array(parts) => parts.iter().any(|part| mentions(part, variables)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests;
