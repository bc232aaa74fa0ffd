//! What each default of spec §12 stops, by the attack itself, over sockets.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use base64_simd::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use kest_core::Passport;
use kest_core::claim::{BoxFuture, ClaimCache, ClaimId};
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::verify::{Grant, Verifier};
use kest_http::{LineageLayer, Wire};
use serde_json::json;

use self::support::{
    Answer, Workload, anchors, baggage, handler, layer, members, now_ms, own, protected, routes, send,
    send_bytes, serve, verifier, with_peer,
};

/// A service that believes `caller`, and counts how often it is reached.
async fn counting(caller: &Workload) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let service = Workload::new("orders");
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let reach = move |request: Request| {
        count.fetch_add(1, Ordering::SeqCst);
        handler(request)
    };
    let app = Router::new().route("/", get(reach));
    let layer = layer(&service, &[caller]).build().unwrap();
    (serve(with_peer(app.layer(layer), caller.peer())).await, reached)
}

/// The members as one `baggage` value.
fn joined(members: &[(String, String)]) -> String {
    members.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn compressed(passport: &Passport, tip: &str) -> String {
    let zlib = URL_SAFE_NO_PAD.encode_to_string(zlib(passport.serialize().as_bytes()));
    format!("kest.passport_z={zlib},kest.chain_tip={tip}")
}

#[tokio::test]
async fn identity_in_baggage_is_hearsay() {
    let caller = Workload::new("gateway");
    let (address, _) = counting(&caller).await;
    let spoofed = "kest.user=root,kest.agent=root,kest.task=root,kest.jwt=eyJ.x.y";
    let told = send(address, &[("baggage", spoofed)]).await.json();
    assert_eq!((&told["identity"], &told["jwt"]), (&json!({}), &json!(false)));
    let signed = caller.baggage(&["order"], Some(json!("alice"))).await;
    let told = send(address, &[("baggage", &signed), ("baggage", spoofed)]).await.json();
    assert_eq!(told["identity"], json!({"user": "alice"}));
}

#[tokio::test]
async fn a_user_name_adds_no_member_and_no_header() {
    let caller = Workload::new("gateway");
    let (address, _) = counting(&caller).await;
    let name = "x,kest.user=root\r\nbaggage: kest.user=root;kest.passport=[]\0\"%2C\u{1f600}";
    let told =
        send(address, &[("baggage", &caller.baggage(&["order"], Some(json!(name))).await)]).await.json();
    assert_eq!(told["identity"], json!({ "user": name }));
    // The same name where the sender also writes it into the identity members.
    let parcel = caller
        .kest
        .scope(protected("order", Some(&json!(name)), async {
            kest_http::Parcel::from(&kest_core::lineage::Outgoing::capture())
        }))
        .source("system")
        .await
        .unwrap();
    assert_eq!(parcel.user, Some(json!(name)));
    let value = Wire::default().write(&parcel, &["tenant=blue"]).await.unwrap();
    let names: Vec<String> = members(&value).into_iter().map(|(name, _)| name).collect();
    let ours = names.iter().filter(|name| name.starts_with("kest.")).count();
    assert_eq!((ours, names.len()), (3, 4), "passport, tip, user and the other's: {names:?}");
    assert_eq!(send(address, &[("baggage", &value)]).await.json()["identity"], json!({ "user": name }));
}

#[tokio::test]
async fn identity_headers_from_strangers_count_for_nothing() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let address = serve(routes().layer(layer(&service, &[&caller]).build().unwrap())).await;
    let baggage = caller.baggage(&["order"], Some(json!("alice"))).await;
    let xfcc = format!("By=spiffe://kest.test/orders;URI={}", caller.id);
    let told = send(
        address,
        &[
            ("baggage", &baggage),
            ("x-forwarded-client-cert", &xfcc),
            ("x-forwarded-user", "root"),
            ("x-spiffe-id", &caller.id),
            ("kest.user", "root"),
            ("kest-user", "root"),
        ],
    )
    .await
    .json();
    assert_eq!((&told["standing"], &told["identity"]), (&json!("Unbound"), &json!({})));
    assert_eq!(told["trust"], 40);
}

