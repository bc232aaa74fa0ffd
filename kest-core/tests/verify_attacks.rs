//! Attacks on the verifier, by name. Each must fail, and for its own reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;

use kest_core::error::LineageErrorKind;
use kest_core::keys::{Jwks, KeyError};
use kest_core::verify::{Anchors, FnKeySource, UnverifiedPassport, Verifier, VerifyFailure};
use serde_json::json;
use verify_support::{Workload, cases, name_of, passport};

/// The vector of that name is refused as it says.
fn refused(name: &str) {
    let case = cases::all().into_iter().find(|case| case.name == name).expect("a case of that name");
    assert!(!case.expect.is_null(), "{name} is meant to be accepted");
    let verifier = cases::verifier(&case.anchors, &case.options);
    let error = passport(&case.passport).verify(&verifier).unwrap_err();
    assert_eq!(name_of(error.failure()), case.expect["failure"], "{error}");
    assert_eq!(json!(error.entry()), case.expect["entry"], "{error}");
    assert_eq!(error.step().as_str(), case.expect["step"], "{error}");
}

macro_rules! attacks {
    ($($name:ident),* $(,)?) => { $(#[test] fn $name() { refused(stringify!($name)); })* };
}

attacks!(
    unknown_principal,
    alg_none,
    alg_mock,
    crit_header,
    duplicate_entry,
    repeated_entry_id,
    truncated_front,
    truncated_tail_against_expected_tip,
    spliced_second_root_against_expected_tip,
    parent_ids_empty,
    parent_ids_absent,
    parent_ids_0000,
    raised_trust,
    dropped_taint,
    score_out_of_range,
    bogus_classification_type,
    junk_base64,
    non_canonical_base64,
    fourth_segment,
    non_canonical_payload,
    duplicate_json_keys,
    integer_where_object_belongs,
    list_where_object_belongs,
);

#[test]
fn foreign_header_keys() {
    for name in ["foreign_jwk_header", "foreign_jku_header", "foreign_x5u_header", "foreign_crit_header"] {
        refused(name);
    }
}

#[test]
fn empty_key_map() {
    let w = Workload::new(1);
    let set = json!({ w.id.as_str(): {"keys": []} }).to_string();
    assert!(matches!(
        Anchors::from_json(set.as_bytes()),
        Err(KeyError::Principal { .. } | KeyError::NoKeys { .. })
    ));
    // A source that gives an empty set is wrong, not ignorant.
    let verifier = Verifier::new(FnKeySource::new(|_: &str| Ok(Some(Jwks::default()))));
    let error = passport(&w.chain(1)).verify(&verifier).unwrap_err();
    assert!(
        matches!(error.failure(), VerifyFailure::Keys { source: KeyError::NoKeys { .. }, .. }),
        "{error}"
    );
    // Nobody is anchored: everybody is unknown.
    let nobody = Anchors::from_json(b"{}").unwrap();
    for verifier in [Verifier::new(nobody), Verifier::builder().build()] {
        let error = passport(&w.chain(1)).verify(&verifier).unwrap_err();
        assert!(matches!(error.failure(), VerifyFailure::UnknownPrincipal { .. }), "{error}");
    }
}

#[test]
fn shadowed_principal() {
    let (a, b) = (Workload::new(1), Workload::new(2));
    let key = |w: &Workload| json!({"keys": [w.jwk().to_json()]});
    let twice = format!(r#"{{"{0}":{1},"{0}":{2}}}"#, a.id, key(&a), key(&b));
    assert!(matches!(Anchors::from_json(twice.as_bytes()), Err(KeyError::Shadowed { .. })));
    let mut anchors = a.anchors();
    let other = Anchors::from_json(json!({ a.id.as_str(): key(&b) }).to_string().as_bytes()).unwrap();
    assert!(matches!(anchors.merge(other.clone()), Err(KeyError::Shadowed { .. })));
    // The same between two sources of one verifier.
    let verifier = Verifier::builder().keys(a.anchors()).keys(other).build();
    let error = passport(&a.chain(1)).verify(&verifier).unwrap_err();
    assert!(
        matches!(error.failure(), VerifyFailure::Keys { source: KeyError::Shadowed { .. }, .. }),
        "{error}"
    );
    // The same keys in another order, and under another `kid`, are the same.
    let mut named = a.jwk().to_json();
    named["kid"] = "another".into();
    let set = |keys: serde_json::Value| {
        Anchors::from_json(json!({ a.id.as_str(): {"keys": keys} }).to_string().as_bytes()).unwrap()
    };
    let (one, other) =
        (set(json!([a.jwk().to_json(), b.jwk().to_json()])), set(json!([b.jwk().to_json(), named])));
    passport(&a.chain(1)).verify(&Verifier::builder().keys(one.clone()).keys(other.clone()).build()).unwrap();
    one.clone().merge(other).unwrap();
    let fewer = set(json!([a.jwk().to_json()]));
    assert!(one.clone().merge(fewer).is_err());
}

#[test]
fn a_key_source_that_fails_is_not_an_unknown_principal() {
    let w = Workload::new(1);
    let verifier = Verifier::new(FnKeySource::new(|_: &str| Err(KeyError::Source("no route".into()))));
    let error = passport(&w.chain(1)).verify(&verifier).unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::Keys { source: KeyError::Source(_), .. }), "{error}");
}

#[test]
fn malformed_passport_is_an_error() {
    for text in [
        "",
        " ",
        "null",
        "{}",
        "0",
        "\"\"",
        "[",
        "[\"a\"",
        "[\"a\",]",
        "[1]",
        "[null]",
        "[[\"a\"]]",
        "[\"a\"] []",
        "[\"\\ud800\"]",
        "{\"passport\":[]}",
        "[\"a\" \"b\"]",
        "\u{feff}[]",
    ] {
        let error = UnverifiedPassport::deserialize(text).unwrap_err();
        assert_eq!(error.kind(), LineageErrorKind::Malformed, "{text:?}");
        assert!(error.to_string().contains("JSON array of compact JWS strings"), "{error}");
    }
    assert!(UnverifiedPassport::deserialize(" [ ] ").unwrap().is_empty());
    assert_eq!(UnverifiedPassport::deserialize("[\"a\",\"b\"]").unwrap().serialize(), "[\"a\",\"b\"]");
}

#[test]
fn every_step_runs_over_all_entries_before_the_next() {
    let w = Workload::new(1);
    let stranger = Workload::new(2);
    let chain = w.chain(2);
    let mut schema = w.root(7);
    schema["trust_score"] = json!(101);
    let schema = w.sign(&schema).to_string();
    let strange = stranger.sign(&stranger.root(8)).to_string();
    let forged = stranger.sign(&w.root(9)).to_string();
    let mut raised = w.child(10, &[&chain[0]]);
    raised["trust_score"] = json!(90);
    let raised = w.sign(&raised).to_string();
    let root = chain[0].to_string();
    let orphan = w.sign(&w.child(11, &[&chain[1]])).to_string();
    // From the last step to the first: each one added behind goes before all the others.
    let mut entries = vec![root, raised];
    for (added, name) in [
        (None, "RaisedTrust"),
        (Some(forged), "UnknownKey"),
        (Some(strange), "UnknownPrincipal"),
        (Some(orphan), "UnknownParent"),
        (Some(schema), "Schema/TrustScore"),
        (Some("a.b".to_owned()), "Segments"),
    ] {
        entries.extend(added);
        let error = passport(&entries).verify(&Verifier::new(w.anchors())).unwrap_err();
        assert_eq!(name_of(error.failure()), name, "{error}");
        assert_eq!(error.entry(), Some(entries.len() - 1));
    }
}
