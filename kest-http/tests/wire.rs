//! What is written is read again: tiers, tips, identity, members of others (spec §12).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod wire_support;

use std::sync::Arc;

use kest_core::Passport;
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::lineage::Jwt;
use kest_core::verify::UnverifiedPassport;
use kest_http::{Arrived, Parcel, Wire};
use kest_providers::cache::MemoryCache;
use proptest::prelude::*;
use serde_json::json;
use wire_support::{Fixed, Maker, as_python_reads, hashes, is_strict_baggage, keys, member, tiers, write};

fn read(wire: &Wire, header: &str) -> Result<Arrived, PropagationError> {
    wire.read_blocking(&[header.as_bytes()])
}

fn entries(arrived: &Arrived) -> Vec<String> {
    arrived.lineage.as_ref().unwrap().entries().map(str::to_owned).collect()
}

fn sent(passport: &Passport) -> Vec<String> {
    passport.entries().iter().map(|entry| entry.jws().to_owned()).collect()
}

fn shared() -> Arc<MemoryCache> {
    Arc::new(MemoryCache::new().shared_in_process())
}

#[test]
fn each_tier_brings_the_same_lineage_over_and_stands_alone() {
    let maker = Maker::new();
    let wire = Wire::builder().cache(shared()).build();
    let mut seen = Vec::new();
    for length in [1, 2, 3, 5, 8, 13, 40] {
        let passport = maker.chain(length);
        let header = write(&wire, &passport);
        let [tier] = tiers(&header)[..] else { panic!("{header}") };
        assert!(is_strict_baggage(&header) && header.len() <= 8192, "{header}");
        assert_eq!(member(&header, "kest.chain_tip"), Some(&*hashes(&passport)[length - 1]));
        let arrived = read(&wire, &header).unwrap();
        assert_eq!(entries(&arrived), sent(&passport), "{tier}");
        let verified = maker.verified(arrived.lineage.unwrap());
        assert_eq!(hashes(verified.passport()), hashes(&passport));
        if seen.last() != Some(&tier.to_owned()) {
            seen.push(tier.to_owned());
        }
    }
    assert_eq!(
        seen,
        ["kest.passport", "kest.passport_z", "kest.claim_check"],
        "the tiers, shortest lineage first"
    );
}

#[tokio::test]
async fn the_async_forms_say_the_same() {
    let maker = Maker::new();
    let wire = Wire::builder().cache(shared()).build();
    for length in [1, 40] {
        let passport = maker.chain(length);
        let header = wire.write(&Parcel::of(passport.clone()), &[]).await.unwrap();
        assert_eq!(entries(&wire.read(&[header.as_bytes()]).await.unwrap()), sent(&passport));
    }
}

#[test]
fn what_is_packed_once_is_sent_again_and_never_for_another_lineage() {
    let maker = Maker::new();
    let wire = Wire::builder().always_compressed().build();
    let whole = maker.chain(5);
    let earlier = maker.verified(UnverifiedPassport::from_iter(sent(&whole).into_iter().take(2)));
    // Of the same tip, and without the entries before it.
    let since = whole.since(earlier.passport());
    for passport in [&whole, &since, &maker.chain(5), &whole, &since] {
        let header = write(&wire, passport);
        assert_eq!(header, write(&Wire::builder().always_compressed().build(), passport));
        assert_eq!(tiers(&header), ["kest.passport_z"]);
    }
    assert_ne!(write(&wire, &whole), write(&wire, &since));
    assert_eq!(entries(&read(&wire, &write(&wire, &whole)).unwrap()), sent(&whole));
    let refusal = || wire.write_blocking(&Parcel::of(maker.chain(60)), &[]).unwrap_err().to_string();
    assert!(refusal().contains("the lineage does not fit into a header"), "{}", refusal());
}

#[test]
fn the_threshold_counts_the_encoded_value() {
    let maker = Maker::new();
    let passport = maker.chain(2);
    let header = write(&Wire::default(), &passport);
    let length = member(&header, "kest.passport").unwrap().len();
    let at = |bytes| tiers(&write(&Wire::builder().tier_bytes(bytes).build(), &passport)).join("+");
    assert_eq!(at(length), "kest.passport");
    assert_eq!(at(length - 1), "kest.passport_z");
}

#[test]
fn a_tier_must_fit_beside_the_other_members_too() {
    let maker = Maker::new();
    let wire = Wire::builder().cache(shared()).build();
    let passport = maker.chain(2);
    let fill = |bytes: usize| format!("other={}", "x".repeat(bytes - "other=".len()));
    let of = |bytes| wire.write_blocking(&Parcel::of(passport.clone()), &[&fill(bytes)]).unwrap();
    for (bytes, tier) in
        [(4000, "kest.passport"), (6000, "kest.passport_z"), (8192 - 134, "kest.claim_check")]
    {
        let header = of(bytes);
        assert_eq!(tiers(&header), [tier]);
        assert!(header.len() <= 8192);
        assert_eq!(entries(&read(&wire, &header).unwrap()), sent(&passport));
    }
    let error = wire.write_blocking(&Parcel::of(passport.clone()), &[&fill(8192 - 133)]).unwrap_err();
    assert_eq!(error.kind(), PropagationErrorKind::TooLarge);
    assert!(error.to_string().contains("the largest member is `other` with 8059 bytes"), "{error}");
}

