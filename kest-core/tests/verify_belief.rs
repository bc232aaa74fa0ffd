//! What a verified passport is believed: never more than it is worth, and what was not checked is said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;

use std::time::Duration;

use kest_core::jws::{Algorithm, EncodedHeader, Jws};
use kest_core::keys::{MOCK_KEY, hmac_sha256, mock_kid};
use kest_core::verify::{
    Anchors, Authority, Grant, Step, Verdict, VerifiedPassport, Verifier, VerifierBuilder, VerifyFailure,
};
use serde_json::{Value, json};
use verify_support::{NOW_MS, Workload, cases, passport};

fn ingress(builder: VerifierBuilder) -> VerifierBuilder {
    builder.ingress(NOW_MS + 1_000, Duration::from_secs(60), Duration::from_secs(5))
}

fn anchors(workloads: [&Workload; 2]) -> Anchors {
    let mut anchors = workloads[0].anchors();
    anchors.merge(workloads[1].anchors()).unwrap();
    anchors
}

fn findings(verified: &VerifiedPassport) -> Vec<String> {
    verified.report().findings.iter().map(|finding| finding.text.clone()).collect()
}

/// An own root with this trust metadata and score.
fn root(w: &Workload, model: &str, source: &str, score: u8) -> Value {
    let mut root = w.root(0);
    root["metadata"]["trust"] = json!({"model": model, "override": null, "source_type": source});
    root["trust_score"] = json!(score);
    root
}

/// A root that adds `pii`, and a sanitiser that removes it.
fn sanitised(w: &Workload) -> [Jws; 2] {
    let mut dirty = w.root(0);
    dirty["added_taints"] = json!(["pii"]);
    dirty["taints"] = json!(["pii"]);
    let dirty = w.sign(&dirty);
    let mut clean = w.child(1, &[&dirty]);
    clean["classification"] = json!("sanitizer");
    clean["removed_taints"] = json!(["pii"]);
    [dirty, w.sign(&clean)]
}

#[test]
fn what_goes_beyond_authority_is_no_pass() {
    let w = Workload::new(1);
    let authority =
        Authority::new([("spiffe://example.org", Grant { ceiling: 10, ..Grant::own() })]).unwrap();
    let verifier = Verifier::builder().keys(w.anchors()).authority(authority).build();
    let verified = passport(&w.chain(2)).verify(&verifier).unwrap();
    let semantics = &verified.report().semantics;
    assert_eq!(semantics.verdict, Verdict::NotChecked);
    assert!(semantics.reason.contains("beyond authority: 2"), "{}", semantics.reason);
    assert!(!semantics.reason.contains("no authority rules"), "{}", semantics.reason);
}

#[test]
fn what_counts_is_told_from_what_is_declared() {
    let (a, b) = (Workload::new(1), Workload::new(2));
    let [dirty, clean] = sanitised(&a);
    let after = b.sign(&b.child(2, &[&clean]));
    let grants = [
        (a.id.clone(), Grant { ceiling: 10, may_remove_taints: false, ..Grant::own() }),
        (b.id.clone(), Grant::own()),
    ];
    let builder = Verifier::builder().keys(anchors([&a, &b])).authority(Authority::new(grants).unwrap());
    let verified = passport(&[&dirty, &clean, &after]).verify(&builder.build()).unwrap();
    let declared: Vec<u8> = verified.entries().iter().map(|entry| entry.trust_score).collect();
    let counts: Vec<u8> = verified.effective().iter().map(|effective| effective.trust_score).collect();
    assert_eq!((declared, counts), (vec![80; 3], vec![10; 3]));
    let taints: Vec<usize> = verified.effective().iter().map(|effective| effective.taints.len()).collect();
    assert_eq!(taints, [1, 1, 1]);
    // The last entry did nothing wrong, and still counts for less than it says.
    let last: Vec<&str> = verified
        .report()
        .findings
        .iter()
        .filter(|finding| finding.entry == Some(2))
        .map(|finding| finding.text.as_str())
        .collect();
    assert_eq!(last, ["declares trust score 80, and counts as 10", "counts as tainted with `pii` too"]);
}

#[test]
fn an_evaluator_of_the_signers_own_is_not_checked() {
    let w = Workload::new(1);
    let first = w.sign(&root(&w, "guide", "system", 100));
    let mut child = w.child(1, &[&first]);
    child["metadata"]["trust"] = json!({"model": "guide/x", "override": null, "source_type": "adversarial"});
    child["trust_score"] = json!(100);
    let verifier = Verifier::builder().keys(w.anchors()).strict().build();
    let verified = passport(&[&first, &w.sign(&child)]).verify(&verifier).unwrap();
    assert_eq!(verified.report().semantics.verdict, Verdict::NotChecked);
    assert!(findings(&verified)[0].starts_with("trust evaluator `guide/x` is the signer's own"));
}

