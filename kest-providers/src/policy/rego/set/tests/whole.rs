//! What is given to a policy of the input decides as the whole does.

use kest_core::policy::InputDocument;
use serde_json::json;

use super::dice::{CALL, Dice};
use super::*;
use crate::policy::cases::CaseTable;

/// Inputs of calls, with and without what policies read.
fn documents() -> Vec<InputDocument> {
    let full = json!({
        "subject": {"workload": "x", "user": {"d": 1, "sub": "x"}, "agent": "x", "trust_score": 1, "taints": ["x", "k"]},
        "object": {"id": "x", "attributes": {"a": 1, "b": "x", "c": {"d": true}, "l": [1, "x", {"d": 1}], "n": null}},
        "environment": {
            "source_type": "x", "operation": "k", "function": "f", "parent_hashes": ["x", "y"],
            "inherited_trust_score": 1, "inherited_taints": ["x"], "trust_override": 1, "removed_taints": [],
            "policy_names": ["t"], "policy_tier": "platform", "active_deviations": ["x"],
        },
    });
    let odd = json!({
        "subject": {"user": "x", "agent": {"d": {"d": "x"}}},
        "object": {"attributes": {"a": {"d": "x"}, "c": "x", "l": {"0": 1}, "b": [], "": 0}},
    });
    [full, odd, json!({}), json!({"trust_score": 1, "object": {"attributes": {"c": {"d": null}, "l": []}}})]
        .map(|document| serde_json::from_value(document).unwrap())
        .into()
}

/// Asserts that every policy of a set decides on what is given to it as on the whole input. How many took the fast path.
fn assert_decides_as_on_the_whole(set: &Set, document: &InputDocument, shown: &str) -> usize {
    let said = |result: Result<Value, PolicyUnavailable>| result.map_err(|error| error.kind());
    document.with_input(|input| {
        let whole = input::document(input, &Reads::Whole).unwrap();
        for policy in set.policies.values() {
            let slow =
                said(set.interpret(&policy.allow, whole.clone()).map_err(|error| failed(policy, error)));
            let context = || format!("{shown}\n`{}` of {whole}", policy.file);
            if let Some(machine) = &policy.machine {
                let fast = run(machine, whole.clone()).map_err(|error| failed(policy, error));
                assert_eq!(said(fast), slow, "{}", context());
            }
            assert_eq!(said(set.allow(policy, input)), slow, "{}", context());
        }
    });
    set.policies.values().filter(|policy| policy.machine.is_some()).count()
}

#[test]
fn what_is_left_out_of_the_input_changes_no_decision() {
    let documents = documents();
    let mut dice = Dice::new(0x5851_f42d_4c95_7f2d, CALL);
    let (mut fast, mut parts) = (0, 0);
    for _ in 0..1500 {
        let body = dice.any_policy();
        let text = format!("package t\nimport rego.v1\n{body}");
        let Ok(set) = Set::build(&[REGO.given("t", text).unwrap()], Duration::from_secs(1)) else {
            continue;
        };
        for document in &documents {
            fast += assert_decides_as_on_the_whole(&set, document, &body);
        }
        let machine = set.get("t").unwrap().machine.as_ref();
        parts += usize::from(machine.is_some_and(|machine| machine.reads != Reads::Whole));
    }
    assert!(fast > 500 && parts > 100, "{fast} fast, {parts} on a part: the policies say too little");
}

#[test]
fn the_library_decides_on_what_it_reads_as_on_the_whole() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let sources = REGO.all(std::slice::from_ref(&folder), &[]).unwrap();
    let set = Set::build(&sources, Duration::from_secs(5)).unwrap();
    let (mut cases, mut fast) = (0, 0);
    // Not each has a table: every policy is asked about every case.
    for name in set.names() {
        let table = folder.join(format!("{name}.cases"));
        if !table.exists() {
            continue;
        }
        for case in CaseTable::read(table).unwrap().cases() {
            fast += assert_decides_as_on_the_whole(&set, &case.input, &case.name);
            cases += 1;
        }
    }
    assert!(cases > 100 && fast > 0, "{cases} cases, {fast} times fast");
}

