//! Certificate chains that do not speak for a principal: each is good but for the one thing that its test is about.
#![cfg(feature = "aws-lc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;
mod x5c_support;

use std::sync::Arc;

use kest_core::jws::{Algorithm, EncodedHeader};
use kest_core::keys::{Jwks, KeyError};
use kest_core::verify::{Authorities, KeySource, Step, TrustBundles, Verdict, Verifier, VerifyFailure};
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, KeyPair, KeyUsagePurpose, SanType};
use verify_support::NOW_MS;
use x5c_support::{Ca, HOUR_MS, Kind, ORDERS, SHIPPING, Svid, refused, valid, verify};

/// How the SVID is refused that `change` makes of a good one.
fn refused_leaf(change: impl FnOnce(&mut CertificateParams)) -> String {
    let root = Ca::root("root");
    verify(&[root.svid(ORDERS).entry(0)], root.verifier()).unwrap();
    refused(&[root.svid_with(ORDERS, change).entry(0)], root.verifier())
}

/// How the SVID of an intermediate is refused that `change` makes of a good one.
fn refused_intermediate(change: impl FnOnce(&mut CertificateParams)) -> String {
    let root = Ca::root("root");
    let good = root.under("intermediate", |_| {});
    verify(&[good.svid(ORDERS).entry(0)], root.verifier()).unwrap();
    refused(&[root.under("intermediate", change).svid(ORDERS).entry(0)], root.verifier())
}

#[test]
fn certificates_have_their_time() {
    let past = |p: &mut CertificateParams| valid(p, NOW_MS - 2 * HOUR_MS, NOW_MS - HOUR_MS);
    let future = |p: &mut CertificateParams| valid(p, NOW_MS + HOUR_MS, NOW_MS + 2 * HOUR_MS);
    assert_eq!(refused_leaf(past), "Expired");
    assert_eq!(refused_leaf(future), "NotYetValid");
    assert_eq!(refused_intermediate(past), "Expired");
    assert_eq!(refused_intermediate(future), "NotYetValid");
    let of_root = |change: fn(&mut CertificateParams)| {
        let root = Ca::root_with(&rcgen::PKCS_ECDSA_P256_SHA256, "root", change);
        refused(&[root.svid(ORDERS).entry(0)], root.verifier())
    };
    assert_eq!(of_root(past), "Expired");
    assert_eq!(of_root(future), "NotYetValid");
}

#[test]
fn the_leaf_is_for_the_principal_alone() {
    let uri = |id: &str| SanType::URI(id.try_into().unwrap());
    assert_eq!(refused_leaf(|p| p.subject_alt_names = vec![uri(SHIPPING)]), "OtherId");
    assert_eq!(refused_leaf(|p| p.subject_alt_names.push(uri(SHIPPING))), "SeveralIds");
    assert_eq!(refused_leaf(|p| p.subject_alt_names.insert(0, uri(SHIPPING))), "SeveralIds");
    assert_eq!(refused_leaf(|p| p.subject_alt_names.push(uri(ORDERS))), "SeveralIds");
    assert_eq!(refused_leaf(|p| p.subject_alt_names.clear()), "NoSpiffeId");
    let dns = SanType::DnsName("example.org".try_into().unwrap());
    assert_eq!(refused_leaf(|p| p.subject_alt_names = vec![dns]), "NoSpiffeId");
    // Another spelling is another name.
    assert_eq!(refused_leaf(|p| p.subject_alt_names = vec![uri("spiffe://example.org/Orders")]), "OtherId");
    assert_eq!(refused_leaf(|p| p.subject_alt_names = vec![uri("spiffe://example.org/orders/")]), "OtherId");
}

