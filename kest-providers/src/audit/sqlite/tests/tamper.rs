//! Postings, `head` and `retired` that somebody has edited, and what is read all the same.

use rusqlite::Connection;

use super::find::{Says, id, signers};
use super::{Folder, append, small_blocks};
use crate::audit::{Filter, Finding, FindingKind, Seen, Store};

const ENTRIES: usize = 18;

/// Four blocks of four, and two entries more; the fifth, tenth and fifteenth are receipts of denials.
fn store() -> (Folder, Store) {
    let folder = Folder::new();
    let file = folder.0.join("audit.sqlite");
    let signers = signers();
    let sink = small_blocks(&file, 4).open().unwrap();
    for number in 0..ENTRIES {
        let says = Says {
            workload: number % 2,
            operation: number % 3,
            user: Some(number % 4),
            taints: vec![true, false, number % 2 == 0],
            denied: number % 5 == 4,
            trace: number,
        };
        append(&sink, &signers[says.workload], &says.sign(&signers, number));
    }
    drop(sink);
    let store = Store::open(&file).unwrap();
    let (entries, findings) = read(&store);
    assert_eq!((entries, findings), (ENTRIES, Vec::new()));
    (folder, store)
}

fn read(store: &Store) -> (usize, Vec<Finding>) {
    let (mut entries, mut findings) = (0, Vec::new());
    for seen in store.scan().unwrap() {
        match seen.unwrap() {
            Seen::Entry(_) => entries += 1,
            Seen::Finding(finding) => findings.push(finding),
        }
    }
    (entries, findings)
}

