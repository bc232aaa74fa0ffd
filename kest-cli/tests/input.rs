//! What is read, what is refused with exit code 2, and what gets a verdict.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::process::Stdio;

use support::{folder, kest, piped, run, vectors, verify};

const FROM_STDIN: [&str; 4] = ["verify", "-", "--anchors", "hop1.anchors.json"];

#[test]
fn a_passport_comes_from_standard_input() {
    let passport = fs::read(vectors().join("hop1.passport.json")).unwrap();
    assert_eq!(piped(&FROM_STDIN, &passport).stdout, verify("hop1", &[]).stdout);
    assert_eq!(piped(&FROM_STDIN, &passport).code, 0);
}

#[test]
fn an_empty_passport_is_said_to_be_empty() {
    let run = piped(&FROM_STDIN, b"[]");
    assert_eq!(run.code, 0);
    assert!(!run.stdout.contains("pass "), "{}", run.stdout);
    assert!(run.stdout.contains("the passport is empty: no entry, so nothing was checked"), "{}", run.stdout);
    let tip = "a".repeat(64);
    let run = piped(&[&FROM_STDIN[..], &["--tip", &tip]].concat(), b"[]");
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("completeness  fail"), "{}", run.stdout);
    let run = piped(&["show", "-"], b" [ ] ");
    assert_eq!((run.code, run.stdout.as_str()), (0, "the passport is empty: there is nothing to show\n"));
}

#[test]
fn every_array_of_strings_gets_a_verdict() {
    for passport in [r#"["x"]"#, r#"["a.b.c","..",""]"#, r#"["eyJ.eyJ.AA"]"#, r#"["é"]"#] {
        let run = piped(&FROM_STDIN, passport.as_bytes());
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{passport}: {}", run.stdout);
        let run = piped(&["show", "-"], passport.as_bytes());
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{passport}: {}", run.stdout);
        assert!(run.stdout.contains("broken: "), "{passport}: {}", run.stdout);
    }
}

#[test]
fn anything_else_is_unreadable() {
    for (input, reason) in [
        (&b""[..], "an empty passport is `[]`"),
        (b"not json", "a passport is a JSON array"),
        (b"{}", "are the passport and the trust anchors swapped?"),
        (b"null", "no JSON array"),
        (b"[1]", "entry 0 of the passport is no string"),
        (b"[\"a\",null]", "entry 1 of the passport is no string"),
        (b"[\"a\"", "cannot be read"),
        (b"[\"a\"] x", "cannot be read"),
        (b"eyJ.e30.AA", "looks like a single entry"),
        (b"\xef\xbb\xbf[]", "byte order mark"),
        (b"\xff\xfe[\0]\0", "byte order mark"),
        (b"[\"\xff\"]", "not UTF-8"),
    ] {
        for args in [&FROM_STDIN[..], &["show", "-"], &["show", "-", "--json"]] {
            piped(args, input).unusable(reason);
        }
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    run(&["verify", "nope.json", "--anchors", "hop1.anchors.json"])
        .unusable("cannot read the passport `nope.json`");
    run(&["show", "nope.json"]).unusable("cannot read the passport `nope.json`");
    run(&["show", "."]).unusable("is a directory");
    run(&["verify", "hop1.passport.json", "--anchors", "nope.json"])
        .unusable("cannot read the trust anchors `nope.json`");
    run(&["verify", "hop1.passport.json", "--anchors", "-"]).unusable("only the passport can be `-`");
}

#[test]
fn anchors_of_another_shape_are_refused() {
    let folder = folder();
    let anchors = folder.join("anchors.json");
    for text in [
        r#"["a"]"#,
        r#"{"w":{}}"#,
        r#"{"w":{"keys":[]}}"#,
        r#"{"w":{"keys":[{"kty":"oct","k":"AA"}]}}"#,
        r#"{"w":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}}"#,
        r#"{"w":{"keys":[]},"w":{"keys":[]}}"#,
        "",
    ] {
        fs::write(&anchors, text).unwrap();
        for command in ["verify", "show"] {
            let run = run(&[command, "hop1.passport.json", "--anchors", anchors.to_str().unwrap()]);
            run.unusable("trust anchors are `{\"<workload id>\":{\"keys\":[<public JWK>…]}}`");
        }
    }
}

#[test]
fn what_is_too_large_is_not_read() {
    let path = folder().join("large.json");
    fs::File::create(&path).unwrap().set_len((256 << 20) + 1).unwrap();
    run(&["show", path.to_str().unwrap()]).unusable("larger than 256 MiB");
    fs::remove_file(path).unwrap();
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let anchored = ["verify", "hop1.passport.json", "--anchors", "hop1.anchors.json"];
    for (args, reason) in [
        (&[][..], "Usage: kest"),
        (&["frobnicate"], "unrecognized subcommand 'frobnicate'"),
        (&["verify"], "<PASSPORT|STORE>"),
        (&["verify", "hop1.passport.json"], "--anchors <FILE>"),
        (&[&anchored[..], &["--frobnicate", "x"]].concat(), "unexpected argument '--frobnicate'"),
        (&["show", "hop1.passport.json", "--color", "blue"], "possible values: auto, always, never"),
        (&["show", "hop1.passport.json", "--config", "kest.toml"], "--anchors <FILE>"),
    ] {
        run(args).unusable(reason);
    }
}

#[test]
fn help_and_version_are_good() {
    let version = run(&["--version"]);
    assert_eq!((version.code, version.stdout), (0, format!("kest {}\n", env!("CARGO_PKG_VERSION"))));
    for args in [
        &["--help"][..],
        &["verify", "--help"],
        &["show", "--help"],
        &["whoami", "--help"],
        &["keys", "export", "--help"],
    ] {
        let run = run(args);
        assert_eq!(run.code, 0);
        let examples = run.stdout.split("Examples:\n").nth(1).unwrap();
        let commands = examples.lines().take_while(|line| line.starts_with("  ") && line.contains("kest "));
        assert!(commands.count() >= 2, "{examples}");
        assert!(run.stdout.contains("Exit codes: 0 "), "{}", run.stdout);
    }
}

#[test]
fn a_reader_that_leaves_early_does_not_change_the_verdict() {
    for (vector, code) in [("hop1", 0), ("neg_reordered", 1)] {
        let (passport, anchors) = (format!("{vector}.passport.json"), format!("{vector}.anchors.json"));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = kest(&["verify", &passport, "--anchors", &anchors])
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(code), 0));
    }
}
