//! Policies at random, the same ones each time.

/// Makes plain policies, the same ones each time.
pub(super) struct Dice(u64, &'static [&'static str]);

impl Dice {
    /// From a seed, and what policies read.
    pub(super) fn new(seed: u64, atoms: &'static [&'static str]) -> Self {
        Self(seed, atoms)
    }

    fn roll<'a>(&mut self, faces: &[&'a str]) -> &'a str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        faces[usize::try_from(self.0 >> 33).unwrap() % faces.len()]
    }

    pub(super) fn policy(&mut self) -> String {
        let default = self.roll(&["default allow := false\n", ""]);
        let head = self.roll(&["allow if", "allow := true if"]);
        let (r1, r2) = (self.body(&[]), self.body(&["r1"]));
        let (first, second) = (self.body(&["r1", "r2"]), self.body(&["r2", "input"]));
        let kind = self.roll(&["", "default r1 := false\n", "default r1 := \"k\"\n"]);
        format!("{default}{kind}r1 if {r1}\nr2 := \"k\" if {r2}\n{head} {first}\nallow if {second}")
    }

    pub(super) fn any_policy(&mut self) -> String {
        let mut policy = String::new();
        let mut known = Vec::new();
        for name in ["r1", "r2", "r3", "allow"] {
            let mut defaults = vec!["", "", "", "default R := false\n", "default R := \"k\"\n"];
            if name == "r3" {
                defaults.push("default R := false\ndefault R := true\n");
            }
            policy += &self.roll(&defaults).replace('R', name);
            for _ in 0..self.roll(&["1", "1", "2"]).parse::<u8>().unwrap() {
                let (body, other) = (self.body(&known), self.body(&known));
                let heads = ["R if B", "R if B", "R if B", "R if B", "R := true if B", "R := true"];
                let odd = [
                    "R := \"k\" if B",
                    "R.d if B",
                    "R.d := 1",
                    "R[\"d\"] := true if B",
                    "R[k] := 1 if some k in input.l",
                    "R contains \"x\" if B",
                    "R contains input.a",
                    "R if B\nelse := false if O",
                    "R := true if B\nelse if O",
                    "q.R := 1",
                    "R := input.a",
                    "R if { some x in input.l; x == 1 }",
                ];
                let often = self.roll(&["often", "often", "often", "seldom"]) == "often";
                let head = if often { self.roll(&heads) } else { self.roll(&odd) };
                policy += &head.replace('R', name).replace('B', &body).replace('O', &other);
                policy.push('\n');
            }
            known.push(name);
        }
        policy
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
        let mut atoms = vec!["\"x\"", "1", "true", "null"];
        atoms.extend(self.1);
        atoms.extend(rules);
        self.roll(&atoms)
    }
}

/// Members of anything.
pub(super) const ANY: &[&str] =
    &["input.a", "input.b", "input.c.d", "input[\"a\"]", "input.l[0]", "input.l", "input[0]"];

/// Members of a call's input.
pub(super) const CALL: &[&str] = &[
    "input.trust_score",
    "input.identity",
    "input.subject.user.d",
    "input.subject.user",
    "input.subject.taints",
    "input.subject[\"agent\"].d.d",
    "input.object.id",
    "input.object.attributes.a",
    "input.object.attributes.b",
    "input.object.attributes[\"c\"].d",
    "input.object[`attributes`].l[0]",
    "input.object.attributes.l[2].d",
    "input.object.attributes.n",
    "input.object.attributes",
    "input.environment.source_type",
    "input.environment.operation",
    "input.environment.parent_hashes[0]",
    "input.environment.trust_override",
    "input.environment.trust_override.x",
    "input.environment.nothing",
    "input.environment",
    "input.nothing.at.all",
    "input",
];
