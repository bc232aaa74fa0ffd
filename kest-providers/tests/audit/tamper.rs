//! A store that somebody has edited: found, and the place named.

use std::fs;
use std::path::Path;

use kest_providers::audit::{FileAudit, Finding, FindingKind};

use crate::support::{Folder, Kind, Says, read, sample, sample_of, segments, signer};

/// Segments of some entries each.
fn files() -> Folder {
    use kest_core::audit::AuditSink as _;
    let folder = Folder::new();
    let (a, b) = (signer("a"), signer("b"));
    let sink = FileAudit::builder(Kind::File.path(folder.path())).rotate_bytes(12_000).open().unwrap();
    for number in 0..30 {
        sink.append(&sample(if number % 2 == 0 { &a } else { &b }, number).record()).unwrap();
    }
    drop(sink);
    assert!(segments(folder.path()).len() >= 3);
    assert_eq!(read(&Kind::File.store(folder.path())).1, []);
    folder
}

fn damage(folder: &Folder, kind: Kind) -> Vec<Finding> {
    let findings = read(&kind.store(folder.path())).1;
    findings.into_iter().filter(|finding| finding.kind.is_damage()).collect()
}

fn edit(file: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(file).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[track_caller]
fn first_is(findings: &[Finding], kind: FindingKind, place: &str) {
    let first = findings.first().expect("nothing was found");
    assert_eq!((first.kind, first.place.to_string().as_str()), (kind, place), "{findings:?}");
}

#[test]
fn edited_lines_are_named() {
    let folder = files();
    let second = &segments(folder.path())[1];
    edit(second, |lines| lines[5] = lines[5].replace("\"received_ms\":1", "\"received_ms\":2"));
    let findings = damage(&folder, Kind::File);
    first_is(&findings, FindingKind::Broken, "0000000002.jsonl:6");
    assert_eq!(findings.len(), 1, "{findings:?}");

    let folder = files();
    let second = &segments(folder.path())[1];
    edit(second, |lines| {
        let at = lines[6].find("\"jws\":\"").unwrap() + 60;
        let other = if &lines[6][at..=at] == "A" { "B" } else { "A" };
        lines[6].replace_range(at..=at, other);
    });
    first_is(&damage(&folder, Kind::File), FindingKind::Broken, "0000000002.jsonl:7");

    let folder = files();
    let second = &segments(folder.path())[1];
    edit(second, |lines| lines[4] = "{}".to_owned());
    first_is(&damage(&folder, Kind::File), FindingKind::Malformed, "0000000002.jsonl:5");
}

#[test]
fn deleted_reordered_and_doubled_lines_are_named() {
    let folder = files();
    edit(&segments(folder.path())[1], |lines| drop(lines.remove(5)));
    first_is(&damage(&folder, Kind::File), FindingKind::Broken, "0000000002.jsonl:6");

    let folder = files();
    edit(&segments(folder.path())[1], |lines| lines.swap(5, 6));
    first_is(&damage(&folder, Kind::File), FindingKind::Broken, "0000000002.jsonl:6");

    let folder = files();
    edit(&segments(folder.path())[1], |lines| lines.insert(5, lines[5].clone()));
    first_is(&damage(&folder, Kind::File), FindingKind::Broken, "0000000002.jsonl:7");

    // The end of a segment that another follows.
    let folder = files();
    edit(&segments(folder.path())[1], |lines| drop(lines.pop()));
    first_is(&damage(&folder, Kind::File), FindingKind::Broken, "0000000003.jsonl:1");
}

#[test]
fn swapped_keys_are_named() {
    let folder = files();
    let first = &segments(folder.path())[0];
    edit(first, |lines| {
        let at = lines.iter().position(|line| line.contains("\"keys\"")).unwrap();
        assert_eq!(at, 1);
        let x = lines[at].find("\"x\":\"").unwrap() + 5;
        let stranger = kest_core::identity::IdentityProvider::public_keys(&*signer("x")).unwrap().to_json();
        lines[at].replace_range(x..x + 43, stranger["keys"][0]["x"].as_str().unwrap());
    });
    first_is(&damage(&folder, Kind::File), FindingKind::Broken, "0000000001.jsonl:2");
}

#[test]
fn missing_and_foreign_segments_are_named() {
    let folder = files();
    fs::remove_file(&segments(folder.path())[0]).unwrap();
    first_is(&damage(&folder, Kind::File), FindingKind::Missing, "store");

    let folder = files();
    fs::remove_file(&segments(folder.path())[1]).unwrap();
    first_is(&damage(&folder, Kind::File), FindingKind::Missing, "0000000003.jsonl:1");

    let (folder, other) = (files(), files());
    fs::copy(&segments(other.path())[1], &segments(folder.path())[1]).unwrap();
    first_is(&damage(&folder, Kind::File), FindingKind::Broken, "0000000002.jsonl:1");
}

#[test]
fn a_writer_that_comes_upon_damage_goes_on_beside_it_and_says_so() {
    use kest_core::audit::AuditSink as _;
    let folder = files();
    let last = segments(folder.path()).pop().unwrap();
    let name = last.file_name().unwrap().to_str().unwrap().to_owned();
    edit(&last, |lines| lines[3] = lines[3].replace("\"received_ms\":1", "\"received_ms\":2"));
    let before = fs::read(&last).unwrap();
    let count = read(&Kind::File.store(folder.path())).0.len();
    let sink = FileAudit::open(Kind::File.path(folder.path())).unwrap();
    sink.append(&sample(&signer("c"), 99).record()).unwrap();
    drop(sink);
    assert_eq!(fs::read(&last).unwrap(), before, "evidence is not touched");
    assert_eq!(read(&Kind::File.store(folder.path())).0.len(), count + 1);
    let findings = damage(&folder, Kind::File);
    assert!(findings.iter().any(|finding| finding.kind == FindingKind::Damaged), "{findings:?}");
    assert!(findings.iter().all(|finding| finding.place.to_string() == format!("{name}:4")), "{findings:?}");
}

#[test]
fn a_damaged_last_line_stays_and_is_named_after_a_writer_has_come() {
    use kest_core::audit::AuditSink as _;
    let folder = files();
    let last = segments(folder.path()).pop().unwrap();
    let name = last.file_name().unwrap().to_str().unwrap().to_owned();
    let whole = fs::read(&last).unwrap();
    let begin = whole[..whole.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    let number = whole.iter().filter(|b| **b == b'\n').count();
    let place = format!("{name}:{number}");
    let form = (begin..begin + 8).chain(whole.len() - 80..whole.len());
    let mut cases: Vec<Vec<u8>> = form
        .map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        })
        .collect();
    for zeroed in [1, 100, whole.len() - begin] {
        let mut bytes = whole.clone();
        let from = bytes.len() - zeroed;
        bytes[from..].fill(0);
        cases.push(bytes);
    }
    for (case, bytes) in cases.into_iter().enumerate() {
        fs::write(&last, &bytes).unwrap();
        first_is(&damage(&folder, Kind::File), kind_of(&bytes, &folder), &place);
        let alone = read(&kest_providers::audit::Store::open(&last).unwrap()).1;
        assert!(alone.iter().any(|finding| finding.kind.is_damage()), "case {case}: {alone:?}");
        let sink = FileAudit::open(Kind::File.path(folder.path())).unwrap();
        sink.append(&sample(&signer("c"), 99).record()).unwrap();
        drop(sink);
        assert_eq!(fs::read(&last).unwrap(), bytes, "case {case}: evidence is not touched");
        let findings = damage(&folder, Kind::File);
        assert!(!findings.is_empty(), "case {case}");
        assert!(
            findings.iter().all(|finding| finding.place.to_string() == place),
            "case {case}: {findings:?}"
        );
        let after = segments(folder.path()).pop().unwrap();
        assert_ne!(after, last, "case {case}");
        fs::remove_file(after).unwrap();
    }
}