#[test]
fn the_leaf_is_for_signatures_and_nothing_higher() {
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign, KeyEncipherment};
    assert_eq!(refused_leaf(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "LeafIsAuthority");
    assert_eq!(refused_leaf(|p| p.key_usages.clear()), "NoKeyUsage");
    assert_eq!(refused_leaf(|p| p.key_usages = vec![KeyEncipherment]), "KeyUsage");
    assert_eq!(refused_leaf(|p| p.key_usages = vec![DigitalSignature, KeyCertSign]), "KeyUsage");
    assert_eq!(refused_leaf(|p| p.key_usages = vec![DigitalSignature, CrlSign]), "KeyUsage");
    let critical = || {
        let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 1], vec![5, 0]);
        unknown.set_criticality(true);
        unknown
    };
    assert_eq!(refused_leaf(|p| p.custom_extensions.push(critical())), "Rule");
    assert_eq!(refused_intermediate(|p| p.custom_extensions.push(critical())), "Rule");
}

#[test]
fn the_key_of_the_leaf_is_of_a_kind_that_signs_entries() {
    let root = Ca::root("root");
    let svid = root.svid_of(Kind::P521, ORDERS, |_| {});
    let header = EncodedHeader::with_x5c(Algorithm::Es256, "kid", &svid.chain);
    assert_eq!(refused(&[svid.sign_under(&header, &svid.payload(0))], root.verifier()), "Key");
}

#[test]
fn only_authorities_of_the_own_trust_domain_count() {
    let (ours, theirs) = (Ca::root("same name"), Ca::root("same name"));
    let forged = theirs.svid(ORDERS).entry(0);
    // Nobody's, and the attack: a federated domain gives out an id of ours.
    let stranger = Ca::root("stranger").svid(ORDERS).entry(0);
    assert_eq!(refused(&[&stranger], ours.verifier()), "UnknownAuthority");
    let both = || ours.verifier().keys(theirs.bundle("partner.example"));
    assert_eq!(refused(&[&forged], both()), "Signature");
    let renamed = Ca::root("their name");
    let both = || ours.verifier().keys(renamed.bundle("partner.example"));
    assert_eq!(refused(&[renamed.svid(ORDERS).entry(0)], both()), "UnknownAuthority");
    verify(&[renamed.svid("spiffe://partner.example/orders").entry(0)], both()).unwrap();
    // By an intermediate of theirs too.
    let below = renamed.under("intermediate", |_| {}).svid(ORDERS).entry(0);
    assert_eq!(refused(&[&below], both()), "UnknownAuthority");
    // A trust domain that has revoked all its authorities.
    let mut none = TrustBundles::new();
    none.insert(Authorities::from_der("example.org", [[0_u8; 0]; 0]).unwrap()).unwrap();
    assert_eq!(refused(&[&forged], Verifier::builder().keys(none)), "UnknownAuthority");
}

#[test]
fn a_trust_domain_without_bundle_is_unknown() {
    let root = Ca::root("root");
    let svid = root.svid("spiffe://elsewhere.example/orders");
    assert_eq!(refused(&[svid.entry(0)], root.verifier()), "UnknownTrustDomain");
    let error = verify(&[svid.entry(0)], root.verifier()).unwrap_err();
    assert_eq!((error.step(), error.report().identity.verdict), (Step::Principals, Verdict::Fail));
    assert!(error.to_string().contains("its trust domain `elsewhere.example` no bundle"), "{error}");
    // Without a certificate it is a principal like any other that nobody anchored.
    let bare = EncodedHeader::new(svid.kind.alg(), &svid.jwk().thumbprint());
    assert_eq!(refused(&[svid.sign_under(&bare, &svid.payload(0))], root.verifier()), "UnknownPrincipal");
    // No SPIFFE IDs of workloads.
    for id in ["spiffe://example.org", "spiffe://example.org/a//b", "https://example.org/orders"] {
        assert_eq!(refused(&[root.svid(id).entry(0)], root.verifier()), "UnknownPrincipal", "{id}");
    }
}

