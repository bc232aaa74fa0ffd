//! Why telemetry was not set up, or did not end well.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use kest_core::error::ConfigurationError;

/// Telemetry that could not be set up, or that did not end well. No call is ever refused for it.
#[derive(Clone)]
pub struct TelemetryError {
    kind: TelemetryErrorKind,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TelemetryErrorKind {
    /// No exporter has this name.
    UnknownExporter,
    /// The exporter is not part of this build.
    MissingFeature,
    /// A setting that cannot be, such as an empty service name or a ratio above 1.
    Setting,
    /// The endpoint is no address, or none that headers may be sent to.
    Endpoint,
    /// The file cannot be opened, or is not one of spans.
    Open,
    /// The process has a tracer provider already.
    ProviderSet,
    /// Spans were not delivered in time.
    Unfinished,
}

impl TelemetryError {
    pub(crate) fn new(kind: TelemetryErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> TelemetryErrorKind {
        self.kind
    }
}

impl fmt::Debug for TelemetryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        kest_core::text::debug(self, f)
    }
}

impl fmt::Display for TelemetryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for TelemetryError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// For names of exporters, which alone are parsed by `kest-core` here.
impl From<ConfigurationError> for TelemetryError {
    fn from(error: ConfigurationError) -> Self {
        Self::new(TelemetryErrorKind::UnknownExporter, error.to_string()).with_source(error)
    }
}

impl From<Infallible> for TelemetryError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
