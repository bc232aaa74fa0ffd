//! The lock of a policy store of AWS Verified Permissions.

use std::collections::BTreeMap;

use super::*;

const STORE: &str = "PSEXAMPLEabcdefg111111";

/// A store with these policies: id, statement; without one it is linked to a template.
fn store(policies: &[(&str, Option<&str>)]) -> Server {
    let policies: BTreeMap<String, Option<String>> =
        policies.iter().map(|(id, text)| ((*id).to_owned(), text.map(str::to_owned))).collect();
    let at = "2026-01-01T00:00:00Z";
    Server::start(move |request| {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body["policyStoreId"], STORE);
        let kind =
            |statement: &Option<String>| if statement.is_some() { "STATIC" } else { "TEMPLATE_LINKED" };
        let described = |id: &str, definition: Value| {
            json!({
                "policyStoreId": STORE, "policyId": id, "policyType": kind(&policies[id]),
                "definition": definition, "createdDate": at, "lastUpdatedDate": at,
            })
        };
        let detail = |id: &str, brief: bool| match &policies[id] {
            Some(_) if brief => json!({"static": {}}),
            Some(statement) => json!({"static": {"statement": statement}}),
            None => json!({"templateLinked": {"policyTemplateId": "t"}}),
        };
        let target = request.field("x-amz-target").unwrap().rsplit('.').next().unwrap().to_owned();
        let answer = match target.as_str() {
            // Pages of two, the last first.
            "ListPolicies" => {
                let ids: Vec<&String> = policies.keys().rev().collect();
                let from: usize = body["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
                let page: Vec<Value> =
                    ids.iter().skip(from).take(2).map(|id| described(id, detail(id, true))).collect();
                match ids.len() > from + 2 {
                    true => json!({"policies": page, "nextToken": (from + 2).to_string()}),
                    false => json!({"policies": page}),
                }
            }
            "GetPolicy" => {
                let id = body["policyId"].as_str().unwrap();
                described(id, detail(id, false))
            }
            other => panic!("{other}"),
        };
        Server::text(200, "application/x-amz-json-1.0", &answer.to_string())
    })
}

fn sync(tree: &Tree, url: &str, more: &[&str]) -> support::Run {
    let mut command = kest(&[&["policy", "sync", "--avp", STORE, "--avp-endpoint", url], more].concat());
    let command = command.current_dir(&tree.0).env("AWS_REGION", "eu-west-1");
    for variable in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        command.env(variable, "test");
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true").output().unwrap().into()
}

const REFUND: &str = "permit (principal, action == Action::\"orders/refund\", resource);";
const LIST: &str = "permit (principal, action in [Action::\"base\", Action::\"orders/refund\"], resource);";
const LINKED: &str = "template-linked policy p4";
const ANY: &str = "forbid (principal, action, resource) when { context.trust_score < 1 };";

#[test]
fn names_are_the_actions_of_static_policies() {
    let server = store(&[
        ("p1", Some(REFUND)),
        ("p2", Some(LIST)),
        ("p3", Some(ANY)),
        ("p4", None),
        ("p5", Some("permit (principal, action == Shop::Action::\"base\", resource);")),
        ("p6", Some("permit (principal, action == Action::\"a b\", resource);")),
        ("p7", Some("permit (")),
    ]);
    let tree = Tree::new(&[]);
    let run = sync(&tree, &server.url, &["--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    let several =
        |texts: &[&str]| digest(&texts.iter().map(|text| format!("{}\n", digest(text))).collect::<String>());
    let entry =
        |name: &str, digest: &str| format!("\n[[policy]]\nname = \"{name}\"\ndigest = \"{digest}\"\n");
    let wanted = [
        "# Written by `kest policy sync`.\n".to_owned(),
        entry("base", &several(&[LIST, ANY, LINKED, "permit ("])),
        entry("orders/refund", &several(&[REFUND, LIST, ANY, LINKED, "permit ("])),
    ];
    assert_eq!(tree.read(LOCK), wanted.concat());
    let json = run.json();
    let skipped: Vec<&str> =
        json["skipped"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert_eq!(skipped, ["p4", "p5", "p6", "p7"], "{json}");
    for (index, reason) in
        ["template", "`Shop::Action`", "`a b` is no policy name", "cannot be read"].iter().enumerate()
    {
        assert!(json["skipped"][index]["reason"].as_str().unwrap().contains(reason), "{json}");
    }
}

#[test]
fn what_may_be_for_every_action_is_in_every_digest() {
    let locked = |more: &[(&str, Option<&str>)]| {
        let tree = Tree::new(&[]);
        let server = store(&[&[("p1", Some(REFUND))], more].concat());
        assert_eq!(sync(&tree, &server.url, &[]).code, 0);
        let lock = tree.read(LOCK);
        let (_, rest) = lock.split_once("name = \"orders/refund\"\ndigest = \"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let alone = locked(&[]);
    assert_eq!(alone, digest(REFUND));
    let group = "forbid (principal, action in Action::\"group\", resource);";
    let groups = "forbid (principal, action in [Shop::Action::\"group\"], resource);";
    for more in [None, Some(ANY), Some(group), Some(groups), Some("forbid (")] {
        assert_ne!(locked(&[("p2", more)]), alone, "{more:?}");
    }
    let other = "forbid (principal, action == Action::\"other\", resource);";
    assert_eq!(locked(&[("p2", Some(other))]), alone);
    assert_ne!(locked(&[("p2", None)]), locked(&[("p3", None)]), "another linked policy");
}

#[test]
fn together_with_an_opa_of_other_names() {
    let tree = Tree::new(&[]);
    let server = store(&[("p1", Some(REFUND))]);
    let other = opa(&[module("a.rego", "base", "package base", &[rule("allow")])]);
    let run = sync(&tree, &server.url, &["--opa", &other.url]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.ends_with("has 2 policies\n"), "{}", run.stdout);
    let same = opa(&two());
    sync(&tree, &server.url, &["--opa", &same.url]).unusable("both servers have a policy `orders/refund`");
}

#[test]
fn stores_that_cannot_be_read() {
    let tree = Tree::new(&[(LOCK, "kept")]);
    let denied = Server::start(|_| {
        let body =
            json!({"__type": "com.amazonaws.verifiedpermissions#AccessDeniedException", "message": "no"});
        Server::text(400, "application/x-amz-json-1.0", &body.to_string())
    });
    sync(&tree, &denied.url, &[]).unusable("verifiedpermissions:ListPolicies");
    sync(&tree, "http://avp.example.org", &[]).unusable("`https`");
    let run = sync(&tree, &nobody(), &[]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
    let empty = store(&[("p3", Some(ANY))]);
    assert_eq!(sync(&tree, &empty.url, &[]).code, 1, "it names no policy");
    assert_eq!(tree.read(LOCK), "kept");
}

#[test]
fn a_store_that_wants_fewer_requests_is_asked_again() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let asked = AtomicBool::new(false);
    let server = Server::start(move |_| {
        let body = match asked.swap(true, Ordering::Relaxed) {
            false => {
                json!({"__type": "com.amazonaws.verifiedpermissions#ThrottlingException", "message": "slow"})
            }
            true => json!({"policies": []}),
        };
        let status = if body.get("policies").is_some() { 200 } else { 400 };
        Server::text(status, "application/x-amz-json-1.0", &body.to_string())
    });
    let run = sync(&Tree::new(&[]), &server.url, &[]);
    assert_eq!((run.code, server.requests().len()), (1, 2), "{}{}", run.stdout, run.stderr);
}
