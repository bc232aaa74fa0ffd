//! Trust bundles: what is read, what is left out, what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;
mod x5c_support;

use std::error::Error as _;

use base64_simd::STANDARD;
use kest_core::verify::{Authorities, BundleError, KeySource, TrustBundles};
use serde_json::{Value, json};
use x5c_support::{Ca, ORDERS};

fn authority(ca: &Ca) -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "use": "x509-svid",
           "x5c": [STANDARD.encode_to_string(ca.der())]})
}

fn from(value: &Value) -> Result<TrustBundles, BundleError> {
    TrustBundles::from_json(value.to_string().as_bytes())
}

fn one(keys: Value) -> Result<TrustBundles, BundleError> {
    from(&json!({"trust_domains": {"example.org": {"keys": keys}}}))
}

#[test]
fn maps_go_round() {
    let (ours, theirs) = (Ca::root("ours"), Ca::root_with(&rcgen::PKCS_RSA_SHA256, "theirs", |_| {}));
    let next = Ca::root_with(&rcgen::PKCS_ED25519, "next", |_| {});
    let mut bundles = TrustBundles::new();
    bundles.insert(Authorities::from_der("example.org", [ours.der(), next.der()]).unwrap()).unwrap();
    bundles.insert_pem("partner.example", &theirs.pem()).unwrap();
    let json = bundles.to_json();
    let key = &json["trust_domains"]["example.org"]["keys"][0];
    assert_eq!((&key["use"], &key["kty"], &key["crv"]), (&json!("x509-svid"), &json!("EC"), &json!("P-256")));
    assert_eq!(key["x5c"], json!([STANDARD.encode_to_string(ours.der())]));
    assert_eq!(key.as_object().unwrap().len(), 6, "{key}");
    let back = from(&json).unwrap();
    assert_eq!(back, bundles);
    assert_eq!(back.trust_domains().collect::<Vec<_>>(), ["example.org", "partner.example"]);
    let authorities = back.get("example.org").unwrap();
    assert_eq!(authorities.certificates().collect::<Vec<_>>(), [ours.der(), next.der()]);
    assert_eq!(authorities.trust_domain(), "example.org");
    assert!(format!("{bundles:?}").len() < 200, "{bundles:?}");
}

#[test]
fn one_bundle_is_read_in_its_three_forms() {
    let ca = Ca::root("root");
    let expected = ca.bundle("example.org");
    let mut spiffe = TrustBundles::new();
    let text =
        json!({"keys": [authority(&ca)], "spiffe_sequence": 7, "spiffe_refresh_hint": 300}).to_string();
    spiffe.insert_spiffe_json("example.org", text.as_bytes()).unwrap();
    let mut pem = TrustBundles::new();
    // The same certificate twice is one.
    pem.insert_pem("example.org", &format!("{}{}", ca.pem(), ca.pem())).unwrap();
    assert_eq!((&spiffe, &pem), (&expected, &expected));
}

#[test]
fn other_uses_are_left_out() {
    let (ca, other) = (Ca::root("root"), Ca::root("other"));
    let with_use = |purpose: Value| {
        let mut key = authority(&other);
        key["use"] = purpose;
        key
    };
    let mut without = authority(&other);
    without.as_object_mut().unwrap().remove("use");
    let jwt = json!({"kty": "EC", "crv": "P-256", "kid": "k", "use": "jwt-svid", "x": "AA", "y": "AA"});
    let keys =
        json!([jwt, with_use(json!("jwt-svid")), with_use(json!("wit-svid")), without, authority(&ca)]);
    assert_eq!(one(keys).unwrap(), ca.bundle("example.org"));
    // A domain that has none is known, and nothing speaks for it.
    let empty = one(json!([jwt])).unwrap();
    assert_eq!(empty.authorities(ORDERS).unwrap().unwrap().certificates().len(), 0);
    assert_eq!(from(&json!({"trust_domains": {}})).unwrap(), TrustBundles::new());
}