#[test]
fn several_tips_stand_in_the_header_oldest_first_and_are_read_again() {
    let maker = Maker::new();
    let wire = Wire::default();
    let fan = maker.fan(3);
    let tips: Vec<String> = fan.tips().iter().map(|tip| tip.hash()).collect();
    let header = write(&wire, &fan);
    assert_eq!(member(&header, "kest.chain_tip").unwrap(), tips.join("."));
    assert_eq!(entries(&read(&wire, &header).unwrap()), sent(&fan));
}

#[test]
fn nothing_to_send_is_an_empty_header_and_no_header_is_no_lineage() {
    let wire = Wire::default();
    assert_eq!(wire.write_blocking(&Parcel::new(), &[]).unwrap(), "");
    for headers in [&[][..], &[&b""[..]], &[&b" , ,"[..]], &[&b"a=1,b=2;c"[..], &b"noise"[..]]] {
        let arrived = wire.read_blocking(headers).unwrap();
        assert!(arrived.lineage.is_none() && arrived.user.is_none() && arrived.jwt.is_none());
    }
}

#[test]
fn identity_goes_as_a_string_or_as_canonical_json_and_the_token_only_when_it_was_put_in() {
    let wire = Wire::default();
    let mut parcel = Parcel::new();
    parcel.user = Some(json!("alice"));
    parcel.agent = Some(json!({"z": 1, "id": "bot,kest.task=root"}));
    parcel.task = Some(json!(null));
    let header = wire.write_blocking(&parcel, &[]).unwrap();
    assert_eq!(keys(&header), ["kest.user", "kest.agent"]);
    let arrived = read(&wire, &header).unwrap();
    assert_eq!(arrived.user.as_deref(), Some("alice"));
    assert_eq!(arrived.agent.as_deref(), Some(r#"{"id":"bot,kest.task=root","z":1}"#));
    assert_eq!((arrived.task, arrived.jwt), (None, None));

    let header = wire.write_blocking(&parcel.with_jwt(Jwt::new("a.b.c")), &[]).unwrap();
    let arrived = read(&wire, &header).unwrap();
    assert_eq!(arrived.jwt.as_ref().map(Jwt::reveal), Some("a.b.c"));
    assert!(!format!("{arrived:?}").contains("a.b.c"));
}

#[test]
fn members_of_others_stay_as_they_are_and_ours_are_never_taken_from_them() {
    let wire = Wire::default();
    let mut parcel = Parcel::new();
    parcel.user = Some(json!("alice"));
    let others = [
        "tenant=a%20b;ttl=3;secret, kest.user=mallory,region=eu",
        "kest.jwt=x,kest.roles=[],kest%2Euser=mallory,KEST.user=m,%6best.chain_tip=0,kestrel=1,,",
    ];
    let header = wire.write_blocking(&parcel, &others).unwrap();
    assert_eq!(header, "kest.user=alice,tenant=a%20b;ttl=3;secret,region=eu,kestrel=1");
}

#[test]
fn members_of_others_that_are_none_or_do_not_fit_are_errors_and_not_left_out() {
    let wire = Wire::builder().members(3).build();
    for (others, kind, says) in [
        ("a=\"b\"", PropagationErrorKind::Malformed, "member `a` of `baggage`"),
        ("a=b c", PropagationErrorKind::Malformed, "member `a` of `baggage`"),
        ("a=ä", PropagationErrorKind::Malformed, "member `a` of `baggage`"),
        ("a=1\r\nx: y", PropagationErrorKind::Malformed, "member `a` of `baggage`"),
        ("a b=1", PropagationErrorKind::Malformed, "member `a b` of `baggage`"),
        ("=1", PropagationErrorKind::Malformed, "member `` of `baggage`"),
        ("a", PropagationErrorKind::Malformed, "member `a` of `baggage`"),
        ("a=1;b c=2", PropagationErrorKind::Malformed, "member `a` of `baggage`"),
        ("a=1,b=2,c=3,d=4", PropagationErrorKind::TooLarge, "4 members, more than the 3 of `members`"),
    ] {
        let error = wire.write_blocking(&Parcel::new(), &[others]).unwrap_err();
        assert_eq!(error.kind(), kind, "{others}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let long = format!("a=1,b={}", "x".repeat(9000));
    let error = wire.write_blocking(&Parcel::new(), &[&long]).unwrap_err();
    assert_eq!(error.kind(), PropagationErrorKind::TooLarge);
    assert!(error.to_string().contains("`b`") && error.to_string().contains("`header_bytes`"), "{error}");
}

#[test]
fn a_lineage_that_does_not_fit_needs_a_cache_that_the_receiver_reads() {
    let passport = Maker::new().chain(40);
    let private = Arc::new(MemoryCache::new());
    for (wire, says, shares) in [
        (Wire::default(), "there is no cache", false),
        (Wire::builder().cache(private).build(), "not declared shared", true),
    ] {
        let error = wire.write_blocking(&Parcel::of(passport.clone()), &[]).unwrap_err();
        assert_eq!(error.kind(), PropagationErrorKind::NoSharedCache);
        let text = error.to_string();
        assert_eq!(text.contains("`MemoryCache::new().shared_in_process()`"), shares, "{text}");
        assert!(
            text.contains(says)
                && text.contains("bytes compressed")
                && text.contains("`tier_bytes`")
                && text.contains("cache(…)")
                && text.contains("`.dense()`"),
            "{text}"
        );
    }
    let broken = Wire::builder().cache(Arc::new(Fixed { kept: None, shared: true })).build();
    let error = broken.write_blocking(&Parcel::of(passport.clone()), &[]).unwrap_err();
    assert_eq!(error.kind(), PropagationErrorKind::Cache, "no claim check goes out for what was not kept");
    let dense = Wire::builder().dense().tier_bytes(64).build();
    let text = dense.write_blocking(&Parcel::of(passport), &[]).unwrap_err().to_string();
    assert!(text.contains("bytes in the dense form") && !text.contains("compressed"), "{text}");
    assert!(!text.contains(".dense()"), "{text}");
}

#[test]
fn what_receivers_would_not_take_is_not_sent() {
    let passport = Maker::new().chain(3);
    for (wire, setting) in [
        (Wire::builder().entries(2).build(), "`entries`"),
        (Wire::builder().inflated_bytes(1000).build(), "`inflated_bytes`"),
    ] {
        let error = wire.write_blocking(&Parcel::of(passport.clone()), &[]).unwrap_err();
        assert_eq!(error.kind(), PropagationErrorKind::TooLarge);
        assert!(error.to_string().contains(setting), "{error}");
    }
}

#[test]
fn python_reads_what_is_always_compressed() {
    let maker = Maker::new();
    let wire = Wire::builder().always_compressed().build();
    for length in 1..9 {
        let passport = maker.chain(length);
        let header = write(&wire, &passport);
        assert!(is_strict_baggage(&header) && !header.contains('%'), "{header}");
        let (text, tip) = as_python_reads(&header);
        assert_eq!(text.trim_end(), passport.serialize());
        assert_eq!(tip, hashes(&passport)[length - 1]);
        assert_eq!(entries(&read(&Wire::default(), &header).unwrap()), sent(&passport));
    }
}

fn anything() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        proptest::string::string_regex("[a-z ,;=%+\"\\\\\u{0}\r\n\t\u{fc}\u{1f600}.-]{0,60}").unwrap(),
    ]
}

proptest! {
    #[test]
    fn whatever_identity_says_arrives_as_it_was(user in anything(), agent in anything(), jwt in anything()) {
        let wire = Wire::default();
        let mut parcel = Parcel::new().with_jwt(Jwt::new(jwt.clone()));
        parcel.user = Some(json!(user));
        parcel.agent = Some(json!(agent));
        let header = wire.write_blocking(&parcel, &["other=1;p"]).unwrap();
        prop_assert!(is_strict_baggage(&header), "{}", header);
        prop_assert_eq!(keys(&header), ["kest.user", "kest.agent", "kest.jwt", "other"]);
        let arrived = read(&wire, &header).unwrap();
        prop_assert_eq!(arrived.user, Some(user));
        prop_assert_eq!(arrived.agent, Some(agent));
        prop_assert_eq!(arrived.jwt.as_ref().map(Jwt::reveal), Some(&*jwt));
        prop_assert!(arrived.lineage.is_none() && arrived.task.is_none());
    }

    #[test]
    fn what_is_written_is_baggage_within_its_limits_whatever_others_wrote(
        user in proptest::option::of(proptest::string::string_regex("[ -~\u{fc}]{0,3000}").unwrap()),
        others in proptest::collection::vec(proptest::string::string_regex("[a-z.%= ;,\"k-]{0,2000}").unwrap(), 0..4),
    ) {
        let wire = Wire::default();
        let mut parcel = Parcel::new();
        parcel.user = user.map(|user| json!(user));
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        if let Ok(header) = wire.write_blocking(&parcel, &others) {
            prop_assert!(header.len() <= 8192);
            prop_assert!(header.split(',').count() <= 64);
            for member in header.split(',').filter(|member| !member.is_empty()) {
                prop_assert!(member.contains('='), "{}", member);
            }
            let arrived = read(&wire, &header).unwrap();
            prop_assert_eq!(arrived.user.map(|user| json!(user)), parcel.user);
        }
    }
}
