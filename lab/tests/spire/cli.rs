//! The command `kest` as a workload.

use std::fs;

use kest_lab::{Entry, command, run, wait_for};
use serde_json::Value;

use crate::{LIMIT, world};

#[test]
fn whoami_says_who_the_agent_says_it_is() {
    let Some(world) = world() else { return };
    let program = world.folder.program(&command(), "kest-whoami");
    let endpoint = world.agent.endpoint();
    let whoami = |arguments: &[&str]| {
        run(&program, &[&["whoami"], arguments].concat(), &[("SPIFFE_ENDPOINT_SOCKET", &endpoint)])
    };

    // No entry yet: the signal is there, and cannot be used.
    let (code, text) = whoami(&[]);
    assert_eq!(code, 1, "{text}");

    let _ = world.internal.register(&world.agent, &Entry::of_program("operator", &program));
    let text = wait_for("an identity", LIMIT, || match whoami(&[]) {
        (0, text) => Some(text),
        _ => None,
    });
    assert!(text.contains("spiffe://kest.internal/operator"), "{text}");
    let (code, text) = whoami(&["--json"]);
    assert_eq!(code, 0, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert!(answer.to_string().contains(r#""spiffe://kest.internal/operator""#), "{answer}");
    assert!(answer.to_string().contains(r#""spire""#), "{answer}");

    // No agent at the address, and no address.
    for address in ["unix:/nonexistent/agent.sock", "nonsense"] {
        let (code, text) = run(&program, &["whoami"], &[("SPIFFE_ENDPOINT_SOCKET", address)]);
        assert_eq!(code, 1, "{text}");
        assert!(!text.contains("local-workload"), "a weaker identity: {text}");
    }
}

#[test]
fn exported_bundles_verify_what_the_workloads_sign() {
    let Some(world) = world() else { return };
    let program = world.folder.program(&command(), "kest-export");
    let _ = world
        .internal
        .register(&world.agent, &Entry::of_program("exporter", &program).federates_with(&world.peer));
    let endpoint = world.agent.endpoint();
    let export = || run(&program, &["keys", "export"], &[("SPIFFE_ENDPOINT_SOCKET", &endpoint)]);
    let text = wait_for("an export", LIMIT, || match export() {
        (0, text) => Some(text),
        _ => None,
    });
    let folder = world.folder.sub("export");
    let (bundle, passport) = (folder.join("bundles.json"), folder.join("passport.json"));
    fs::write(&bundle, text).unwrap();
    let mut workloads = [
        world.workload("exported", |entry| entry),
        world.workload_of(&world.peer, &world.peer_agent, "exported-peer", |entry| entry),
    ];
    for workload in &mut workloads {
        fs::write(&passport, workload.ask("sign 2").as_str().unwrap()).unwrap();
        let (code, text) =
            kest(&["verify", passport.to_str().unwrap(), "--bundle", bundle.to_str().unwrap(), "--strict"]);
        assert_eq!(code, 0, "{text}");
    }
}

/// Runs `kest` outside every identity; gives its exit code and what it printed.
pub(crate) fn kest(arguments: &[&str]) -> (i32, String) {
    run(&command(), arguments, &[])
}
