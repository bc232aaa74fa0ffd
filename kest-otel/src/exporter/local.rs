//! What the exporters to this machine have in common.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::Mutex;

use crate::error::{TelemetryError, TelemetryErrorKind};

/// Takes spans, and may take its time: it is called by the thread of the batches alone.
pub(crate) trait Sink: Send + 'static {
    /// Takes all of them, or none.
    ///
    /// # Errors
    /// When they are not kept.
    fn take(&mut self, spans: &[SpanData], resource: &Resource) -> Result<(), String>;
}

/// A sink as an exporter of OpenTelemetry.
pub(crate) struct Local<S> {
    sink: Mutex<S>,
    resource: Resource,
}

impl<S: Sink> Local<S> {
    pub(super) fn new(sink: S) -> Self {
        Self { sink: Mutex::new(sink), resource: Resource::builder_empty().build() }
    }
}

impl<S: Sink> SpanExporter for Local<S> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.sink.lock().take(&batch, &self.resource).map_err(OTelSdkError::InternalFailure)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.clone();
    }
}

impl<S> fmt::Debug for Local<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// Opens a file to read it and to append to it, and makes it where there is none: for its owner alone, for spans name
/// users and hold passports.
pub(super) fn open(path: &Path) -> Result<File, TelemetryError> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|error| cannot_open(path, &error).with_source(error))?;
    match file.metadata() {
        Ok(about) if about.is_dir() => Err(cannot_open(path, &"it is a folder")),
        Ok(_) => Ok(file),
        Err(error) => Err(cannot_open(path, &error).with_source(error)),
    }
}

pub(super) fn cannot_open(path: &Path, why: &dyn fmt::Display) -> TelemetryError {
    TelemetryError::new(
        TelemetryErrorKind::Open,
        format!("cannot open `{}` for spans: {why}", path.display()),
    )
}

pub(super) fn told(error: &io::Error) -> String {
    error.to_string()
}
