//! The two ways of evaluation agree wherever the faster one is taken.

use super::*;
use crate::policy::rego::REGO;

fn set(body: &str) -> Set {
    let text = format!("package t\nimport rego.v1\n{body}");
    Set::build(&[REGO.given("t", text).unwrap()], Duration::from_secs(1))
        .unwrap_or_else(|e| panic!("{body}\n{e}"))
}

fn is_fast(body: &str) -> bool {
    set(body).get("t").unwrap().machine.is_some()
}

mod dice;
mod whole;

use self::dice::{ANY, Dice};

fn run(machine: &Machine, input: Value) -> Result<Value, Failure> {
    machine.run(machine.evaluator()?, input)
}

#[test]
fn only_rules_that_cannot_fail_take_the_fast_path() {
    for body in [
        "default allow := false\nallow if input.trust_score >= 40",
        "default allow := false\nallow if { input.a == 1; not input.b }\nallow if input.c in {\"x\", \"y\"}",
        "default allow := false\nallow if high\nhigh if input.trust_score >= 40\nreason := sprintf(\"%d\", [input.x])",
        "allow if input.l[0] == \"a\"",
    ] {
        assert!(is_fast(body), "{body}");
    }
    for body in [
        "allow if not x\nx := true\ny.z := 1",
        "default allow := false\nallow if input.a\nreason[\"x\"] := 1",
        "default allow := false\nallow if startswith(input.a, \"x\")",
        "default allow := false\nallow if not bad\nbad if regex.match(\"[\", input.x)",
        "default allow := false\nallow if input.a + 1 > 2",
        "allow := true if input.a\nallow := false if input.b",
        "allow := true if input.a\nelse := false if input.b",
        "default allow := false\nallow if { some x in input.l; x == 1 }",
        "default allow := false\nallow if every x in input.l { x == 1 }",
        "default allow := false\nallow if { x := input.a; x == 1 }",
        "default allow := false\nallow if f(input.a)\nf(x) if x == 1",
        "default allow := false\nallow if input.a == data.t.b\nb := 1",
        "default allow := false\nallow if b == 1 with input.a as 2\nb := 1",
        "allow := input.a",
        "default allow := false\nallow if input[input.a]",
        "default allow := false\nallow if input.l[_] == 1",
        "default allow := false\nallow if \"a\" in s\ns contains x if some x in input.l",
        "default allow := false\nallow if [x | x := input.a] == [1]",
    ] {
        assert!(!is_fast(body), "{body}");
    }
}

#[test]
fn both_ways_decide_the_same() {
    let inputs = [
        "{}",
        r#"{"a":1,"b":2,"c":{"d":1},"l":[1,"x"]}"#,
        r#"{"a":"x","b":"x","c":{"d":"x"},"l":["x"]}"#,
        r#"{"a":null,"b":null,"c":null,"l":null}"#,
        r#"{"a":false,"b":true,"c":{"d":false},"l":[false]}"#,
        r#"{"a":true,"b":1.0,"c":{"d":null},"l":[]}"#,
        r#"{"a":{"d":1},"b":[1],"c":{"d":[1,2]},"l":[[1,2],{"d":1}]}"#,
        r#"{"a":0,"b":"","c":"","l":{"0":1}}"#,
        r#"{"a":-1,"c":{"d":1e300},"l":"x"}"#,
        "null",
        "[1]",
        "\"x\"",
    ]
    .map(|json| Value::from_json_str(json).unwrap());
    let mut dice = Dice::new(0x9e37_79b9_7f4a_7c15, ANY);
    let (mut allowed, mut other) = (0, 0);
    for _ in 0..300 {
        let body = dice.policy();
        let set = set(&body);
        let policy = set.get("t").unwrap();
        let machine = policy.machine.as_ref().unwrap_or_else(|| panic!("not on the fast path:\n{body}"));
        for input in &inputs {
            let fast = run(machine, input.clone()).map_err(|e| e.cause.to_string()).unwrap();
            let slow = set.interpret(&policy.allow, input.clone()).map_err(|e| e.cause.to_string()).unwrap();
            assert_eq!(fast, slow, "{body}\ninput {input}");
            *(if fast == Value::from(true) { &mut allowed } else { &mut other }) += 1;
        }
    }
    assert!(allowed > 200 && other > 200, "{allowed} allowed, {other} not: the policies say too little");
}

