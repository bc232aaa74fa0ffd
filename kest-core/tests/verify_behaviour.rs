//! What a verified passport says: effective scores and taints, findings, axes, keys and certificates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;

use std::time::Duration;

use kest_core::canonical;
use kest_core::jws::{Algorithm, EncodedHeader};
use kest_core::keys::{Jwk, Jwks, MOCK_KEY, hmac_sha256, mock_kid};
use kest_core::verify::{
    Anchors, Authority, FnKeySource, Grant, Limits, UnverifiedPassport, Verdict, VerifiedPassport, Verifier,
    VerifierBuilder, VerifyFailure,
};
use serde_json::{Value, json};
use verify_support::{NOW_MS, Workload, entry_id, passport};

fn authority(builder: VerifierBuilder, grant: Grant) -> VerifierBuilder {
    builder.authority(Authority::new([("spiffe://example.org", grant)]).unwrap())
}

fn taints(passport: &VerifiedPassport) -> Vec<String> {
    passport.tips()[0].taints().iter().map(ToString::to_string).collect()
}

#[test]
fn a_score_over_the_ceiling_is_lowered_and_stays_low() {
    let w = Workload::new(1);
    let chain = w.chain(3);
    let builder = authority(Verifier::builder().keys(w.anchors()), Grant { ceiling: 55, ..Grant::own() });
    let verified = passport(&chain).verify(&builder.build()).unwrap();
    assert_eq!(verified.entries()[2].trust_score, 80, "what the entry says");
    assert_eq!(verified.tips()[0].trust_score(), 55, "what it is worth");
    assert_eq!(verified.report().findings.len(), 6, "each is lowered, and counts for less");
    assert!(verified.report().findings[0].text.contains("over the principal's ceiling of 55"));
}

#[test]
fn a_system_root_by_a_partner_is_worth_what_nobody_vouches_for() {
    let w = Workload::new(1);
    let builder = authority(Verifier::builder().keys(w.anchors()), Grant::federated());
    let now = NOW_MS + 10;
    let builder = builder.ingress(now, Duration::from_secs(600), Duration::from_secs(5));
    let verified = passport(&w.chain(2)).verify(&builder.build()).unwrap();
    assert_eq!(verified.tips()[0].trust_score(), 10);
}

#[test]
fn an_override_counts_only_with_authority() {
    let w = Workload::new(1);
    let mut low = w.root(0);
    low["metadata"]["trust"]["source_type"] = json!("internet");
    low["trust_score"] = json!(10);
    let low = w.sign(&low);
    let mut raised = w.child(1, &[&low]);
    raised["metadata"]["trust"]["override"] = json!(60);
    raised["trust_score"] = json!(60);
    let raised = w.sign(&raised);
    let mut after = w.child(2, &[&raised]);
    after["trust_score"] = json!(60);
    let after = w.sign(&after);
    let entries = [&low, &raised, &after];
    let may = passport(&entries).verify(&Verifier::new(w.anchors())).unwrap();
    assert_eq!(may.tips()[0].trust_score(), 60);
    let builder =
        authority(Verifier::builder().keys(w.anchors()), Grant { may_override: false, ..Grant::own() });
    let may_not = passport(&entries).verify(&builder.build()).unwrap();
    assert_eq!(may_not.tips()[0].trust_score(), 10);
}

#[test]
fn a_taint_removed_without_authority_stays() {
    let w = Workload::new(1);
    let mut dirty = w.root(0);
    dirty["added_taints"] = json!(["pii"]);
    dirty["taints"] = json!(["pii"]);
    let dirty = w.sign(&dirty);
    let mut clean = w.child(1, &[&dirty]);
    clean["classification"] = json!("sanitizer");
    clean["removed_taints"] = json!(["pii"]);
    let clean = w.sign(&clean);
    let entries = [&dirty, &clean];
    let may = passport(&entries).verify(&Verifier::new(w.anchors())).unwrap();
    assert!(taints(&may).is_empty());
    let builder =
        authority(Verifier::builder().keys(w.anchors()), Grant { may_remove_taints: false, ..Grant::own() });
    let verifier = builder.build();
    let may_not = passport(&entries).verify(&verifier).unwrap();
    assert_eq!(taints(&may_not), ["pii"]);
    // Whoever continues from there carries it on, and verifies under the same authority.
    let mut after = w.child(2, &[&clean]);
    after["taints"] = json!(["pii"]);
    let after = w.sign(&after);
    assert_eq!(taints(&passport(&[&dirty, &clean, &after]).verify(&verifier).unwrap()), ["pii"]);
}

