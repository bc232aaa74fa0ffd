//! Credentials that take longer than a decision may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use kest_core::error::PolicyErrorKind::{Refused, Timeout};
use kest_core::policy::Decision;
use kest_providers::policy::AvpEngine;
use tokio::sync::Semaphore;

use super::expect;
use super::fake::{Fake, SECRET, TOKEN, answered, ask};

/// Gives credentials once it is let.
#[derive(Clone, Debug)]
struct Slow {
    begun: Arc<AtomicUsize>,
    go: Arc<Semaphore>,
    gives: fn(usize) -> Result<Duration, CredentialsError>,
}

impl Slow {
    fn giving(gives: fn(usize) -> Result<Duration, CredentialsError>) -> Self {
        Self { begun: Arc::default(), go: Arc::new(Semaphore::new(0)), gives }
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    fn engine(&self, fake: &Fake) -> AvpEngine {
        let time = Duration::from_millis(300);
        fake.builder().timeout(time).credentials_provider(self.clone()).build().unwrap()
    }
}

impl ProvideCredentials for Slow {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            self.go.acquire().await.unwrap().forget();
            let end = Some(SystemTime::now() + (self.gives)(number)?);
            Ok(Credentials::new("AKIDEXAMPLE", SECRET, Some(TOKEN.to_owned()), end, "test"))
        })
    }
}

/// Asks until it is so.
fn ask_until(engine: &AvpEngine, done: impl Fn(bool) -> bool) {
    let begun = Instant::now();
    while !done(ask(engine, "a/b").is_ok_and(|decision| decision == Decision::allow())) {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::yield_now();
    }
}

#[test]
fn are_found_for_later_decisions_and_renewed_while_the_old_ones_serve() {
    let fake = Fake::saying(|| answered("ALLOW", &["SP1"], &[]));
    let slow = Slow::giving(|number| Ok(Duration::from_secs(if number == 1 { 13 } else { 3600 })));
    let engine = slow.engine(&fake);
    for _ in 0..4 {
        let error = ask(&engine, "a/b").unwrap_err();
        expect(&error, Timeout, &["no AWS credentials came within 300ms", "IsAuthorized", "`initialize()`"]);
    }
    assert_eq!((slow.begun(), fake.count("isauthorized")), (1, 0));
    slow.go.add_permits(1);
    ask_until(&engine, |allowed| allowed);
    assert_eq!(slow.begun(), 1);
    // Renewed in time: a decision does not wait for that.
    ask_until(&engine, |allowed| allowed && slow.begun() == 2);
    // Until the old ones have served their time.
    ask_until(&engine, |allowed| !allowed);
    for _ in 0..4 {
        expect(&ask(&engine, "a/b").unwrap_err(), Timeout, &["no AWS credentials came within 300ms"]);
    }
    assert_eq!(slow.begun(), 2);
    slow.go.add_permits(1);
    ask_until(&engine, |allowed| allowed);
    assert_eq!(slow.begun(), 2);
}

#[test]
fn that_cannot_be_had_are_told_of_though_late() {
    let fake = Fake::saying(|| answered("ALLOW", &["SP1"], &[]));
    let slow = Slow::giving(|_| Err(CredentialsError::not_loaded_no_source()));
    let engine = slow.engine(&fake);
    expect(&ask(&engine, "a/b").unwrap_err(), Timeout, &["no AWS credentials came"]);
    slow.go.add_permits(1);
    let begun = Instant::now();
    let error = loop {
        let error = ask(&engine, "a/b").unwrap_err();
        if error.kind() != Timeout || begun.elapsed() > Duration::from_secs(60) {
            break error;
        }
    };
    expect(&error, Refused, &["there are no AWS credentials", "IsAuthorized"]);
    assert_eq!(slow.begun(), 1);
    // Told once: they may be there by now.
    expect(&ask(&engine, "a/b").unwrap_err(), Timeout, &["no AWS credentials came"]);
    assert_eq!((slow.begun(), fake.count("isauthorized")), (2, 0));
}

#[test]
fn have_more_time_at_the_start() {
    let fake = Fake::saying(|| answered("ALLOW", &["SP1"], &[]));
    let slow = Slow::giving(|_| Ok(Duration::from_secs(3600)));
    let engine = slow.engine(&fake);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let begun = runtime.spawn({
        let engine = engine.clone();
        async move { engine.initialize().await }
    });
    // Who is impatient does not end it.
    expect(&ask(&engine, "a/b").unwrap_err(), Timeout, &["no AWS credentials came"]);
    slow.go.add_permits(1);
    runtime.block_on(begun).unwrap().unwrap();
    assert_eq!((slow.begun(), fake.count("listpolicies")), (1, 1));
    ask_until(&engine, |allowed| allowed);
    assert_eq!(slow.begun(), 1);
}
