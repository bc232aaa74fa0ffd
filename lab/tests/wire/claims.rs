//! Claim checks on Redis, with TLS and a password.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kest::cache::ClaimCache;
use kest::cache::RedisCache;
use kest::error::PropagationErrorKind;
use kest::http::{Parcel, Wire};
use kest::policy::MockPolicyEngine;
use kest::verify::{Anchors, Verifier};
use kest::{Error, Kest, kest_verified};
use kest_lab::{
    Folder, HopConfig, Lab, Redis, RedisAt, Step, Via, audit, call, local_anchors, local_identity,
    operations, send, wait_for,
};

use crate::{LIMIT, host, local, problem, start};

#[kest_verified(policy = unchecked(["any"]), source_type = "system")]
fn step() -> Result<(), Error> {
    Ok(())
}

fn cache(at: &RedisAt) -> kest::cache::RedisCacheBuilder {
    RedisCache::builder(&at.url).password(&at.password).root_certificates(at.ca.as_str())
}

fn long_passport() -> kest::Passport {
    let kest = Kest::builder().identity(local_identity("claims")).engine(MockPolicyEngine::allow());
    let lineage = kest.without_config().build().unwrap();
    let lineage = lineage.enter();
    for _ in 0..60 {
        step().unwrap();
    }
    lineage.passport()
}

#[test]
fn tc_11_claim_check_round_trip() {
    let Some(lab) = Lab::from_env() else { return };
    let redis = Redis::start(&lab);
    let wire = Wire::builder().cache(Arc::new(cache(&redis.at()).build().unwrap())).build();
    let passport = long_passport();

    let header = wire.write_blocking(&Parcel::of(passport.clone()), &[]).unwrap();
    let members: Vec<&str> =
        header.split(',').map(|member| member.split('=').next().unwrap().trim()).collect();
    assert_eq!(members.len(), 2, "{header}");
    assert!(members.contains(&"kest.claim_check") && members.contains(&"kest.chain_tip"), "{header}");

    let claim = header.split(',').find_map(|member| member.trim().strip_prefix("kest.claim_check=")).unwrap();
    let key = format!("kest.claim.{claim}");
    assert_eq!(redis.tell(&["KEYS", "*"]).unwrap().trim(), key);
    let left: u64 = redis.tell(&["TTL", &key]).unwrap().trim().parse().unwrap();
    assert!((200..=300).contains(&left), "{left}");

    let arrived = wire.read_blocking(&[header.as_bytes()]).unwrap();
    let verifier = Verifier::new(Anchors::from_provider(&local_identity("claims")).unwrap());
    let restored = arrived.lineage.unwrap().verify(&verifier).unwrap();
    assert_eq!(restored.passport().serialize(), passport.serialize());
}

#[test]
fn a_cache_that_cannot_be_asked_is_an_error_that_tells_no_password() {
    let Some(lab) = Lab::from_env() else { return };
    let mut redis = Redis::start(&lab);
    let at = redis.at();
    let parcel = Parcel::of(long_passport());
    let refused = |cache: RedisCache| {
        let cache: Arc<dyn ClaimCache> = Arc::new(cache);
        let error = Wire::builder().cache(cache).build().write_blocking(&parcel, &[]).unwrap_err();
        assert_eq!(error.kind(), PropagationErrorKind::Cache, "{error}");
        for secret in [&*at.password, "not the password"] {
            assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
        }
    };
    refused(cache(&at).password("not the password").build().unwrap());
    refused(cache(&at).root_certificates(Redis::start(&lab).at().ca).build().unwrap());
    refused(cache(&RedisAt { url: at.url.replace("rediss", "redis"), ..at.clone() }).build().unwrap());
    redis.stop();
    refused(cache(&at).build().unwrap());
}

#[test]
fn a_restart_that_forgets_claims_is_noticed_and_got_over() {
    let Some(lab) = Lab::from_env() else { return };
    let (folder, mut redis) = (Folder::new(), Redis::start(&lab));
    let with = |config: HopConfig| HopConfig { redis: Some(redis.at()), ..config };
    let names = ["a", "b"];
    let [mut a, b] = names.map(|name| with(local(name, &names)));
    let recorder = Recorder::new();
    a.hosts = vec![host(&b), recorder.host()];
    let [a, b] = [a, b].map(|config| start(&folder, config));
    let to_b = || [Step::Repeat(60), call(Via::Http1, b.origin(), [])];

    let answer = a.ask(&[], to_b()).good();
    let passport = &answer["answers"][0]["passport"];
    assert_eq!(operations(passport).len(), 62);
    assert_eq!(audit(passport, &local_anchors(&names)).entries().len(), 62);
    assert_eq!(answer["answers"][0]["standing"], "Bound");

    // A request that was on its way when Redis went down.
    let recorded = recorder.host();
    let waiting = thread::spawn(move || recorder.baggage());
    let _ = a.ask(&[], [Step::Repeat(60), call(Via::Http1, format!("http://{recorded}"), [])]).good();
    let baggage = waiting.join().unwrap();
    assert!(baggage.contains("kest.claim_check="), "{baggage}");
    let port: u16 = b.origin().rsplit(':').next().unwrap().parse().unwrap();
    let headers = [("baggage", &*baggage), ("content-type", "application/json")];
    let replay = || {
        let answer = send(port, "POST", "/call", &headers, "[]").unwrap();
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    };
    let (status, body): (u16, serde_json::Value) = replay();
    assert_eq!((status, operations(&body["passport"]).len()), (200, 62));

    redis.stop();
    let (status, body) = replay();
    assert_eq!((status, problem(&body)), (503, "cache-unavailable"), "{body}");
    let failed = a.ask(&[], to_b());
    assert_eq!(failed.status, 502);
    assert!(failed.body["send"].as_str().unwrap().starts_with("redis at `rediss://"), "{}", failed.body);

    redis.resume();
    let (status, body) = wait_for("the cache to be asked again", LIMIT, || {
        let answer = replay();
        (answer.0 != 503).then_some(answer)
    });
    assert_eq!((status, problem(&body)), (400, "unknown-claim"), "{body}");
    let answer = wait_for("a claim to be kept again", LIMIT, || {
        let answer = a.ask(&[], to_b());
        (answer.status == 200).then(|| answer.good())
    });
    assert_eq!(operations(&answer["answers"][0]["passport"]).len(), 62);
}

/// A service that looks at one request.
struct Recorder(TcpListener);

impl Recorder {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn host(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// The `baggage` of the request, which is answered with `{}`.
    fn baggage(&self) -> String {
        let (mut stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let text = String::from_utf8(request).unwrap();
        let length =
            text.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").unwrap();
        text.lines().find_map(|line| line.strip_prefix("baggage: ")).expect("a lineage").to_owned()
    }
}