#[test]
fn a_taint_a_foreign_entry_drops_stays() {
    let w = Workload::new(1);
    let mut dirty = w.root(0);
    dirty["added_taints"] = json!(["pii"]);
    dirty["taints"] = json!(["pii"]);
    let dirty = w.sign(&dirty);
    let dropped = w.sign(&Workload::foreign(w.child(1, &[&dirty])));
    let verified = passport(&[&dirty, &dropped]).verify(&Verifier::new(w.anchors())).unwrap();
    assert_eq!(taints(&verified), ["pii"]);
    assert_eq!(verified.report().semantics.verdict, Verdict::NotChecked);
}

#[test]
fn trust_a_foreign_entry_raises_is_not_believed() {
    let w = Workload::new(1);
    let root = w.sign(&w.root(0));
    let mut raised = Workload::foreign(w.child(1, &[&root]));
    raised["trust_score"] = json!(100);
    let raised = w.sign(&raised);
    let verified = passport(&[&root, &raised]).verify(&Verifier::new(w.anchors())).unwrap();
    assert_eq!(verified.tips()[0].trust_score(), 80);
    assert!(verified.report().findings[0].text.contains("tolerated in a foreign entry: trust score 100"));
}

#[test]
fn sources_the_verifier_does_not_know_are_not_checked() {
    let w = Workload::new(1);
    let mut root = w.root(0);
    root["metadata"]["trust"]["source_type"] = json!("fax");
    root["trust_score"] = json!(90);
    let root = w.sign(&root);
    let verified = passport(&[&root]).verify(&Verifier::new(w.anchors())).unwrap();
    assert_eq!(verified.report().semantics.verdict, Verdict::NotChecked);
    assert!(verified.report().findings[0].text.contains("trust source `fax` is not known here"));
    let knows = |score| Verifier::builder().keys(w.anchors()).source("fax", score).unwrap().build();
    assert_eq!(passport(&[&root]).verify(&knows(90)).unwrap().report().semantics.verdict, Verdict::Pass);
    let error = passport(&[&root]).verify(&knows(20)).unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::RaisedTrust { score: 90, bound: 20 }), "{error}");
    assert!(Verifier::builder().source("llm", 90).is_err());
    assert!(Verifier::builder().source("fax", 101).is_err());
}

#[test]
fn the_formula_of_the_public_specification_multiplies() {
    let w = Workload::new(1);
    let mut root = w.root(0);
    root["metadata"]["trust"] =
        json!({"model": "spec_v0_3", "override": null, "source_type": "verified_rag"});
    root["trust_score"] = json!(90);
    let root = w.sign(&root);
    let child = |score: u8| {
        let mut child = w.child(1, &[&root]);
        child["metadata"]["trust"] =
            json!({"model": "spec_v0_3", "override": null, "source_type": "third_party_api"});
        child["trust_score"] = json!(score);
        w.sign(&child)
    };
    let verdict = |score| passport(&[&root, &child(score)]).verify(&Verifier::new(w.anchors()));
    assert!(verdict(54).is_ok());
    assert!(verdict(53).is_ok(), "less than the model gives is no claim");
    assert!(matches!(
        verdict(55).unwrap_err().failure(),
        VerifyFailure::RaisedTrust { score: 55, bound: 54 }
    ));
}

#[test]
fn a_completion_completes_an_ancestor_of_its_own_principal() {
    let (a, b) = (Workload::new(1), Workload::new(2));
    let mut anchors = a.anchors();
    anchors.merge(b.anchors()).unwrap();
    let root = a.sign(&a.root(0));
    let aside = a.sign(&a.root(1));
    let middle = b.sign(&b.child(2, &[&root]));
    let completion = |of: u64| {
        let mut payload = a.child(3, &[&middle]);
        payload["classification"] = json!("completion");
        payload["metadata"]["completes"] = json!(entry_id(of));
        payload["metadata"]["outcome"] = json!("error");
        payload["metadata"]["policies"] = json!({});
        payload["policy_context"]["function_policies"] = json!([]);
        a.sign(&payload)
    };
    let verdict =
        |of| passport(&[&root, &aside, &middle, &completion(of)]).verify(&Verifier::new(anchors.clone()));
    assert!(verdict(0).is_ok());
    for (of, whose) in [(1, "no ancestor"), (2, "of another principal"), (3, "itself"), (9, "nobody")] {
        let error = verdict(of).unwrap_err();
        assert!(matches!(error.failure(), VerifyFailure::Completes { .. }), "{whose}: {error}");
    }
}

