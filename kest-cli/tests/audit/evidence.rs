//! Stores that somebody has made to look well, and ends that are not what they seem.

use std::fs;
use std::path::Path;

use kest_providers::audit::FileAudit;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{STORES, Shop, audit, edit_lines, edit_rows, put, run, segment};
use crate::support::{Run, piped_in};

const TRUSTED: [&str; 2] = ["--anchors", "anchors.json"];

fn verify(folder: &Path, store: &str, more: &[&str]) -> Run {
    audit(folder, "verify", store, &[&TRUSTED[..], more].concat())
}

fn tip(folder: &Path, store: &str) -> String {
    verify(folder, store, &["--json"]).json()["tip"].as_str().unwrap().to_owned()
}

fn lines(folder: &Path, number: u64) -> Vec<String> {
    let text = fs::read_to_string(folder.join(format!("audit/{number:010}.jsonl"))).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What a line says, and its running hash apart.
fn read(line: &str) -> (Value, String) {
    let mut line: Value = serde_json::from_str(line).unwrap();
    let link = line["c"].as_str().unwrap().to_owned();
    line.as_object_mut().unwrap().remove("c");
    (line, link)
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Adds a segment with nothing but a head, with its sums done: it follows line `after` of the segment before it.
fn forge_segment(folder: &Path, number: u64, after: usize, oldest: u64, why: &str) {
    let before = lines(folder, number - 1);
    let (head, _) = read(&before[0]);
    let (_, link) = read(&before[after - 1]);
    let text = format!(
        "{{\"v\":1,\"segment\":{number},\"store\":{},\"created_ms\":{},\"oldest\":{oldest},\"prev\":{{\"segment\":{},\
         \"link\":\"{link}\",\"lines\":{after},\"why\":\"{why}\"}}",
        head["store"],
        head["created_ms"],
        number - 1
    );
    let mut sum = Sha256::new();
    sum.update(unhex(&link));
    sum.update(b"t");
    sum.update(Sha256::digest(&text));
    let link: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(format!("audit/{number:010}.jsonl"));
    fs::write(path, format!("{text},\"c\":\"{link}\"}}\n")).unwrap();
}

/// The shop with a folder of several segments.
fn segments(shop: &Shop) -> std::path::PathBuf {
    let folder = shop.write();
    fs::remove_dir_all(folder.join("audit")).unwrap();
    let sink = FileAudit::builder(folder.join("audit")).rotate_bytes(4_500).open().unwrap();
    for entry in &shop.kept {
        put(&sink, &shop.lineage.entries()[*entry], false);
    }
    sink.close().unwrap();
    assert!(
        folder.join("audit/0000000003.jsonl").exists() && !folder.join("audit/0000000004.jsonl").exists()
    );
    folder
}

#[test]
fn a_segment_that_disowns_what_a_kept_tip_vouches_for_is_found() {
    for why in ["unsynced", "damaged", "rotated"] {
        let folder = Shop::new().write();
        let kept = tip(&folder, "audit");
        let before = read(&lines(&folder, 1)[3]).1;
        forge_segment(&folder, 2, 5, 1, why);
        let run = verify(&folder, "audit", &["--expect-tip", &kept]);
        assert_eq!(run.code, 1, "{why}: {}", run.stdout);
        assert!(
            run.stdout.contains("completeness  fail         a running hash that"),
            "{why}: {}",
            run.stdout
        );
        assert!(run.stdout.contains("disowns"), "{why}: {}", run.stdout);
        let answer = verify(&folder, "audit", &["--expect-tip", &kept, "--json"]).json();
        let findings = answer["findings"].as_array().unwrap();
        assert!(findings.iter().any(|finding| finding["kind"] == "disowned"), "{why}: {findings:?}");
        // What was kept before those lines is still met, and the new end does not cover them.
        let run = verify(&folder, "audit", &["--expect-tip", &before]);
        assert_eq!(run.code, i32::from(why != "unsynced"), "{why}: {}", run.stdout);
        assert!(
            run.stdout
                .contains("(not of lines 6 to 7 of `0000000001.jsonl`, which the next segment disowns)"),
            "{why}: {}",
            run.stdout
        );
        let answer = verify(&folder, "audit", &["--json"]).json();
        assert_eq!(answer["disowned"], json!("lines 6 to 7 of `0000000001.jsonl`"), "{why}");
    }
}

#[test]
fn one_segment_is_said_to_be_one_and_completes_nothing() {
    let folder = segments(&Shop::new());
    let inside = read(lines(&folder, 2).last().unwrap()).1;
    let alone = |more: &[&str]| verify(&folder, "audit/0000000002.jsonl", more);
    let piped = |more: &[&str]| {
        let text = fs::read(folder.join("audit/0000000002.jsonl")).unwrap();
        piped_in(&folder, &[&["audit", "verify", "-"], &TRUSTED[..], more].concat(), &text)
    };
    for verify in [&alone as &dyn Fn(&[&str]) -> Run, &piped] {
        let run = verify(&[]);
        assert_eq!(run.code, 0, "{}", run.stdout);
        assert!(run.stdout.contains("completeness  not checked  only segment 2 was read"), "{}", run.stdout);
        assert!(run.stdout.contains("pass         within segment 2 nothing"), "{}", run.stdout);
        assert!(run.stdout.contains("entries of segment 2 alone"), "{}", run.stdout);
        assert_eq!(verify(&["--json"]).json()["segment"], json!(2));
        let run = verify(&["--expect-tip", &inside]);
        assert_eq!(run.code, 1, "{}", run.stdout);
        assert!(
            run.stdout.contains(
                "completeness  not checked  the running hash that was kept elsewhere is in segment 2"
            ),
            "{}",
            run.stdout
        );
        assert!(!run.stdout.contains("all that it had"), "{}", run.stdout);
        let run = verify(&["--expect-tip", &"00".repeat(32)]);
        assert!(run.code == 1 && run.stdout.contains("is not in segment 2, and only that"), "{}", run.stdout);
    }
    let run = verify(&folder, "audit", &["--expect-tip", &inside]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert_eq!(verify(&folder, "audit", &["--json"]).json()["segment"], Value::Null);
}

#[test]
fn a_store_without_entries_is_not_accepted_unless_it_may_be_empty() {
    let mut shop = Shop::new();
    shop.kept.clear();
    let never_used = shop.write();
    let emptied = Shop::new().write();
    edit_lines(&emptied, |lines| lines.truncate(1));
    edit_rows(
        &emptied,
        "DELETE FROM entries; DELETE FROM postings; DELETE FROM steps; DELETE FROM keys; \
         UPDATE head SET seq = 0, link = zeroblob(32), keys_seq = 0, keys_link = zeroblob(32), denial_bytes = 0",
    );
    let nothing = Shop::new().write();
    fs::write(segment(&nothing), "").unwrap();
    for (folder, store) in
        STORES.map(|store| (&never_used, store)).into_iter().chain(STORES.map(|store| (&emptied, store)))
    {
        for run in [verify(folder, store, &[]), run(folder, &[&["verify", store], &TRUSTED[..]].concat())] {
            assert_eq!(run.code, 1, "{store}: {}", run.stdout);
            assert!(
                !run.stdout.contains(" pass ") && run.stdout.contains("nothing is attested"),
                "{}",
                run.stdout
            );
            assert!(run.stdout.contains("say --allow-empty"), "{}", run.stdout);
        }
        assert_eq!(verify(folder, store, &["--json"]).json()["accepted"], json!(false));
        let run = verify(folder, store, &["--allow-empty"]);
        assert_eq!(run.code, 0, "{}", run.stdout);
        assert!(run.stdout.ends_with("nothing is attested\n"), "{}", run.stdout);
    }
    assert_eq!(verify(&nothing, "audit", &[]).code, 1);
    // What a kept tip says is not given up for that.
    let kept = tip(&nothing, "audit.db");
    let run = verify(&emptied, "audit.db", &["--allow-empty", "--expect-tip", &kept]);
    assert_eq!(run.code, 1, "{}", run.stdout);
    run_on_passport(&nothing);
}

fn run_on_passport(folder: &Path) {
    fs::write(folder.join("empty.json"), "[]").unwrap();
    assert_eq!(run(folder, &[&["verify", "empty.json"], &TRUSTED[..]].concat()).code, 0);
    run(folder, &[&["verify", "empty.json", "--allow-empty"], &TRUSTED[..]].concat())
        .unusable("--allow-empty is about audit stores");
}

#[test]
fn a_last_line_that_lacks_only_its_end_counts_and_is_kept() {
    let folder = Shop::new().write();
    let kept = tip(&folder, "audit");
    let whole = fs::read(segment(&folder)).unwrap();
    fs::write(segment(&folder), &whole[..whole.len() - 1]).unwrap();
    let run = verify(&folder, "audit", &["--expect-tip", &kept]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.stdout.contains("5 entries") && !run.stdout.contains("never acknowledged"), "{}", run.stdout);
    assert!(
        run.stdout.contains("finding       0000000001.jsonl:7: the last line is whole but"),
        "{}",
        run.stdout
    );
    FileAudit::open(folder.join("audit")).unwrap().close().unwrap();
    assert_eq!(fs::read(segment(&folder)).unwrap(), whole);
    let run = verify(&folder, "audit", &["--expect-tip", &kept]);
    assert!(run.code == 0 && !run.stdout.contains("finding "), "{}", run.stdout);
}

#[test]
fn what_a_writer_has_put_aside_is_named() {
    let shop = Shop::new();
    let folder = shop.write();
    let whole = fs::read(segment(&folder)).unwrap();
    fs::write(segment(&folder), &whole[..whole.len() - 2]).unwrap();
    FileAudit::open(folder.join("audit")).unwrap().close().unwrap();
    let run = verify(&folder, "audit", &[]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.stdout.contains("4 entries"), "{}", run.stdout);
    let aside = fs::read_dir(folder.join("audit")).unwrap().map(|file| file.unwrap().file_name());
    let aside = aside.map(|name| name.into_string().unwrap()).find(|name| name.ends_with(".torn")).unwrap();
    assert!(
        run.stdout.contains(&format!("finding       store: `{aside}` is what a writer")),
        "{}",
        run.stdout
    );
    let answer = verify(&folder, "audit", &["--json"]).json();
    assert_eq!(answer["findings"][0]["kind"], json!("aside"));
}

#[test]
fn more_threads_than_any_machine_has_are_a_usage_error() {
    let folder = Shop::new().write();
    for threads in ["0", "1025", "100000", "99999999999999999999"] {
        verify(&folder, "audit", &["--threads", threads]).unusable("--threads");
    }
    let run = verify(&folder, "audit", &["--threads", "1024"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[test]
fn what_retention_took_after_a_tip_was_kept_is_complete_only_where_it_may_be_gone() {
    let folder = segments(&Shop::new());
    let kept = tip(&folder, "audit");
    let after = lines(&folder, 3).len();
    forge_segment(&folder, 4, after, 3, "rotated");
    let taken_later = tip(&folder, "audit");
    for number in [1, 2] {
        fs::remove_file(folder.join(format!("audit/{number:010}.jsonl"))).unwrap();
    }
    let run_of_kept = verify(&folder, "audit", &["--expect-tip", &kept]);
    assert_eq!(run_of_kept.code, 1, "{}", run_of_kept.stdout);
    for part in [
        "completeness  not checked  the expected running hash vouches for what retention says",
        "segments `0000000001.jsonl` to `0000000002.jsonl`, received before 20",
        "--retained-since says what may be gone",
    ] {
        assert!(run_of_kept.stdout.contains(part), "{part}: {}", run_of_kept.stdout);
    }
    // The head that says so was there when this one was kept.
    let run = verify(&folder, "audit", &["--expect-tip", &taken_later]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.stdout.contains("completeness  pass"), "{}", run.stdout);
    let both = verify(&folder, "audit", &["--expect-tip", &taken_later, "--expect-tip", &kept]);
    assert_eq!(both.code, 1, "{}", both.stdout);
    let since = |time: &str| verify(&folder, "audit", &["--expect-tip", &kept, "--retained-since", time]);
    let (_, received) = run_of_kept.stdout.split_once("received before ").unwrap();
    let run = since(&received[..24]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.stdout.contains("completeness  pass         the store has all"), "{}", run.stdout);
    assert!(run.stdout.contains("has taken since: segments `0000000001.jsonl`"), "{}", run.stdout);
    let run = since("1d");
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(run.stdout.contains("completeness  not checked  retention says"), "{}", run.stdout);
    assert!(run.stdout.contains("all is to be there since 20"), "{}", run.stdout);
    verify(&folder, "audit", &["--retained-since", "1d"]).unusable("--expect-tip");
    since("yesterday").unusable("--retained-since");
    run_store_only(&folder, &["--expect-tip", &kept, "--retained-since", "1d"]);
}

fn run_store_only(folder: &Path, more: &[&str]) {
    run(folder, &[&["verify", "passport.json"], &TRUSTED[..], more].concat()).unusable("this is a passport");
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_opened() {
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::kest;

    let fifo = |path: std::path::PathBuf| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    let ends = |folder: &Path, args: &[&str]| -> Run {
        let mut command = kest(args);
        command.current_dir(folder).stdin(std::process::Stdio::null());
        let mut child = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("{args:?} waits for somebody to write into a pipe");
            }
            std::thread::yield_now();
        }
        child.wait_with_output().unwrap().into()
    };
    for (number, what) in [(1, "fifo"), (2, "fifo"), (3, "fifo"), (4, "fifo"), (2, "folder")] {
        let folder = segments(&Shop::new());
        let name = format!("{number:010}.jsonl");
        let path = folder.join("audit").join(&name);
        let _ = fs::remove_file(&path);
        match what {
            "fifo" => fifo(path),
            _ => fs::create_dir(path).unwrap(),
        }
        let run = ends(&folder, &["audit", "verify", "audit", "--anchors", "anchors.json"]);
        assert_eq!(run.code, 1, "{name}: {}{}", run.stdout, run.stderr);
        let found = format!("store: `{name}` is no regular file, so it was not opened");
        assert!(run.stdout.contains(&format!("damage        {found}")), "{name}: {}", run.stdout);
        for args in [
            &["audit", "ls", "audit"][..],
            &["audit", "export", "audit", "--format", "jsonl"],
            &["audit", "verify", "audit", "--stored-keys"],
        ] {
            let run = ends(&folder, args);
            assert_ne!(run.code, 0, "{args:?}");
            let said = format!("{}{}", run.stdout, run.stderr);
            assert!(said.contains(&name) && said.contains("no regular file"), "{args:?}: {said}");
        }
    }
    let folder = segments(&Shop::new());
    fifo(folder.join("pipe"));
    ends(&folder, &["audit", "ls", "pipe"]).unusable("no regular file");
    // A link to a segment is one.
    let path = folder.join("audit/0000000002.jsonl");
    fs::rename(&path, folder.join("elsewhere")).unwrap();
    symlink(folder.join("elsewhere"), &path).unwrap();
    assert_eq!(verify(&folder, "audit", &[]).code, 0);
}
