//! `kest policy sync`: the lock of what a server holds, and servers that answer with anything else.
#![cfg(feature = "opa")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[cfg(feature = "avp")]
mod avp;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tree.rs"]
mod tree;

use std::fs;

use serde_json::{Value, json};
use server::{NEVER, Server, nobody};
use sha2::{Digest as _, Sha256};
use support::kest;
use tree::Tree;

const LOCK: &str = "kest-policies.lock";

fn digest(text: &str) -> String {
    let hex: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A reference of OPA's.
fn path(names: &[&str]) -> Value {
    let term = |(index, name): (usize, &&str)| json!({"type": if index == 0 { "var" } else { "string" }, "value": name});
    names.iter().enumerate().map(term).collect()
}

/// A module as OPA describes it; `rules` are heads.
fn module(id: &str, package: &str, raw: &str, rules: &[Value]) -> Value {
    let package: Vec<&str> = ["data"].into_iter().chain(package.split('/')).collect();
    let rules: Vec<Value> = rules.iter().map(|head| json!({"head": head, "body": [{"index": 0}]})).collect();
    json!({"id": id, "raw": raw, "ast": {"package": {"path": path(&package)}, "rules": rules}})
}

fn rule(name: &str) -> Value {
    json!({"name": name, "value": {"type": "boolean", "value": true}, "ref": path(&[name])})
}

fn opa(modules: &[Value]) -> Server {
    let answer = json!({"result": modules});
    Server::start(move |request| {
        assert!(request.head.starts_with("GET /v1/policies HTTP/1.1\r\n"), "{}", request.head);
        Server::json(200, &answer)
    })
}

fn two() -> Vec<Value> {
    vec![
        module("b.rego", "orders/refund", "package orders.refund", &[rule("default"), rule("allow")]),
        module("a.rego", "base", "package base", &[rule("allow")]),
    ]
}

#[test]
fn the_lock_has_the_names_of_packages_that_decide() {
    let mut modules = two();
    modules.extend([
        // Without a rule `allow` a package is no policy, as part of one it counts.
        module("c.rego", "helpers", "package helpers", &[rule("admin")]),
        module("d.rego", "base", "package base # more", &[rule("reason")]),
        module("e.rego", "none", "package none", &[]),
    ]);
    // A rule `deep.allow` of the package `a`, and one of its own without `ref`.
    let deep = json!({"name": "", "value": {}, "ref": path(&["deep", "allow"])});
    modules.push(module("f.rego", "a", "package a", &[deep]));
    // What stands in `a` is no part of `a/other`.
    modules.push(module("h.rego", "a/other", "package a.other", &[rule("allow")]));
    modules.push(module(
        "g.rego",
        "payments-pci/x",
        "package payments",
        &[json!({"name": "allow", "value": {}})],
    ));
    let server = opa(&modules);
    let tree = Tree::new(&[]);
    let run = tree.policy(&["sync", "--opa", &server.url]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    assert_eq!(
        run.stdout,
        format!(
            "added   a/deep\nadded   a/other\nadded   base\nadded   orders/refund\nadded   payments-pci/x\n`{LOCK}` has 5 policies\n"
        )
    );
    // The order is that of the texts.
    let base = digest(&format!("{}\n{}\n", digest("package base"), digest("package base # more")));
    let entry =
        |name: &str, digest: &str| format!("\n[[policy]]\nname = \"{name}\"\ndigest = \"{digest}\"\n");
    let wanted = [
        "# Written by `kest policy sync`.\n".to_owned(),
        entry("a/deep", &digest("package a")),
        entry("a/other", &digest("package a.other")),
        entry("base", &base),
        entry("orders/refund", &digest("package orders.refund")),
        entry("payments-pci/x", &digest("package payments")),
    ];
    assert_eq!(tree.read(LOCK), wanted.concat());

    // The order in which a server lists them makes no difference.
    modules.reverse();
    let server = opa(&modules);
    let before = tree.read(LOCK);
    let run = tree.policy(&["sync", "--opa", &server.url, "--json"]);
    assert_eq!(
        run.json(),
        json!({"file": LOCK, "current": true, "written": true, "policies": 5, "changes": [], "skipped": []})
    );
    assert_eq!(tree.read(LOCK), before);
    let left = fs::read_dir(&tree.0).unwrap().count();
    assert_eq!(left, 1, "nothing but the lock is left");
}

/// The digest of one entry of the lock that a server with these modules gives.
fn locked(modules: &[Value], name: &str) -> String {
    let tree = Tree::new(&[]);
    assert_eq!(tree.policy(&["sync", "--opa", &opa(modules).url]).code, 0);
    let lock = tree.read(LOCK);
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\ndigest = \"")).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[test]
fn what_a_policy_refers_to_is_in_its_digest() {
    let helper = |more: &str| module("h.rego", "roles", &format!("package roles{more}"), &[rule("admin")]);
    let allow = [rule("allow")];
    for text in [
        "package orders\nallow if data.roles.admin",
        "package orders\nimport data.roles as r\nallow if r.admin",
        "package orders\nallow if data[\"roles\"].admin",
        "package orders\nx := data",
        "package orders\nallow if $\"{data.roles.admin}\" == \"true\"",
    ] {
        let orders = || module("o.rego", "orders", text, &allow);
        let before = locked(&[orders(), helper("")], "orders");
        assert_ne!(before, locked(&[orders(), helper(" # changed")], "orders"), "{text}");
        assert_eq!(before, locked(&[helper(""), orders()], "orders"), "{text}");
        // The one of `RegoEngine`: over the name, and every text.
        let all = format!("orders\0orders\0{}\0{text}roles\x0013\0package roles", text.len());
        assert_eq!(before, digest(&all), "{text}");
    }
    // Its own package and what only looks like another is no reference.
    for text in ["package orders\nallow if data.orders.x # data.roles", "package orders\nx := \"data.roles\""]
    {
        let orders = || module("o.rego", "orders", text, &allow);
        assert_eq!(locked(&[orders(), helper("")], "orders"), digest(text), "{text}");
    }
    // What is below the package is another one.
    let below = |more: &str| {
        module("b.rego", "orders/roles", &format!("package orders.roles{more}"), &[rule("admin")])
    };
    let text = "package orders\nallow if data.orders.roles.admin";
    let orders = || module("o.rego", "orders", text, &allow);
    assert_ne!(locked(&[orders(), below("")], "orders"), locked(&[orders(), below(" #")], "orders"));
    let shared = json!({"name": "", "value": {}, "ref": path(&["roles", "more"])});
    let orders = || {
        module("o.rego", "orders", "package orders\nallow if roles.admin", &[rule("allow"), shared.clone()])
    };
    assert_ne!(locked(&[orders(), below("")], "orders"), locked(&[orders(), below(" #")], "orders"));
}

#[test]
fn what_is_no_policy_of_kest_is_listed_with_the_reason() {
    let mut modules = two();
    modules.extend([
        module("s.rego", "system/authz", "s", &[rule("allow")]),
        module("n.rego", "a b", "n", &[rule("allow")]),
        module(
            "f.rego",
            "f",
            "f",
            &[json!({"name": "allow", "args": [{}], "value": {}, "ref": path(&["allow"])})],
        ),
        module("k.rego", "k", "k", &[json!({"name": "allow", "key": {}, "ref": path(&["allow"])})]),
    ]);
    let server = opa(&modules);
    let tree = Tree::new(&[]);
    let run = tree.policy(&["sync", "--opa", &server.url, "--json"]);
    assert_eq!((run.code, run.json()["policies"].as_u64()), (0, Some(2)), "{}", run.stdout);
    let json = run.json();
    let skipped: Vec<(&str, &str)> = json["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["what"].as_str().unwrap(), one["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(
        skipped,
        [
            ("a b (n.rego)", "no policy name: the segments of one are of letters, digits, `_` and `-`"),
            ("f (f.rego)", "its `allow` is a function, which decides nothing"),
            ("k (k.rego)", "its `allow` is a set, where a boolean decides"),
            ("system/authz (s.rego)", "`system` is OPA's own"),
        ]
    );
    let text = tree.policy(&["sync", "--opa", &server.url]).stdout;
    assert!(text.starts_with("skipped a b (n.rego): no policy name"), "{text}");
}

#[test]
fn check_writes_nothing_and_says_what_differs() {
    let tree = Tree::new(&[]);
    let server = opa(&two());
    let check = ["sync", "--check", "--opa", &server.url];
    let run = tree.policy(&check);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""));
    assert_eq!(
        run.stdout,
        format!(
            "added   base\nadded   orders/refund\n`{LOCK}` is not up to date; `kest policy sync` writes it\n"
        )
    );
    assert!(!tree.path(LOCK).exists());

    assert_eq!(tree.policy(&["sync", "--opa", &server.url]).code, 0);
    let run = tree.policy(&check);
    assert_eq!((run.code, run.stdout), (0, format!("`{LOCK}` is up to date: 2 policies\n")));

    let written = tree.read(LOCK);
    let other = opa(&[
        module("b.rego", "orders/refund", "package orders.refund # other", &[rule("allow")]),
        module("c.rego", "new", "package new", &[rule("allow")]),
    ]);
    let run = tree.policy(&["sync", "--check", "--opa", &other.url, "--json"]);
    assert_eq!(run.code, 1);
    let changes = json!([
        {"policy": "base", "change": "removed"}, {"policy": "new", "change": "added"},
        {"policy": "orders/refund", "change": "changed"},
    ]);
    assert_eq!((&run.json()["changes"], &run.json()["current"]), (&changes, &json!(false)));
    assert_eq!(tree.read(LOCK), written);

    // A lock that cannot be read is not up to date, and is replaced.
    tree.write(LOCK, b"[[policy]]\nname = 5\n");
    tree.policy(&check).unusable("write the file with `kest policy sync`");
    assert_eq!(tree.policy(&["sync", "--opa", &server.url]).code, 0);
    assert_eq!(tree.read(LOCK), written);
}

