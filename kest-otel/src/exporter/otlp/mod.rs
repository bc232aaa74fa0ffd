//! Spans to a collector, by gRPC or HTTP.

mod grpc;
mod http;
mod told;

use std::time::Duration;

use opentelemetry_sdk::trace::BatchConfig;
use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use self::told::{Told, Why};
use super::target::Target;
use crate::batch::{KestSpanProcessor, Secrets, Worker};
use crate::builder::{Protocol, TelemetryBuilder, setting};
use crate::error::{TelemetryError, TelemetryErrorKind};
use kest_core::telemetry::Exporter;

/// How long a batch may take, with all attempts.
const TIMEOUT: Duration = Duration::from_secs(10);
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];

/// Makes the exporter. Nothing connects here.
///
/// # Errors
/// On an endpoint that is none, and headers or certificates that cannot be.
pub(super) fn open(
    builder: &TelemetryBuilder,
    config: BatchConfig,
) -> Result<KestSpanProcessor, TelemetryError> {
    let env = |name: &str| std::env::var(name).ok();
    let headers = headers(&builder.headers)?;
    // The SDK adds these by itself.
    let inherited = HEADERS.into_iter().find_map(|name| env(name).filter(|text| !text.is_empty()));
    let target = Target::of(builder, env, !headers.is_empty() || inherited.is_some())?;
    let mut secrets: Vec<String> = builder.headers.iter().map(|(_, value)| value.clone()).collect();
    for pair in inherited.iter().flat_map(|text| text.split(',')) {
        if let Some((_, value)) = pair.split_once('=') {
            let value = value.trim();
            // W3C Baggage, whose form the variable has, encodes values.
            secrets.push(percent_decode_str(value).decode_utf8_lossy().into_owned());
            secrets.push(value.to_owned());
        }
    }
    let secrets = Secrets(secrets);
    let timeout = builder.timeout.unwrap_or(TIMEOUT);
    let roots = builder.roots_pem.as_deref().map(Roots::parse).transpose()?;
    let why = Why::default();
    let (exporter, worker) = match target.protocol {
        Protocol::Grpc => grpc::exporter(&target, headers, roots, timeout)?,
        Protocol::HttpProtobuf => {
            (http::exporter(&target, &headers, roots, timeout, why.clone())?, Worker::default())
        }
    };
    let exporter = Told { exporter, origin: target.origin(), why, secrets: secrets.clone() };
    Ok(KestSpanProcessor::new(Exporter::Otlp, exporter, config, worker, secrets))
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap, TelemetryError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let Ok(key) = HeaderName::try_from(name.to_ascii_lowercase()) else {
            return Err(setting(format!("`{name}` is not the name of a header")));
        };
        // Names that end so have binary values in gRPC.
        if key.as_str().ends_with("-bin") || !value.chars().all(|c| matches!(c, ' '..='~')) {
            return Err(setting(format!("the header `{name}` has a value that is not plain ASCII")));
        }
        let Ok(mut value) = HeaderValue::try_from(value) else {
            return Err(setting(format!("the value of the header `{name}` is none that a header may have")));
        };
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// Certificates that a collector's certificate must lead to, instead of those of the system.
struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    fn parse(pem: &[u8]) -> Result<Self, TelemetryError> {
        let roots: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| setting(format!("`.roots_pem(…)` is no PEM: {error}")).with_source(error))?;
        if roots.is_empty() {
            return Err(setting("`.roots_pem(…)` has no certificate in it; give `BEGIN CERTIFICATE` blocks"));
        }
        let roots = Self(roots);
        roots.store()?;
        Ok(roots)
    }

    fn store(&self) -> Result<RootCertStore, TelemetryError> {
        let mut store = RootCertStore::empty();
        for root in &self.0 {
            store.add(root.clone()).map_err(|error| {
                setting(format!("`.roots_pem(…)` has a certificate that is none: {error}")).with_source(error)
            })?;
        }
        Ok(store)
    }
}

fn not_built(error: opentelemetry_otlp::ExporterBuildError) -> TelemetryError {
    TelemetryError::new(TelemetryErrorKind::Setting, format!("the exporter cannot be made: {error}"))
        .with_source(error)
}
