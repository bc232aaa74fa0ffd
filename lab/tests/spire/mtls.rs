//! Mutual TLS between workloads.

use kest_lab::wait_for;

use crate::{LIMIT, SHORT, world};

#[test]
fn two_workloads_know_each_other() {
    let Some(world) = world() else { return };
    let mut server = world.workload("tls-server", |entry| entry);
    let mut client = world.workload("tls-client", |entry| entry);
    let ids = ["spiffe://kest.internal/workload/tls-server", "spiffe://kest.internal/workload/tls-client"];
    for (server_peers, client_peers) in [
        ("own".to_owned(), "own".to_owned()),
        (format!("id={}", ids[1]), format!("id={}", ids[0])),
        ("domain=kest.internal".to_owned(), "domain=kest.internal".to_owned()),
    ] {
        let port = server.ask(&format!("serve {server_peers}"));
        let met = client.ask(&format!("connect {port} {client_peers}"));
        assert_eq!(met["server"], ids[0]);
        assert_eq!(met["client"], ids[1]);
    }
}

#[test]
fn a_wrong_identity_is_refused_by_either_side() {
    let Some(world) = world() else { return };
    let mut server = world.workload("strict-server", |entry| entry);
    let mut client = world.workload("strict-client", |entry| entry);
    // Neither a sibling nor one whose id begins alike.
    for other in ["strict-other", "strict", "strict-client/a"] {
        let other = format!("id=spiffe://kest.internal/workload/{other}");
        let port = server.ask(&format!("serve {other}"));
        let error = client.try_ask(&format!("connect {port} own")).unwrap_err();
        assert_eq!(error["kind"], "Tls", "{error}");
        let port = server.ask("serve own");
        let error = client.try_ask(&format!("connect {port} {other}")).unwrap_err();
        assert_eq!(error["kind"], "Tls", "{error}");
        assert!(error["message"].as_str().unwrap().contains("strict-server"), "{error}");
    }
}

#[test]
fn a_federated_identity_is_accepted_only_when_it_is_named() {
    let Some(world) = world() else { return };
    let mut server = world.workload("gate", |entry| entry.federates_with(&world.peer));
    let peer = |name: &str| {
        world.workload_of(&world.peer, &world.peer_agent, name, |entry| entry.federates_with(&world.internal))
    };
    let mut partner = peer("partner");
    let (gate, id) = ("id=spiffe://kest.internal/workload/gate", "spiffe://peer.internal/workload/partner");

    for peers in [format!("id={id}"), "domain=peer.internal".to_owned()] {
        let port = server.ask(&format!("serve {peers}"));
        let met = partner.ask(&format!("connect {port} {gate}"));
        assert_eq!(met["client"], id);
        assert_eq!(met["server"], "spiffe://kest.internal/workload/gate");
        // The other direction is the partner's to allow.
        let error = partner.try_ask(&format!("connect {port} own")).unwrap_err();
        assert_eq!(error["kind"], "Tls", "{error}");
    }
    for peers in ["own", "domain=kest.internal", "id=spiffe://peer.internal/workload/somebody"] {
        let port = server.ask(&format!("serve {peers}"));
        let error = partner.try_ask(&format!("connect {port} {gate}")).unwrap_err();
        assert_eq!(error["kind"], "Tls", "{peers}: {error}");
    }
}

#[test]
fn without_the_bundle_a_federated_identity_is_refused_even_when_it_is_named() {
    let Some(world) = world() else { return };
    let mut server = world.workload("unfederated", |entry| entry);
    let mut partner = world.workload_of(&world.peer, &world.peer_agent, "stranger", |entry| {
        entry.federates_with(&world.internal)
    });
    let port = server.ask("serve domain=peer.internal");
    let error = partner.try_ask(&format!("connect {port} domain=kest.internal")).unwrap_err();
    assert_eq!(error["kind"], "Tls", "{error}");
}

#[test]
fn a_configuration_outlives_the_svid_it_was_made_with() {
    let Some(world) = world() else { return };
    let mut server = world.workload("lasting", |entry| entry.ttl(SHORT));
    let mut client = world.workload("caller", |entry| entry.ttl(SHORT));
    let first = server.ask("svid");
    let port = server.ask("serve own");
    wait_for("another SVID", LIMIT, || (server.ask("svid")["kid"] != first["kid"]).then_some(()));
    let met = client.ask(&format!("connect {port} own"));
    assert_eq!(met["server"], "spiffe://kest.internal/workload/lasting");
}
