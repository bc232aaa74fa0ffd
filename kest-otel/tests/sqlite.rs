//! Spans in a SQLite file, read back with SQLite. Spec §14.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;

use kest_otel::{KestTelemetry, TelemetryErrorKind};
use rusqlite::Connection;
use serde_json::Value;
use support::{Folder, alone, call, denied, kest, read};

fn run(path: &str, operations: &[&str]) {
    let telemetry = KestTelemetry::setup("shop", "sqlite", path).unwrap();
    let scope = kest().enter();
    for operation in operations {
        call(operation, || ()).unwrap();
    }
    drop(scope);
    assert_eq!(telemetry.shutdown().unwrap().lost(), 0);
}

#[test]
fn rows_hold_what_the_spans_hold() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("spans.db");
    let telemetry = KestTelemetry::setup("shop", "sqlite", path.as_str()).unwrap();
    let scope = kest().enter();
    call("root", || call("inner", || ()).unwrap()).unwrap();
    denied("refused");
    drop(scope);
    telemetry.shutdown().unwrap();

    let db = Connection::open(&path).unwrap();
    let mode: String = db.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!((mode.as_str(), version), ("wal", 1));
    let joined: (String, String, i64, String) = db
        .query_row(
            "SELECT child.operation, child.outcome, child.allowed, child.entry_id FROM spans child JOIN spans parent
             ON parent.trace_id = child.trace_id AND parent.span_id = child.parent_span_id
             WHERE parent.operation = 'root'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .unwrap();
    assert_eq!((joined.0.as_str(), joined.1.as_str(), joined.2), ("inner", "ok", 1));
    let row = db
        .query_row(
            "SELECT name, scope, service, kind, status, workload_id, trust_score, attributes, resource,
             parent_span_id, end_ns - start_ns, events FROM spans WHERE operation = 'root'",
            [],
            |row| {
                let texts: Vec<String> =
                    [0, 1, 2, 5, 7, 8, 11].into_iter().map(|at| row.get(at)).collect::<Result<_, _>>()?;
                let numbers: Vec<i64> =
                    [3, 4, 6, 10].into_iter().map(|at| row.get(at)).collect::<Result<_, _>>()?;
                Ok((texts, numbers, row.get::<_, Option<String>>(9)?))
            },
        )
        .unwrap();
    let (texts, numbers, parent) = row;
    assert_eq!(texts[..4], ["kest.verified.root", "kest.core", "shop", "spiffe://kest.test/shop"]);
    assert_eq!(parent, None);
    assert_eq!(numbers[..2], [1, 0]);
    assert!(numbers[3] >= 0);
    let attributes: Value = serde_json::from_str(&texts[4]).unwrap();
    assert_eq!(attributes["kest.trust_score"], numbers[2]);
    assert_eq!(attributes["kest.allowed"], true);
    assert!(attributes["kest.signature"].as_str().unwrap().starts_with("ey"));
    assert!(attributes["kest.passport"].as_str().unwrap().starts_with("[\"ey"));
    assert_eq!(serde_json::from_str::<Value>(&texts[5]).unwrap()["service.name"], "shop");
    assert_eq!(texts[6], "[]");
    let refused: (i64, i64, String, Option<String>) = db
        .query_row(
            "SELECT allowed, status, status_message, entry_id FROM spans WHERE operation = 'refused'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .unwrap();
    assert_eq!((refused.0, refused.1, refused.3), (0, 2, None));
    assert!(refused.2.contains("deny"), "{}", refused.2);
    let plan: Vec<String> = db
        .prepare("EXPLAIN QUERY PLAN SELECT * FROM spans WHERE trace_id = 'x'")
        .unwrap()
        .query_map([], |row| row.get(3))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(plan[0].contains("USING INDEX"), "{plan:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_file_is_gone_on_with() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("spans.db");
    run(&path, &["a", "b"]);
    // Somebody reads meanwhile.
    let reader = Connection::open(&path).unwrap();
    let count = || reader.query_row("SELECT count(*) FROM spans", [], |row| row.get::<_, i64>(0)).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(count(), 2);
    run(&path, &["c"]);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(count(), 3);
}

#[test]
fn a_file_of_something_else_is_left_as_it_is() {
    let _alone = alone();
    let folder = Folder::new();
    let foreign = folder.file("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE spans (mine)").unwrap();
    let newer = folder.file("newer.db");
    run(&newer, &["a"]);
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let text = folder.file("text.db");
    fs::write(
        &text,
        "this is a text, and no data base of anybody, long enough to have a header. ".repeat(20),
    )
    .unwrap();
    for (path, named) in [(&foreign, "something else"), (&newer, "version 2"), (&text, "not a database")] {
        let before = fs::read(path).unwrap();
        let error = KestTelemetry::setup("shop", "sqlite", path.as_str()).unwrap_err();
        assert_eq!(error.kind(), TelemetryErrorKind::Open);
        assert!(error.to_string().contains(named), "{error}");
        assert_eq!(fs::read(path).unwrap(), before);
    }
}

#[test]
fn what_cannot_be_written_is_counted_and_no_call_notices() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.file("spans.db");
    let telemetry = KestTelemetry::setup("shop", "sqlite", path.as_str()).unwrap();
    Connection::open(&path).unwrap().execute_batch("DROP TABLE spans").unwrap();
    let scope = kest().enter();
    for _ in 0..10 {
        call("goes_on", || ()).unwrap();
    }
    drop(scope);
    let counts = telemetry.shutdown().unwrap();
    assert_eq!((counts.ended, counts.exported, counts.failed, counts.lost()), (10, 0, 10, 10));
}

#[test]
fn two_exporters_say_the_same() {
    let _alone = alone();
    let folder = Folder::new();
    let (lines, db) = (folder.file("spans.jsonl"), folder.file("spans.db"));
    let with = |kind: &str, path: &str| {
        let builder = KestTelemetry::builder().exporter(kind).unwrap().endpoint(path);
        builder.span_processor().unwrap()
    };
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder()
        .with_span_processor(with("file", &lines))
        .with_span_processor(with("sqlite", &db))
        .build();
    opentelemetry::global::set_tracer_provider(provider.clone());
    let scope = kest().enter();
    call("both", || ()).unwrap();
    drop(scope);
    provider.shutdown().unwrap();
    opentelemetry::global::set_tracer_provider(opentelemetry::trace::noop::NoopTracerProvider::new());
    let line = read(&lines).remove(0);
    let row: (String, String, String, String) = Connection::open(&db)
        .unwrap()
        .query_row("SELECT trace_id, span_id, start_ns, attributes FROM spans", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.to_string(), row.get(3)?))
        })
        .unwrap();
    assert_eq!((row.0.as_str(), row.1.as_str()), (line.trace(), line.id()));
    assert_eq!(row.2, line.span["startTimeUnixNano"]);
    let attributes: Value = serde_json::from_str(&row.3).unwrap();
    assert_eq!(attributes["kest.signature"], line.text("kest.signature").unwrap());
}
