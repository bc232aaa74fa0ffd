//! Entries whose principal a SPIFFE trust bundle speaks for: what is accepted, when, and what the report says.
#![cfg(feature = "aws-lc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;
mod x5c_support;

use std::time::Duration;

use kest_core::jws::Jws;
use kest_core::keys::Jwks;
use kest_core::verify::{
    Anchors, Authority, ChainError, Grant, Moment, Verdict, Verifier, VerifyError, VerifyFailure,
};
use verify_support::{NOW_MS, Workload};
use x5c_support::{Ca, HOUR_MS, Kind, ORDERS, SHIPPING, refused, valid, verify};

fn chain_error(error: &VerifyError) -> &ChainError {
    match error.failure() {
        VerifyFailure::Chain { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[test]
fn every_kind_of_key_verifies() {
    let root = Ca::root("root");
    let intermediate = root.under("intermediate", |_| {});
    for kind in [Kind::Ed25519, Kind::P256, Kind::P384, Kind::Rsa] {
        for ca in [&root, &intermediate] {
            let svid = ca.svid_of(kind, ORDERS, |_| {});
            let verified = verify(&[svid.entry(0)], root.verifier()).unwrap();
            let report = verified.report();
            assert_eq!(report.signatures.verdict, Verdict::Pass, "{kind:?}");
            assert_eq!(report.identity.verdict, Verdict::Pass);
            assert_eq!(
                report.identity.reason,
                "its one principal is anchored, by certificates of `example.org`"
            );
            assert!(report.findings.is_empty(), "{:?}", report.findings);
        }
    }
}

#[test]
fn every_kind_of_authority_stands_behind_a_chain() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_RSA_SHA512,
    ] {
        let root = Ca::root_with(algorithm, "root", |_| {});
        verify(&[root.svid(ORDERS).entry(0)], root.verifier()).unwrap();
    }
}

#[test]
fn a_chain_may_bring_its_root_along() {
    let root = Ca::root("root");
    let mut svid = root.under("intermediate", |_| {}).svid(ORDERS);
    svid.chain.push(root.der());
    verify(&[svid.entry(0)], root.verifier()).unwrap();
}

#[test]
fn an_authority_that_was_renewed_counts_at_both_times() {
    // The same name twice, as two authorities of SPIRE have it.
    let (old, new) = (Ca::root("SPIRE"), Ca::root("SPIRE"));
    let (first, second) = (old.svid(ORDERS), new.svid(ORDERS));
    let root = first.entry(0);
    let child = second.after(1, &[&root], NOW_MS + 1);
    let both = |names: &[&Ca]| {
        let authorities = names.iter().map(|ca| ca.der());
        let mut bundles = kest_core::verify::TrustBundles::new();
        bundles
            .insert(kest_core::verify::Authorities::from_der("example.org", authorities).unwrap())
            .unwrap();
        Verifier::builder().keys(bundles)
    };
    verify(&[&root, &child], both(&[&old, &new])).unwrap();
    verify(&[&root, &child], both(&[&new, &old])).unwrap();
    assert_eq!(refused(&[&root, &child], both(&[&new])), "Signature");
}

#[test]
fn an_svid_for_tls_signs_entries_too() {
    let root = Ca::root("root");
    let svid = root.svid_with(ORDERS, |params| {
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages.push(rcgen::KeyUsagePurpose::KeyEncipherment);
        params.subject_alt_names.push(rcgen::SanType::DnsName("orders.example.org".try_into().unwrap()));
    });
    verify(&[svid.entry(0)], root.verifier()).unwrap();
}

#[test]
fn the_report_counts_principals_by_what_speaks_for_them() {
    let (ours, theirs) = (Ca::root("ours"), Ca::root("theirs"));
    let pinned = Workload::new(1);
    let first = pinned.sign(&pinned.root(0));
    let orders = ours.svid(ORDERS).after(1, &[&first], NOW_MS);
    let partner = theirs.svid("spiffe://partner.example/intake").after(2, &[&orders], NOW_MS);
    let entries = [&first, &orders, &partner];
    let builder = || ours.verifier().keys(theirs.bundle("partner.example")).keys(pinned.anchors());
    let verified = verify(&entries, builder()).unwrap();
    assert_eq!(
        verified.report().identity.reason,
        "all 3 principals are anchored, 2 by certificates of `example.org`, `partner.example`"
    );
    let time = &verified.report().time;
    assert_eq!(time.verdict, Verdict::NotChecked);
    assert_eq!(
        time.reason,
        "asserted time: the signers' own clocks, and nothing to check them against; certificates were valid at the \
         times asserted"
    );
    // Received: not every principal has a certificate.
    let verified = verify(&entries, builder().received_at(NOW_MS + 5)).unwrap();
    assert_eq!(verified.report().time.verdict, Verdict::NotChecked);
    assert!(
        verified.report().time.reason.contains("not every principal"),
        "{}",
        verified.report().time.reason
    );
}

#[test]
fn authority_goes_by_trust_domain() {
    let (ours, theirs) = (Ca::root("ours"), Ca::root("theirs"));
    let orders = ours.svid(ORDERS).entry(0);
    let intake = theirs.svid("spiffe://partner.example/intake").entry(1);
    let builder = || ours.verifier().keys(theirs.bundle("partner.example"));
    let own = verify(&[&orders, &intake], builder()).unwrap();
    assert!(own.effective().iter().all(|effective| effective.trust_score == 80), "{:?}", own.effective());
    let rules = Authority::new([
        ("spiffe://example.org", Grant::own()),
        ("spiffe://partner.example", Grant::federated()),
    ]);
    let ruled = verify(&[&orders, &intake], builder().authority(rules.unwrap())).unwrap();
    let scores: Vec<u8> = ruled.effective().iter().map(|effective| effective.trust_score).collect();
    assert_eq!(scores[0], 80);
    assert!(scores[1] <= 70, "{scores:?}");
}

#[test]
fn a_pinned_key_goes_before_a_bundle() {
    let root = Ca::root("root");
    let (pinned, other) = (root.svid(ORDERS), root.svid(ORDERS));
    let mut anchors = Anchors::new();
    anchors.insert(ORDERS, Jwks(vec![pinned.jwk()])).unwrap();
    let builder = || root.verifier().keys(anchors.clone());
    let verified = verify(&[pinned.entry(0)], builder()).unwrap();
    assert_eq!(verified.report().identity.reason, "its one principal is anchored");
    let finding = &verified.report().findings[0].text;
    assert!(finding.starts_with("the certificate chain in `x5c` was not validated"), "{finding}");
    // Good by the bundle, and not the key that is pinned.
    assert_eq!(refused(&[other.entry(0)], builder()), "UnknownKey");
    verify(&[other.entry(0)], root.verifier()).unwrap();
}

/// One workload before and after a rotation: its SVIDs overlap by half an hour.
fn rotated(root: &Ca) -> [Jws; 3] {
    let first = root.svid_with(ORDERS, |p| valid(p, NOW_MS - 2 * HOUR_MS, NOW_MS - HOUR_MS));
    let second = root.svid_with(ORDERS, |p| valid(p, NOW_MS - 3 * HOUR_MS / 2, NOW_MS + HOUR_MS));
    let a = first.after(0, &[], NOW_MS - 2 * HOUR_MS + 1_000);
    let b = first.after(1, &[&a], NOW_MS - HOUR_MS);
    let c = second.after(2, &[&b], NOW_MS);
    [a, b, c]
}

#[test]
fn an_archive_goes_by_the_times_of_its_entries() {
    let root = Ca::root("root");
    let entries = rotated(&root);
    let verified = verify(&entries, root.verifier()).unwrap();
    assert_eq!(
        verified.report().identity.reason,
        "its one principal is anchored, by certificates of `example.org`"
    );
    let late = root.svid_with(ORDERS, |p| valid(p, NOW_MS - 2 * HOUR_MS, NOW_MS - HOUR_MS));
    let good = late.after(0, &[], NOW_MS - HOUR_MS + 999);
    verify(&[&good], root.verifier()).unwrap();
    // The second entry of an SVID whose first was good is looked at with its own time.
    let bad = late.after(1, &[&good], NOW_MS - HOUR_MS + 1_000);
    let error = verify(&[&good, &bad], root.verifier()).unwrap_err();
    assert_eq!(error.entry(), Some(1));
    assert!(matches!(chain_error(&error), ChainError::Expired { moment: Moment::Asserted, .. }), "{error}");
    assert_eq!(error.report().identity.verdict, Verdict::Fail);
    let early = late.after(2, &[], NOW_MS - 2 * HOUR_MS - 1);
    let error = verify(&[&early], root.verifier()).unwrap_err();
    assert!(
        matches!(chain_error(&error), ChainError::NotYetValid { moment: Moment::Asserted, .. }),
        "{error}"
    );
}

#[test]
fn a_received_archive_goes_by_its_receipt() {
    let root = Ca::root("root");
    let svid = root.svid_with(ORDERS, |p| valid(p, NOW_MS - HOUR_MS, NOW_MS + HOUR_MS));
    let entry = svid.after(0, &[], NOW_MS - HOUR_MS - 1);
    let at = |received_ms| verify(&[&entry], root.verifier().received_at(received_ms));
    assert_eq!(refused(&[&entry], root.verifier()), "NotYetValid");
    let verified = at(NOW_MS + HOUR_MS).unwrap();
    assert_eq!(verified.report().time.verdict, Verdict::Pass);
    assert!(verified.report().time.reason.contains("when the passport was received"));
    let error = at(NOW_MS + HOUR_MS + 1_000).unwrap_err();
    assert!(
        matches!(chain_error(&error), ChainError::Expired { seconds: 1, moment: Moment::Received }),
        "{error}"
    );
    let error = at(NOW_MS - HOUR_MS - 1).unwrap_err();
    assert!(
        matches!(chain_error(&error), ChainError::NotYetValid { moment: Moment::Received, .. }),
        "{error}"
    );
    // A verifier is made once, and used for passports of many days.
    let verifier = root.verifier().build();
    assert!(verify_support::passport(&[&entry]).verify(&verifier.received_at(NOW_MS)).is_ok());
    assert!(verify_support::passport(&[&entry]).verify(&verifier).is_err());
    let ahead = svid.after(1, &[], NOW_MS + 10);
    let verified = verify(&[&ahead], root.verifier().received_at(NOW_MS)).unwrap();
    assert_eq!(verified.report().time.verdict, Verdict::NotChecked);
    let finding = &verified.report().findings[0].text;
    assert_eq!(finding, "dated later than the passport was received, by 10 ms (entries: 1)");
}

#[test]
fn at_ingress_a_certificate_is_valid_now_or_was_for_a_young_entry() {
    let root = Ca::root("root");
    let ingress = |now_ms: u64, max_age_s: u64, skew_s: u64| {
        let (age, skew) = (Duration::from_secs(max_age_s), Duration::from_secs(skew_s));
        root.verifier().ingress(now_ms, age, skew)
    };
    let svid = root.svid_with(ORDERS, |p| valid(p, NOW_MS - HOUR_MS, NOW_MS));
    let entry = svid.after(0, &[], NOW_MS - 10_000);
    verify(&[&entry], ingress(NOW_MS, 60, 0)).unwrap();
    // Expired since, and the entry is young.
    verify(&[&entry], ingress(NOW_MS + 30_000, 60, 0)).unwrap();
    // Expired since, and the entry is older: the tip is young, so that only the certificate is left to refuse.
    let other = root.svid_with(SHIPPING, |p| valid(p, NOW_MS - HOUR_MS, NOW_MS + HOUR_MS));
    let tip = other.after(1, &[&entry], NOW_MS + 60_000);
    let error = verify(&[&entry, &tip], ingress(NOW_MS + 60_000, 60, 0)).unwrap_err();
    assert_eq!(error.entry(), Some(0));
    assert!(matches!(chain_error(&error), ChainError::Expired { moment: Moment::Now, .. }), "{error}");
    // The skew makes up for it: 60 s on the clock, 10 s on the age.
    verify(&[&entry, &tip], ingress(NOW_MS + 60_000, 60, 60)).unwrap();
    verify(&[&entry, &tip], ingress(NOW_MS + 60_000, 60, 10)).unwrap();
    // Valid now, and not yet at the time of the entry.
    let fresh = root.svid_with(ORDERS, |p| valid(p, NOW_MS, NOW_MS + HOUR_MS));
    let entry = fresh.after(2, &[], NOW_MS - 5_000);
    assert_eq!(refused(&[&entry], ingress(NOW_MS, 60, 4)), "Predates");
    verify(&[&entry], ingress(NOW_MS, 60, 5)).unwrap();
    // A clock behind that of the authority.
    verify(&[&entry], ingress(NOW_MS - 4_000, 60, 5)).unwrap();
    let error = verify(&[&entry], ingress(NOW_MS - 4_000, 60, 1)).unwrap_err();
    assert!(
        matches!(chain_error(&error), ChainError::NotYetValid { seconds: 4, moment: Moment::Now }),
        "{error}"
    );
    // An SVID that was stolen after it expired can date its entries as it likes.
    let stolen = root.svid_with(ORDERS, |p| valid(p, NOW_MS - 2 * HOUR_MS, NOW_MS - HOUR_MS));
    assert_eq!(refused(&[stolen.after(3, &[], NOW_MS)], ingress(NOW_MS, 7_200, 5)), "Expired");
}

#[test]
fn no_entry_is_older_than_its_certificate() {
    let root = Ca::root("root");
    let svid = root.svid_with(ORDERS, |p| valid(p, NOW_MS - HOUR_MS, NOW_MS + HOUR_MS));
    let dated = |at_ms| svid.after(0, &[], at_ms);
    let received = || root.verifier().received_at(NOW_MS);
    verify(&[dated(NOW_MS - HOUR_MS - 10_000)], received()).unwrap();
    let error = verify(&[dated(NOW_MS - HOUR_MS - 10_001)], received()).unwrap_err();
    assert!(matches!(chain_error(&error), ChainError::Predates { seconds: 11 }), "{error}");
    let ingress = || root.verifier().ingress(NOW_MS, Duration::from_secs(60), Duration::from_secs(5));
    // Not the tip, so that its age is not looked at.
    let old = dated(NOW_MS - HOUR_MS - 5_001);
    let tip = svid.after(1, &[&old], NOW_MS);
    let error = verify(&[&old, &tip], ingress()).unwrap_err();
    assert_eq!(error.entry(), Some(0));
    assert!(matches!(chain_error(&error), ChainError::Predates { seconds: 6 }), "{error}");
    // Others' entries may have other clocks.
    let mut payload = svid.payload(0);
    payload["timestamp_ms"] = (NOW_MS - 10_000 * HOUR_MS).into();
    let foreign = svid.sign(&Workload::foreign(payload));
    let tip = svid.after(1, &[&foreign], NOW_MS);
    let verified = verify(&[&foreign, &tip], received()).unwrap();
    let report = verified.report();
    assert_eq!(report.time.verdict, Verdict::NotChecked, "{report}");
    let finding = "dated before its certificate was valid (entries: 1)";
    assert!(report.findings.iter().any(|f| f.entry == Some(0) && f.text == finding), "{report}");
    // Later than the certificate ends is later than the receipt.
    let verified = verify(&[dated(NOW_MS + 2 * HOUR_MS)], received()).unwrap();
    assert_eq!(verified.report().time.verdict, Verdict::NotChecked, "{}", verified.report());
}

#[test]
fn chains_to_validate_are_bounded() {
    let root = Ca::root("root");
    let entries: Vec<Jws> = (0..3).map(|n| root.svid(ORDERS).after(n, &[], NOW_MS)).collect();
    let limits = |chains, ingress_chains| {
        let mut limits = kest_core::verify::Limits::default();
        (limits.chains, limits.ingress_chains) = (chains, ingress_chains);
        limits
    };
    let ingress =
        |b: kest_core::verify::VerifierBuilder| b.ingress(NOW_MS, Duration::from_secs(60), Duration::ZERO);
    let builder = |chains, own| root.verifier().limits(limits(chains, own));
    verify(&entries, builder(3, 2)).unwrap();
    verify(&entries, ingress(builder(3, 3))).unwrap();
    for (builder, setting) in
        [(builder(2, 9), "`Limits::chains`"), (ingress(builder(9, 2)), "`Limits::ingress_chains`")]
    {
        let error = verify(&entries, builder).unwrap_err();
        assert_eq!(error.entry(), Some(2));
        assert!(error.to_string().contains(setting), "{error}");
    }
    // Those that fail count as well: valid at one of several times is enough.
    let expired =
        root.svid_with(ORDERS, |p| valid(p, NOW_MS - HOUR_MS, NOW_MS - 1_000)).after(4, &[], NOW_MS - 1_000);
    verify(&[&expired], ingress(builder(9, 4))).unwrap();
    let error = verify(&[&expired], ingress(builder(9, 3))).unwrap_err();
    assert!(error.to_string().contains("`Limits::ingress_chains`"), "{error}");
    let default = kest_core::verify::Limits::default();
    assert_eq!((default.chains, default.ingress_chains), (1_024, 64));
}

#[test]
fn several_trust_domains_without_rules_are_a_finding() {
    let (ours, theirs) = (Ca::root("ours"), Ca::root("theirs"));
    let first = ours.svid(ORDERS).entry(0);
    let second = theirs.svid("spiffe://partner.example/intake").after(1, &[&first], NOW_MS);
    let builder = || ours.verifier().keys(theirs.bundle("partner.example"));
    let found = |entries: &[&Jws], builder| {
        let verified = verify(entries, builder).unwrap();
        verified.report().findings.iter().filter(|f| f.text.contains("[verification.authority]")).count()
    };
    assert_eq!(found(&[&first, &second], builder()), 1);
    assert_eq!(found(&[&first], builder()), 0);
    let rules = [
        ("spiffe://example.org", kest_core::verify::Grant::own()),
        ("spiffe://partner.example", kest_core::verify::Grant::federated()),
    ];
    let authority = kest_core::verify::Authority::new(rules).unwrap();
    assert_eq!(found(&[&first, &second], builder().authority(authority)), 0);
}

#[test]
fn with_a_receipt_ingress_demands_both() {
    let root = Ca::root("root");
    let svid = root.svid_with(ORDERS, |p| valid(p, NOW_MS - HOUR_MS, NOW_MS + HOUR_MS));
    let entry = svid.entry(0);
    let at = |received_ms| {
        root.verifier().ingress(NOW_MS, Duration::from_secs(60), Duration::ZERO).received_at(received_ms)
    };
    verify(&[&entry], at(NOW_MS)).unwrap();
    let error = verify(&[&entry], at(NOW_MS + 2 * HOUR_MS)).unwrap_err();
    assert!(matches!(chain_error(&error), ChainError::Expired { moment: Moment::Received, .. }), "{error}");
}

#[test]
fn foreign_entries_need_no_kid() {
    let root = Ca::root("root");
    let svid = root.svid(ORDERS);
    let foreign = Workload::foreign(svid.payload(0));
    let header = kest_core::jws::EncodedHeader::with_x5c(svid.kind.alg(), "any", &svid.chain);
    verify(&[svid.sign_under(&header, &foreign)], root.verifier()).unwrap();
    assert_eq!(refused(&[svid.sign_under(&header, &svid.payload(0))], root.verifier()), "Kid");
}
