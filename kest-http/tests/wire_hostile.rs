//! What is no lineage is refused, and never read as an empty one (spec §12).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod wire_support;

use std::io::Write as _;
use std::sync::Arc;

use base64_simd::{URL_SAFE, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use kest_core::error::PropagationErrorKind::{self, ClaimNotFound, Malformed, NoSharedCache, TooLarge};
use kest_http::Wire;
use kest_providers::cache::MemoryCache;
use proptest::prelude::*;
use wire_support::{Fixed, Maker, hashes, member, write};

fn refused(wire: &Wire, headers: &[&str], kind: PropagationErrorKind, says: &str) {
    let bytes: Vec<&[u8]> = headers.iter().map(|header| header.as_bytes()).collect();
    let error = wire.read_blocking(&bytes).expect_err(&format!("must not be read: {headers:?}"));
    assert_eq!(error.kind(), kind, "{error}\n{headers:?}");
    assert!(error.to_string().contains(says), "{error}\nis not: {says}");
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn packed(stream: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(stream)
}

#[test]
fn members_that_contradict_each_other() {
    let maker = Maker::new();
    let (plain, small) = (Wire::default(), Wire::builder().always_compressed().build());
    let passport = maker.chain(2);
    let (header, compressed) = (write(&plain, &passport), write(&small, &passport));
    let value = member(&header, "kest.passport").unwrap();
    let z = member(&compressed, "kest.passport_z").unwrap();
    let tip = member(&header, "kest.chain_tip").unwrap();
    let other_tip = hashes(&maker.chain(1)).remove(0);
    let first = &hashes(&passport)[0];
    let wire = Wire::default();

    refused(
        &wire,
        &[&format!("kest.passport={value}")],
        Malformed,
        "`kest.passport` came without `kest.chain_tip`",
    );
    refused(&wire, &[&format!("kest.passport_z={z}")], Malformed, "`kest.passport_z` came without");
    refused(&wire, &["kest.claim_check=f47ac10b-58cc-4372-a567-0e02b2c3d479"], Malformed, "came without");
    refused(&wire, &[&format!("kest.chain_tip={tip}")], Malformed, "without a passport");
    for wrong in [&other_tip, first, &format!("{first}.{tip}"), &format!("{tip}.{other_tip}")] {
        let header = format!("kest.passport={value},kest.chain_tip={wrong}");
        refused(&wire, &[&header], Malformed, "names other tips than the passport has");
    }
    for wrong in ["", "0", "x", &tip.to_uppercase(), &tip[1..], &format!("{tip}."), &format!("{tip}.{tip}")] {
        let header = format!("kest.passport={value},kest.chain_tip={wrong}");
        refused(&wire, &[&header], Malformed, "no list of different SHA-256 hashes");
    }
    let stale = format!("{header},kest.passport_z={z}");
    refused(&wire, &[&stale], Malformed, "more than one of");
    refused(&wire, &[&format!("{header},kest.claim_check=x")], Malformed, "more than one of");
}

#[test]
fn a_tail_that_was_lost_and_an_entry_that_dangles() {
    let maker = Maker::new();
    let wire = Wire::default();
    let passport = maker.chain(3);
    let jws: Vec<String> = passport.entries().iter().map(|entry| entry.jws().to_owned()).collect();
    let stray = maker.chain(1).entries()[0].jws().to_owned();
    let tip = &hashes(&passport)[2];
    let header = |entries: &[&String]| {
        let list: Vec<String> = entries.iter().map(|entry| format!("%22{entry}%22")).collect();
        format!("kest.passport=[{}],kest.chain_tip={tip}", list.join("%2C"))
    };
    for entries in
        [&[&jws[0], &jws[1]][..], &[&stray, &jws[0], &jws[1], &jws[2]], &[&jws[2], &jws[0], &jws[1], &stray]]
    {
        refused(&wire, &[&header(entries)], Malformed, "names other tips than the passport has");
    }
    // A gap is the verifier's to name: the tips are as they should be.
    let arrived = wire.read_blocking(&[header(&[&jws[0], &jws[2]]).as_bytes()]).unwrap();
    assert!(maker.refuses(arrived.lineage.unwrap()).contains("parent"));
}

#[test]
fn members_that_come_twice_in_one_header_or_in_two() {
    let header = write(&Wire::default(), &Maker::new().chain(1));
    let wire = Wire::default();
    refused(&wire, &[&header, &header], Malformed, "`kest.passport` came more than once");
    for key in
        ["user", "agent", "task", "jwt", "passport", "passport_z", "passport_d", "claim_check", "chain_tip"]
    {
        let (one, two) = (format!("kest.{key}=a"), format!(" kest.{key} = b"));
        refused(&wire, &[&one, &two], Malformed, &format!("`kest.{key}` came more than once"));
        refused(&wire, &[&format!("{one},{two}")], Malformed, &format!("`kest.{key}` came more than once"));
    }
    // What a user's name could smuggle in is one value.
    let mut parcel = kest_http::Parcel::new();
    parcel.user = Some("x,kest.chain_tip=0,kest.agent=root".into());
    let header = wire.write_blocking(&parcel, &[]).unwrap();
    let arrived = wire.read_blocking(&[header.as_bytes()]).unwrap();
    assert_eq!((arrived.user.as_deref(), arrived.agent), (Some("x,kest.chain_tip=0,kest.agent=root"), None));
}

#[test]
fn members_that_are_not_by_the_grammar() {
    let wire = Wire::default();
    for (member, says) in [
        ("kest.user", "`kest.user` has no value"),
        ("kest.user;p=1", "`kest.user` has no value"),
        ("kest.user=a;p=1", "`kest.user` has properties"),
        ("kest.user=a b", "must be percent-encoded"),
        ("kest.user=\"a\"", "must be percent-encoded"),
        ("kest.user=a\\b", "must be percent-encoded"),
        ("kest.user=ä", "must be percent-encoded"),
        ("kest.user=%", "begins no escape"),
        ("kest.user=%4", "begins no escape"),
        ("kest.user=%4g", "begins no escape"),
        ("kest.user=%+1", "begins no escape"),
        ("kest.user=%ff", "no UTF-8"),
        ("kest.user=%c0%80", "no UTF-8"),
        ("kest.user=%ed%a0%80", "no UTF-8"),
    ] {
        refused(&wire, &[member], Malformed, says);
    }
    let error = wire.read_blocking(&[b"kest.user=\xff"]).unwrap_err();
    assert_eq!(error.kind(), Malformed);
    let arrived = wire.read_blocking(&[b"kest.user=a%2Cb%e2%82%AC", b"junk=\xff"]).unwrap();
    assert_eq!(arrived.user.as_deref(), Some("a,b€"));
}

#[test]
fn more_bytes_members_or_entries_than_are_taken() {
    let maker = Maker::new();
    let wire = Wire::default();
    let long = format!("a={}", "x".repeat(8190));
    assert!(wire.read_blocking(&[long.as_bytes()]).is_ok());
    refused(&wire, &[&format!("{long}x")], TooLarge, "8193 bytes, more than the 8192 of `header_bytes`");
    refused(&wire, &[&long, ""], TooLarge, "`header_bytes`");
    let many = |count: usize| vec!["a=1"; count].join(",");
    assert!(wire.read_blocking(&[many(60).as_bytes(), many(4).as_bytes()]).is_ok());
    refused(&wire, &[&many(65)], TooLarge, "more than the 64 members of `members`");
    refused(&wire, &[&many(60), &many(5)], TooLarge, "`members`");
    let few = Wire::builder().entries(2).build();
    refused(&few, &[&write(&wire, &maker.chain(3))], TooLarge, "more than 2 entries (`entries`)");
    let small = Wire::builder().inflated_bytes(1000).build();
    refused(&small, &[&write(&wire, &maker.chain(2))], TooLarge, "`inflated_bytes`");
    let compressed = write(&Wire::builder().always_compressed().build(), &maker.chain(2));
    refused(&small, &[&compressed], TooLarge, "inflates to more than 1000 bytes");
}

#[test]
fn what_inflates_to_exactly_the_limit_is_read_and_one_byte_more_is_not() {
    let passport = Maker::new().chain(2);
    let header = write(&Wire::builder().always_compressed().build(), &passport);
    let text = wire_support::as_python_reads(&header).0;
    assert!(Wire::builder().inflated_bytes(text.len()).build().read_blocking(&[header.as_bytes()]).is_ok());
    let small = Wire::builder().inflated_bytes(text.len() - 1).build();
    refused(&small, &[&header], TooLarge, "`inflated_bytes`");
}

#[test]
fn streams_that_are_not_one_whole_zlib_stream() {
    let wire = Wire::default();
    let passport = Maker::new().chain(1);
    let text = passport.serialize();
    let tip = hashes(&passport).remove(0);
    let good = zlib(text.as_bytes());
    let header = |value: &str| format!("kest.passport_z={value},kest.chain_tip={tip}");
    for value in [packed(&good), URL_SAFE.encode_to_string(&good)] {
        assert!(wire.read_blocking(&[header(&value).as_bytes()]).is_ok());
    }
    let mut cut_anywhere: Vec<&[u8]> = (1..good.len()).step_by(7).map(|at| &good[..at]).collect();
    cut_anywhere.push(&good[..good.len() - 1]);
    for cut in cut_anywhere {
        refused(&wire, &[&header(&packed(cut))], Malformed, "ends in the middle of its zlib stream");
    }
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    refused(&wire, &[&header(&packed(&flipped))], Malformed, "is no zlib stream");
    refused(&wire, &[&header(&packed(&[&good[..], b"x"].concat()))], Malformed, "bytes behind the end");
    refused(&wire, &[&header(&packed(&[&good[..], &good[..]].concat()))], Malformed, "bytes behind the end");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    refused(&wire, &[&header(&packed(&gzip.finish().unwrap()))], Malformed, "is no zlib stream");
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
    raw.write_all(text.as_bytes()).unwrap();
    refused(&wire, &[&header(&packed(&raw.finish().unwrap()))], Malformed, "zlib stream");
    // RFC 1950 §2.2: a preset dictionary that nobody has.
    refused(&wire, &[&header(&packed(&[0x78, 0xbb, 1, 2, 3, 4]))], Malformed, "zlib stream");
    refused(&wire, &[&header(&packed(&zlib(b"[\"\xff\"]")))], Malformed, "no UTF-8");
    for value in ["", "!", "a", "%2B%2F", "ab=", "a%3D%3D%3D"] {
        refused(&wire, &[&header(value)], Malformed, "`kest.passport_z`");
    }
}

#[test]
fn texts_that_are_no_array_of_compact_jws() {
    let wire = Wire::default();
    let tip = "0".repeat(64);
    for (text, says) in [
        ("", "no JSON array"),
        ("null", "no JSON array"),
        ("{}", "no JSON array"),
        ("[", "no JSON array"),
        ("]", "no JSON array"),
        ("[]", "has no entries"),
        ("[ ]", "has no entries"),
        ("[1]", "no JSON array"),
        ("[\"a\",]", "no JSON array"),
        ("[\"a\" \"b\"]", "no compact JWS"),
        ("[[\"a\"]]", "no JSON array"),
        ("[\"\"]", "entry 0 of the passport is no compact JWS"),
        ("[\"a\\u002eb\"]", "no compact JWS"),
        ("[\"a b\"]", "no compact JWS"),
        ("[\"a\"] x", "no JSON array"),
        ("\u{feff}[\"a\"]", "no JSON array"),
        ("[\"a\"]", "names no parents"),
        ("[\"a.b.c\"]", "names no parents"),
        ("[\"a.e30.c\"]", "names no parents"),
        // What is neither `"0"` nor a hash: `["1"]`, `[0]`, and no list.
        ("[\"a.eyJwYXJlbnRfaWRzIjpbIjEiXX0.c\"]", "names no parents"),
        ("[\"a.eyJwYXJlbnRfaWRzIjpbMF19.c\"]", "names no parents"),
        ("[\"a.eyJwYXJlbnRfaWRzIjoiMCJ9.c\"]", "names no parents"),
    ] {
        let plain = percent(text);
        refused(&wire, &[&format!("kest.passport={plain},kest.chain_tip={tip}")], Malformed, says);
        let z = packed(&zlib(text.as_bytes()));
        refused(&wire, &[&format!("kest.passport_z={z},kest.chain_tip={tip}")], Malformed, says);
        let cache = Arc::new(Fixed { kept: Some(Arc::from(text)), shared: true });
        let claim = "kest.claim_check=f47ac10b-58cc-4372-a567-0e02b2c3d479";
        let cached = Wire::builder().cache(cache).build();
        refused(&cached, &[&format!("{claim},kest.chain_tip={tip}")], Malformed, says);
    }
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn claim_checks_that_lead_nowhere() {
    let tip = "0".repeat(64);
    let claim = |id: &str| format!("kest.claim_check={id},kest.chain_tip={tip}");
    let some = claim("f47ac10b-58cc-4372-a567-0e02b2c3d479");
    refused(&Wire::default(), &[&some], NoSharedCache, "no cache to redeem it at");
    let wire = Wire::builder().cache(Arc::new(MemoryCache::new())).build();
    refused(&wire, &[&some], ClaimNotFound, "nothing that the cache holds");
    refused(&wire, &[&claim("x%0d%0aDEL%20a")], Malformed, "no lowercase UUID");
    let large = Fixed { kept: Some(Arc::from("x".repeat((1 << 20) + 1))), shared: true };
    let wire = Wire::builder().cache(Arc::new(large)).build();
    refused(&wire, &[&some], TooLarge, "more than the 1048576 of `inflated_bytes`");
}

#[test]
fn a_claim_ends_with_its_time() {
    let cache = Arc::new(MemoryCache::new().shared_in_process());
    let wire = Wire::builder().cache(cache).claim_ttl(std::time::Duration::ZERO).build();
    let header = write(&wire, &Maker::new().chain(40));
    refused(&wire, &[&header], ClaimNotFound, "its time was over");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_an_answer_and_no_panic(
        headers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..4),
    ) {
        let headers: Vec<&[u8]> = headers.iter().map(Vec::as_slice).collect();
        for wire in [Wire::default(), Wire::builder().accept_python_form().build()] {
            if let Ok(arrived) = wire.read_blocking(&headers) {
                prop_assert!(arrived.lineage.is_none());
            }
        }
    }

    #[test]
    fn neither_are_members_of_ours_with_arbitrary_values(
        members in proptest::collection::vec((
            prop_oneof![
                Just("passport"), Just("passport_z"), Just("passport_d"), Just("claim_check"), Just("chain_tip"), Just("user"), Just("jwt"),
            ],
            "[ -~]{0,120}",
        ), 0..6),
    ) {
        let header: Vec<String> = members.iter().map(|(key, value)| format!("kest.{key}={value}")).collect();
        for wire in [Wire::default(), Wire::builder().accept_python_form().build()] {
            if let Ok(arrived) = wire.read_blocking(&[header.join(",").as_bytes()]) {
                prop_assert!(arrived.lineage.is_none());
            }
        }
    }

    #[test]
    fn a_changed_byte_is_an_error_or_the_same_lineage(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        thread_local! {
            static SENT: (Vec<u8>, Vec<u8>) = {
                let passport = Maker::new().chain(2);
                let z = write(&Wire::builder().always_compressed().build(), &passport);
                (write(&Wire::default(), &passport).into_bytes(), z.into_bytes())
            };
        }
        SENT.with(|(plain, z)| {
            for header in [plain, z] {
                let wire = Wire::default();
                let whole = wire.read_blocking(&[header]).unwrap();
                let mut changed = header.clone();
                *at.get_mut(&mut changed) = to;
                // An entry that changed is the verifier's to refuse; what must not happen is a lineage that is gone.
                if let Ok(arrived) = wire.read_blocking(&[&changed]) {
                    let length = arrived.lineage.as_ref().map(|lineage| lineage.len());
                    assert_eq!(length, whole.lineage.as_ref().map(|lineage| lineage.len()));
                }
            }
        });
    }
}
