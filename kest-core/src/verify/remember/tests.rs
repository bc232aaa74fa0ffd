//! That what is remembered is used, and used for nothing else. The memory is given false facts here, which no
//! verification would: an entry that nobody signed, as if its signature had been good.

use ed25519_dalek::{Signer as _, SigningKey};

use super::*;
use crate::jws::{Algorithm, EncodedHeader, hex};
use crate::keys::Jwks;
use crate::verify::jose::Parser;
use crate::verify::{Anchors, Limits, Step, UnverifiedPassport, Verifier, VerifyError, VerifyFailure};

const PRINCIPAL: &str = "spiffe://example.org/orders";

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn jwk(number: u8) -> Jwk {
    Jwk::ed25519(key(number).verifying_key().as_bytes())
}

fn anchors(numbers: &[u8]) -> Anchors {
    let mut anchors = Anchors::new();
    anchors.insert(PRINCIPAL, Jwks(numbers.iter().map(|number| jwk(*number)).collect())).unwrap();
    anchors
}

/// A foreign entry, of which the `kid` is no more than a hint.
fn entry(kid: &str, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> String {
    let payload = format!(
        concat!(
            r#"{{"added_taints":[],"classification":"system","content_hash":"","entry_id":"#,
            r#""019a0b0c-0d0e-7f10-8112-000000000001","environment":{{}},"input_hash":"","labels":{{"principal":"{}","#,
            r#""trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}},"metadata":{{}},"operation":"op","otel_context":{{}},"#,
            r#""parent_ids":["0"],"policy_context":{{"app_policies":[],"deviations":[],"enterprise_policies":[],"#,
            r#""function_policies":[],"platform_policies":[]}},"removed_taints":[],"runtime":{{"name":"other","version":"1"}},"#,
            r#""schema_version":"0.3.0","taints":[],"timestamp_ms":1795304503000,"trust_score":10}}"#,
        ),
        PRINCIPAL
    );
    let header = EncodedHeader::new(Algorithm::EdDsa, kid);
    header.sign(payload.as_bytes(), |input| Ok::<_, ()>(sign(input))).unwrap().into_string()
}

fn forged() -> String {
    entry("kid", |_| [7; 64])
}

/// A memory in which the entry is good under that key.
fn believing(jws: &str, under: u8) -> Remembered {
    let limits = Limits::default();
    let parsed = Parser::new(&limits, false).parse(jws, None).unwrap();
    let remembered = Remembered::new(100);
    remembered.good(&parsed, KeyPrint::of(&jwk(under)));
    remembered
}

fn verify(jws: &str, keys: &[u8], remembered: &Remembered) -> Result<(), VerifyError> {
    let verifier = Verifier::builder().keys(anchors(keys)).remember(remembered.clone()).build();
    UnverifiedPassport::from_iter([jws]).verify(&verifier).map(drop)
}

fn is_wrong_signature(error: &VerifyError) -> bool {
    matches!((error.step(), error.failure()), (Step::Signatures, VerifyFailure::Signature))
}

#[test]
fn a_signature_that_was_good_is_not_checked_again() {
    let remembered = believing(&forged(), 1);
    verify(&forged(), &[1], &remembered).unwrap();
    verify(&forged(), &[2, 1], &remembered).unwrap();
}

#[test]
fn nor_is_it_good_under_another_key() {
    let remembered = believing(&forged(), 1);
    let error = verify(&forged(), &[2], &remembered).unwrap_err();
    assert!(is_wrong_signature(&error), "{error}");
    // What failed is not remembered, and does not take the place of what was.
    verify(&forged(), &[1], &remembered).unwrap();
}

#[test]
fn a_key_beyond_those_that_are_tried_stays_beyond_them() {
    let remembered = believing(&forged(), 1);
    let before: Vec<u8> = (2..18).collect();
    let (first, all) = ([&[1], &before[..]].concat(), [&before[..], &[1]].concat());
    verify(&forged(), &first, &remembered).unwrap();
    let error = verify(&forged(), &all, &remembered).unwrap_err();
    assert!(is_wrong_signature(&error), "{error}");
}

#[test]
fn the_key_must_still_be_for_the_algorithm() {
    let remembered = believing(&forged(), 1);
    let mut anchors = Anchors::new();
    let x = base64_simd::URL_SAFE_NO_PAD.encode_to_string(key(1).verifying_key().as_bytes());
    let other = Jwk::from_json(&serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": x})).unwrap();
    anchors.insert(PRINCIPAL, Jwks(vec![other])).unwrap();
    let verifier = |anchors| Verifier::builder().keys(anchors).remember(remembered.clone()).build();
    UnverifiedPassport::from_iter([forged()]).verify(&verifier(anchors)).unwrap();
    // The same text, as if it were good under a key of another type.
    let mut anchors = Anchors::new();
    let p256 = serde_json::json!({
        "kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    });
    let p256 = Jwk::from_json(&p256).unwrap();
    let limits = Limits::default();
    let text = forged();
    let parsed = Parser::new(&limits, false).parse(&text, None).unwrap();
    remembered.good(&parsed, KeyPrint::of(&p256));
    anchors.insert(PRINCIPAL, Jwks(vec![p256])).unwrap();
    let error = UnverifiedPassport::from_iter([forged()]).verify(&verifier(anchors)).unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::AlgorithmMismatch { .. }), "{error}");
}

#[test]
fn only_good_signatures_are_remembered_and_only_real_ones() {
    let remembered = Remembered::new(100);
    verify(&forged(), &[1], &remembered).unwrap_err();
    assert!(remembered.is_empty());
    let good = entry("kid", |input| key(1).sign(input).to_bytes());
    verify(&good, &[1], &remembered).unwrap();
    assert_eq!(remembered.len(), 1);
    let hash = sha256(good.as_bytes());
    assert_eq!(remembered.entry(&hash).unwrap().good_under, Some(KeyPrint::of(&jwk(1))), "{}", hex(&hash));
    remembered.clear();
    assert!(remembered.is_empty() && remembered.entry(&hash).is_none());
}

#[test]
fn a_mock_entry_is_never_remembered() {
    use crate::keys::{MOCK_KEY, hmac_sha256, mock_kid};

    let payload = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(forged().split('.').nth(1).unwrap()).unwrap();
    let header = EncodedHeader::new(Algorithm::Hs256, mock_kid());
    let mock = header.sign(&payload, |input| Ok::<_, ()>(hmac_sha256(MOCK_KEY, input))).unwrap();
    let remembered = Remembered::new(100);
    let accepting = Verifier::builder().remember(remembered.clone()).dangerous().accept_mock().build();
    UnverifiedPassport::from_iter([mock.as_str()]).verify(&accepting).unwrap();
    assert!(remembered.is_empty());
    // Nor would it help.
    let limits = Limits::default();
    let parsed = Parser::new(&limits, true).parse(mock.as_str(), None).unwrap();
    remembered.good(&parsed, KeyPrint::of(&jwk(1)));
    let error = verify(mock.as_str(), &[1], &remembered).unwrap_err();
    assert!(
        matches!((error.step(), error.failure()), (Step::Parse, VerifyFailure::MockNotAccepted)),
        "{error}"
    );
}

#[test]
fn a_prepared_key_is_shared_and_another_alg_or_kid_is_another_key() {
    let remembered = Remembered::new(100);
    let one = remembered.key(jwk(1)).unwrap();
    assert!(Arc::ptr_eq(&one, &remembered.key(jwk(1)).unwrap()));
    let mut json = jwk(1).to_json();
    json["kid"] = "another".into();
    let other = remembered.key(Jwk::from_json(&json).unwrap()).unwrap();
    assert_eq!((other.jwk.kid(), one.jwk.kid()), (Some("another"), None));
    assert_eq!((other.print, &other.thumbprint), (one.print, &one.thumbprint));
}

#[test]
fn the_parts_together_keep_no_more_than_was_asked_for() {
    let jws = forged();
    let limits = Limits::default();
    let parsed = Parser::new(&limits, false).parse(&jws, None).unwrap();
    for most in [0, 1, 2, 100, 512, 1_500] {
        let remembered = Remembered::new(most);
        for number in 0..4_000_u32 {
            let mut parsed = parsed.clone();
            parsed.hash = sha256(&number.to_be_bytes());
            remembered.good(&parsed, KeyPrint::of(&jwk(1)));
        }
        assert!(remembered.len() <= most, "{most}: {}", remembered.len());
        // Each part has at least its old generation, but for what rounding takes.
        assert!(remembered.len() + 64 >= most / 2, "{most}: {}", remembered.len());
    }
}
