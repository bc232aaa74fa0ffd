//! The lineage layer checks a signature once, and believes no more for it (spec §12, §13).
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kest_core::verify::{FnKeySource, KeySource, Remembered, Verifier};
use kest_http::LineageLayer;

use self::support::{Workload, anchors, layer, routes, send, serve, verifier, with_peer};

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
    let of_the_verifier = verifier(&[&caller]).remembering(&own);
    let of_the_verifier = LineageLayer::builder(service.kest.clone(), of_the_verifier)
        .remember(shared.clone())
        .build()
        .unwrap();
    for (layer, in_shared, in_own) in
        [(&one, 3, 0), (&other, 3, 0), (&nothing, 0, 0), (&of_the_verifier, 0, 3)]
    {
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
