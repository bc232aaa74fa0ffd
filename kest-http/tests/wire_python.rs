//! What the Python package sends: captured headers, and its quirks (spec §12).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod wire_support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use kest_core::error::PropagationErrorKind;
use kest_core::verify::{Anchors, Verifier};
use kest_http::{Arrived, Wire};
use serde_json::Value;
use wire_support::{Fixed, Maker, hashes, member, write};

fn vector(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/python").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// As the interceptor for httpx writes it.
fn header(name: &str) -> String {
    let members = vector(name);
    let members = members.as_object().unwrap().iter();
    members.map(|(key, value)| format!("{key}={}", value.as_str().unwrap())).collect::<Vec<_>>().join(",")
}

fn lenient() -> Wire {
    Wire::builder().accept_python_form().header_bytes(1 << 16).build()
}

fn verifies(arrived: Arrived) -> usize {
    let anchors = Anchors::from_json(vector("baggage.anchors.json").to_string().as_bytes()).unwrap();
    let verifier = Verifier::builder().keys(anchors).build();
    arrived.lineage.unwrap().verify(&verifier).unwrap().entries().len()
}

#[test]
fn its_captured_headers_are_read_on_request_and_verify() {
    for (name, wire) in [
        ("baggage_tier1_plain.json", lenient()),
        ("baggage_tier2_passport_z.json", lenient()),
        ("baggage_tier2_passport_z.json", Wire::default()),
    ] {
        let arrived = wire.read_blocking(&[header(name).as_bytes()]).unwrap();
        assert!(verifies(arrived) > 1, "{name}");
    }
    let kept = vector("baggage_tier3_cache.json");
    let kept = kept.as_object().unwrap().values().next().unwrap().as_str().unwrap();
    let cache = Arc::new(Fixed { kept: Some(Arc::from(kept)), shared: true });
    let wire = Wire::builder().cache(cache).build();
    let arrived = wire.read_blocking(&[header("baggage_tier3_claim_check.json").as_bytes()]).unwrap();
    assert!(verifies(arrived) > 1);
}

#[test]
fn unescaped_members_are_refused_unless_asked_for() {
    let header = header("baggage_tier1_plain.json");
    let error = Wire::default().read_blocking(&[header.as_bytes()]).unwrap_err();
    assert_eq!(error.kind(), PropagationErrorKind::Malformed);
}

/// A passport as the package serialises it.
fn spaced(passport: &kest_core::Passport) -> String {
    passport.serialize().replace("\",\"", "\", \"")
}

#[test]
fn of_several_tiers_the_one_that_the_tip_ends_is_read() {
    let maker = Maker::new();
    let (old, new) = (maker.chain(1), maker.chain(2));
    let small = Wire::builder().always_compressed().build();
    let z = |header: &str| member(header, "kest.passport_z").unwrap().to_owned();
    let tip = |passport: &kest_core::Passport| hashes(passport).pop().unwrap();
    let stale_z = format!(
        "kest.passport_z={},kest.chain_tip={},kest.passport={}",
        z(&write(&small, &old)),
        tip(&new),
        spaced(&new)
    );
    let stale_plain = format!(
        "kest.passport={},kest.passport_z={},kest.chain_tip={}",
        spaced(&old),
        z(&write(&small, &new)),
        tip(&new)
    );
    for header in [stale_z, stale_plain] {
        let arrived = lenient().read_blocking(&[header.as_bytes()]).unwrap();
        assert_eq!(arrived.lineage.unwrap().len(), 2);
        let error = Wire::default().read_blocking(&[header.as_bytes()]).unwrap_err();
        assert_eq!(error.kind(), PropagationErrorKind::Malformed);
    }
    let neither = format!(
        "kest.passport={},kest.passport_z={},kest.chain_tip={}",
        spaced(&old),
        z(&write(&small, &new)),
        tip(&maker.chain(1))
    );
    let error = lenient().read_blocking(&[neither.as_bytes()]).unwrap_err();
    assert!(error.to_string().contains("the end of none of the passports"), "{error}");
}

#[test]
fn a_claim_is_redeemed_where_no_inline_tier_is_fresh() {
    let maker = Maker::new();
    let (old, new) = (maker.chain(1), maker.chain(3));
    let cache = Arc::new(Fixed { kept: Some(Arc::from(&*spaced(&new))), shared: true });
    let wire = Wire::builder().accept_python_form().cache(cache).build();
    let header = format!(
        "kest.claim_check=f47ac10b-58cc-4372-a567-0e02b2c3d479,kest.passport={},kest.chain_tip={}",
        spaced(&old),
        hashes(&new)[2]
    );
    assert_eq!(wire.read_blocking(&[header.as_bytes()]).unwrap().lineage.unwrap().len(), 3);
}

#[test]
fn brackets_keep_commas_together_for_the_passport_alone() {
    let passport = Maker::new().chain(2);
    let tip = hashes(&passport).pop().unwrap();
    let ours = format!("kest.passport = {},kest.chain_tip={tip}", spaced(&passport));
    for around in [
        format!("x=[,{ours},kest.roles=[\"a\", \"b]\"],kest.user=50% of a b"),
        format!("kest.user=50% of a b,kest.scope=task:x,{ours},y=]"),
    ] {
        let arrived = lenient().read_blocking(&[around.as_bytes()]).unwrap();
        assert_eq!(arrived.lineage.unwrap().len(), 2);
        assert_eq!(arrived.user.as_deref(), Some("50% of a b"));
    }
    let open = format!("kest.passport=[\"a\",kest.chain_tip={tip}");
    assert!(lenient().read_blocking(&[open.as_bytes()]).is_err());
    let twice = format!("{ours},{ours}");
    let error = lenient().read_blocking(&[twice.as_bytes()]).unwrap_err();
    assert!(error.to_string().contains("more than once"), "{error}");
}

#[test]
fn the_standard_form_is_read_too() {
    let passport = Maker::new().chain(2);
    for wire in [Wire::default(), Wire::builder().always_compressed().build()] {
        let arrived = lenient().read_blocking(&[write(&wire, &passport).as_bytes()]).unwrap();
        assert_eq!(arrived.lineage.unwrap().len(), 2);
    }
}
