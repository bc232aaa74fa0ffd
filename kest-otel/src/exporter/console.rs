//! Spans for people, on standard error.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kest_core::{telemetry, text};
use opentelemetry::trace::{SpanId, Status};
use opentelemetry::{Key, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;

use super::local::{Sink, told};

/// A line for each span. Colours on a terminal, unless `NO_COLOR` is set.
pub(super) struct Console {
    has_colours: bool,
}

impl Console {
    pub(super) fn new() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { has_colours: std::io::stderr().is_terminal() && !no_color }
    }
}

impl Sink for Console {
    fn take(&mut self, spans: &[SpanData], resource: &Resource) -> Result<(), String> {
        let service = resource.get(&Key::from_static_str("service.name")).map(|name| name.to_string());
        let lines: String = spans
            .iter()
            .map(|span| line(span, service.as_deref().unwrap_or("-"), self.has_colours))
            .collect();
        std::io::stderr().lock().write_all(lines.as_bytes()).map_err(|error| told(&error))
    }
}

fn line(span: &SpanData, service: &str, has_colours: bool) -> String {
    let (word, colour) = verdict(span);
    let (begin, dim, end) = match has_colours {
        true => (colour, "\x1b[2m", "\x1b[0m"),
        false => ("", "", ""),
    };
    let name = match get(span, "kest.operation") {
        Some(operation) => operation.to_string(),
        None => span.name.to_string(),
    };
    let took = span.end_time.duration_since(span.start_time).unwrap_or_default();
    let mut line = format!(
        "{} {} {begin}{word:<9}{end} {} {}",
        clock(span.end_time),
        text::field(service, 40),
        text::field(&name, 80),
        duration(took),
    );
    if let Some(trust) = get(span, "kest.trust_score") {
        let _ = write!(line, " trust {trust}");
    }
    if let Some(workload) = get(span, "kest.workload_id") {
        let _ = write!(line, " {}", text::id(&workload.to_string(), 80));
    }
    let cx = &span.span_context;
    let _ = write!(line, " {dim}trace {} span {}", cx.trace_id(), cx.span_id());
    if span.parent_span_id != SpanId::INVALID {
        let _ = write!(line, " in {}", span.parent_span_id);
    }
    line.push_str(end);
    match &span.status {
        Status::Error { description } if *description != word => {
            let _ = write!(line, ": {}", text::message(description));
        }
        Status::Error { .. } | Status::Ok | Status::Unset => {}
    }
    line.push('\n');
    line
}

/// What became of it, and its colour.
fn verdict(span: &SpanData) -> (&'static str, &'static str) {
    const RED: &str = "\x1b[31m";
    const YELLOW: &str = "\x1b[33m";
    const GREEN: &str = "\x1b[32m";
    if span.instrumentation_scope.name() != telemetry::SCOPE {
        return match &span.status {
            Status::Error { .. } => ("error", YELLOW),
            Status::Ok | Status::Unset => ("span", ""),
        };
    }
    if get(span, "kest.allowed") != Some(&Value::Bool(true)) {
        return ("refused", RED);
    }
    match get(span, "kest.outcome").map(|outcome| outcome.to_string()).as_deref() {
        Some("ok") => ("ok", GREEN),
        Some("panic") => ("panic", RED),
        Some("cancelled") => ("cancelled", YELLOW),
        Some(_) | None => ("error", YELLOW),
    }
}

fn get<'a>(span: &'a SpanData, name: &str) -> Option<&'a Value> {
    // The last counts, as for collectors.
    span.attributes.iter().rev().find(|kv| kv.key.as_str() == name).map(|kv| &kv.value)
}

/// The time of day in UTC.
fn clock(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() % 86_400;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, since.subsec_millis())
}

fn duration(took: Duration) -> String {
    match took.as_micros() {
        micros @ 0..=999 => format!("{micros} µs"),
        micros @ 1_000..=999_999 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        micros => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations() {
        let at = UNIX_EPOCH + Duration::from_millis(86_400_000 * 3 + 3_723_004);
        assert_eq!(clock(at), "01:02:03.004");
        let shown =
            [12, 999, 1_000, 12_345, 999_999, 1_000_000, 61_250_000].map(Duration::from_micros).map(duration);
        assert_eq!(shown, ["12 µs", "999 µs", "1.0 ms", "12.3 ms", "999.9 ms", "1.0 s", "61.2 s"]);
    }
}
