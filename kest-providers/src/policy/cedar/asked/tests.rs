use kest_core::policy::InputDocument;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn document(attributes: &Value) -> InputDocument {
    serde_json::from_value(json!({"trust_score": 40, "object": {"attributes": attributes}})).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What other engines get as JSON is what this one has in types.
    #[test]
    fn the_typed_context_is_that_of_the_json(attributes in cedar_form::tests::attributes()) {
        let document = document(&attributes);
        let input = document.as_input();
        if let Ok(whole) = cedar_form::context(&input) {
            let json = Value::Object(cedar_form::to_json(&whole));
            let read = Context::from_json_value(json, None).unwrap();
            let typed = made(whole.clone()).unwrap();
            for key in whole.keys() {
                prop_assert!(typed.get(key).is_some(), "{}", key);
                prop_assert_eq!(typed.get(key), read.get(key), "{}", key);
            }
            prop_assert_eq!(typed.into_iter().count(), whole.len());
            prop_assert_eq!(read.into_iter().count(), whole.len());
        }
    }
}

#[test]
fn the_whole_context_is_made_once_for_a_call() {
    let types = Types::named().unwrap();
    let document = document(&json!({"a": 1}));
    let input = document.as_input();
    let asked = Asked::of(&input, &types);
    let everything = Wanted::everything();
    asked.request(&input, &everything).unwrap();
    let kept = asked.context.get().map(|kept| kept.get("trust_score"));
    assert!(kept.flatten().is_some());
    // The second time only what is kept counts.
    let other = InputDocument::default();
    let (.., context) = asked.request(&other.as_input(), &everything).unwrap();
    assert_eq!(context.get("trust_score").map(|score| score.to_string()).as_deref(), Some("40"));
}

#[test]
fn an_unfit_input_is_refused_whatever_is_wanted() {
    let types = Types::named().unwrap();
    let document = document(&json!({"a": 1.5}));
    let input = document.as_input();
    for wanted in [Wanted::everything(), Wanted::members(BTreeSet::from(["trust_score".to_owned()]))] {
        let error = Asked::of(&input, &types).request(&input, &wanted).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::Input);
        assert!(error.to_string().starts_with("`object.attributes.a`"), "{error}");
    }
}
