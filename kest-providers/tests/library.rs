//! The policy library: every policy in Rego and in Cedar, with one table of cases, and one meaning.
#![cfg(all(feature = "rego", feature = "cedar"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "library/mutate.rs"]
mod mutate;

use std::cell::Cell;
use std::path::{Path, PathBuf};

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{Decision, InputDocument, PolicyEngine, PolicyRequest};
use kest_providers::policy::cases::{CaseTable, Expected};
use kest_providers::policy::{CedarEngine, RegoEngine};
use proptest::test_runner::{Config, TestRunner};
use regorus::Value;

const LIBRARY: [&str; 10] = [
    "bell_lapadula",
    "biba",
    "brewer_nash",
    "clark_wilson",
    "financial",
    "goguen_meseguer",
    "healthcare",
    "kest",
    "kest/allow_trusted",
    "security",
];

fn file(name: &str, extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(format!("{name}.{extension}"))
}

fn text(name: &str, extension: &str) -> String {
    let path = file(name, extension);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn table(name: &str) -> CaseTable {
    CaseTable::read(file(name, "cases")).unwrap()
}

fn rego() -> RegoEngine {
    RegoEngine::from_sources(LIBRARY.map(|name| (name, text(name, "rego")))).unwrap()
}

fn cedar() -> CedarEngine {
    CedarEngine::from_sources(LIBRARY.map(|name| (name, text(name, "cedar")))).unwrap()
}

fn ask(
    engine: &dyn PolicyEngine,
    policy: &str,
    input: &InputDocument,
) -> Result<Decision, PolicyUnavailable> {
    engine.evaluate(&PolicyRequest { policy, input: &input.as_input() })
}

#[test]
fn every_policy_has_a_table_that_says_both_yes_and_no() {
    for name in LIBRARY {
        let table = table(name);
        let count = |wanted: fn(&Expected) -> bool| {
            table.cases().iter().filter(|case| wanted(&case.expected)).count()
        };
        assert!(table.cases().len() >= 12, "{name}");
        assert!(count(|expected| *expected == Expected::Allow) >= 3, "{name}");
        assert!(count(|expected| matches!(expected, Expected::Deny { .. })) >= 6, "{name}");
        // What an engine must refuse as broken is not for a library to rely on.
        assert_eq!(count(|expected| *expected == Expected::Error), 0, "{name}");
    }
}

#[test]
fn rego_decides_as_the_tables_say() {
    let engine = rego();
    for name in LIBRARY {
        let report = table(name).run(name, &engine);
        assert!(report.passed(), "{report}");
    }
}

#[test]
fn cedar_decides_as_the_tables_say() {
    let engine = cedar();
    for name in LIBRARY {
        let report = table(name).run(name, &engine);
        assert!(report.passed(), "{report}");
    }
}

#[test]
fn the_folder_as_it_is_shipped_can_be_loaded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let (rego, cedar) = (RegoEngine::from_dir(&folder).unwrap(), CedarEngine::from_dir(&folder).unwrap());
    for name in LIBRARY {
        assert!(rego.names().iter().any(|known| known == name), "{name}");
        assert!(cedar.names().iter().any(|known| known == name), "{name}");
    }
}

