//! `SpireProvider` while time goes by: rotation, callbacks, an agent that goes and comes back, expiry.
#![cfg(feature = "spire")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/spire/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use kest_core::error::IdentityErrorKind;
use kest_core::identity::IdentityProvider;
use kest_providers::identity::spire::SpireProvider;
use support::pki::{Ca, Issued};
use support::{Agent, PERMISSION_DENIED, Say, eventually};

const WAIT: Duration = Duration::from_secs(20);

fn kid(provider: &SpireProvider) -> String {
    provider.public_keys().unwrap().0[0].thumbprint()
}

/// A channel that says which SVIDs came.
fn rotations(provider: &SpireProvider) -> mpsc::Receiver<Vec<u8>> {
    let (send, received) = mpsc::channel();
    let register = provider.register_rotation_callback(move |svid| {
        let send = send.clone();
        async move { Ok(send.send(svid.chain()[0].clone())?) }
    });
    register.unwrap();
    received
}

#[test]
fn a_rotation_reaches_the_next_call_and_no_call_fails() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = agent.provider();
    // Before the first use.
    let seen = rotations(&provider);
    let id = provider.workload_id().unwrap();
    let stop = AtomicBool::new(false);
    let calls = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    provider.sign(b"{\"a\":1}").unwrap();
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..20 {
            let next = ca.svid("/a");
            agent.send(&ca.update(&next));
            assert_eq!(seen.recv_timeout(WAIT).unwrap(), next.chain[0]);
            // The callback comes after the swap.
            assert_eq!(provider.workload_id().unwrap(), id);
            let held = provider.public_keys().unwrap();
            assert_eq!(held.0[0].to_spki(), spki(&next));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(calls.into_inner() > 0);
    assert_eq!(agent.x509_streams(), 1, "a rotation is streamed");
    assert!(seen.try_recv().is_err(), "the first SVID is no rotation");
}

fn spki(svid: &Issued) -> Vec<u8> {
    use x509_parser::prelude::FromDer as _;
    let (_, leaf) = x509_parser::certificate::X509Certificate::from_der(&svid.chain[0]).unwrap();
    leaf.public_key().raw.to_vec()
}

#[test]
fn a_new_bundle_alone_is_no_rotation() {
    let ca = Ca::new("own.test");
    let svid = ca.svid("/a");
    let agent = Agent::with(&ca.update(&svid));
    let provider = agent.provider();
    let seen = rotations(&provider);
    provider.workload_id().unwrap();
    agent.send(&ca.update(&svid).federated("peer.test", Ca::new("peer.test").der));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    eventually("the bundle comes", || runtime.block_on(provider.get_trust_bundle(Some("peer.test"))).is_ok());
    let next = ca.svid("/a");
    agent.send(&ca.update(&next));
    assert_eq!(seen.recv_timeout(WAIT).unwrap(), next.chain[0], "nothing came before");
}

#[test]
fn callbacks_that_fail_panic_or_hang_hold_nothing_up() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = agent.provider();
    let (errors, panics) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&errors);
    provider
        .register_rotation_callback(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Err("on purpose".into()) }
        })
        .unwrap();
    let count = Arc::clone(&panics);
    provider
        .register_rotation_callback(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            panic!("on purpose");
            #[allow(unreachable_code, reason = "gives the closure its type")]
            async {
                Ok(())
            }
        })
        .unwrap();
    provider.register_rotation_callback(async |_| std::future::pending().await).unwrap();
    let seen = rotations(&provider);
    provider.workload_id().unwrap();
    for turn in 1..=3 {
        let next = ca.svid("/a");
        agent.send(&ca.update(&next));
        assert_eq!(seen.recv_timeout(WAIT).unwrap(), next.chain[0]);
        eventually("the others were called too", || {
            errors.load(Ordering::SeqCst) == turn && panics.load(Ordering::SeqCst) == turn
        });
    }
}