#[test]
fn an_entry_needs_its_chain() {
    let root = Ca::root("root");
    let svid = root.svid(ORDERS);
    let bare = EncodedHeader::new(svid.kind.alg(), &svid.jwk().thumbprint());
    assert_eq!(refused(&[svid.sign_under(&bare, &svid.payload(0))], root.verifier()), "Missing");
    // One with, one without.
    let entries = [svid.entry(0), svid.sign_under(&bare, &svid.payload(1))];
    assert_eq!(verify(&entries, root.verifier()).unwrap_err().entry(), Some(1));
}

#[test]
fn the_chain_is_whole_and_in_order() {
    let root = Ca::root("root");
    let (upper, other) = (root.under("upper", |_| {}), root.under("other", |_| {}));
    let lower = upper.under("lower", |_| {});
    let with = |chain: Vec<Vec<u8>>, svid: Svid| refused(&[Svid { chain, ..svid }.entry(0)], root.verifier());
    let svid = lower.svid(ORDERS);
    let [leaf, one, two] = [0, 1, 2].map(|index: usize| svid.chain[index].clone());
    assert_eq!(with(vec![leaf.clone(), two.clone(), one.clone()], lower.svid(ORDERS)), "Order");
    assert_eq!(with(vec![leaf.clone(), two], lower.svid(ORDERS)), "Order");
    assert_eq!(with(vec![leaf.clone(), one.clone(), other.der()], lower.svid(ORDERS)), "Order");
    assert_eq!(with(vec![leaf.clone(), one.clone()], lower.svid(ORDERS)), "UnknownAuthority");
    assert_eq!(with(vec![leaf.clone(), vec![0x30, 0]], lower.svid(ORDERS)), "Unreadable");
    assert_eq!(with(vec![[leaf, vec![0]].concat(), one], lower.svid(ORDERS)), "Unreadable");
}

#[test]
fn a_chain_is_one_path_and_no_more() {
    let root = Ca::root("root");
    let entry = |chain: Vec<Vec<u8>>| Svid { chain, ..root.svid(ORDERS) }.entry(0);
    // Self-signed, of one name and with different keys: every order of them is in order.
    let same: Vec<Vec<u8>> = (0..8).map(|_| Ca::root("same").der()).collect();
    let leaf = Ca::root("same").svid(ORDERS).chain.remove(0);
    let clock = std::time::Instant::now();
    assert_eq!(refused(&[entry([vec![leaf], same].concat())], root.verifier()), "SameName");
    assert!(clock.elapsed() < std::time::Duration::from_millis(500), "{:?}", clock.elapsed());
    // Behind the authority: none of the path, and not the authority that the bundle has.
    let mut svid = root.svid(ORDERS);
    svid.chain.push(Ca::root("root").der());
    assert_eq!(refused(&[svid.entry(0)], root.verifier()), "Unneeded");
    let above = root.under("above", |_| {});
    let mut svid = above.svid(ORDERS);
    svid.chain.push(root.der());
    svid.chain.push(root.der());
    assert_eq!(refused(&[svid.entry(0)], root.verifier()), "SameName");
}

#[test]
fn causes_are_told_in_words() {
    use webpki::Error;
    let told = |error: Error| {
        kest_core::verify::chain_refused(&error, "example.org", kest_core::verify::Moment::Now)
    };
    for error in [
        Error::MaximumSignatureChecksExceeded,
        Error::MaximumPathBuildCallsExceeded,
        Error::MaximumNameConstraintComparisonsExceeded,
    ] {
        assert!(matches!(told(error), kest_core::verify::ChainError::TooCostly));
    }
    for error in [
        Error::BadDer,
        Error::UnsupportedCriticalExtension,
        Error::MalformedExtensions,
        Error::CertRevoked,
        Error::UnsupportedCertVersion,
    ] {
        let text = told(error.clone()).to_string();
        assert!(text.starts_with("RFC 5280: ") && !text.contains(&format!("{error:?}")), "{text}");
    }
}