#[test]
fn a_foreign_removal_is_a_finding() {
    let w = Workload::new(1);
    let mut dirty = w.root(0);
    dirty["added_taints"] = json!(["pii"]);
    dirty["taints"] = json!(["pii"]);
    let dirty = w.sign(&dirty);
    let mut clean = Workload::foreign(w.child(1, &[&dirty]));
    clean["removed_taints"] = json!(["pii"]);
    let verified = passport(&[&dirty, &w.sign(&clean)]).verify(&Verifier::new(w.anchors())).unwrap();
    assert!(findings(&verified)[0].contains("removes taints on its word alone, among them `pii`"));
}

#[test]
fn believing_everybody_is_said_and_counted() {
    let w = Workload::new(1);
    let [dirty, clean] = sanitised(&w);
    let mut raised = w.child(2, &[&clean]);
    raised["metadata"]["trust"]["override"] = json!(95);
    raised["trust_score"] = json!(95);
    let verified = passport(&[&dirty, &clean, &w.sign(&raised)]).verify(&Verifier::new(w.anchors())).unwrap();
    let semantics = &verified.report().semantics;
    assert_eq!(semantics.verdict, Verdict::Pass);
    let expected = "no authority rules were given; overrides believed: 1, removals believed: 1";
    assert!(semantics.reason.ends_with(expected), "{}", semantics.reason);
}

#[test]
fn mock_signatures_are_no_pass() {
    let w = Workload::new(1);
    let header = EncodedHeader::new(Algorithm::Hs256, mock_kid());
    let payload = kest_core::canonical::to_vec(&w.root(0)).unwrap();
    let jws = header.sign(&payload, |input| Ok::<_, ()>(hmac_sha256(MOCK_KEY, input))).unwrap();
    let verified = passport(&[&jws]).verify(&Verifier::builder().dangerous().accept_mock().build()).unwrap();
    let signatures = &verified.report().signatures;
    assert_eq!(signatures.verdict, Verdict::NotChecked);
    assert_eq!(signatures.reason, "mock signatures prove nothing: 1 of 1 entries have one");
}

#[test]
fn a_source_of_another_model_keeps_its_score() {
    let w = Workload::new(1);
    for (model, source, bound) in [("spec_v0_3", "adversarial", 0), ("spec_v0_3", "third_party", 30)] {
        let verdict = |score| {
            let entry = w.sign(&root(&w, model, source, score));
            passport(&[entry]).verify(&Verifier::new(w.anchors()))
        };
        assert_eq!(verdict(bound).unwrap().report().semantics.verdict, Verdict::Pass);
        let error = verdict(bound + 1).unwrap_err();
        assert!(
            matches!(error.failure(), VerifyFailure::RaisedTrust { bound: b, .. } if *b == bound),
            "{error}"
        );
    }
}

#[test]
fn the_formula_works_on_what_the_parents_count_for() {
    let (a, b) = (Workload::new(1), Workload::new(2));
    let first = a.sign(&root(&a, "spec_v0_3", "verified_rag", 90));
    let mut child = b.child(1, &[&first]);
    child["metadata"]["trust"] =
        json!({"model": "spec_v0_3", "override": null, "source_type": "third_party_api"});
    child["trust_score"] = json!(54);
    let grants = [(a.id.clone(), Grant::federated()), (b.id.clone(), Grant::own())];
    let builder = Verifier::builder().keys(anchors([&a, &b])).authority(Authority::new(grants).unwrap());
    let verified = passport(&[&first, &b.sign(&child)]).verify(&builder.build()).unwrap();
    assert_eq!(verified.tips()[0].trust_score(), 42, "60 percent of 70");
}

#[test]
fn an_honest_child_of_another_verifiers_authority_is_accepted() {
    let (a, b) = (Workload::new(1), Workload::new(2));
    let [dirty, clean] = sanitised(&a);
    let mut after = b.child(2, &[&clean]);
    after["taints"] = json!(["pii"]);
    let verifier = ingress(Verifier::builder().keys(anchors([&a, &b]))).strict().build();
    let entries = [&dirty, &clean, &b.sign(&after)];
    let verified = passport(&entries).verify(&verifier).unwrap();
    assert_eq!(verified.report().semantics.verdict, Verdict::Pass);
    assert!(
        findings(&verified)[0].contains("its parents have not: taint `pii`"),
        "{:?}",
        findings(&verified)
    );
    assert_eq!(verified.tips()[0].taints().len(), 1);
    after["taints"] = json!(["pii", "raw"]);
    let entries = [&dirty, &clean, &b.sign(&after)];
    let error = passport(&entries).verify(&verifier).unwrap_err();
    assert!(
        matches!(error.failure(), VerifyFailure::UnexplainedTaint { taint } if taint == "raw"),
        "{error}"
    );
}

