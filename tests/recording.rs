//! The audit sink before the body, and the completion after it (spec §6).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kest::audit::{AuditRecord, AuditSink};
use kest::error::{AuditError, AuditErrorKind};
use kest::identity::BoxFuture;
use kest::policy::MockPolicyEngine;
use kest::{Error, Kest, kest_verified};
use kest_tests::{kest, payloads, verify, workload};
use serde_json::json;
use sha2::{Digest, Sha256};

fn allow() -> Kest {
    kest(&workload("w"), MockPolicyEngine::allow())
}

/// Keeps what it is given until it is full.
#[derive(Debug, Clone)]
struct Sink {
    room: usize,
    taken: Arc<AtomicUsize>,
}

impl AuditSink for Sink {
    fn append(&self, record: &AuditRecord<'_>) -> Result<(), AuditError> {
        assert_eq!(*record.hash, <[u8; 32]>::from(Sha256::digest(record.jws)));
        if self.taken.load(Ordering::SeqCst) == self.room {
            return Err(AuditError::new(AuditErrorKind::Full, "the audit store is full"));
        }
        self.taken.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn append_async<'a>(&'a self, record: &'a AuditRecord<'a>) -> BoxFuture<'a, Result<(), AuditError>> {
        Box::pin(async move { self.append(record) })
    }
}

#[tokio::test]
async fn an_entry_is_acknowledged_before_the_body_runs_or_the_body_does_not_run() {
    #[kest_verified(policy = "kest", source_type = "system")]
    async fn protected(ran: &Cell<usize>, sink: &Sink) -> Result<(), Error> {
        ran.set(ran.get() + 1);
        assert_eq!(sink.taken.load(Ordering::SeqCst), ran.get(), "not acknowledged when the body ran");
        Ok(())
    }
    let sink = Sink { room: 2, taken: Arc::default() };
    let kest = Kest::builder()
        .identity(workload("w"))
        .engine(MockPolicyEngine::allow())
        .audit(sink.clone())
        .without_config()
        .build()
        .unwrap();
    let ran = Cell::new(0);
    let ((), passport) = kest
        .scope(async {
            protected(&ran, &sink).await.unwrap();
            protected(&ran, &sink).await.unwrap();
            let error = protected(&ran, &sink).await.unwrap_err();
            assert!(matches!(error, Error::Audit(_)) && !error.is_denied(), "{error}");
        })
        .with_passport()
        .await;
    assert_eq!((ran.get(), passport.len()), (2, 2));
}

#[tokio::test]
async fn record_output_adds_a_completion_after_the_body() {
    #[kest_verified(policy = "kest", source_type = "system", hash_input(id, amount), record_output)]
    async fn pay(id: &str, amount: u32) -> Result<serde_json::Value, Error> {
        step()?;
        Ok(json!({ "paid": amount, "id": id }))
    }
    #[kest_verified(policy = "kest")]
    fn step() -> Result<(), Error> {
        Ok(())
    }
    let identity = workload("w");
    let kest = kest(&identity, MockPolicyEngine::allow());
    let (result, passport) = kest.scope(pay("x", 5)).with_passport().await;
    result.unwrap();
    let entries = payloads(&passport);
    let sha = |text: &str| kest_tests::hex(&Sha256::digest(text));
    assert_eq!(entries[0]["input_hash"], sha(r#"{"amount":5,"id":"x"}"#));
    assert_eq!(entries[0]["content_hash"], "");
    let completion = &entries[2];
    assert_eq!(completion["classification"], "completion");
    assert_eq!(completion["metadata"]["completes"], entries[0]["entry_id"]);
    assert_eq!(completion["metadata"]["outcome"], "ok");
    assert_eq!(completion["content_hash"], sha(r#"{"id":"x","paid":5}"#));
    assert_eq!(completion["parent_ids"], json!([passport.entries()[1].hash()]));
    verify(&passport, &[&identity]);
}

#[test]
fn a_failed_body_is_completed_as_an_error() {
    #[kest_verified(policy = "kest", source_type = "system", record_output)]
    fn pay() -> Result<u8, Error> {
        refused()
    }
    fn refused() -> Result<u8, Error> {
        Err(AuditError::new(AuditErrorKind::Closed, "the body's own error").into())
    }
    let identity = workload("w");
    let kest = kest(&identity, MockPolicyEngine::allow());
    let scope = kest.enter();
    assert_eq!(pay().unwrap_err().to_string(), "the body's own error");
    let completion = payloads(&scope.passport())[1].clone();
    assert_eq!(
        (&completion["metadata"]["outcome"], &completion["content_hash"]),
        (&json!("error"), &json!(""))
    );
    verify(&scope.passport(), &[&identity]);
}

#[tokio::test]
async fn an_output_that_cannot_be_recorded_says_that_the_call_has_run() {
    #[kest_verified(policy = "kest", source_type = "system", record_output)]
    fn pay(ran: &Cell<bool>) -> Result<f64, Error> {
        ran.set(true);
        Ok(f64::NAN)
    }
    #[kest_verified(policy = "kest", source_type = "system", record_output)]
    async fn pay_async(ran: &Cell<bool>) -> Result<f64, Error> {
        ran.set(true);
        Ok(f64::NAN)
    }
    let kest = allow();
    let _scope = kest.enter();
    for asynchronous in [false, true] {
        let ran = Cell::new(false);
        let error = if asynchronous { pay_async(&ran).await } else { pay(&ran) }.unwrap_err();
        assert!(ran.get() && error.already_executed() && !error.is_denied());
        assert!(error.to_string().contains("do not retry"), "{error}");
    }
}
