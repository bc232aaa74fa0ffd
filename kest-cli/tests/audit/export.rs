use std::fs;

use serde_json::{Value, json};

use super::{OTHER_TRACE, STORES, Shop, TRACE, audit, json_lines, run};
use crate::support::piped_in;

const VERIFY: [&str; 4] = ["verify", "out.json", "--anchors", "anchors.json"];

#[test]
fn a_trace_becomes_a_passport_that_verifies() {
    let shop = Shop::new();
    let folder = shop.write();
    for store in STORES {
        let exported =
            audit(&folder, "export", store, &["--trace", TRACE, "--output", "out.json", "--force"]);
        assert_eq!((exported.code, exported.stdout.as_str(), exported.stderr.as_str()), (0, "", ""));
        let verified = run(&folder, &[&VERIFY[..], &["--json"]].concat());
        assert_eq!(verified.code, 0, "{}", verified.stdout);
        assert_eq!(verified.json()["entries"], json!(3), "no denial in a passport");
        audit(&folder, "export", store, &["--trace", TRACE, "--output", "out.json"])
            .unusable("exists already");
    }
}

#[test]
fn an_entry_brings_what_it_builds_on() {
    let shop = Shop::new();
    let folder = shop.write();
    for store in STORES {
        let exported = audit(&folder, "export", store, &["--entry", "01a2007c-b7aa-7386-b112-000000000003"]);
        let entries: Vec<String> = serde_json::from_str(&exported.stdout).unwrap();
        let expected: Vec<&str> = [0, 1, 3].map(|entry| shop.lineage.entries()[entry].as_str()).to_vec();
        assert_eq!(entries, expected);
        let verified =
            piped_in(&folder, &["verify", "-", "--anchors", "anchors.json"], exported.stdout.as_bytes());
        assert_eq!(verified.code, 0, "{}", verified.stdout);
    }
}

#[test]
fn what_was_tampered_with_does_not_verify() {
    let shop = Shop::new();
    let folder = shop.write();
    audit(&folder, "export", "audit", &["--trace", TRACE, "--output", "out.json"]);
    let text = fs::read_to_string(folder.join("out.json")).unwrap();
    let last = text.rfind('.').unwrap();
    let (head, signature) = text.split_at(last + 1);
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    fs::write(folder.join("out.json"), format!("{head}{flipped}{}", &signature[1..])).unwrap();
    let verified = run(&folder, &VERIFY);
    assert_eq!(verified.code, 1, "{}", verified.stdout);
    assert!(verified.stdout.contains("signatures    fail"), "{}", verified.stdout);
}

#[test]
fn missing_parents_are_listed_and_nothing_is_written() {
    let mut shop = Shop::new();
    shop.kept = vec![1, 3];
    let folder = shop.write();
    for store in STORES {
        let _ = fs::remove_file(folder.join("out.json"));
        let more = ["--trace", TRACE, "--output", "out.json"];
        let refused = audit(&folder, "export", store, &more);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
        assert!(refused.stderr.contains(&shop.hash(0)), "{}", refused.stderr);
        assert!(refused.stderr.contains("--partial"), "{}", refused.stderr);
        assert!(!folder.join("out.json").exists());
        let partial = audit(&folder, "export", store, &[&more[..], &["--partial"]].concat());
        assert_eq!(partial.code, 0);
        assert!(partial.stderr.contains("refuses what was written"), "{}", partial.stderr);
        assert_eq!(run(&folder, &VERIFY).code, 1);
    }
}

#[test]
fn denials_are_lines_and_never_in_a_passport() {
    let shop = Shop::new();
    let folder = shop.write();
    for store in STORES {
        audit(&folder, "export", store, &["--denied"]).unusable("never part of a passport");
        let only = audit(&folder, "export", store, &["--entry", "01a2007c-b7aa-7386-b112-000000000002"]);
        assert_eq!((only.code, only.stdout.as_str()), (1, ""));
        assert!(only.stderr.contains("only receipts of denials fit"), "{}", only.stderr);
        for to_file in [false, true] {
            let mut more = vec!["--denied", "--format", "jsonl"];
            if to_file {
                more.extend(["--output", "denied.jsonl", "--force"]);
            }
            let mut lines = audit(&folder, "export", store, &more);
            assert_eq!(lines.code, 0, "{}", lines.stderr);
            if to_file {
                lines.stdout = fs::read_to_string(folder.join("denied.jsonl")).unwrap();
            }
            let lines = json_lines(&lines);
            assert_eq!(lines.len(), 1);
            assert_eq!(lines[0]["jws"], Value::from(shop.lineage.entries()[2].as_str()));
            assert_eq!(lines[0]["hash"], Value::from(shop.hash(2)));
        }
    }
}

#[test]
fn what_builds_on_a_denial_is_no_passport() {
    let mut shop = Shop::new();
    shop.lineage.add(&[2], |payload| payload["labels"]["trace_id"] = json!("bb".repeat(16)));
    shop.kept.push(5);
    let folder = shop.write();
    for store in STORES {
        let run = audit(&folder, "export", store, &["--trace", &"bb".repeat(16), "--partial"]);
        assert_eq!((run.code, run.stdout.as_str()), (1, ""));
        assert!(run.stderr.contains("builds on the receipt of a denial"), "{}", run.stderr);
    }
}

#[test]
fn nothing_that_fits_is_said() {
    let folder = Shop::new().write();
    for store in STORES {
        for format in ["passport", "jsonl"] {
            let run = audit(&folder, "export", store, &["--operation", "nope", "--format", format]);
            assert_eq!((run.code, run.stdout.as_str()), (1, ""));
            assert!(run.stderr.contains("no entry fits"), "{}", run.stderr);
        }
        let whole = audit(&folder, "export", store, &["--trace", OTHER_TRACE]);
        assert_eq!(serde_json::from_str::<Vec<String>>(&whole.stdout).unwrap().len(), 1);
    }
}
