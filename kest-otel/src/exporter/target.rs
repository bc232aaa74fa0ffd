//! Where a collector is, and how it is spoken to.

use url::{Host, Url};

use crate::builder::{Protocol, TelemetryBuilder};
use crate::error::{TelemetryError, TelemetryErrorKind};

/// A collector's address, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) url: String,
    pub(super) protocol: Protocol,
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
/// What OTLP over HTTP adds to the address of a collector.
const TRACES: &str = "/v1/traces";

impl Target {
    /// From the builder, and what it does not say from the environment.
    ///
    /// # Errors
    /// When the endpoint is no address of a collector, or headers would be readable on the way to it.
    pub(super) fn of(
        builder: &TelemetryBuilder,
        env: impl Fn(&str) -> Option<String>,
        has_headers: bool,
    ) -> Result<Self, TelemetryError> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        // What the variable for traces says is the whole address.
        let (given, is_whole) = match &builder.endpoint {
            Some(endpoint) => (Some(endpoint.clone()), false),
            None => match env(TRACES_ENDPOINT) {
                Some(endpoint) => (Some(endpoint), true),
                None => (env(ENDPOINT), false),
            },
        };
        let mut url = given.as_deref().map(parse).transpose()?;
        let protocol = match (builder.protocol, env(TRACES_PROTOCOL).or_else(|| env(PROTOCOL))) {
            (Some(protocol), _) => protocol,
            (None, Some(named)) => match named.as_str() {
                "grpc" => Protocol::Grpc,
                "http/protobuf" => Protocol::HttpProtobuf,
                other => {
                    return Err(wrong(format!(
                        "`{PROTOCOL}` or `{TRACES_PROTOCOL}` is `{other}`; this build speaks `grpc` and `http/protobuf`"
                    )));
                }
            },
            (None, None) => match &url {
                Some(url) if url.port() == Some(4318) || url.path() != "/" => Protocol::HttpProtobuf,
                Some(_) | None => Protocol::Grpc,
            },
        };
        if let Some(url) = &mut url {
            match protocol {
                Protocol::Grpc if url.path() != "/" => {
                    return Err(wrong(format!(
                        "`{url}` has a path, and gRPC has none; take it away, or say `.protocol(Protocol::HttpProtobuf)`"
                    )));
                }
                Protocol::HttpProtobuf if !is_whole => {
                    let base = url.path().trim_end_matches('/');
                    if !base.ends_with(TRACES) {
                        // The variable names the collector; the builder names it too, or the whole address.
                        let path = match builder.endpoint.is_some() && !base.is_empty() {
                            true => base.to_owned(),
                            false => format!("{base}{TRACES}"),
                        };
                        url.set_path(&path);
                    }
                }
                Protocol::Grpc | Protocol::HttpProtobuf => {}
            }
            if has_headers && !builder.headers_in_plain_text && url.scheme() == "http" && !is_here(url) {
                return Err(wrong(format!(
                    "headers would go to `{url}` in plain text; use `https`, or leave them away"
                )));
            }
        }
        let url = match (url, protocol) {
            (Some(url), _) => url.to_string(),
            (None, Protocol::Grpc) => "http://localhost:4317/".to_owned(),
            (None, Protocol::HttpProtobuf) => format!("http://localhost:4318{TRACES}"),
        };
        Ok(Self { url, protocol })
    }

    /// The address without its path, which may be nobody else's business.
    pub(super) fn origin(&self) -> String {
        Url::parse(&self.url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
    }
}

