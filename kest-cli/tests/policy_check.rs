//! `kest policy check`: everything that is wrong is named, not only the first.
#![cfg(feature = "rego")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;
#[path = "support/tree.rs"]
mod tree;

use serde_json::Value;
use support::Run;
use tree::{CASES, Tree, rego, source};

/// The findings of a level: where and what.
fn findings(run: &Run, level: &str) -> Vec<(String, String)> {
    assert_eq!(run.stderr, "", "{}", run.stdout);
    let json = run.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = json["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == level);
    findings.map(|finding| (text(&finding["at"]), text(&finding["text"]))).collect()
}

/// Exactly these findings, each at that place and with that in its text; and the exit code.
fn check(tree: &Tree, args: &[&str], code: i32, errors: &[(&str, &str)], warnings: &[(&str, &str)]) {
    let run = tree.policy(&[&["check", "--json"], args].concat());
    for (level, wanted) in [("error", errors), ("warning", warnings)] {
        let found = findings(&run, level);
        assert_eq!(found.len(), wanted.len(), "{level}: {found:#?}");
        for ((at, text), (wanted_at, wanted_text)) in found.iter().zip(wanted) {
            assert!(
                at == wanted_at && text.contains(wanted_text),
                "{at}: {text}\nwanted {wanted_at}: {wanted_text}"
            );
        }
    }
    assert_eq!((run.code, run.json()["accepted"] == true), (code, code == 0), "{}", run.stdout);
    let text = tree.policy(&[&["check"], args].concat());
    assert_eq!((text.code, text.stderr.as_str()), (code, ""), "{}", text.stdout);
    assert_eq!(text.stdout.lines().count(), 1 + errors.len() + warnings.len(), "{}", text.stdout);
    for (_, wanted) in errors.iter().chain(warnings) {
        assert!(text.stdout.contains(wanted), "{wanted}: {}", text.stdout);
    }
}

fn good() -> Tree {
    Tree::new(&[
        ("kest.toml", "[policies]\nplatform = [\"base\"]\nknown = [\"payments-pci/x\"]\n"),
        ("policies/base.rego", &rego("base", 10)),
        ("policies/orders/refund.rego", &rego("orders/refund", 40)),
        ("policies/orders/refund.cases", CASES),
        (
            "src/lib.rs",
            &source(&[("refund", "\"orders/refund\""), ("pay", "[\"payments-pci/x\", \"orders/refund\"]")]),
        ),
    ])
}

#[test]
fn what_is_right_has_no_findings() {
    let tree = good();
    check(&tree, &[], 0, &[], &[]);
    check(&tree, &["--deny-warnings"], 0, &[], &[]);
    assert_eq!(tree.policy(&["check"]).stdout, "3 policies, 2 functions: 0 errors, 0 warnings\n");
}

#[test]
fn all_files_that_cannot_be_loaded_are_named() {
    let tree = good()
        .with("policies/syntax.rego", "package syntax\nimport rego.v1\nallow if {\n")
        .with("policies/elsewhere.rego", &rego("somewhere", 10))
        .with("policies/http.rego", "package http\nimport rego.v1\nallow if http.send({}).status == 200\n")
        .with("policies/bad-name.rego", &rego("bad", 10))
        .with("policies/helped.rego", "package helped\nimport rego.v1\nallow if data.syntax.yes\n")
        .with("src/more.rs", &source(&[("a", r#"["syntax", "elsewhere", "http", "bad-name", "helped"]"#)]));
    tree.write("policies/bytes.rego", b"package bytes\n# \xff\n");
    let errors = [
        ("policies/bad-name.rego", "`bad-name` is no Rego name"),
        ("policies/bytes.rego", "not UTF-8"),
        ("policies/elsewhere.rego", "policies/elsewhere.rego:1: package `somewhere` does not match"),
        ("policies/helped.rego", "nothing defines `data.syntax.yes`"),
        ("policies/http.rego", "no built-in `http.send`"),
        ("policies/syntax.rego", "policies/syntax.rego:"),
    ];
    check(&tree, &[], 1, &errors, &[("policies/bytes.rego", "names the policy `bytes`")]);
    let text = tree.policy(&["check"]).stdout;
    assert!(text.contains("(they are in `syntax.rego`, which is refused itself)"), "{text}");
}

#[test]
fn packages_that_refer_to_one_another_are_judged_together() {
    let tree = good()
        .with(
            "policies/orders/roles.rego",
            "package orders.roles\nimport rego.v1\ndefault allow := false\nadmin if input.trust_score > 9\n",
        )
        .with(
            "policies/orders/cancel.rego",
            "package orders.cancel\nimport rego.v1\nallow if data.orders.roles.admin\n",
        )
        .with("src/more.rs", &source(&[("cancel", "\"orders/cancel\"")]));
    check(&tree, &[], 0, &[], &[]);
    // One of them alone is still named.
    let tree =
        tree.with("policies/other.rego", "package other\n").with("src/o.rs", &source(&[("o", "\"other\"")]));
    check(&tree, &[], 1, &[("policies/other.rego", "no rule `allow`")], &[]);
}

#[test]
fn names_that_lead_nowhere() {
    let tree = Tree::new(&[
        ("kest.toml", "[policies]\nenterprise = [\"bse\"]\n"),
        ("policies/base.rego", &rego("base", 10)),
        ("policies/orders/refund.rego", &rego("orders/refund", 40)),
        (
            "src/lib.rs",
            &source(&[
                ("a", "\"orders/refnd\""),
                ("b", "[\"base\", \"orders/refund\", \"something_else\"]"),
                ("c", "\"orders.refund\""),
                ("d", "unchecked(\"base2\")"),
            ]),
        ),
    ]);
    let errors = [
        ("kest.toml", "unknown policy `bse`; did you mean `base`? (in the enterprise tier)"),
        ("src/lib.rs:5", "`orders.refund` is not a policy name"),
        ("src/lib.rs:1", "unknown policy `orders/refnd`; did you mean `orders/refund`? (named by `a`)"),
        ("src/lib.rs:3", "unknown policy `something_else` (named by `b`)"),
    ];
    check(&tree, &[], 1, &errors, &[("src/lib.rs:7", "unknown policy `base2`; did you mean `base`?")]);
    // Where the macro does not look names up, neither is an error; the tier still is.
    let tree = tree.with("kest.toml", "[policies]\npolicy_check = \"off\"\nenterprise = [\"base\"]\n");
    let run = tree.policy(&["check", "--json"]);
    assert_eq!((run.code, findings(&run, "warning").len()), (0, 4), "{}", run.stdout);
    assert_eq!(tree.policy(&["check", "--deny-warnings"]).code, 1);
}

#[test]
fn tables_that_are_none_or_nobodys() {
    let tree = good()
        .with("policies/base.cases", r#"{"cases": [{"name": "a", "input": {}, "decision": "maybe"}]}"#)
        .with("policies/orders/refnd.cases", CASES);
    let errors = [
        ("policies/base.cases", "unknown variant `maybe`"),
        ("policies/orders/refnd.cases", "there is no such policy; did you mean `orders/refund`?"),
    ];
    check(&tree, &[], 1, &errors, &[]);
}

#[test]
fn what_nobody_names_is_a_warning() {
    let tree = good()
        .with("policies/old.rego", &rego("old", 10))
        .with("policies/old_test.rego", "package old_test\n");
    let warning = [("policies/old.rego", "no function and no tier names the policy `old`")];
    check(&tree, &[], 0, &[], &warning);
    check(&tree, &["--deny-warnings"], 1, &[], &warning);
    let tree = tree.with("src/dynamic.rs", &source(&[("f", "unchecked(names())")]));
    check(
        &tree,
        &[],
        0,
        &[],
        &[("policies/old.rego", "unless those do whose policies are not known from the text")],
    );
}

#[test]
fn an_entry_of_the_lock_for_a_file_that_differs() {
    let lock = |digest: &str| format!("[[policy]]\nname = \"base\"\ndigest = \"{digest}\"\n");
    let tree = good().with("kest-policies.lock", &lock(&format!("sha256:{}", "0".repeat(64))));
    check(&tree, &[], 0, &[], &[("policies/base.rego", "digest of `base` in `kest-policies.lock`")]);
    let digest =
        tree.policy(&["ls", "--json"]).json()["policies"][0]["digests"]["rego"].as_str().unwrap().to_owned();
    let tree = tree.with("kest-policies.lock", &lock(&digest));
    check(&tree, &[], 0, &[], &[]);
}

#[test]
fn sources_that_have_the_attribute_and_cannot_be_searched() {
    let attribute = "#[kest_verified(policy = \"base\")]\n";
    let tree = good().with("src/broken.rs", &format!("{attribute}fn broken( {{\n"));
    check(&tree, &[], 1, &[("", "src/broken.rs:2: not searched")], &[]);
    assert_eq!(tree.policy(&["ls"]).code, 1);

    let tree = good();
    tree.write("src/bytes.rs", &[attribute.as_bytes(), b"fn f() {} // \xff"].concat());
    check(&tree, &[], 1, &[("", "`src/bytes.rs` is not searched, as it is not UTF-8")], &[]);
    assert_eq!(tree.policy(&["ls"]).code, 1);

    // Without the attribute nothing is missed.
    let tree = good().with("src/broken.rs", "fn broken( {\n");
    tree.write("src/bytes.rs", b"// \xff");
    check(&tree, &[], 0, &[], &[]);
    assert_eq!(tree.policy(&["ls"]).code, 0);
}

#[test]
fn sources_that_would_overflow_the_stack() {
    let attribute = source(&[("f", "\"base\"")]);
    for (open, close) in [("(", ")"), ("!", ""), ("-", ""), ("{", "}")] {
        let (open, close) = (open.repeat(100_000), close.repeat(100_000));
        let tree = good().with("src/deep.rs", &format!("{attribute}fn deep() {{ {open}x{close} }}\n"));
        check(&tree, &[], 1, &[("", "src/deep.rs:3: not searched, as ")], &[]);
    }
}

#[test]
fn folders_that_are_too_deep_are_refused_and_not_left_out() {
    let tree = good().with(&format!("src/{}x.rs", "a/".repeat(70)), &source(&[("f", "\"absent\"")]));
    tree.policy(&["check"]).unusable("is more than 64 folders deep; name the sources with --src");
}

#[test]
fn a_raw_name_of_the_attribute_counts() {
    let tree = good().with("src/raw.rs", "#[r#kest_verified(policy = \"absent\")]\nfn f() {}\n");
    check(&tree, &[], 1, &[("src/raw.rs:1", "unknown policy `absent`")], &[]);
}

#[test]
fn names_beside_the_parameters_of_a_macro_are_looked_up() {
    let tree = good().with(
        "src/m.rs",
        "macro_rules! m { ($p:literal) => {\n#[kest_verified(policy = [\"absent\", $p])]\nfn f() {}\n} }\n",
    );
    check(&tree, &[], 1, &[("src/m.rs:2", "unknown policy `absent`")], &[]);
}

#[test]
fn a_function_is_counted_once() {
    let tree = good();
    for src in [&[][..], &["--src", ".", "--src", "src"], &["--src", "src/lib.rs", "--src", "src/../src"]] {
        let run = tree.policy(&[&["check", "--json"], src].concat());
        assert_eq!(run.json()["functions"], 2, "{src:?}: {}", run.stdout);
    }
}

#[test]
fn sources_without_a_function_are_a_warning() {
    let tree = good().with("empty/x.rs", "");
    let unused = ("policies/orders/refund.rego", "names the policy `orders/refund`");
    let none = ("", "no function with `kest_verified` is in `empty`; name the sources with --src");
    let known = ("", "names the policy `payments-pci/x`");
    check(&tree, &["--src", "empty"], 0, &[], &[unused, known, none]);
    check(&tree, &["--src", "empty", "--deny-warnings"], 1, &[], &[unused, known, none]);
}

/// `kest policy` in a folder of the tree, with that in `KEST_CONFIG`.
fn with_config(tree: &Tree, folder: &str, config: &str, args: &[&str]) -> Run {
    let mut command = support::kest(&[&["policy"], args].concat());
    command.current_dir(tree.path(folder)).env("KEST_CONFIG", config).output().unwrap().into()
}

#[test]
fn the_configuration_that_the_attribute_reads() {
    let workspace = "[workspace]\nmembers = [\"orders\"]\n";
    let tree =
        good().with("Cargo.toml", workspace).with("orders/Cargo.toml", "[package]\nname = \"orders\"\n");
    let tree =
        tree.with("orders/src/lib.rs", &source(&[("f", "\"base\"")])).with("orders/policies/x.rego", "");
    for (folder, path) in [("orders", "../kest.toml"), ("orders/src", "../../kest.toml")] {
        let run = |args: &[&str]| support::run_in(&tree.path(folder), &[&["policy"], args].concat());
        for command in ["check", "ls", "test"] {
            run(&[command]).unusable(&format!("`{path}` is what the attribute reads; give --config {path}"));
        }
        let checked = run(&["check", "--config", path, "--json"]);
        assert_eq!((checked.code, &checked.json()["functions"]), (0, &3.into()), "{}", checked.stdout);
    }
    // As the attribute takes it, from the root of the workspace.
    let run = with_config(&tree, "orders", "kest.toml", &["ls", "--json"]);
    assert_eq!((run.code, run.json()["config"].as_str()), (0, Some("../kest.toml")), "{}", run.stdout);
    with_config(&tree, "orders", "no.toml", &["ls"])
        .unusable("`KEST_CONFIG` names `no.toml`, which is no file, and neither is `../no.toml`");
    let tree = tree.with("orders/kest.toml", "");
    with_config(&tree, "orders", "kest.toml", &["ls"])
        .unusable("names `../kest.toml` to the attribute and `kest.toml` to a program");
    let run = with_config(&tree, "orders", "../orders/kest.toml", &["ls", "--json"]);
    assert_eq!(run.json()["config"], "../orders/kest.toml", "{}", run.stderr);
    // Above the workspace nothing is looked for.
    let tree = Tree::new(&[
        ("kest.toml", ""),
        ("w/Cargo.toml", "[workspace]\n"),
        ("w/policies/a.rego", &rego("a", 1)),
    ]);
    assert_eq!(support::run_in(&tree.path("w"), &["policy", "ls"]).code, 0);
}

#[test]
fn targets_and_hidden_folders_are_not_searched() {
    let absent = source(&[("f", "\"absent\"")]);
    let tree = good()
        .with("Cargo.toml", "")
        .with("target/debug/f.rs", &absent)
        .with(".git/f.rs", &absent)
        .with("src/.f.rs", &absent);
    check(&tree, &[], 0, &[], &[]);
    let tree = tree.with("src/target/mod.rs", &absent);
    check(&tree, &[], 1, &[("src/target/mod.rs:1", "unknown policy `absent`")], &[]);
}

#[test]
fn options_come_before_the_configuration() {
    let tree = good()
        .with("other/base.rego", &rego("base", 1))
        .with("deploy/kest.toml", "[policies]\ndir = \"../other\"\n")
        .with("code/f.rs", &source(&[("f", "\"base\"")]));
    check(&tree, &["--dir", "other", "--src", "code/f.rs", "--config", "deploy/kest.toml"], 0, &[], &[]);
    check(&tree, &["--src", "code", "--config", "deploy/kest.toml"], 0, &[], &[]);
    let run = tree.policy(&["check", "--config", "deploy/kest.toml", "--json"]);
    // Its folder has no sources, this one has.
    assert_eq!(run.json()["functions"], 3, "{}", run.stdout);
}

#[cfg(feature = "cedar")]
mod with_cedar {
    use super::*;
    use tree::cedar;

    #[test]
    fn every_cedar_file_is_judged_alone() {
        let tree = good()
            .with("policies/base.cedar", &cedar("base", 10))
            .with("policies/one.cedar", "permit (principal, action == Action::\"one\"\n")
            .with("policies/two.cedar", &cedar("too", 10))
            .with("src/more.rs", &source(&[("f", "[\"one\", \"two\"]")]));
        let errors =
            [("policies/one.cedar", "policies/one.cedar"), ("policies/two.cedar", "`Action::\"two\"`")];
        let run = tree.policy(&["check", "--json"]);
        let found = findings(&run, "error");
        assert_eq!((run.code, found.len()), (1, 2), "{found:#?}");
        for ((at, text), (wanted_at, wanted)) in found.iter().zip(errors) {
            assert_eq!(at, wanted_at);
            assert!(text.contains(wanted), "{text}");
        }
    }

    #[test]
    fn the_lock_is_not_compared_with_a_cedar_file() {
        let lock = format!("[[policy]]\nname = \"one\"\ndigest = \"sha256:{}\"\n", "0".repeat(64));
        let tree = good()
            .with("policies/one.cedar", &cedar("one", 10))
            .with("src/more.rs", &source(&[("f", "\"one\"")]))
            .with("kest-policies.lock", &lock);
        check(&tree, &[], 0, &[], &[]);
    }

    const SCHEMA: &str = "entity Workload; entity Resource;\n\
        action \"base\" appliesTo { principal: Workload, resource: Resource, context: { SCORE: Long } };\n";

    #[test]
    fn a_schema_is_checked_against_where_it_is_given() {
        let right = SCHEMA.replace("SCORE", "trust_score");
        let tree = Tree::new(&[
            ("policies/base.cedar", &cedar("base", 10)),
            ("src/lib.rs", &source(&[("f", "\"base\"")])),
            ("schema.cedarschema", &right),
        ]);
        check(&tree, &["--schema", "schema.cedarschema"], 0, &[], &[]);
        // A service has no schema that nobody gave it.
        let other = SCHEMA.replace("SCORE: Long", "identity: String");
        let tree = tree.with("policies/schema.cedarschema", &other);
        check(&tree, &[], 0, &[], &[]);
        let given = ["--schema", "policies/schema.cedarschema"];
        check(&tree, &given, 1, &[("policies/base.cedar", "trust_score")], &[]);
        check(&tree, &given, 1, &[("policies/base.cedar", "`policies/schema.cedarschema`")], &[]);
        check(&tree, &["--schema", "schema.cedarschema"], 0, &[], &[]);
        tree.policy(&["check", "--schema", "absent"]).unusable("cannot read the schema `absent`");
    }

    #[test]
    fn a_schema_without_cedar_policies_is_a_warning() {
        let tree = good().with("schema.cedarschema", SCHEMA);
        check(
            &tree,
            &["--schema", "schema.cedarschema"],
            0,
            &[],
            &[("schema.cedarschema", "no Cedar policy")],
        );
    }
}

#[test]
fn what_cannot_be_read() {
    let tree = Tree::new(&[("empty/x", "")]);
    tree.policy(&["check"]).unusable("there is nothing to check: no policy in `policies`, which is missing");
    tree.policy(&["check", "--dir", "absent"]).unusable("--dir names `absent`, which does not exist");
    tree.policy(&["check", "--dir", "empty/x"]).unusable("which is no folder");
    tree.policy(&["check", "--config", "absent"]).unusable("cannot read configuration `absent`");
    let tree = good();
    tree.policy(&["check", "--src", "absent"]).unusable("cannot search the sources `absent`");
    let lifts = "[[deviations]]\nscope = \"a::b\"\npolicy = \"base\"\ntier = \"enterprise\"\n";
    let tree = good().with("kest.toml", lifts);
    tree.policy(&["check"]).unusable("nothing would be lifted");
    let tree = good().with("kest.toml", "[policies]\ndir = \"absent\"\n");
    tree.policy(&["check"]).unusable("`dir` of `[policies]` names `absent`");
    let tree = good().with("kest-policies.lock", "[[policy]]\nname = \"a\"\n");
    tree.policy(&["check"]).unusable("write the file with `kest policy sync`");
    let tree = good().with("kest-policies.lock", "\n[[policy]]\nname = 5\n");
    let run = tree.policy(&["check"]);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    run.unusable("`kest-policies.lock`: line 3: invalid type: integer `5`, expected a string; write");
    let run = good().with("kest.toml", "[policy]\n").policy(&["check"]);
    assert_eq!(run.stderr.matches("kest.toml").count(), 1, "{}", run.stderr);
    run.unusable("in `kest.toml`: ");
}

#[test]
fn a_comment_is_no_use_of_a_policy() {
    let tree = good()
        .with("policies/old.rego", &rego("old", 10))
        .with("policies/base.rego", &format!("{}# data.old.allow\nx := \"data.old\"\n", rego("base", 10)));
    check(&tree, &[], 0, &[], &[("policies/old.rego", "names the policy `old`")]);
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_folder_is_named_and_not_waited_for() {
    let tree = good();
    let made = std::process::Command::new("mkfifo").arg(tree.path("policies/pipe.rego")).status().unwrap();
    assert!(made.success());
    let run = tree.policy(&["check", "--json"]);
    let found = findings(&run, "error");
    assert!(
        found.iter().any(|(at, text)| at == "policies/pipe.rego" && text.contains("no regular file")),
        "{found:?}"
    );
    assert_eq!(run.code, 1);
    let tree = good();
    let made = std::process::Command::new("mkfifo").arg(tree.path("policies/base.cases")).status().unwrap();
    assert!(made.success());
    check(&tree, &[], 1, &[("policies/base.cases", "no regular file")], &[]);
    tree.policy(&["test"]).unusable("no regular file");
}
