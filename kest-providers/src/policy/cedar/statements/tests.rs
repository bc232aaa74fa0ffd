use super::*;

fn source(text: &str) -> Source {
    Source { name: "t".to_owned(), file: "t.cedar".to_owned(), text: text.to_owned() }
}

#[test]
fn statements_are_found_past_comments_and_strings() {
    let text = "// one; two\n\n@reason(\"a;\nb \\\" // ;\")\npermit (principal, action, resource); forbid\n(principal, \
                action, resource)// ;\n;\n\n // end;\npermit (principal, action, resource);\n//";
    assert_eq!(lines(text), [3, 5, 10]);
    assert_eq!(lines(" // nothing\n"), Vec::<usize>::new());
    assert_eq!(lines("\"\\\n\";\na;"), [1, 3]);
}

#[test]
fn nesting_and_chains_are_limited_each_policy_for_itself() {
    let nested = |depth: usize| {
        format!(
            "permit (principal, action, resource) when {{\n{}true{}\n}};",
            "(".repeat(depth),
            ")".repeat(depth)
        )
    };
    let chained = |parts: usize| {
        format!("permit (principal, action, resource) when {{ {} }};", vec!["true"; parts].join("\n&& "))
    };
    let twice = |text: String| format!("{text}\n{text}");
    check_nesting(&source(&twice(nested(MAX_NESTING - 1)))).unwrap();
    let error = check_nesting(&source(&nested(MAX_NESTING))).unwrap_err().to_string();
    assert_eq!(error, "t.cedar:2: brackets are nested more than 64 deep; divide it");
    check_nesting(&source(&twice(chained(MAX_CHAIN / 2)))).unwrap();
    let error = check_nesting(&source(&chained(MAX_CHAIN / 2 + 1))).unwrap_err().to_string();
    assert_eq!(error, "t.cedar:501: a policy has more than 1000 operators; divide it");
    let branches = "if true then false else ".repeat(MAX_CHAIN + 1);
    assert!(check_nesting(&source(&branches)).unwrap_err().to_string().contains("operators"));
    for clause in ["when { true } ", "unless{false}", "when// {\n{ true }"] {
        let clauses =
            |count: usize| format!("permit (principal, action, resource) {};", clause.repeat(count));
        check_nesting(&source(&twice(clauses(MAX_CHAIN)))).unwrap();
        let error = check_nesting(&source(&clauses(MAX_CHAIN + 1))).unwrap_err().to_string();
        assert!(error.contains("a policy has more than 1000 operators"), "{error}");
    }
    check_nesting(&source(&"iffy whenever unlessx _if ".repeat(MAX_CHAIN))).unwrap();
    let strings = "[\"&&&&\", \"if \"]".repeat(MAX_CHAIN);
    assert!(check_nesting(&source(&strings)).is_ok());
}