/// Malformed or broken: which of them is the reader's to say, and damage it is.
fn kind_of(bytes: &[u8], folder: &Folder) -> FindingKind {
    let kind = damage(folder, Kind::File).first().expect("nothing was found").kind;
    let allowed = [FindingKind::Malformed, FindingKind::Broken];
    assert!(allowed.contains(&kind), "{kind:?}: {}", String::from_utf8_lossy(&bytes[bytes.len() - 90..]));
    kind
}

#[test]
fn a_torn_last_line_is_not_said_to_be_unacknowledged_where_another_segment_may_follow() {
    let folder = files();
    let first = segments(folder.path()).remove(0);
    let whole = fs::read(&first).unwrap();
    fs::write(&first, &whole[..whole.len() - 40]).unwrap();
    let alone = read(&kest_providers::audit::Store::open(&first).unwrap()).1;
    assert_eq!(alone.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [FindingKind::Torn]);
    assert!(!alone[0].detail.contains("acknowledged"), "{alone:?}");
    let piped = kest_providers::audit::Scan::of_segment(fs::File::open(&first).unwrap());
    let details = piped.filter_map(|seen| match seen.unwrap() {
        kest_providers::audit::Seen::Finding(finding) => Some(finding.detail),
        _ => None,
    });
    assert_eq!(details.collect::<Vec<_>>(), [alone[0].detail.clone()]);
    assert!(!damage(&folder, Kind::File).is_empty());
}

