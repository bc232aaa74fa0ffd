//! Four services in a row: through nginx and Envoy, over HTTP/1.1, gRPC and mutual TLS.

use kest_lab::{Call, Envoy, HopConfig, Lab, Nginx, Plan, Redis, Step, Via, call, operations};
use serde_json::json;

use crate::attested::attested;
use crate::{bearer, host, provider};

#[test]
fn the_user_of_the_first_service_reaches_the_policy_of_the_fourth() {
    let Some(lab) = Lab::from_env() else { return };
    let (spire, provider, redis) = (attested(&lab), provider(&lab), Redis::start(&lab));

    let mut d = spire.config("d");
    d.tls = true;
    d.policies.push("hop/for_alice".to_owned());
    let mut c = spire.config("c");
    c.allow.push(spire.id("b"));
    c.hosts.push(host(&d));
    let envoy = Envoy::http_2(&lab, c.port);
    let mut b = spire.config("b");
    b.allow.push(spire.id("a"));
    b.hosts.push(envoy.host());
    let nginx = Nginx::start(&lab, b.port);
    let mut a = spire.config("a");
    a.issuer = Some(provider.issuer());
    a.hosts.push(nginx.host());
    // With a certificate in each entry, three are about as much as fits: here they become a claim check for certain.
    c.tier_bytes = Some(2_000);
    let with_redis = |config: HopConfig| HopConfig { redis: Some(redis.at()), ..config };
    let [d, _c, _b, a] = [d, c, b, a].map(|config| spire.start(with_redis(config)));
    let (nginx, envoy) = (format!("http://{}", nginx.host()), format!("http://{}", envoy.host()));

    let alice = bearer(&provider, json!({ "user": "alice", "act": { "sub": "assistant" } }));
    let bob = bearer(&provider, json!({ "user": "bob" }));
    let through = |last: Step| [call(Via::Http1, &nginx, [call(Via::Grpc, &envoy, [last])])];
    let pinned = |peer: &str| {
        let peer = Some(spire.id(peer));
        Step::Call(Call { via: Via::PinnedGrpc, origin: d.origin(), peer, plan: Plan::default() })
    };
    for last in [call(Via::Mtls, d.origin(), []), call(Via::MtlsGrpc, d.origin(), []), pinned("d")] {
        let answer = a.ask(&[("authorization", &alice)], through(last)).good();
        assert_eq!(answer["user"], "alice");
        let [at_b, at_c, at_d] = ["", "/answers/0", "/answers/0/answers/0"]
            .map(|path| answer["answers"][0].pointer(path).unwrap().clone());
        for (at, service) in [(&at_b, "b"), (&at_c, "c"), (&at_d, "d")] {
            assert_eq!(at["service"], service);
            assert_eq!(at["standing"], "Bound", "{service}");
            assert_eq!(at["user"], "alice", "{service}");
        }
        assert_eq!(at_c["peer"], json!(null), "Envoy is no workload");
        assert_eq!(at_d["peer"], json!(spire.id("c")));

        assert_eq!(operations(&at_d["passport"]), ["a", "b", "c", "d"]);
        let verified = spire.audit(&at_d["passport"]);
        let entries = verified.entries();
        for (entry, name) in entries.iter().zip(["a", "b", "c", "d"]) {
            assert_eq!(entry.principal(), spire.id(name));
            let identity: serde_json::Value =
                serde_json::from_str(entry.label("kest.identity").unwrap()).unwrap();
            assert_eq!([&identity["user"], &identity["agent"]], ["alice", "assistant"], "{name}");
            assert_eq!(entry.trust_score, 50, "an authenticated user's");
        }
        for (child, parent) in entries.iter().skip(1).zip(verified.passport().entries()) {
            assert_eq!(child.parent_ids(), [parent.hash()]);
        }
    }

    assert_eq!(redis.tell(&["DBSIZE"]).unwrap().trim(), "3", "one claim check for each request");

    // What the fourth service's policy says is what the first one hears.
    let denied = a.ask(&[("authorization", &bob)], through(call(Via::Mtls, d.origin(), [])));
    assert_eq!(denied.status, 502);
    let said = denied.body.to_string();
    assert!(said.contains("hop/for_alice"), "{said}");
    let refused = a.ask(&[], through(call(Via::Mtls, d.origin(), [])));
    assert_eq!((refused.status, crate::problem(&refused.body)), (401, "missing-token"));

    // Over mutual TLS, whoever is not the workload that was meant is not spoken to.
    let other = a.ask(&[("authorization", &alice)], through(pinned("c")));
    assert_eq!(other.status, 502);
    assert!(other.body.to_string().contains("the TLS handshake with"), "{}", other.body);
}
