//! A protected function that asks a real OPA.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kest::error::PolicyErrorKind;
use kest::identity::LocalEd25519Provider;
use kest::policy::OpaEngine;
use kest::{Error, Kest, kest_verified};
use kest_lab::{Folder, Lab, Opa};
use tokio::runtime::Builder;

use crate::{builder, gate, together};

thread_local! {
    static RAN: Cell<u32> = const { Cell::new(0) };
}

#[kest_verified(policy = unchecked("gate/score"), source_type = "system")]
fn act() -> Result<(), Error> {
    RAN.set(RAN.get() + 1);
    Ok(())
}

#[kest_verified(policy = unchecked("gate/score"), source_type = "system")]
async fn act_later() -> Result<(), Error> {
    RAN.set(RAN.get() + 1);
    Ok(())
}

fn kest(engine: OpaEngine) -> Kest {
    let identity = Arc::new(LocalEd25519Provider::new().unwrap());
    Kest::builder().identity(identity).engine(engine).without_config().build().unwrap()
}

/// Both forms of the call: inside a run-time of one thread, the sync one too.
fn both(kest: &Kest) -> [Result<(), Error>; 2] {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sync = {
            let _scope = kest.enter();
            act()
        };
        [sync, kest.scope(act_later()).await]
    })
}

#[test]
fn tc_09_an_engine_that_hangs_stops_the_call_in_time() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    let folder = Folder::new();
    gate(&folder.sub("policies"), 40);
    let opa = Opa::start(&lab, &folder.sub("policies"));

    for answer in both(&kest(builder(&opa).build().unwrap())) {
        answer.unwrap();
    }
    assert_eq!(RAN.take(), 2);

    let hurried =
        kest(OpaEngine::builder().url(opa.url()).timeout(Duration::from_millis(300)).build().unwrap());
    opa.freeze();
    let begun = Instant::now();
    for answer in both(&hurried) {
        match answer.unwrap_err() {
            Error::PolicyUnavailable(error) => assert_eq!(error.kind(), PolicyErrorKind::Timeout, "{error}"),
            other => panic!("{other}"),
        }
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(600) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(RAN.take(), 0, "a body ran without a decision");

    opa.thaw();
    for answer in both(&kest(builder(&opa).build().unwrap())) {
        answer.unwrap();
    }
    assert_eq!(RAN.take(), 2);
}

#[test]
fn a_denial_of_the_server_is_the_policys_own_no() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    let folder = Folder::new();
    // `system` has a score of 100 at most: nobody reaches this.
    gate(&folder.sub("policies"), 101);
    let opa = Opa::start(&lab, &folder.sub("policies"));
    for answer in both(&kest(builder(&opa).build().unwrap())) {
        let error = answer.unwrap_err();
        assert!(error.is_denied(), "{error}");
        assert!(error.to_string().contains("below 101"), "{error}");
    }
    assert_eq!(RAN.take(), 0);
}
