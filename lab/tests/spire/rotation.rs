//! SVIDs, and the authorities that sign them, are renewed under the calls.

use kest::verify::{TrustBundles, UnverifiedPassport, VerifiedPassport, Verifier, VerifyError};
use kest_lab::{Domain, KeyType, Workload, wait_for};
use serde_json::Value;

use crate::{LIMIT, SHORT, header, now_ms, world};

#[test]
fn no_call_fails_while_ec_and_rsa_svids_rotate() {
    let Some(world) = world() else { return };
    let mut workloads = [
        world.workload("busy", |entry| entry.ttl(SHORT)),
        world.workload_of(&world.peer, &world.peer_agent, "busy-rsa", |entry| entry.ttl(SHORT)),
    ];
    for workload in &mut workloads {
        workload.ask("load start");
    }
    for workload in &mut workloads {
        let before = rotations(workload);
        wait_for("four rotations", LIMIT, || (rotations(workload) >= before + 4).then_some(()));
    }
    for workload in &mut workloads {
        let done = workload.ask("load stop");
        assert_eq!(done["failures"], Value::Array(Vec::new()));
        let calls = done["calls"].as_u64().unwrap();
        assert!(calls > 500, "{calls} calls are no load");
        // The certificates of all of them are told apart, and all of them hold.
        let passports = done["passports"].as_array().unwrap();
        assert!(passports.len() >= 4, "{} SVIDs signed", passports.len());
        for passport in passports {
            world.verify(passport.as_str().unwrap()).unwrap();
        }
    }
}

#[test]
fn a_rotation_changes_the_key_and_not_the_identity() {
    let Some(world) = world() else { return };
    let mut workload = world.workload("turning", |entry| entry.ttl(SHORT));
    let (id, first) = (workload.ask("id"), workload.ask("svid"));
    let second = wait_for("another SVID", LIMIT, || {
        let svid = workload.ask("svid");
        (svid["kid"] != first["kid"]).then_some(svid)
    });
    assert_eq!(second["id"], id);
    assert!(second["expires_at_ms"].as_u64() > first["expires_at_ms"].as_u64());
    assert!(second["expires_at_ms"].as_u64().unwrap() > now_ms());
    assert!(rotations(&mut workload) >= 1);
    let passport = workload.ask("sign 1");
    assert_ne!(header(passport.as_str().unwrap())["kid"], first["kid"]);
}

#[test]
fn a_new_authority_of_the_trust_domain_reaches_those_who_verify() {
    let Some(world) = world() else { return };
    let domain = Domain::start(&world.lab, &world.folder, "turning.internal");
    let agent = domain.agent("agent", KeyType::EcP256);
    let mut signer = world.workload_of(&domain, &agent, "signer", |entry| entry.ttl(SHORT));
    let mut reader = world.workload_of(&domain, &agent, "reader", |entry| entry);
    let exported = bundle(&domain);
    let before = signer.ask("sign 1");
    let before = before.as_str().unwrap();
    offline(&exported, before).unwrap();
    assert_eq!(reader.ask("bundle"), 1);

    domain.renew_authority();
    let after = wait_for("an SVID of the new authority", LIMIT, || {
        let passport = signer.ask("sign 1").as_str().unwrap().to_owned();
        offline(&exported, &passport).is_err().then_some(passport)
    });
    wait_for("the new bundle", LIMIT, || (reader.ask("bundle") == 2).then_some(()));
    for passport in [before, &after] {
        reader.ask(&format!("extend {passport}"));
        offline(&bundle(&domain), passport).unwrap();
    }
}

fn bundle(domain: &Domain) -> TrustBundles {
    let mut bundles = TrustBundles::new();
    bundles.insert_spiffe_json(domain.name(), domain.bundle().as_bytes()).unwrap();
    bundles
}

fn offline(bundles: &TrustBundles, passport: &str) -> Result<VerifiedPassport, VerifyError> {
    let verifier = Verifier::builder().keys(bundles.clone()).build();
    UnverifiedPassport::deserialize(passport).unwrap().verify(&verifier)
}

fn rotations(workload: &mut Workload) -> u64 {
    workload.ask("rotations").as_u64().unwrap()
}