#[test]
fn every_denial_says_why() {
    let (rego, cedar) = (rego(), cedar());
    for name in LIBRARY {
        for case in table(name).cases() {
            if case.expected == Expected::Allow {
                continue;
            }
            let denied = ask(&rego, name, &case.input).unwrap();
            let Decision::Deny { reason: Some(reason) } = denied else {
                panic!("{name}, {}: {denied:?}", case.name)
            };
            assert!(!reason.is_empty());
            if let Ok(denied) = ask(&cedar, name, &case.input) {
                assert!(
                    matches!(&denied, Decision::Deny { reason: Some(reason) } if !reason.is_empty()),
                    "{name}, {}: {denied:?}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn the_reason_is_of_the_rule_that_denied() {
    let engine = rego();
    for (policy, case, wanted) in [
        ("bell_lapadula", "no read up", "no read up"),
        ("bell_lapadula", "no append down", "no write down: the user's label"),
        ("bell_lapadula", "removing the mark in the same call does not help", "above the object's label"),
        ("bell_lapadula", "who appends must be marked", "must be marked"),
        ("bell_lapadula", "a taint that nobody has listed, removed: to read", "does not know"),
        (
            "bell_lapadula",
            "who may not read it is not shown what the flow has met: secret",
            "above the user's label",
        ),
        ("biba", "no read down to medium", "no read down"),
        ("biba", "79 does not write high", "no write up"),
        ("biba", "raising oneself does not help", "does not raise"),
        ("brewer_nash", "the other side of the wall", "another side of this wall"),
        ("brewer_nash", "somebody else's history", "not this user's"),
        ("clark_wilson", "who certifies does not execute", "who certifies"),
        ("clark_wilson", "an item that was not verified", "integrity verification"),
        ("goguen_meseguer", "what is observed must be marked", "must be marked"),
        ("goguen_meseguer", "who alters must be marked: north", "must be marked"),
        ("goguen_meseguer", "a taint that nobody has listed, removed: to alter", "does not know"),
        ("goguen_meseguer", "through billing there is no way back", "may not be seen"),
        ("financial", "an approved payment without an id", "missing"),
        ("financial", "approval of another payment like it", "approval of somebody else"),
        ("financial", "above the clerk's limit whoever approves", "role's limit"),
        ("financial", "one cent above needs an approval", "approval of somebody else"),
        ("financial", "a counterparty under suspicion", "not screened"),
        ("security", "a privileged call that raises its own trust", "not for a privileged call"),
        ("security", "a sanitiser without an approval", "somebody else must approve"),
        ("security", "a sanitiser of what an adversary sent", "worth too little"),
        ("security", "a sanitiser of what it brings in itself", "this call is a source"),
        ("security", "an object without `sub` is nobody", "named user"),
        ("healthcare", "on what is llm_generated and this call cleans: treatment", "nobody vouches"),
        ("healthcare", "without a relationship", "no treatment relationship"),
        ("healthcare", "sensitive without consent", "consent by name"),
        ("healthcare", "break-glass without the mark", "break-glass needs"),
        ("kest", "one less", "is 9 and must be at least 10"),
    ] {
        let table = table(policy);
        let case = table.cases().iter().find(|known| known.name == case).unwrap_or_else(|| panic!("{case}"));
        let Decision::Deny { reason: Some(reason) } = ask(&engine, policy, &case.input).unwrap() else {
            panic!("{policy}: no denial with a reason");
        };
        assert!(reason.contains(wanted), "{policy}, {}: {reason}", case.name);
    }
}

/// Inputs near those of the tables: members left out, exchanged for others of the same table, for boundaries, for
/// other types, for hostile values.
#[test]
fn both_languages_allow_the_same() {
    let (rego, cedar) = (rego(), cedar());
    for name in LIBRARY {
        let (allowed, denied, errors) = (Cell::new(0_u32), Cell::new(0_u32), Cell::new(0_u32));
        let count = |cell: &Cell<u32>| cell.set(cell.get() + 1);
        let inputs = mutate::near(&table(name));
        let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&inputs, |input| {
                let (in_rego, in_cedar) = (ask(&rego, name, &input), ask(&cedar, name, &input));
                match (&in_rego, &in_cedar) {
                    (Ok(Decision::Allow { .. }), Ok(Decision::Allow { .. })) => count(&allowed),
                    (Ok(Decision::Deny { .. }), Ok(Decision::Deny { .. })) => count(&denied),
                    (Ok(Decision::Deny { .. }), Err(error))
                        if error.kind() == PolicyErrorKind::Evaluation =>
                    {
                        count(&errors);
                    }
                    // What Cedar cannot hold never reaches a policy.
                    (Ok(_), Err(error)) if error.kind() == PolicyErrorKind::Input => count(&errors),
                    _ => panic!(
                        "{name}: Rego {in_rego:?}, Cedar {in_cedar:?}\n{}",
                        serde_json::to_string_pretty(&input).unwrap()
                    ),
                }
                Ok(())
            })
            .unwrap();
        // The inputs are near enough to the boundary to fall on both sides of it.
        assert!(allowed.get() >= 20 && denied.get() >= 20, "{name}: {allowed:?} {denied:?} {errors:?}");
    }
}

/// An OPA server evaluates all rules of a package, also those that a decision does not need: one that fails on a wrong
/// type is an error there, and a denial in `RegoEngine`.
#[test]
fn no_rule_of_a_package_fails_whatever_the_input() {
    for name in LIBRARY {
        let mut engine = regorus::Engine::new();
        engine.set_strict_builtin_errors(true);
        engine.add_policy(name.to_owned(), text(name, "rego")).unwrap();
        let package = format!("data.{}", name.replace('/', "."));
        let evaluate = |input: &InputDocument| {
            let mut engine = engine.clone();
            let input = serde_json::to_string(&input.as_input()).unwrap();
            engine.set_input(Value::from_json_str(&input).unwrap());
            let answer = engine.eval_query(package.clone(), false);
            let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}\n{input}"));
            assert_eq!(answer.result.len(), 1, "{name}: {input}");
        };
        let table = table(name);
        table.cases().iter().for_each(|case| evaluate(&case.input));
        let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&mutate::near(&table), |input| {
                evaluate(&input);
                Ok(())
            })
            .unwrap();
    }
}
