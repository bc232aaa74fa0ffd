//! `AvpEngine` with Verified Permissions as fakecloud plays it. Spec §11.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod cli;
mod store;

use std::time::Duration;

use kest::conformance::policy::{check_with, samples};
use kest::error::PolicyErrorKind;
use kest::policy::{AvpEngine, CedarEngine, InputDocument, Router};
use kest_lab::{Verdict, agree, ask, is_whole, library, library_folder, statements};
use serde_json::json;

use crate::store::{Cloud, REGION};

/// How long an answer may take where the time is not the subject: the machine may be a busy one.
const PATIENT: Duration = Duration::from_secs(30);

fn engine(cloud: &Cloud, store: &str) -> AvpEngine {
    cloud.engine(store).timeout(PATIENT).build().unwrap()
}

fn score(score: u8) -> InputDocument {
    serde_json::from_value(json!({"trust_score": score})).unwrap()
}

#[test]
fn the_suite_of_engines_passes() {
    let Some(cloud) = Cloud::start() else { return };
    let store = cloud.store();
    for sample in samples() {
        cloud.add(&store, &statements(sample.name, sample.cedar));
    }
    check_with(engine(&cloud, &store), 1).unwrap();
}

#[test]
fn the_policy_library_decides_as_it_does_embedded() {
    let Some(cloud) = Cloud::start() else { return };
    let store = cloud.store();
    let library = library();
    is_whole(&library);
    for shipped in &library {
        cloud.add(&store, &statements(&shipped.name, shipped.cedar.as_ref().unwrap()));
    }
    let engine = engine(&cloud, &store);
    let embedded = CedarEngine::from_dir(library_folder()).unwrap();
    for shipped in &library {
        agree(&shipped.name, &shipped.cases, &engine, &embedded);
    }
}

#[test]
fn policies_that_fail_decide_nothing() {
    let Some(cloud) = Cloud::start() else { return };
    let store = cloud.store();
    let texts = [
        "permit(principal, action == Action::\"gate/score\", resource);",
        "forbid(principal, action == Action::\"gate/score\", resource) when { context.object.attributes.secret };",
    ];
    cloud.add(&store, &texts.map(|text| (String::new(), text.to_owned())));
    let engine = engine(&cloud, &store);
    let with = |attributes| serde_json::from_value(json!({"object": {"attributes": attributes}})).unwrap();
    // The store itself says `ALLOW` to the first and the second.
    for (attributes, wanted) in [
        (json!({}), Verdict::Error(PolicyErrorKind::Evaluation)),
        (json!({"secret": "yes"}), Verdict::Error(PolicyErrorKind::Evaluation)),
        (json!({"secret": true}), Verdict::Deny),
        (json!({"secret": false}), Verdict::Allow),
        (json!({"secret": false, "ratio": 0.5}), Verdict::Error(PolicyErrorKind::Input)),
    ] {
        let answer = ask(&engine, "gate/score", &with(attributes.clone()));
        assert_eq!(Verdict::from(&answer), wanted, "{attributes}: {answer:?}");
    }
}

#[test]
fn what_is_wrong_with_the_store_or_the_caller_has_an_error_of_its_own() {
    let Some(cloud) = Cloud::start() else { return };
    let store = cloud.store();
    let nobody = engine(&cloud, "PSnobody00000000000000");
    let error = ask(&nobody, "gate/score", &score(40)).unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::UnknownPolicy, "{error}");
    assert!(error.to_string().contains("no policy store `PSnobody00000000000000`"), "{error}");

    // An empty store says DENY to everything; that is no policy's own no.
    let error = ask(&engine(&cloud, &store), "gate/score", &score(40)).unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::UnknownPolicy, "{error}");

    let stranger = cloud.stranger(&store).timeout(PATIENT).build().unwrap();
    let error = ask(&stranger, "gate/score", &score(40)).unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::Refused, "{error}");
    assert!(!format!("{error} {error:?} {stranger:?}").contains(store::WRONG_SECRET), "{error}");
}

#[test]
fn a_list_that_does_not_say_for_what_its_policies_are_makes_no_name_unknown_and_none_allowed() {
    let Some(cloud) = Cloud::start() else { return };
    let store = cloud.store();
    let text = "permit(principal, action == Action::\"gate/score\", resource);";
    cloud.add(&store, &[(String::new(), text.to_owned())]);
    let told = engine(&cloud, &store);
    assert_eq!(Verdict::from(&ask(&told, "gate/score", &score(40))), Verdict::Allow);
    let unknown = Verdict::Error(PolicyErrorKind::UnknownPolicy);
    assert_eq!(Verdict::from(&ask(&told, "gate/scores", &score(40))), unknown);
    let untold = cloud.bare_engine(&store).timeout(PATIENT).build().unwrap();
    assert_eq!(Verdict::from(&ask(&untold, "gate/score", &score(40))), Verdict::Allow);
    assert_eq!(Verdict::from(&ask(&untold, "gate/scores", &score(40))), Verdict::Deny);
}

#[test]
fn a_cloud_that_is_gone_is_a_broken_connection() {
    let Some(cloud) = Cloud::start() else { return };
    let store = cloud.store();
    let text = "permit(principal, action == Action::\"gate/score\", resource);";
    cloud.add(&store, &[(String::new(), text.to_owned())]);
    let engine = engine(&cloud, &store);
    assert_eq!(Verdict::from(&ask(&engine, "gate/score", &score(40))), Verdict::Allow);
    cloud.stop();
    // Straight to where it was: the proxy would still take the connection.
    let engine = cloud.bare_engine(&store).timeout(PATIENT).build().unwrap();
    let error = ask(&engine, "gate/score", &score(40)).unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::Connection, "{error}");
}

#[test]
fn a_router_sends_names_to_the_store_and_to_the_process() {
    let Some(cloud) = Cloud::start() else { return };
    let store = cloud.store();
    let text = |name: &str, score: u8| {
        format!(
            "permit(principal, action == Action::\"{name}\", resource) \
             when {{ context[\"subject.trust_score\"] >= {score} }};"
        )
    };
    cloud.add(
        &store,
        &[(String::new(), text("payments/large", 60)), (String::new(), text("orders/small", 0))],
    );
    let embedded = CedarEngine::from_sources([("orders/small", text("orders/small", 20))]).unwrap();
    let router = Router::builder()
        .route("payments", engine(&cloud, &store))
        .route("orders", embedded)
        .build()
        .unwrap();
    for (policy, given, wanted) in [
        ("payments/large", 60, Verdict::Allow),
        ("payments/large", 59, Verdict::Deny),
        ("orders/small", 20, Verdict::Allow),
        ("orders/small", 19, Verdict::Deny),
        ("stock/any", 100, Verdict::Error(PolicyErrorKind::UnknownPolicy)),
    ] {
        assert_eq!(
            Verdict::from(&ask(&router, policy, &score(given))),
            wanted,
            "{REGION}: `{policy}` with {given}"
        );
    }
}
