//! The server goes away and comes back.

use std::thread;
use std::time::{Duration, Instant};

use kest::error::PolicyErrorKind;
use kest_lab::{Folder, Lab, Opa, Verdict, ask, wait_for};

use crate::{PATIENT, builder, gate, score, together};

#[test]
fn a_killed_server_is_a_broken_connection_and_no_engine_has_to_be_made_again() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    let folder = Folder::new();
    gate(&folder.sub("policies"), 40);
    let opa = Opa::start(&lab, &folder.sub("policies"));
    let engine = builder(&opa).build().unwrap();
    for _ in 0..2 {
        assert_eq!(Verdict::from(&ask(&engine, "gate/score", &score(40))), Verdict::Allow);
        opa.kill();
        let error = ask(&engine, "gate/score", &score(40)).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::Connection, "{error}");
        assert!(error.to_string().contains(&opa.url()), "{error}");
        opa.restart();
        // The first question after it, over whatever connections were left.
        assert_eq!(Verdict::from(&ask(&engine, "gate/score", &score(39))), Verdict::Deny);
    }
}

#[test]
fn calls_under_way_when_the_server_dies_end_at_once_and_allow_nothing() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    let folder = Folder::new();
    gate(&folder.sub("policies"), 40);
    let opa = Opa::start(&lab, &folder.sub("policies"));
    let engine = builder(&opa).build().unwrap();
    assert_eq!(Verdict::from(&ask(&engine, "gate/score", &score(40))), Verdict::Allow);
    opa.freeze();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| ask(&engine, "gate/score", &score(40)).map_err(|e| e.kind())))
            .collect();
        wait_for("the calls to be under way", PATIENT, || {
            (kest_lab::connections_to(opa.port()) >= 8).then_some(())
        });
        opa.kill();
        for call in calls {
            assert_eq!(call.join().unwrap(), Err(PolicyErrorKind::Connection));
        }
    });
}

#[test]
fn a_server_that_hangs_is_given_up_on_in_time() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    let folder = Folder::new();
    gate(&folder.sub("policies"), 40);
    let opa = Opa::start(&lab, &folder.sub("policies"));
    // The default: one second.
    let engine = kest::policy::OpaEngine::new(opa.url()).unwrap();
    wait_for("a first answer", PATIENT, || ask(&engine, "gate/score", &score(40)).ok());
    opa.freeze();
    let begun = Instant::now();
    let error = ask(&engine, "gate/score", &score(40)).unwrap_err();
    let took = begun.elapsed();
    assert_eq!(error.kind(), PolicyErrorKind::Timeout, "{error}");
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(10), "{took:?}");
    opa.thaw();
    wait_for("an answer again", PATIENT, || ask(&engine, "gate/score", &score(40)).ok());
}
