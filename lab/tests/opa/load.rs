//! Many calls at once, and what stays of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use kest::policy::{Decision, InputDocument, OpaEngine, PolicyEngine, PolicyRequest};
use kest_lab::{Folder, Lab, Opa, ask, connections_to, descriptors, resident_kib, wait_for};
use tokio::runtime::Builder;

use crate::{PATIENT, alone, builder, gate, score};

const CALLS: usize = 10_000;
const CONNECTIONS: usize = 32;

#[test]
fn ten_thousand_calls_share_few_connections_and_leave_nothing() {
    let _alone = alone();
    let Some(lab) = Lab::from_env() else { return };
    let folder = Folder::new();
    gate(&folder.sub("policies"), 40);
    let opa = Opa::start(&lab, &folder.sub("policies"));
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let before = descriptors();
    let engine = || {
        // 10,000 wait for 32 connections: on a busy machine longer than the default.
        Arc::new(builder(&opa).max_connections(CONNECTIONS).queue_timeout(PATIENT * 4).build().unwrap())
    };

    // A leak shows while few calls are under way: what 10,000 at once need is more than what they could leave.
    let first = engine();
    runtime.block_on(flood(&first, 200, 10));
    let memory = resident_kib();
    runtime.block_on(flood(&first, 200, 50));
    let grown = resident_kib().saturating_sub(memory);
    assert!(grown < 6 * 1024, "{grown} KiB more after 10,000 calls: more than 600 bytes each");

    let most = watch(opa.port(), || runtime.block_on(flood(&first, CALLS, 2)));
    assert!((1..=CONNECTIONS).contains(&most), "{most} connections at once");

    // Waiting threads: 64 of them, 1,000 calls.
    let threads = engine();
    let most = watch(opa.port(), || {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    while next.fetch_add(1, Ordering::Relaxed) < 1_000 {
                        assert_eq!(ask(&*threads, "gate/score", &score(40)).unwrap(), Decision::allow());
                    }
                });
            }
        });
    });
    assert!((1..=2 * CONNECTIONS).contains(&most), "{most} connections of two engines");

    // Calls that nobody waits for any more give their places back.
    runtime.block_on(async {
        let calls: Vec<_> = (0..1_000).map(|_| tokio::spawn(one(Arc::clone(&first)))).collect();
        for call in &calls {
            call.abort();
        }
        for call in calls {
            let _ = call.await;
        }
    });
    runtime.block_on(flood(&first, 200, 1));

    drop((first, threads));
    wait_for("the connections to be closed", PATIENT, || (connections_to(opa.port()) == 0).then_some(()));
    drop(runtime);
    // The bridge's own stay: a handful.
    wait_for("the descriptors to be given back", PATIENT, || (descriptors() <= before + 8).then_some(()));
}

/// So many calls at once, so many times, all allowed.
async fn flood(engine: &Arc<OpaEngine>, calls: usize, times: usize) {
    for _ in 0..times {
        let calls: Vec<_> = (0..calls).map(|_| tokio::spawn(one(Arc::clone(engine)))).collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok(Decision::allow()));
        }
    }
}

async fn one(engine: Arc<OpaEngine>) -> Result<Decision, String> {
    let document: InputDocument = score(40);
    let input = document.as_input();
    let request = PolicyRequest { policy: "gate/score", input: &input };
    engine.evaluate_async(&request).await.map_err(|error| error.to_string())
}

/// The most connections that there were at a time while `work` ran.
fn watch(port: u16, work: impl FnOnce()) -> usize {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            loop {
                most = most.max(connections_to(port));
                if done.load(Ordering::Relaxed) {
                    return most;
                }
                thread::yield_now();
            }
        });
        work();
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    })
}
