//! The two ways of evaluation agree wherever the faster one is taken.

use super::*;
use crate::policy::rego::source;

fn set(body: &str) -> Set {
    let text = format!("package t\nimport rego.v1\n{body}");
    Set::build(&[source::given("t", text).unwrap()], Duration::from_secs(1))
        .unwrap_or_else(|e| panic!("{body}\n{e}"))
}

fn is_fast(body: &str) -> bool {
    set(body).get("t").unwrap().machine.is_some()
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
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut allowed, mut other) = (0, 0);
    for _ in 0..300 {
        let body = dice.policy();
        let set = set(&body);
        let policy = set.get("t").unwrap();
        let machine = policy.machine.as_ref().unwrap_or_else(|| panic!("not on the fast path:\n{body}"));
        for input in &inputs {
            let fast = machine.run(input.clone()).map_err(|e| e.cause.to_string()).unwrap();
            let slow = set.interpret(&policy.allow, input.clone()).map_err(|e| e.cause.to_string()).unwrap();
            assert_eq!(fast, slow, "{body}\ninput {input}");
            *(if fast == Value::from(true) { &mut allowed } else { &mut other }) += 1;
        }
    }
    assert!(allowed > 200 && other > 200, "{allowed} allowed, {other} not: the policies say too little");
}

/// Makes plain policies, the same ones each time.
struct Dice(u64);

impl Dice {
    fn roll<'a>(&mut self, faces: &[&'a str]) -> &'a str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        faces[usize::try_from(self.0 >> 33).unwrap() % faces.len()]
    }

    fn policy(&mut self) -> String {
        let default = self.roll(&["default allow := false\n", ""]);
        let head = self.roll(&["allow if", "allow := true if"]);
        let (r1, r2) = (self.body(&[]), self.body(&["r1"]));
        let (first, second) = (self.body(&["r1", "r2"]), self.body(&["r2", "input"]));
        let kind = self.roll(&["", "default r1 := false\n", "default r1 := \"k\"\n"]);
        format!("{default}{kind}r1 if {r1}\nr2 := \"k\" if {r2}\n{head} {first}\nallow if {second}")
    }

    fn body(&mut self, rules: &[&str]) -> String {
        let (a, b) = (self.statement(rules), self.statement(rules));
        match self.roll(&["one", "two"]) {
            "one" => a,
            _ => format!("{{ {a}; {b} }}"),
        }
    }

    fn statement(&mut self, rules: &[&str]) -> String {
        let (a, b) = (self.atom(rules), self.atom(rules));
        let not = self.roll(&["", "", "not "]);
        match self.roll(&["==", "!=", "<", "<=", ">", ">=", "in", "in set", "in array", ""]) {
            "in set" => format!("{not}{a} in {{{b}, 1, \"x\"}}"),
            "in array" => format!("{not}{a} in [{b}, null]"),
            "" => format!("{not}{a}"),
            operator => format!("{not}{a} {operator} {b}"),
        }
    }

    fn atom<'a>(&mut self, rules: &[&'a str]) -> &'a str {
        let mut atoms = vec![
            "input.a",
            "input.b",
            "input.c.d",
            "input[\"a\"]",
            "input.l[0]",
            "input.l",
            "\"x\"",
            "1",
            "true",
            "null",
        ];
        atoms.extend(rules);
        self.roll(&atoms)
    }
}
