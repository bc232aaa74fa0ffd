//! Remembered certificate chains: each holds for its principal, its authorities and its time, and for nothing else.
#![cfg(feature = "aws-lc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;
mod x5c_support;

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use kest_core::keys::{Jwks, KeyError};
use kest_core::verify::{
    Authorities, KeySource, Limits, Remembered, TrustBundles, Verifier, VerifierBuilder,
};
use proptest::prelude::*;
use verify_support::{NOW_MS, passport};
use x5c_support::{Ca, HOUR_MS, Kind, ORDERS, SHIPPING, Svid, refused, valid, verify};

/// A bundle that can be exchanged while it is in use.
#[derive(Clone, Debug)]
struct Live(Arc<Mutex<TrustBundles>>);

impl Live {
    fn new(bundles: TrustBundles) -> Self {
        Self(Arc::new(Mutex::new(bundles)))
    }

    fn set(&self, bundles: TrustBundles) {
        *self.0.lock().unwrap() = bundles;
    }
}

impl KeySource for Live {
    fn keys(&self, principal: &str) -> Result<Option<Jwks>, KeyError> {
        self.0.lock().unwrap().keys(principal)
    }

    fn authorities(&self, principal: &str) -> Result<Option<Arc<Authorities>>, KeyError> {
        self.0.lock().unwrap().authorities(principal)
    }
}

#[test]
fn a_bundle_that_was_exchanged_refuses_what_is_remembered() {
    let (old, new) = (Ca::root("SPIRE"), Ca::root("SPIRE"));
    let live = Live::new(old.bundle("example.org"));
    let remembered = Remembered::new(100);
    let verifier = || Verifier::builder().keys(live.clone()).remember(remembered.clone());
    let entries = [old.svid(ORDERS).entry(0)];
    for _ in 0..2 {
        verify(&entries, verifier()).unwrap();
    }
    assert_eq!(remembered.len(), 1);
    live.set(new.bundle("example.org"));
    assert_eq!(refused(&entries, verifier()), "Signature");
    // The domain has revoked all that it had.
    let mut revoked = TrustBundles::new();
    revoked.insert(Authorities::from_der("example.org", Vec::<Vec<u8>>::new()).unwrap()).unwrap();
    live.set(revoked);
    assert_eq!(refused(&entries, verifier()), "UnknownAuthority");
    live.set(old.bundle("another.example"));
    assert_eq!(refused(&entries, verifier()), "UnknownTrustDomain");
    live.set(old.bundle("example.org"));
    verify(&entries, verifier()).unwrap();
}

#[test]
fn a_chain_that_has_expired_since_is_refused() {
    let root = Ca::root("root");
    let remembered = Remembered::new(100);
    let at = |now_ms| {
        let slack = Duration::from_secs(5);
        root.verifier().ingress(now_ms, slack, slack).remember(remembered.clone())
    };
    let entries = [root.svid(ORDERS).entry(0)];
    verify(&entries, at(NOW_MS)).unwrap();
    verify(&entries, at(NOW_MS + 5_000)).unwrap();
    assert_eq!(refused(&entries, at(NOW_MS + HOUR_MS + 60_000)), "Expired");
    assert_eq!(refused(&entries, at(NOW_MS - HOUR_MS - 60_000)), "NotYetValid");
    let archive = |received_ms| root.verifier().received_at(received_ms).remember(remembered.clone());
    verify(&entries, archive(NOW_MS + HOUR_MS)).unwrap();
    assert_eq!(refused(&entries, archive(NOW_MS + HOUR_MS + 1_000)), "Expired");
}

#[test]
fn a_remembered_chain_speaks_for_nobody_else() {
    let root = Ca::root("root");
    let remembered = Remembered::new(100);
    let svid = root.svid(ORDERS);
    verify(&[svid.entry(0)], root.verifier().remember(remembered.clone())).unwrap();
    let thief = Svid { id: SHIPPING.to_owned(), ..svid };
    assert_eq!(refused(&[thief.entry(1)], root.verifier().remember(remembered)), "OtherId");
}