#[test]
fn a_foreign_kid_is_only_a_hint() {
    let (a, b) = (Workload::new(1), Workload::new(2));
    let keys = Jwks(vec![b.jwk(), a.jwk()]);
    let mut anchors = Anchors::new();
    anchors.insert(&a.id, keys).unwrap();
    let payload = Workload::foreign(a.root(0));
    for kid in [
        format!(r#","kid":"{}""#, a.id),
        String::new(),
        format!(r#","kid":"{}""#, a.jwk().thumbprint()),
        format!(r#","kid":"{}""#, b.jwk().thumbprint()),
    ] {
        let jws = a.sign_with_header(&format!(r#"{{"alg":"EdDSA"{kid}}}"#), &payload);
        let verdict = passport(&[jws]).verify(&Verifier::new(anchors.clone()));
        assert!(verdict.is_ok(), "{kid}: {}", verdict.unwrap_err());
    }
}

#[test]
fn signatures_of_another_algorithm_never_pass() {
    let w = Workload::new(1);
    let p256 = json!({
        "kty": "EC", "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    });
    let jwk = Jwk::from_json(&p256).unwrap();
    let kid = jwk.thumbprint();
    let verifier = Verifier::new(FnKeySource::new(move |_: &str| Ok(Some(Jwks(vec![jwk.clone()])))));
    let jws = w.sign_with_header(&format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWS"}}"#), &w.root(0));
    let error = passport(&[jws]).verify(&verifier).unwrap_err();
    let refused = if cfg!(feature = "aws-lc") {
        matches!(error.failure(), VerifyFailure::Signature)
    } else {
        error.to_string().contains("feature `aws-lc`")
            && matches!(error.failure(), VerifyFailure::UnsupportedAlgorithm { alg: Algorithm::Es256 })
    };
    assert!(refused, "{error}");
}

#[test]
fn mock_entries_say_so() {
    let w = Workload::new(1);
    let header = EncodedHeader::new(Algorithm::Hs256, mock_kid());
    let payload = canonical::to_vec(&w.root(0)).unwrap();
    let jws = header.sign(&payload, |input| Ok::<_, ()>(hmac_sha256(MOCK_KEY, input))).unwrap();
    let verifier = Verifier::builder().dangerous().accept_mock().build();
    let verified = passport(&[&jws]).verify(&verifier).unwrap();
    assert_eq!(verified.report().identity.verdict, Verdict::NotChecked);
    let forged = header.sign(&payload, |input| Ok::<_, ()>(hmac_sha256(b"another key", input))).unwrap();
    assert!(matches!(
        passport(&[&forged]).verify(&verifier).unwrap_err().failure(),
        VerifyFailure::Signature
    ));
    // A stranger with a real key is a stranger still.
    let error = passport(&w.chain(1)).verify(&verifier).unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::UnknownPrincipal { .. }), "{error}");
}

#[test]
fn an_empty_passport_says_that_nothing_is_attested() {
    let verified = UnverifiedPassport::new().verify(&Verifier::builder().build()).unwrap();
    let report = verified.report();
    assert!(report.axes().iter().all(|(_, axis)| axis.verdict == Verdict::NotChecked));
    assert!(report.to_string().starts_with("an empty passport: nothing is attested"));
    assert!(verified.passport().is_empty());
}

#[test]
fn the_report_is_json_with_an_axis_each() {
    let w = Workload::new(1);
    let chain = w.chain(2);
    let builder = Verifier::builder().keys(w.anchors()).expected_tip(&chain[1].hash_hex()).unwrap();
    let verified = passport(&chain).verify(&builder.build()).unwrap();
    let report = serde_json::to_value(verified.report()).unwrap();
    let verdicts = ["signatures", "links", "identity", "semantics", "completeness", "time"]
        .map(|axis| report[axis]["verdict"].as_str().unwrap().to_owned());
    assert_eq!(verdicts, ["pass", "pass", "pass", "pass", "pass", "not checked"]);
    assert!(report["time"]["reason"].as_str().unwrap().contains("asserted time"));
    assert_eq!(report["entries"], 2);
    assert!(!verified.report().to_string().contains("valid"));
}

#[test]
fn limits_are_kept() {
    let w = Workload::new(1);
    let chain = w.chain(257);
    let ingress = |limits: Limits| {
        let builder = Verifier::builder().keys(w.anchors()).limits(limits);
        builder.ingress(NOW_MS + 300, Duration::from_secs(600), Duration::ZERO).build()
    };
    let error = passport(&chain).verify(&ingress(Limits::default())).unwrap_err();
    assert!(
        matches!(error.failure(), VerifyFailure::TooManyEntries { found: 257, limit: 256, .. }),
        "{error}"
    );
    assert!(passport(&chain[..256]).verify(&ingress(Limits::default())).is_ok());
    assert!(passport(&chain).verify(&Verifier::new(w.anchors())).is_ok());
    let mut limits = Limits::default();
    limits.ingress_entries = 300;
    assert!(passport(&chain).verify(&ingress(limits.clone())).is_ok());
    limits.entries = 5;
    assert!(passport(&chain[..6]).verify(&ingress(limits)).is_err());
}

#[test]
fn a_verifier_moves_with_the_clock() {
    let w = Workload::new(1);
    let builder = Verifier::builder().keys(w.anchors());
    let verifier = builder.ingress(NOW_MS, Duration::from_secs(600), Duration::ZERO).build();
    assert!(passport(&w.chain(1)).verify(&verifier).is_ok());
    let late = verifier.at(NOW_MS + 600_001);
    assert!(matches!(
        passport(&w.chain(1)).verify(&late).unwrap_err().failure(),
        VerifyFailure::TooOld { .. }
    ));
    assert!(verifier.expecting("abc").is_err());
}

#[test]
fn authority_goes_by_the_closest_pattern() {
    let grant = |ceiling| Grant { ceiling, ..Grant::own() };
    let authority = Authority::new([
        ("spiffe://example.org", grant(50)),
        ("spiffe://example.org/eu/*", grant(60)),
        ("spiffe://example.org/eu/orders", grant(70)),
        ("arn:aws:sts::123456789012:*", grant(80)),
    ])
    .unwrap();
    let ceiling = |principal: &str| authority.grant(principal).ceiling;
    assert_eq!(ceiling("spiffe://example.org/eu/orders"), 70);
    assert_eq!(ceiling("spiffe://example.org/eu/orders/2"), 60);
    assert_eq!(ceiling("spiffe://example.org/us/orders"), 50);
    assert_eq!(ceiling("spiffe://example.organic/eu/orders"), 0);
    assert_eq!(ceiling("arn:aws:sts::123456789012:assumed-role/a/b"), 80);
    assert_eq!(Authority::default().grant("anybody"), Grant::own());
    for pattern in ["", "*", "spiffe://", "spiffe://*", "spiffe://example.org*", "a*b/*", "a*"] {
        assert!(Authority::new([(pattern, Grant::own())]).is_err(), "{pattern}");
    }
    assert!(Authority::new([("a", Grant::own()), ("a", Grant::none())]).is_err());
    assert!(Authority::new([("a", grant(101))]).is_err());
}

#[test]
fn an_entry_keeps_everything_it_says() {
    let w = Workload::new(1);
    let mut payload = w.root(5);
    payload["policy_context"]["deviations"] =
        json!([{"approver": null, "policy": "a/b", "reason": "legacy", "tier": "platform"}]);
    payload["labels"]["kest.identity"] = json!(r#"{"agent":"a","user":"u"}"#);
    payload["otel_context"] =
        json!({"span_id": "00f067aa0ba902b7", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"});
    payload["input_hash"] = json!("ab".repeat(32));
    let jws = w.sign(&payload);
    let verified = passport(&[&jws]).verify(&Verifier::new(w.anchors())).unwrap();
    let entry = &verified.entries()[0];
    assert_eq!(entry.entry_id.to_string(), entry_id(5));
    assert_eq!((&*entry.operation, entry.principal(), entry.trust_score), ("process", w.id.as_str(), 80));
    assert_eq!(entry.label("kest.identity"), Some(r#"{"agent":"a","user":"u"}"#));
    assert_eq!(entry.policy_context.deviations[0].reason.as_deref(), Some("legacy"));
    assert_eq!(entry.policy_context.deviations[0].approver, None);
    assert_eq!(entry.metadata.as_ref().unwrap().source_type.as_deref(), Some("internal"));
    assert_eq!(entry.input_hash, Some([0xab; 32]));
    assert_eq!(entry.parent_ids(), ["0"]);
    assert!(entry.is_own() && entry.is_root() && entry.departures.is_empty());
    assert_eq!(verified.tips()[0].hash(), jws.hash_hex());
    let foreign = w.sign(&Workload::foreign(payload));
    let verified = passport(&[&foreign]).verify(&Verifier::new(w.anchors())).unwrap();
    assert_eq!(verified.entries()[0].foreign_metadata.as_deref(), Some("null"));
    assert_eq!(verified.entries()[0].metadata, None);
    assert_ne!(Value::Null, json!(verified.report().findings));
}