#[test]
fn principals_find_their_own_trust_domain() {
    let bundles = Ca::root("root").bundle("example.org");
    let knows = |principal: &str| bundles.authorities(principal).unwrap().is_some();
    assert!(knows(ORDERS) && knows("spiffe://example.org/a/b"));
    for other in [
        "spiffe://sub.example.org/orders",
        "spiffe://example.org.evil/orders",
        "spiffe://example.orgs/orders",
        "spiffe://EXAMPLE.org/orders",
        "spiffe://example.org/../orders",
        "spiffe://example.org@evil/orders",
        "https://example.org/orders",
        "https://issuer.example#spiffe://example.org/orders",
        "example.org",
        "",
    ] {
        assert!(!knows(other), "{other}");
    }
    assert!(bundles.keys(ORDERS).unwrap().is_none());
}

#[test]
fn malformed_bundles_are_refused_whole() {
    let ca = Ca::root("root");
    let good = authority(&ca);
    assert!(one(json!([good])).is_ok());
    let changed = |member: &str, value: Value| {
        let mut key = good.clone();
        key[member] = value;
        one(json!([good, key]))
    };
    let der = STANDARD.encode_to_string(ca.der());
    let unpadded = format!("{}-_", &der[..der.len() - 2]);
    for (outcome, why) in [
        (changed("use", json!(1)), "`use` is not a string"),
        (changed("kty", Value::Null), "`kty` is missing"),
        (changed("x5c", Value::Null), "not exactly one certificate"),
        (changed("x5c", json!([])), "not exactly one certificate"),
        (changed("x5c", json!([der, der])), "not exactly one certificate"),
        (changed("x5c", json!([1])), "`x5c` is not base64"),
        (changed("x5c", json!([unpadded])), "`x5c` is not base64"),
        (changed("x5c", json!(["AAAA"])), "a certificate cannot be read"),
        (one(json!([1])), "a key of a trust bundle must be a JSON object"),
        (one(json!({})), "`keys` is not a list"),
        (from(&json!({"trust_domains": {"example.org": {}}})), "`keys` is missing"),
        (from(&json!({"trust_domains": {"example.org": []}})), "a trust bundle must be a JSON object"),
        (from(&json!({"trust_domains": []})), "`trust_domains` is not an object"),
        (from(&json!({"keys": [good]})), "`trust_domains` is missing"),
        (from(&json!([])), "a map of trust bundles must be a JSON object"),
        (from(&json!({"trust_domains": {"Example.org": {"keys": []}}})), "is no SPIFFE ID"),
        (from(&json!({"trust_domains": {"spiffe://example.org": {"keys": []}}})), "is no SPIFFE ID"),
        (from(&json!({"trust_domains": {"": {"keys": []}}})), "has no trust domain"),
        (
            from(&json!({"trust_domains": {"example.org": {"keys": [], "spiffe_sequence": "1"}}})),
            "`spiffe_sequence` is not a whole number",
        ),
        (TrustBundles::from_json(b"{"), "cannot be read"),
        (
            TrustBundles::from_json(br#"{"trust_domains":{"a":{"keys":[]},"a":{"keys":[]}}}"#),
            "cannot be read",
        ),
    ] {
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains(why), "{why}: {error}");
    }
    let named = one(json!([1])).unwrap_err();
    assert!(named.to_string().starts_with("bundle of `example.org`: "), "{named}");
    assert!(named.source().is_some());
}

#[test]
fn a_trust_domain_has_one_bundle() {
    let (one, other) = (Ca::root("one"), Ca::root("other"));
    let mut bundles = one.bundle("example.org");
    bundles.insert_pem("example.org", &one.pem()).unwrap();
    let refused = bundles.insert_pem("example.org", &other.pem()).unwrap_err();
    assert!(matches!(refused, BundleError::Repeated { .. }), "{refused}");
    let mut more = other.bundle("partner.example");
    more.merge(other.bundle("example.org")).unwrap();
    let before = bundles.clone();
    assert!(matches!(bundles.merge(more).unwrap_err(), BundleError::Repeated { .. }));
    assert_eq!(bundles, before, "all or none");
    bundles.merge(other.bundle("partner.example")).unwrap();
    assert_eq!(bundles.trust_domains().len(), 2);
}