#[test]
fn chains_are_counted_although_they_are_remembered() {
    let root = Ca::root("root");
    let remembered = Remembered::new(100);
    let entries: Vec<_> = (0..4).map(|number| root.svid(ORDERS).entry(number)).collect();
    verify(&entries, root.verifier().remember(remembered.clone())).unwrap();
    let limited = |builder: VerifierBuilder, change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        builder.limits(limits)
    };
    let ingress = || root.verifier().ingress(NOW_MS, Duration::from_secs(60), Duration::from_secs(5));
    for remember in [false, true] {
        let with = |builder: VerifierBuilder| {
            if remember { builder.remember(remembered.clone()) } else { builder }
        };
        let chains = limited(with(root.verifier()), |limits| limits.chains = 3);
        assert_eq!(refused(&entries, chains), "TooManyChains", "{remember}");
        let chains = limited(with(ingress()), |limits| limits.ingress_chains = 3);
        assert_eq!(refused(&entries, chains), "TooManyChains", "{remember}");
        let chains = limited(with(ingress()), |limits| limits.ingress_chains = 4);
        verify(&entries, chains).unwrap();
    }
}

struct World {
    roots: [Ca; 2],
    svids: Vec<Svid>,
}

/// Two authorities of one name; under each a workload with a long-lived SVID, one with a short-lived one, and another
/// workload, behind an intermediate.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let roots = [Ca::root("SPIRE"), Ca::root("SPIRE")];
    let mut svids = Vec::new();
    for root in &roots {
        svids.push(root.svid(ORDERS));
        svids.push(root.svid_of(Kind::P256, ORDERS, |params| {
            valid(params, NOW_MS - 60_000, NOW_MS + 60_000);
        }));
        svids.push(root.under("intermediate", |_| {}).svid(SHIPPING));
    }
    World { roots, svids }
});

fn outcome(entries: &[kest_core::jws::Jws], verifier: VerifierBuilder) -> String {
    match passport(entries).verify(&verifier.build()) {
        Ok(verified) => format!("{:?} {:?}", verified.report(), verified.effective()),
        Err(error) => format!("{:?} {:?}", error.failure(), error.report()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_came_before_the_outcome_is_the_same(
        rounds in prop::collection::vec(
            (prop::collection::vec((0_usize..6, 0_u64..4), 1..3), 0_usize..5, 0_u64..5, 0_u8..4),
            1..24,
        ),
    ) {
        let remembered = Remembered::new(1_000);
        for (signers, trusted, time, mode) in &rounds {
            let mut entries = Vec::new();
            for (number, (signer, age)) in (0..).zip(signers) {
                let parent = entries.last().into_iter().collect::<Vec<_>>();
                entries.push(WORLD.svids[*signer].after(number, &parent, NOW_MS - age * 45_000));
            }
            let mut bundles = TrustBundles::new();
            let roots = match trusted {
                0 | 4 => vec![0, 1],
                1 => vec![0],
                2 => vec![1],
                _ => vec![1, 0],
            };
            let roots = roots.iter().map(|root| WORLD.roots[*root].der());
            bundles.insert(Authorities::from_der("example.org", roots).unwrap()).unwrap();
            let now_ms = NOW_MS - 120_000 + time * 60_000;
            let build = || {
                let builder = Verifier::builder().keys(bundles.clone());
                match mode {
                    0 => builder,
                    1 => builder.received_at(now_ms),
                    2 => builder.ingress(now_ms, Duration::from_secs(600), Duration::from_secs(150)),
                    _ => builder.ingress(now_ms, Duration::from_secs(30), Duration::from_secs(1)),
                }
            };
            let plain = outcome(&entries, build());
            prop_assert_eq!(outcome(&entries, build().remember(remembered.clone())), plain);
        }
    }
}
