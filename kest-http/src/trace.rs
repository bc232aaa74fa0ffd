//! The trace that a request belongs to, by the application's propagator.

use http::HeaderMap;
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{Context, global};

const BAGGAGE: &str = "baggage";

/// The current context under the caller's span. None where instrumentation around has opened a span already, where there
/// is no propagator, and where the request has no trace context.
pub(crate) fn under_caller(headers: &HeaderMap) -> Option<Context> {
    let here = Context::current();
    if here.span().span_context().is_valid() {
        return None;
    }
    let caller = global::get_text_map_propagator(|propagator| {
        let is_there = |name: &str| name != BAGGAGE && headers.contains_key(name);
        if !propagator.fields().any(is_there) {
            return None;
        }
        // INVARIANT: nothing else of what it reads counts. Lineage is read and verified by the layer.
        let read = propagator.extract_with_context(&Context::new(), &Headers(headers));
        Some(read.span().span_context().clone()).filter(|caller| caller.is_valid())
    })?;
    Some(here.with_remote_span_context(caller))
}

/// The headers without baggage: a [`KestPropagator`](crate::KestPropagator) would block for a claim check.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        if key.eq_ignore_ascii_case(BAGGAGE) {
            return None;
        }
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).filter(|name| *name != BAGGAGE).collect()
    }
}
