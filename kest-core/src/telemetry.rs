//! Spans of protected calls: for watching, never for proving. Spec §14.

use std::borrow::Cow;

use opentelemetry::trace::{Span, SpanContext, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};

use crate::error::Error;

/// Instrumentation scope of every span.
pub const SCOPE: &str = "kest.core";

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
