//! JWT-SVIDs that SPIRE has signed, checked by a workload.

use std::process::Command;
use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use kest_lab::{Agent, Domain, Entry, wait_for};
use serde_json::Value;

use crate::{LIMIT, World, world};

#[test]
fn a_jwt_svid_proves_its_identity_to_its_audience_alone() {
    let Some(world) = world() else { return };
    let mut checker = world.workload("checker", |entry| entry);
    let token = fetched(world, &world.internal, &world.agent, "courier", |entry| entry);
    assert_eq!(checker.ask(&format!("verify orders {token}")), "spiffe://kest.internal/workload/courier");

    let refused = |token: &str, audience: &str| checker.try_ask(&format!("verify {audience} {token}")).err();
    let mut refused = refused;
    assert_eq!(refused(&token, "payments").unwrap()["kind"], "Untrusted");

    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, signature] = parts[..] else { panic!("{} parts", parts.len()) };
    let promoted = rewritten(claims, "workload/courier", "workload/admin");
    let no_algorithm = URL_SAFE_NO_PAD.encode_to_string(r#"{"alg":"none","typ":"JWT"}"#);
    let symmetric = rewritten(head, r#""alg":"ES256""#, r#""alg":"HS256""#);
    for tampered in [
        format!("{head}.{promoted}.{signature}"),
        format!("{no_algorithm}.{claims}."),
        format!("{no_algorithm}.{claims}.{signature}"),
        format!("{symmetric}.{claims}.{signature}"),
        format!("{head}.{claims}.{}", flipped(signature)),
        format!("{head}.{claims}"),
    ] {
        let error = refused(&tampered, "orders").unwrap_or_else(|| panic!("accepted {tampered}"));
        assert_eq!(error["kind"], "Untrusted", "{tampered}: {error}");
        assert!(!error.to_string().contains(signature), "a token in an error: {error}");
    }
}

#[test]
fn a_jwt_svid_of_another_domain_counts_where_it_is_federated() {
    let Some(world) = world() else { return };
    let token = fetched(world, &world.peer, &world.peer_agent, "envoy", |entry| entry);
    let mut federated = world.workload("open-checker", |entry| entry.federates_with(&world.peer));
    assert_eq!(federated.ask(&format!("verify orders {token}")), "spiffe://peer.internal/workload/envoy");
    let mut closed = world.workload("closed-checker", |entry| entry);
    let error = closed.try_ask(&format!("verify orders {token}")).unwrap_err();
    assert_eq!(error["kind"], "TrustDomain", "{error}");
}

#[test]
fn an_expired_jwt_svid_is_refused() {
    let Some(world) = world() else { return };
    let mut checker = world.workload("late-checker", |entry| entry);
    let token =
        fetched(world, &world.internal, &world.agent, "hasty", |entry| entry.jwt_ttl(Duration::from_secs(2)));
    let error = wait_for("the end of the token", LIMIT * 2, || {
        checker.try_ask(&format!("verify orders {token}")).err()
    });
    assert_eq!(error["kind"], "SvidExpired", "{error}");
}

/// A JWT-SVID for the audience `orders`, as `spire-agent` gets it under an entry of its own.
fn fetched(
    world: &World,
    domain: &Domain,
    agent: &Agent,
    name: &str,
    with: impl FnOnce(Entry) -> Entry,
) -> String {
    let program = world.folder.program(&world.lab.part("spire/spire-agent").canonicalize().unwrap(), name);
    let _ = domain.register(agent, &with(Entry::of_program(&format!("workload/{name}"), &program)));
    wait_for("a JWT-SVID", LIMIT, || {
        let mut command = Command::new(&program);
        command.args(["api", "fetch", "jwt", "-audience", "orders", "-output", "json", "-socketPath"]);
        let output = command.arg(agent.socket()).output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(answer[0]["svids"][0]["svid"].as_str()?.to_owned())
    })
}

fn rewritten(segment: &str, from: &str, to: &str) -> String {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode_to_vec(segment).unwrap()).unwrap();
    assert!(text.contains(from), "`{from}` is not in {text}");
    URL_SAFE_NO_PAD.encode_to_string(text.replace(from, to))
}

fn flipped(signature: &str) -> String {
    let mut bytes = URL_SAFE_NO_PAD.decode_to_vec(signature).unwrap();
    bytes[20] ^= 1;
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}
