//! The worked example in `docs/spec.md` §2 is what it says it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use kest::identity::{IdentityProvider, LocalEd25519Provider};
use kest::verify::{Anchors, UnverifiedPassport, Verifier};
use kest_tests::repository;

#[test]
fn the_example_of_the_specification_signs_and_verifies() {
    let spec = std::fs::read_to_string(repository().join("docs/spec.md")).unwrap();
    let payloads: Vec<&str> = spec.lines().filter(|line| line.starts_with("{\"added_taints\":")).collect();
    let rows: Vec<Vec<&str>> = spec
        .lines()
        .filter(|line| line.starts_with("| root | `") || line.starts_with("| child | `"))
        .map(|line| line.split('`').collect())
        .collect();
    assert_eq!((payloads.len(), rows.len()), (2, 2), "the example is not where it was");

    // The key of RFC 8037 appendix A.1.
    let seed =
        base64_simd::URL_SAFE_NO_PAD.decode_to_vec("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let identity = LocalEd25519Provider::dangerous_from_seed(seed.try_into().unwrap())
        .unwrap()
        .with_workload_id("spiffe://example.org/orders");

    let mut passport = UnverifiedPassport::new();
    for (payload, row) in payloads.iter().zip(&rows) {
        let jws = identity.sign(payload.as_bytes()).unwrap();
        assert_eq!(jws.as_str().rsplit('.').next(), Some(row[1]), "the signature segment");
        assert_eq!(jws.hash_hex(), row[3], "the hash");
        passport.add_signature(jws.into_string());
    }
    let anchors = Anchors::from_provider(&identity).unwrap();
    let verifier =
        Verifier::builder().keys(anchors).strict().linear().expected_tip(rows[1][3]).unwrap().build();
    let verified = passport.verify(&verifier).unwrap();
    assert_eq!(verified.entries().len(), 2);
}
