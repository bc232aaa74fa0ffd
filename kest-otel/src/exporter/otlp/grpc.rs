//! By gRPC.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use reqwest::header::HeaderMap;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;

use super::super::target::Target;
use super::{Roots, not_built};
use crate::batch::Worker;
use crate::builder::setting;
use crate::error::TelemetryError;

pub(super) fn exporter(
    target: &Target,
    headers: HeaderMap,
    roots: Option<Roots>,
    timeout: Duration,
) -> Result<(SpanExporter, Worker), TelemetryError> {
    let worker = Worker::start().map_err(|error| {
        setting(format!("cannot start the thread that speaks gRPC: {error}")).with_source(error)
    })?;
    let handle = worker.handle();
    let _inside = handle.as_ref().map(tokio::runtime::Handle::enter);
    let endpoint = Endpoint::from_shared(target.url.clone())
        .map_err(|error| {
            setting(format!("`{}` is no address for gRPC: {error}", target.url)).with_source(error)
        })?
        .timeout(timeout);
    let channel = match target.url.starts_with("https:") {
        true => endpoint.connect_with_connector_lazy(connector(roots)?),
        false => endpoint.connect_lazy(),
    };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_timeout(timeout)
        .with_metadata(MetadataMap::from_headers(headers))
        .build()
        .map_err(not_built)?;
    Ok((exporter, worker))
}

/// TLS, as HTTP's exporter has it too. It is not tonic's own: where that is built in, tonic leaves `https` addresses to
/// no other connector, in the whole program.
fn connector(roots: Option<Roots>) -> Result<HttpsConnector<HttpConnector>, TelemetryError> {
    let no =
        |error: rustls::Error| setting(format!("cannot make a client for TLS: {error}")).with_source(error);
    let versions = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(no)?;
    let config = match roots {
        Some(roots) => versions.with_root_certificates(roots.store()?),
        None => versions.with_platform_verifier().map_err(no)?,
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tls = HttpsConnectorBuilder::new().with_tls_config(config.with_no_client_auth());
    Ok(tls.https_only().enable_http2().wrap_connector(tcp))
}
