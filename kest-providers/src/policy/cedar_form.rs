//! [`PolicyInput`] as a Cedar request, the same for every Cedar engine. Spec §11.
//!
//! The principal is `Workload::"<id>"`, the action `Action::"<policy>"`, the resource `Resource::"<id or *>"`. The
//! context is the input document, nested (`context.subject.trust_score`), and its leaves once more at the top under
//! dotted keys (`context["subject.trust_score"]`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{Environment, Object, PolicyInput, Subject};
use serde_json::{Number, Value};

/// Type of the principal.
pub(crate) const PRINCIPAL: &str = "Workload";
/// Type of the action.
pub(crate) const ACTION: &str = "Action";
/// Type of the resource.
pub(crate) const RESOURCE: &str = "Resource";

/// A value that Cedar has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CedarValue<'a> {
    Bool(bool),
    Long(i64),
    String(&'a str),
    Set(Vec<CedarValue<'a>>),
    Record(CedarRecord<'a>),
}

/// Members of a record by name.
pub(crate) type CedarRecord<'a> = BTreeMap<Cow<'a, str>, CedarValue<'a>>;

/// The id of the principal.
pub(crate) fn principal<'a>(input: &PolicyInput<'a>) -> &'a str {
    input.subject.workload
}

/// The id of the resource: `*` when the call names none.
pub(crate) fn resource<'a>(input: &PolicyInput<'a>) -> &'a str {
    input.object.id.unwrap_or("*")
}

/// An entity as Cedar writes it, such as `Action::"kest/allow_trusted"`.
#[cfg(any(all(test, feature = "cedar"), feature = "cedar-agent"))]
pub(crate) fn literal(entity_type: &str, id: &str) -> String {
    format!("{entity_type}::\"{}\"", id.escape_debug())
}

/// The whole context: nested, and flattened with dotted keys.
///
/// Members that are `null` are left out, records without a leaf have no dotted keys, sets are not flattened, and
/// neither is a member whose own name has a dot in it, nor what is under it: `{"a.b": 1}` must not pass for
/// `{"a": {"b": 1}}`.
///
/// # Errors
/// Of kind `Input`, when the input holds what a Cedar context cannot. Leaving it out instead would switch off a
/// `forbid` that reads it.
pub(crate) fn context<'a>(input: &'a PolicyInput<'_>) -> Result<CedarRecord<'a>, PolicyUnavailable> {
    let mut all = record(document(input), 0).map_err(Fault::refuse)?;
    let mut flat = Vec::new();
    flatten(&all, &mut String::new(), &mut flat);
    all.extend(flat);
    Ok(all)
}

/// One member of [`context`], without the others.
///
/// # Errors
/// As for [`context`], for what is in this member.
#[cfg(feature = "cedar")]
pub(crate) fn attribute<'a>(
    input: &'a PolicyInput<'_>,
    key: &str,
) -> Result<Option<CedarValue<'a>>, PolicyUnavailable> {
    let mut segments = key.split('.');
    let first = segments.next().unwrap_or_default();
    let Some(mut part) = find(document(input), first) else { return Ok(None) };
    let (mut depth, mut dotted) = (1, false);
    for segment in segments {
        let Some(member) = part.member(segment) else { return Ok(None) };
        part = member;
        depth += 1;
        dotted = true;
    }
    let value = part.value(depth).map_err(|fault| fault.within(key).refuse())?;
    Ok(value.filter(|value| !(dotted && matches!(value, CedarValue::Record(_)))))
}

/// Whether [`context`] can be had, without making it.
///
/// # Errors
/// As for [`context`].
#[cfg(feature = "cedar")]
pub(crate) fn check(input: &PolicyInput<'_>) -> Result<(), PolicyUnavailable> {
    let Subject { user, agent, task, .. } = input.subject;
    let values = [
        ("subject.user", user),
        ("subject.agent", agent),
        ("subject.task", task),
        ("object.attributes", Some(input.object.attributes)),
    ];
    values
        .into_iter()
        .filter_map(|(path, value)| Some((path, value?)))
        .try_for_each(|(path, value)| check_json(value, 2).map_err(|fault| fault.within(path).refuse()))
}

/// The context as the JSON that Cedar engines take.
#[cfg(any(test, feature = "cedar-agent"))]
pub(crate) fn to_json(record: &CedarRecord<'_>) -> serde_json::Map<String, Value> {
    record.iter().map(|(key, value)| (key.clone().into_owned(), value.to_json())).collect()
}

#[cfg(any(test, feature = "cedar-agent"))]
impl CedarValue<'_> {
    fn to_json(&self) -> Value {
        match self {
            Self::Bool(bool) => Value::from(*bool),
            Self::Long(long) => Value::from(*long),
            Self::String(text) => Value::from(*text),
            Self::Set(items) => items.iter().map(Self::to_json).collect(),
            Self::Record(members) => Value::Object(to_json(members)),
        }
    }
}

