//! By gRPC.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use reqwest::header::HeaderMap;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tonic::metadata::MetadataMap;
use tonic::transport::{Endpoint, Uri};
use tower_service::Service;

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
    let (endpoint, address) = endpoint(&target.url)?;
    let endpoint = endpoint.timeout(timeout);
    let channel = match address.scheme_str() {
        Some("https") => endpoint.connect_with_connector_lazy(Secure { tls: connector(roots)?, address }),
        Some(_) | None => endpoint.connect_lazy(),
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

/// What tonic is told, and where the collector is. Where tonic's own TLS is built in, by whatever crate of the program,
/// tonic leaves `https` addresses to no other connector. So it is told `http`, and that requests are for `https`.
fn endpoint(url: &str) -> Result<(Endpoint, Uri), TelemetryError> {
    let to = |told: String| {
        Endpoint::from_shared(told)
            .map_err(|error| setting(format!("`{url}` is no address for gRPC: {error}")).with_source(error))
    };
    let endpoint = to(url.to_owned())?;
    let address = endpoint.uri().clone();
    let endpoint = match url.strip_prefix("https:") {
        Some(rest) => to(format!("http:{rest}"))?.origin(address.clone()),
        None => endpoint,
    };
    Ok((endpoint, address))
}

/// Connects by TLS to one address, whatever tonic says.
struct Secure {
    tls: HttpsConnector<HttpConnector>,
    address: Uri,
}

impl Service<Uri> for Secure {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = <HttpsConnector<HttpConnector> as Service<Uri>>::Error;
    type Future = <HttpsConnector<HttpConnector> as Service<Uri>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Uri>::poll_ready(&mut self.tls, context)
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        self.tls.call(self.address.clone())
    }
}

/// TLS, as HTTP's exporter has it too.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::endpoint;

    #[test]
    fn tonic_never_sees_https_which_it_may_refuse() {
        for (url, told) in [
            ("https://collector.example:4317/", "http://collector.example:4317/"),
            ("https://collector.example/", "http://collector.example/"),
            ("http://[::1]:4317/", "http://[::1]:4317/"),
        ] {
            let (endpoint, address) = endpoint(url).unwrap();
            assert_eq!((endpoint.uri().to_string().as_str(), address.to_string().as_str()), (told, url));
        }
    }
}
