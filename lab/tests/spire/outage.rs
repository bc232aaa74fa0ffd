//! The agent goes away; the entry goes away.

use std::time::Duration;

use kest_lab::{KeyType, Workload, wait_for};
use serde_json::Value;

use crate::{LIMIT, SHORT, entry, now_ms, started, world};

#[test]
fn calls_outlive_the_agent_until_the_svid_expires_and_recover_by_themselves() {
    let Some(world) = world() else { return };
    // An agent of its own: the others keep theirs.
    let agent = world.internal.agent("mortal", KeyType::EcP256);
    let mut workload = world.workload_of(&world.internal, &agent, "survivor", |entry| entry.ttl(SHORT));
    let id = workload.ask("id");

    // Away for a moment: nobody notices.
    workload.ask("load start");
    agent.stop();
    agent.start();
    let before = workload.ask("rotations").as_u64();
    wait_for("a rotation after the restart", LIMIT, || {
        (workload.ask("rotations").as_u64() > before).then_some(())
    });
    assert_eq!(workload.ask("load stop")["failures"], Value::Array(Vec::new()));

    // Away for longer than the SVID lives.
    agent.stop();
    expires(&mut workload);
    assert_eq!(workload.ask("health"), false);

    agent.start();
    wait_for("recovery", LIMIT, || workload.try_ask("call").ok());
    assert_eq!(workload.ask("id"), id);
    assert_eq!(workload.ask("health"), true);
    world.verify(workload.ask("sign 2").as_str().unwrap()).unwrap();
}

#[test]
fn a_deleted_entry_ends_the_identity_when_the_svid_expires() {
    let Some(world) = world() else { return };
    let program = world.program("dismissed");
    let registered = entry("dismissed", &program).ttl(SHORT);
    let entry_id = world.internal.register(&world.agent, &registered);
    let mut workload = started(&world.agent, &program);
    workload.ask("call");

    world.internal.delete(&entry_id);
    expires(&mut workload);

    // Registered again, it goes on under the same id.
    let _ = world.internal.register(&world.agent, &registered);
    wait_for("recovery", LIMIT, || workload.try_ask("call").ok());
    assert_eq!(workload.ask("id"), "spiffe://kest.internal/workload/dismissed");
}

#[test]
fn an_entry_that_names_another_identity_is_never_followed() {
    let Some(world) = world() else { return };
    let program = world.program("renamed");
    let entry_id = world.internal.register(&world.agent, &entry("renamed", &program).ttl(SHORT));
    let mut workload = started(&world.agent, &program);

    world.internal.delete(&entry_id);
    let _ = world.internal.register(&world.agent, &entry("impostor", &program).ttl(SHORT));
    let error = expires(&mut workload);
    assert!(error["message"].as_str().unwrap().contains("workload/impostor"), "{error}");
    assert_eq!(workload.try_ask("call").unwrap_err()["kind"], "SvidExpired");

    // A process that starts now is who the entry says.
    let mut next = Workload::start(&world.agent, &program);
    assert_eq!(next.ask("id"), "spiffe://kest.internal/workload/impostor");
}

/// Calls hold until the SVID expires and then fail, without a run of the body; gives the error.
fn expires(workload: &mut Workload) -> Value {
    // The agent may have had another on its way.
    let mut expiry = workload.ask("svid")["expires_at_ms"].as_u64().unwrap();
    let error = wait_for("the end of the SVID", SHORT + Duration::from_secs(20), || {
        if let Ok(svid) = workload.try_ask("svid") {
            expiry = svid["expires_at_ms"].as_u64().unwrap();
        }
        let error = workload.try_ask("call").err()?;
        Some((error, now_ms()))
    });
    let (error, failed) = error;
    assert_eq!(error["kind"], "SvidExpired", "{error}");
    assert_eq!(error["ran"], false, "{error}");
    assert!(failed >= expiry, "failed {} ms before the SVID expired", expiry - failed);
    error
}