/// A part of the input that is not converted yet.
#[derive(Clone, Copy)]
enum Part<'a> {
    Null,
    Bool(bool),
    Long(i64),
    Text(&'a str),
    Texts(&'a [String]),
    Shared(&'a [Arc<str>]),
    Json(&'a Value),
    Subject(&'a Subject<'a>),
    Object(&'a Object<'a>),
    Environment(&'a Environment<'a>),
}

type Member<'a> = (&'a str, Part<'a>);

impl<'a> Part<'a> {
    /// As a value, or nothing for `null`. `depth` is how many records and sets it stands in.
    fn value(self, depth: usize) -> Result<Option<CedarValue<'a>>, Fault> {
        Ok(Some(match self {
            Self::Null => return Ok(None),
            Self::Bool(bool) => CedarValue::Bool(bool),
            Self::Long(long) => CedarValue::Long(long),
            Self::Text(text) => CedarValue::String(text),
            Self::Texts(texts) => texts.iter().map(|text| CedarValue::String(text)).collect(),
            Self::Shared(texts) => texts.iter().map(|text| CedarValue::String(text)).collect(),
            Self::Json(value) => return json(value, depth),
            Self::Subject(it) => CedarValue::Record(record(subject(it), depth)?),
            Self::Object(it) => CedarValue::Record(record(object(it), depth)?),
            Self::Environment(it) => CedarValue::Record(record(environment(it), depth)?),
        }))
    }

    /// A member by name. The name has no dot.
    #[cfg(feature = "cedar")]
    fn member(self, name: &str) -> Option<Self> {
        match self {
            Self::Subject(it) => find(subject(it), name),
            Self::Object(it) => find(object(it), name),
            Self::Environment(it) => find(environment(it), name),
            Self::Json(value) => value.as_object()?.get(name).map(Self::Json),
            Self::Null | Self::Bool(_) | Self::Long(_) | Self::Text(_) | Self::Texts(_) | Self::Shared(_) => {
                None
            }
        }
    }
}

impl<'a> FromIterator<CedarValue<'a>> for CedarValue<'a> {
    fn from_iter<I: IntoIterator<Item = CedarValue<'a>>>(items: I) -> Self {
        Self::Set(items.into_iter().collect())
    }
}

fn document<'a>(input: &'a PolicyInput<'_>) -> [Member<'a>; 5] {
    [
        ("subject", Part::Subject(&input.subject)),
        ("object", Part::Object(&input.object)),
        ("environment", Part::Environment(&input.environment)),
        ("identity", Part::Text(input.identity)),
        ("trust_score", Part::Long(input.trust_score.into())),
    ]
}

fn subject<'a>(it: &'a Subject<'_>) -> [Member<'a>; 6] {
    [
        ("workload", Part::Text(it.workload)),
        ("user", it.user.map_or(Part::Null, Part::Json)),
        ("agent", it.agent.map_or(Part::Null, Part::Json)),
        ("task", it.task.map_or(Part::Null, Part::Json)),
        ("trust_score", Part::Long(it.trust_score.into())),
        ("taints", Part::Shared(it.taints)),
    ]
}

fn object<'a>(it: &'a Object<'_>) -> [Member<'a>; 2] {
    [("id", it.id.map_or(Part::Null, Part::Text)), ("attributes", Part::Json(it.attributes))]
}

fn environment<'a>(it: &'a Environment<'_>) -> [Member<'a>; 13] {
    let score = |score: Option<u8>| score.map_or(Part::Null, |score| Part::Long(score.into()));
    [
        ("is_root", Part::Bool(it.is_root)),
        ("source_type", it.source_type.map_or(Part::Null, Part::Text)),
        ("operation", Part::Text(it.operation)),
        ("function", Part::Text(it.function)),
        ("parent_hash", Part::Text(it.parent_hash)),
        ("parent_hashes", Part::Texts(it.parent_hashes)),
        ("inherited_trust_score", score(it.inherited_trust_score)),
        ("inherited_taints", Part::Shared(it.inherited_taints)),
        ("trust_override", score(it.trust_override)),
        ("removed_taints", Part::Shared(it.removed_taints)),
        ("policy_names", Part::Texts(it.policy_names)),
        ("policy_tier", Part::Text(it.policy_tier.as_str())),
        ("active_deviations", Part::Texts(it.active_deviations)),
    ]
}

#[cfg(feature = "cedar")]
fn find<'a, const N: usize>(members: [Member<'a>; N], name: &str) -> Option<Part<'a>> {
    members.into_iter().find(|(known, _)| *known == name).map(|(_, part)| part)
}

