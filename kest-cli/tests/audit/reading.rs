//! What is said to readers: of what cannot be read, of keys and of names.

use std::fs;
use std::path::Path;

use kest_providers::audit::FileAudit;
use serde_json::json;

use super::{STORES, Shop, audit, edit_lines, put, run};
use crate::support::Run;

const TRUSTED: [&str; 2] = ["--anchors", "anchors.json"];

fn verify(folder: &Path, store: &str, more: &[&str]) -> Run {
    audit(folder, "verify", store, &[&TRUSTED[..], more].concat())
}

#[test]
fn places_that_could_not_be_read_are_counted_where_entries_are_listed() {
    let shop = Shop::new();
    let folder = shop.write();
    for store in STORES {
        assert_eq!(audit(&folder, "ls", store, &[]).stderr, "");
    }
    edit_lines(&folder, |lines| {
        lines[3] = "garbage".to_owned();
        lines[5].clear();
    });
    let pay = format!("{:?}", shop.lineage.entries()[0].as_str());
    for more in [&[][..], &["--newest"], &["--operation", "stock"], &["--operation", "nothing"], &["--json"]]
    {
        let run = audit(&folder, "ls", "audit", more);
        assert_eq!(run.code, 1, "{more:?}");
        assert_eq!(
            run.stderr,
            "kest: 2 places of the store could not be read, and entries that fit may be missing; `kest audit verify` \
             names them\n",
            "{more:?}"
        );
    }
    let ids = [0, 4].map(|entry| format!("01a2007c-b7aa-7386-b112-{entry:012x}"));
    let run = audit(&folder, "ls", "audit", &["--entry", &ids[0], "--entry", &ids[1]]);
    assert!(
        run.stderr.contains("2 places") && run.stdout.lines().count() == 2,
        "{}{}",
        run.stderr,
        run.stdout
    );
    let help = super::run(&folder, &["audit", "ls", "--help"]).stdout;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("; 1 places could not be read (standard error says how many)"), "{help}");
    // Nothing is known of what was not looked at.
    let run = audit(&folder, "ls", "audit", &["--limit", "1"]);
    assert_eq!((run.stdout.lines().count(), run.stderr.as_str()), (1, ""));
    for (more, written) in [
        (&["--operation", "browse"][..], pay.as_str()),
        (&["--operation", "browse", "--output", "out.json"], ""),
        (&["--format", "jsonl", "--denied"], "refund"),
        (&["--format", "jsonl", "--output", "out.jsonl"], ""),
        (&["--operation", "nothing"], ""),
    ] {
        let run = audit(&folder, "export", "audit", more);
        assert_eq!(run.code, 1, "{more:?}: {}", run.stderr);
        assert!(run.stderr.contains("2 places of the store could not be read"), "{more:?}: {}", run.stderr);
        if written == "refund" {
            assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
        } else {
            assert!(run.stdout.contains(written), "{more:?}: {}", run.stdout);
        }
    }
    assert_eq!(fs::read_to_string(folder.join("out.json")).unwrap(), format!("[{pay}]\n"));
    assert_eq!(fs::read_to_string(folder.join("out.jsonl")).unwrap().lines().count(), 3);
    // A line that is one, of what is no entry: it is listed as broken, and no filter can tell.
    let folder = Shop::new().write();
    let signer = kest_providers::identity::LocalEd25519Provider::dangerous_from_seed([7; 32]).unwrap();
    let jws = kest_core::identity::IdentityProvider::sign(&signer, b"{}").unwrap();
    let sink = FileAudit::open(folder.join("audit")).unwrap();
    put(&sink, &jws, false);
    sink.close().unwrap();
    assert_eq!(audit(&folder, "ls", "audit", &[]).stderr, "");
    let run = audit(&folder, "ls", "audit", &["--operation", "pay"]);
    assert!(run.code == 1 && run.stderr.contains("1 place of the store"), "{}", run.stderr);
}

