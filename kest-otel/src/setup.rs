//! The tracer provider of a program that has no other.

use std::time::Duration;

use kest_core::config::Config;
use kest_core::telemetry::{self, Exporter, SCOPE};
use opentelemetry::trace::noop::NoopTracerProvider;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context, global};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use parking_lot::Mutex;

use crate::batch::{SpanCounts, SpanWatch};
use crate::builder::TelemetryBuilder;
use crate::error::{TelemetryError, TelemetryErrorKind};

/// The spans of this process and where they go, until it is dropped.
///
/// Keep it in `main` to the end: dropping it delivers what has not been delivered, and waits for that for at most
/// [`TelemetryBuilder::shutdown_limit`] (5 s). `std::process::exit` and a crash drop nothing: what ended within the last
/// [`TelemetryBuilder::delay`] is lost then.
#[derive(Debug)]
#[must_use = "spans are delivered until this is dropped; keep it in `main`"]
pub struct KestTelemetry {
    provider: SdkTracerProvider,
    watch: SpanWatch,
    limit: Duration,
    is_over: bool,
}

impl KestTelemetry {
    /// Sends the spans of this process to an exporter: `otlp` (the endpoint is the collector's URL, and may be left to
    /// the environment), `file` or `sqlite` (its path), `console` (none). See [`Self::builder`] for the rest.
    ///
    /// # Errors
    /// When there is no such exporter or this build is without it, the endpoint is none, the file cannot be opened, or
    /// the process has a tracer provider already: see [`TelemetryBuilder::span_processor`].
    pub fn setup<'a, E>(
        service_name: &str,
        exporter: E,
        endpoint: impl Into<Option<&'a str>>,
    ) -> Result<Self, TelemetryError>
    where
        E: TryInto<Exporter>,
        E::Error: Into<TelemetryError>,
    {
        let builder = Self::builder().service_name(service_name).exporter(exporter)?;
        match endpoint.into() {
            Some(endpoint) => builder.endpoint(endpoint).install(),
            None => builder.install(),
        }
    }

    /// With more settings than [`Self::setup`] has.
    pub fn builder() -> TelemetryBuilder {
        TelemetryBuilder::default()
    }

    /// What `[telemetry]` of a configuration says. `None` where it names no exporter.
    ///
    /// # Errors
    /// As [`Self::setup`].
    pub fn from_config(config: &Config) -> Result<Option<Self>, TelemetryError> {
        match TelemetryBuilder::from_config(config) {
            Some(builder) => builder.install().map(Some),
            None => Ok(None),
        }
    }

    /// Makes `provider` the one of the process.
    pub(crate) fn install(
        build: impl FnOnce() -> Result<(SdkTracerProvider, SpanWatch), TelemetryError>,
        limit: Duration,
    ) -> Result<Self, TelemetryError> {
        let _alone = INSTALLING.lock();
        if telemetry::has_tracer_provider() {
            return Err(TelemetryError::new(
                TelemetryErrorKind::ProviderSet,
                "this process has a tracer provider already; add \
                 `KestTelemetry::builder()….span_processor()?` to it, or shut the first `KestTelemetry` down",
            ));
        }
        let (provider, watch) = build()?;
        global::set_tracer_provider(provider.clone());
        let has_propagator =
            global::get_text_map_propagator(|propagator| propagator.fields().next().is_some());
        if !has_propagator {
            global::set_text_map_propagator(TraceContextPropagator::new());
        }
        Ok(Self { provider, watch, limit, is_over: false })
    }

    /// The provider, for other sources of spans, such as `tracing_opentelemetry::layer().with_tracer(…)`.
    #[must_use]
    pub fn tracer_provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    /// How many spans ended, and were delivered, so far.
    #[must_use]
    pub fn counts(&self) -> SpanCounts {
        self.watch.counts()
    }

    /// Delivers what has ended so far. Waits for that, for at most 5 s.
    ///
    /// # Errors
    /// When it takes longer, or the exporter cannot.
    pub fn flush(&self) -> Result<(), TelemetryError> {
        self.provider.force_flush().map_err(|error| unfinished(error, self.counts()))
    }

    /// Ends the provider: delivers what has ended, and says how many spans were not delivered.
    ///
    /// # Errors
    /// When it takes longer than [`TelemetryBuilder::shutdown_limit`].
    pub fn shutdown(mut self) -> Result<SpanCounts, TelemetryError> {
        let ended = self.end();
        let counts = self.counts();
        ended.map(|()| counts).map_err(|error| unfinished(error, counts))
    }

    fn end(&mut self) -> OTelSdkResult {
        if std::mem::replace(&mut self.is_over, true) {
            return Ok(());
        }
        let ended = self.provider.shutdown_with_timeout(self.limit);
        let _alone = INSTALLING.lock();
        // Where the program has put another in its place meanwhile, that one stays.
        if !is_recording() {
            global::set_tracer_provider(NoopTracerProvider::new());
        }
        ended
    }
}

/// While somebody sets the provider of the process, or takes it away.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Whether the provider of the process is one that has not been shut down. Such a one begins spans; below a parent that is
/// not sampled they are not recorded, unless its sampler takes no notice of parents.
fn is_recording() -> bool {
    let parent = SpanId::from_bytes([1; 8]);
    let parent_cx = SpanContext::new(
        TraceId::from_bytes([1; 16]),
        parent,
        TraceFlags::NOT_SAMPLED,
        true,
        TraceState::NONE,
    );
    let tracer = global::tracer(SCOPE);
    let cx = Context::new().with_remote_span_context(parent_cx);
    let span = tracer.build_with_context(tracer.span_builder("kest.probe"), &cx);
    let id = span.span_context().span_id();
    id != SpanId::INVALID && id != parent
}

impl Drop for KestTelemetry {
    fn drop(&mut self) {
        // The processor has logged what was lost.
        let _ = self.end();
    }
}

fn unfinished(error: OTelSdkError, counts: SpanCounts) -> TelemetryError {
    TelemetryError::new(
        TelemetryErrorKind::Unfinished,
        format!("{} of {} spans were not delivered; the log says why", counts.lost(), counts.ended),
    )
    .with_source(error)
}
