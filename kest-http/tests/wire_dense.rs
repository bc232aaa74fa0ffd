//! The dense form: where it is written, and that it is one tier like the others (spec §12).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod wire_support;

use std::io::Write as _;
use std::sync::Arc;

use base64_simd::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use kest_core::Kest;
use kest_core::error::PropagationErrorKind::{self, Malformed, TooLarge};
use kest_http::Wire;
use kest_providers::cache::MemoryCache;
use kest_providers::identity::MockIdentityProvider;
use kest_providers::policy::MockPolicyEngine;
use proptest::prelude::*;
use wire_support::{Maker, call, hashes, is_strict_baggage, member, tiers, write};

fn read(wire: &Wire, header: &str) -> Vec<String> {
    let arrived = wire.read_blocking(&[header.as_bytes()]).unwrap();
    arrived.lineage.unwrap().entries().map(str::to_owned).collect()
}

fn refused(wire: &Wire, header: &str, kind: PropagationErrorKind, says: &str) {
    let error = wire.read_blocking(&[header.as_bytes()]).expect_err(header);
    assert_eq!(error.kind(), kind, "{error}\n{header}");
    assert!(error.to_string().contains(says), "{error}\nis not: {says}");
}

#[test]
fn it_stands_between_plain_and_claim_check_where_asked_for_and_is_read_by_everybody() {
    let maker = Maker::new();
    let cache = Arc::new(MemoryCache::new().shared_in_process());
    let wire = Wire::builder().cache(cache.clone()).dense().build();
    let mut seen = Vec::new();
    for length in [1, 3, 4, 10, 30, 100] {
        let passport = maker.chain(length);
        let header = write(&wire, &passport);
        let [tier] = tiers(&header)[..] else { panic!("{header}") };
        assert!(is_strict_baggage(&header) && header.len() <= 8192, "{header}");
        seen.push(tier.to_owned());
        let sent: Vec<String> = passport.entries().iter().map(|entry| entry.jws().to_owned()).collect();
        let anybody = Wire::builder().cache(cache.clone());
        for reader in [anybody.build(), Wire::builder().cache(cache.clone()).accept_python_form().build()] {
            assert_eq!(read(&reader, &header), sent, "{tier}");
        }
        let arrived =
            Wire::builder().cache(cache.clone()).build().read_blocking(&[header.as_bytes()]).unwrap();
        assert_eq!(hashes(maker.verified(arrived.lineage.unwrap()).passport()), hashes(&passport));
    }
    let expected = [&["kest.passport"; 2][..], &["kest.passport_d"; 3], &["kest.claim_check"]].concat();
    assert_eq!(seen, expected, "the tiers, shortest lineage first");
    let always = Wire::builder().dense().always_compressed().build();
    assert_eq!(tiers(&write(&always, &maker.chain(1))), ["kest.passport_d"]);
    let unasked = Wire::builder().tier_bytes(1 << 16).header_bytes(1 << 17).always_compressed().build();
    assert_eq!(tiers(&write(&unasked, &maker.chain(30))), ["kest.passport_z"]);
}

#[test]
fn several_tips_and_mock_entries_come_over() {
    let dense = Wire::builder().dense().always_compressed().build();
    let fan = Maker::new().fan(5);
    assert_eq!(read(&Wire::default(), &write(&dense, &fan)).len(), 5);
    let identity = MockIdentityProvider::new().unwrap();
    let engine = MockPolicyEngine::allow();
    let kest = Kest::builder().identity(identity).engine(engine).without_config().build().unwrap();
    let scope = kest.enter();
    call(|| call(|| ()));
    call(|| ());
    let passport = scope.passport();
    let sent: Vec<String> = passport.entries().iter().map(|entry| entry.jws().to_owned()).collect();
    assert_eq!(read(&Wire::default(), &write(&dense, &passport)), sent);
}