#[test]
fn the_lock_stands_beside_the_configuration_or_where_it_is_asked_for() {
    let tree = Tree::new(&[("deploy/kest.toml", "")]);
    let server = opa(&two());
    let asked = ["sync", "--opa", &server.url, "--config", "deploy/kest.toml"];
    assert_eq!(tree.policy(&asked).code, 0);
    assert!(tree.path("deploy/kest-policies.lock").is_file());
    assert_eq!(tree.policy(&[&asked[..], &["--output", "other.lock"]].concat()).code, 0);
    assert_eq!(tree.read("other.lock"), tree.read("deploy/kest-policies.lock"));
    let run = tree.policy(&["sync", "--opa", &server.url, "--output", "absent/x"]);
    run.unusable("cannot write `absent/x`");
}

#[cfg(unix)]
#[test]
fn what_a_link_leads_to_is_replaced_as_a_whole() {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    let tree = Tree::new(&[("shared/policies.lock", "# old\n")]);
    let server = opa(&two());
    symlink("policies.lock", tree.path("shared/link")).unwrap();
    symlink("shared/link", tree.path(LOCK)).unwrap();
    // Whoever has it open reads what was there: nothing is written into it.
    let old = fs::File::open(tree.path(LOCK)).unwrap();
    let sync = ["sync", "--opa", &server.url];
    assert_eq!(tree.policy(&sync).code, 0);
    assert!(tree.path(LOCK).is_symlink() && tree.path("shared/link").is_symlink());
    assert!(tree.path("shared/policies.lock").is_file());
    assert_eq!(std::io::read_to_string(&old).unwrap(), "# old\n");
    assert_ne!(old.metadata().unwrap().ino(), fs::metadata(tree.path(LOCK)).unwrap().ino());
    let written = tree.read(LOCK);
    assert_ne!(written, "# old\n");
    // A name that is free.
    fs::remove_file(tree.path("shared/policies.lock")).unwrap();
    assert_eq!(tree.policy(&sync).code, 0);
    assert!(tree.path(LOCK).is_symlink());
    assert_eq!(tree.read("shared/policies.lock"), written);
    fs::remove_file(tree.path("shared/link")).unwrap();
    symlink("link", tree.path("shared/link")).unwrap();
    tree.policy(&sync).unusable("leads to no file; remove it");
}

