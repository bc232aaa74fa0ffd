use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{STORES, Shop, audit, edit_lines, edit_rows, kest, run, segment};
use crate::support::{PRINCIPAL, Run, piped_in};

const TRUSTED: [&str; 2] = ["--anchors", "anchors.json"];

fn verify(folder: &std::path::Path, store: &str, more: &[&str]) -> Run {
    audit(folder, "verify", store, &[&TRUSTED[..], more].concat())
}

#[test]
fn a_whole_store_is_accepted() {
    let shop = Shop::new();
    let folder = shop.write();
    for store in STORES {
        for run in [verify(&folder, store, &[]), verify(&folder, store, &["--threads", "1"])] {
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
            assert!(run.stdout.contains("signatures    pass         every entry is signed by a trusted key"));
            assert!(run.stdout.contains("running hash  pass"), "{}", run.stdout);
            assert!(run.stdout.contains("completeness  not checked"), "{}", run.stdout);
            assert!(
                run.stdout.contains("5 entries (1 receipt of a denial): signatures pass"),
                "{}",
                run.stdout
            );
            assert!(!run.stdout.contains('\u{1b}'));
        }
        assert_eq!(
            run(&folder, &["verify", store, "--anchors", "anchors.json"]).stdout,
            verify(&folder, store, &[]).stdout
        );
        assert!(verify(&folder, store, &["--color", "always"]).stdout.contains("\u{1b}[32mpass"));
    }
}

#[test]
fn the_tip_kept_elsewhere_finds_an_end_that_was_cut_off() {
    let shop = Shop::new();
    let folder = shop.write();
    let mut tips = Vec::new();
    for store in STORES {
        let answer = verify(&folder, store, &["--json"]).json();
        let tip = answer["tip"].as_str().unwrap().to_owned();
        assert_eq!(tip.len(), 64);
        let good = verify(&folder, store, &["--expect-tip", &tip]);
        assert_eq!(good.code, 0);
        assert!(good.stdout.contains("completeness  pass"), "{}", good.stdout);
        verify(&folder, store, &["--expect-tip", "12ab"]).unusable("no SHA-256");
        tips.push(tip);
    }
    edit_lines(&folder, |lines| {
        lines.pop();
    });
    let cut = verify(&folder, "audit", &["--expect-tip", &tips[0]]);
    assert_eq!(cut.code, 1, "{}", cut.stdout);
    assert!(cut.stdout.contains("completeness  fail") && cut.stdout.contains(&tips[0]), "{}", cut.stdout);
    assert_eq!(verify(&folder, "audit", &[]).code, 0, "without it nobody can tell");
    let other = verify(&folder, "audit.db", &["--expect-tip", &tips[0]]);
    assert_eq!(other.code, 1, "{}", other.stdout);
}

#[test]
fn a_tip_that_the_store_only_claims_is_not_accepted() {
    let shop = Shop::new();
    let folder = shop.write();
    let tip = verify(&folder, "audit.db", &["--json"]).json()["tip"].as_str().unwrap().to_owned();
    edit_rows(
        &folder,
        "INSERT INTO retired(after_seq, at_ms, first_seq, first_link) SELECT seq, 1, seq, link FROM head; \
         UPDATE head SET first_seq = seq, first_link = link, denial_bytes = 0; DELETE FROM entries",
    );
    let run = verify(&folder, "audit.db", &["--expect-tip", &tip]);
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(run.stdout.contains("completeness  not checked  nothing is left"), "{}", run.stdout);
    assert!(run.stdout.contains("gone          entries 1 to 5 (by retention"), "{}", run.stdout);
    let answer = verify(&folder, "audit.db", &["--expect-tip", &tip, "--json"]).json();
    assert_eq!((&answer["accepted"], &answer["retired"]), (&json!(false), &json!("entries 1 to 5")));
    let kinds = answer["findings"].as_array().unwrap();
    assert!(kinds.iter().any(|finding| finding["kind"] == json!("gone")), "{kinds:?}");
}

