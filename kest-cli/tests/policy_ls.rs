//! `kest policy ls`: what there is, and who names it.
#![cfg(feature = "rego")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;
#[path = "support/tree.rs"]
mod tree;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tree::{Tree, rego, source};

fn digest(text: &str) -> String {
    let hex: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn tree() -> Tree {
    let zeros = "0".repeat(64);
    Tree::new(&[
        ("kest.toml", "[policies]\nplatform = [\"base\"]\nknown = [\"payments-pci/x\"]\n"),
        ("kest-policies.lock", &format!("[[policy]]\nname = \"remote\"\ndigest = \"sha256:{zeros}\"\n")),
        ("policies/base.rego", &rego("base", 10)),
        ("policies/old.rego", &rego("old", 10)),
        ("src/lib.rs", &format!("mod inner {{\n{}}}\n", source(&[("f", "[\"base\", \"remote\"]")]))),
    ])
}

#[test]
fn what_there_is() {
    let tree = tree();
    let run = tree.policy(&["ls", "--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let function = json!([{"file": "src/lib.rs", "line": 2, "function": "inner::f"}]);
    let (base, old) = (digest(&rego("base", 10)), digest(&rego("old", 10)));
    let wanted = json!({
        "config": "kest.toml",
        "dir": "policies",
        "policies": [
            {"name": "base", "kinds": ["rego"], "digests": {"rego": base}, "tiers": ["platform"], "used_by": function},
            {"name": "old", "kinds": ["rego"], "digests": {"rego": old}, "tiers": [], "used_by": []},
            {"name": "payments-pci/x", "kinds": ["known"], "digests": {}, "tiers": [], "used_by": []},
            {
                "name": "remote", "kinds": ["lock"], "digests": {"lock": format!("sha256:{}", "0".repeat(64))},
                "tiers": [], "used_by": function,
            },
        ],
        "absent": [], "dynamic": [], "problems": [],
    });
    assert_eq!(run.json(), wanted);
    let text = tree.policy(&["ls"]);
    let wanted = format!(
        "base            rego {}\n    tier platform\n    src/lib.rs:2 inner::f\nold             rego {}\n\
         payments-pci/x  known\nremote          lock sha256:000000000000\n    src/lib.rs:2 inner::f\n\
         4 policies in `policies`; 2 named by nobody; 0 absent\n",
        &base[..19],
        &old[..19]
    );
    assert_eq!((text.code, text.stdout), (0, wanted));
}

#[test]
fn what_there_is_not() {
    let tree = tree().with("src/more.rs", &source(&[("g", "\"bas\""), ("h", "unchecked(names)")]));
    let run = tree.policy(&["ls", "--json"]);
    let json = run.json();
    assert_eq!(run.code, 1);
    assert_eq!(
        json["absent"],
        json!([{"name": "bas", "tiers": [], "used_by": [{"file": "src/more.rs", "line": 1, "function": "g"}]}])
    );
    assert_eq!(json["dynamic"], json!([{"file": "src/more.rs", "line": 3, "function": "h"}]));
    let text = tree.policy(&["ls"]).stdout;
    assert!(
        text.contains("absent `bas` is no policy; did you mean `base`?\n    src/more.rs:1 g\n"),
        "{text}"
    );
    assert!(
        text.contains("dynamic src/more.rs:3 h names policies that are not known from the text\n"),
        "{text}"
    );
}

#[test]
fn a_folder_that_cannot_be_loaded_is_still_listed() {
    let tree = tree().with("policies/broken.rego", "package broken\nallow if {\n");
    let run = tree.policy(&["ls", "--json"]);
    let json = run.json();
    assert_eq!((run.code, json["policies"].as_array().unwrap().len()), (1, 5));
    assert_eq!(json["policies"][0]["digests"], json!({}), "nothing would be in force");
    assert_eq!(json["problems"].as_array().unwrap().len(), 1);
    assert!(json["problems"][0].as_str().unwrap().contains("policies/broken.rego:"), "{json}");
}

#[test]
fn what_cannot_be_read() {
    Tree::new(&[]).policy(&["ls", "--dir", "absent"]).unusable("`absent`, which does not exist");
    tree().policy(&["ls", "--config", "absent.toml"]).unusable("absent.toml");
}

#[test]
fn names_in_files_do_not_reach_the_terminal_as_they_are() {
    let tree = tree().with("src/e.rs", &source(&[("f", "\"a\\u{1b}[31m\"")]));
    let text = tree.policy(&["ls"]);
    assert!(!text.stdout.contains('\u{1b}'), "{}", text.stdout);
    assert!(text.stdout.contains(r"a\u{1b}[31m"), "{}", text.stdout);
}
