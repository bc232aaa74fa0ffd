//! The lineage layer checks a signature once, and believes no more for it (spec §12, §13).
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use base64_simd::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use http::Request;
use hyper_util::rt::TokioExecutor;
use kest_core::verify::{FnKeySource, KeySource, Remembered, Verifier};
use kest_http::{LineageLayer, Outbound, OutboundError, OutboundLayer, Parcel, Wire};
use sha2::{Digest as _, Sha256};
use tower::{Layer as _, ServiceExt as _};

use self::support::{Workload, anchors, layer, protected, routes, send, serve, verifier, with_peer};

async fn status(address: std::net::SocketAddr, baggage: &str) -> u16 {
    send(address, &[("baggage", baggage)]).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_remembers_by_default_and_can_be_told_where() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let baggage = caller.baggage(&["a", "b", "c"], None).await;
    let holds = |layer: &LineageLayer, entries: usize| {
        format!("{layer:?}").contains(&format!("Remembered {{ entries: {entries} }}"))
    };
    let by_default = layer(&service, &[&caller]).build().unwrap();
    assert!(holds(&by_default, 0), "{by_default:?}");
    let address = serve(with_peer(routes().layer(by_default.clone()), caller.peer())).await;
    assert_eq!(status(address, &baggage).await, 200);
    assert!(holds(&by_default, 3), "{by_default:?}");
    // What is refused is not remembered.
    let stranger = Workload::new("gateway").baggage(&["x"], None).await;
    assert_eq!(status(address, &stranger).await, 401);
    assert!(holds(&by_default, 3), "{by_default:?}");

    let (shared, own) = (Remembered::new(100), Remembered::new(100));
    let one = layer(&service, &[&caller]).remember(shared.clone()).build().unwrap();
    let other = layer(&service, &[&caller]).remember(shared.clone()).build().unwrap();
    let nothing = layer(&service, &[&caller]).remember(Remembered::new(0)).build().unwrap();
    let remembers = || LineageLayer::builder(service.kest.clone(), verifier(&[&caller]).remembering(&own));
    let of_the_verifier = remembers().build().unwrap();
    // What is said to the layer goes before what was said to its verifier.
    let another = remembers().remember(shared.clone()).build().unwrap();
    let none = remembers().remember(Remembered::new(0)).build().unwrap();
    for (layer, in_shared, in_own) in [
        (&one, 3, 0),
        (&other, 3, 0),
        (&nothing, 0, 0),
        (&of_the_verifier, 0, 3),
        (&another, 3, 0),
        (&none, 0, 0),
    ] {
        shared.clear();
        own.clear();
        let address = serve(with_peer(routes().layer(layer.clone()), caller.peer())).await;
        for _ in 0..2 {
            assert_eq!(status(address, &baggage).await, 200);
        }
        assert_eq!((shared.len(), own.len()), (in_shared, in_own), "{layer:?}");
    }
    assert!(holds(&nothing, 0), "{nothing:?}");
}

/// More entries than a thread of the run-time checks in passing, if they are new.
#[tokio::test]
async fn behind_a_long_prefix_that_is_remembered_everything_is_checked_all_the_same() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let wire = || Wire::builder().always_compressed().tier_bytes(1 << 18).header_bytes(1 << 18).build();
    let passport = caller.passport(&["a"; 60], None).await;
    let sent = wire().write_blocking(&Parcel::of(passport.clone()), &[]).unwrap();
    let memory = Remembered::new(1_000);
    let layer = layer(&service, &[&caller]).wire(wire()).remember(memory.clone()).build().unwrap();
    let address = serve(with_peer(routes().layer(layer), caller.peer())).await;
    assert_eq!(status(address, &sent).await, 200);
    assert_eq!(memory.len(), 60);
    assert_eq!(status(address, &sent).await, 200);
    let entries: Vec<String> = passport.entries().iter().map(|entry| entry.jws().to_owned()).collect();
    let packed = |entries: &[String]| {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(serde_json::to_string(entries).unwrap().as_bytes()).unwrap();
        let stream = URL_SAFE_NO_PAD.encode_to_string(encoder.finish().unwrap());
        let tip: String =
            Sha256::digest(entries.last().unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("kest.passport_z={stream},kest.chain_tip={tip}")
    };
    assert_eq!(status(address, &packed(&entries)).await, 200);
    for (changed, status, problem) in
        [(0, 400, "malformed-lineage"), (30, 400, "malformed-lineage"), (59, 401, "unverified-lineage")]
    {
        let mut tampered = entries.clone();
        let signature = entries[(changed + 1) % 60].rsplit_once('.').unwrap().1;
        tampered[changed] = format!("{}.{signature}", entries[changed].rsplit_once('.').unwrap().0);
        // Children name the entry that was there; the last has none.
        let answer = send(address, &[("baggage", &packed(&tampered))]).await;
        answer.is_problem(status, problem, "");
        assert_eq!(memory.len(), 60);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_remembered_is_refused_once_its_key_is_gone() {
    let (caller, other, service) =
        (Workload::new("gateway"), Workload::new("gateway"), Workload::new("orders"));
    let baggage = caller.baggage(&["a", "b"], None).await;
    let rotated = Arc::new(AtomicBool::new(false));
    let keys = {
        let (before, after, rotated) = (anchors(&[&caller]), anchors(&[&other]), Arc::clone(&rotated));
        FnKeySource::new(move |principal| match rotated.load(Ordering::Relaxed) {
            false => before.keys(principal),
            true => after.keys(principal),
        })
    };
    let memory = Remembered::new(100);
    let layer = LineageLayer::builder(service.kest.clone(), Verifier::new(keys))
        .remember(memory.clone())
        .build()
        .unwrap();
    let address = serve(with_peer(routes().layer(layer), caller.peer())).await;
    assert_eq!(status(address, &baggage).await, 200);
    assert_eq!(memory.len(), 2);
    rotated.store(true, Ordering::Relaxed);
    let answer = send(address, &[("baggage", &baggage)]).await;
    answer.is_problem(401, "unverified-lineage", "");
    rotated.store(false, Ordering::Relaxed);
    assert_eq!(status(address, &baggage).await, 200);
}

#[tokio::test]
async fn a_client_remembers_where_it_is_told() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let (own, shared) = (Remembered::new(100), Remembered::new(100));
    let layer = layer(&service, &[&caller]).allow(caller.id.as_str()).return_lineage().build().unwrap();
    let address = serve(routes().layer(layer)).await;
    let outbound = Outbound::builder()
        .host(address.to_string())
        .returned(verifier(&[&caller, &service]).remembering(&own))
        .remember(shared.clone())
        .build()
        .unwrap();
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
    let client = OutboundLayer::new(outbound).layer(client);
    let work = protected("first", None, async {
        client
            .oneshot(Request::get(format!("http://{address}/")).body(Body::empty()).unwrap())
            .await
            .unwrap();
    });
    caller.kest.scope(work).source("system").await.unwrap();
    assert_eq!((own.len(), shared.len()), (0, 2));
    let nothing_to_remember = Outbound::builder().any_host().remember(Remembered::new(1)).build();
    assert!(matches!(nothing_to_remember, Err(OutboundError::NothingReturned)), "{nothing_to_remember:?}");
}
