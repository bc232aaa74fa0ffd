//! What conditions read of the context, held against the input document (spec §11). A member that no input has would
//! be missing in every call, so that a `forbid` that asks for it with `has` would silently never apply.

use serde_json::Value;

use super::conditions::{is_variable, operation};

/// What is wrong with a condition that reads what no input has.
pub(super) fn fault(form: &Value) -> Option<String> {
    match form {
        Value::Object(node) => {
            let path = path(form).filter(|path| !path.is_empty());
            // The longer path first: what is below says more than what is above.
            path.and_then(|path| fault_of(&path)).or_else(|| node.values().find_map(fault))
        }
        Value::Array(parts) => parts.iter().find_map(fault),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// What is wrong with a member at the top of the context.
pub(super) fn fault_of_key(key: &str) -> Option<String> {
    fault_of(&[key])
}

/// A part of the document.
enum Part {
    /// These members and no others.
    Record(&'static [(&'static str, Part)]),
    /// A record with any members.
    Open,
    /// A text, or a record with any members.
    Any,
    Leaf,
}

const DOCUMENT: Part = Part::Record(&[
    (
        "subject",
        Part::Record(&[
            ("workload", Part::Leaf),
            ("user", Part::Any),
            ("agent", Part::Any),
            ("task", Part::Any),
            ("trust_score", Part::Leaf),
            ("taints", Part::Leaf),
        ]),
    ),
    ("object", Part::Record(&[("id", Part::Leaf), ("attributes", Part::Open)])),
    (
        "environment",
        Part::Record(&[
            ("is_root", Part::Leaf),
            ("source_type", Part::Leaf),
            ("operation", Part::Leaf),
            ("function", Part::Leaf),
            ("parent_hash", Part::Leaf),
            ("parent_hashes", Part::Leaf),
            ("inherited_trust_score", Part::Leaf),
            ("inherited_taints", Part::Leaf),
            ("trust_override", Part::Leaf),
            ("removed_taints", Part::Leaf),
            ("policy_names", Part::Leaf),
            ("policy_tier", Part::Leaf),
            ("active_deviations", Part::Leaf),
        ]),
    ),
    ("identity", Part::Leaf),
    ("trust_score", Part::Leaf),
]);

/// The names by which an expression reads the context: `context.a["b"]` and `context.a has b` are `a`, `b`.
fn path(mut form: &Value) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    while !is_variable(form, "context") {
        let (operator, operands) = operation(form.as_object()?)?;
        match (operator, operands.get("attr")?) {
            ("." | "has", Value::String(name)) => names.push(name.as_str()),
            // `context has a.b`
            ("has", Value::Array(path)) => names.extend(path.iter().rev().filter_map(Value::as_str)),
            _ => return None,
        }
        form = operands.get("left")?;
    }
    names.reverse();
    Some(names)
}

fn fault_of(path: &[&str]) -> Option<String> {
    let (top, below) = path.split_first()?;
    let shown = path.join(".");
    if !top.contains('.') {
        return unknown(path.iter().copied()).then(|| no_member(&shown));
    }
    if unknown(top.split('.')) {
        return Some(no_member(top));
    }
    let whole = matches!(part(top.split('.')), Some(Part::Record(_) | Part::Open));
    // Under dotted keys are leaves alone: this would be missing although the nested one is there.
    (whole || !below.is_empty()).then(|| {
        format!("the dotted key `{}` never holds a record; write `context.{shown}`", top.escape_debug())
    })
}

/// Whether no input has this.
fn unknown<'a>(path: impl Iterator<Item = &'a str>) -> bool {
    part(path).is_none()
}

fn part<'a>(path: impl Iterator<Item = &'a str>) -> Option<&'static Part> {
    let mut part = &DOCUMENT;
    for name in path {
        part = match part {
            Part::Record(members) => &members.iter().find(|(known, _)| *known == name)?.1,
            Part::Open | Part::Any => &Part::Any,
            Part::Leaf => return None,
        };
    }
    Some(part)
}

fn no_member(name: &str) -> String {
    let near = known(&DOCUMENT, "")
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&known, name), known))
        .filter(|(distance, _)| *distance <= (name.len() / 4).max(2))
        .min();
    let hint = match near {
        Some((_, known)) => format!("did you mean `{known}`?"),
        None => "attributes of a call are below `object.attributes`".to_owned(),
    };
    format!("no input has `{}`; {hint}", name.escape_debug())
}

/// Every path that is known by its name.
fn known(part: &Part, above: &str) -> Vec<String> {
    let Part::Record(members) = part else { return Vec::new() };
    let of = |(name, part): &(&str, Part)| {
        let path = if above.is_empty() { (*name).to_owned() } else { format!("{above}.{name}") };
        let mut all = known(part, &path);
        all.push(path);
        all
    };
    members.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests;
