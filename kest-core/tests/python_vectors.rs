//! Passports made by the Python implementation (`tests/vectors/python`): the good ones are accepted with what is odd
//! about them listed, the bad ones refused for what is bad about them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;

use kest_core::jws::Algorithm;
use kest_core::verify::{
    Anchors, Step, UnverifiedPassport, Verdict, VerifiedPassport, Verifier, VerifierBuilder, VerifyError,
    VerifyFailure,
};

fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/python");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn builder(name: &str) -> VerifierBuilder {
    let anchors = Anchors::from_json(read(&format!("{name}.anchors.json")).as_bytes()).unwrap();
    Verifier::builder().keys(anchors)
}

fn verify(name: &str) -> Result<VerifiedPassport, VerifyError> {
    let passport = UnverifiedPassport::deserialize(&read(&format!("{name}.passport.json"))).unwrap();
    passport.verify(&builder(name).build())
}

fn findings(passport: &VerifiedPassport) -> Vec<(Option<usize>, &str)> {
    passport.report().findings.iter().map(|finding| (finding.entry, finding.text.as_str())).collect()
}

const NO_SOURCE: &str =
    "no trust source is recorded: bounded by parents and ceilings alone, not checked (entries: 1)";

#[test]
fn one_hop() {
    let passport = verify("hop1").unwrap();
    assert_eq!(findings(&passport), [(Some(0), NO_SOURCE)]);
    let report = passport.report();
    assert_eq!(report.signatures.verdict, Verdict::Pass);
    assert_eq!(report.links.verdict, Verdict::Pass);
    assert_eq!(report.identity.verdict, Verdict::Pass);
    assert_eq!(report.semantics.verdict, Verdict::NotChecked);
    assert_eq!(report.completeness.verdict, Verdict::NotChecked);
    assert_eq!(report.time.verdict, Verdict::NotChecked);
}

#[test]
fn one_hop_without_a_trace() {
    let passport = verify("hop1_no_sdk").unwrap();
    assert_eq!(findings(&passport), [(Some(0), "label `trace_id` is missing"), (Some(0), NO_SOURCE)]);
}

#[test]
fn three_hops() {
    let passport = verify("hop3").unwrap();
    assert_eq!(findings(&passport), [(Some(0), NO_SOURCE)]);
    assert_eq!(passport.entries().len(), 3);
    assert_eq!(passport.tips().len(), 1);
    let text = read("hop3.passport.json");
    let compact: Vec<String> = serde_json::from_str(&text).unwrap();
    assert_eq!(passport.passport().serialize(), serde_json::to_string(&compact).unwrap());
}

#[test]
fn a_fan_in_has_unsorted_taints() {
    let passport = verify("fan_in").unwrap();
    let unsorted = "`taints` is not sorted, or names a taint twice";
    let found = findings(&passport);
    assert_eq!(found[..2], [(Some(2), unsorted), (Some(3), unsorted)]);
    assert_eq!(found.len(), 3);
    let tips = passport.tips();
    assert_eq!(tips[0].trust_score(), 60);
    assert_eq!(tips[0].taints().iter().map(|taint| &**taint).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn taints_come_back_after_they_were_removed() {
    let passport = verify("taints").unwrap();
    let found = findings(&passport);
    // Entry 0 added it, and entry 2 removed it: to carry it on is the safe direction, so no mode refuses it.
    let carried = "carries on what an earlier entry had and its parents have not: taint `user_input`";
    assert!(found.contains(&(Some(3), carried)), "{found:?}");
    let removed = "a foreign entry removes taints on its word alone, among them `user_input`";
    assert!(found.contains(&(Some(2), removed)), "{found:?}");
    assert!(found.contains(&(Some(0), "`added_taints` is not sorted, or names a taint twice")));
    let text = read("taints.passport.json");
    let strict = UnverifiedPassport::deserialize(&text).unwrap().verify(&builder("taints").strict().build());
    assert!(findings(&strict.unwrap()).contains(&(Some(3), carried)));
}

#[test]
fn the_mock_algorithm_is_refused_by_name() {
    let error = verify("alg_mock").unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::Algorithm { name } if name == "mock"), "{error}");
    assert_eq!((error.entry(), error.step()), (Some(0), Step::Parse));
    assert!(error.to_string().contains("`mock`"), "{error}");
}

#[test]
fn an_rsa_key_under_the_name_of_another_algorithm_is_refused() {
    let error = verify("spire_rsa").unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::AlgorithmMismatch { alg: Algorithm::EdDsa }), "{error}");
    assert_eq!(error.step(), Step::Signatures);
}

#[test]
fn a_changed_payload_is_refused() {
    let error = verify("neg_payload_tampered").unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::Signature), "{error}");
    assert_eq!((error.entry(), error.step()), (Some(1), Step::Signatures));
    assert_eq!(error.report().signatures.verdict, Verdict::Fail);
    assert_eq!(error.report().links.verdict, Verdict::Pass);
    assert_eq!(error.report().semantics.verdict, Verdict::NotChecked);
}

#[test]
fn another_order_is_refused() {
    let error = verify("neg_reordered").unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::UnknownParent { .. }), "{error}");
    assert_eq!((error.entry(), error.step()), (Some(0), Step::Links));
}

#[test]
fn a_missing_front_is_refused() {
    let error = verify("neg_truncated_front").unwrap_err();
    let VerifyFailure::UnknownParent { parent } = error.failure() else { panic!("{error}") };
    assert_eq!(parent, "0a5e63345d7392ce11a14cf253303113abb9fb0d82b92eaf7d43ecba21ee5a1f");
    assert_eq!((error.entry(), error.step()), (Some(0), Step::Links));
}
