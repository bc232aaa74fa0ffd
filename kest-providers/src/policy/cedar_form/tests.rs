use kest_core::policy::InputDocument;
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn document(attributes: &Value) -> InputDocument {
    serde_json::from_value(json!({
        "subject": {"workload": "w", "user": {"sub": "alice"}, "agent": "a", "trust_score": 40, "taints": ["t"]},
        "object": {"attributes": attributes},
        "environment": {"operation": "op", "function": "f", "source_type": "user_input"},
    }))
    .unwrap()
}

fn refusal(attributes: &Value) -> String {
    let document = document(attributes);
    let error = context(&document.as_input()).unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::Input);
    error.to_string()
}

#[test]
fn the_input_is_there_nested_and_flat_without_nulls() {
    let document = document(
        &json!({"amount": 4200, "rate": 2.0, "tags": ["x", {"k": null}], "none": null, "deep": {"er": {}}}),
    );
    let input = document.as_input();
    assert_eq!((principal(&input), resource(&input)), ("w", "*"));
    let expected = json!({
        "subject": {"workload": "w", "user": {"sub": "alice"}, "agent": "a", "trust_score": 40, "taints": ["t"]},
        "object": {"attributes": {"amount": 4200, "rate": 2, "tags": ["x", {}], "deep": {"er": {}}}},
        "environment": {
            "is_root": true, "source_type": "user_input", "operation": "op", "function": "f", "parent_hash": "0",
            "parent_hashes": ["0"], "inherited_taints": [], "removed_taints": [], "policy_names": [],
            "policy_tier": "function", "active_deviations": [],
        },
        "identity": "w",
        "trust_score": 40,
        "subject.workload": "w",
        "subject.user.sub": "alice",
        "subject.agent": "a",
        "subject.trust_score": 40,
        "subject.taints": ["t"],
        "object.attributes.amount": 4200,
        "object.attributes.rate": 2,
        "object.attributes.tags": ["x", {}],
        "environment.is_root": true,
        "environment.source_type": "user_input",
        "environment.operation": "op",
        "environment.function": "f",
        "environment.parent_hash": "0",
        "environment.parent_hashes": ["0"],
        "environment.inherited_taints": [],
        "environment.removed_taints": [],
        "environment.policy_names": [],
        "environment.policy_tier": "function",
        "environment.active_deviations": [],
    });
    assert_eq!(Value::Object(to_json(&context(&input).unwrap())), expected);
}

#[test]
fn scores_that_are_given_are_there() {
    let document: InputDocument = serde_json::from_value(json!({
        "object": {"id": "17"}, "environment": {"inherited_trust_score": 10, "trust_override": 80},
    }))
    .unwrap();
    let input = document.as_input();
    assert_eq!(resource(&input), "17");
    let context = context(&input).unwrap();
    for (key, value) in [
        ("object.id", CedarValue::String("17")),
        ("environment.inherited_trust_score", CedarValue::Long(10)),
        ("environment.trust_override", CedarValue::Long(80)),
    ] {
        assert_eq!(context.get(key), Some(&value), "{key}");
    }
}

#[test]
fn a_name_with_a_dot_does_not_pass_for_a_path() {
    let document = document(&json!({"a.b": 1, "c": {"d.e": {"f": 2}}, "": 3}));
    let input = document.as_input();
    let context = context(&input).unwrap();
    let attributes: Vec<&str> =
        context.keys().map(|key| &**key).filter(|key| key.starts_with("object.attributes")).collect();
    assert_eq!(attributes, ["object.attributes."]);
}

#[test]
fn what_cedar_cannot_hold_is_refused_with_its_place() {
    for (attributes, place) in [
        (json!({"a": {"b": 1.5}}), "`object.attributes.a.b`"),
        (json!({"a": 9_007_199_254_740_992_i64}), "`object.attributes.a`"),
        (json!({"a": -9_007_199_254_740_992_i64}), "`object.attributes.a`"),
        (json!({"a": 9_007_199_254_740_992.0}), "`object.attributes.a`"),
        (json!({"a": u64::MAX}), "`object.attributes.a`"),
        (json!({"a": 1e300}), "`object.attributes.a`"),
        (json!({"a": [1, null]}), "`object.attributes.a.*`"),
        (json!({"a": [{"b": [0.5]}]}), "`object.attributes.a.*.b.*`"),
        (json!({"__entity": {"type": "Action", "id": "x"}}), "`object.attributes.__entity`"),
        (json!({"a": [{"__extn": 1}]}), "`object.attributes.a.*.__extn`"),
        (json!({"a": {"__expr": "1"}}), "`object.attributes.a.__expr`"),
        (json!({"x.y": {"z": 0.1}}), "`object.attributes.x.y.z`"),
    ] {
        let message = refusal(&attributes);
        assert!(message.starts_with(place), "{message}");
    }
    let user: InputDocument = serde_json::from_value(json!({"subject": {"user": {"age": 0.5}}})).unwrap();
    assert!(context(&user.as_input()).unwrap_err().to_string().starts_with("`subject.user.age`"));
}

#[test]
fn integers_are_whole_up_to_their_limit() {
    let most = 9_007_199_254_740_991_i64;
    let document = document(&json!({"a": [1.0, -0.0, most, -most, 9_007_199_254_740_991.0]}));
    let input = document.as_input();
    let context = context(&input).unwrap();
    let longs = [1, 0, most, -most, most].map(CedarValue::Long);
    assert_eq!(context["object.attributes.a"], CedarValue::Set(longs.to_vec()));
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!({"a": inner}));
    // The attributes stand in the document and in its object.
    assert!(context(&document(&nested(MAX_DEPTH - 2)).as_input()).is_ok());
    assert!(refusal(&nested(MAX_DEPTH - 1)).contains("more than 128 deep"));
    let lists = (0..MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
    assert!(refusal(&json!({"a": lists})).contains("more than 128 deep"));
}

/// Attributes, among them such as are refused.
pub(in crate::policy) fn attributes() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        8 => "[a-c]",
        1 => "[a-c.]{0,3}",
        1 => "[\\PC]{0,3}",
        1 => Just("__entity".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-9.0..9.0_f64).prop_map(Value::from),
        (-9..9_i32).prop_map(|whole| Value::from(f64::from(whole))),
        any::<String>().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    });
    prop::collection::vec(("[a-c]", value), 0..3)
        .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()))
}

#[cfg(feature = "cedar")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn one_member_is_that_of_the_whole(attributes in attributes(), other in "object\\.attributes(\\.[a-c]?){0,4}") {
        let document = document(&attributes);
        let input = document.as_input();
        let whole = context(&input);
        prop_assert_eq!(check(&input).map_err(|e| e.to_string()).err(), whole.as_ref().map_err(ToString::to_string).err());
        if let Ok(whole) = whole {
            for (key, value) in &whole {
                let one = attribute(&input, key).unwrap();
                prop_assert_eq!(one.as_ref(), Some(value), "{}", key);
            }
            let one = attribute(&input, &other).unwrap();
            prop_assert_eq!(one.as_ref(), whole.get(other.as_str()), "{}", other);
        }
    }

    #[test]
    fn an_entity_is_read_back(id in any::<String>()) {
        let written = literal(PRINCIPAL, &id);
        let read: cedar_policy::EntityUid = written.parse().unwrap();
        prop_assert_eq!(read.id().unescaped(), &id);
        prop_assert_eq!(read.type_name().to_string(), PRINCIPAL);
    }
}
