//! Passports of several workloads, verified by somebody who has the exported bundles and no SPIRE.

use std::fs;

use kest::verify::{TrustBundles, UnverifiedPassport, Verdict, Verifier};
use serde_json::Value;

use crate::cli::kest;
use crate::{SHORT, World, world};

#[test]
fn a_lineage_through_both_domains_verifies_offline() {
    let Some(world) = world() else { return };
    let (passport, ids) = lineage(world, "chain");
    let verified = world.verify(&passport).unwrap();
    let principals: Vec<&str> = verified.entries().iter().map(|entry| entry.principal()).collect();
    assert_eq!(principals, ids.iter().map(String::as_str).collect::<Vec<_>>());

    // Each bundle speaks for its own domain alone.
    for domain in [&world.internal, &world.peer] {
        let mut one = TrustBundles::new();
        one.insert_spiffe_json(domain.name(), domain.bundle().as_bytes()).unwrap();
        let verifier = Verifier::builder().keys(one).build();
        UnverifiedPassport::deserialize(&passport).unwrap().verify(&verifier).unwrap_err();
    }
    let mut swapped = TrustBundles::new();
    swapped.insert_spiffe_json("kest.internal", world.peer.bundle().as_bytes()).unwrap();
    swapped.insert_spiffe_json("peer.internal", world.internal.bundle().as_bytes()).unwrap();
    let verifier = Verifier::builder().keys(swapped).build();
    UnverifiedPassport::deserialize(&passport).unwrap().verify(&verifier).unwrap_err();
}

#[test]
fn the_command_verifies_from_bundles_in_both_forms() {
    let Some(world) = world() else { return };
    let (passport, _) = lineage(world, "archive");
    let folder = world.folder.sub("offline");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let path = write("passport.json", &passport);
    let spiffe = format!("kest.internal={}", write("internal.json", &world.internal.bundle()));
    let pem = format!("peer.internal={}", write("peer.pem", &world.peer.bundle_pem()));
    let map = write("map.json", &world.bundles().to_json().to_string());

    for bundles in [vec!["--bundle", &spiffe, "--bundle", &pem], vec!["--bundle", &map]] {
        let (code, text) = kest(&[&["verify", &path, "--strict", "--json"], &bundles[..]].concat());
        assert_eq!(code, 0, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["accepted"], true, "{answer}");
    }
    let (code, text) = kest(&["verify", &path, "--bundle", &spiffe]);
    assert_eq!(code, 1, "{text}");
    let crossed = format!("peer.internal={}", write("crossed.pem", &world.internal.bundle_pem()));
    let (code, text) = kest(&["verify", &path, "--bundle", &spiffe, "--bundle", &crossed]);
    assert_eq!(code, 1, "{text}");
}

#[test]
fn at_the_door_an_old_passport_needs_a_certificate_that_is_still_valid() {
    let Some(world) = world() else { return };
    let mut workload = world.workload("traveller", |entry| entry.ttl(SHORT));
    let passport = workload.ask("sign 1");
    let entered = |seconds: u64| {
        let (now, age, skew) =
            (crate::now_ms() + seconds * 1_000, std::time::Duration::from_secs(5), std::time::Duration::ZERO);
        let verifier = Verifier::builder().keys(world.bundles()).ingress(now, age, skew).build();
        UnverifiedPassport::deserialize(passport.as_str().unwrap()).unwrap().verify(&verifier)
    };
    let verified = entered(0).unwrap();
    assert_eq!(verified.report().identity.verdict, Verdict::Pass);
    entered(3_600).unwrap_err();
}

/// A passport that goes through three workloads of two domains, and their ids.
fn lineage(world: &World, name: &str) -> (String, Vec<String>) {
    let [first, second] = ["a", "b"].map(|suffix| format!("{name}-{suffix}"));
    let mut workloads = [
        world.workload(&first, |entry| entry.federates_with(&world.peer)),
        world.workload_of(&world.peer, &world.peer_agent, &second, |entry| {
            entry.federates_with(&world.internal)
        }),
        world.workload(&format!("{name}-c"), |entry| entry.federates_with(&world.peer)),
    ];
    let [one, rest @ ..] = &mut workloads;
    let mut passport = one.ask("sign 1").as_str().unwrap().to_owned();
    let mut ids = vec![one.ask("id").as_str().unwrap().to_owned()];
    for workload in rest {
        passport = workload.ask(&format!("extend {passport}")).as_str().unwrap().to_owned();
        ids.push(workload.ask("id").as_str().unwrap().to_owned());
    }
    (passport, ids)
}
