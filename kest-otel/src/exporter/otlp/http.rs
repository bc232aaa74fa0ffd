//! By HTTP.

use std::error::Error as StdError;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use reqwest::header::HeaderMap;
use reqwest::redirect;

use super::super::target::Target;
use super::told::Why;
use super::{Roots, not_built};
use crate::builder::setting;
use crate::error::TelemetryError;

pub(super) fn exporter(
    target: &Target,
    headers: &HeaderMap,
    roots: Option<Roots>,
    timeout: Duration,
    why: Why,
) -> Result<SpanExporter, TelemetryError> {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    // A client that blocks cannot be made, nor dropped, in an async function.
    let made = thread::scope(|scope| {
        let make = move || {
            let client = client(target, roots, timeout).map_err(|error| {
                setting(format!("cannot make a client for `{}`: {error}", target.url)).with_source(error)
            })?;
            SpanExporter::builder()
                .with_http()
                .with_http_client(Client { client, why })
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

/// Keeps why it could not send: the exporter says `network error` and no more.
#[derive(Debug)]
struct Client {
    client: reqwest::blocking::Client,
    why: Why,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.client.send_bytes(request).await;
        self.why.set(sent.as_ref().err().map(|error| &**error as &(dyn StdError + 'static)));
        sent
    }
}

fn client(
    target: &Target,
    roots: Option<Roots>,
    timeout: Duration,
) -> reqwest::Result<reqwest::blocking::Client> {
    // A collector does not send anybody elsewhere, and tokens would go along.
    let mut client = reqwest::blocking::Client::builder().timeout(timeout).redirect(redirect::Policy::none());
    // What goes in the clear stays on this machine, and a proxy is not asked to bring it back.
    if target.url.starts_with("http://") {
        client = client.no_proxy();
    }
    if let Some(roots) = roots {
        let roots = roots.0.iter().map(|root| reqwest::Certificate::from_der(root));
        client = client.tls_certs_only(roots.collect::<reqwest::Result<Vec<_>>>()?);
    }
    client.build()
}