/// The heads that the analysis of plain policies is not about, among those that it is about.
#[test]
fn whatever_is_loaded_decides_the_same_both_ways() {
    let inputs = [
        "{}",
        r#"{"a":1,"b":2,"c":{"d":1},"l":[1,"x"]}"#,
        r#"{"a":"x","b":false,"c":null,"l":["x"]}"#,
        "null",
    ]
    .map(|json| Value::from_json_str(json).unwrap());
    let mut dice = Dice::new(0x2545_f491_4f6c_dd1d, ANY);
    let (mut refused, mut slow_only, mut fast) = (0, 0, 0);
    for _ in 0..1500 {
        let body = dice.any_policy();
        let text = format!("package t\nimport rego.v1\n{body}");
        let Ok(set) = Set::build(&[REGO.given("t", text).unwrap()], Duration::from_secs(1)) else {
            refused += 1;
            continue;
        };
        let policy = set.get("t").unwrap();
        let Some(machine) = &policy.machine else {
            slow_only += 1;
            continue;
        };
        fast += 1;
        for input in &inputs {
            let quick = run(machine, input.clone()).map_err(|e| e.cause.to_string()).unwrap();
            let slow = set.interpret(&policy.allow, input.clone()).map_err(|e| e.cause.to_string());
            assert_eq!(Ok(quick), slow, "{body}\ninput {input}");
        }
    }
    let counts = format!("{refused} refused, {slow_only} slow, {fast} fast");
    assert!(refused > 100 && slow_only > 100 && fast > 100, "{counts}: the policies say too little");
}

/// Undefined for an empty collection, or for a text that is no UUID: as OPA documents it.
const UNDEFINED_IN_OPA: &[&str] = &["max", "min", "uuid.parse"];

#[test]
fn no_built_in_is_undefined_for_a_wrong_argument() {
    let values = [
        "null",
        "\"[\"",
        "\"\"",
        "\"x\"",
        "-1",
        "0",
        "1.5",
        "1e300",
        "\"9999-99-99\"",
        "true",
        "[]",
        "[null]",
        "[[1]]",
        "{}",
        r#"{"a":null}"#,
    ]
    .map(|json| Value::from_json_str(json).unwrap());
    let mut names: Vec<(&str, u8)> =
        regorus::unstable::BUILTINS.iter().map(|(name, (_, arity))| (*name, *arity)).collect();
    names.sort_unstable();
    let (mut undefined, mut tried) = (std::collections::BTreeMap::new(), 0);
    for (name, arity) in names {
        let args = ["input[0]", "input[1]", "input[2]", "input[3]"].get(..usize::from(arity.min(4))).unwrap();
        let call = format!("{name}({})", args.join(", "));
        let text = format!("package t\nimport rego.v1\nallow if not ok\nok if {{ x := {call} }}");
        let Ok(set) = Set::build(&[REGO.given("t", text).unwrap()], Duration::from_secs(1)) else {
            continue;
        };
        tried += 1;
        let policy = set.get("t").unwrap();
        let count = values.len().pow(u32::from(arity.min(3)));
        for n in 0..count {
            let pick = |place: usize| {
                values[n / values.len().pow(u32::try_from(place).unwrap()) % values.len()].clone()
            };
            let input = Value::from(vec![pick(0), pick(1), pick(2), pick(1)]);
            match set.interpret(&policy.allow, input.clone()) {
                Ok(value) if value == Value::from(true) => {
                    undefined.entry(name).or_insert(format!("undefined for {input}"));
                }
                Err(failure) if failure.cause.to_string() == PANICKED => {
                    undefined.entry(name).or_insert(format!("panics for {input}"));
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    assert!(tried > 90, "{tried}");
    UNDEFINED_IN_OPA.iter().for_each(|name| drop(undefined.remove(name)));
    assert!(undefined.is_empty(), "{undefined:#?}");
}

#[test]
fn a_panic_of_the_evaluator_is_a_failure() {
    let failure = caught(|| [0; 1].windows(std::hint::black_box(0)).count()).unwrap_err();
    assert_eq!(failed(set("allow := true").get("t").unwrap(), failure).kind(), PolicyErrorKind::Evaluation);
}