fn record<'a>(members: impl IntoIterator<Item = Member<'a>>, depth: usize) -> Result<CedarRecord<'a>, Fault> {
    let mut all = CedarRecord::new();
    for (name, part) in members {
        if let Some(value) = part.value(depth + 1).map_err(|fault| fault.within(name))? {
            all.insert(Cow::Borrowed(name), value);
        }
    }
    Ok(all)
}

fn json(value: &Value, depth: usize) -> Result<Option<CedarValue<'_>>, Fault> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Bool(bool) => CedarValue::Bool(*bool),
        Value::Number(number) => CedarValue::Long(integer(number)?),
        Value::String(text) => CedarValue::String(text),
        Value::Array(items) => {
            check_depth(depth)?;
            let mut set = Vec::with_capacity(items.len());
            for item in items {
                let Some(item) = json(item, depth + 1).map_err(|fault| fault.within("*"))? else {
                    return Err(Fault::new(NULL_ITEM).within("*"));
                };
                set.push(item);
            }
            CedarValue::Set(set)
        }
        Value::Object(members) => {
            check_depth(depth)?;
            members.keys().try_for_each(|name| check_name(name))?;
            let members = members.iter().map(|(name, value)| (name.as_str(), Part::Json(value)));
            CedarValue::Record(record(members, depth)?)
        }
    }))
}

/// What [`json`] refuses, without what it makes.
#[cfg(feature = "cedar")]
fn check_json(value: &Value, depth: usize) -> Result<(), Fault> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(number) => integer(number).map(drop),
        Value::Array(items) => {
            check_depth(depth)?;
            items.iter().try_for_each(|item| {
                let item =
                    if item.is_null() { Err(Fault::new(NULL_ITEM)) } else { check_json(item, depth + 1) };
                item.map_err(|fault| fault.within("*"))
            })
        }
        Value::Object(members) => {
            check_depth(depth)?;
            members.keys().try_for_each(|name| check_name(name))?;
            members.iter().try_for_each(|(name, value)| {
                check_json(value, depth + 1).map_err(|fault| fault.within(name))
            })
        }
    }
}

/// Records and sets in one another, at most.
const MAX_DEPTH: usize = 128;

/// 2^53 − 1: beyond, JSON's numbers are not exact (RFC 8259 §6).
const MAX_INTEGER: i64 = (1 << 53) - 1;

const NULL_ITEM: &str = "is `null` in a list; leave it out of the list";

fn check_depth(depth: usize) -> Result<(), Fault> {
    if depth < MAX_DEPTH { Ok(()) } else { Err(Fault::new("is nested more than 128 deep; flatten it")) }
}

fn check_name(name: &str) -> Result<(), Fault> {
    // In Cedar's JSON these make an entity or an extension value of the record that has them.
    if matches!(name, "__entity" | "__extn" | "__expr") {
        return Err(Fault::new("has a meaning of its own in Cedar; rename it").within(name));
    }
    Ok(())
}

/// Cedar has no other numbers than integers. `1.0` is `1`.
fn integer(number: &Number) -> Result<i64, Fault> {
    let exact = |long: &i64| (-MAX_INTEGER..=MAX_INTEGER).contains(long);
    let long = number.as_i64().or_else(|| {
        let float =
            number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0)?;
        #[expect(clippy::cast_possible_truncation, reason = "an integer within ±(2^53 − 1)")]
        Some(float as i64)
    });
    long.filter(exact).ok_or_else(|| {
        Fault::new("is a number that Cedar cannot hold; give an integer within ±(2^53 − 1), or a string")
    })
}

fn flatten<'a>(members: &CedarRecord<'a>, path: &mut String, flat: &mut Vec<(Cow<'a, str>, CedarValue<'a>)>) {
    let end = path.len();
    for (name, value) in members.iter().filter(|(name, _)| !name.contains('.')) {
        path.push_str(name);
        match value {
            CedarValue::Record(members) => {
                path.push('.');
                flatten(members, path, flat);
            }
            // A leaf at the top is there under this very key already.
            leaf @ (CedarValue::Bool(_)
            | CedarValue::Long(_)
            | CedarValue::String(_)
            | CedarValue::Set(_)) => {
                if end > 0 {
                    flat.push((Cow::Owned(path.clone()), leaf.clone()));
                }
            }
        }
        path.truncate(end);
    }
}

/// What is wrong with a part of the input, and where that is, innermost first.
struct Fault {
    what: &'static str,
    path: Vec<String>,
}

impl Fault {
    fn new(what: &'static str) -> Self {
        Self { what, path: Vec::new() }
    }

    fn within(mut self, name: &str) -> Self {
        self.path.push(name.to_owned());
        self
    }

    fn refuse(self) -> PolicyUnavailable {
        let path = self.path.iter().rev().map(String::as_str).collect::<Vec<_>>().join(".");
        PolicyUnavailable::new(PolicyErrorKind::Input, format!("`{path}` of the policy input {}", self.what))
    }
}

#[cfg(test)]
pub(in crate::policy) mod tests;
