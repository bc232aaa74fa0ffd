//! That a panic on the bridge, here of a log's subscriber, ends no stream of a `SpireProvider`.
#![cfg(feature = "spire")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/spire/mod.rs"]
mod support;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use kest_core::identity::IdentityProvider;
use support::pki::Ca;
use support::{Agent, Say, eventually};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A subscriber that cannot write what is said about rotations and interruptions.
struct Broken;

impl Visit for Broken {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        if value.contains("SVID rotated") || value.contains("interrupted") {
            PANICS.fetch_add(1, Ordering::SeqCst);
            panic!("on purpose");
        }
    }
}

impl Subscriber for Broken {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "kest"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Self);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_panic_ends_no_stream() {
    tracing::subscriber::set_global_default(Broken).unwrap();
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = agent.provider();
    let (send, seen) = mpsc::channel();
    provider
        .register_rotation_callback(move |svid| {
            let send = send.clone();
            async move { Ok(send.send(svid.chain()[0].clone())?) }
        })
        .unwrap();
    provider.workload_id().unwrap();
    for turn in 1..=3 {
        let next = ca.svid("/a");
        agent.send(&ca.update(&next));
        assert_eq!(seen.recv_timeout(Duration::from_secs(20)).unwrap(), next.chain[0]);
        eventually("the stream is opened again", || agent.x509_streams() > turn);
    }
    let before = agent.x509_streams();
    agent.say(Say::Drop);
    eventually("the stream is opened again", || agent.x509_streams() > before);
    let next = ca.svid("/a");
    agent.send(&ca.update(&next));
    assert_eq!(seen.recv_timeout(Duration::from_secs(20)).unwrap(), next.chain[0]);
    assert!(PANICS.load(Ordering::SeqCst) > 3, "nothing has panicked");
    provider.sign(b"{}").unwrap();
}