/// Ways to read the input other than by a reference of constants.
#[test]
fn who_reads_the_input_in_another_way_is_given_all_of_it() {
    let yes = [
        "input.environment == {\"source_type\": \"x\"}",
        "not input.environment == {\"source_type\": \"x\"}",
        "input == {}",
        "input != {\"a\": 1}",
        "input[\"environment\"] != {}",
        "\"k\" in input.environment",
        "not \"k\" in input.environment",
        "\"k\" in input[\"environment\"]; input.environment.source_type == \"x\"",
        "input.environment.source_type == \"x\"; \"k\" in input[`environment`]",
        "\"x\" in input.subject.user; \"x\" in input.subject.taints",
        "true in input.object.attributes.c",
        "1 in input.object.attributes.l[2]",
        "not input[0]",
        "input.environment.parent_hashes[0] == \"x\"",
        "input.object.attributes.l[2].d == 1",
        "input.object.attributes.c.d in [true, input.object]",
        "input[`object`][\"attributes\"].b == \"x\"",
        "input[\"obj\\u0065ct\"].attributes.b == \"x\"",
        "some k in object.keys(input.environment); k == \"is_root\"",
        "some k; input.environment[k] == \"k\"",
        "some k, v in input.environment; v == \"k\"",
        "k := \"operation\"; input.environment[k] == \"k\"",
        "input.environment[input.object.attributes.key] == \"k\"",
        "k := \"environment\"; input[k].operation == \"k\"",
        "input[_].operation == \"k\"",
        "count(input.environment) == 13",
        "count([1 | input.environment[_]]) == 13",
        "count({k | some k, _ in input}) == 5",
        "every _, v in input.environment { v != \"nobody\" }",
        "object.get(input, [\"environment\", \"operation\"], \"\") == \"k\"",
        "e := input.environment; e.operation == \"k\"",
        "e := input; e.environment.operation == \"k\"",
        "walk(input, [_, \"k\"])",
        "contains(json.marshal(input), \"policy_tier\")",
        "contains(sprintf(\"%v\", [input]), \"policy_tier\")",
        "{\"operation\": \"k\"} == {\"operation\": input.environment.operation}",
        "operation with input.environment.operation as \"k\"",
        "operation with input as {\"environment\": {\"operation\": \"k\"}}",
        "f(input)",
        "f(input) == true",
        "data.t.operation",
        "data.u.allow",
        "data.u.rule == \"k\"",
        "import_of",
        "not not_operation",
        "x.operation == \"k\"",
        "\"k\" in x",
    ];
    let rules = "operation if input.environment.operation == \"k\"\n\
                 not_operation if input.environment.operation != \"k\"\n\
                 f(x) if x.environment.operation == \"k\"\n\
                 x := input.environment\n\
                 import_of if alias.operation == \"k\"\n";
    let other = "package u\nimport rego.v1\nrule := input.environment.operation\nallow if rule == \"k\"\n";
    let documents = documents();
    let mut allowed = 0;
    for body in yes {
        for head in
            ["allow if", "default allow := false\nallow if", "default allow := true\nallow := false if"]
        {
            let text = format!(
                "package t\nimport rego.v1\nimport input.environment as alias\n{rules}{head} {{ {body} }}"
            );
            let sources = [REGO.given("t", text).unwrap(), REGO.given("u", other.to_owned()).unwrap()];
            let set = Set::build(&sources, Duration::from_secs(1)).unwrap_or_else(|e| panic!("{body}\n{e}"));
            for document in &documents {
                assert_decides_as_on_the_whole(&set, document, body);
                let input = document.as_input();
                allowed += usize::from(
                    set.allow(set.get("t").unwrap(), &input).is_ok_and(|it| it == Value::from(true)),
                );
            }
        }
    }
    assert!(allowed > yes.len(), "{allowed}: the policies say too little");
}
