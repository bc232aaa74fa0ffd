//! Collectors behind TLS: only the right one gets spans and tokens, by either protocol. Spec §14.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use kest_otel::{KestTelemetry, Protocol, TelemetryBuilder};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use support::{alone, call, kest};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

const TOKEN: &str = "Bearer s3cret";
const PROTOCOLS: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn server(&self, name: &str, protocols: &[&str]) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::ExplicitNoCa;
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

/// What came: path, token and body.
type Came = (String, Option<String>, Bytes);

struct Collector {
    port: u16,
    came: mpsc::Receiver<Came>,
    _runtime: Runtime,
}

impl Collector {
    fn start(config: ServerConfig) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, came) = mpsc::channel();
        let app = Router::new().fallback(take).with_state(sender);
        runtime.spawn(async move {
            let tls = TlsAcceptor::from(Arc::new(config));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = tls.accept(stream).await else { continue };
                let service = TowerToHyperService::new(app.clone());
                tokio::spawn(async move {
                    let connection = auto::Builder::new(TokioExecutor::new());
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, came, _runtime: runtime }
    }
}

/// Says that all is well, as the protocol says it.
async fn take(
    State(came): State<mpsc::Sender<Came>>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Response<Body> {
    let token = headers.get("authorization").map(|token| token.to_str().unwrap().to_owned());
    came.send((uri.path().to_owned(), token, body)).unwrap();
    if uri.path() == "/v1/traces" {
        return Response::new(Body::empty());
    }
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    // An empty message: no flags, no bytes.
    let message = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async { Some(Ok(trailers)) });
    Response::builder().header("content-type", "application/grpc").body(Body::new(message)).unwrap()
}

fn to(collector: &Collector, protocol: Protocol) -> TelemetryBuilder {
    KestTelemetry::builder()
        .service_name("shop")
        .exporter("otlp")
        .unwrap()
        .endpoint(format!("https://localhost:{}", collector.port))
        .protocol(protocol)
        .header("authorization", TOKEN)
        .timeout(Duration::from_secs(5))
}

/// How many of one span were delivered, and what was said if none.
fn delivered(telemetry: TelemetryBuilder) -> (u64, String) {
    let telemetry = telemetry.install().unwrap();
    let scope = kest().enter();
    call("guarded", || ()).unwrap();
    drop(scope);
    let said = telemetry.flush().map_err(|error| std::error::Error::source(&error).unwrap().to_string());
    (telemetry.shutdown().unwrap().exported, said.err().unwrap_or_default())
}

#[test]
fn the_right_collector_gets_spans_and_the_token() {
    let _alone = alone();
    let authority = Authority::new();
    let collector = Collector::start(authority.server("localhost", &["h2", "http/1.1"]));
    for (protocol, path) in PROTOCOLS
        .into_iter()
        .zip(["/opentelemetry.proto.collector.trace.v1.TraceService/Export", "/v1/traces"])
    {
        let (number, said) = delivered(to(&collector, protocol).roots_pem(authority.pem()));
        assert_eq!((number, said.as_str()), (1, ""), "{protocol:?}");
        let (asked, token, body) = collector.came.try_recv().unwrap();
        assert_eq!((asked.as_str(), token.as_deref()), (path, Some(TOKEN)));
        let name = b"kest.verified.guarded";
        assert!(body.windows(name.len()).any(|part| part == name));
        assert!(collector.came.try_recv().is_err(), "one batch");
    }
}

#[test]
fn no_other_gets_anything() {
    let _alone = alone();
    let (authority, other) = (Authority::new(), Authority::new());
    let both = ["h2", "http/1.1"];
    let ours = || Collector::start(authority.server("localhost", &both));
    for protocol in PROTOCOLS {
        for (case, collector, roots) in [
            ("whom the system does not know", ours(), None),
            ("another authority's", ours(), Some(other.pem())),
            (
                "under another name",
                Collector::start(authority.server("example.org", &both)),
                Some(authority.pem()),
            ),
        ] {
            let mut telemetry = to(&collector, protocol);
            if let Some(roots) = roots {
                telemetry = telemetry.roots_pem(roots);
            }
            let (number, said) = delivered(telemetry);
            assert_eq!(number, 0, "{protocol:?}: {case}");
            assert!(said.contains("certificate"), "{protocol:?}: {case}: {said}");
            assert!(said.contains(&format!("`https://localhost:{}`", collector.port)), "{said}");
            assert!(collector.came.try_recv().is_err(), "{protocol:?}: {case}");
        }
    }
    let old = Collector::start(authority.server("localhost", &["http/1.1"]));
    assert_eq!(delivered(to(&old, Protocol::Grpc).roots_pem(authority.pem())).0, 0, "gRPC is HTTP/2");
    assert!(old.came.try_recv().is_err());
}