#[test]
fn tampering_is_found_and_its_place_named() {
    let shop = Shop::new();
    // The head, the keys, then entries 0 to 4.
    type Edit = (&'static str, fn(&mut Vec<String>), &'static str);
    let edits: [Edit; 4] = [
        (
            "edited",
            |lines| lines[3] = lines[3].replace("\"received_ms\":1", "\"received_ms\":2"),
            "0000000001.jsonl:4",
        ),
        ("deleted", |lines| drop(lines.remove(3)), "0000000001.jsonl:4"),
        ("moved", |lines| lines.swap(3, 4), "0000000001.jsonl:4"),
        ("another key", |lines| lines[1] = lines[1].replace("\"x\":\"", "\"x\":\"A"), "0000000001.jsonl:2"),
    ];
    for (what, edit, place) in edits {
        let folder = shop.write();
        edit_lines(&folder, edit);
        let run = verify(&folder, "audit", &[]);
        assert_eq!(run.code, 1, "{what}: {}", run.stdout);
        assert!(run.stdout.contains("running hash  fail"), "{what}: {}", run.stdout);
        assert!(run.stdout.contains(&format!("damage        {place}")), "{what}: {}", run.stdout);
        let answer = verify(&folder, "audit", &["--json"]).json();
        assert_eq!(
            (&answer["accepted"], &answer["findings"][0]["damage"]),
            (&json!(false), &json!(true)),
            "{what}"
        );
        assert_eq!(answer["findings"][0]["place"], json!(place), "{what}");
    }
    for (what, sql, place) in [
        ("edited", "UPDATE entries SET received_ms = received_ms + 1 WHERE seq = 2", "entry 2"),
        ("deleted", "DELETE FROM entries WHERE seq = 2", "entry 3"),
        (
            "moved",
            "UPDATE entries SET seq = 9 WHERE seq = 2; UPDATE entries SET seq = 2 WHERE seq = 3; UPDATE entries SET seq = 3 WHERE seq = 9",
            "entry 2",
        ),
        ("misfiled", "UPDATE entries SET denied = 1 - denied WHERE seq = 2", "entry 2"),
        ("another key", "UPDATE keys SET jwks = replace(jwks, '\"x\":\"', '\"x\":\"A')", "keys 1"),
    ] {
        let folder = shop.write();
        edit_rows(&folder, sql);
        let run = verify(&folder, "audit.db", &[]);
        assert_eq!(run.code, 1, "{what}: {}", run.stdout);
        assert!(run.stdout.contains(&format!("damage        {place}")), "{what}: {}", run.stdout);
    }
}

#[test]
fn entries_whose_signature_fails_are_named() {
    let shop = Shop::new();
    let folder = shop.write();
    let wrong = json!({PRINCIPAL: {"keys": [
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}});
    fs::write(folder.join("wrong.json"), wrong.to_string()).unwrap();
    fs::write(folder.join("nobody.json"), "{}").unwrap();
    for store in STORES {
        for anchors in ["wrong.json", "nobody.json"] {
            let run = audit(&folder, "verify", store, &["--anchors", anchors]);
            assert_eq!(run.code, 1);
            assert!(run.stdout.contains("signatures    fail         5 of 5 entries fail"), "{}", run.stdout);
            assert!(run.stdout.contains("running hash  pass"), "{}", run.stdout);
            assert!(run.stdout.contains(" and 1 more: "), "equal causes are one line: {}", run.stdout);
            let answer = audit(&folder, "verify", store, &["--anchors", anchors, "--json"]).json();
            assert_eq!(answer["failures"].as_array().unwrap().len(), 5);
            assert_eq!(answer["failures"][1]["operation"], json!("pay"));
            assert_eq!(answer["failures"][1]["hash"], json!(shop.hash(1)));
        }
    }
}

#[test]
fn the_stores_own_keys_are_used_only_when_asked_for_and_said_to_be() {
    let folder = Shop::new().write();
    for store in STORES {
        audit(&folder, "verify", store, &[]).unusable("required");
        audit(&folder, "verify", store, &["--stored-keys", "--anchors", "anchors.json"])
            .unusable("cannot be used with");
        for run in [
            audit(&folder, "verify", store, &["--stored-keys"]),
            run(&folder, &["verify", store, "--stored-keys"]),
        ] {
            assert_eq!(run.code, 0, "{}", run.stdout);
            assert!(run.stdout.contains("may have made up both"), "{}", run.stdout);
            assert!(run.stdout.ends_with("keys of the store itself\n"), "{}", run.stdout);
        }
    }
}

#[test]
fn a_segment_comes_through_a_pipe() {
    let folder = Shop::new().write();
    let text = fs::read(segment(&folder)).unwrap();
    for args in [&["audit", "verify", "-"][..], &["verify", "-"]] {
        let run = piped_in(&folder, &[args, &TRUSTED].concat(), &text);
        assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("5 entries"), "{}", run.stdout);
        let cut = [&text[..text.len() / 2], b"x\n"].concat();
        let run = piped_in(&folder, &[args, &TRUSTED].concat(), &cut);
        assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("0000000001.jsonl:"), "{}", run.stdout);
        piped_in(&folder, &[args, &["--stored-keys"]].concat(), &text).unusable("a pipe can be read once");
        let database = fs::read(folder.join("audit.db")).unwrap();
        piped_in(&folder, &[args, &TRUSTED].concat(), &database).unusable("name its file");
    }
    piped_in(&folder, &[&["audit", "verify", "-"], &TRUSTED[..]].concat(), b"[]").unusable("no segment");
    assert_eq!(verify(&folder, "audit/0000000001.jsonl", &[]).code, 0);
}

