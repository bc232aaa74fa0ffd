//! What is told of spans that a collector did not get: why, and where it is.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::Mutex;

use crate::batch::Secrets;

/// Why the last attempt found no collector. `None` where it found one, whatever that said.
#[derive(Debug, Clone, Default)]
pub(super) struct Why(Arc<Mutex<Option<String>>>);

impl Why {
    pub(super) fn set(&self, error: Option<&(dyn StdError + 'static)>) {
        *self.0.lock() = error.and_then(chain);
    }
}

/// What led to the error. The error itself is left out: that of a client repeats the whole address.
fn chain(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = error.source();
    let mut text = String::new();
    while let Some(error) = next {
        let _ = write!(text, "{}{error}", if text.is_empty() { "" } else { ": " });
        next = error.source();
    }
    (!text.is_empty()).then_some(text)
}

/// An exporter whose failures have a cause and an address.
pub(super) struct Told<E> {
    pub(super) exporter: E,
    pub(super) origin: String,
    pub(super) why: Why,
    pub(super) secrets: Secrets,
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.exporter.export(batch).await.map_err(|error| match error {
            OTelSdkError::InternalFailure(mut text) => {
                if let Some(why) = self.why.0.lock().take() {
                    let _ = write!(text, ": {why}");
                }
                let _ = write!(text, ", at `{}`", self.origin);
                OTelSdkError::InternalFailure(self.secrets.masked(&text))
            }
            error @ (OTelSdkError::AlreadyShutdown | OTelSdkError::Timeout(_)) => error,
        })
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

impl<E> fmt::Debug for Told<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").field("origin", &self.origin).finish_non_exhaustive()
    }
}
