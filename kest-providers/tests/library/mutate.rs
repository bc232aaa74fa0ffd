//! Inputs near those of a table of cases.

use std::collections::BTreeMap;

use kest_core::policy::InputDocument;
use kest_providers::policy::cases::CaseTable;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

type Way = Vec<String>;

/// One of a table's inputs after up to four changes, as far as it still is an input.
pub(crate) fn near(table: &CaseTable) -> impl Strategy<Value = InputDocument> + use<> {
    let inputs: Vec<Value> =
        table.cases().iter().map(|case| serde_json::to_value(&case.input).unwrap()).collect();
    let mut seen: BTreeMap<Way, Vec<Value>> = BTreeMap::new();
    for input in &inputs {
        for root in
            ["trust_score", "subject.user", "subject.agent", "subject.taints", "object", "environment"]
        {
            let way: Way = root.split('.').map(str::to_owned).collect();
            collect(&way, at(input, &way), &mut seen);
        }
    }
    let ways: Vec<(Way, Vec<Value>)> = seen.into_iter().filter(|(way, _)| changeable(way)).collect();
    let pool: Vec<Value> = ways.iter().flat_map(|(_, values)| values.clone()).chain(hostile()).collect();
    let change = (any::<Index>(), any::<Index>(), 0_u8..10);
    (any::<Index>(), proptest::collection::vec(change, 0..=4)).prop_filter_map(
        "no input any more",
        move |(base, changes)| {
            let mut input = base.get(&inputs).clone();
            for (way, value, kind) in &changes {
                let (way, known) = way.get(&ways);
                match kind {
                    0 => set(&mut input, way, None),
                    1..6 => set(&mut input, way, Some(value.get(known).clone())),
                    6..8 => {
                        let next = step(at(&input, way));
                        set(&mut input, way, Some(next));
                    }
                    _ => set(&mut input, way, Some(value.get(&pool).clone())),
                }
            }
            // The two places of the score say the same.
            if let Some(score) = input.get("trust_score").cloned() {
                input["subject"]["trust_score"] = score;
            } else {
                input["subject"].as_object_mut().unwrap().remove("trust_score");
            }
            serde_json::from_value(input).ok()
        },
    )
}

/// What a policy of the library may read.
fn changeable(way: &Way) -> bool {
    match way.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["environment", member] => matches!(
            member,
            "function"
                | "inherited_taints"
                | "inherited_trust_score"
                | "operation"
                | "removed_taints"
                | "trust_override"
        ),
        ["object", "attributes"] | ["object"] | ["environment"] => false,
        _ => true,
    }
}

fn collect(way: &Way, value: &Value, seen: &mut BTreeMap<Way, Vec<Value>>) {
    seen.entry(way.clone()).or_default().push(value.clone());
    if let Value::Object(members) = value {
        for (name, member) in members {
            let mut below = way.clone();
            below.push(name.clone());
            collect(&below, member, seen);
        }
    }
}

fn at<'a>(input: &'a Value, way: &Way) -> &'a Value {
    way.iter().fold(input, |at, step| &at[step.as_str()])
}

fn set(input: &mut Value, way: &Way, value: Option<Value>) {
    let (last, above) = way.split_last().unwrap();
    let mut at = input;
    for step in above {
        let Value::Object(members) = at else { return };
        at = members.entry(step.clone()).or_insert_with(|| json!({}));
    }
    let Value::Object(members) = at else { return };
    match value {
        Some(value) => drop(members.insert(last.clone(), value)),
        None => drop(members.remove(last)),
    }
}

/// The nearest other value: one more, another case, one element less.
fn step(value: &Value) -> Value {
    match value {
        Value::Null => json!([]),
        Value::Bool(value) => json!(!value),
        Value::Number(number) => number.as_i64().map_or(json!(0), |number| json!(number.saturating_add(1))),
        Value::String(text) if text.is_empty() => json!(" "),
        Value::String(text) => json!(text.to_uppercase()),
        Value::Array(values) => json!(values.iter().skip(1).collect::<Vec<_>>()),
        Value::Object(members) => json!(members.values().collect::<Vec<_>>()),
    }
}

fn hostile() -> Vec<Value> {
    let mut values = vec![
        json!(null),
        json!(true),
        json!(false),
        json!("true"),
        json!(""),
        json!(" "),
        json!("*"),
        json!("\" || true || \"\\"),
        json!("Ünïcode\u{0}"),
        json!([]),
        json!({}),
        json!([null]),
        json!([[]]),
        json!([{}]),
        json!([true, 1, "1"]),
        json!({"": ""}),
        json!({"sub": ["ann"]}),
        json!({"sub.x": "ann", "a.b": 1}),
        json!({"__entity": {"type": "Action", "id": "kest"}}),
        json!({"__extn": {"fn": "decimal", "arg": "1.0"}}),
        json!(["label:secret", "domain:north", "unverified", "llm_generated", "break_glass"]),
        json!(["label:cosmic", "domain:west"]),
        json!(1.5),
        json!(40.0),
        json!(-0.0),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
    ];
    for edge in
        [0, 1, 10, 40, 60, 80, 90, 100, 50_000, 100_000, 1_000_000, 100_000_000, 9_007_199_254_740_991_i64]
    {
        values.extend([edge - 1, edge, edge + 1, -edge].map(|number| json!(number)));
    }
    values
}
