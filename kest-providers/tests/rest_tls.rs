//! Engines with a server behind TLS: whose certificate counts.
#![cfg(all(feature = "opa", feature = "cedar-agent"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod server_support;

use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use kest_core::error::PolicyErrorKind::{Connection, Timeout};
use kest_core::policy::Decision;
use kest_providers::policy::{CedarAgentEngine, OpaEngine};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use server_support::ask::{ask, kind, said};
use server_support::{Request, read, whole};

const OPA: &str = r#"{"result":{"allow":true}}"#;
const CEDAR: &str = r#"{"decision":"Allow","diagnostics":{"reason":["p"],"errors":[]}}"#;

/// An authority and what it signs with.
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }
}

/// A server whose certificate names `name`.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    fn start(ca: &Ca, name: &str, answer: &'static str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &ca.issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key.into())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, accepted) = <(Arc<Mutex<Vec<Request>>>, Arc<AtomicUsize>)>::default();
        let (kept, count) = (Arc::clone(&requests), Arc::clone(&accepted));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let (config, kept) = (Arc::clone(&config), Arc::clone(&kept));
                thread::spawn(move || serve(stream, config, &kept, answer));
            }
        });
        Self { address, requests, accepted }
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, requests: &Mutex<Vec<Request>>, answer: &str) {
    let tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut reader = BufReader::new(tls);
    // A client that goes away is what some tests want.
    while let Ok(Some(request)) = read(&mut reader) {
        requests.lock().unwrap().push(request);
        if whole(reader.get_mut(), 200, answer).is_err() {
            return;
        }
    }
}

#[test]
fn an_authority_of_ones_own_is_believed_and_the_connection_used_again() {
    let ca = Ca::new();
    let server = Server::start(&ca, "127.0.0.1", OPA);
    let engine = OpaEngine::builder()
        .url(server.url())
        .bearer_token("s3cret")
        .root_certificates_pem(Ca::new().pem.as_bytes())
        .root_certificates_pem(ca.pem.as_bytes())
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&engine).unwrap(), Decision::allow());
    }
    assert_eq!(server.accepted.load(Ordering::SeqCst), 1);
    assert_eq!(server.requests.lock().unwrap()[0].header("authorization"), Some("Bearer s3cret"));

    let server = Server::start(&ca, "localhost", CEDAR);
    let engine = CedarAgentEngine::builder()
        .url(format!("https://localhost:{}", server.address.port()))
        .root_certificates_pem(ca.pem.as_bytes())
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    assert_eq!(ask(&engine).unwrap(), Decision::allow());
}

#[test]
fn nothing_is_sent_to_a_server_that_cannot_prove_who_it_is() {
    let (ca, other) = (Ca::new(), Ca::new());
    let stranger = Server::start(&other, "127.0.0.1", OPA);
    let elsewhere = Server::start(&ca, "opa.example.org", OPA);
    for server in [stranger, elsewhere] {
        let builder =
            OpaEngine::builder().url(server.url()).bearer_token("s3cret").timeout(Duration::from_secs(30));
        for builder in [builder.clone(), builder.root_certificates_pem(ca.pem.as_bytes())] {
            let answer = ask(&builder.build().unwrap());
            assert_eq!(kind(&answer), Some(Connection), "{answer:?}");
            let said = said(answer);
            assert!(said.contains("certificate") && said.contains(".root_certificates_pem("), "{said}");
            assert!(!said.contains("s3cret"));
        }
        assert_eq!(server.requests.lock().unwrap().len(), 0);
    }
}

#[test]
fn a_server_without_tls_is_not_spoken_to_in_the_clear() {
    let plain = server_support::Server::start(server_support::Reply::json(OPA));
    let engine = OpaEngine::builder()
        .url(plain.url().replace("http:", "https:"))
        .timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    // It waits for a line's end, which the handshake need not have.
    assert!(matches!(kind(&ask(&engine)), Some(Connection | Timeout)));
    assert!(plain.requests().iter().all(|request| request.header("host").is_none()));
}