#[test]
fn the_server_of_the_environment() {
    let tree = Tree::new(&[]);
    tree.policy(&["sync"])
        .unusable("no server is named: give --opa URL, set `KEST_OPA_URL`, or give --avp STORE_ID");
    let server = opa(&two());
    let mut command = kest(&["policy", "sync"]);
    let output = command.current_dir(&tree.0).env("KEST_OPA_URL", &server.url).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(tree.path(LOCK).is_file());
}

#[cfg(unix)]
#[test]
fn a_server_of_the_environment_that_is_no_text_is_not_left_out() {
    use std::os::unix::ffi::OsStrExt as _;

    let tree = Tree::new(&[]);
    let mut command = kest(&["policy", "sync"]);
    let url = std::ffi::OsStr::from_bytes(b"http://s3cret\xff@127.0.0.1");
    let output = command.current_dir(&tree.0).env("KEST_OPA_URL", url).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "kest: `KEST_OPA_URL` is not UTF-8; set it to a URL, or give --opa URL\n");
    assert!(!output.status.success() && !tree.path(LOCK).exists());
}

#[test]
fn the_token_is_sent_and_not_shown() {
    let tree = Tree::new(&[("token", "s3cret-token\n"), ("empty", "\n"), ("lines", "a\nb")]);
    let server = opa(&two());
    let run = tree.policy(&["sync", "--opa", &server.url, "--token-file", "token"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(server.requests()[0].field("authorization"), Some("Bearer s3cret-token"));
    let refused = Server::start(|_| Server::json(401, &json!({"code": "unauthorized"})));
    let run = tree.policy(&["sync", "--opa", &refused.url, "--token-file", "token"]);
    assert!(!run.stderr.contains("s3cret"), "{}", run.stderr);
    run.unusable("refuses with status 401; give a token that may read policies with --token-file");
    for file in ["empty", "lines", "absent", "."] {
        let run = tree.policy(&["sync", "--opa", &server.url, "--token-file", file]);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{file}: {}", run.stderr);
    }
    let sent = server.requests().len();
    assert_eq!(sent, 1, "nothing was asked without its token");
}

#[test]
fn a_server_without_policies_empties_no_lock() {
    let tree = Tree::new(&[(LOCK, "kept")]);
    let server = opa(&[module("c.rego", "helpers", "package helpers", &[rule("admin")])]);
    let run = tree.policy(&["sync", "--opa", &server.url]);
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(run.stdout.contains("has no policy that can be named, so `kest-policies.lock` is left as it is"));
    assert_eq!(tree.read(LOCK), "kept");
}

/// Exit code 2 with that reason, and the lock as it was.
fn refused(answer: impl Fn() -> Vec<u8> + Send + Sync + 'static, reason: &str) {
    let tree = Tree::new(&[(LOCK, "kept")]);
    let server = Server::start(move |_| answer());
    tree.policy(&["sync", "--opa", &server.url]).unusable(reason);
    assert_eq!(tree.read(LOCK), "kept");
    assert_eq!(server.requests().len(), 1, "nothing is tried again");
}

#[test]
fn answers_that_cannot_be_used() {
    refused(|| Server::json(500, &json!({})), "answers with status 500 instead of 200");
    refused(|| Server::json(204, &json!({})), "answers with status 204");
    refused(|| Server::json(403, &json!({})), "refuses with status 403");
    refused(
        || {
            b"HTTP/1.1 302 Found\r\nlocation: /v1/policies\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                .to_vec()
        },
        "redirects (status 302)",
    );
    refused(|| Server::text(200, "text/html", "<html></html>"), "is it an Open Policy Agent?");
    refused(|| Server::json(200, &json!({"result": {"allow": true}})), "is it an Open Policy Agent?");
    refused(|| Server::json(200, &json!({})), "missing field `result`");
    refused(
        || b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{\"result\":".to_vec(),
        "cannot be reached",
    );
    refused(
        || format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", " ".repeat((64 << 20) + 1)).into_bytes(),
        "answers with more than 64 MiB",
    );
}

#[test]
fn an_answer_that_does_not_end_is_not_waited_for() {
    refused(|| [b"HTTP/1.1 200 OK\r\n\r\n{", NEVER].concat(), "did not answer within 5 seconds");
}

#[test]
fn servers_that_are_not_asked() {
    let tree = Tree::new(&[("ca.pem", "no certificate")]);
    tree.policy(&["sync", "--opa", &nobody()]).unusable("cannot be reached");
    for url in ["http://opa.example.org", "ftp://127.0.0.1", "opa", "http://user:s3cret@127.0.0.1:1"] {
        let run = tree.policy(&["sync", "--opa", url]);
        assert!(!run.stderr.contains("s3cret"), "{}", run.stderr);
        assert!(!run.stderr.contains("allow_plain_http"), "{}", run.stderr);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{url}: {}", run.stderr);
    }
    let run = tree.policy(&["sync", "--opa", &nobody(), "--ca", "ca.pem"]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
    tree.policy(&["sync", "--avp", "store", "--token-file", "t"])
        .unusable("--token-file is for the server of --opa");
}