#[test]
fn a_path_has_an_end() {
    let root = Ca::root("root");
    let under = |levels: usize| {
        (0..levels).fold(Ca::root("unused"), |above, level| {
            let parent = if level == 0 { &root } else { &above };
            parent.under(&format!("level {level}"), |_| {})
        })
    };
    verify(&[under(6).svid(ORDERS).entry(0)], root.verifier()).unwrap();
    assert_eq!(refused(&[under(7).svid(ORDERS).entry(0)], root.verifier()), "TooLong");
    assert_eq!(under(9).svid(ORDERS).chain.len(), 10);
    assert_eq!(refused(&[under(9).svid(ORDERS).entry(0)], root.verifier()), "TooLong");
    let eleven = verify(&[under(10).svid(ORDERS).entry(0)], root.verifier()).unwrap_err();
    assert_eq!(eleven.step(), Step::Parse);
    assert!(eleven.to_string().contains("`x5c` has more than 10 certificates"), "{eleven}");
    // pathLenConstraint, RFC 5280 §4.2.1.9.
    let last = root.under("last", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    verify(&[last.svid(ORDERS).entry(0)], root.verifier()).unwrap();
    let beyond = last.under("beyond", |_| {});
    assert_eq!(refused(&[beyond.svid(ORDERS).entry(0)], root.verifier()), "TooLong");
}

#[test]
fn what_stands_above_a_leaf_may_sign() {
    assert_eq!(refused_intermediate(|p| p.is_ca = IsCa::ExplicitNoCa), "NotAnAuthority");
    assert_eq!(refused_intermediate(|p| p.is_ca = IsCa::NoCa), "NotAnAuthority");
    assert_eq!(
        refused_intermediate(|p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
        "NotAnAuthority"
    );
}

#[test]
fn names_stay_within_the_constraints_of_an_authority() {
    let root = Ca::root("root");
    let dns = |name: &str| rcgen::GeneralSubtree::DnsName(name.to_owned());
    let constrained = root.under("constrained", |p| {
        p.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![dns("example.org")],
            excluded_subtrees: vec![],
        });
    });
    let with_name = |name: &str| {
        let name = SanType::DnsName(name.try_into().unwrap());
        constrained.svid_with(ORDERS, |p| p.subject_alt_names.push(name)).entry(0)
    };
    verify(&[with_name("orders.example.org")], root.verifier()).unwrap();
    assert_eq!(refused(&[with_name("orders.example.com")], root.verifier()), "NameConstraint");
    // Of URIs: nobody here can tell what they permit, so nothing is permitted. RFC 5280 §4.2.1.10.
    let uris = [&[0x30, 17, 0xa0, 15, 0x30, 13, 0x86, 11][..], b"example.org"].concat();
    let constrained = root.under("uris", |p| {
        p.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 30], uris));
    });
    assert_eq!(refused(&[constrained.svid(ORDERS).entry(0)], root.verifier()), "NameConstraint");
}

#[test]
fn every_certificate_bears_its_issuers_signature() {
    let root = Ca::root("root");
    let (real, impostor) = (root.under("intermediate", |_| {}), Ca::root("intermediate"));
    let mut svid = impostor.svid(ORDERS);
    svid.chain.push(real.der());
    assert_eq!(refused(&[svid.entry(0)], root.verifier()), "Signature");
    // By an algorithm that is not used here.
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let strange = root.under_with_key(key, "strange", |_| {});
    assert_eq!(refused(&[strange.svid(ORDERS).entry(0)], root.verifier()), "Algorithm");
}

#[test]
fn the_entry_is_signed_with_the_key_of_its_leaf() {
    let root = Ca::root("root");
    let (svid, other) = (root.svid(ORDERS), root.svid(ORDERS));
    assert_eq!(refused(&[other.sign_under(&svid.header(), &svid.payload(0))], root.verifier()), "Signature");
    // The other's key named, and the chain of the first.
    let mixed = EncodedHeader::with_x5c(svid.kind.alg(), &other.jwk().thumbprint(), &svid.chain);
    assert_eq!(refused(&[other.sign_under(&mixed, &svid.payload(0))], root.verifier()), "Kid");
    assert_eq!(refused(&[svid.sign_under(&mixed, &svid.payload(0))], root.verifier()), "Kid");
    for alg in [Algorithm::Es256, Algorithm::Rs256] {
        let header = EncodedHeader::with_x5c(alg, &svid.jwk().thumbprint(), &svid.chain);
        let jws = svid.sign_under(&header, &svid.payload(0));
        assert_eq!(refused(&[jws], root.verifier()), "AlgorithmMismatch");
    }
    // One SVID does not speak for another workload of the same domain.
    let shipping = root.svid(SHIPPING);
    assert_eq!(refused(&[shipping.sign(&svid.payload(0))], root.verifier()), "OtherId");
}