#[tokio::test]
async fn a_zlib_bomb_is_refused() {
    let caller = Workload::new("gateway");
    let (address, reached) = counting(&caller).await;
    let tip = "0".repeat(64);
    // 4 MiB in about 4 KiB.
    let bomb = zlib(format!("[\"{}\"]", "a".repeat(4 << 20)).as_bytes());
    let bomb = format!("kest.passport_z={},kest.chain_tip={tip}", URL_SAFE_NO_PAD.encode_to_string(bomb));
    assert!(bomb.len() < 8_192);
    send(address, &[("baggage", &bomb)]).await.is_problem(400, "oversized-lineage", "");
    // Few bytes that are many entries.
    let many = zlib(format!("[{}\"a.b.c\"]", "\"a.b.c\",".repeat(300)).as_bytes());
    let many = format!("kest.passport_z={},kest.chain_tip={tip}", URL_SAFE_NO_PAD.encode_to_string(many));
    send(address, &[("baggage", &many)]).await.is_problem(400, "oversized-lineage", "256");
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_stale_tier_beside_a_fresh_one_is_refused() {
    let caller = Workload::new("gateway");
    let (address, reached) = counting(&caller).await;
    let (stale, fresh) = (caller.passport(&["old"], None).await, caller.passport(&["new"], None).await);
    let tip = fresh.tips()[0].hash();
    let both = format!("{},{}", baggage(&fresh), compressed(&stale, &tip).split_once(',').unwrap().0);
    send(address, &[("baggage", &both)]).await.is_problem(400, "malformed-lineage", "");
    let both = format!("{},kest.passport_d=AQMA", baggage(&fresh));
    send(address, &[("baggage", &both)]).await.is_problem(400, "malformed-lineage", "");
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    assert_eq!(send(address, &[("baggage", &compressed(&fresh, &tip))]).await.status, 200);
}

#[tokio::test]
async fn a_wrong_tip_a_truncated_tail_and_a_missing_half_are_refused() {
    let caller = Workload::new("gateway");
    let (address, reached) = counting(&caller).await;
    let whole = caller.passport(&["a", "b", "c"], None).await;
    let truncated = Passport::deserialize(&whole.serialize()).unwrap();
    let truncated: Vec<String> = truncated.entries().take(2).map(str::to_owned).collect();
    let truncated = serde_json::to_string(&truncated).unwrap();
    let encoded = URL_SAFE_NO_PAD.encode_to_string(zlib(truncated.as_bytes()));
    let tip = whole.tips()[0].hash();
    for (sent, part) in [
        // The last entry is cut off, the tip says so.
        (format!("kest.passport_z={encoded},kest.chain_tip={tip}"), "tip"),
        (compressed(&whole, &"f".repeat(64)), "tip"),
        (compressed(&whole, "latest"), ""),
        (compressed(&whole, &tip.to_uppercase()), ""),
        (compressed(&whole, &tip).split_once(",kest.chain_tip").unwrap().0.to_owned(), "tip"),
        (format!("kest.chain_tip={tip}"), "tip"),
    ] {
        send(address, &[("baggage", &sent)]).await.is_problem(400, "malformed-lineage", part);
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    // Whoever cuts off tail and tip together has a lineage whose last entry verifies: bound to its signer alone.
    let (stranger, service) = (Workload::new("stranger"), Workload::new("orders"));
    let shorter = Passport::deserialize(&truncated).unwrap().verify(&verifier(&[&caller])).unwrap();
    let app = routes().layer(layer(&service, &[&caller, &stranger]).build().unwrap());
    let told =
        send(serve(with_peer(app, stranger.peer())).await, &[("baggage", &baggage(shorter.passport()))])
            .await
            .json();
    assert_eq!(
        (&told["standing"], &told["trust"], &told["identity"]),
        (&json!("Unbound"), &json!(40), &json!({}))
    );
}

#[tokio::test]
async fn a_replayed_passport_buys_another_peer_little_and_only_for_a_while() {
    let (caller, thief, service) =
        (Workload::new("gateway"), Workload::new("thief"), Workload::new("orders"));
    let stolen = caller.baggage(&["login", "order"], Some(json!("alice"))).await;
    let at = |minutes: u64| {
        let now = now_ms() + minutes * 60_000;
        layer(&service, &[&caller, &thief]).clock(move || now)
    };
    let ask = |layer: LineageLayer, peer: &Workload| {
        let (app, stolen) = (with_peer(routes().layer(layer), peer.peer()), stolen.clone());
        async move { send(serve(app).await, &[("baggage", &stolen)]).await }
    };
    let told = ask(at(0).build().unwrap(), &thief).await.json();
    assert_eq!(
        (&told["standing"], &told["trust"], &told["identity"]),
        (&json!("Unbound"), &json!(40), &json!({}))
    );
    // Lower, where it is said so.
    assert_eq!(ask(at(0).unbound_ceiling(5).build().unwrap(), &thief).await.json()["trust"], 5);
    assert_eq!(ask(at(9).build().unwrap(), &thief).await.json()["trust"], 40);
    let late = ask(at(11).build().unwrap(), &thief).await;
    late.is_problem(401, "stale-lineage", "not of the peer `spiffe://kest.test/thief`");
    assert_eq!(late.json()["step"], "time");
    ask(at(1).unbound_max_age(Duration::from_secs(10)).build().unwrap(), &thief).await.is_problem(
        401,
        "stale-lineage",
        "counts for 10 s only",
    );
    // The peer itself may go on with it for an hour, and not longer.
    assert_eq!(ask(at(59).build().unwrap(), &caller).await.json()["trust"], 100);
    ask(at(61).build().unwrap(), &caller).await.is_problem(401, "stale-lineage", "ms old");
    ask(at(61).allow("spiffe://kest.test").build().unwrap(), &thief).await.is_problem(
        401,
        "stale-lineage",
        "ms old",
    );
    // A longer time for strangers than for the peer is none.
    let odd =
        at(31).max_age(Duration::from_secs(30 * 60)).unbound_max_age(Duration::from_secs(7_200)).build();
    ask(odd.unwrap(), &thief).await.is_problem(401, "stale-lineage", "ms old");
    let required = at(0).require_bound().build().unwrap();
    ask(required, &thief).await.is_problem(401, "unbound-lineage", "not of the peer");
}

#[tokio::test]
async fn an_entry_from_the_future_is_refused() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let past = now_ms() - 60_000;
    let app = routes().layer(layer(&service, &[&caller]).clock(move || past).build().unwrap());
    let answer = send(serve(app).await, &[("baggage", &caller.baggage(&["order"], None).await)]).await;
    answer.is_problem(401, "stale-lineage", "ahead");
    assert_eq!(answer.json()["entry"], 0);
}

#[tokio::test]
async fn a_subject_of_openid_connect_that_looks_like_the_peer_is_not_the_peer() {
    // The peer's id, said by an issuer: it goes by `<iss>#<sub>`.
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let mut known = anchors(&[]);
    let name = format!("https://issuer.test#{}", caller.id);
    let keys = kest_core::identity::IdentityProvider::public_keys(&*caller.identity).unwrap();
    kest_core::verify::Anchors::insert(&mut known, &name, keys).unwrap();
    let layer = LineageLayer::builder(service.kest.clone(), Verifier::new(known)).build().unwrap();
    let address = serve(with_peer(routes().layer(layer), caller.peer())).await;
    let answer = send(address, &[("baggage", &caller.baggage(&["order"], None).await)]).await;
    answer.is_problem(401, "unverified-lineage", "spiffe://kest.test/gateway");
}

#[tokio::test]
async fn two_lineages_in_two_baggage_headers_are_refused() {
    let caller = Workload::new("gateway");
    let (address, reached) = counting(&caller).await;
    let (one, two) = (caller.baggage(&["a"], None).await, caller.baggage(&["b"], None).await);
    for (first, second) in [(&one, &two), (&two, &one), (&one, &one)] {
        let answer = send(address, &[("baggage", first), ("baggage", second)]).await;
        answer.is_problem(400, "malformed-lineage", "");
    }
    send(address, &[("baggage", &format!("{one},{two}"))]).await.is_problem(400, "malformed-lineage", "");
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    // One lineage whose members stand in two headers, beside those of others, is one lineage.
    let members = members(&one);
    let (passport, tip) = (joined(&members[..1]), joined(&members[1..]));
    let told = send(address, &[("baggage", "x=1"), ("baggage", &tip), ("baggage", &passport)]).await.json();
    assert_eq!(told["operations"], json!(["a", "handled"]));
}

#[tokio::test]
async fn headers_over_the_limits_are_refused() {
    let caller = Workload::new("gateway");
    let (address, reached) = counting(&caller).await;
    let good = caller.baggage(&["a"], None).await;
    let long = format!("{good},x={}", "y".repeat(8_192));
    send(address, &[("baggage", &long)]).await.is_problem(400, "oversized-lineage", "");
    let many = format!("{good},{}", (0..64).map(|i| format!("m{i}=1")).collect::<Vec<_>>().join(","));
    send(address, &[("baggage", &many)]).await.is_problem(400, "oversized-lineage", "");
    let spread: Vec<(&str, String)> =
        (0..9).map(|i| ("baggage", format!("m{i}={}", "y".repeat(1_000)))).collect();
    let mut spread: Vec<(&str, &str)> = spread.iter().map(|(name, value)| (*name, value.as_str())).collect();
    spread.push(("baggage", &good));
    send(address, &spread).await.is_problem(400, "oversized-lineage", "");
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn whatever_is_no_lineage_is_refused_and_never_an_empty_one() {
    let caller = Workload::new("gateway");
    let (address, reached) = counting(&caller).await;
    let tip = format!("kest.chain_tip={}", "0".repeat(64));
    let cases: &[&[u8]] = &[
        b"kest.passport=",
        b"kest.passport=x",
        b"kest.passport=%5B%5D%5D",
        b"kest.passport=%7B%7D",
        b"kest.passport=%5B1%5D",
        b"kest.passport=%5B%22a.b.c%22%5D",
        b"kest.passport=%ff%fe",
        b"kest.passport=\xff\xfe",
        b"kest.passport=%5",
        b"kest.passport",
        b"kest.passport_z=",
        b"kest.passport_z=!!!",
        b"kest.passport_z=AAAA",
        b"kest.passport_z=eJw",
        b"kest.claim_check=1",
        b"kest.claim_check=..%2Fx",
    ];
    for case in cases {
        let with_tip = [*case, b",", tip.as_bytes()].concat();
        let answer = send_bytes(address, "GET", &[("baggage", &with_tip)]).await;
        assert_eq!(answer.status, 400, "{}: {answer:?}", String::from_utf8_lossy(case));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let answer = send_bytes(address, "GET", &[("baggage", case)]).await;
        assert_eq!(answer.status, 400, "{}: {answer:?}", String::from_utf8_lossy(case));
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn forged_entries_are_refused() {
    let (caller, forger) = (Workload::new("gateway"), Workload::new("gateway"));
    let (address, reached) = counting(&caller).await;
    assert_eq!(caller.id, forger.id);
    // Signed by a key of nobody's, under the caller's name.
    let forged = forger.baggage(&["order"], Some(json!("root"))).await;
    let answer = send(address, &[("baggage", &forged)]).await;
    answer.is_problem(401, "unverified-lineage", "key");
    assert_eq!(answer.header("www-authenticate"), Some("Kest error=\"unverified-lineage\""));
    assert_eq!((&answer.json()["entry"], &answer.json()["step"]), (&json!(0), &json!("signatures")));
    // By somebody the service does not know.
    let unknown = Workload::new("unknown").baggage(&["order"], None).await;
    let answer = send(address, &[("baggage", &unknown)]).await;
    answer.is_problem(401, "unverified-lineage", "`spiffe://kest.test/unknown`");
    assert_eq!(answer.json()["step"], "principals");
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_caller_counts_for_no_more_than_its_authority() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let grant = Grant { ceiling: 70, ..Grant::own() };
    let partner = kest_core::verify::Authority::new([(caller.id.as_str(), grant)]).unwrap();
    let ask = |verifier: Verifier| {
        let layer = LineageLayer::builder(service.kest.clone(), verifier).build().unwrap();
        let (app, caller) = (with_peer(routes().layer(layer), caller.peer()), caller.clone());
        async move { send(serve(app).await, &[("baggage", &caller.baggage(&["order"], None).await)]).await }
    };
    let build = || Verifier::builder().keys(anchors(&[&caller]));
    assert_eq!(ask(build().authority(partner.clone()).build()).await.json()["trust"], 70);
    assert_eq!(ask(build().authority(own(&[&caller])).build()).await.json()["trust"], 100);
    ask(build().authority(partner).strict().build()).await.is_problem(
        403,
        "forbidden-lineage",
        "ceiling of 70",
    );
}

// Claim checks.

#[derive(Debug)]
struct Cache(Result<Option<Arc<str>>, ()>);

impl ClaimCache for Cache {
    fn put(&self, _: &ClaimId, _: &str, _: Duration) -> Result<(), PropagationError> {
        Ok(())
    }

    fn get(&self, _: &ClaimId) -> Result<Option<Arc<str>>, PropagationError> {
        let down =
            || PropagationError::new(PropagationErrorKind::Cache, "redis://cache.internal:6379 is down");
        self.0.clone().map_err(|()| down())
    }

    fn put_async<'a>(
        &'a self,
        claim: &'a ClaimId,
        passport: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), PropagationError>> {
        Box::pin(async move { self.put(claim, passport, ttl) })
    }

    fn get_async<'a>(
        &'a self,
        claim: &'a ClaimId,
    ) -> BoxFuture<'a, Result<Option<Arc<str>>, PropagationError>> {
        Box::pin(async move { self.get(claim) })
    }

    fn is_shared(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_claim_check_is_redeemed_and_verified_like_everything_else() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let passport = caller.passport(&["a", "b"], None).await;
    let claim = format!("kest.claim_check={}", ClaimId::random().to_wire());
    let with_tip = |tip: &str| format!("{claim},kest.chain_tip={tip}");
    let ask = |held: Result<Option<Arc<str>>, ()>, sent: String| {
        let wire = Wire::builder().cache(Arc::new(Cache(held))).build();
        let app = routes().layer(layer(&service, &[&caller]).wire(wire).build().unwrap());
        async move { send(serve(app).await, &[("baggage", &sent)]).await }
    };
    let held: Arc<str> = passport.serialize().into();
    let tip = passport.tips()[0].hash();
    let answer: Answer = ask(Ok(Some(Arc::clone(&held))), with_tip(&tip)).await;
    assert_eq!(answer.json()["operations"], json!(["a", "b", "handled"]));
    ask(Ok(None), with_tip(&tip)).await.is_problem(400, "unknown-claim", "");
    let down = ask(Err(()), with_tip(&tip)).await;
    down.is_problem(503, "cache-unavailable", "try again later");
    assert!(!down.body.contains("internal"), "{down:?}");
    // What lies in the cache is believed as little as a header.
    ask(Ok(Some(held)), with_tip(&"0".repeat(64))).await.is_problem(400, "malformed-lineage", "tip");
    let forged: Arc<str> = Workload::new("gateway").passport(&["a"], None).await.serialize().into();
    let tip = kest_core::Passport::deserialize(&forged).unwrap();
    let tip = tip.decode_unverified().next().unwrap().0;
    ask(Ok(Some(forged)), with_tip(&tip)).await.is_problem(401, "unverified-lineage", "key");
    let huge: Arc<str> = format!("[\"{}\"]", "a".repeat(2 << 20)).into();
    ask(Ok(Some(huge)), with_tip(&tip)).await.is_problem(400, "oversized-lineage", "");
}
