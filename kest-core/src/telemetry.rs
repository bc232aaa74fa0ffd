//! Spans of protected calls: for watching, never for proving. Spec §14.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

use opentelemetry::trace::{
    Span, SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue, global};

use serde::Deserialize;

use crate::error::{ConfigurationError, ConfigurationErrorKind, Error};

/// Instrumentation scope of every span.
pub const SCOPE: &str = "kest.core";

/// Which spans have `kest.passport`, the whole lineage of their call.
///
/// The first of these that says so decides: [`KestBuilder::passport_attribute`](crate::KestBuilder::passport_attribute),
/// `[telemetry] passport` of the configuration, [`set_passport_attribute`], and else root spans have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PassportAttribute {
    /// Spans of calls that begin a lineage.
    #[default]
    Root,
    /// Every span. A lineage of n calls then writes its entries about n²/2 times.
    Always,
    /// No span.
    Never,
}

/// What spans have where neither the `Kest` nor its configuration says so. It holds for the whole process.
pub fn set_passport_attribute(passport: PassportAttribute) {
    let value = match passport {
        PassportAttribute::Root => 0,
        PassportAttribute::Always => 1,
        PassportAttribute::Never => 2,
    };
    PASSPORT.store(value, Ordering::Relaxed);
}

pub(crate) fn passport_attribute() -> PassportAttribute {
    match PASSPORT.load(Ordering::Relaxed) {
        1 => PassportAttribute::Always,
        2 => PassportAttribute::Never,
        _ => PassportAttribute::Root,
    }
}

static PASSPORT: AtomicU8 = AtomicU8::new(0);

/// Whether a tracer provider is set in this process, so that spans of Kest go anywhere.
///
/// OpenTelemetry has no such question. Without a provider, a span is what its parent is, also where telemetry is
/// suppressed; and there no provider records one.
#[must_use]
pub fn has_tracer_provider() -> bool {
    let (trace, parent) = (TraceId::from_bytes([1; 16]), SpanId::from_bytes([1; 8]));
    let parent_cx = SpanContext::new(trace, parent, TraceFlags::NOT_SAMPLED, true, TraceState::NONE);
    let cx = Context::new().with_remote_span_context(parent_cx).with_telemetry_suppressed();
    let tracer = global::tracer(SCOPE);
    tracer.build_with_context(tracer.span_builder("kest.probe"), &cx).span_context().span_id() != parent
}

/// Where spans go. `KestTelemetry` of the crate `kest-otel` sends them there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Exporter {
    /// `otlp`: to an OpenTelemetry collector.
    Otlp,
    /// `file`: to a file, a line of JSON each.
    File,
    /// `sqlite`: to a table of a SQLite file.
    Sqlite,
    /// `console`: to standard error, for people.
    Console,
}

impl Exporter {
    /// Its name in configurations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Otlp => "otlp",
            Self::File => "file",
            Self::Sqlite => "sqlite",
            Self::Console => "console",
        }
    }
}

impl fmt::Display for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Exporter {
    type Err = ConfigurationError;

    /// # Errors
    /// When no exporter has this name.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Otlp, Self::File, Self::Sqlite, Self::Console]
            .into_iter()
            .find(|exporter| exporter.as_str() == name)
            .ok_or_else(|| {
                ConfigurationError::new(
                    ConfigurationErrorKind::ConfigFile,
                    format!("unknown exporter `{name}`; use `otlp`, `file`, `sqlite` or `console`"),
                )
            })
    }
}

impl TryFrom<&str> for Exporter {
    type Error = ConfigurationError;

    /// # Errors
    /// When no exporter has this name.
    fn try_from(name: &str) -> Result<Self, Self::Error> {
        name.parse()
    }
}

/// How a protected call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Error,
    Panic,
    Cancelled,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The span of one call. Without a tracer provider it is empty and costs next to nothing.
#[derive(Debug)]
pub(crate) struct CallSpan(Option<Context>);

impl CallSpan {
    pub(crate) fn start(name: Cow<'static, str>) -> Self {
        let tracer = global::tracer(SCOPE);
        let span = tracer.start(name);
        if span.span_context().is_valid() {
            return Self(Some(Context::current_with_span(span)));
        }
        Self(None)
    }

    /// The context that children of this span are made in.
    pub(crate) fn context(&self) -> Context {
        self.0.clone().unwrap_or_else(Context::current)
    }

    pub(crate) fn span_context(&self) -> Option<SpanContext> {
        self.0.as_ref().map(|cx| cx.span().span_context().clone())
    }

    /// Whether attributes go anywhere.
    pub(crate) fn is_recording(&self) -> bool {
        self.0.as_ref().is_some_and(|cx| cx.span().is_recording())
    }

    pub(crate) fn set(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        if let Some(cx) = &self.0 {
            cx.span().set_attributes(attributes);
        }
    }

    pub(crate) fn refused(&self, error: &Error) {
        if let Some(cx) = &self.0 {
            let span = cx.span();
            span.set_attribute(KeyValue::new("kest.allowed", false));
            span.set_status(Status::error(error.to_string()));
            span.end();
        }
    }

    pub(crate) fn end(&self, outcome: Outcome) {
        if let Some(cx) = &self.0 {
            let span = cx.span();
            span.set_attribute(KeyValue::new("kest.outcome", outcome.as_str()));
            match outcome {
                Outcome::Ok => {}
                Outcome::Error | Outcome::Panic | Outcome::Cancelled => {
                    span.set_status(Status::error(outcome.as_str()));
                }
            }
            span.end();
        }
    }
}
