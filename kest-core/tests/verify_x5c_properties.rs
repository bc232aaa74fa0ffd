//! What must hold for every chain.
#![cfg(feature = "aws-lc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;
mod x5c_support;

use kest_core::jws::EncodedHeader;
use kest_core::verify::UnverifiedPassport;
use proptest::prelude::*;
use x5c_support::{Ca, Kind, ORDERS, verify};

#[test]
fn no_certificate_verifies_with_a_byte_changed() {
    let root = Ca::root("root");
    let intermediate = root.under("intermediate", |_| {});
    for kind in [Kind::Ed25519, Kind::P256] {
        let svid = intermediate.svid_of(kind, ORDERS, |_| {});
        verify(&[svid.entry(0)], root.verifier()).unwrap();
        let verifier = root.verifier().build();
        let payload = svid.payload(0);
        for place in 0..svid.chain.len() {
            for byte in 0..svid.chain[place].len() {
                for change in [1_u8 << (byte % 8), 0x80, 0xff] {
                    let mut chain = svid.chain.clone();
                    chain[place][byte] ^= change;
                    // Signed again, so that only the certificate is wrong.
                    let header = EncodedHeader::with_x5c(kind.alg(), &svid.jwk().thumbprint(), &chain);
                    let jws = svid.sign_under(&header, &payload);
                    let outcome = UnverifiedPassport::from_iter([jws]).verify(&verifier);
                    assert!(outcome.is_err(), "certificate {place}, byte {byte}, {change:#x}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn junk_certificates_never_panic(junk in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..12)) {
        let root = Ca::root("root");
        let mut svid = root.svid(ORDERS);
        svid.chain = junk.clone();
        prop_assert!(verify(&[svid.entry(0)], root.verifier()).is_err());
        // Behind a good leaf too.
        let mut svid = root.svid(ORDERS);
        svid.chain.extend(junk);
        prop_assert!(verify(&[svid.entry(0)], root.verifier()).is_err());
    }
}
