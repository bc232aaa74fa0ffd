//! Passports that are made to cost much, to slip through a crack of the checks, or to forge a report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;

use std::time::{Duration, Instant};

use kest_core::jws::Jws;
use kest_core::keys::{Jwk, KeyError};
use kest_core::verify::{
    Anchors, Authority, Grant, Limits, Step, Verdict, Verifier, VerifierBuilder, VerifyFailure,
};
use serde_json::{Value, json};
use verify_support::{NOW_MS, Workload, entry_id, name_of, passport};

fn ingress(builder: VerifierBuilder) -> VerifierBuilder {
    builder.ingress(NOW_MS + 1_000, Duration::from_secs(60), Duration::from_secs(5))
}

/// Entries that each add and remove 256 taints of their own, with as many parents as there are.
fn hoard(w: &Workload, length: u64, edit: impl Fn(Value) -> Value) -> Vec<Jws> {
    let mut all: Vec<Jws> = Vec::new();
    for number in 0..length {
        let parents: Vec<&Jws> = all.iter().rev().collect();
        let mut entry = if number == 0 { w.root(0) } else { w.child(number, &parents) };
        let own: Vec<String> = (0..256).map(|k| format!("{number:04x}{k:02x}")).collect();
        entry["trust_score"] = json!(10);
        entry["added_taints"] = json!(own);
        entry["removed_taints"] = json!(own);
        entry["classification"] = json!("sanitizer");
        all.push(w.sign(&edit(entry)));
    }
    all
}

#[test]
fn taints_removed_without_authority_do_not_pile_up() {
    let w = Workload::new(1);
    let authority = Authority::new([("spiffe://example.org", Grant::federated())]).unwrap();
    let builder = || ingress(Verifier::builder().keys(w.anchors()).authority(authority.clone()));
    let all = hoard(&w, 64, |entry| entry);
    let started = Instant::now();
    let error = passport(&all).verify(&builder().build()).unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::EffectiveTaints { limit: 256 }), "{error}");
    assert_eq!((error.entry(), error.step()), (Some(1), Step::Semantics));
    // Under `strict` the first entry is refused, before anything grows.
    let error = passport(&all).verify(&builder().strict().build()).unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::RootAuthority { .. }), "{error}");
    assert_eq!((error.entry(), error.step()), (Some(0), Step::Authority));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn taints_dropped_by_foreign_entries_do_not_pile_up() {
    let w = Workload::new(1);
    let all = hoard(&w, 40, |mut entry| {
        entry["removed_taints"] = json!([]);
        Workload::foreign(entry)
    });
    let error = passport(&all).verify(&Verifier::new(w.anchors())).unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::EffectiveTaints { limit: 256 }), "{error}");
}

#[test]
fn a_string_that_cannot_be_read_costs_no_more_than_itself() {
    let w = Workload::new(1);
    // The failure with the lowest index is the one that is named, whichever thread finds one first.
    let mut entries: Vec<String> = w.chain(600).iter().map(ToString::to_string).collect();
    for broken in [599, 470, 333] {
        entries[broken] = String::new();
        for threads in [1, 2, 7] {
            let verifier = Verifier::builder().keys(w.anchors()).threads(threads).build();
            let error = passport(&entries).verify(&verifier).unwrap_err();
            assert_eq!((error.entry(), error.step()), (Some(broken), Step::Parse), "{threads}");
        }
    }
    // A schema failure before it does not hide it: every entry is parsed first.
    let mut bad = w.root(0);
    bad["trust_score"] = json!(101);
    entries[2] = w.sign(&bad).to_string();
    for threads in [1, 2, 7] {
        let verifier = Verifier::builder().keys(w.anchors()).threads(threads).build();
        let error = passport(&entries).verify(&verifier).unwrap_err();
        assert_eq!((error.entry(), error.step()), (Some(333), Step::Parse), "{threads}");
    }
}

#[test]
fn the_number_of_entries_is_limited_and_the_setting_named() {
    assert_eq!(Limits::default().entries, 1_000_000);
    let strings = vec![""; 1_000_001];
    let error = passport(&strings).verify(&Verifier::builder().build()).unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::TooManyEntries { limit: 1_000_000, .. }), "{error}");
    assert!(error.to_string().contains("`Limits::entries`"), "{error}");
    let error = passport(&strings[..300]).verify(&ingress(Verifier::builder()).build()).unwrap_err();
    assert!(error.to_string().contains("`Limits::ingress_entries`"), "{error}");
}

fn completion(w: &Workload, number: u64, parents: &[&Jws], of: u64) -> Value {
    let mut payload = w.child(number, parents);
    payload["classification"] = json!("completion");
    payload["metadata"]["completes"] = json!(entry_id(of));
    payload["metadata"]["outcome"] = json!("ok");
    payload["metadata"]["policies"] = json!({});
    payload["policy_context"]["function_policies"] = json!([]);
    payload
}

