//! Memory stays bounded under 10,000 hostile requests at a time (spec §12, §17). A process of its own, for its peak is
//! what is measured.
#![cfg(all(feature = "http", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};
use http::{Request, Response};
use http_body_util::Full;
use kest_core::claim::{BoxFuture, ClaimCache, ClaimId};
use kest_core::error::PropagationError;
use kest_http::Wire;
use sha2::{Digest as _, Sha256};
use tower::{Layer, ServiceExt};

use self::support::{Workload, layer};

const AT_ONCE: usize = 10_000;

/// The peak of the process's memory so far, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Gives a megabyte to whoever asks, after a while in which others ask too.
#[derive(Debug)]
struct Generous;

impl ClaimCache for Generous {
    fn put(&self, _: &ClaimId, _: &str, _: Duration) -> Result<(), PropagationError> {
        Ok(())
    }

    fn get(&self, _: &ClaimId) -> Result<Option<Arc<str>>, PropagationError> {
        Ok(Some(format!("[\"{}\"]", "a".repeat(1_000_000)).into()))
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
        Box::pin(async move {
            let held = self.get(claim);
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
            held
        })
    }

    fn is_shared(&self) -> bool {
        true
    }
}

fn bomb(inflated: usize) -> String {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(format!("[\"{}\"]", "a".repeat(inflated)).as_bytes()).unwrap();
    let zlib = URL_SAFE_NO_PAD.encode_to_string(encoder.finish().unwrap());
    format!("kest.passport_z={zlib},kest.chain_tip={}", "0".repeat(64))
}

/// An entry with a quarter of a million parents in 2 KiB.
fn many_parents() -> String {
    let payload = format!("{{\"parent_ids\":[{}\"\"]}}", "\"\",".repeat(261_000));
    let entry = format!("a.{}.c", URL_SAFE_NO_PAD.encode_to_string(payload));
    let tip: String = Sha256::digest(entry.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(format!("[\"{entry}\"]").as_bytes()).unwrap();
    let zlib = URL_SAFE_NO_PAD.encode_to_string(encoder.finish().unwrap());
    assert!(zlib.len() < 2_048);
    format!("kest.passport_z={zlib},kest.chain_tip={tip}")
}

fn dense_bomb(inflated: usize) -> String {
    let mut encoder = DeflateEncoder::new(vec![1], Compression::best());
    encoder.write_all(format!("\x10{}\0", "a".repeat(inflated)).as_bytes()).unwrap();
    let dense = URL_SAFE_NO_PAD.encode_to_string(encoder.finish().unwrap());
    format!("kest.passport_d={dense},kest.chain_tip={}", "0".repeat(64))
}

async fn never(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    panic!("a hostile request got in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_is_bounded_under_ten_thousand_hostile_requests() {
    let (caller, service) = (Workload::new("gateway"), Workload::new("orders"));
    let wire = Wire::builder().cache(Arc::new(Generous)).build();
    let layer = layer(&service, &[&caller]).wire(wire).verifications_at_once(16).build().unwrap();
    let app = layer.layer(tower::service_fn(never));
    let claim =
        || format!("kest.claim_check={},kest.chain_tip={}", ClaimId::random().to_wire(), "0".repeat(64));
    let (over, under) = (bomb(6 << 20), bomb(1_000_000));
    let (dense, parents) = (dense_bomb(1_000_000), many_parents());
    // Inflating is slow without optimisation, so that most of the requests are of the cheap kind.
    let attack = |number: usize| match number % 500 {
        0 => over.clone(),
        1 if number % 1_000 == 1 => dense.clone(),
        1 => under.clone(),
        2 => parents.clone(),
        3..24 => claim(),
        _ => format!("kest.passport={}", "%5B".repeat(2_600)),
    };
    let before = peak();
    let requests: Vec<_> = (0..AT_ONCE)
        .map(|number| {
            let request = Request::builder().header("baggage", attack(number)).body(()).unwrap();
            tokio::spawn(app.clone().oneshot(request))
        })
        .collect();
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for request in requests {
        let status = request.await.unwrap().unwrap().status().as_u16();
        *statuses.entry(status).or_default() += 1;
    }
    let grown = peak().saturating_sub(before);
    // Headers and bookkeeping of 10,000 requests, and what 16 of them hold; without the limit it is 500 MiB.
    assert!(grown < 300 * 1024, "{grown} KiB more at the peak");
    assert_eq!(statuses.values().sum::<usize>(), AT_ONCE);
    assert!(statuses.keys().all(|status| [400, 503].contains(status)), "{statuses:?}");
    assert!(statuses[&400] >= AT_ONCE / 2, "{statuses:?}");
}