#[test]
fn it_is_one_tier_beside_no_other_and_not_without_its_tip() {
    let maker = Maker::new();
    let passport = maker.chain(2);
    let header = write(&Wire::builder().dense().always_compressed().build(), &passport);
    let (value, tip) =
        (member(&header, "kest.passport_d").unwrap(), member(&header, "kest.chain_tip").unwrap());
    let plain = write(&Wire::default(), &passport);
    let zlib = write(&Wire::builder().always_compressed().build(), &passport);
    let both = [
        format!("kest.passport={}", member(&plain, "kest.passport").unwrap()),
        format!("kest.passport_z={}", member(&zlib, "kest.passport_z").unwrap()),
        "kest.claim_check=f47ac10b-58cc-4372-a567-0e02b2c3d479".to_owned(),
    ];
    for wire in [Wire::default(), Wire::builder().accept_python_form().build()] {
        for other in &both {
            refused(&wire, &format!("{header},{other}"), Malformed, "more than one of");
        }
        refused(
            &wire,
            &format!("{header},kest.passport_d={value}"),
            Malformed,
            "`kest.passport_d` came more than once",
        );
        refused(&wire, &format!("kest.passport_d={value}"), Malformed, "`kest.passport_d` came without");
        let other = &hashes(&passport)[0];
        for wrong in [other.as_str(), &format!("{other}.{tip}"), &"0".repeat(64)] {
            refused(
                &wire,
                &format!("kest.passport_d={value},kest.chain_tip={wrong}"),
                Malformed,
                "names other tips",
            );
        }
    }
}

#[test]
fn what_is_none_or_too_large_is_refused() {
    let header = |value: &str| format!("kest.passport_d={value},kest.chain_tip={}", "0".repeat(64));
    let wire = Wire::default();
    for (bytes, says) in [
        (&[2, 3, 0][..], "form 2"),
        (&[1, 3, 0], "no entries"),
        (&[1, 3, 0, 1], "bytes behind its end"),
        (&[1, 7], "no deflate stream"),
        (&[1], "in the middle of its deflate stream"),
        (&[], "is empty"),
    ] {
        refused(&wire, &header(&URL_SAFE_NO_PAD.encode_to_string(bytes)), Malformed, says);
    }
    refused(&wire, &header("AQMA%3D"), Malformed, "no base64url without padding");
    let of = |text: &[u8]| {
        let mut encoder = DeflateEncoder::new(vec![1], Compression::best());
        encoder.write_all(text).unwrap();
        header(&URL_SAFE_NO_PAD.encode_to_string(encoder.finish().unwrap()))
    };
    refused(&wire, &of(b"\x10\x00"), Malformed, "entry 0 of the passport is no compact JWS");
    refused(&wire, &of(b"\x10a.b.c\x00\x10a b\x00"), Malformed, "entry 1 of the passport is no compact JWS");
    refused(&wire, &of(b"\x10\"],\"x\x00"), Malformed, "no compact JWS");
    refused(&wire, &of(b"\x10a.b.c\x00"), Malformed, "names no parents");
    refused(&wire, &of(&b"\x10a\x00".repeat(257)), TooLarge, "more than 256 entries (`entries`)");
    refused(&wire, &of(&vec![b'a'; (1 << 20) + 1]), TooLarge, "`inflated_bytes`");

    let maker = Maker::new();
    let passport = maker.chain(3);
    let good = write(&Wire::builder().dense().always_compressed().build(), &passport);
    let text = passport.serialize().len();
    assert!(Wire::builder().inflated_bytes(text).build().read_blocking(&[good.as_bytes()]).is_ok());
    let small = Wire::builder().inflated_bytes(text - 2).build();
    refused(&small, &good, TooLarge, "stands for more than");
    refused(&Wire::builder().entries(2).build(), &good, TooLarge, "more than 2 entries");
}

proptest! {
    #[test]
    fn a_changed_byte_is_an_error(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        thread_local! {
            static SENT: String = write(&Wire::builder().dense().always_compressed().build(), &Maker::new().chain(3));
        }
        SENT.with(|header| {
            let wire = Wire::default();
            let mut changed = header.clone().into_bytes();
            *at.get_mut(&mut changed) = to;
            // Every entry's hash is in the next, and the last one's is the tip.
            match wire.read_blocking(&[&changed]) {
                Ok(arrived) if changed == header.as_bytes() => assert_eq!(arrived.lineage.unwrap().len(), 3),
                Ok(arrived) => {
                    let entries: Vec<String> =
                        arrived.lineage.expect("a lineage that is gone").entries().map(str::to_owned).collect();
                    assert_eq!(entries, read(&wire, header));
                }
                Err(_) => {}
            }
        });
    }

    #[test]
    fn arbitrary_values_are_an_answer_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let value = URL_SAFE_NO_PAD.encode_to_string([&[1][..], &bytes].concat());
        for value in [value, bytes.escape_ascii().to_string()] {
            let header = format!("kest.passport_d={value},kest.chain_tip={}", "0".repeat(64));
            prop_assert!(Wire::default().read_blocking(&[header.as_bytes()]).is_err());
        }
    }
}