#[test]
fn options_of_the_other_kind_are_refused() {
    let folder = Shop::new().write();
    for (more, why) in [
        (&["--tip", "00"][..], "`--expect-tip`"),
        (&["--linear"], "--linear is about passports"),
        (&["--strict"], "--strict is about passports"),
        (&["--config", "kest.toml"], "--config is about passports"),
    ] {
        run(&folder, &[&["verify", "audit"], &TRUSTED[..], more].concat()).unusable(why);
    }
    for more in [&["--expect-tip", "00"][..], &["--threads", "2"]] {
        run(&folder, &[&["verify", "passport.json"], &TRUSTED[..], more].concat())
            .unusable("this is a passport");
    }
    run(&folder, &["verify", "passport.json", "--stored-keys"]).unusable("this is a passport");
    audit(&folder, "verify", "passport.json", &TRUSTED).unusable("no audit store");
    audit(&folder, "verify", "nope", &TRUSTED).unusable("nope");
}

#[test]
fn json_lines_of_entries_are_a_passport() {
    let shop = Shop::new();
    let folder = shop.write();
    let lines = |entries: &[usize]| -> String {
        entries.iter().map(|entry| format!("\"{}\"\n", shop.lineage.entries()[*entry].as_str())).collect()
    };
    fs::write(folder.join("lines.jsonl"), lines(&[0, 1, 3])).unwrap();
    assert_eq!(run(&folder, &[&["verify", "lines.jsonl"], &TRUSTED[..]].concat()).code, 0);
    fs::write(folder.join("lines.jsonl"), lines(&[1, 3])).unwrap();
    assert_eq!(run(&folder, &[&["verify", "lines.jsonl"], &TRUSTED[..]].concat()).code, 1);
    fs::write(folder.join("lines.jsonl"), "[]\n[]\n").unwrap();
    run(&folder, &[&["verify", "lines.jsonl"], &TRUSTED[..]].concat()).unusable("give them one at a time");
}

#[test]
fn a_torn_end_is_no_damage() {
    let folder = Shop::new().write();
    let mut file = fs::OpenOptions::new().append(true).open(segment(&folder)).unwrap();
    file.write_all(b"{\"v\":1,\"received_ms\":17").unwrap();
    let run = verify(&folder, "audit", &[]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.stdout.contains("finding       0000000001.jsonl:"), "{}", run.stdout);
}

/// `KEST_BLESS=1` writes it anew.
#[test]
fn the_store_of_the_examples_is_one_that_a_sink_has_written() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store");
    let shop = Shop::new();
    if std::env::var_os("KEST_BLESS").is_some() {
        let written = shop.write();
        fs::create_dir_all(folder.join("audit")).unwrap();
        fs::copy(segment(&written), segment(&folder)).unwrap();
        fs::copy(written.join("anchors.json"), folder.join("anchors.json")).unwrap();
    }
    let answer = verify(&folder, "audit", &["--json"]).json();
    assert_eq!(
        (&answer["accepted"], &answer["entries"], &answer["denials"]),
        (&json!(true), &json!(5), &json!(1))
    );
    let text = fs::read_to_string(segment(&folder)).unwrap();
    for entry in shop.lineage.entries() {
        assert!(text.contains(entry.as_str()), "the lineage of the tests has changed: KEST_BLESS=1");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_ends_at_once_and_says_how_far_it_came() {
    let folder = Shop::new().write();
    let mut child = kest(&[&["audit", "verify", "-"], &TRUSTED[..]].concat())
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its standard input stays open: it waits for more.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&fs::read(segment(&folder)).unwrap()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let catches = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        u64::from_str_radix(&mask, 16).unwrap() & 0b10 != 0
    };
    while !catches() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let run = Run::from(child.wait_with_output().unwrap());
    drop(stdin);
    assert_eq!((run.code, run.stdout.as_str()), (130, ""));
    assert!(run.stderr.starts_with("kest: interrupted after "), "{}", run.stderr);
}
