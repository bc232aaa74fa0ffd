//! A span as JSON, as OTLP has it: the JSON mapping of `opentelemetry.proto.trace.v1`, ids in hex.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Event, Link, SpanId, SpanKind, Status, TraceId};
use opentelemetry::{Array, InstrumentationScope, KeyValue, Value as Held};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use serde_json::{Map, Value, json};

/// How each [`traces_data`] begins as text.
pub(super) const BEGINNING: &[u8] = br#"{"resourceSpans":["#;

/// A whole `TracesData` with one span, so that each line of a file can be read by itself.
pub(super) fn traces_data(span: &SpanData, resource: &Resource) -> Value {
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource_attributes(resource) },
        "scopeSpans": [{ "scope": scope(&span.instrumentation_scope), "spans": [one(span)] }],
    }] })
}

pub(super) fn resource_attributes(resource: &Resource) -> Value {
    resource.iter().map(|(key, value)| json!({ "key": key.as_str(), "value": any(value) })).collect()
}

pub(super) fn attributes(attributes: &[KeyValue]) -> Value {
    attributes
        .iter()
        .map(|KeyValue { key, value, .. }| json!({ "key": key.as_str(), "value": any(value) }))
        .collect()
}

pub(super) fn events(span: &SpanData) -> Value {
    span.events.iter().map(event).collect()
}

pub(super) fn links(span: &SpanData) -> Value {
    span.links.iter().map(link).collect()
}

/// Nanoseconds since 1970.
pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The number of `SpanKind` in OTLP.
pub(super) fn kind(kind: &SpanKind) -> u8 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

/// `Status` as OTLP has it: the number, and what it says.
pub(super) fn status(status: &Status) -> (u8, &str) {
    match status {
        Status::Unset => (0, ""),
        Status::Ok => (1, ""),
        Status::Error { description } => (2, description),
    }
}

fn one(span: &SpanData) -> Value {
    let (code, message) = status(&span.status);
    let mut status = json!({ "code": code });
    if !message.is_empty() {
        insert(&mut status, "message", message.into());
    }
    let mut text = json!({
        "traceId": span.span_context.trace_id().to_string(),
        "spanId": span.span_context.span_id().to_string(),
        "flags": flags(span),
        "name": span.name,
        "kind": kind(&span.span_kind),
        "startTimeUnixNano": nanos(span.start_time).to_string(),
        "endTimeUnixNano": nanos(span.end_time).to_string(),
        "attributes": attributes(&span.attributes),
        "status": status,
    });
    if span.parent_span_id != SpanId::INVALID {
        insert(&mut text, "parentSpanId", span.parent_span_id.to_string().into());
    }
    let state = span.span_context.trace_state().header();
    if !state.is_empty() {
        insert(&mut text, "traceState", state.into());
    }
    let lost = [
        ("droppedAttributesCount", span.dropped_attributes_count),
        ("droppedEventsCount", span.events.dropped_count),
        ("droppedLinksCount", span.links.dropped_count),
    ];
    for (name, count) in lost {
        if count > 0 {
            insert(&mut text, name, count.into());
        }
    }
    if !span.events.is_empty() {
        insert(&mut text, "events", events(span));
    }
    if !span.links.is_empty() {
        insert(&mut text, "links", links(span));
    }
    text
}

/// `SpanFlags`: those of the trace, and whether the parent is elsewhere.
fn flags(span: &SpanData) -> u32 {
    const HAS_IS_REMOTE: u32 = 0x100;
    const IS_REMOTE: u32 = 0x200;
    let remote = if span.parent_span_is_remote { IS_REMOTE } else { 0 };
    u32::from(span.span_context.trace_flags().to_u8()) | HAS_IS_REMOTE | remote
}

fn scope(scope: &InstrumentationScope) -> Value {
    let mut text = json!({ "name": scope.name() });
    if let Some(version) = scope.version() {
        insert(&mut text, "version", version.into());
    }
    text
}

fn event(event: &Event) -> Value {
    json!({
        "timeUnixNano": nanos(event.timestamp).to_string(),
        "name": event.name,
        "attributes": attributes(&event.attributes),
    })
}

fn link(link: &Link) -> Value {
    let (trace, span): (TraceId, SpanId) = (link.span_context.trace_id(), link.span_context.span_id());
    json!({
        "traceId": trace.to_string(),
        "spanId": span.to_string(),
        "attributes": attributes(&link.attributes),
    })
}

/// `AnyValue`. Integers are strings, and doubles that JSON has no number for too.
fn any(value: &Held) -> Value {
    match value {
        Held::Bool(value) => json!({ "boolValue": value }),
        Held::I64(value) => json!({ "intValue": value.to_string() }),
        Held::F64(value) => json!({ "doubleValue": double(*value) }),
        Held::String(value) => json!({ "stringValue": value.as_str() }),
        Held::Array(values) => json!({ "arrayValue": { "values": array(values) } }),
        other => json!({ "stringValue": other.as_str() }),
    }
}

fn array(values: &Array) -> Vec<Value> {
    match values {
        Array::Bool(values) => values.iter().map(|value| any(&Held::Bool(*value))).collect(),
        Array::I64(values) => values.iter().map(|value| any(&Held::I64(*value))).collect(),
        Array::F64(values) => values.iter().map(|value| any(&Held::F64(*value))).collect(),
        Array::String(values) => values.iter().map(|value| any(&Held::String(value.clone()))).collect(),
        other => vec![json!({ "stringValue": other.to_string() })],
    }
}

fn double(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

fn insert(object: &mut Value, name: &str, value: Value) {
    object.as_object_mut().unwrap_or(&mut Map::new()).insert(name.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_otlp() {
        let told = |value: Held| any(&value);
        assert_eq!(told(true.into()), json!({ "boolValue": true }));
        assert_eq!(told(i64::MIN.into()), json!({ "intValue": "-9223372036854775808" }));
        assert_eq!(told(0.5.into()), json!({ "doubleValue": 0.5 }));
        assert_eq!(told(f64::NAN.into()), json!({ "doubleValue": "NaN" }));
        assert_eq!(told(f64::INFINITY.into()), json!({ "doubleValue": "Infinity" }));
        assert_eq!(told(f64::NEG_INFINITY.into()), json!({ "doubleValue": "-Infinity" }));
        assert_eq!(told("a\n".into()), json!({ "stringValue": "a\n" }));
        let array = Held::Array(Array::I64(vec![1, 2]));
        assert_eq!(
            told(array),
            json!({ "arrayValue": { "values": [{ "intValue": "1" }, { "intValue": "2" }] } })
        );
    }

    #[test]
    fn times_before_1970_and_after_2554_are_the_nearest_there_are() {
        assert_eq!(nanos(UNIX_EPOCH - std::time::Duration::from_secs(1)), 0);
        assert_eq!(nanos(UNIX_EPOCH + std::time::Duration::from_secs(1 << 40)), u64::MAX);
    }
}
