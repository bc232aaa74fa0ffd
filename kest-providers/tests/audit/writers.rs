//! Others who write, move or delete what a sink has open: refused, and nothing acknowledged is lost.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kest_core::audit::AuditSink as _;
use kest_core::error::{AuditError, AuditErrorKind};
use kest_providers::audit::{FileAudit, FindingKind};

use crate::support::{Folder, Kind, read, sample, segments, signer};

fn open(folder: &Folder) -> Result<FileAudit, AuditError> {
    FileAudit::builder(Kind::File.path(folder.path())).rotate_bytes(12_000).open()
}

fn append(sink: &FileAudit, number: u64) -> Result<String, AuditError> {
    let sample = sample(&signer("a"), number);
    sink.append(&sample.record()).map(|()| sample.jws.into_string())
}

/// Whether it takes entries again, within a while.
fn recovers(sink: &FileAudit, number: u64) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match append(sink, number) {
            Ok(jws) => return jws,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::yield_now();
    }
}

#[track_caller]
fn holds(folder: &Folder, acknowledged: &[String]) {
    let (entries, mut findings) = read(&Kind::File.store(folder.path()));
    // What a second writer came upon before it had its head.
    findings.retain(|finding| finding.kind != FindingKind::Aside);
    assert_eq!(findings, []);
    assert_eq!(entries.into_iter().map(|entry| entry.jws).collect::<Vec<_>>(), acknowledged);
}

#[test]
fn who_removes_the_lock_lets_no_second_writer_in() {
    let folder = Folder::new();
    let lock = Kind::File.path(folder.path()).join("lock");
    let first = open(&folder).unwrap();
    let mut acknowledged = Vec::new();
    for number in 0..40 {
        fs::remove_file(&lock).unwrap();
        let error = open(&folder).unwrap_err();
        assert_eq!(error.kind(), AuditErrorKind::Locked, "{error}");
        let live = segments(folder.path()).pop().unwrap();
        assert!(error.to_string().contains(&live.display().to_string()), "{error}");
        acknowledged.push(append(&first, number).unwrap());
    }
    assert!(segments(folder.path()).len() > 3);
    drop(first);
    let second = open(&folder).unwrap();
    acknowledged.push(append(&second, 40).unwrap());
    drop(second);
    holds(&folder, &acknowledged);
}

#[test]
fn who_removes_the_lock_again_and_again_while_segments_change_loses_nothing() {
    let folder = Folder::new();
    let lock = Kind::File.path(folder.path()).join("lock");
    let first = FileAudit::builder(Kind::File.path(folder.path())).rotate_bytes(4_000).open().unwrap();
    let over = AtomicBool::new(false);
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    let tries = thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut tries = 0;
            while !over.load(Ordering::SeqCst) {
                let _ = fs::remove_file(&lock);
                assert!(open(&folder).is_err(), "a second writer");
                tries += 1;
            }
            tries
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        for number in 0.. {
            match append(&first, number) {
                Ok(jws) => acknowledged.push(jws),
                // The other one looked at a segment that was just being begun.
                Err(error) => {
                    assert_eq!(error.kind(), AuditErrorKind::Locked, "{error}");
                    refused += 1;
                    thread::yield_now();
                }
            }
            if acknowledged.len() == 400 || Instant::now() > deadline {
                break;
            }
        }
        over.store(true, Ordering::SeqCst);
        others.join().unwrap()
    });
    drop(first);
    println!("{tries} tries to write too, {refused} calls refused");
    assert!(tries > 20 && acknowledged.len() == 400, "{tries} tries, {} acknowledged", acknowledged.len());
    holds(&folder, &acknowledged);
}

