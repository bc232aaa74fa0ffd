//! Mutual TLS: who the peer is, what strangers can hold, how a server ends. Over real sockets.
#![cfg(feature = "spire")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderValue, Request, Response, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kest_http::PeerIdentity;
use kest_http::tls::{ConnectError, ConnectErrorKind, SpiffeConnector, TlsServer};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tower::Service as _;

const SOON: Duration = Duration::from_secs(20);
const STOCK: &str = "spiffe://example.org/stock";
const ORDERS: &str = "spiffe://example.org/orders";

/// A certificate authority, as an agent's bundle has it.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn leaf(&self, id: Option<&str>) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names.extend(id.map(|id| SanType::URI(id.try_into().unwrap())));
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (vec![certificate.der().clone()], key.into())
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }

    fn server(&self, id: Option<&str>) -> ServerConfig {
        let (chain, key) = self.leaf(id);
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&crypto)).build();
        let builder = ServerConfig::builder_with_provider(crypto).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_client_cert_verifier(clients.unwrap());
        builder.with_single_cert(chain, key).unwrap()
    }

    fn client(&self, id: Option<&str>) -> ClientConfig {
        self.client_of(self, id)
    }

    /// Trusts this authority, and shows what another has signed.
    fn client_of(&self, other: &Self, id: Option<&str>) -> ClientConfig {
        let (chain, key) = other.leaf(id);
        self.trusting().with_client_auth_cert(chain, key).unwrap()
    }

    fn trusting(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(crypto).with_safe_default_protocol_versions();
        builder.unwrap().with_root_certificates(self.roots())
    }
}

struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<std::io::Result<()>>,
}

impl Running {
    async fn start(server: TlsServer, app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = server.serve(listener, app, async { stopped.await.unwrap_or(()) });
        Self { address, stop: Some(stop), ended: tokio::spawn(serving) }
    }

    fn uri(&self) -> String {
        format!("https://localhost:{}/", self.address.port())
    }

    /// A connection that speaks HTTP/1.1, since it agrees on nothing else.
    async fn connect(&self, config: ClientConfig) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        timeout(SOON, connector.connect("localhost".try_into().unwrap(), stream)).await.unwrap().unwrap()
    }
}

/// Answers with the peer's id, or `nobody`.
fn who() -> Router {
    let handler = |peer: Option<Extension<PeerIdentity>>| async move {
        peer.map_or("nobody".to_owned(), |peer| peer.id().to_owned())
    };
    Router::new().route("/", get(handler))
}

fn client(config: ClientConfig) -> Client<SpiffeConnector, Body> {
    Client::builder(TokioExecutor::new()).build(SpiffeConnector::new(config))
}

async fn ask(client: &Client<SpiffeConnector, Body>, uri: &str) -> Response<Incoming> {
    let mut request = Request::get(uri).body(Body::empty()).unwrap();
    // What a stranger may write into headers is no identity.
    let forged = HeaderValue::from_static("URI=spiffe://example.org/admin");
    request.headers_mut().insert("x-forwarded-client-cert", forged);
    timeout(SOON, client.request(request)).await.unwrap().unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let body = timeout(SOON, response.into_body().collect()).await.unwrap().unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn connect(mut connector: SpiffeConnector, uri: &str) -> ConnectError {
    timeout(SOON, connector.call(uri.parse().unwrap())).await.unwrap().unwrap_err()
}

#[tokio::test]
async fn each_side_knows_who_the_other_is_over_either_protocol() {
    let authority = Authority::new();
    let server = Running::start(TlsServer::new(authority.server(Some(STOCK))), who()).await;

    let response = ask(&client(authority.client(Some(ORDERS))), &server.uri()).await;
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(response.extensions().get::<PeerIdentity>().unwrap().id(), STOCK);
    assert_eq!(text(response).await, ORDERS);

    let mut stream = server.connect(authority.client(Some(ORDERS))).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with(ORDERS), "{answer}");
}

/// With all that Kest's features bring: where one of them turned on tonic's own TLS, tonic would refuse the address.
#[tokio::test]
async fn tonic_takes_https_addresses() {
    let authority = Authority::new();
    let server = Running::start(TlsServer::new(authority.server(Some(STOCK))), who()).await;
    let connector = SpiffeConnector::new(authority.client(Some(ORDERS))).http2_only();
    let mut channel = tonic::transport::Endpoint::from_shared(server.uri())
        .unwrap()
        .connect_timeout(SOON)
        .connect_with_connector(connector)
        .await
        .unwrap();
    let request = Request::get("/").body(tonic::body::Body::empty()).unwrap();
    let response = timeout(SOON, async {
        std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
        channel.call(request).await.unwrap()
    });
    let body = response.await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, ORDERS);
}

#[tokio::test]
async fn who_proves_nothing_gets_no_answer() {
    let authority = Authority::new();
    let server = Running::start(TlsServer::new(authority.server(Some(STOCK))), who()).await;
    let other = Authority::new();
    for config in [authority.trusting().with_no_client_auth(), authority.client_of(&other, Some(ORDERS))] {
        let request = Request::get(server.uri()).body(Body::empty()).unwrap();
        timeout(SOON, client(config).request(request)).await.unwrap().unwrap_err();
    }
    let untrusting = SpiffeConnector::new(other.client_of(&authority, Some(ORDERS)));
    let error = connect(untrusting, &server.uri()).await;
    assert_eq!(error.kind(), ConnectErrorKind::Handshake, "{error}");
}

