//! Mutual TLS with SVIDs: who is spoken with, and that a configuration lives through rotations.
#![cfg(feature = "spire")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/spire/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use kest_providers::identity::spire::{PeerAuthorizer, SpireProvider, TlsContext, TlsMinVersion, TlsRole};
use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Error, ProtocolVersion, ServerConfig, ServerConnection};
use support::pki::{Ca, Issued, uri};
use support::{Agent, eventually_async};

/// Both ends after a handshake, or the first error and whose it is.
fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), (&'static str, Error)> {
    // What the server is called says nothing about who it is.
    let name = ServerName::try_from("whoever.invalid").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    // Once more than a handshake takes, so that what follows it (tickets) is delivered too.
    for _ in 0..6 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().map_err(|error| ("server", error))?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().map_err(|error| ("client", error))?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

/// The leafs that both ends have seen: the server's, the client's.
fn leafs(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (Vec<u8>, Vec<u8>) {
    let (client, server) = handshake(client, server).unwrap();
    (client.peer_certificates().unwrap()[0].to_vec(), server.peer_certificates().unwrap()[0].to_vec())
}

fn refused(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, who: &str, text: &str) {
    let (by, error) = handshake(client, server).map(drop).unwrap_err();
    assert_eq!(by, who, "{error}");
    assert!(error.to_string().contains(text) || format!("{error:?}").contains(text), "{error}");
}

async fn client(provider: &SpireProvider, peers: PeerAuthorizer) -> Arc<ClientConfig> {
    Arc::new(provider.tls_client_config(peers).await.unwrap())
}

async fn server(provider: &SpireProvider, peers: PeerAuthorizer) -> Arc<ServerConfig> {
    Arc::new(provider.tls_server_config(peers).await.unwrap())
}

fn own() -> PeerAuthorizer {
    PeerAuthorizer::own_trust_domain()
}

fn ids(ids: &[&str]) -> PeerAuthorizer {
    PeerAuthorizer::ids(ids).unwrap()
}

#[tokio::test]
async fn workloads_of_one_trust_domain_speak_with_each_other_by_default() {
    let ca = Ca::new("own.test");
    let (der, intermediate) = ca.intermediate(|_| {});
    let (a, b) = (ca.svid("/a"), intermediate.svid("/b").through(&[&der]));
    let mut update = ca.update(&b);
    update.svids[0].bundle = ca.der.clone();
    let (agent_a, agent_b) = (Agent::with(&ca.update(&a)), Agent::with(&update));
    let TlsContext::Client(client) = agent_a.provider().create_tls_context(TlsRole::Client).await.unwrap()
    else {
        panic!()
    };
    let TlsContext::Server(server) = agent_b.provider().create_tls_context(TlsRole::Server).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(leafs(&client, &server), (b.chain[0].clone(), a.chain[0].clone()));
    let (client, _) = handshake(&client, &server).unwrap();
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn every_kind_of_key_shakes_hands() {
    let ca = Ca::new("own.test");
    let p384 = ca.issue(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(), "/p384", |_| {});
    let server = server(&Agent::with(&ca.update(&ca.svid("/b"))).provider(), own()).await;
    for svid in [p384, ca.svid_rsa("/rsa")] {
        let client = client(&Agent::with(&ca.update(&svid)).provider(), own()).await;
        assert_eq!(leafs(&client, &server).1, svid.chain[0]);
    }
}

#[tokio::test]
async fn a_wrong_id_is_refused_on_both_sides() {
    let ca = Ca::new("own.test");
    let (agent_a, agent_b) =
        (Agent::with(&ca.update(&ca.svid("/a"))), Agent::with(&ca.update(&ca.svid("/b"))));
    let (a, b) = (agent_a.provider(), agent_b.provider());
    let (only_a, only_b) = (ids(&["spiffe://own.test/a"]), ids(&["spiffe://own.test/b"]));
    handshake(&client(&a, only_b.clone()).await, &server(&b, only_a.clone()).await).unwrap();
    let not_allowed = "is not one that this TLS configuration allows";
    refused(&client(&a, only_a.clone()).await, &server(&b, only_a).await, "client", not_allowed);
    refused(&client(&a, only_b.clone()).await, &server(&b, only_b).await, "server", not_allowed);
}

#[tokio::test]
async fn a_federated_peer_counts_only_where_it_is_named() {
    let (own_ca, peer_ca) = (Ca::new("own.test"), Ca::new("peer.test"));
    let here = own_ca.update(&own_ca.svid("/a")).federated("peer.test", peer_ca.der.clone());
    let there = peer_ca.update(&peer_ca.svid("/b")).federated("own.test", own_ca.der.clone());
    let (agent_a, agent_b) = (Agent::with(&here), Agent::with(&there));
    let (a, b) = (agent_a.provider(), agent_b.provider());
    let accepts_a = server(&b, PeerAuthorizer::trust_domains(["own.test"]).unwrap()).await;
    handshake(&client(&a, ids(&["spiffe://peer.test/b"])).await, &accepts_a).unwrap();
    handshake(&client(&a, own().or(ids(&["spiffe://peer.test/b"]))).await, &accepts_a).unwrap();
    for wrong in [own(), ids(&["spiffe://peer.test/c"]), ids(&["spiffe://own.test/b"])] {
        refused(&client(&a, wrong).await, &accepts_a, "client", "allows");
    }
    let names_b = client(&a, ids(&["spiffe://peer.test/b"])).await;
    refused(&names_b, &server(&b, own()).await, "server", "allows");

    // Named, but the agent has no bundle of it any longer.
    agent_a.send(&own_ca.update(&own_ca.svid("/a")));
    eventually_async("the bundle is withdrawn", async || {
        a.get_trust_bundle(Some("peer.test")).await.is_err()
    })
    .await;
    refused(&names_b, &accepts_a, "client", "no trust bundle of `peer.test`");
}

#[tokio::test]
async fn a_configuration_lives_through_rotations_of_keys_and_bundles() {
    let first = Ca::new("own.test");
    let (agent_a, agent_b) =
        (Agent::with(&first.update(&first.svid("/a"))), Agent::with(&first.update(&first.svid("/b"))));
    let (a, b) = (agent_a.provider(), agent_b.provider());
    let (client, server) = (client(&a, own()).await, server(&b, own()).await);
    handshake(&client, &server).unwrap();
    for _ in 0..3 {
        // A new authority each time: the old one is believed by nobody afterwards.
        let next = Ca::new("own.test");
        let (svid_a, svid_b) = (next.svid("/a"), next.svid("/b"));
        agent_a.send(&next.update(&svid_a));
        agent_b.send(&next.update(&svid_b));
        eventually_async("both have rotated", async || holds(&a, &svid_a).await && holds(&b, &svid_b).await)
            .await;
        assert_eq!(leafs(&client, &server), (svid_b.chain[0].clone(), svid_a.chain[0].clone()));
    }
    // An authority that is withdrawn is believed no longer, by connections that knew it before too.
    let next = Ca::new("own.test");
    let svid = next.svid("/b");
    agent_b.send(&next.update(&svid));
    eventually_async("it has rotated", async || holds(&b, &svid).await).await;
    refused(&client, &server, "client", "does not lead to an authority of `own.test`");
}

async fn holds(provider: &SpireProvider, svid: &Issued) -> bool {
    provider.get_svid().await.unwrap().chain()[0] == svid.chain[0]
}

#[tokio::test]
async fn certificates_that_are_no_svid_of_a_peer_are_refused() {
    let ca = Ca::new("own.test");
    let stranger = Ca::new("own.test");
    let server_agent = Agent::with(&ca.update(&ca.svid("/b")));
    let server = server(&server_agent.provider(), own()).await;
    let key = || KeyPair::generate().unwrap();
    // The fake agent gives all of them away; the client believes in its own SVID.
    let cases = [
        (stranger.svid("/a"), "does not lead to an authority"),
        (
            ca.issue(key(), "/a", |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
            }),
            "does not lead",
        ),
        (
            ca.issue(key(), "/a", |params| params.not_before = support::pki::at(Duration::from_secs(600))),
            "does not lead",
        ),
    ];
    for (svid, text) in cases {
        let mut update = ca.update(&svid);
        update.svids[0].bundle = ca.der.clone();
        let agent = Agent::with(&update);
        refused(&client(&agent.provider(), own()).await, &server, "server", text);
    }
}

#[tokio::test]
async fn what_an_agent_would_not_give_out_is_refused_from_a_peer() {
    let ca = Ca::new("own.test");
    let server_agent = Agent::with(&ca.update(&ca.svid("/b")));
    let server = server(&server_agent.provider(), own()).await;
    let client_agent = Agent::with(&ca.update(&ca.svid("/a")));
    let honest = client_agent.provider().tls_client_config(own()).await.unwrap();
    let key = || KeyPair::generate().unwrap();
    let (der, no_signer) =
        ca.intermediate(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let (leaf_der, no_ca) = ca.intermediate(|params| params.is_ca = IsCa::ExplicitNoCa);
    let cases = [
        (no_signer.svid("/a").through(&[&der]), "may not sign others"),
        (no_ca.svid("/a").through(&[&leaf_der]), "does not lead"),
        (
            ca.issue(key(), "/a", |params| params.subject_alt_names.push(uri("spiffe://own.test/c"))),
            "exactly one URI name",
        ),
        (ca.issue(key(), "/a", |params| params.subject_alt_names.clear()), "exactly one URI name"),
        (
            ca.issue(key(), "/a", |params| params.subject_alt_names = vec![uri("https://own.test/a")]),
            "is no SPIFFE ID",
        ),
        (ca.issue(key(), "", |_| {}), "has no path"),
        (
            ca.issue(key(), "/a", |params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
            "certificate authority's",
        ),
        (
            ca.issue(key(), "/a", |params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            "may sign certificates",
        ),
        (
            ca.issue(key(), "/a", |params| params.key_usages.push(KeyUsagePurpose::CrlSign)),
            "may sign certificates",
        ),
        (
            ca.issue(key(), "/a", |params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
            "digitalSignature",
        ),
        (ca.issue(key(), "/a", |params| params.key_usages.clear()), "digitalSignature"),
        (
            ca.issue(key(), "/a", |params| params.subject_alt_names = vec![uri("spiffe://peer.test/a")]),
            "no trust bundle",
        ),
        (ca.svid("/a").through(&[&ca.der[..]; 10]), "more than 10 certificates"),
        (
            ca.issue(key(), "/a", |params| {
                params.not_before = support::pki::at(Duration::ZERO) - Duration::from_secs(100);
                params.not_after = support::pki::at(Duration::ZERO) - Duration::from_secs(10);
            }),
            "does not lead",
        ),
    ];
    for (svid, text) in cases {
        let mut config = honest.clone();
        config.client_auth_cert_resolver = Arc::new(Shows(certified(&svid)));
        refused(&Arc::new(config), &server, "server", text);
    }
    // Nor does a client come in without any.
    let mut config = honest.clone();
    config.client_auth_cert_resolver = Arc::new(Shows(None));
    refused(&Arc::new(config), &server, "server", "peer sent no certificates");
}

/// A client that shows what it likes.
#[derive(Debug)]
struct Shows(Option<Arc<rustls::sign::CertifiedKey>>);

impl rustls::client::ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(svid: &Issued) -> Option<Arc<rustls::sign::CertifiedKey>> {
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(svid.pkcs8.clone().into());
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let chain = svid.chain.iter().map(|der| der.clone().into()).collect();
    Some(Arc::new(rustls::sign::CertifiedKey::new(chain, key)))
}

#[tokio::test]
async fn tls_1_2_only_on_request_and_alpn_as_the_caller_likes() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let strict = agent.provider();
    let old = agent.builder().tls_min_version(TlsMinVersion::V1_2).build().unwrap();
    let mut only_1_2 = old.tls_client_config(own()).await.unwrap();
    only_1_2 = {
        // A peer that knows no other version.
        let builder = ClientConfig::builder_with_provider(Arc::clone(only_1_2.crypto_provider()));
        let verifier = AnyServer(Arc::clone(only_1_2.crypto_provider()));
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS12]).unwrap().dangerous();
        builder
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::clone(&only_1_2.client_auth_cert_resolver))
    };
    let only_1_2 = Arc::new(only_1_2);
    let (connection, _) = handshake(&only_1_2, &server(&old, own()).await).unwrap();
    assert_eq!(connection.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert!(handshake(&only_1_2, &server(&strict, own()).await).is_err());

    let (mut client, mut server) =
        (strict.tls_client_config(own()).await.unwrap(), old.tls_server_config(own()).await.unwrap());
    client.alpn_protocols = vec![b"h2".to_vec()];
    server.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let (client, _) = handshake(&Arc::new(client), &Arc::new(server)).unwrap();
    assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
}

/// Looks at nothing: it stands for a foreign peer, not for one of ours.
#[derive(Debug)]
struct AnyServer(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn sessions_are_never_resumed() {
    let ca = Ca::new("own.test");
    let agent = Agent::with(&ca.update(&ca.svid("/a")));
    let provider = agent.builder().tls_min_version(TlsMinVersion::V1_2).build().unwrap();
    let (client, server) = (client(&provider, own()).await, server(&provider, own()).await);
    // Each side for itself, also when the other would resume.
    let mut eager_client = ClientConfig::clone(&client);
    eager_client.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let mut eager_server = ServerConfig::clone(&server);
    eager_server.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
    eager_server.send_tls13_tickets = 2;
    let (eager_client, eager_server) = (Arc::new(eager_client), Arc::new(eager_server));
    for (client, server) in [(&client, &server), (&eager_client, &server), (&client, &eager_server)] {
        for _ in 0..3 {
            let (client, server) = handshake(client, server).unwrap();
            assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
            assert_eq!(server.handshake_kind(), Some(rustls::HandshakeKind::Full));
        }
    }
    handshake(&eager_client, &eager_server).unwrap();
    let (resumed, _) = handshake(&eager_client, &eager_server).unwrap();
    assert_eq!(resumed.handshake_kind(), Some(rustls::HandshakeKind::Resumed), "the test can tell");
}

#[tokio::test]
async fn with_an_expired_svid_no_handshake_succeeds() {
    let ca = Ca::new("own.test");
    let mut agent = Agent::with(&ca.update(&ca.svid_for("/a", Duration::from_secs(6))));
    let good_agent = Agent::with(&ca.update(&ca.svid("/b")));
    let (expired, good) = (agent.provider(), good_agent.provider());
    let (expired_client, good_client) = (client(&expired, own()).await, client(&good, own()).await);
    let (expired_server, good_server) = (server(&expired, own()).await, server(&good, own()).await);
    agent.stop();
    eventually_async("the SVID expires", async || expired.get_svid().await.is_err()).await;
    assert!(handshake(&expired_client, &good_server).is_err());
    assert!(handshake(&good_client, &expired_server).is_err());
    handshake(&good_client, &good_server).unwrap();
}