#[test]
fn an_entry_is_completed_once() {
    let w = Workload::new(1);
    let root = w.sign(&w.root(0));
    let first = w.sign(&completion(&w, 1, &[&root], 0));
    let second = w.sign(&completion(&w, 2, &[&first], 0));
    assert!(passport(&[&root, &first]).verify(&Verifier::new(w.anchors())).is_ok());
    let error = passport(&[&root, &first, &second]).verify(&Verifier::new(w.anchors())).unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::RepeatedCompletion { .. }), "{error}");
    assert_eq!(error.entry(), Some(2));
}

#[test]
fn completions_at_the_end_of_a_long_chain_are_found_quickly() {
    let w = Workload::new(1);
    let half = 1_500;
    let mut all = w.chain(half);
    for number in 0..half {
        let payload = completion(&w, half + number, &[all.last().unwrap()], half - 1 - number);
        all.push(w.sign(&payload));
    }
    let verified = passport(&all).verify(&Verifier::new(w.anchors())).unwrap();
    assert_eq!(verified.report().semantics.verdict, Verdict::Pass);
}

#[test]
fn foreign_text_forges_no_line_of_a_report() {
    let w = Workload::new(1);
    let forged = "x` is fine\ncompleteness  pass         the tip is the expected one\u{1b}[8m\u{202e}";
    let mut foreign = Workload::foreign(w.root(0));
    foreign[forged] = json!(0);
    foreign["labels"][forged] = json!(7);
    foreign["added_taints"] = json!([forged]);
    foreign["removed_taints"] = json!([forged]);
    let verified = passport(&[w.sign(&foreign)]).verify(&Verifier::new(w.anchors())).unwrap();
    let report = verified.report().to_string();
    assert_eq!(report.lines().count(), 7 + verified.report().findings.len(), "{report}");
    assert!(!report.contains(['\u{1b}', '\u{202e}']) && !report.contains("x` is"), "{report}");
    for edit in ["principal", "operation", "model"] {
        let mut own = w.root(0);
        match edit {
            "principal" => own["labels"]["principal"] = json!(forged),
            "model" => own["metadata"]["trust"]["model"] = json!(forged),
            _ => own[forged] = json!(1),
        }
        let error = passport(&[w.sign(&own)]).verify(&Verifier::new(w.anchors())).unwrap_err();
        for text in [error.to_string(), error.failure().to_string(), error.report().to_string()] {
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
            assert!(!text.contains("\ncompleteness  pass"), "{text}");
        }
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let unknown = forged.parse::<kest_core::jws::Algorithm>().unwrap_err().to_string();
    assert!(!unknown.contains(['\n', '\u{1b}']), "{unknown}");
    let mut long = w.root(0);
    long["labels"]["principal"] = json!("a".repeat(9_000));
    let error = passport(&[w.sign(&long)]).verify(&Verifier::new(w.anchors())).unwrap_err();
    assert!(error.to_string().len() < 1_000, "{error}");
}

#[test]
fn what_kest_signs_beside_a_call_is_plain() {
    let w = Workload::new(1);
    let root = w.sign(&w.root(0));
    let plain = || completion(&w, 1, &[&root], 0);
    let verdict = |payload: &Value| passport(&[&root, &w.sign(payload)]).verify(&Verifier::new(w.anchors()));
    assert!(verdict(&plain()).is_ok());
    let deviation = json!({"approver": null, "policy": "p", "reason": null, "tier": "platform"});
    for (pointer, value) in [
        ("/metadata/trust/override", json!(80)),
        ("/metadata/trust/source_type", json!("system")),
        ("/metadata/policies", json!({"a": "b"})),
        ("/metadata/outcome", json!("whatever")),
        ("/added_taints", json!(["a"])),
        ("/removed_taints", json!(["a"])),
        ("/policy_context/app_policies", json!(["a"])),
        ("/policy_context/deviations", json!([deviation])),
    ] {
        for classification in ["completion", "snapshot"] {
            let mut payload = plain();
            *payload.pointer_mut(pointer).unwrap() = value.clone();
            if classification == "snapshot" {
                payload["classification"] = json!("snapshot");
                let metadata = payload["metadata"].as_object_mut().unwrap();
                metadata.remove("completes");
                metadata.remove("outcome");
                if pointer == "/metadata/outcome" {
                    continue;
                }
            }
            let error = verdict(&payload).unwrap_err();
            assert_eq!(name_of(error.failure()), "Schema/Malformed", "{pointer}: {error}");
        }
    }
    let mut raised = plain();
    raised["trust_score"] = json!(81);
    assert!(matches!(verdict(&raised).unwrap_err().failure(), VerifyFailure::RaisedTrust { .. }));
}

#[test]
fn findings_are_counted_where_there_are_too_many() {
    let w = Workload::new(1);
    let mut all = Vec::new();
    for number in 0..200 {
        let mut payload = Workload::foreign(w.root(number));
        for member in 0..20 {
            payload[format!("m{member:02}")] = json!(0);
        }
        payload["labels"]["tree"] = json!([[1, 2, 3]]);
        all.push(w.sign(&payload));
    }
    let verified = passport(&all).verify(&Verifier::new(w.anchors())).unwrap();
    let entry = &verified.entries()[0];
    assert_eq!((entry.departures.len(), entry.more_departures), (8, 13));
    assert!(entry.labels.iter().any(|(name, value)| &**name == "tree" && value.is_null()));
    let report = verified.report();
    assert!(report.findings.len() <= 1_000);
    assert!(report.findings.iter().any(|finding| finding.text == "and 13 more of the kind"));
    // 200 × (8 departures and the rest of them), and one finding that says that no source is recorded.
    assert_eq!(report.findings.len() + report.more_findings, 200 * 9 + 1);
    assert!(report.findings.last().unwrap().text.starts_with("no trust source is recorded"));
    assert!(report.to_string().ends_with(&format!("and {} more\n", report.more_findings)));
}

#[test]
fn the_limit_of_a_payload_is_exact() {
    let w = Workload::new(1);
    let sized = |bytes: usize| {
        let mut payload = w.root(0);
        payload["labels"]["x"] = json!("");
        let base = kest_core::canonical::to_vec(&payload).unwrap().len();
        payload["labels"]["x"] = json!("a".repeat(bytes - base));
        passport(&[w.sign(&payload)]).verify(&Verifier::new(w.anchors()))
    };
    assert!(sized(65_536).is_ok());
    for bytes in [65_537, 65_538, 65_539] {
        assert!(matches!(sized(bytes).unwrap_err().failure(), VerifyFailure::TooLarge { .. }), "{bytes}");
    }
}

#[test]
fn the_skew_is_said() {
    let w = Workload::new(1);
    let verified = passport(&w.chain(1)).verify(&ingress(Verifier::builder().keys(w.anchors())).build());
    let reason = verified.unwrap().report().time.reason.clone();
    assert_eq!(reason, "the tips are at most 60000 ms old, give or take a skew of 5000 ms");
}

#[test]
fn anchors_merge_all_or_none() {
    let (a, b) = (Workload::new(1), Workload::new(2));
    let mut other = Anchors::new();
    other.insert("spiffe://a", kest_core::keys::Jwks(vec![b.jwk()])).unwrap();
    other.insert(&a.id, kest_core::keys::Jwks(vec![b.jwk()])).unwrap();
    let mut mine = a.anchors();
    assert!(mine.merge(other).is_err());
    assert_eq!(mine, a.anchors());
}

#[test]
fn a_pattern_names_more_than_a_scheme() {
    for pattern in
        ["spiffe:*", "spiffe:/*", "spiffe://*", "https://*", "arn:*", "/*", "spiffe://a/", "spiffe://a/b/"]
    {
        assert!(Authority::new([(pattern, Grant::own())]).is_err(), "{pattern}");
    }
    for pattern in
        ["spiffe://a", "spiffe://a/*", "spiffe://a/b", "https://issuer.example/*", "arn:aws:sts::1:*"]
    {
        assert!(Authority::new([(pattern, Grant::own())]).is_ok(), "{pattern}");
    }
}

#[test]
fn ed25519_keys_are_canonical() {
    // y = p + 3 and y = 2^255 - 1, with and without the sign: RFC 8032 §5.1.3.
    for (first, last) in [(0xf0, 0x7f), (0xff, 0x7f), (0xf0, 0xff)] {
        let mut point = [0xff_u8; 32];
        (point[0], point[31]) = (first, last);
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": base64_simd::URL_SAFE_NO_PAD.encode_to_string(point)});
        let error = Jwk::from_json(&jwk).unwrap_err();
        assert!(error.to_string().contains("canonical form"), "{error}");
    }
}

#[test]
fn a_member_that_comes_twice_in_a_key_is_no_second_principal() {
    let error = Anchors::from_json(br#"{"p":{"keys":[{"kty":"OKP","kty":"OKP"}]}}"#).unwrap_err();
    assert!(matches!(&error, KeyError::Repeated { member } if member == "kty"), "{error}");
    let error = Anchors::from_json(br#"{"p":{"keys":[]},"\u0070":{"keys":[]}}"#).unwrap_err();
    assert!(matches!(&error, KeyError::Shadowed { principal } if principal == "p"), "{error}");
}

#[test]
fn a_large_configuration_is_refused() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("kest-large.toml");
    std::fs::write(&path, "é".repeat(1 << 20)).unwrap();
    let error = kest_core::config::Config::read(&path).unwrap_err();
    assert!(error.to_string().contains("over 1 MiB"), "{error}");
    std::fs::write(&path, "#".repeat(1 << 20)).unwrap();
    assert!(kest_core::config::Config::read(&path).is_ok());
}
