use std::io::Read as _;
use std::process::Stdio;

use kest_providers::audit::FileAudit;
use serde_json::{Value, json};

use super::{OTHER_TRACE, STORES, Shop, TRACE, audit, edit_rows, json_lines, kest, put};
use crate::support::{Lineage, PRINCIPAL};

fn operations(folder: &std::path::Path, store: &str, more: &[&str]) -> Vec<String> {
    let run = audit(folder, "ls", store, &[more, &["--json"]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{more:?}");
    json_lines(&run).iter().map(|entry| entry["operation"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_entry_is_a_line() {
    let shop = Shop::new();
    let folder = shop.write();
    for store in STORES {
        let run = audit(&folder, "ls", store, &[]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        let lines: Vec<Vec<&str>> = run.stdout.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(lines.len(), 5, "{}", run.stdout);
        assert!(lines[0][0].ends_with('Z') && lines[0][0].len() == 24, "{}", run.stdout);
        assert_eq!(lines[1][1..], [&shop.hash(1)[..12], "pay", PRINCIPAL, "40", "pii", "-"]);
        assert_eq!(lines[2][2..], ["refund", PRINCIPAL, "40", "pii", "denied"]);
        assert_eq!(lines[4][2..], ["stock", PRINCIPAL, "40", "-", "-"]);
        assert!(!run.stdout.contains('\u{1b}'));
        assert!(audit(&folder, "ls", store, &["--color", "always"]).stdout.contains("\u{1b}[31mdenied"));
    }
}

#[test]
fn json_says_it_all() {
    let shop = Shop::new();
    let folder = shop.write();
    for store in STORES {
        let entries = json_lines(&audit(&folder, "ls", store, &["--json"]));
        let denial = &entries[2];
        assert_eq!(denial["hash"], json!(shop.hash(2)));
        assert_eq!(denial["trace_id"], json!(TRACE));
        assert_eq!(denial["denied"]["reason"], json!("too much"));
        assert_eq!(denial["parents"], json!([shop.hash(1)]));
        assert_eq!(entries[1]["user"], json!("alice"));
        assert_eq!((&entries[0]["denied"], &entries[0]["problem"]), (&Value::Null, &Value::Null));
        assert!(denial["received_ms"].as_u64().unwrap() > 1_700_000_000_000);
        assert!(denial["place"].as_str().unwrap().contains(if store == "audit" {
            ".jsonl:"
        } else {
            "entry 3"
        }));
    }
}

#[test]
fn filters_choose() {
    let folder = Shop::new().write();
    let id = |number: usize| format!("01A2007C-b7aa-7386-b112-{number:012x}");
    for store in STORES {
        for (more, expected) in [
            (&["--trace", OTHER_TRACE][..], &["stock"][..]),
            (&["--operation", "pay"], &["pay"]),
            (&["--workload", PRINCIPAL, "--limit", "2"], &["browse", "pay"]),
            (&["--workload", "spiffe://example.org/other"], &[]),
            (&["--user", "alice"], &["pay"]),
            (&["--taint", "pii"], &["pay", "refund", "ship"]),
            (&["--denied"], &["refund"]),
            (&["--allowed", "--taint", "pii"], &["pay", "ship"]),
            (&["--newest", "--limit", "2"], &["stock", "ship"]),
            (&["--entry", &id(3), "--entry", &id(0)], &["ship", "browse"]),
            (&["--entry", &id(3), "--entry", &id(0), "--limit", "1"], &["ship"]),
            (&["--since", "1h"], &["browse", "pay", "refund", "ship", "stock"]),
            (&["--until", "1h"], &[]),
            (&["--since", "2020-01-01", "--until", "2021-01-01T00:00:00Z"], &[]),
        ] {
            assert_eq!(operations(&folder, store, more), expected, "{store} {more:?}");
        }
    }
}

#[test]
fn filters_that_cannot_be_are_refused() {
    let folder = Shop::new().write();
    for (more, why) in [
        (&["--since", "soon"][..], "how long ago"),
        (&["--since", "2026-11-22T14:00:00"], "no offset"),
        (&["--entry", "5"], "an entry id is a UUID"),
        (&["--operation", ""], "it is empty"),
        (&["--limit", "0"], "0"),
        (&["--denied", "--allowed"], "cannot be used with"),
        (&["--since", "1h", "--until", "2h"], "nothing can fit"),
    ] {
        audit(&folder, "ls", "audit", more).unusable(why);
    }
    audit(&folder, "ls", "nope", &[]).unusable("nope");
    audit(&folder, "ls", "-", &[]).unusable("name the store");
    audit(&folder, "ls", "passport.json", &[]).unusable("is no audit store");
    audit(&folder, "ls", ".", &[]).unusable("no segment of an audit store");
}

#[test]
fn users_are_found_however_their_json_is_written() {
    let mut lineage = Lineage::new();
    lineage.add(&[], |payload| payload["labels"]["kest.identity"] = json!("{\"user\":{\"a\":1,\"b\":2}}"));
    let folder = Shop { lineage, kept: vec![0] }.write();
    for store in STORES {
        assert_eq!(operations(&folder, store, &["--user", r#"{"b": 2, "a": 1}"#]), ["step0"], "{store}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut lineage = Lineage::new();
    lineage.add(&[], |_| {});
    let folder = lineage.write();
    let sink = FileAudit::open(folder.join("audit")).unwrap();
    // More than a pipe and its buffers hold.
    for _ in 0..3_000 {
        put(&sink, &lineage.entries()[0], false);
    }
    sink.close().unwrap();
    let mut child = kest(&["audit", "ls", "audit", "--json"])
        .current_dir(&folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 64];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn nothing_that_an_entry_says_acts_on_a_terminal() {
    let evil = "pay\u{1b}[2J\n\u{202e}forged\tspiffe://other\u{200b}";
    let mut lineage = Lineage::new();
    lineage.add(&[], |payload| {
        payload["operation"] = json!(evil);
        payload["added_taints"] = json!([evil]);
        payload["taints"] = json!([evil]);
        payload["labels"]["kest.identity"] = json!(json!({"user": evil}).to_string());
    });
    let hash = lineage.tip();
    let folder = Shop { lineage, kept: vec![0] }.write();
    for store in STORES {
        for args in [
            &["audit", "ls", store][..],
            &["audit", "ls", store, "--json"],
            &["audit", "show", store, &hash],
            &["audit", "show", store, &hash, "--json"],
            &["audit", "verify", store, "--stored-keys"],
            &["audit", "export", store, "--format", "jsonl"],
        ] {
            let run = super::run(&folder, args);
            let text = format!("{}{}", run.stdout, run.stderr);
            assert!(
                !text.is_empty() && !text.contains(['\u{1b}', '\u{202e}', '\u{200b}']),
                "{args:?}: {text}"
            );
        }
        let line = audit(&folder, "ls", store, &[]).stdout;
        assert_eq!((line.lines().count(), line.split('\t').count()), (1, 7), "{line}");
        assert_eq!(operations(&folder, store, &["--operation", evil]), [evil]);
    }
}

#[test]
fn a_row_that_cannot_be_read_is_told_and_the_list_goes_on() {
    let folder = Shop::new().write();
    edit_rows(&folder, "UPDATE entries SET jws = CAST(x'ff2e' AS TEXT) WHERE seq = 3");
    for args in [&["ls"] as &[&str], &["ls", "--newest"], &["export", "--format", "jsonl"]] {
        let run = audit(&folder, args[0], "audit.db", &args[1..]);
        assert_eq!(run.code, 1, "{args:?}: {}", run.stderr);
        assert_eq!(run.stdout.lines().count(), 4, "{args:?}: {}", run.stdout);
        assert!(run.stderr.starts_with("kest: entry 3 of "), "{args:?}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{args:?}: {}", run.stderr);
    }
    let run = audit(&folder, "verify", "audit.db", &["--stored-keys"]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("damage        entry 3: "), "{}", run.stdout);
    assert!(run.stdout.contains("refused: 4 entries"), "{}", run.stdout);
}
