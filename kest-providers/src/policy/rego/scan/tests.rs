//! What the tokens of a text tell.

use super::*;

fn of(text: &str) -> Result<Option<V1Mark>, String> {
    let source = Source { name: "t".to_owned(), file: "t.rego".to_owned(), text: text.to_owned() };
    scan(&source).map_err(|error| error.to_string())
}

#[test]
fn words_of_v1_are_marks_and_names_are_not() {
    let v0 = [
        "package t\ndefault allow = false\nallow { input.x == 1 }",
        "package t\n# allow if contains in every default x := 1\nallow { true }",
        "package t\nallow { input.y == \"if\"; input.z == `in every contains if`; input.if; input.in.every }",
        "package t\nallow { contains(input.x, \"if\"); x := 1; x == 1 }",
        "package t\nimport data.rego.v1\nimport input.future.keywords\nallow { true }",
        "package t\nallow { input.default; y := 1; input.contains }",
    ];
    for text in v0 {
        assert_eq!(of(text), Ok(None), "{text}");
    }
    for (text, what, line) in [
        ("package t\n\nallow if { true }\nq { 1 }", "`if`", 3),
        ("package t\nallow if\n", "`if`", 2),
        ("package t\nif { true }", "`if`", 2),
        ("package t\nq { 1 }\ndeny contains \"x\"", "`contains`", 3),
        ("package t\nq { 1 }\ndeny contains 1", "`contains`", 3),
        ("package t\nallow { \"pii\" in input.x }", "`in`", 2),
        ("package t\nallow {\n every x in y { x } }", "`every`", 3),
        ("package t\ndefault allow := false\nallow { true }", "`default … :=`", 2),
        ("package t\ndefault a.b := false\nallow { true }", "`default … :=`", 2),
        ("package t\nimport rego.v1\nallow { true }", "`import rego.v1`", 2),
        ("package t\nimport future.keywords\nallow { true }", "`import future.keywords`", 2),
        ("package t\n\nimport future.keywords.in\nallow { true }", "`import future.keywords`", 3),
    ] {
        assert_eq!(of(text), Ok(Some(V1Mark { what, line })), "{text}");
    }
}

#[test]
fn each_limit_is_named_with_its_line() {
    let around = |open: &str, close: &str, n: usize| {
        of(&format!("package t\n\nallow if {}1{}", open.repeat(n), close.repeat(n))).map(drop)
    };
    let exceeds = |found: Result<(), String>, limit: &str| {
        let message = found.unwrap_err();
        assert!(message.starts_with("t.rego:3: ") && message.contains(limit), "{message}");
    };
    for (open, close) in [("(", ")"), ("f(", ")"), ("x[", "]"), ("[", "]"), ("{", "}"), ("{\"a\": ", "}")] {
        assert_eq!(around(open, close, 12), Ok(()), "{open}");
        exceeds(around(open, close, 33), "");
    }
    assert_eq!(around("(", ")", 32), Ok(()));
    exceeds(around("(", ")", 33), "brackets may be nested 32 deep");
    exceeds(around("[", "]", 24), "too often (limit 1048576)");
    assert_eq!(around("", ".a", 0), Ok(()));

    let row = |part: &str, n: usize| of(&format!("package t\n\nallow if x{}", part.repeat(n))).map(drop);
    for part in [".a", "[0]", "[\"a\"]"] {
        assert_eq!(row(part, 64), Ok(()), "{part}");
        exceeds(row(part, 65), "a reference may have 64 parts");
    }
    for part in [" + 1", " -1", " - 1", " == y", " in y", " | y", " and\n+ 1"] {
        assert_eq!(row(part, 60), Ok(()), "{part}");
        assert!(row(part, 65).unwrap_err().contains("64 brackets and operators deep"), "{part}");
    }
    let calls = of(&format!("package t\n\nallow if x{}", " + f\n(1)".repeat(65)));
    assert!(calls.unwrap_err().contains("operators deep"));
    exceeds(row(" + (1 - 2 * (3", 30), "64 brackets and operators deep");
    exceeds(of(&format!("package t\n\nallow if {}1", "-".repeat(70))).map(drop), "operators deep");
    // Statements, members and alternatives stand side by side.
    for part in [
        "\na == b",
        ";\nx.y.z > 1 + 2",
        "\nallow if {\n x == [1, 2, {3 | y}]\n}\n",
        ",\n[1 + 2]",
        "\n[x] == [1]",
    ] {
        assert_eq!(row(part, 200), Ok(()), "{part}");
    }
}

#[test]
fn foreign_characters_are_limited() {
    // The library would end the text there, and leave the second rule out.
    let message = of("package t\ndefault allow := true\n#\0\nallow := false if input.x").unwrap_err();
    assert!(message.starts_with("t.rego:3: a policy holds no NUL character"), "{message}");
    assert!(of("package t\nx := \"").unwrap_err().starts_with("t.rego:2:6"));
}
