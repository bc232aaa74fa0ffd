//! The answers are those of the embedded engine.

use kest::conformance::policy::{check, samples};
use kest::error::PolicyErrorKind;
use kest::policy::{Decision, RegoEngine};
use kest_lab::{Folder, Lab, Opa, Verdict, agree, ask, is_whole, library, library_folder};
use serde_json::json;

use crate::{builder, put, score, together};

#[test]
fn the_suite_of_engines_passes() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    let folder = Folder::new();
    for sample in samples() {
        put(&folder.sub("policies"), sample.name, sample.rego);
    }
    let opa = Opa::start(&lab, &folder.sub("policies"));
    check(builder(&opa).build().unwrap()).unwrap();
}

#[test]
fn the_policy_library_decides_as_it_does_embedded() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    let opa = Opa::start(&lab, &library_folder());
    let engine = builder(&opa).build().unwrap();
    let embedded = RegoEngine::from_dir(library_folder()).unwrap();
    let library = library();
    is_whole(&library);
    for shipped in &library {
        agree(&shipped.name, &shipped.cases, &engine, &embedded);
        // In one language reasons are the same too.
        for case in shipped.cases.cases() {
            let (theirs, ours) =
                (ask(&engine, &shipped.name, &case.input), ask(&embedded, &shipped.name, &case.input));
            if let (Ok(theirs), Ok(ours)) = (theirs, ours) {
                assert_eq!(reason(&theirs), reason(&ours), "`{}`, case `{}`", shipped.name, case.name);
            }
        }
    }
}

fn reason(decision: &Decision) -> Option<&str> {
    match decision {
        Decision::Allow { .. } => None,
        Decision::Deny { reason } => reason.as_deref(),
    }
}

#[test]
fn what_a_policy_gives_that_is_no_decision() {
    let _together = together();
    let Some(lab) = Lab::from_env() else { return };
    let folder = Folder::new();
    let policies = folder.sub("policies");
    put(&policies, "odd/text", "package odd.text\n\nallow := \"deny\"\n");
    put(&policies, "odd/number", "package odd.number\n\nallow := 1\n");
    put(&policies, "odd/nothing", "package odd.nothing\n\nallow if input.never\n");
    put(&policies, "odd/zero", "package odd.zero\n\nallow if 1 / input.object.attributes.by == 1\n");
    put(
        &policies,
        "odd/two",
        "package odd.two\n\nallow := true\n\nallow := false if input.trust_score < 50\n",
    );
    let opa = Opa::start(&lab, &policies);
    let engine = builder(&opa).build().unwrap();
    let zero = serde_json::from_value(json!({"object": {"attributes": {"by": 0}}})).unwrap();
    for (policy, input, wanted) in [
        ("odd/text", &score(40), Verdict::Error(PolicyErrorKind::MalformedAnswer)),
        ("odd/number", &score(40), Verdict::Error(PolicyErrorKind::MalformedAnswer)),
        ("odd/nothing", &score(40), Verdict::Deny),
        ("odd/zero", &zero, Verdict::Error(PolicyErrorKind::Evaluation)),
        ("odd/two", &score(40), Verdict::Error(PolicyErrorKind::Evaluation)),
        ("odd/two", &score(50), Verdict::Allow),
        ("odd/absent", &score(40), Verdict::Error(PolicyErrorKind::UnknownPolicy)),
        ("absent", &score(40), Verdict::Error(PolicyErrorKind::UnknownPolicy)),
    ] {
        let answer = ask(&engine, policy, input);
        assert_eq!(Verdict::from(&answer), wanted, "`{policy}`: {answer:?}");
    }
}