#[test]
fn sizes_are_bounded() {
    let ca = Ca::root("root");
    let big = vec![b' '; (16 << 20) + 1];
    assert!(matches!(TrustBundles::from_json(&big).unwrap_err(), BundleError::TooLarge { .. }));
    let mut bundles = TrustBundles::new();
    let too_large = |error: BundleError| error.to_string().contains("larger than 1024 KiB");
    assert!(too_large(bundles.insert_spiffe_json("example.org", &big[..(1 << 20) + 1]).unwrap_err()));
    let text = " ".repeat((1 << 20) + 1);
    assert!(too_large(bundles.insert_pem("example.org", &text).unwrap_err()));
    let many: Vec<Vec<u8>> = (0..65).map(|_| Ca::root("root").der()).collect();
    assert!(Authorities::from_der("example.org", &many[..64]).is_ok());
    let error = Authorities::from_der("example.org", &many).unwrap_err();
    assert!(matches!(error, BundleError::TooMany { limit: 64 }), "{error}");
    assert!(matches!(
        Authorities::from_der("no domain", [ca.der()]).unwrap_err(),
        BundleError::TrustDomain(_)
    ));
}

#[cfg(feature = "aws-lc")]
#[test]
fn only_authorities_belong_into_a_bundle() {
    let ca = Ca::root("root");
    let leaf = ca.svid(ORDERS).chain.remove(0);
    let refused = |der: Vec<u8>| Authorities::from_der("example.org", [der]).unwrap_err();
    assert!(matches!(refused(leaf), BundleError::NotAnAuthority));
    let cannot_sign = ca.under("odd", |p| p.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature]);
    assert!(matches!(refused(cannot_sign.der()), BundleError::NotAnAuthority));
    // An old root without keyUsage is one.
    let silent = ca.under("silent", |p| p.key_usages.clear());
    assert!(Authorities::from_der("example.org", [silent.der()]).is_ok());
    let strange = Ca::root_with(&rcgen::PKCS_ECDSA_P521_SHA512, "strange", |_| {});
    assert!(matches!(refused(strange.der()), BundleError::Key(_)));
}

#[cfg(feature = "aws-lc")]
#[test]
fn one_domains_unusable_authority_is_its_own() {
    let (ca, strange) = (Ca::root("root"), Ca::root_with(&rcgen::PKCS_ECDSA_P521_SHA512, "strange", |_| {}));
    let map = json!({"trust_domains": {
        "example.org": {"keys": [authority(&ca)]},
        "partner.example": {"keys": [authority(&ca), authority(&strange)]},
    }});
    let bundles = from(&map).unwrap();
    x5c_support::verify(
        &[ca.svid(ORDERS).entry(0)],
        kest_core::verify::Verifier::builder().keys(bundles.clone()),
    )
    .unwrap();
    let refused = bundles.authorities("spiffe://partner.example/intake").unwrap_err().to_string();
    assert!(refused.contains("bundle of `partner.example`: a certificate has a key"), "{refused}");
    assert!(bundles.get("partner.example").is_none());
    let unusable: Vec<&str> = bundles.unusable().map(|(name, _)| name).collect();
    assert_eq!(unusable, ["partner.example"]);
    let again = from(&bundles.to_json()).unwrap();
    assert_eq!(again, bundles);
    assert!(again.authorities("spiffe://partner.example/intake").is_err());
    // Neither adding to it nor another bundle makes it whole.
    let mut more = bundles.clone();
    assert!(matches!(more.merge(ca.bundle("partner.example")).unwrap_err(), BundleError::Repeated { .. }));
    more.merge(bundles).unwrap();
}

#[cfg(not(feature = "aws-lc"))]
#[test]
fn without_the_feature_no_chain_is_believed() {
    let ca = Ca::root("root");
    let error = x5c_support::verify(&[ca.svid(ORDERS).entry(0)], ca.verifier()).unwrap_err();
    assert!(error.to_string().contains("build kest with the feature `aws-lc`"), "{error}");
    assert_eq!(x5c_support::refused(&[ca.svid(ORDERS).entry(0)], ca.verifier()), "NotBuilt");
}