#[test]
fn places_that_could_not_be_read_are_counted_where_entries_are_drawn() {
    let shop = Shop::new();
    let folder = shop.write();
    edit_lines(&folder, |lines| {
        let gone = lines.iter().position(|line| line.contains(shop.lineage.entries()[1].as_str())).unwrap();
        lines[gone] = "garbage".to_owned();
    });
    let gaps = "1 place of the store could not be read, and entries that fit may be missing; `kest audit verify` \
                names them\n";
    let id = "01a2007c-b7aa-7386-b112-000000000003";
    for what in [super::TRACE, id, &shop.hash(3), &shop.hash(3)[..8]] {
        for more in [&["--oneline"][..], &["--json"], &TRUSTED] {
            let run = audit(&folder, "show", "audit", &[&[what], more].concat());
            assert_eq!((run.code, run.stderr), (1, format!("kest: {gaps}")), "{what} {more:?}");
            assert!(run.stdout.contains("ship"), "{what} {more:?}: {}", run.stdout);
        }
    }
    let other = "0".repeat(32);
    for what in ["01a2007c-b7aa-7386-b112-000000000001", &shop.hash(1), "no such thing", &other] {
        let run = audit(&folder, "show", "audit", &[what]);
        run.unusable("no entry that could be read has");
        assert!(run.stderr.ends_with(gaps), "{what}: {}", run.stderr);
    }
    // The parent that a passport lacks may stand in that place.
    let run = audit(&folder, "export", "audit", &["--operation", "ship"]);
    assert!(run.code == 1 && run.stdout.is_empty() && run.stderr.ends_with(gaps), "{}", run.stderr);
}

#[test]
fn readers_are_not_told_to_write() {
    let folder = Shop::new().write();
    let missing = audit(&folder, "ls", "nope", &[]);
    missing.unusable("name a store that is there");
    assert!(!missing.stderr.contains("create") && !missing.stderr.contains("[audit]"), "{}", missing.stderr);
}

#[test]
fn a_database_without_its_log_is_not_taken_for_one_of_an_older_version() {
    let shop = Shop::new();
    let folder = shop.write();
    let sink = kest_providers::audit::SqliteAudit::open(folder.join("open.db")).unwrap();
    put(&sink, &shop.lineage.entries()[0], false);
    fs::copy(folder.join("open.db"), folder.join("copy.db")).unwrap();
    for command in ["ls", "verify"] {
        let more = if command == "verify" { &TRUSTED[..] } else { &[] };
        let run = audit(&folder, command, "copy.db", more);
        run.unusable("copy `copy.db-wal` beside it too");
        assert!(!run.stderr.contains("brings it"), "{}", run.stderr);
    }
    fs::copy(folder.join("open.db-wal"), folder.join("copy.db-wal")).unwrap();
    assert_eq!(verify(&folder, "copy.db", &[]).code, 0);
}

#[test]
fn an_empty_file_is_no_store() {
    let folder = Shop::new().write();
    for name in ["empty.jsonl", "empty.db"] {
        fs::write(folder.join(name), "").unwrap();
        for run in [
            verify(&folder, name, &[]),
            verify(&folder, name, &["--allow-empty"]),
            audit(&folder, "ls", name, &[]),
            audit(&folder, "export", name, &[]),
        ] {
            run.unusable(&format!("`{name}` is empty: no segment and no database"));
            assert!(!run.stderr.contains("meanwhile"), "{}", run.stderr);
        }
    }
}

#[test]
fn anchors_of_several_files_unite() {
    use crate::support::{Lineage, PRINCIPAL};

    let folder = Shop::new().write();
    // Another process of the same workload: another key.
    let signer = kest_providers::identity::LocalEd25519Provider::dangerous_from_seed([9; 32]).unwrap();
    let signer = signer.with_workload_id(PRINCIPAL);
    let keys = kest_core::identity::IdentityProvider::public_keys(&signer).unwrap();
    let more = json!({PRINCIPAL: keys.to_json(), "spiffe://example.org/other": keys.to_json()});
    fs::write(folder.join("more.json"), more.to_string()).unwrap();
    let mut lineage = Lineage::new();
    lineage.add(&[], |_| {});
    let payload = lineage.entries()[0].as_str().split('.').nth(1).unwrap().to_owned();
    let payload = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).unwrap();
    let jws = kest_core::identity::IdentityProvider::sign(&signer, &payload).unwrap();
    let hash = jws.hash();
    let sink = FileAudit::open(folder.join("audit")).unwrap();
    let record = kest_core::audit::AuditRecord::new(jws.as_str(), &hash, "id", PRINCIPAL, &signer);
    kest_core::audit::AuditSink::append(&sink, &record).unwrap();
    sink.close().unwrap();
    fs::write(folder.join("one.json"), json!([jws.as_str()]).to_string()).unwrap();
    let both = ["--anchors", "anchors.json", "--anchors", "more.json"];
    let turned = ["--anchors", "more.json", "--anchors", "anchors.json", "--anchors", "more.json"];
    for anchors in [&both[..], &turned] {
        let store = audit(&folder, "verify", "audit", anchors);
        assert_eq!(store.code, 0, "{}", store.stdout);
        let verified = run(&folder, &[&["verify", "one.json"], anchors].concat());
        assert_eq!(verified.code, 0, "{}", verified.stdout);
        let page = run(&folder, &[&["graph", "one.json", "--format", "html"], anchors].concat());
        assert!(page.code == 0 && page.stdout.contains("spiffe://example.org/other"), "{}", page.stderr);
        for key in [&keys.0[0], &Shop::new().lineage.jwk()] {
            let x = key.to_json()["x"].as_str().unwrap().to_owned();
            assert!(page.stdout.contains(&x), "a key of each file is in the page");
        }
    }
    for anchors in [&both[..2], &both[2..]] {
        assert_eq!(audit(&folder, "verify", "audit", anchors).code, 1);
    }
    fs::write(folder.join("bad.json"), "[]").unwrap();
    audit(&folder, "verify", "audit", &["--anchors", "anchors.json", "--anchors", "bad.json"])
        .unusable("`bad.json`");
}

