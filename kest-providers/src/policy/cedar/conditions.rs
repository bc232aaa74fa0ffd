//! The conditions of statements, in Cedar's JSON form of policies.

use cedar_policy::Policy as Statement;
use kest_core::error::PolicyUnavailable;
use serde_json::{Map, Value};

use super::refuse;

/// What stands in each `when` and `unless` of a statement.
pub(super) fn conditions(statement: &Statement) -> Result<Vec<Value>, PolicyUnavailable> {
    let place = statement.id();
    let mut form = statement.to_json().map_err(|error| {
        refuse(format!("{place}: the policy has no JSON form: {error}")).with_source(error)
    })?;
    let bodies = form.get_mut("conditions").and_then(Value::as_array_mut).and_then(|conditions| {
        conditions.iter_mut().map(|condition| condition.get_mut("body").map(Value::take)).collect()
    });
    bodies.ok_or_else(|| refuse(format!("{place}: the policy's JSON form has no conditions")))
}

/// The operator of a node and its operands by name, of which it has several: `{"in": {"left": …, "right": …}}`.
pub(super) fn operation(node: &Map<String, Value>) -> Option<(&str, &Map<String, Value>)> {
    let (operator, operands) = node.iter().next().filter(|_| node.len() == 1)?;
    // A member of a record literal is an expression, which has one key: it does not pass for operands.
    Some((operator, operands.as_object().filter(|operands| operands.len() > 1)?))
}

/// Whether a part of the form is this variable.
pub(super) fn is_variable(form: &Value, name: &str) -> bool {
    form.as_object().is_some_and(|node| {
        node.len() == 1 && node.get("Var").and_then(Value::as_str).is_some_and(|variable| variable == name)
    })
}
