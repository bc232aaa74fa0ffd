use std::collections::BTreeSet;

use cedar_policy::Policy as Statement;
use kest_core::policy::InputDocument;
use serde_json::json;

use super::*;
use crate::policy::cedar::conditions::conditions;
use crate::policy::cedar_form::{self, CedarRecord, CedarValue};

fn said(condition: &str) -> Option<String> {
    let text = format!("forbid (principal, action, resource) when {{ {condition} }};");
    let statement = text.parse::<Statement>().unwrap();
    conditions(&statement).unwrap().iter().find_map(fault)
}

fn paths(record: &CedarRecord<'_>, above: &str, found: &mut BTreeSet<String>) {
    for (name, value) in record {
        let path = if above.is_empty() { name.to_string() } else { format!("{above}.{name}") };
        if let CedarValue::Record(members) = value {
            paths(members, &path, found);
        }
        found.insert(path);
    }
}

#[test]
fn the_document_is_the_one_that_engines_get() {
    let document: InputDocument = serde_json::from_value(json!({
        "subject": {"user": "u", "agent": "a", "task": "t", "taints": ["x"]},
        "object": {"id": "1", "attributes": {}},
        "environment": {"source_type": "internal", "inherited_trust_score": 1, "trust_override": 1},
    }))
    .unwrap();
    let input = document.as_input();
    let mut given = BTreeSet::new();
    paths(&cedar_form::context(&input).unwrap(), "", &mut given);
    assert_eq!(given, known(&DOCUMENT, "").into_iter().collect());
}

#[test]
fn what_no_input_has_is_found_wherever_it_is_read() {
    for (condition, expected) in [
        (r#"context has "subject.taint""#, "no input has `subject.taint`; did you mean `subject.taints`?"),
        (
            r#"context["Environment.source_type"] == "x""#,
            "no input has `Environment.source_type`; did you mean `environment.source_type`?",
        ),
        ("context.subject has taint", "no input has `subject.taint`; did you mean `subject.taints`?"),
        ("context has subject.taint", "no input has `subject.taint`; did you mean `subject.taints`?"),
        (
            "context.trust_score > 1 && (context has amount || true)",
            "no input has `amount`; attributes of a call are below `object.attributes`",
        ),
        (
            "{a: [context.object.attribute]} == {}",
            "no input has `object.attribute`; did you mean `object.attributes`?",
        ),
        ("context.identity has name", "no input has `identity.name`"),
        (r#"context has "subject.taints.x""#, "no input has `subject.taints.x`"),
        (r#"context.environment has "source_type.x""#, "no input has `environment.source_type.x`"),
        ("!(context has subjekt.user)", "no input has `subjekt.user`; did you mean `subject.user`?"),
        (r#"context has "subject.""#, "no input has `subject.`"),
        (r#"context has """#, "no input has ``"),
        // There, but not under this key.
        (
            r#"context has "object.attributes""#,
            "the dotted key `object.attributes` never holds a record; write `context.object.attributes`",
        ),
        (
            r#"context["object.attributes.owner"] has name"#,
            "the dotted key `object.attributes.owner` never holds a record; write `context.object.attributes.owner.name`",
        ),
    ] {
        let said = said(condition).unwrap_or_default();
        assert!(said.starts_with(expected), "{condition}: {said}");
    }
}

#[test]
fn what_an_input_may_have_passes() {
    for condition in [
        "context.trust_score > 1 && context has identity && context has subject && context has object.attributes",
        r#"context has "subject.user" && context["subject.user"] == "alice""#,
        r#"context has subject.user.team.lead && context["subject.agent.a.b"] == 1"#,
        r#"context.object.attributes has "a.b" && context.object.attributes["a.b"].c has d"#,
        r#"context has "object.attributes." && context.object.attributes has """#,
        r#"context["subject.taints"].contains("x") && context.environment has inherited_trust_score"#,
        "context == context && (if true then context else {x: 1}) has x && {subjekt: 1} has subjekt",
        r#""context.nosuch" == context.identity"#,
    ] {
        assert_eq!(said(condition), None, "{condition}");
    }
}