fn parse(text: &str) -> Result<Url, TelemetryError> {
    // The text is not repeated before it is known to hold no password.
    let url = Url::parse(text).map_err(|error| {
        wrong(format!(
            "the endpoint is no URL ({error}); use one such as `http://127.0.0.1:4317` or `https://collector.example:4318`"
        ))
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(format!(
            "the endpoint has the scheme `{}`; use `https`, or `http`, as in `http://127.0.0.1:4317`",
            url.scheme()
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("the endpoint has a user or password in it; give the collector a header instead"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(
            "the endpoint has a query or a fragment; take it away, and give tokens as headers",
        ));
    }
    Ok(url)
}

/// Whether it is this machine.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn wrong(message: impl Into<String>) -> TelemetryError {
    TelemetryError::new(TelemetryErrorKind::Endpoint, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KestTelemetry;

    fn of(builder: &TelemetryBuilder, env: &[(&str, &str)]) -> Result<Target, TelemetryError> {
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Target::of(builder, env, !builder.headers.is_empty())
    }

    fn at(endpoint: &str) -> TelemetryBuilder {
        KestTelemetry::builder().endpoint(endpoint)
    }

    #[track_caller]
    fn is(builder: &TelemetryBuilder, env: &[(&str, &str)], url: &str, protocol: Protocol) {
        assert_eq!(of(builder, env).unwrap(), Target { url: url.to_owned(), protocol });
    }

    #[test]
    fn the_port_and_the_path_say_what_is_spoken() {
        use Protocol::{Grpc, HttpProtobuf as Http};
        is(&at("http://127.0.0.1:4317"), &[], "http://127.0.0.1:4317/", Grpc);
        is(&at("https://collector.example"), &[], "https://collector.example/", Grpc);
        is(&at("http://127.0.0.1:4318"), &[], "http://127.0.0.1:4318/v1/traces", Http);
        is(&at("http://127.0.0.1:4318/"), &[], "http://127.0.0.1:4318/v1/traces", Http);
        is(&at("http://127.0.0.1:4318/v1/traces"), &[], "http://127.0.0.1:4318/v1/traces", Http);
        is(&at("https://in.example/otlp/v1/traces"), &[], "https://in.example/otlp/v1/traces", Http);
        is(&at("https://in.example/ingest"), &[], "https://in.example/ingest", Http);
        is(&at("http://127.0.0.1:4317").protocol(Http), &[], "http://127.0.0.1:4317/v1/traces", Http);
        is(&at("http://127.0.0.1:4318").protocol(Grpc), &[], "http://127.0.0.1:4318/", Grpc);
    }

    #[test]
    fn the_environment_says_what_is_not_said() {
        use Protocol::{Grpc, HttpProtobuf as Http};
        let nothing = KestTelemetry::builder();
        is(&nothing, &[], "http://localhost:4317/", Grpc);
        is(&nothing, &[(PROTOCOL, "http/protobuf")], "http://localhost:4318/v1/traces", Http);
        is(&nothing, &[(ENDPOINT, "http://c:4318")], "http://c:4318/v1/traces", Http);
        is(&nothing, &[(ENDPOINT, "http://c:4318/base/")], "http://c:4318/base/v1/traces", Http);
        is(&nothing, &[(TRACES_ENDPOINT, "http://c:4318/mine")], "http://c:4318/mine", Http);
        let both = [(ENDPOINT, "http://a:4317"), (TRACES_ENDPOINT, "http://b:4317")];
        is(&nothing, &both, "http://b:4317/", Grpc);
        is(&at("http://c:4317"), &both, "http://c:4317/", Grpc);
        let protocols = [(PROTOCOL, "grpc"), (TRACES_PROTOCOL, "http/protobuf")];
        is(&at("http://c:9"), &protocols, "http://c:9/v1/traces", Http);
        is(&at("http://c:9").protocol(Grpc), &protocols, "http://c:9/", Grpc);
        is(&nothing, &[(ENDPOINT, "")], "http://localhost:4317/", Grpc);
    }

    #[test]
    fn what_is_no_address_is_refused_and_passwords_are_not_repeated() {
        for (builder, env, named) in [
            (at("127.0.0.1:4317"), None, "no URL"),
            (at("collector:4317"), None, "scheme `collector`"),
            (at("ftp://c"), None, "scheme `ftp`"),
            (at("unix:///run/otel.sock"), None, "scheme `unix`"),
            (at("http://"), None, "no URL"),
            (at("http://me:s3cret@c:4317"), None, "give the collector a header"),
            (at("http://s3cret@c:4317"), None, "give the collector a header"),
            (at("http://c:4317?token=s3cret"), None, "a query"),
            (at("http://c:4317#s3cret"), None, "a query or a fragment"),
            (at("http://c:4317/path").protocol(Protocol::Grpc), None, "has a path"),
            (at("http://c:4317"), Some((PROTOCOL, "http/json")), "http/json"),
            (KestTelemetry::builder(), Some((ENDPOINT, "s3cret")), "no URL"),
        ] {
            let error = of(&builder, env.as_slice()).unwrap_err();
            assert_eq!(error.kind(), TelemetryErrorKind::Endpoint);
            assert!(error.to_string().contains(named), "{error}");
            assert!(!format!("{error:?} {error}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn headers_do_not_go_out_in_plain_text() {
        let with = |endpoint: &str| at(endpoint).header("authorization", "Bearer s3cret");
        for here in ["http://127.0.0.1:4317", "http://localhost:4317", "http://[::1]:4317", "https://c:4317"]
        {
            of(&with(here), &[]).unwrap();
        }
        for elsewhere in ["http://c:4317", "http://10.0.0.1:4318", "http://localhost.example:4317"] {
            let error = of(&with(elsewhere), &[]).unwrap_err();
            assert!(error.to_string().contains("plain text"), "{error}");
            of(&with(elsewhere).dangerous().headers_in_plain_text(), &[]).unwrap();
            of(&at(elsewhere), &[]).unwrap();
        }
    }
}
