//! The REST API of an Open Policy Agent.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use kest_providers::policy::OpaEngine;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Certificate, Client, Url, redirect};

use super::{Remote, Server, rego};
use crate::input::{self, Unusable};

/// How long an answer may take, in all.
const LIMIT: Duration = Duration::from_secs(5);
/// The texts, and what they were parsed into: ten times as much.
const LARGEST: usize = 64 << 20;
const TOKEN_BYTES: u64 = 64 << 10;
const CA_BYTES: u64 = 16 << 20;

/// An engine that asks the server.
///
/// # Errors
/// When the address, the token or the authorities cannot be used.
pub(super) fn engine(server: &Server, url: &str) -> Result<OpaEngine, Unusable> {
    let mut builder = OpaEngine::builder().url(url);
    if let Some(path) = &server.token_file {
        builder = builder.bearer_token_file(path);
    }
    if let Some(pem) = certificates(server)? {
        builder = builder.root_certificates_pem(&pem);
    }
    builder.build().map_err(|error| Unusable(without_builder(&error.to_string())))
}

/// A message without the advice for code: there is no such option.
fn without_builder(message: &str) -> String {
    match message.split_once(", or say `.allow_plain_http()`") {
        Some((before, _)) => before.to_owned(),
        None => message.to_owned(),
    }
}

/// The policies of the server.
///
/// # Errors
/// When there is no usable answer in time.
pub(super) fn policies(server: &Server, url: &str) -> Result<Remote, Unusable> {
    // Its rules for addresses are the rules here.
    engine(server, url)?;
    let shown = format!("`{}/v1/policies`", url.trim_end_matches('/'));
    let url = Url::parse(&format!("{}/v1/policies", url.trim_end_matches('/')))
        .map_err(|error| Unusable(format!("{shown} is no address: {error}")))?;
    // As the engine: no proxy, no redirect.
    let builder = Client::builder().redirect(redirect::Policy::none()).referer(false).no_proxy();
    let mut builder = builder.timeout(LIMIT);
    if let Some(pem) = certificates(server)? {
        let roots = Certificate::from_pem_bundle(&pem)
            .map_err(|error| Unusable(format!("the authorities of --ca are not PEM: {error}")))?;
        builder = builder.tls_certs_merge(roots);
    }
    let client = builder.build().map_err(|error| Unusable(format!("cannot speak HTTP: {}", cause(error))))?;
    let mut request = client.get(url).header("accept", "application/json");
    if let Some(path) = &server.token_file {
        request = request.header(AUTHORIZATION, token(path)?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Unusable(format!("cannot speak HTTP: {error}")))?;
    let body = runtime.block_on(answer(request, &shown))?;
    let answer: rego::Answer = serde_json::from_slice(&body).map_err(|error| {
        Unusable(format!(
            "{shown} answers with something else than policies: {error}; is it an Open Policy Agent?"
        ))
    })?;
    Ok(answer.into_remote())
}

async fn answer(request: reqwest::RequestBuilder, shown: &str) -> Result<Vec<u8>, Unusable> {
    let failed = |error: reqwest::Error| {
        if error.is_timeout() {
            Unusable(format!("{shown} did not answer within {} seconds", LIMIT.as_secs()))
        } else {
            Unusable(format!("{shown} cannot be reached: {}", cause(error)))
        }
    };
    let mut answer = request.send().await.map_err(failed)?;
    let status = answer.status().as_u16();
    match status {
        200 => {}
        401 | 403 => {
            return Err(Unusable(format!(
                "{shown} refuses with status {status}; give a token that may read policies with --token-file"
            )));
        }
        300..=399 => {
            return Err(Unusable(format!("{shown} redirects (status {status}); name the server itself")));
        }
        _ => return Err(Unusable(format!("{shown} answers with status {status} instead of 200"))),
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > LARGEST {
            return Err(Unusable(format!("{shown} answers with more than {} MiB", LARGEST >> 20)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn token(path: &Path) -> Result<HeaderValue, Unusable> {
    let bytes = input::regular(path, "token", TOKEN_BYTES)?;
    let unusable =
        || Unusable(format!("`{}` holds no bearer token: one line of visible ASCII", path.display()));
    let text = str::from_utf8(&bytes).map_err(|_| unusable())?.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| unusable())?;
    value.set_sensitive(true);
    Ok(value)
}

fn certificates(server: &Server) -> Result<Option<Vec<u8>>, Unusable> {
    server.ca.as_deref().map(|path| input::regular(path, "certificates", CA_BYTES)).transpose()
}

/// The error without the address, and with what lies under it.
fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut under = error.source();
    while let Some(next) = under {
        text = format!("{text}: {next}");
        under = next.source();
    }
    text
}
