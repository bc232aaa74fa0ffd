//! What conditions ask of entities. A call has three, without parents, attributes or tags: what asks for any, and what
//! compares them with what they never are, would silently never hold, which for a `forbid` means that it forbids nothing.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::conditions::{is_variable, operation};
use super::scope::Scope;

/// What is wrong with a condition that asks so.
pub(super) fn fault(form: &Value, scope: &Scope<'_>) -> Option<String> {
    let node = match form {
        Value::Object(node) => node,
        Value::Array(parts) => return parts.iter().find_map(|part| fault(part, scope)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    let asked = operation(node).and_then(|(operator, operands)| asks(operator, operands, scope));
    asked.or_else(|| never_there(node, scope)).or_else(|| node.values().find_map(|part| fault(part, scope)))
}

/// For `in`, in a scope or in a condition.
pub(super) const GROUPS: &str = "write `==`; workloads and resources have no groups";

const ATTRIBUTES: &str =
    "read the `context`; principal, action, resource and other entities have no attributes";

/// What is wrong with an operation, without its operands.
fn asks(operator: &str, operands: &Map<String, Value>, scope: &Scope<'_>) -> Option<String> {
    let left = operands.get("left");
    let of = |side: Option<&Value>| {
        let mut found = BTreeSet::new();
        side.iter().for_each(|side| entities(side, scope, &mut found));
        found
    };
    match operator {
        "in" => groups(left, operands.get("right"), scope),
        "is" => {
            let (left_is, ty) = (of(left), operands.get("entity_type").and_then(Value::as_str));
            let is = |entity: &Entity| Some(entity.ty.as_str()) == ty;
            if !left_is.is_empty() && !left_is.iter().any(is) {
                return Some(format!(
                    "`is {}` never holds for {}; correct the type, or leave it out",
                    ty.unwrap_or_default(),
                    shown(&left_is)
                ));
            }
            operands.get("in").and_then(|right| groups(left, Some(right), scope))
        }
        "has" | "hasTag" if left.is_none() || !of(left).is_empty() => Some(ATTRIBUTES.to_owned()),
        "." | "getTag" if left.is_none_or(is_entity) => Some(ATTRIBUTES.to_owned()),
        "==" | "!=" | "contains" | "containsAll" | "containsAny" => {
            let (left, right) = (of(left), of(operands.get("right")));
            (left.is_disjoint(&right) && !(left.is_empty() && right.is_empty())).then(|| {
                format!(
                    "`{operator}` compares {} with {}, which are never equal; compare entities of one type, or \
                     texts of the `context`",
                    shown(&left),
                    shown(&right)
                )
            })
        }
        // Of truths, numbers and texts: an entity there is an error when it is evaluated.
        _ => None,
    }
}

/// What is wrong with `left in right`.
fn groups(left: Option<&Value>, right: Option<&Value>, scope: &Scope<'_>) -> Option<String> {
    let members = match right.and_then(|right| right.get("Set")).and_then(Value::as_array) {
        Some(members) => members.iter().collect(),
        None => Vec::from_iter(right),
    };
    let mut found = BTreeSet::new();
    let plain = members.into_iter().all(|member| {
        entities(member, scope, &mut found);
        is_variable(member, "action") || literal(member).is_some()
    });
    if !left.is_some_and(|left| is_variable(left, "action")) || !plain {
        return Some(GROUPS.to_owned());
    }
    let is_action = |entity: &Entity| {
        // As it was written: an id may have any character.
        entity.ty == scope.action.type_name().to_string()
            && entity.id.as_deref().is_some_and(|id| scope.is_action_named(id))
    };
    (!found.iter().any(is_action)).then(|| scope.never())
}

/// An entity literal of a type that no entity of a call has.
fn never_there(node: &Map<String, Value>, scope: &Scope<'_>) -> Option<String> {
    let (ty, id) = entity(node)?;
    let types = [&scope.types.principal, &scope.types.action, &scope.types.resource];
    types.iter().all(|known| known.to_string() != ty).then(|| {
        format!(
            "a call has no `{ty}::\"{}\"`; it has a `{}`, an `{}` and a `{}`, and all else is in the `context`",
            id.escape_debug(),
            scope.types.principal,
            scope.types.action,
            scope.types.resource
        )
    })
}

/// What an entity is as far as a policy alone tells.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entity {
    ty: String,
    /// Of actions: which one is asked about is known.
    id: Option<String>,
}

fn shown(entities: &BTreeSet<Entity>) -> String {
    let all: Vec<String> = entities
        .iter()
        .map(|Entity { ty, id }| match id {
            Some(id) => format!("`{ty}::\"{}\"`", id.escape_debug()),
            None => format!("a `{ty}`"),
        })
        .collect();
    if all.is_empty() { "what is no entity".to_owned() } else { all.join(" or ") }
}

/// Collects the entities that a value can be, or that can be in it. The context has none.
fn entities(form: &Value, scope: &Scope<'_>, found: &mut BTreeSet<Entity>) {
    let node = match form {
        Value::Object(node) => node,
        Value::Array(parts) => return parts.iter().for_each(|part| entities(part, scope, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
    };
    let variables = [
        ("principal", &scope.types.principal, None),
        ("action", &scope.types.action, Some(scope.action.id().unescaped().to_owned())),
        ("resource", &scope.types.resource, None),
    ];
    for (variable, ty, id) in variables {
        if is_variable(form, variable) {
            found.insert(Entity { ty: ty.to_string(), id });
            return;
        }
    }
    if let Some((ty, id)) = entity(node) {
        let id = (ty == scope.types.action.to_string()).then(|| id.to_owned());
        found.insert(Entity { ty: ty.to_owned(), id });
        return;
    }
    match operation(node) {
        Some(("if-then-else", operands)) => ["then", "else"]
            .iter()
            .filter_map(|branch| operands.get(*branch))
            .for_each(|part| entities(part, scope, found)),
        Some((operator, _)) if PLAIN.contains(&operator) => {}
        // An entity has nothing that could be one.
        Some(("." | "getTag", operands)) if operands.get("left").is_some_and(is_entity) => {}
        Some((".", operands)) if let Some(member) = member(operands) => entities(member, scope, found),
        None if negation(node) => {}
        Some(_) | None => node.values().for_each(|part| entities(part, scope, found)),
    }
}

/// What is read of a record that is written out: `{a: 1}.a`.
fn member(operands: &Map<String, Value>) -> Option<&Value> {
    operands.get("left")?.get("Record")?.get(operands.get("attr")?.as_str()?)
}

/// What makes truths and numbers, whatever it is made of.
const PLAIN: &[&str] = &[
    "==",
    "!=",
    "in",
    "<",
    "<=",
    ">",
    ">=",
    "&&",
    "||",
    "+",
    "-",
    "*",
    "contains",
    "containsAll",
    "containsAny",
    "has",
    "hasTag",
    "like",
    "is",
];

/// `{"!": {"arg": …}}`. A member of a record literal that is named so holds an expression, and none is called `arg`.
fn negation(node: &Map<String, Value>) -> bool {
    node.len() == 1
        && ["!", "neg", "isEmpty"]
            .iter()
            .any(|operator| node.get(*operator).is_some_and(|operand| operand.get("arg").is_some()))
}

/// Whether the value is an entity, for certain or in one of its branches.
fn is_entity(form: &Value) -> bool {
    if ["principal", "action", "resource"].iter().any(|variable| is_variable(form, variable)) {
        return true;
    }
    let branches = form.as_object().and_then(operation).filter(|(operator, _)| *operator == "if-then-else");
    match branches {
        Some((_, operands)) => {
            ["then", "else"].iter().filter_map(|branch| operands.get(*branch)).any(is_entity)
        }
        None => literal(form).is_some(),
    }
}

/// Type and id of an entity literal: `{"Value": {"__entity": {"type": …, "id": …}}}`.
fn literal(form: &Value) -> Option<(&str, &str)> {
    let node = form.as_object().filter(|node| node.len() == 1)?;
    entity(node.get("Value")?.as_object()?)
}

/// Type and id of the inner part of an entity literal. No expression has this form.
fn entity(node: &Map<String, Value>) -> Option<(&str, &str)> {
    let entity = node.get("__entity").filter(|_| node.len() == 1)?;
    Some((entity.get("type")?.as_str()?, entity.get("id")?.as_str()?))
}

#[cfg(test)]
mod tests;
