//! The exporters.

mod console;
mod file;
mod json;
mod local;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "otlp")]
mod target;

use std::path::PathBuf;

use kest_core::telemetry::Exporter;
use opentelemetry_sdk::trace::BatchConfig;

use crate::batch::{KestSpanProcessor, Secrets, Worker};
use crate::builder::{TelemetryBuilder, setting};
use crate::error::{TelemetryError, TelemetryErrorKind};
use local::{Local, Sink};

/// Opens the exporter that is set.
///
/// # Errors
/// When it cannot be opened, or is not part of this build.
pub(crate) fn open(
    kind: Exporter,
    builder: TelemetryBuilder,
    config: BatchConfig,
) -> Result<KestSpanProcessor, TelemetryError> {
    match kind {
        Exporter::Otlp => {}
        Exporter::File | Exporter::Sqlite | Exporter::Console => refuse_collectors(kind, &builder)?,
        other => return Err(missing(other)),
    }
    match kind {
        Exporter::Console => {
            if builder.endpoint.is_some() {
                return Err(setting("`console` has no endpoint; take it away"));
            }
            Ok(local(kind, console::Console::new(), config))
        }
        Exporter::File => Ok(local(kind, file::JsonLines::open(&path(kind, &builder)?)?, config)),
        #[cfg(feature = "sqlite")]
        Exporter::Sqlite => Ok(local(kind, sqlite::Sqlite::open(&path(kind, &builder)?)?, config)),
        #[cfg(feature = "otlp")]
        Exporter::Otlp => otlp::open(&builder, config),
        other => Err(missing(other)),
    }
}

fn local(kind: Exporter, sink: impl Sink, config: BatchConfig) -> KestSpanProcessor {
    KestSpanProcessor::new(kind, Local::new(sink), config, Worker::default(), Secrets::default())
}

fn missing(kind: Exporter) -> TelemetryError {
    TelemetryError::new(
        TelemetryErrorKind::MissingFeature,
        format!("this build has no exporter `{kind}`; build it with the feature `{kind}`"),
    )
}

/// Where a setting would do nothing, whoever gave it is told.
fn refuse_collectors(kind: Exporter, builder: &TelemetryBuilder) -> Result<(), TelemetryError> {
    let given = [
        (builder.protocol.is_some(), "protocol"),
        (!builder.headers.is_empty(), "header"),
        (builder.roots_pem.is_some(), "roots_pem"),
        (builder.timeout.is_some(), "timeout"),
    ];
    match given.into_iter().find(|(is_given, _)| *is_given) {
        Some((_, what)) => Err(setting(format!("`.{what}(…)` is for `otlp`; `{kind}` has no use for it"))),
        None => Ok(()),
    }
}

fn path(kind: Exporter, builder: &TelemetryBuilder) -> Result<PathBuf, TelemetryError> {
    let Some(endpoint) = builder.endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()) else {
        return Err(TelemetryError::new(
            TelemetryErrorKind::Endpoint,
            format!("`{kind}` needs the path of a file; give it as the endpoint"),
        ));
    };
    if endpoint.contains("://") {
        return Err(TelemetryError::new(
            TelemetryErrorKind::Endpoint,
            format!("`{kind}` needs the path of a file, and the endpoint is a URL; URLs are for `otlp`"),
        ));
    }
    Ok(match &builder.folder {
        Some(folder) => folder.join(endpoint),
        None => PathBuf::from(endpoint),
    })
}
