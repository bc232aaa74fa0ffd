//! Cedar in this process: what a schema adds.
#![cfg(feature = "cedar")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/log.rs"]
mod log;
#[path = "support/mod.rs"]
mod support;

use folder::Folder;
use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::{Decision, PolicyEngine, PolicyRequest};
use kest_providers::policy::CedarEngine;
use serde_json::json;
use support::Call;

const ANY: &str = "permit (principal, action, resource);";
const GROUPS: &str = "write `==`; workloads and resources have no groups";

fn refusal(engine: Result<CedarEngine, PolicyUnavailable>) -> String {
    let error = engine.unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::Load, "{error}");
    error.to_string()
}

fn allows(engine: &CedarEngine, policy: &str, call: &Call) -> Result<bool, PolicyUnavailable> {
    Ok(match engine.evaluate(&PolicyRequest { policy, input: &call.input().as_input() })? {
        Decision::Allow { .. } => true,
        Decision::Deny { .. } => false,
    })
}

const SCHEMA: &str = r#"
entity Workload;
entity Resource;
type Flat = {
    trust_score: Long,
    "object.attributes.amount"?: Long,
    "subject.user.sub": String,
};
type Asked = Flat;
action "all";
action "t" in ["all"] appliesTo { principal: Workload, resource: Resource, context: Asked };
action "none" appliesTo { principal: Workload, resource: Resource };
action "users" appliesTo { principal: User, resource: Resource };
entity User;
"#;

fn with_schema(name: &str, text: &str) -> Result<CedarEngine, PolicyUnavailable> {
    CedarEngine::builder().source(name, text).schema(SCHEMA).build()
}

#[test]
fn a_schema_validates_policies_when_they_are_loaded() {
    for (name, text, expected) in [
        (
            "t",
            "\n  forbid (principal, action == Action::\"t\", resource)\n  when { context.trst_score < 40 };",
            "t.cedar:2: no input has `trst_score`; did you mean `trust_score`?",
        ),
        (
            "t",
            "permit (principal, action == Action::\"t\", resource) when { context.trust_score > \"1\" };",
            "type",
        ),
        // Not asked for with `has`, although it is optional.
        (
            "t",
            "permit (principal, action == Action::\"t\", resource) when { context[\"object.attributes.amount\"] > 1 };",
            "optional",
        ),
        (
            "t",
            "permit (principal, action == Action::\"t\", resource) when { principal.name == \"x\" };",
            "t.cedar:1: read the `context`",
        ),
        (
            "t",
            "forbid (principal, action == Action::\"t\", resource) when { principal == Usr::\"x\" };",
            "t.cedar:1: `==` compares a `Workload` with a `Usr`",
        ),
        (
            "u",
            ANY,
            "`u.cedar` cannot be used: `the schema` has no `Action::\"u\"` for a `Workload` and a `Resource`",
        ),
        ("users", ANY, "has no `Action::\"users\"` for a `Workload`"),
        ("all", ANY, "has no `Action::\"all\"` for a `Workload`"),
        (
            "t",
            "permit (principal, action == Action::\"none\", resource);",
            "t.cedar:1: the action of this policy is never",
        ),
    ] {
        let message = refusal(with_schema(name, text));
        assert!(message.contains(expected), "{text}: {message}");
    }
    // The hierarchy of actions is the schema's.
    let engine = with_schema("t", "permit (principal, action in Action::\"all\", resource);").unwrap();
    let mut call = Call::new(40);
    call.user = Some(json!({"sub": "alice"}));
    assert!(allows(&engine, "t", &call).unwrap());
}

