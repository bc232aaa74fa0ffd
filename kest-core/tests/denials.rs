//! Signed receipts of denials, and a configured sink that nobody has opened (spec §6, §14).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use kest_core::__private::{Invocation, begin};
use kest_core::audit::{AuditRecord, AuditSink, RecordKind};
use kest_core::config::Config;
use kest_core::entry::KestEntry;
use kest_core::error::{AuditError, AuditErrorKind, Error};
use kest_core::identity::BoxFuture;
use kest_core::verify::{UnverifiedPassport, Verifier, VerifyFailure};
use kest_core::{Kest, Passport};
use support::{TestEngine, TestIdentity};

/// Keeps all but what it is told to refuse.
#[derive(Debug, Clone, Default)]
struct Sink {
    kept: Arc<Mutex<Vec<(RecordKind, String)>>>,
    refuses_denials: bool,
}

impl AuditSink for Sink {
    fn append(&self, record: &AuditRecord<'_>) -> Result<(), AuditError> {
        assert_eq!(record.workload, "spiffe://kest.internal/test");
        assert!(record.jws.starts_with(record.header()));
        assert_eq!(record.public_keys().unwrap().0.len(), 0);
        if self.refuses_denials && record.kind == RecordKind::Denial {
            return Err(AuditError::new(AuditErrorKind::Full, "no room"));
        }
        self.kept.lock().unwrap().push((record.kind, record.jws.to_owned()));
        Ok(())
    }

    fn append_async<'a>(&'a self, record: &'a AuditRecord<'a>) -> BoxFuture<'a, Result<(), AuditError>> {
        Box::pin(async move { self.append(record) })
    }
}

fn kest(sink: &Sink, config: &str) -> Kest {
    let config = Config::parse(config).unwrap();
    Kest::builder()
        .identity(TestIdentity)
        .engine(TestEngine)
        .audit(sink.clone())
        .config(config)
        .build()
        .unwrap()
}

fn denied() -> Error {
    support::invoke(Invocation::new(support::spec("pay")).policies("deny/all"), || {
        panic!("the body of a denied call ran")
    })
    .unwrap_err()
}

#[test]
fn receipts_without_a_sink_are_refused() {
    let config = Config::parse(SIGNED).unwrap();
    let error = Kest::builder().identity(TestIdentity).engine(TestEngine).config(config).build().unwrap_err();
    assert!(error.to_string().contains("`[audit] sign_denials` needs a sink"), "{error}");
}

const SIGNED: &str = "[audit]\nsign_denials = true\ndenials_per_second = 2\n";

#[test]
fn a_denial_leaves_a_receipt_in_the_sink_and_nothing_in_the_passport() {
    let sink = Sink::default();
    let scope = kest(&sink, SIGNED).enter();
    support::sync("first", || ()).unwrap();
    let error = denied();
    assert!(error.is_denied());
    let passport = scope.passport();
    assert_eq!(passport.len(), 1);
    let kept = sink.kept.lock().unwrap().clone();
    assert_eq!(
        kept.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        [RecordKind::Entry, RecordKind::Denial]
    );
    let payload = support::payload(&kept[1].1);
    let entry = KestEntry::from_payload(payload.to_string().as_bytes()).unwrap();
    let Error::PolicyDenied(denial) = &error else { panic!("{error}") };
    assert_eq!(entry.entry_id.to_string(), denial.entry_id());
    assert_eq!((&*entry.classification, &*entry.operation), ("denial", "pay"));
    assert_eq!(entry.parent_ids(), [passport.entries()[0].hash()]);
    let record = entry.metadata.unwrap().denied.unwrap();
    assert_eq!((&*record.policy, &*record.tier, record.reason), ("deny/all", "function", None));
}

#[test]
fn a_receipt_is_no_entry_of_a_lineage() {
    let sink = Sink::default();
    let scope = kest(&sink, SIGNED).enter();
    assert!(denied().is_denied());
    drop(scope);
    let receipt = sink.kept.lock().unwrap()[0].1.clone();
    let text = serde_json::to_string(&[receipt]).unwrap();
    let verifier = Verifier::builder().dangerous().accept_mock().build();
    let error = UnverifiedPassport::deserialize(&text).unwrap().verify(&verifier).unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::Denial), "{error}");
}

#[test]
fn receipts_are_limited_and_their_failure_changes_nothing() {
    let sink = Sink::default();
    let scope = kest(&sink, SIGNED).enter();
    for _ in 0..5 {
        assert!(denied().is_denied());
    }
    assert_eq!(sink.kept.lock().unwrap().len(), 2);
    drop(scope);

    let sink = Sink { refuses_denials: true, ..Sink::default() };
    let _scope = kest(&sink, SIGNED).enter();
    assert!(denied().is_denied(), "the policy's own no, whatever became of the receipt");
    support::sync("allowed", || ()).unwrap();
    assert_eq!(sink.kept.lock().unwrap().len(), 1);
}

#[test]
fn without_the_setting_there_is_no_receipt() {
    let sink = Sink::default();
    let _scope = kest(&sink, "").enter();
    assert!(denied().is_denied());
    assert!(sink.kept.lock().unwrap().is_empty());
}

#[test]
fn an_async_call_leaves_one_too() {
    let sink = Sink::default();
    let _scope = kest(&sink, SIGNED).enter();
    let call = begin(Invocation::new(support::spec("pay")).policies("deny/all"));
    let mut call = pin!(call);
    let answer = poll_fn(|cx| call.as_mut().poll(cx));
    let Poll::Ready(answer) = pin!(answer).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it waits for nothing")
    };
    assert!(answer.unwrap_err().is_denied());
    assert_eq!(sink.kept.lock().unwrap().len(), 1);
}

#[test]
fn a_sink_that_is_configured_and_not_open_refuses_calls_until_it_is() {
    let config = Config::parse("[audit]\nsink = \"file\"\npath = \"x\"\n").unwrap();
    let kest = Kest::builder().identity(TestIdentity).engine(TestEngine).config(config).build().unwrap();
    let _scope = kest.clone().enter();
    let error = support::sync("pay", || panic!("it ran without its audit sink")).unwrap_err();
    let Error::Audit(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), AuditErrorKind::NotOpen);
    assert!(error.to_string().contains("kest::configure"), "{error}");
    let sink = Sink::default();
    kest.open_audit(Arc::new(sink.clone()));
    support::sync("pay", || ()).unwrap();
    assert_eq!(sink.kept.lock().unwrap().len(), 1);
    kest.open_audit(Arc::new(Sink::default()));
    support::sync("pay", || ()).unwrap();
    assert_eq!(sink.kept.lock().unwrap().len(), 2, "one that has a sink keeps it");
    let _: Passport = _scope.passport();
}
