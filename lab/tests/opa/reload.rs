//! Policies change while calls run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use kest_lab::{Folder, Lab, Opa, Verdict, ask, wait_for};

use crate::{PATIENT, builder, gate, put, score, together};

#[test]
fn no_call_fails_while_policies_are_replaced() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    let folder = Folder::new();
    let policies = folder.sub("policies");
    gate(&policies, 40);
    put(&policies, "gate/always", "package gate.always\n\nallow := true\n");
    let opa = Opa::start(&lab, &policies);
    let engine = builder(&opa).build().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut asked = 0;
                    while !done.load(Ordering::Relaxed) {
                        // It does not change: it must always be there. The other is always one of the two.
                        let always = ask(&engine, "gate/always", &score(0));
                        assert_eq!(Verdict::from(&always), Verdict::Allow, "{always:?}");
                        let gated = ask(&engine, "gate/score", &score(50));
                        assert!(gated.is_ok(), "{gated:?}");
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        for round in 0..20 {
            let (limit, wanted) = if round % 2 == 0 { (60, Verdict::Deny) } else { (40, Verdict::Allow) };
            gate(&policies, limit);
            wait_for("the new policy", PATIENT, || {
                let answer = ask(&engine, "gate/score", &score(50));
                (Verdict::from(&answer) == wanted).then_some(())
            });
        }
        done.store(true, Ordering::Relaxed);
        for caller in callers {
            assert!(caller.join().unwrap() > 20);
        }
    });
}

#[test]
fn a_broken_file_keeps_the_policies_that_were() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    let folder = Folder::new();
    let policies = folder.sub("policies");
    gate(&policies, 40);
    put(&policies, "gate/marker", "package gate.marker\n\nallow := false\n");
    let opa = Opa::start(&lab, &policies);
    let engine = builder(&opa).build().unwrap();
    put(&policies, "gate/score", "package gate.score\n\nallow := \n");
    // The next good state of the folder is a proof that the broken one has been seen.
    put(&policies, "gate/marker", "package gate.marker\n\nallow := true\n");
    for _ in 0..20 {
        assert_eq!(Verdict::from(&ask(&engine, "gate/score", &score(40))), Verdict::Allow);
        assert_eq!(Verdict::from(&ask(&engine, "gate/score", &score(39))), Verdict::Deny);
        assert_eq!(Verdict::from(&ask(&engine, "gate/marker", &score(0))), Verdict::Deny);
    }
    gate(&policies, 60);
    wait_for("the mended folder", PATIENT, || {
        let marker = Verdict::from(&ask(&engine, "gate/marker", &score(0)));
        (marker == Verdict::Allow).then_some(())
    });
    assert_eq!(Verdict::from(&ask(&engine, "gate/score", &score(40))), Verdict::Deny);
}