/// What somebody does to the live segment, what the error says of it, and what puts it back.
fn disturbed(disturb: impl Fn(&Path), says: &str, back: Option<fn(&Path)>) {
    let folder = Folder::new();
    let sink = open(&folder).unwrap();
    let mut acknowledged: Vec<String> = (0..3).map(|number| append(&sink, number).unwrap()).collect();
    let live = segments(folder.path()).pop().unwrap();
    disturb(&live);
    for number in 3..6 {
        let error = append(&sink, number).unwrap_err();
        assert_eq!(error.kind(), AuditErrorKind::Changed, "{error}");
        let text = error.to_string();
        assert!(text.contains(says) && text.contains(&live.display().to_string()), "{text}");
    }
    let Some(back) = back else { return };
    back(&live);
    acknowledged.push(recovers(&sink, 6));
    drop(sink);
    holds(&folder, &acknowledged);
}

fn aside(live: &Path) -> std::path::PathBuf {
    live.with_extension("aside")
}

#[test]
fn a_segment_that_was_moved_takes_nothing_until_it_is_back() {
    let away = |live: &Path| fs::rename(live, aside(live)).unwrap();
    disturbed(away, "was moved away", Some(|live| fs::rename(aside(live), live).unwrap()));
}

#[test]
fn a_segment_that_was_deleted_takes_nothing() {
    disturbed(|live| fs::remove_file(live).unwrap(), "was deleted", None);
}

#[test]
fn a_segment_that_was_replaced_takes_nothing_until_it_is_back() {
    let replace = |live: &Path| {
        fs::rename(live, aside(live)).unwrap();
        fs::copy(aside(live), live).unwrap();
    };
    disturbed(replace, "was replaced by another file", Some(|live| fs::rename(aside(live), live).unwrap()));
}

#[test]
fn a_segment_that_was_cut_off_takes_nothing_until_it_is_whole() {
    let cut = |live: &Path| {
        fs::copy(live, aside(live)).unwrap();
        OpenOptions::new().write(true).open(live).unwrap().set_len(900).unwrap();
    };
    let whole = |live: &Path| {
        let bytes = fs::read(aside(live)).unwrap();
        OpenOptions::new().append(true).open(live).unwrap().write_all(&bytes[900..]).unwrap();
    };
    disturbed(cut, "was cut off at 900 bytes", Some(whole));
}

#[test]
fn a_segment_that_somebody_else_has_added_to_takes_nothing_and_nothing_is_taken_from_it() {
    let add = |live: &Path| {
        fs::copy(live, aside(live)).unwrap();
        OpenOptions::new().append(true).open(live).unwrap().write_all(b"somebody's line\n").unwrap();
    };
    let check = |live: &Path| {
        assert!(fs::read_to_string(live).unwrap().ends_with("somebody's line\n"));
        let length = fs::metadata(aside(live)).unwrap().len();
        OpenOptions::new().write(true).open(live).unwrap().set_len(length).unwrap();
    };
    disturbed(add, "was written by somebody else: it has 16 bytes more", Some(check));
}

#[test]
fn a_next_segment_with_lines_of_somebody_else_is_not_touched() {
    let other = Folder::new();
    let writer = open(&other).unwrap();
    append(&writer, 100).unwrap();
    drop(writer);
    let theirs = fs::read(&segments(other.path())[0]).unwrap();

    let folder = Folder::new();
    let sink = open(&folder).unwrap();
    let next = Kind::File.path(folder.path()).join("0000000002.jsonl");
    fs::write(&next, &theirs).unwrap();
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for number in 0..20 {
        match append(&sink, number) {
            Ok(jws) => acknowledged.push(jws),
            Err(error) => {
                assert_eq!(error.kind(), AuditErrorKind::Changed, "{error}");
                assert!(error.to_string().contains("0000000002.jsonl"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(acknowledged.len() > 3 && refused > 3);
    assert_eq!(fs::read(&next).unwrap(), theirs);
    fs::rename(&next, folder.path().join("theirs")).unwrap();
    acknowledged.push(recovers(&sink, 20));
    drop(sink);
    assert_eq!(segments(folder.path()).len(), 2);
    holds(&folder, &acknowledged);
}