fn change(store: &Store, sql: &str) {
    Connection::open(store.path()).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn edited_missing_and_surplus_postings_are_named() {
    // The fields are 0 to 6, of which 3 is the operation; block 1 has the entries 5 to 8.
    let cases = [
        ("DELETE FROM postings WHERE place = (3 << 40) + 1", "entries 5 to 8"),
        ("DELETE FROM postings WHERE place % (1 << 40) = 1", "entries 5 to 8"),
        ("UPDATE postings SET terms = x'00' WHERE place = (3 << 40) + 1", "entries 5 to 8"),
        // Empty: nothing is found any more, in a form that sinks write.
        ("UPDATE postings SET terms = x'' WHERE place = (3 << 40) + 1", "entry 5"),
        ("UPDATE postings SET terms = x'' WHERE place = (6 << 40) + 1", "entry 5"),
        // Of another block, of a stranger, at a position that no block has, out of order, and doubled.
        (
            "UPDATE postings SET terms = (SELECT terms FROM postings WHERE place = (3 << 40) + 2) \
             WHERE place = (3 << 40) + 1",
            "entry 5",
        ),
        (
            "UPDATE postings SET terms = CAST(terms || x'ffffffff0002' AS BLOB) WHERE place = (3 << 40) + 1",
            "entry 7",
        ),
        (
            "UPDATE postings SET terms = CAST(terms || x'ffffffff0004' AS BLOB) WHERE place = (3 << 40) + 1",
            "entries 5 to 8",
        ),
        (
            "UPDATE postings SET terms = CAST(x'ffffffff0002' || terms AS BLOB) WHERE place = (3 << 40) + 1",
            "entries 5 to 8",
        ),
        (
            "UPDATE postings SET terms = CAST(terms || substr(terms, -6) AS BLOB) WHERE place = (3 << 40) + 1",
            "entries 5 to 8",
        ),
        // A block too many, a field too many, and a place that is none.
        ("INSERT INTO postings VALUES ((3 << 40) + 4, x'')", "store"),
        ("INSERT INTO postings VALUES (7 << 40, x'')", "store"),
        ("INSERT INTO postings VALUES (-1, x'')", "store"),
        ("UPDATE head SET denial_bytes = 7", "store"),
        ("UPDATE entries SET denied = 1 WHERE seq = 7", "entry 7"),
        ("UPDATE head SET block = 5", "entry 5"),
    ];
    for (sql, place) in cases {
        let (_folder, store) = store();
        change(&store, sql);
        let (entries, findings) = read(&store);
        assert_eq!(entries, ENTRIES, "{sql}");
        let found = findings.iter().any(|finding| finding.place.to_string() == place);
        assert!(found, "{sql}: {findings:?}");
        assert!(findings.iter().all(|finding| finding.kind == FindingKind::Columns), "{sql}: {findings:?}");
    }
}

#[test]
fn what_no_sink_writes_into_head_and_retired_ends_no_scan() {
    let cases = [
        "DELETE FROM head",
        "UPDATE head SET link = x'00'",
        "UPDATE head SET first_link = x''",
        "UPDATE head SET keys_link = zeroblob(33)",
        "UPDATE head SET seq = -1",
        "UPDATE head SET first_seq = -9223372036854775808",
        "UPDATE head SET keys_seq = -2",
        "UPDATE head SET denial_bytes = -2",
        "UPDATE head SET block = 0",
        "UPDATE head SET block = 9223372036854775807",
        "INSERT INTO retired(after_seq, at_ms, first_seq, first_link) VALUES (3, 1, 0, x'00')",
        "INSERT INTO retired(after_seq, at_ms, first_seq, first_link) VALUES (3, -1, 0, zeroblob(32))",
    ];
    for sql in cases {
        let (_folder, store) = store();
        change(&store, sql);
        let (entries, findings) = read(&store);
        assert_eq!(entries, ENTRIES, "{sql}: {findings:?}");
        let first = findings.first().unwrap_or_else(|| panic!("nothing was found: {sql}"));
        assert_eq!(
            (first.kind, first.place.to_string().as_str()),
            (FindingKind::Malformed, "store"),
            "{sql}"
        );
        assert_eq!(findings.len(), 1, "{sql}: {findings:?}");
        let listed = store.list(&Filter::default()).unwrap().filter(|stored| stored.is_ok()).count();
        assert_eq!(listed, ENTRIES, "{sql}");
        let taint = Filter { taint: Some("pii".to_owned()), ..Filter::default() };
        assert_eq!(store.list(&taint).unwrap().count(), ENTRIES, "{sql}");
    }
    // A number that is out of all reach is named too, and nothing overflows.
    for sql in
        ["UPDATE head SET seq = 9223372036854775807", "UPDATE head SET first_seq = 9223372036854775807"]
    {
        let (_folder, store) = store();
        change(&store, sql);
        let (_, findings) = read(&store);
        assert!(findings.iter().any(|finding| finding.kind.is_damage()), "{sql}: {findings:?}");
        assert!(store.list(&Filter::default()).unwrap().count() <= ENTRIES, "{sql}");
    }
}

#[test]
fn a_sink_takes_no_store_whose_head_it_cannot_read() {
    for sql in ["DELETE FROM head", "UPDATE head SET link = x'00'", "UPDATE head SET block = 0"] {
        let (_folder, store) = store();
        change(&store, sql);
        small_blocks(store.path(), 4).open().expect_err(sql);
    }
}

#[test]
fn postings_that_are_gone_or_in_no_form_hide_nothing() {
    for sql in ["DELETE FROM postings", "UPDATE postings SET terms = x'00'"] {
        let (_folder, store) = store();
        change(&store, sql);
        for newest_first in [false, true] {
            let found = |filter: Filter| {
                store
                    .list(&Filter { newest_first, ..filter })
                    .unwrap()
                    .map(|stored| stored.unwrap())
                    .collect::<Vec<_>>()
            };
            let operation = Some("step-1".to_owned());
            assert_eq!(found(Filter { operation, ..Filter::default() }).len(), 6, "{sql}");
            assert_eq!(found(Filter { denied: Some(true), ..Filter::default() }).len(), 3, "{sql}");
            assert_eq!(found(Filter { denied: Some(false), ..Filter::default() }).len(), 15, "{sql}");
            assert_eq!(found(Filter { entry_id: Some(id(7)), ..Filter::default() }).len(), 1, "{sql}");
        }
    }
}

#[test]
fn a_list_goes_on_after_a_row_that_cannot_be_read() {
    for (sql, unfit) in [
        ("UPDATE entries SET jws = CAST(x'ff2e' AS TEXT) WHERE seq IN (7, 18)", 2),
        ("UPDATE entries SET jws = CAST(zeroblob(1048577) AS TEXT) WHERE seq = 7", 1),
    ] {
        let (_folder, store) = store();
        change(&store, sql);
        for newest_first in [false, true] {
            let (good, bad): (Vec<_>, Vec<_>) = store
                .list(&Filter { newest_first, ..Filter::default() })
                .unwrap()
                .partition(|stored| stored.is_ok());
            assert_eq!((good.len(), bad.len()), (ENTRIES - unfit, unfit), "{sql}");
            for error in bad {
                let error = error.unwrap_err().to_string();
                assert!(error.contains("entry 7 of") || error.contains("entry 18 of"), "{error}");
            }
            // A look is taken where the entry was filed, and not elsewhere.
            let asked = |operation: &str| {
                let filter =
                    Filter { newest_first, operation: Some(operation.to_owned()), ..Filter::default() };
                store.list(&filter).unwrap().filter(|stored| stored.is_err()).count()
            };
            assert_eq!(asked("step-0") + asked("step-1"), 1 + 2 * (unfit - 1), "{sql}");
        }
    }
}

#[test]
fn postings_left_by_somebody_else_are_written_over() {
    let (_folder, store) = store();
    change(&store, "INSERT INTO postings VALUES ((3 << 40) + 4, x'00')");
    let signers = signers();
    let sink = small_blocks(store.path(), 4).open().unwrap();
    for number in ENTRIES..ENTRIES + 2 {
        let says =
            Says { workload: 0, operation: 0, user: None, taints: Vec::new(), denied: false, trace: 1 };
        append(&sink, &signers[0], &says.sign(&signers, number));
    }
    drop(sink);
    assert_eq!(read(&store), (ENTRIES + 2, Vec::new()));
}

#[test]
fn a_gap_of_any_size_ends_no_list() {
    for postings in ["", "DELETE FROM postings;"] {
        let (_folder, store) = store();
        let far = i64::MAX - 7;
        let sql = format!(
            "{postings} UPDATE entries SET seq = {far} WHERE seq = 18; UPDATE head SET seq = {far}; \
             UPDATE entries SET seq = 3000000000 WHERE seq = 17"
        );
        change(&store, &sql);
        for newest_first in [false, true] {
            let found = |filter: Filter| store.list(&Filter { newest_first, ..filter }).unwrap().count();
            assert_eq!(found(Filter::default()), ENTRIES, "{sql}");
            assert_eq!(
                found(Filter { taint: Some("pii".to_owned()), ..Filter::default() }),
                ENTRIES,
                "{sql}"
            );
            assert_eq!(found(Filter { denied: Some(false), ..Filter::default() }), 15, "{sql}");
        }
        assert!(read(&store).1.iter().any(|finding| finding.kind == FindingKind::Missing), "{sql}");
    }
}

/// Each leaves all rows as they are.
#[test]
fn tables_that_are_not_as_sinks_make_them_are_named_and_not_written_to() {
    let cases = [
        (
            "CREATE TRIGGER t BEFORE INSERT ON entries BEGIN SELECT raise(ignore); END",
            "the trigger `t` of `entries` is not as sinks make it",
        ),
        (
            "CREATE TRIGGER t AFTER INSERT ON entries WHEN new.denied = 1 BEGIN \
             DELETE FROM entries WHERE seq = new.seq; END",
            "the trigger `t` of `entries` is not as sinks make it",
        ),
        (
            "CREATE UNIQUE INDEX i ON entries(received_ms, seq)",
            "the index `i` of `entries` is not as sinks make it",
        ),
        (
            "PRAGMA writable_schema = on; CREATE INDEX i ON keys(workload, jwks); \
             UPDATE sqlite_schema SET name = 'sqlite_stat9', \
             sql = 'CREATE INDEX sqlite_stat9 ON keys(workload, jwks)' WHERE name = 'i'",
            "the index `sqlite_stat9` of `keys` is not as sinks make it",
        ),
        ("CREATE VIEW v AS SELECT 1", "the view `v` of `v` is not as sinks make it"),
        (
            "ALTER TABLE entries ADD COLUMN x INTEGER",
            "the table `entries` of `entries` is not as sinks make it",
        ),
        ("DROP INDEX retired_after", "the index `retired_after` of `retired` is gone"),
        ("DROP TABLE migrations", "the table `migrations` of `migrations` is gone"),
    ];
    for (sql, what) in cases {
        let (_folder, store) = store();
        change(&store, sql);
        let (entries, findings) = read(&store);
        assert_eq!((entries, findings.len()), (ENTRIES, 1), "{sql}: {findings:?}");
        assert_eq!((findings[0].kind, &*findings[0].detail), (FindingKind::Malformed, what), "{sql}");
        let refused = small_blocks(store.path(), 4).open().expect_err(sql).to_string();
        assert!(refused.contains("was altered: ") && refused.contains(what), "{refused}");
    }
    // SQLite's own notes on a database are no change.
    let (_folder, store) = store();
    change(&store, "ANALYZE");
    assert_eq!(read(&store), (ENTRIES, Vec::new()));
    drop(small_blocks(store.path(), 4).open().unwrap());
}

#[test]
fn a_trigger_that_comes_while_the_sink_is_open_takes_nothing() {
    let triggers = [
        "CREATE TRIGGER t BEFORE INSERT ON entries BEGIN SELECT raise(ignore); END",
        "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries WHERE seq = new.seq; END",
        "CREATE TRIGGER t BEFORE UPDATE ON head BEGIN SELECT raise(ignore); END",
        "CREATE TRIGGER t BEFORE INSERT ON postings BEGIN SELECT raise(ignore); END",
    ];
    for sql in triggers {
        let folder = Folder::new();
        let file = folder.0.join("audit.sqlite");
        let signers = signers();
        let sink = small_blocks(&file, 4).open().unwrap();
        for number in 0..6 {
            if number == 1 {
                Connection::open(&file).unwrap().execute_batch(sql).unwrap();
            }
            let says = Says {
                workload: 0,
                operation: 0,
                user: None,
                taints: vec![false; 3],
                denied: false,
                trace: number,
            };
            append(&sink, &signers[0], &says.sign(&signers, number));
        }
        drop(sink);
        let (entries, findings) = read(&Store::open(&file).unwrap());
        assert_eq!(entries, 6, "{sql}: {findings:?}");
        assert_eq!(findings.len(), 1, "{sql}: {findings:?}");
        assert!(findings[0].detail.contains("trigger `t`"), "{sql}: {findings:?}");
    }
}