#[test]
fn a_callback_that_blocks_its_thread_harms_only_itself() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = agent.provider();
    provider.workload_id().unwrap();
    let (entered, was_entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    provider
        .register_rotation_callback(move |svid| {
            entered.send(svid.chain()[0].clone()).unwrap();
            // Until the test lets go of the other end.
            let _ = released.lock().unwrap().recv();
            async { Ok(()) }
        })
        .unwrap();
    agent.send(&ca.update(&ca.svid("/a")));
    was_entered.recv_timeout(WAIT).unwrap();
    // One that is registered meanwhile misses nothing either.
    let seen = rotations(&provider);
    let mut last = Vec::new();
    for _ in 0..2 {
        let next = ca.svid("/a");
        agent.send(&ca.update(&next));
        last.clone_from(&next.chain[0]);
        assert_eq!(seen.recv_timeout(WAIT).unwrap(), last);
    }
    drop(release);
    assert_eq!(was_entered.recv_timeout(WAIT).unwrap(), last, "it goes on with the newest");
}

#[test]
fn a_callback_may_block_in_a_call_of_the_provider() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = agent.provider();
    provider.workload_id().unwrap();
    let (send, received) = mpsc::channel();
    let inner = provider.clone();
    // Another provider has not connected yet: its first call blocks on the network.
    let other = agent.provider();
    provider
        .register_rotation_callback(move |_| {
            let signed = inner.sign(b"{}").map(drop).and_then(|()| other.workload_id().map(drop));
            let send = send.clone();
            async move { Ok(send.send(signed)?) }
        })
        .unwrap();
    agent.send(&ca.update(&ca.svid("/a")));
    received.recv_timeout(WAIT).unwrap().unwrap();
}

#[test]
fn a_busy_callback_gets_the_newest_when_it_is_done() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = agent.provider();
    provider.workload_id().unwrap();
    let (entered, was_entered) = mpsc::channel();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let hold = Arc::clone(&gate);
    provider
        .register_rotation_callback(move |svid| {
            let (entered, hold) = (entered.clone(), Arc::clone(&hold));
            async move {
                entered.send(svid.chain()[0].clone())?;
                hold.acquire().await?.forget();
                Ok(())
            }
        })
        .unwrap();
    let seen = rotations(&provider);
    let issued: Vec<Issued> = (0..4).map(|_| ca.svid("/a")).collect();
    for (turn, next) in issued.iter().enumerate() {
        agent.send(&ca.update(next));
        assert_eq!(seen.recv_timeout(WAIT).unwrap(), next.chain[0]);
        if turn == 0 {
            assert_eq!(was_entered.recv_timeout(WAIT).unwrap(), next.chain[0]);
        }
    }
    gate.add_permits(2);
    assert_eq!(was_entered.recv_timeout(WAIT).unwrap(), issued[3].chain[0]);
}

#[test]
fn without_the_agent_calls_go_on_and_its_return_is_noticed() {
    let ca = Ca::new("own.test");
    let mut agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = agent.provider();
    let seen = rotations(&provider);
    let first = kid(&provider);
    agent.stop();
    for _ in 0..50 {
        provider.sign(b"{}").unwrap();
    }
    assert_eq!(kid(&provider), first);
    let next = ca.svid("/a");
    agent.send(&ca.update(&next));
    agent.start();
    assert_eq!(seen.recv_timeout(WAIT).unwrap(), next.chain[0]);
    provider.sign(b"{}").unwrap();
}

#[test]
fn whatever_ends_the_stream_it_is_opened_again() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = agent.provider();
    let seen = rotations(&provider);
    provider.workload_id().unwrap();
    for end in
        [Say::Drop, Say::Garbage, Say::Status(0, ""), Say::Status(PERMISSION_DENIED, "no identity issued")]
    {
        let before = agent.x509_streams();
        agent.say(end);
        eventually("the stream is opened again", || agent.x509_streams() > before);
        provider.sign(b"{}").unwrap();
        let next = ca.svid("/a");
        agent.send(&ca.update(&next));
        assert_eq!(seen.recv_timeout(WAIT).unwrap(), next.chain[0]);
    }
}

