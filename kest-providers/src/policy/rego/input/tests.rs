use kest_core::policy::InputDocument;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(document: Json) -> InputDocument {
    serde_json::from_value(document).unwrap()
}

fn full() -> Json {
    json!({
        "subject": {
            "workload": "w", "user": {"sub": "alice", "deep": {"er": [1, null]}}, "agent": "a", "task": {"id": 7},
            "trust_score": 40, "taints": ["t"],
        },
        "object": {"id": "17", "attributes": {"amount": 4200, "rate": 0.5, "none": null, "d.o.t": {"": -1}}},
        "environment": {
            "source_type": "user_input", "operation": "charge", "function": "shop::charge",
            "parent_hash": "aa", "parent_hashes": ["aa", "bb"], "inherited_trust_score": 40,
            "inherited_taints": ["t"], "removed_taints": ["u"], "trust_override": 90,
            "policy_names": ["p"], "policy_tier": "platform", "active_deviations": ["d"],
        },
    })
}

fn whole(input: &PolicyInput<'_>) -> Value {
    document(input, &Reads::Whole).unwrap()
}

#[test]
fn the_whole_document_is_that_of_the_json() {
    for given in [full(), json!({})] {
        let given = read(given);
        let json = Value::from_json_str(&serde_json::to_string(&given).unwrap()).unwrap();
        assert_eq!(whole(&given.as_input()), json);
        given.with_input(|input| {
            for part in ["environment", "object", "subject", "identity", "trust_score"] {
                let mut reads = Reads::NOTHING;
                reads.add([part].into_iter());
                assert_eq!(
                    document(input, &reads).unwrap(),
                    Value::from(BTreeMap::from([(part.into(), json[part].clone())]))
                );
            }
            assert_eq!(whole(input), json);
        });
    }
}

#[test]
fn no_more_is_made_than_is_read() {
    let mut reads = Reads::NOTHING;
    for path in
        ["environment.source_type", "object.attributes.amount", "object.attributes.nobody", "nothing.at.all"]
    {
        reads.add(path.split('.'));
    }
    let given = read(full());
    let json = r#"{"environment":{"source_type":"user_input"},"object":{"attributes":{"amount":4200}}}"#;
    assert_eq!(document(&given.as_input(), &reads).unwrap(), Value::from_json_str(json).unwrap());
}

#[test]
fn what_is_read_as_a_whole_is_made_once_for_a_call() {
    let mut reads = Reads::NOTHING;
    reads.add(["environment"].into_iter());
    let address = |value: &Value| std::ptr::from_ref(value["environment"].as_object().unwrap());
    read(full()).with_input(|input| {
        let (first, second) = (document(input, &reads).unwrap(), document(input, &reads).unwrap());
        assert_eq!(address(&first), address(&second));
        assert_eq!(address(&first), address(&whole(input)));
    });
}

fn json_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (-9.0..9.0_f64).prop_map(Json::from),
        "[a-c]{0,2}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from), object_of(inner),]
    })
}

fn object_of(inner: impl Strategy<Value = Json>) -> impl Strategy<Value = Json> {
    prop::collection::vec(("[a-c.]{0,2}", inner), 0..4)
        .prop_map(|members| Json::Object(members.into_iter().collect()))
}

fn path() -> impl Strategy<Value = Vec<String>> {
    let start = prop::sample::select(vec![
        "object.attributes",
        "object.attributes",
        "subject.user",
        "subject.task",
        "subject.trust_score",
        "subject",
        "object.id",
        "object",
        "environment",
        "environment.parent_hashes",
        "environment.trust_override",
        "environment.source_type",
        "identity",
        "trust_score",
        "nothing",
    ]);
    (start, prop::collection::vec("[a-c.]{0,2}", 0..4))
        .prop_map(|(start, rest)| start.split('.').map(str::to_owned).chain(rest).collect())
}

/// As the machine follows a reference.
fn follow(document: &Value, path: &[String]) -> Value {
    path.iter().fold(document.clone(), |value, name| value[&Value::from(name.as_str())].clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// Whatever is read is there, however much else is left out.
    #[test]
    fn a_path_that_is_read_leads_to_what_it_leads_to_in_the_whole(
        attributes in object_of(json_value()),
        user in object_of(json_value()),
        paths in prop::collection::vec(path(), 0..5),
    ) {
        let mut given = full();
        given["object"]["attributes"] = attributes;
        given["subject"]["user"] = user;
        let mut reads = Reads::NOTHING;
        paths.iter().for_each(|path| reads.add(path.iter().map(String::as_str)));
        read(given).with_input(|input| {
            let (part, whole) = (document(input, &reads).unwrap(), whole(input));
            for path in &paths {
                for end in 0..=path.len() {
                    // On the way there is something wherever there is something in the whole, and of the same type.
                    let (ours, theirs) = (follow(&part, &path[..end]), follow(&whole, &path[..end]));
                    prop_assert_eq!(std::mem::discriminant(&ours), std::mem::discriminant(&theirs), "{:?}", &path[..end]);
                }
                prop_assert_eq!(follow(&part, path), follow(&whole, path), "{:?}", path);
            }
            Ok(())
        })?;
    }
}
