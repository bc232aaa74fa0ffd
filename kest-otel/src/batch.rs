//! From a span that ended to the exporter, on a thread of its own: no call waits for it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kest_core::telemetry::Exporter;
use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfig, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};

/// Hands spans to an exporter in batches. What does not fit into its queue is dropped and counted.
///
/// For a tracer provider of one's own; [`TelemetryBuilder::span_processor`](crate::TelemetryBuilder::span_processor)
/// makes it. That provider ends it: call its `shutdown` before the program ends.
pub struct KestSpanProcessor {
    batch: BatchSpanProcessor,
    watch: SpanWatch,
    worker: Worker,
}

/// Counts of a [`KestSpanProcessor`], also once it belongs to a provider.
#[derive(Debug, Clone)]
pub struct SpanWatch(Arc<Counts>);

/// How many spans ended, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanCounts {
    /// Sampled spans that ended.
    pub ended: u64,
    /// Those that were delivered.
    pub exported: u64,
    /// Those that the exporter had and could not deliver.
    pub failed: u64,
}

impl SpanCounts {
    /// Those that were not delivered. While the program runs, they may yet be.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.ended.saturating_sub(self.exported)
    }
}

#[derive(Debug, Default)]
struct Counts {
    ended: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    is_failing: AtomicBool,
}

impl SpanWatch {
    /// As they are now.
    #[must_use]
    pub fn counts(&self) -> SpanCounts {
        // What was exported ended before: read in this order, never more is exported than ended.
        let exported = self.0.exported.load(Ordering::Acquire);
        let failed = self.0.failed.load(Ordering::Acquire);
        SpanCounts { ended: self.0.ended.load(Ordering::Acquire), exported, failed }
    }
}

impl KestSpanProcessor {
    pub(crate) fn new(
        kind: Exporter,
        exporter: impl SpanExporter + 'static,
        config: BatchConfig,
        worker: Worker,
        secrets: Secrets,
    ) -> Self {
        let counts = Arc::new(Counts::default());
        let counted =
            Counted { kind, exporter, counts: Arc::clone(&counts), worker: worker.handle(), secrets };
        Self { batch: BatchSpanProcessor::new(counted, config), watch: SpanWatch(counts), worker }
    }

    /// What tells the counts once a provider has the processor.
    #[must_use]
    pub fn watch(&self) -> SpanWatch {
        self.watch.clone()
    }
}

impl SpanProcessor for KestSpanProcessor {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.batch.on_start(span, cx);
    }

    fn on_end(&self, span: SpanData) {
        // The batch processor of the SDK does not ask.
        if span.span_context.is_sampled() {
            self.watch.0.ended.fetch_add(1, Ordering::AcqRel);
            self.batch.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batch.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let result = self.batch.shutdown_with_timeout(timeout);
        if matches!(result, Err(OTelSdkError::AlreadyShutdown)) {
            return result;
        }
        let counts = self.watch.counts();
        if counts.lost() > 0 {
            tracing::warn!(
                target: "kest",
                lost = counts.lost(),
                ended = counts.ended,
                failed = counts.failed,
                "spans were lost: the exporter was slower than the calls, or could not deliver them; \
                 no audit record is concerned"
            );
        }
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batch.set_resource(resource);
    }
}

impl fmt::Debug for KestSpanProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KestSpanProcessor")
            .field("counts", &self.watch.counts())
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// What must not stand in a log, whoever sends it back.
#[derive(Clone, Default)]
pub(crate) struct Secrets(pub(crate) Vec<String>);

impl Secrets {
    pub(crate) fn masked(&self, text: &str) -> String {
        let masked = self
            .0
            .iter()
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"));
        kest_core::text::message(&masked)
    }
}

/// An exporter whose successes are counted, and whose failures are logged when they begin.
struct Counted<E> {
    kind: Exporter,
    exporter: E,
    counts: Arc<Counts>,
    worker: Option<Handle>,
    secrets: Secrets,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let number = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let result = within(self.worker.as_ref(), self.exporter.export(batch)).await;
        match &result {
            Ok(()) => {
                self.counts.exported.fetch_add(number, Ordering::AcqRel);
                if self.counts.is_failing.swap(false, Ordering::AcqRel) {
                    tracing::info!(target: "kest", exporter = %self.kind, "spans are delivered again");
                }
            }
            Err(error) => {
                self.counts.failed.fetch_add(number, Ordering::AcqRel);
                if !self.counts.is_failing.swap(true, Ordering::AcqRel) {
                    let error = self.secrets.masked(&error.to_string());
                    tracing::warn!(target: "kest", exporter = %self.kind, error, "spans cannot be delivered");
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E> fmt::Debug for Counted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(feature = "otlp")]
type Handle = tokio::runtime::Handle;
#[cfg(not(feature = "otlp"))]
type Handle = std::convert::Infallible;

/// Polls what may need a run-time for its timers inside of one.
async fn within<F: Future>(handle: Option<&Handle>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        #[cfg(feature = "otlp")]
        let _inside = handle.map(Handle::enter);
        #[cfg(not(feature = "otlp"))]
        let _ = handle;
        future.as_mut().poll(cx)
    })
    .await
}

/// The run-time of an exporter that needs one: gRPC. It is nobody else's, so that a program without one, or one whose
/// only thread waits for the last spans, delivers them all the same.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    #[cfg(feature = "otlp")]
    runtime: Option<tokio::runtime::Runtime>,
}

impl Worker {
    #[cfg(feature = "otlp")]
    pub(crate) fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("kest-otel")
            .enable_all()
            // Or the spans of sending spans would have to be sent.
            .on_thread_start(|| std::mem::forget(Context::enter_telemetry_suppressed_scope()))
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    #[cfg(feature = "otlp")]
    pub(crate) fn handle(&self) -> Option<Handle> {
        self.runtime.as_ref().map(|runtime| runtime.handle().clone())
    }

    #[cfg(not(feature = "otlp"))]
    #[allow(clippy::unused_self, reason = "as with the feature")]
    fn handle(&self) -> Option<Handle> {
        None
    }
}

#[cfg(feature = "otlp")]
impl Drop for Worker {
    fn drop(&mut self) {
        // To wait for it would be a panic in an async function.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