#[test]
fn a_trace_id_is_found_in_either_case() {
    let folder = Shop::new().write();
    let upper = super::TRACE.to_uppercase();
    for store in STORES {
        let run = audit(&folder, "ls", store, &["--trace", &upper]);
        assert_eq!((run.code, run.stdout.lines().count()), (0, 4), "{}", run.stdout);
        let shown = audit(&folder, "show", store, &[&upper, "--oneline"]);
        assert!(shown.code == 0 && shown.stdout.contains("4 entries"), "{}{}", shown.stdout, shown.stderr);
        assert_eq!(audit(&folder, "export", store, &["--trace", &upper]).code, 0);
        // A running hash has one form, and another is a usage error.
        let kept = verify(&folder, store, &["--json"]).json()["tip"].as_str().unwrap().to_uppercase();
        verify(&folder, store, &["--expect-tip", &kept]).unusable("lowercase hex");
    }
}

#[test]
fn a_trace_id_that_an_entry_has_in_upper_case_is_found_by_that_and_in_its_place() {
    let upper = super::TRACE.to_uppercase();
    let mut lineage = crate::support::Lineage::new();
    for trace in [&upper, super::TRACE, super::OTHER_TRACE, &upper, super::TRACE] {
        lineage.add(&[], |payload| {
            // Own entries have it in lower case.
            payload["runtime"] = json!({"name": "kest-python", "version": "0.3.0"});
            payload["labels"]["trace_id"] = json!(trace);
        });
    }
    let folder = Shop { lineage, kept: vec![0, 1, 2, 3, 4] }.write();
    let listed = |store: &str, trace: &str, more: &[&str]| -> Vec<String> {
        let run = audit(&folder, "ls", store, &[&["--trace", trace, "--json"], more].concat());
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{store} {trace} {more:?}");
        let lines = super::json_lines(&run);
        lines.iter().map(|entry| entry["operation"].as_str().unwrap().to_owned()).collect()
    };
    for store in STORES {
        assert_eq!(listed(store, super::TRACE, &[]), ["step1", "step4"]);
        assert_eq!(listed(store, &upper, &[]), ["step0", "step1", "step3", "step4"]);
        assert_eq!(listed(store, &upper, &["--newest", "--limit", "3"]), ["step4", "step3", "step1"]);
        assert_eq!(listed(store, super::OTHER_TRACE, &[]), ["step2"]);
        let id = |entry: usize| format!("01a2007c-b7aa-7386-b112-{entry:012x}");
        assert_eq!(listed(store, &upper, &["--entry", &id(4), "--entry", &id(0)]), ["step4", "step0"]);
        let shown = audit(&folder, "show", store, &[&upper, "--oneline"]);
        assert!(shown.code == 0 && shown.stdout.contains("4 entries"), "{}{}", shown.stdout, shown.stderr);
    }
    // Both spellings come across a row that cannot be read.
    super::edit_rows(&folder, "UPDATE entries SET jws = CAST(x'ff2e' AS TEXT) WHERE seq = 3");
    let run = audit(&folder, "ls", "audit.db", &["--trace", &upper]);
    assert_eq!(
        (run.code, run.stdout.lines().count(), run.stderr.lines().count()),
        (1, 4, 1),
        "{}",
        run.stderr
    );
}
