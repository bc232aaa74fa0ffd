use super::*;

fn read(condition: &str) -> Option<Vec<String>> {
    let text = format!("permit (principal, action, resource) when {{ {condition} }};");
    reads(&[text.parse().unwrap()]).unwrap().keys()
}

#[test]
fn members_of_the_context_are_found_wherever_they_are_read() {
    for (condition, expected) in [
        ("true", &[][..]),
        ("context.a > 1", &["a"]),
        (r#"context["a.b"] == context.a"#, &["a", "a.b"]),
        ("context has a && context.a.b.c", &["a"]),
        (r#"context has "a.b""#, &["a.b"]),
        ("context has a.b.c && context.d has e.f", &["a", "d"]),
        ("if context.a then [context.b] == [] else {c: context.c} has d", &["a", "b", "c"]),
        (r#"context.a like "x*" || decimal("1.0").lessThan(context.b)"#, &["a", "b"]),
        ("!(context.a) && -context.b < 1 && context.c is Workload", &["a", "b", "c"]),
        (r#"principal == Workload::"context" && "context" == context.a"#, &["a"]),
        (r#"{Var: "context", left: context.a, attr: "x", ".": context.b} has Var"#, &["a", "b"]),
    ] {
        assert_eq!(
            read(condition).as_deref(),
            Some(&expected.iter().map(|&m| m.to_owned()).collect::<Vec<_>>()[..]),
            "{condition}"
        );
    }
}

#[test]
fn any_other_use_of_the_context_takes_all_of_it() {
    for condition in [
        "context == {}",
        "{} == context",
        "[context].contains({a: 1})",
        "{a: context}.a.b",
        "(if context.a then context else {b: true}).b",
        "context.a && context in principal",
        "context.a.containsAll([context])",
    ] {
        assert_eq!(read(condition), None, "{condition}");
    }
}

#[test]
fn all_statements_of_a_file_count() {
    let statement = |text: &str| text.parse::<Statement>().unwrap();
    let statements = [
        statement("permit (principal, action, resource) when { context.a };"),
        statement("forbid (principal, action, resource) unless { context.b };"),
    ];
    assert_eq!(reads(&statements).unwrap().keys().unwrap(), ["a", "b"]);
}