#[test]
fn a_schema_that_cannot_be_used_is_refused() {
    for (schema, expected) in [
        ("entity Workload", "the schema:1:"),
        ("entity Workload;\nentity Workload;", "the schema"),
        ("action \"t\" appliesTo { principal: Nobody, resource: Nobody };", "the schema"),
        ("entity Workload;\ntype A = B;\ntype B = A;", "the schema"),
        (
            "entity Workload, Resource; action \"t\" appliesTo { principal: Workload, resource: Resource, context: Long };",
            "the schema",
        ),
    ] {
        let message = refusal(CedarEngine::builder().source("t", ANY).schema(schema).build());
        assert!(message.contains(expected), "{schema}: {message}");
    }
    let folder = Folder::new("cedar-schema");
    let absent = CedarEngine::builder().source("t", ANY).schema_file(folder.0.join("absent"));
    assert!(refusal(absent.build()).contains("cannot be read"));
    folder.write("kest.cedarschema", SCHEMA);
    let engine = CedarEngine::builder()
        .source("t", ANY)
        .schema_file(folder.0.join("kest.cedarschema"))
        .build()
        .unwrap();
    folder.write("kest.cedarschema", "entity");
    assert!(engine.reload().unwrap_err().to_string().contains("kest.cedarschema:1:"));
    folder.remove("kest.cedarschema");
    assert!(engine.reload().unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn a_schema_declares_all_that_policies_read() {
    for (text, key) in [
        // To the engine what is not declared is missing: the first would never forbid, the second always permit.
        (
            "forbid (principal, action, resource) when { context has \"object.attributes.frozen\" && context.trust_score < 90 };",
            "object.attributes.frozen",
        ),
        (
            "permit (principal, action, resource) when { context.trust_score >= 40 && !(context has \"environment.trust_override\") };",
            "environment.trust_override",
        ),
        ("permit (principal, action, resource) unless { context has object.attributes.frozen };", "object"),
        (
            "permit (principal, action, resource)\nwhen { if context has subject && context.subject has user then false else true };",
            "subject",
        ),
        (
            "permit (principal, action, resource) when { !(context has identity) || context.identity == \"x\" };",
            "identity",
        ),
    ] {
        let message = refusal(with_schema(
            "t",
            &format!("{ANY}\n{text}").replace(", action,", ", action == Action::\"t\","),
        ));
        assert_eq!(
            message,
            format!("t.cedar:2: `{key}` of the context is not declared in `the schema`; declare it optional")
        );
    }
    for condition in [
        "context == context",
        "(if context.trust_score > 1 then context else context) has \"object.attributes.frozen\"",
    ] {
        let text =
            format!("{ANY}\nforbid (principal, action == Action::\"t\", resource) when {{ {condition} }};");
        assert_eq!(
            refusal(with_schema("t", &text)),
            "t.cedar:2: the policy uses the whole `context`, of which it is given what `the schema` declares; \
             read single members"
        );
    }
    // What is declared may be asked for, and counts.
    let text = "permit (principal, action == Action::\"t\", resource) when { !(context has \"object.attributes.amount\") };";
    let engine = with_schema("t", text).unwrap();
    let mut call = Call::new(40);
    call.user = Some(json!({"sub": "alice"}));
    assert!(allows(&engine, "t", &call).unwrap());
    call.attributes = json!({"amount": 1});
    assert!(!allows(&engine, "t", &call).unwrap());
}

/// Records in a schema are closed: what a policy could not see in one is an error.
#[test]
fn a_declared_record_has_no_undeclared_members() {
    let schema = "entity Workload, Resource;
        action \"t\" appliesTo { principal: Workload, resource: Resource, context: {
            object: { id?: String, attributes: { amount?: Long } },
        } };";
    let load = |condition: &str| {
        let text = format!("permit (principal, action, resource) unless {{ {condition} }};");
        CedarEngine::builder().source("t", text).schema(schema).build().unwrap()
    };
    let engines = [
        load("context.object.attributes has frozen"),
        load("context.object has attributes.frozen"),
        load("context.object has attributes.held && context.object.attributes.held"),
    ];
    let mut call = Call::new(40);
    for engine in &engines {
        call.attributes = json!({"amount": 1});
        assert!(allows(engine, "t", &call).unwrap());
        for attributes in [json!({"frozen": true}), json!({"amount": 1, "frozen": false})] {
            call.attributes = attributes;
            let error = allows(engine, "t", &call).unwrap_err();
            assert_eq!(error.kind(), PolicyErrorKind::Input, "{error}");
        }
    }
    let schema = "entity Workload, Resource;
        action \"t\" appliesTo { principal: Workload, resource: Resource, context: {
            \"object.attributes.items\"?: Set<{ a: Long }>,
        } };";
    let text = r#"permit (principal, action, resource)
        unless { context has "object.attributes.items" && context["object.attributes.items"].contains({a: 2}) };"#;
    let engine = CedarEngine::builder().source("t", text).schema(schema).build().unwrap();
    for (items, expected) in [
        (json!([{"a": 1}]), Ok(true)),
        (json!([{"a": 1}, {"a": 2}]), Ok(false)),
        (json!([{"a": 2, "b": 1}]), Err(PolicyErrorKind::Input)),
    ] {
        call.attributes = json!({"items": items});
        let got = allows(&engine, "t", &call).map_err(|error| error.kind());
        assert_eq!(got, expected, "{items}");
    }
}