#[cfg(feature = "sqlite")]
#[test]
fn an_edited_database_is_named() {
    use rusqlite_probe::change;

    let cases: [(&str, FindingKind, &str); 9] = [
        ("UPDATE entries SET received_ms = received_ms + 1 WHERE seq = 7", FindingKind::Broken, "entry 7"),
        (
            "UPDATE entries SET jws = (SELECT jws FROM entries WHERE seq = 3) WHERE seq = 7",
            FindingKind::Broken,
            "entry 7",
        ),
        ("DELETE FROM entries WHERE seq = 7", FindingKind::Missing, "entry 8"),
        ("DELETE FROM entries WHERE seq = 1", FindingKind::Missing, "entry 2"),
        ("DELETE FROM entries WHERE seq = 20", FindingKind::Missing, "entry 19"),
        (
            "UPDATE entries SET seq = 100 WHERE seq = 7; UPDATE entries SET seq = 7 WHERE seq = 8; \
             UPDATE entries SET seq = 8 WHERE seq = 100",
            FindingKind::Broken,
            "entry 7",
        ),
        ("UPDATE entries SET denied = 0 WHERE seq = 6", FindingKind::Columns, "entry 6"),
        (
            "UPDATE keys SET jwks = replace(jwks, '\"x\":\"', '\"x\":\"A') WHERE seq = 2",
            FindingKind::Broken,
            "keys 2",
        ),
        ("DELETE FROM keys WHERE seq = 2", FindingKind::Missing, "keys 1"),
    ];
    for (sql, kind, place) in cases {
        let folder = Folder::new();
        let (a, b) = (signer("a"), signer("b"));
        {
            let sink = Kind::Sqlite.open(folder.path()).unwrap();
            for number in 0..20 {
                let says = Says {
                    operation: "pay",
                    user: Some("alice".into()),
                    taints: &["pii", "raw"],
                    denied: number == 5,
                    ..Says::default()
                };
                let signer = if number % 2 == 0 { &a } else { &b };
                sink.append(&sample_of(signer, number, &says).record()).unwrap();
            }
        }
        assert_eq!(read(&Kind::Sqlite.store(folder.path())).1, []);
        change(&Kind::Sqlite.path(folder.path()), sql);
        let findings = damage(&folder, Kind::Sqlite);
        let first = findings.first().unwrap_or_else(|| panic!("nothing was found: {sql}"));
        assert_eq!((first.kind, first.place.to_string().as_str()), (kind, place), "{sql}: {findings:?}");
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn a_row_with_values_that_no_sink_writes_is_named_and_the_rest_is_read() {
    use rusqlite_probe::change;

    // What is changed, the first finding, its place, and how many entries are still read.
    let cases: [(&str, FindingKind, &str, usize); 5] = [
        ("UPDATE entries SET chain = x'' WHERE seq = 20", FindingKind::Malformed, "entry 20", 20),
        (
            "UPDATE entries SET jws = CAST(x'ff2e' AS TEXT) WHERE seq = 7",
            FindingKind::Malformed,
            "entry 7",
            19,
        ),
        (
            "UPDATE entries SET jws = CAST(zeroblob(1048577) AS TEXT) WHERE seq = 7",
            FindingKind::Malformed,
            "entry 7",
            19,
        ),
        ("UPDATE keys SET jwks = CAST(x'ff' AS TEXT) WHERE seq = 1", FindingKind::Malformed, "keys 1", 20),
        ("UPDATE keys SET chain = x'00' WHERE seq = 1", FindingKind::Broken, "keys 1", 20),
    ];
    for (sql, kind, place, left) in cases {
        let folder = Folder::new();
        {
            let (a, sink) = (signer("a"), Kind::Sqlite.open(folder.path()).unwrap());
            for number in 0..20 {
                sink.append(&sample(&a, number).record()).unwrap();
            }
        }
        change(&Kind::Sqlite.path(folder.path()), sql);
        let (entries, findings) = read(&Kind::Sqlite.store(folder.path()));
        assert_eq!(entries.len(), left, "{sql}: {findings:?}");
        first_is(&findings, kind, place);
        assert_eq!(findings.len(), 1, "{sql}: {findings:?}");
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn other_databases_and_newer_stores_are_refused() {
    use kest_core::error::AuditErrorKind;
    use rusqlite_probe::change;

    let folder = Folder::new();
    let path = Kind::Sqlite.path(folder.path());
    change(&path, "CREATE TABLE photos(id INTEGER)");
    let error = Kind::Sqlite.open(folder.path()).unwrap_err();
    assert_eq!(error.kind(), AuditErrorKind::Open);
    assert!(error.to_string().contains("something else"), "{error}");

    let folder = Folder::new();
    drop(Kind::Sqlite.open(folder.path()).unwrap());
    change(&Kind::Sqlite.path(folder.path()), "PRAGMA user_version = 9");
    let error = Kind::Sqlite.open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("version 9"), "{error}");
    let error = Kind::Sqlite.store(folder.path()).scan().unwrap_err();
    assert!(error.to_string().contains("newer kest"), "{error}");
}

#[cfg(feature = "sqlite")]
mod rusqlite_probe {
    use std::path::Path;

    /// What somebody with the tool `sqlite3` does.
    pub(crate) fn change(path: &Path, sql: &str) {
        rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    }
}
