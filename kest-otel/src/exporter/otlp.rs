//! Spans to a collector, by gRPC or HTTP.

use std::thread;
use std::time::Duration;

use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::trace::BatchConfig;
use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect;

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
    let (exporter, worker) = match target.protocol {
        Protocol::Grpc => grpc(&target, headers, builder.roots_pem.as_deref(), timeout)?,
        Protocol::HttpProtobuf => {
            (http(&target, &headers, builder.roots_pem.as_deref(), timeout)?, Worker::default())
        }
    };
    Ok(KestSpanProcessor::new(Exporter::Otlp, exporter, config, worker, secrets))
}

fn grpc(
    target: &Target,
    headers: HeaderMap,
    roots_pem: Option<&[u8]>,
    timeout: Duration,
) -> Result<(SpanExporter, Worker), TelemetryError> {
    let worker = Worker::start().map_err(|error| {
        setting(format!("cannot start the thread that speaks gRPC: {error}")).with_source(error)
    })?;
    let handle = worker.handle();
    let _inside = handle.as_ref().map(tokio::runtime::Handle::enter);
    let mut exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&target.url)
        .with_timeout(timeout)
        .with_metadata(MetadataMap::from_headers(headers));
    if target.url.starts_with("https:") {
        let tls = match roots_pem {
            Some(pem) => {
                certificates(pem)?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        exporter = exporter.with_tls_config(tls);
    }
    Ok((exporter.build().map_err(not_built)?, worker))
}

fn http(
    target: &Target,
    headers: &HeaderMap,
    roots_pem: Option<&[u8]>,
    timeout: Duration,
) -> Result<SpanExporter, TelemetryError> {
    let roots = roots_pem.map(certificates).transpose()?;
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    // A client that blocks cannot be made, nor dropped, in an async function.
    let made = thread::scope(|scope| {
        let make = move || {
            // A collector does not send anybody elsewhere, and tokens would go along.
            let mut client =
                reqwest::blocking::Client::builder().timeout(timeout).redirect(redirect::Policy::none());
            // What goes in the clear stays on this machine, and a proxy is not asked to bring it back.
            if target.url.starts_with("http://") {
                client = client.no_proxy();
            }
            if let Some(roots) = roots {
                client = client.tls_certs_only(roots);
            }
            let client = client.build().map_err(|error| {
                setting(format!("cannot make a client for `{}`: {error}", target.url)).with_source(error)
            })?;
            SpanExporter::builder()
                .with_http()
                .with_http_client(client)
                .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
                .with_endpoint(&target.url)
                .with_timeout(timeout)
                .with_headers(headers)
                .build()
                .map_err(not_built)
        };
        scope.spawn(make).join()
    });
    made.unwrap_or_else(|_| Err(setting("the HTTP client could not be made: it panicked")))
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

fn certificates(pem: &[u8]) -> Result<Vec<reqwest::Certificate>, TelemetryError> {
    let certificates = reqwest::Certificate::from_pem_bundle(pem)
        .map_err(|error| setting(format!("`.roots_pem(…)` is no PEM: {error}")).with_source(error))?;
    match certificates.is_empty() {
        true => Err(setting("`.roots_pem(…)` has no certificate in it")),
        false => Ok(certificates),
    }
}

fn not_built(error: opentelemetry_otlp::ExporterBuildError) -> TelemetryError {
    TelemetryError::new(TelemetryErrorKind::Setting, format!("the exporter cannot be made: {error}"))
        .with_source(error)
}