#[test]
fn a_mock_entry_is_no_certified_one() {
    let root = Ca::root("root");
    let header = EncodedHeader::new(Algorithm::Hs256, kest_core::keys::mock_kid());
    let payload = kest_core::canonical::to_vec(&root.svid(ORDERS).payload(0)).unwrap();
    let mac = |input: &[u8]| Ok::<_, ()>(kest_core::keys::hmac_sha256(kest_core::keys::MOCK_KEY, input));
    let jws = header.sign(&payload, mac).unwrap();
    assert_eq!(refused(&[jws], root.verifier().dangerous().accept_mock()), "Missing");
}

/// Answers whatever it is told to.
#[derive(Debug)]
struct Fixed(Option<Arc<Authorities>>);

impl KeySource for Fixed {
    fn keys(&self, _: &str) -> Result<Option<Jwks>, KeyError> {
        Ok(None)
    }

    fn authorities(&self, _: &str) -> Result<Option<Arc<Authorities>>, KeyError> {
        self.0.clone().map(Some).ok_or_else(|| KeyError::Source("the socket is gone".into()))
    }
}

#[test]
fn a_source_that_fails_or_errs_is_not_believed() {
    let root = Ca::root("root");
    let entry = root.svid(ORDERS).entry(0);
    let of = |domain: &str, ca: &Ca| Fixed(ca.bundle(domain).get(domain).cloned());
    verify(&[&entry], Verifier::builder().keys(Arc::new(of("example.org", &root)))).unwrap();
    verify(&[&entry], Verifier::builder().keys(Box::new(of("example.org", &root)) as Box<dyn KeySource>))
        .unwrap();
    let cause = |builder| {
        let error = verify(&[&entry], builder).unwrap_err();
        assert!(matches!(error.failure(), VerifyFailure::Keys { .. }), "{error}");
        error.to_string()
    };
    let failing = cause(root.verifier().keys(Fixed(None)));
    assert!(failing.contains("the socket is gone"), "{failing}");
    let other = cause(Verifier::builder().keys(of("partner.example", &root)));
    assert!(other.contains("`partner.example` were given for a principal of another"), "{other}");
    let differing = cause(root.verifier().keys(of("example.org", &Ca::root("root"))));
    assert!(differing.contains("different bundles for `example.org`; remove the stale one"), "{differing}");
    let next = Ca::root("next");
    let both = |one: &Ca, other: &Ca| {
        let mut bundles = kest_core::verify::TrustBundles::new();
        bundles.insert(Authorities::from_der("example.org", [one.der(), other.der()]).unwrap()).unwrap();
        bundles
    };
    verify(&[&entry], Verifier::builder().keys(both(&root, &next)).keys(both(&next, &root))).unwrap();
    // The same authorities from two sources are no contradiction.
    verify(&[&entry], root.verifier().keys(of("example.org", &root))).unwrap();
}

#[test]
fn names_of_others_are_not_printed_raw() {
    let root = Ca::root("root");
    let hostile = "spiffe://example.org/x\u{1b}[2J";
    let svid = root.svid_with(ORDERS, |p| {
        p.subject_alt_names = vec![SanType::URI(hostile.try_into().unwrap())];
    });
    let error = verify(&[svid.entry(0)], root.verifier()).unwrap_err().to_string();
    assert!(!error.contains('\u{1b}') && error.contains("the leaf is for"), "{error}");
}
