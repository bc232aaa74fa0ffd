//! Several workloads on one machine.

use std::collections::BTreeSet;
use std::process::Command;

use kest_lab::{Entry, KeyType, Workload, wait_for};

use crate::{LIMIT, SHORT, entry, header, started, world};

#[test]
fn programs_on_one_machine_have_identities_of_their_own() {
    let Some(world) = world() else { return };
    let mut kids = BTreeSet::new();
    for name in ["orders", "stock", "prices"] {
        let mut workload = world.workload(name, |entry| entry);
        let id = format!("spiffe://kest.internal/workload/{name}");
        assert_eq!(workload.ask("id"), id);
        assert_eq!(workload.ask("health"), true);
        let passport = workload.ask("sign 3");
        let verified = world.verify(passport.as_str().unwrap()).unwrap();
        assert_eq!(verified.entries().len(), 3);
        assert!(verified.entries().iter().all(|entry| *entry.principal() == *id));
        kids.insert(workload.ask("svid")["kid"].to_string());
    }
    assert_eq!(kids.len(), 3, "each has a key of its own");
}

#[test]
fn every_key_type_of_an_agent_signs() {
    let Some(world) = world() else { return };
    let p384 = world.internal.agent("p384", KeyType::EcP384);
    let sites = [
        (&world.internal, &world.agent, "p256", "ES256"),
        (&world.internal, &p384, "p384", "ES384"),
        (&world.peer, &world.peer_agent, "rsa", "RS256"),
    ];
    for (domain, agent, name, algorithm) in sites {
        let mut workload = world.workload_of(domain, agent, name, |entry| entry);
        let passport = workload.ask("sign 2");
        let passport = passport.as_str().unwrap();
        let header = header(passport);
        assert_eq!(header["alg"], algorithm);
        let svid = workload.ask("svid");
        assert_eq!(header["kid"], svid["kid"]);
        assert_eq!(header["x5c"].as_array().unwrap().len(), svid["certificates"]);
        assert_eq!(world.verify(passport).unwrap().entries().len(), 2);
    }
}

#[test]
fn a_program_without_an_entry_has_no_identity_until_it_gets_one() {
    let Some(world) = world() else { return };
    let program = world.program("latecomer");
    let mut workload = Workload::start(&world.agent, &program);
    let error = workload.try_ask("call").unwrap_err();
    assert_eq!(error["kind"], "Missing", "{error}");
    assert_eq!(error["ran"], false);
    assert_eq!(workload.ask("health"), false);
    let _ = world.internal.register(&world.agent, &entry("latecomer", &program));
    wait_for("the first SVID", LIMIT, || workload.try_ask("call").ok());
    assert_eq!(workload.ask("id"), "spiffe://kest.internal/workload/latecomer");
}

#[test]
fn of_several_identities_a_hint_takes_one_and_none_takes_the_first() {
    let Some(world) = world() else { return };
    let program = world.program("double");
    for (path, hint) in [("double", "inside"), ("double-too", "outside")] {
        let entry = Entry::of_program(&format!("workload/{path}"), &program).hint(hint).ttl(SHORT);
        let _ = world.internal.register(&world.agent, &entry);
    }
    let mut workload = started(&world.agent, &program);
    for (path, hint) in [("double", "inside"), ("double-too", "outside")] {
        let id = wait_for("both entries", LIMIT, || workload.try_ask(&format!("as {hint}")).ok());
        assert_eq!(id, format!("spiffe://kest.internal/workload/{path}"));
    }
    let error = workload.try_ask("as sideways").unwrap_err();
    assert_eq!(error["kind"], "Missing", "{error}");
    for hint in ["sideways", "inside", "outside"] {
        assert!(error["message"].as_str().unwrap().contains(hint), "{error}");
    }

    // Whichever came first stays, over rotations too.
    let id = workload.ask("id");
    wait_for("two rotations", LIMIT, || workload.ask("rotations").as_u64().filter(|count| *count >= 2));
    assert_eq!(workload.ask("id"), id);
    world.verify(workload.ask("sign 1").as_str().unwrap()).unwrap();
}

#[test]
fn a_bundle_is_there_for_federated_domains_only_where_the_entry_says_so() {
    let Some(world) = world() else { return };
    let mut plain = world.workload("plain", |entry| entry);
    assert_eq!(plain.ask("bundle"), 1);
    assert_eq!(plain.ask("bundle kest.internal"), 1);
    let error = plain.try_ask("bundle peer.internal").unwrap_err();
    assert_eq!(error["kind"], "TrustDomain", "{error}");
    let mut federated = world.workload("federated", |entry| entry.federates_with(&world.peer));
    assert_eq!(federated.ask("bundle peer.internal"), 1);
    let error = federated.try_ask("bundle elsewhere.internal").unwrap_err();
    assert_eq!(error["kind"], "TrustDomain", "{error}");
}

#[test]
fn nobody_at_the_address_is_a_connection_error() {
    let Some(world) = world() else { return };
    let program = world.program("lonely");
    let nowhere = world.folder.path().join("nobody.sock");
    let mut workload = Workload::start_at(&format!("unix:{}", nowhere.display()), &program);
    let error = workload.try_ask("call").unwrap_err();
    assert_eq!(error["kind"], "Connection", "{error}");
    assert_eq!(error["ran"], false);
    assert!(error["message"].as_str().unwrap().contains("nobody.sock"), "{error}");
    // A late agent is fine: here another one's socket comes to where it was expected.
    let _ = world.internal.register(&world.agent, &entry("lonely", &program));
    assert!(Command::new("ln").arg("-s").arg(world.agent.socket()).arg(&nowhere).status().unwrap().success());
    wait_for("a late agent", LIMIT, || workload.try_ask("call").ok());
}