#[test]
fn a_policy_that_never_applies_is_refused_with_a_schema() {
    for effect in ["permit", "forbid"] {
        let text = format!(
            "{ANY}\n{effect} (principal, action == Action::\"t\", resource)\nwhen {{ context.trust_score == 1 && false }};"
        );
        let message = refusal(with_schema("t", &text));
        assert!(message.starts_with("t.cedar:2:1: "), "{message}");
        assert!(message.contains("impossible"), "{message}");
    }
}

#[test]
fn a_warning_of_the_validator_is_logged() {
    let log = log::logged(|| {
        drop(
            with_schema(
                "t",
                "permit (principal, action == Action::\"t\", resource) when { \"pаypal\" == \"paypal\" || true };",
            )
            .unwrap(),
        );
    });
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].starts_with("WARN policy file t.cedar:1:"), "{log:?}");
}

#[test]
fn a_schema_validates_requests_by_what_it_declares() {
    let engine = with_schema(
        "t",
        "permit (principal, action == Action::\"t\", resource) when { context.trust_score >= 40 };
         forbid (principal, action == Action::\"t\", resource)
         when { context has \"object.attributes.amount\" && context[\"object.attributes.amount\"] > 100 };",
    )
    .unwrap();
    let mut call = Call::new(40);
    call.user = Some(json!({"sub": "alice", "undeclared": true}));
    assert!(allows(&engine, "t", &call).unwrap());
    call.attributes = json!({"amount": 101, "undeclared": "x"});
    assert!(!allows(&engine, "t", &call).unwrap());

    let refused = |call: &Call| {
        let error = allows(&engine, "t", call).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::Input, "{error}");
        error.to_string()
    };
    call.attributes = json!({"amount": "secret"});
    let message = refused(&call);
    assert_eq!(
        message,
        "the input does not fit the schema of policy `t.cedar`: `object.attributes.amount` is not of the type `Long`, as \
         declared"
    );
    call.attributes = json!({});
    call.user = Some(json!("alice"));
    assert_eq!(
        refused(&call),
        "the input does not fit the schema of policy `t.cedar`: `subject.user.sub` is missing; declare it optional, \
         or give it"
    );
    // An action without a context is given none.
    assert!(allows(&with_schema("none", ANY).unwrap(), "none", &call).unwrap());
}

#[test]
fn groups_and_attributes_that_nobody_has_are_refused_with_a_schema_too() {
    for (condition, expected) in [
        (r#"principal in Workload::"untrusted""#, GROUPS),
        (r#"resource in [Resource::"a", Resource::"b"]"#, GROUPS),
        (r#"principal is Workload in Workload::"untrusted""#, GROUPS),
        (
            "principal has blocked",
            "read the `context`; principal, action, resource and other entities have no attributes",
        ),
        (
            r#"resource has "frozen""#,
            "read the `context`; principal, action, resource and other entities have no attributes",
        ),
    ] {
        for clause in ["when", "unless"] {
            let text = format!(
                "{ANY}\n\nforbid (principal, action, resource)\nwhen {{ true }} {clause} {{ {condition} }};"
            );
            for loaded in [CedarEngine::from_sources([("t", &text)]), with_schema("t", &text)] {
                assert_eq!(refusal(loaded), format!("t.cedar:3: {expected}"), "{condition}");
            }
        }
    }
    let text = r#"permit (principal, action in [Action::"t"], resource) when { action in [Action::"t"] };"#;
    assert!(allows(&CedarEngine::from_sources([("t", text)]).unwrap(), "t", &Call::new(0)).unwrap());
    with_schema("t", text).unwrap();
}

#[test]
fn a_forbid_that_can_never_hold_is_refused_with_a_schema_too() {
    let load = |condition: &str| {
        let schema = format!(
            "{SCHEMA} entity Switch {{ off?: Bool }} tags Bool; action \"other\"; action \"u\" in [\"other\"];"
        );
        let text =
            format!("{ANY}\nforbid (principal, action == Action::\"t\", resource)\nwhen {{ {condition} }};");
        CedarEngine::builder().source("t", text).schema(schema).build()
    };
    for (condition, expected) in [
        (r#"Switch::"all" has off && Switch::"all".off"#, "t.cedar:2: read the `context`"),
        (r#"Switch::"all".hasTag("off")"#, "t.cedar:2: read the `context`"),
        (
            r#"context.trust_score > 1000 || action in Action::"other""#,
            "t.cedar:2: the action of this policy is never",
        ),
        ("principal is User", "t.cedar:2: `is User` never holds"),
        (r#"principal == User::"x""#, "t.cedar:2: `==` compares a `Workload` with a `User`"),
    ] {
        let message = refusal(load(condition));
        assert!(message.starts_with(expected), "{condition}: {message}");
    }
    load(r#"action in Action::"all""#).unwrap();
}

#[test]
fn a_schema_declares_what_there_is() {
    for (key, hint) in [
        ("\"subject.taint\"?: Set<String>", "`subject.taint`; did you mean `subject.taints`?"),
        ("Trust_score?: Long", "`Trust_score`; did you mean `trust_score`?"),
    ] {
        let schema = format!(
            "entity Workload, Resource; action \"t\" appliesTo {{ principal: Workload, resource: Resource,
            context: {{ {key} }} }};"
        );
        let message = refusal(CedarEngine::builder().source("t", ANY).schema(schema).build());
        assert_eq!(
            message,
            format!(
                "`t.cedar` cannot be used: `the schema` declares for the context of `Action::\"t\"` what is never \
                 there: no input has {hint}"
            )
        );
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let schema = "entity Workload enum [\"spiffe://kest.internal/orders\"];
        entity Resource;
        type Names = Set<String>;
        type Attributes = { amount?: Long, owner?: { name: String }, tags?: Names };
        action \"t\" appliesTo { principal: Workload, resource: Resource, context: {
            identity: String, object: { id?: String, attributes: Attributes },
        } };";
    let engine = CedarEngine::builder().source("t", ANY).schema(schema).build().unwrap();
    let mut call = Call::new(40);
    call.attributes = json!({"amount": 1, "owner": {"name": "x"}, "tags": ["a"]});
    assert!(allows(&engine, "t", &call).unwrap());
    for (attributes, expected) in [
        (json!({"amount": "s3cret"}), "`object.attributes.amount` is not of the type `Long`, as declared"),
        (
            json!({"owner": {"name": 1}}),
            "`object.attributes.owner.name` is not of the type `String`, as declared",
        ),
        (json!({"owner": {}}), "`object.attributes.owner.name` is missing; declare it optional"),
        (json!({"owner": {"name": "x", "s": true}}), "`object.attributes.owner.s` is not declared"),
        (json!({"tags": "s3cret"}), "`object.attributes.tags` is not of the type `Set`, as declared"),
        (json!({"tags": ["a", 1]}), "`object.attributes.tags` is not of the type `String`, as declared"),
        (json!({"x": "s3cret"}), "`object.attributes.x` is not declared"),
    ] {
        call.attributes = attributes;
        let error = allows(&engine, "t", &call).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::Input);
        let expected = format!("the input does not fit the schema of policy `t.cedar`: {expected}");
        assert_eq!(error.to_string(), expected);
    }
    let other = schema.replace("kest.internal/orders", "kest.internal/other");
    let engine = CedarEngine::builder().source("t", ANY).schema(other).build().unwrap();
    call.attributes = json!({});
    assert_eq!(
        allows(&engine, "t", &call).unwrap_err().to_string(),
        "the input does not fit the schema of policy `t.cedar`: the principal is none of the `Workload` entities that \
         it lists"
    );
}