#[tokio::test]
async fn a_certificate_that_names_no_workload_is_nobodys() {
    let authority = Authority::new();
    for id in [None, Some("https://example.org/orders"), Some("spiffe://example.org")] {
        let server = Running::start(TlsServer::new(authority.server(Some(STOCK))), who()).await;
        assert_eq!(text(ask(&client(authority.client(id)), &server.uri()).await).await, "nobody", "{id:?}");

        let server = Running::start(TlsServer::new(authority.server(id)), who()).await;
        let error = connect(SpiffeConnector::new(authority.client(Some(ORDERS))), &server.uri()).await;
        assert_eq!(error.kind(), ConnectErrorKind::NoIdentity, "{id:?}: {error}");
    }
}

#[tokio::test]
async fn sockets_on_which_nothing_is_said_keep_nobody_out_and_are_closed() {
    let authority = Authority::new();
    let limit = Duration::from_secs(2);
    let server = TlsServer::new(authority.server(Some(STOCK))).handshakes(4).handshake_timeout(limit);
    let server = Running::start(server, who()).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let config = authority.client(Some(ORDERS));
    assert_eq!(text(ask(&client(config), &server.uri()).await).await, ORDERS);
    for mut socket in idle {
        let read = timeout(SOON, socket.read_u8()).await.expect("a socket that is still open");
        read.unwrap_err();
    }
}

#[tokio::test]
async fn there_are_no_more_connections_than_allowed_and_none_is_idle_for_ever() {
    let authority = Authority::new();
    let limit = Duration::from_millis(500);
    let server = TlsServer::new(authority.server(Some(STOCK))).connections(1).idle_timeout(limit);
    let server = Running::start(server, who()).await;
    let mut first = server.connect(authority.client(Some(ORDERS))).await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    timeout(SOON, first.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");

    let mut second = server.connect(authority.client(Some(ORDERS))).await;
    timeout(SOON, second.read_u8()).await.expect("a connection too many that is still open").unwrap_err();
    let mut rest = Vec::new();
    let _ = timeout(SOON, first.read_to_end(&mut rest)).await.expect("an idle connection that is still open");
    assert!(rest.ends_with(ORDERS.as_bytes()), "{rest:?}");
    assert_eq!(text(ask(&client(authority.client(Some(ORDERS))), &server.uri()).await).await, ORDERS);
}

#[tokio::test]
async fn an_old_connection_gives_way_to_one_with_a_new_handshake() {
    let authority = Authority::new();
    let server = TlsServer::new(authority.server(Some(STOCK))).connection_age(Duration::from_millis(200));
    let server = Running::start(server, who()).await;
    let mut stream = server.connect(authority.client(Some(ORDERS))).await;
    timeout(SOON, stream.read_u8()).await.expect("an old connection that is still open").unwrap_err();

    // A client that pools connections notices nothing.
    let client = client(authority.client(Some(ORDERS)));
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(text(ask(&client, &server.uri()).await).await, ORDERS);
    }
}

#[tokio::test]
async fn a_server_that_stops_lets_requests_end_and_takes_no_more() {
    let authority = Authority::new();
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (began, going) = (Arc::clone(&begun), Arc::clone(&go_on));
    let handler = move || async move {
        began.notify_one();
        going.notified().await;
        "done"
    };
    let app = Router::new().route("/", get(handler));
    let mut server = Running::start(TlsServer::new(authority.server(Some(STOCK))), app).await;
    let (client, uri) = (client(authority.client(Some(ORDERS))), server.uri());
    let request = tokio::spawn(async move { text(ask(&client, &uri).await).await });
    timeout(SOON, begun.notified()).await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    let refused = async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, refused).await.unwrap();
    go_on.notify_one();
    assert_eq!(timeout(SOON, request).await.unwrap().unwrap(), "done");
    timeout(SOON, server.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_after_the_grace() {
    let authority = Authority::new();
    let begun = Arc::new(Notify::new());
    let began = Arc::clone(&begun);
    let handler = move || async move {
        began.notify_one();
        std::future::pending::<&str>().await
    };
    let app = Router::new().route("/", get(handler));
    let server = TlsServer::new(authority.server(Some(STOCK))).grace(Duration::from_millis(200));
    let mut server = Running::start(server, app).await;
    let client = client(authority.client(Some(ORDERS)));
    let request = Request::get(server.uri()).body(Body::empty()).unwrap();
    let request = tokio::spawn(async move { client.request(request).await.map(drop) });
    timeout(SOON, begun.notified()).await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    timeout(SOON, server.ended).await.unwrap().unwrap().unwrap();
    timeout(SOON, request).await.unwrap().unwrap().unwrap_err();
}

#[tokio::test]
async fn why_a_connection_could_not_be_made_is_told() {
    let authority = Authority::new();
    let connector = || SpiffeConnector::new(authority.client(Some(ORDERS)));

    let error = connect(connector(), "/path").await;
    assert_eq!(error.kind(), ConnectErrorKind::Address, "{error}");

    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = connect(connector(), &format!("https://127.0.0.1:{port}")).await;
    assert_eq!(error.kind(), ConnectErrorKind::Unreachable, "{error}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://localhost:{}", silent.local_addr().unwrap().port());
    let error = connect(connector().timeout(Duration::from_millis(200)), &uri).await;
    assert_eq!(error.kind(), ConnectErrorKind::TimedOut, "{error}");
    assert!(error.to_string().contains("`SpiffeConnector::timeout`"), "{error}");

    // A server that offers no protocol, and one that offers HTTP/1.1 alone.
    for (protocols, kind) in
        [(vec![], ConnectErrorKind::Protocol), (vec![b"http/1.1".to_vec()], ConnectErrorKind::Handshake)]
    {
        let mut config = authority.server(Some(STOCK));
        config.alpn_protocols = protocols;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            acceptor.accept(stream).await.map(drop)
        });
        let error = connect(connector().http2_only(), &uri).await;
        assert_eq!(error.kind(), kind, "{error}");
        let _ = server.await.unwrap();
    }
}
