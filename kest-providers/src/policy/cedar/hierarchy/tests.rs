use std::collections::HashSet;

use cedar_policy::{Entities, Entity, EntityUid, Policy as Statement};

use super::*;
use crate::policy::cedar::conditions::conditions;
use crate::policy::cedar::set::Types;

fn said(condition: &str) -> Option<String> {
    let text = format!("forbid (principal, action, resource) unless {{ {condition} }};");
    let statement = text.parse::<Statement>().unwrap();
    checked(&statement)
}

/// For the action `a`, which is in the group `all`.
fn checked(statement: &Statement) -> Option<String> {
    let types = Types::named().unwrap();
    let uid = |id: &str| format!("Action::\"{id}\"").parse::<EntityUid>().unwrap();
    let member = Entity::new_no_attrs(uid("a"), HashSet::from([uid("all")]));
    let entities = Entities::from_entities([member, Entity::with_uid(uid("all"))], None).unwrap();
    let scope = Scope { types: &types, action: &uid("a"), entities: &entities };
    conditions(statement).unwrap().iter().find_map(|condition| fault(condition, &scope))
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
        r#"Switch::"all" has off && Switch::"all".off"#,
        r#"Switch::"all".hasTag("off")"#,
        r#"Workload::"a" has off"#,
        r#"(if context.a then Switch::"a" else Switch::"b") has off"#,
        r#"{s: [Switch::"a"]}.s has off"#,
        "principal.name == context.a",
        r#"Workload::"a".blocked"#,
        r#"resource.getTag("t") == 1"#,
        "(if context.a then context.b else action).name",
    ] {
        assert_eq!(said(condition).as_deref(), Some(ATTRIBUTES), "{condition}");
    }
}

#[test]
fn an_action_is_in_what_it_is_in() {
    let never = r#"the action of this policy is never `Action::"a"`; write `action == Action::"a"`"#;
    for condition in [
        r#"action in Action::"al""#,
        r#"context.a || action in [Action::"b", Action::"c"]"#,
        "action in []",
        r#"action in Workload::"a""#,
        r#"action is Action in Action::"b""#,
        r#"action in Kest::Action::"a""#,
    ] {
        assert_eq!(said(condition).as_deref(), Some(never), "{condition}");
    }
    for condition in [
        r#"action in (if context.a then Action::"a" else Action::"b")"#,
        "action in context.groups",
        r#"(if context.a then action else action) in Action::"a""#,
    ] {
        assert_eq!(said(condition).as_deref(), Some(GROUPS), "{condition}");
    }
}

#[test]
fn what_is_never_of_a_type_is_found() {
    for (condition, expected) in [
        ("principal is User", "`is User` never holds for a `Workload`; correct the type, or leave it out"),
        ("!(resource is Document)", "`is Document` never holds for a `Resource`"),
        ("action is Kest::Action", r#"`is Kest::Action` never holds for `Action::"a"`"#),
        (
            "context.a || (if context.b then principal else resource) is Action",
            "`is Action` never holds for a `Resource` or a `Workload`",
        ),
        (r#"[principal is User].contains(true)"#, "`is User` never holds"),
    ] {
        let said = said(condition).unwrap_or_default();
        assert!(said.starts_with(expected), "{condition}: {said}");
    }
}

#[test]
fn what_is_never_equal_is_found() {
    for (condition, expected) in [
        (r#"principal == User::"x""#, "`==` compares a `Workload` with a `User`, which are never equal"),
        (
            r#"resource != Document::"x""#,
            "`!=` compares a `Resource` with a `Document`, which are never equal",
        ),
        (r#"Kest::Workload::"x" == principal"#, "`==` compares a `Kest::Workload` with a `Workload`"),
        ("principal == resource", "`==` compares a `Workload` with a `Resource`"),
        (r#"action == Action::"b""#, r#"`==` compares `Action::"a"` with `Action::"b"`"#),
        (r#"principal == "orders""#, "`==` compares a `Workload` with what is no entity"),
        (r#"context.identity == principal"#, "`==` compares what is no entity with a `Workload`"),
        (r#"["orders"].contains(principal)"#, "`contains` compares what is no entity with a `Workload`"),
        (r#"[User::"a"].contains(principal)"#, "`contains` compares a `User` with a `Workload`"),
        (r#"[principal].containsAny(context.all)"#, "`containsAny` compares a `Workload` with what"),
        (r#"[Resource::"a"].containsAll([principal])"#, "`containsAll` compares a `Resource` with a"),
        (r#"{"in": principal} == {"in": resource}"#, "`==` compares a `Workload` with a `Resource`"),
        (
            "(if context.a then principal else resource) == action",
            "`==` compares a `Resource` or a `Workload` with",
        ),
        // Some of it is possible, and some is not.
        (
            r#"[Workload::"a", User::"b"].contains(principal)"#,
            r#"a call has no `User::"b"`; it has a `Workload`, an"#,
        ),
        (r#"{p: User::"b"} == {p: User::"b"}"#, r#"a call has no `User::"b"`"#),
    ] {
        let said = said(condition).unwrap_or_default();
        assert!(said.starts_with(expected), "{condition}: {said}");
    }
}

#[test]
fn everything_else_passes() {
    for condition in [
        "true",
        r#"principal == Workload::"a" && resource != Resource::"b""#,
        r#"principal is Workload && resource is Resource && action is Action && action == Action::"a""#,
        r#"action in Action::"all" && action in [action]"#,
        r#"(if context.a then principal else Workload::"b") == Workload::"a""#,
        r#"(principal == Workload::"a") == context.flag && !(principal == Workload::"a") == !context.flag"#,
        r#"[principal == Workload::"a"].contains(context.flag) && [Workload::"a"].isEmpty() == false"#,
        r#"(if principal == Workload::"a" then context.a else context.b) has c"#,
        r#"{p: principal, q: context.a}.q == "x" && {p: principal}.p == Workload::"a""#,
        r#"{p: principal == Workload::"a"}.p && [Action::"b", Action::"a"].contains(action)"#,
        r#"action in [Action::"a", Action::"b"]"#,
        r#"action is Action in Action::"all""#,
        r#"[Workload::"a", Workload::"b"].contains(principal)"#,
        "context has a && context.a has b && context has a.b",
        r#"context["in"] == "principal in Workload""#,
        r#"{"in": principal, "has": resource, "is": action} == {"in": principal, "has": resource}"#,
        r#"{"in": principal, "arg": true} == {"!": principal} && {"__entity": 1, "Value": 2} == {"Var": "principal"}"#,
    ] {
        assert_eq!(said(condition), None, "{condition}");
    }
    let annotated =
        r#"@in("principal in x") @has("resource") permit (principal, action in [Action::"a"], resource);"#;
    assert_eq!(checked(&annotated.parse().unwrap()), None);
}