#[test]
fn a_certificate_chain_that_nobody_validated_is_a_finding() {
    let case = cases::all().into_iter().find(|case| case.name == "accepted_certificate").unwrap();
    let verified = passport(&case.passport).verify(&cases::verifier(&case.anchors, &case.options)).unwrap();
    let finding = "the certificate chain in `x5c` was not validated: only the key of its leaf was compared";
    assert_eq!(findings(&verified), [format!("{finding} (entries: 1)")]);
}

/// What another adds to a lineage that is capped here, and has a taint: an override, and a sanitiser of that taint and
/// of one of its own.
fn goes_on(w: &Workload, other: &Workload) -> (VerifiedPassport, Vec<Jws>) {
    let mut dirty = w.root(0);
    dirty["added_taints"] = json!(["pii"]);
    dirty["taints"] = json!(["pii"]);
    let dirty = w.sign(&dirty);
    let sent = passport(&[&dirty]).verify(&Verifier::new(w.anchors())).unwrap().capped(40);
    let child = |number: u64, parent: &Jws, score: u8, taints: &[&str]| {
        let mut child = other.child(number, &[parent]);
        child["trust_score"] = json!(score);
        child["metadata"]["trust"]["override"] = json!(score);
        child["taints"] = json!(taints);
        child
    };
    let lowered = other.sign(&child(1, &dirty, 20, &["pii"]));
    let mut raised = child(2, &lowered, 90, &["pii", "raw"]);
    raised["added_taints"] = json!(["raw"]);
    let raised = other.sign(&raised);
    let mut clean = child(3, &raised, 30, &[]);
    clean["classification"] = json!("sanitizer");
    clean["removed_taints"] = json!(["pii", "raw"]);
    let clean = other.sign(&clean);
    (sent, vec![dirty, lowered, raised, clean])
}

fn effective(verified: &VerifiedPassport) -> Vec<(u8, Vec<&str>)> {
    let effective = verified.effective().iter();
    effective
        .map(|effective| (effective.trust_score, effective.taints.iter().map(|t| &**t).collect()))
        .collect()
}

#[test]
fn what_goes_on_gains_nothing_where_no_rule_grants_it() {
    let (w, other) = (Workload::new(1), Workload::new(2));
    let (sent, all) = goes_on(&w, &other);
    let verifier = || Verifier::builder().keys(anchors([&w, &other]));
    let verified = passport(&all).verify(&verifier().build().continuing(sent.passport())).unwrap();
    // An override counts up to what was sent; a taint that was sent stays, and one of their own may go.
    let expected = [(40, vec!["pii"]), (20, vec!["pii"]), (40, vec!["pii", "raw"]), (30, vec!["pii"])];
    assert_eq!(effective(&verified), expected);
    let said = findings(&verified).join("; ");
    for part in ["may not override trust", "may not remove taints, and removed `pii`", "counts as 40"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(verified.report().semantics.verdict, Verdict::NotChecked);
    let strict = verifier().strict().build().continuing(sent.passport());
    let error = passport(&all).verify(&strict).unwrap_err();
    assert_eq!((error.entry(), error.step()), (Some(2), Step::Authority));
}

#[test]
fn what_goes_on_may_what_a_rule_grants_it() {
    let (w, other) = (Workload::new(1), Workload::new(2));
    let (sent, all) = goes_on(&w, &other);
    let verify = |grant: Grant| {
        let rules =
            Authority::new([(w.id.as_str(), Grant::federated()), (other.id.as_str(), grant)]).unwrap();
        let verifier = Verifier::builder().keys(anchors([&w, &other])).authority(rules).build();
        passport(&all).verify(&verifier.continuing(sent.passport())).unwrap()
    };
    let granted = [(40, vec!["pii"]), (20, vec!["pii"]), (90, vec!["pii", "raw"]), (30, vec![])];
    assert_eq!(effective(&verify(Grant::own())), granted);
    let refused = [(40, vec!["pii"]), (20, vec!["pii"]), (20, vec!["pii", "raw"]), (20, vec!["pii", "raw"])];
    assert_eq!(effective(&verify(Grant::federated())), refused);
}
