//! Spans as rows of a SQLite file.

use std::path::Path;
use std::time::Duration;

use opentelemetry::trace::SpanId;
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use serde_json::Value as Json;

use super::json;
use super::local::{self, Sink, cannot_open};
use crate::error::TelemetryError;

/// Version of [`TABLES`]; SQLite keeps it as `user_version`.
const SCHEMA: i64 = 1;
/// `kspn`, so that the file says what it is.
const APPLICATION: i64 = 0x6b73_706e;

const TABLES: &str = "
CREATE TABLE spans (
    trace_id TEXT NOT NULL,          -- 32 hex digits
    span_id TEXT NOT NULL,           -- 16
    parent_span_id TEXT,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,             -- kest.core for those of Kest
    service TEXT NOT NULL,
    kind INTEGER NOT NULL,           -- numbers of OTLP
    start_ns INTEGER NOT NULL,       -- since 1970
    end_ns INTEGER NOT NULL,
    status INTEGER NOT NULL,         -- 0 unset, 1 ok, 2 error
    status_message TEXT NOT NULL,
    operation TEXT,                  -- kest.operation, and so on; NULL where the span has none
    entry_id TEXT,
    workload_id TEXT,
    allowed INTEGER,
    outcome TEXT,
    trust_score INTEGER,
    attributes TEXT NOT NULL,        -- JSON: all attributes, by name
    events TEXT NOT NULL,            -- JSON as in OTLP
    links TEXT NOT NULL,
    resource TEXT NOT NULL,          -- JSON: all attributes, by name
    PRIMARY KEY (trace_id, span_id)
) STRICT;
CREATE INDEX spans_by_start ON spans (start_ns);
CREATE INDEX spans_by_operation ON spans (operation, start_ns);
CREATE INDEX spans_by_entry ON spans (entry_id) WHERE entry_id IS NOT NULL;
";

/// A SQLite file (WAL) with a table of spans.
pub(super) struct Sqlite {
    connection: Connection,
}

impl Sqlite {
    pub(super) fn open(path: &Path) -> Result<Self, TelemetryError> {
        // Makes the file, for its owner alone; SQLite gives the files beside it the same mode.
        drop(local::open(path)?);
        let told = |error: rusqlite::Error| cannot_open(path, &error).with_source(error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(told)?;
        connection.busy_timeout(Duration::from_secs(2)).map_err(told)?;
        // Two processes may begin at once.
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(told)?;
        let pragma = |name| change.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (version, application) =
            (pragma("user_version").map_err(told)?, pragma("application_id").map_err(told)?);
        let tables: i64 =
            change.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(told)?;
        match (application, version, tables) {
            (0, 0, 0) => {
                change.execute_batch(TABLES).map_err(told)?;
                change.pragma_update(None, "application_id", APPLICATION).map_err(told)?;
                change.pragma_update(None, "user_version", SCHEMA).map_err(told)?;
            }
            (APPLICATION, SCHEMA, _) => {}
            (APPLICATION, version, _) => {
                let why = format!(
                    "its schema has version {version}, and this build writes {SCHEMA}; name another file"
                );
                return Err(cannot_open(path, &why));
            }
            (_, _, _) => return Err(cannot_open(path, &"it holds something else; name another file")),
        }
        change.commit().map_err(told)?;
        connection.pragma_update(None, "journal_mode", "wal").map_err(told)?;
        connection.pragma_update(None, "synchronous", "normal").map_err(told)?;
        Ok(Self { connection })
    }
}

impl Sink for Sqlite {
    fn take(&mut self, spans: &[SpanData], resource: &Resource) -> Result<(), String> {
        self.insert(spans, resource).map_err(|error| error.to_string())
    }
}

impl Sqlite {
    fn insert(&mut self, spans: &[SpanData], resource: &Resource) -> rusqlite::Result<()> {
        let service = resource.get(&Key::from_static_str("service.name")).map(|name| name.to_string());
        let resource: Json = resource.iter().map(|(key, value)| (key.to_string(), plain(value))).collect();
        let (service, resource) = (service.unwrap_or_default(), resource.to_string());
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = change.prepare(
                "INSERT OR IGNORE INTO spans VALUES
                 (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
            )?;
            for span in spans {
                let parent =
                    (span.parent_span_id != SpanId::INVALID).then(|| span.parent_span_id.to_string());
                let (status, message) = json::status(&span.status);
                let text = |name| get(&span.attributes, name).map(|value| value.to_string());
                let allowed = match get(&span.attributes, "kest.allowed") {
                    Some(Value::Bool(allowed)) => Some(*allowed),
                    Some(_) | None => None,
                };
                let trust = match get(&span.attributes, "kest.trust_score") {
                    Some(Value::I64(trust)) => Some(*trust),
                    Some(_) | None => None,
                };
                let attributes: Json =
                    span.attributes.iter().map(|kv| (kv.key.to_string(), plain(&kv.value))).collect();
                insert.execute(params![
                    span.span_context.trace_id().to_string(),
                    span.span_context.span_id().to_string(),
                    parent,
                    span.name,
                    span.instrumentation_scope.name(),
                    service,
                    json::kind(&span.span_kind),
                    nanos(json::nanos(span.start_time)),
                    nanos(json::nanos(span.end_time)),
                    status,
                    message,
                    text("kest.operation"),
                    text("kest.entry_id"),
                    text("kest.workload_id"),
                    allowed,
                    text("kest.outcome"),
                    trust,
                    attributes.to_string(),
                    json::events(span).to_string(),
                    json::links(span).to_string(),
                    resource,
                ])?;
            }
        }
        change.commit()
    }
}

fn get<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a Value> {
    attributes.iter().rev().find(|kv| kv.key.as_str() == name).map(|kv| &kv.value)
}

/// SQLite has no numbers beyond.
fn nanos(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// The value as JSON has it, for `json_extract(attributes, '$."kest.trust_score"')`.
fn plain(value: &Value) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::F64(value) => (*value).into(),
        Value::String(value) => value.as_str().into(),
        other => other.to_string().into(),
    }
}
