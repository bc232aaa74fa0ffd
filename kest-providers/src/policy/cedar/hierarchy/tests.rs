use super::*;

fn said(condition: &str) -> Option<String> {
    let text = format!("forbid (principal, action, resource) unless {{ {condition} }};");
    let statement = text.parse::<Statement>().unwrap();
    let place = format!("{}: ", statement.id());
    check(&statement).err().map(|error| error.to_string().strip_prefix(&place).unwrap().to_owned())
}

#[test]
fn groups_are_found_wherever_they_are_asked_for() {
    for condition in [
        r#"principal in Workload::"untrusted""#,
        r#"principal in [Workload::"a", Workload::"b"]"#,
        "principal in principal",
        "principal in context.groups",
        r#"resource in Resource::"folder""#,
        r#"resource in Folder::"f""#,
        r#"principal is Workload in Workload::"untrusted""#,
        r#"resource is Resource in [Resource::"f"]"#,
        r#"context.trust_score > 1 && !(principal in Workload::"untrusted")"#,
        r#"(if context.a then principal else Workload::"a") in Group::"g""#,
        r#"{p: principal}.p in Group::"g""#,
        r#"[resource in Folder::"f"].contains(true)"#,
        r#"{a: {b: resource in Folder::"f"}} == {}"#,
        r#"Workload::"a" in Group::"g""#,
        r#"Workload::"a" in principal"#,
        "context.owner in resource",
        "action in principal",
        "action in [resource]",
        "action is Action in principal",
    ] {
        assert_eq!(said(condition).as_deref(), Some(GROUPS), "{condition}");
    }
}

#[test]
fn attributes_are_found_wherever_they_are_asked_for() {
    for condition in [
        "principal has blocked",
        "principal has a.b.c",
        r#"resource has "frozen""#,
        "action has a",
        r#"principal.hasTag("t")"#,
        "resource.hasTag(context.tag)",
        "context.a && !(principal has blocked)",
        "(if context.a then principal else resource) has b",
        "{p: principal}.p has blocked",
    ] {
        assert_eq!(said(condition).as_deref(), Some(ATTRIBUTES), "{condition}");
    }
}

#[test]
fn everything_else_passes() {
    for condition in [
        "true",
        r#"principal == Workload::"a" && resource != Resource::"b""#,
        "principal is Workload && resource is Resource && principal != resource",
        r#"action in Action::"all""#,
        r#"action in [Action::"a", Action::"b"]"#,
        r#"action is Action in Action::"all""#,
        r#"[Workload::"a", Workload::"b"].contains(principal)"#,
        "context has a && context.a has b && context has a.b",
        r#"context["in"] == "principal in Workload""#,
        r#"{"in": principal, "has": resource, "is": action} == {"in": principal, "has": resource}"#,
        r#"{"in": principal} == {"has": resource}"#,
    ] {
        assert_eq!(said(condition), None, "{condition}");
    }
    let annotated =
        r#"@in("principal in x") @has("resource") permit (principal, action in [Action::"a"], resource);"#;
    check(&annotated.parse().unwrap()).unwrap();
}