#[test]
fn an_expired_svid_signs_nothing_until_there_is_a_new_one() {
    let ca = Ca::new("own.test");
    let mut agent = Agent::with(&ca.update(&ca.svid_for("/a", Duration::from_secs(6))));
    let provider = agent.provider();
    provider.sign(b"{}").unwrap();
    agent.stop();
    provider.sign(b"{}").unwrap();
    eventually("the SVID expires", || provider.sign(b"{}").is_err());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let errors = [
            provider.sign(b"{}").unwrap_err(),
            provider.sign_async(b"{}").await.unwrap_err(),
            provider.workload_id().unwrap_err(),
            provider.public_keys().unwrap_err(),
            provider.get_svid().await.unwrap_err(),
            provider.get_trust_bundle(None).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), IdentityErrorKind::SvidExpired);
            for text in ["spiffe://own.test/a", "expired", "check that the SPIRE agent runs"] {
                assert!(error.to_string().contains(text), "{error}");
            }
        }
        assert!(!provider.health_check().await);
        assert!(provider.ready().is_none());
    });
    agent.send(&ca.update(&ca.svid("/a")));
    agent.start();
    eventually("it recovers by itself", || provider.sign(b"{}").is_ok());
    assert!(runtime.block_on(provider.health_check()));
}

#[test]
fn a_deleted_entry_is_named_when_its_svid_has_expired() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid_for("/a", Duration::from_secs(6))));
    let provider = agent.provider();
    provider.sign(b"{}").unwrap();
    agent.say(Say::Status(PERMISSION_DENIED, "no identity issued"));
    provider.sign(b"{}").unwrap();
    eventually("the SVID expires", || provider.sign(b"{}").is_err());
    let error = provider.sign(b"{}").unwrap_err();
    assert_eq!(error.kind(), IdentityErrorKind::SvidExpired);
    assert!(error.to_string().contains("no identity issued"), "{error}");
    assert!(error.to_string().contains("`spire-server entry create`"), "{error}");
}

#[test]
fn an_agent_that_says_nothing_more_is_asked_again_when_the_svid_expires() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid_for("/a", Duration::from_secs(5))));
    let provider = agent.provider();
    provider.sign(b"{}").unwrap();
    assert_eq!(agent.x509_streams(), 1);
    eventually("it asks again", || agent.x509_streams() > 1);
    agent.send(&ca.update(&ca.svid("/a")));
    eventually("it recovers", || provider.sign(b"{}").is_ok());
}

#[test]
fn the_id_never_changes() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid_for("/a", Duration::from_secs(8))));
    let provider = agent.provider();
    let seen = rotations(&provider);
    assert_eq!(&*provider.workload_id().unwrap(), "spiffe://own.test/a");
    let first = kid(&provider);
    // Behind another one it is still found.
    let next = ca.svid_for("/a", Duration::from_secs(6));
    agent.send(&ca.update(&ca.svid("/b")).and(ca.update(&next)));
    assert_eq!(seen.recv_timeout(WAIT).unwrap(), next.chain[0]);
    assert_ne!(kid(&provider), first);
    // Only another one: the old SVID is used up.
    agent.send(&ca.update(&ca.svid("/b")));
    eventually("the SVID expires", || provider.sign(b"{}").is_err());
    let error = provider.sign(b"{}").unwrap_err();
    assert_eq!(error.kind(), IdentityErrorKind::SvidExpired);
    for text in ["spiffe://own.test/a", "spiffe://own.test/b", "restart"] {
        assert!(error.to_string().contains(text), "{error}");
    }
    assert!(seen.try_recv().is_err());
    let last = ca.svid("/a");
    agent.send(&ca.update(&last));
    assert_eq!(seen.recv_timeout(WAIT).unwrap(), last.chain[0]);
    assert_eq!(&*provider.workload_id().unwrap(), "spiffe://own.test/a");
}
