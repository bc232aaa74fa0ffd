//! What other workloads prove to a `SpireProvider`: X.509-SVIDs, JWT-SVIDs, and signed entries by its bundles.
#![cfg(feature = "spire")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/spire/mod.rs"]
mod support;

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64_simd::URL_SAFE_NO_PAD;
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::identity::{IdentityProvider, Svid, VerifiedSvid};
use kest_core::keys::hmac_sha256;
use kest_core::verify::{KeySource, TrustBundles};
use kest_providers::identity::spire::SpireProvider;
use serde_json::{Value, json};
use support::pki::{Ca, now_ms};
use support::{Agent, PERMISSION_DENIED, Say, UNIMPLEMENTED, eventually_async, proto};

async fn x509(provider: &SpireProvider, chain: &[Vec<u8>]) -> Result<VerifiedSvid, IdentityError> {
    provider.verify_svid(Svid::X509(chain)).await
}

async fn jwt(provider: &SpireProvider, token: &str, audience: &str) -> Result<VerifiedSvid, IdentityError> {
    provider.verify_svid(Svid::Jwt { token, audience }).await
}

#[tokio::test]
async fn x509_svids_of_known_trust_domains_are_believed() {
    let (own, peer, other) = (Ca::new("own.test"), Ca::new("peer.test"), Ca::new("other.test"));
    let agent = Agent::with(&own.update(&own.svid("/a")).federated("peer.test", peer.der.clone()));
    let provider = agent.provider();
    let (der, intermediate) = peer.intermediate(|_| {});
    for svid in [own.svid("/b"), peer.svid("/c"), intermediate.svid("/d").through(&[&der])] {
        let verified = x509(&provider, &svid.chain).await.unwrap();
        assert_eq!(*verified.workload_id, *svid.id);
        assert!((3_500_000..=3_600_000).contains(&(verified.expires_at_ms - now_ms())));
    }
    let short = own.svid("/short");
    let refusals = [
        (other.svid("/a").chain, IdentityErrorKind::TrustDomain),
        // An authority speaks for its own trust domain alone.
        (Ca::new("own.test").svid("/b").chain, IdentityErrorKind::Untrusted),
        (intermediate.svid("/d").chain, IdentityErrorKind::Untrusted),
        (vec![], IdentityErrorKind::Untrusted),
        (vec![b"no certificate".to_vec()], IdentityErrorKind::Untrusted),
        (vec![[&short.chain[0][..], b"x"].concat()], IdentityErrorKind::Untrusted),
        (vec![own.der.clone()], IdentityErrorKind::Untrusted),
    ];
    for (chain, kind) in refusals {
        assert_eq!(x509(&provider, &chain).await.unwrap_err().kind(), kind, "{}", chain.len());
    }
    let gone = own.issue(rcgen::KeyPair::generate().unwrap(), "/gone", |params| {
        params.not_before = support::pki::at(Duration::ZERO) - Duration::from_secs(100);
        params.not_after = support::pki::at(Duration::ZERO) - Duration::from_secs(10);
    });
    assert_eq!(x509(&provider, &gone.chain).await.unwrap_err().kind(), IdentityErrorKind::SvidExpired);
    let mut forged = peer.svid("/a");
    forged.chain[0] = peer
        .issue(rcgen::KeyPair::generate().unwrap(), "/a", |params| {
            params.subject_alt_names = vec![support::pki::uri("spiffe://own.test/a")];
        })
        .chain
        .remove(0);
    assert_eq!(x509(&provider, &forged.chain).await.unwrap_err().kind(), IdentityErrorKind::Untrusted);
}

#[tokio::test]
async fn a_chain_is_one_path_and_no_more() {
    let own = Ca::new("own.test");
    let agent = Agent::with(&own.update(&own.svid("/a")));
    let provider = agent.provider();
    let refused = async |svid: support::pki::Issued, why: &str| {
        let error = x509(&provider, &svid.chain).await.unwrap_err();
        assert_eq!(error.kind(), IdentityErrorKind::Untrusted);
        assert!(error.to_string().contains(why), "{why}: {error}");
    };
    // The authority itself may come along, another of its name may not.
    x509(&provider, &own.svid("/b").through(&[&own.der]).chain).await.unwrap();
    let twin = Ca::new("own.test");
    refused(own.svid("/b").through(&[&twin.der]), "is not needed").await;
    let twins: Vec<Vec<u8>> = (0..8).map(|_| Ca::new("own.test").der).collect();
    let twins: Vec<&[u8]> = twins.iter().map(Vec::as_slice).collect();
    refused(twin.svid("/b").through(&twins), "has the name of another one").await;
    let (unrelated, _) = own.intermediate(|_| {});
    refused(own.svid("/b").through(&[&unrelated]), "is not issued by the one after it").await;
    // Told in words, not in those of a library.
    refused(twin.svid("/b"), "does not bear its issuer's signature").await;
}

/// The key of a trust domain for JWT-SVIDs.
struct Authority {
    pair: EcdsaKeyPair,
    kid: &'static str,
}

impl Authority {
    fn new(kid: &'static str) -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), kid }
    }

    fn jwks(&self) -> Vec<u8> {
        let point = self.pair.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|c| URL_SAFE_NO_PAD.encode_to_string(c));
        let key = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": self.kid});
        json!({"keys": [key]}).to_string().into_bytes()
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let input = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode_to_string(signature.as_ref()))
    }

    fn token(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({"alg": "ES256", "kid": self.kid, "typ": "JWT"});
        let mut claims =
            json!({"sub": "spiffe://own.test/b", "aud": ["orders", "other"], "exp": now_ms() / 1_000 + 300});
        change(&mut header, &mut claims);
        self.sign(&header, &claims)
    }
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode_to_string(value.to_string())
}

fn bundles(of: &[(&str, &Authority)]) -> proto::JwtBundlesResponse {
    let bundles = of.iter().map(|(domain, authority)| (format!("spiffe://{domain}"), authority.jwks()));
    proto::JwtBundlesResponse { bundles: bundles.collect() }
}

fn agent() -> Agent {
    let ca = Ca::new("own.test");
    Agent::with(&ca.update(&ca.svid("/a")))
}

#[tokio::test]
async fn jwt_svids_of_known_trust_domains_are_believed() {
    let (own, peer) = (Authority::new("k1"), Authority::new("k2"));
    let agent = agent();
    agent.send_jwt(&bundles(&[("own.test", &own), ("peer.test", &peer)]));
    let provider = agent.provider();
    let verified = jwt(&provider, &own.token(|_, _| {}), "orders").await.unwrap();
    assert_eq!(&*verified.workload_id, "spiffe://own.test/b");
    assert!((290_000..=300_000).contains(&(verified.expires_at_ms - now_ms())));
    let federated = peer.token(|_, claims| claims["sub"] = json!("spiffe://peer.test/c"));
    assert_eq!(&*jwt(&provider, &federated, "other").await.unwrap().workload_id, "spiffe://peer.test/c");
    assert_eq!(agent.jwt_streams(), 1, "bundles are streamed");
}

#[tokio::test]
async fn jwt_svids_that_prove_nothing_are_refused() {
    use IdentityErrorKind::{SvidExpired, TrustDomain, Untrusted};
    let (own, peer) = (Authority::new("k1"), Authority::new("k2"));
    let agent = agent();
    agent.send_jwt(&bundles(&[("own.test", &own), ("peer.test", &peer)]));
    let provider = agent.provider();
    let now = now_ms() / 1_000;
    let claims = |claims: Value| {
        own.token(|_, all| all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone()))
    };
    let header = |header: Value| {
        own.token(|all, _| all.as_object_mut().unwrap().extend(header.as_object().unwrap().clone()))
    };
    let good = own.token(|_, _| {});
    let (input, signature) = good.rsplit_once('.').unwrap();
    // The public key as the key of an HMAC: RFC 8725 §2.1.
    let confused = {
        let input = format!(
            "{}.{}",
            encoded(&json!({"alg": "HS256", "kid": "k1"})),
            input.split('.').nth(1).unwrap()
        );
        let mac = hmac_sha256(&own.jwks(), input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode_to_string(mac))
    };
    let unsigned =
        format!("{}.{}.", encoded(&json!({"alg": "none", "kid": "k1"})), input.split('.').nth(1).unwrap());
    let mut flipped = URL_SAFE_NO_PAD.decode_to_vec(signature).unwrap();
    flipped[5] ^= 1;
    let cases = [
        (claims(json!({"aud": ["else"]})), Untrusted),
        (claims(json!({"aud": []})), Untrusted),
        (claims(json!({"exp": now - 1})), SvidExpired),
        (claims(json!({"exp": "soon"})), Untrusted),
        (claims(json!({"exp": null})), Untrusted),
        (claims(json!({"nbf": now + 300})), Untrusted),
        (claims(json!({"sub": "spiffe://other.test/b"})), TrustDomain),
        // The federated domain's key is not the one that signed it.
        (claims(json!({"sub": "spiffe://peer.test/b"})), Untrusted),
        (claims(json!({"sub": "spiffe://own.test"})), Untrusted),
        (claims(json!({"sub": "alice"})), Untrusted),
        (peer.token(|_, _| {}), Untrusted),
        (peer.token(|header, _| header["kid"] = json!("k1")), Untrusted),
        (header(json!({"alg": "ES384"})), Untrusted),
        (header(json!({"alg": "RS256"})), Untrusted),
        (header(json!({"kid": "k9"})), Untrusted),
        (header(json!({"kid": null})), Untrusted),
        (header(json!({"crit": ["b64"], "b64": false})), Untrusted),
        (header(json!({"jwk": {"kty": "EC"}})), Untrusted),
        (confused, Untrusted),
        (unsigned, Untrusted),
        (format!("{input}."), Untrusted),
        (format!("{input}.{}", URL_SAFE_NO_PAD.encode_to_string(&flipped)), Untrusted),
        (format!("{good}.x"), Untrusted),
        (String::new(), Untrusted),
        ("a.b.c".to_owned(), Untrusted),
        ("x".repeat(100_000), Untrusted),
    ];
    jwt(&provider, &good, "orders").await.unwrap();
    for (token, kind) in cases {
        let error = jwt(&provider, &token, "orders").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}: {}", &token[..token.len().min(300)]);
        let shown = format!("{error} {error:?}");
        assert!(token.len() < 20 || !shown.contains(&token[..20]), "{shown}");
    }
    assert_eq!(jwt(&provider, &good, "else").await.unwrap_err().kind(), Untrusted);
    assert_eq!(jwt(&provider, &good, "").await.unwrap_err().kind(), Untrusted);
}

#[tokio::test]
async fn a_withdrawn_jwt_key_is_believed_no_longer() {
    let (old, new) = (Authority::new("k1"), Authority::new("k2"));
    let agent = agent();
    agent.send_jwt(&bundles(&[("own.test", &old)]));
    let provider = agent.provider();
    jwt(&provider, &old.token(|_, _| {}), "orders").await.unwrap();
    agent.send_jwt(&bundles(&[("own.test", &new)]));
    eventually_async("the new key comes", async || {
        jwt(&provider, &new.token(|_, _| {}), "orders").await.is_ok()
    })
    .await;
    assert!(jwt(&provider, &old.token(|_, _| {}), "orders").await.is_err());
}

#[tokio::test]
async fn without_jwt_bundles_it_says_so() {
    let own = Authority::new("k1");
    let token = own.token(|_, _| {});
    for (say, kind) in [
        (Say::Nothing, IdentityErrorKind::Connection),
        (Say::Status(UNIMPLEMENTED, "no JWT here"), IdentityErrorKind::Connection),
        (Say::Status(PERMISSION_DENIED, "no identity issued"), IdentityErrorKind::Missing),
        (Say::Garbage, IdentityErrorKind::Connection),
    ] {
        let agent = agent();
        agent.say_jwt(say.clone());
        let provider = agent.impatient();
        let error = jwt(&provider, &token, "orders").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{say:?}: {error}");
        assert!(error.to_string().contains("JWT bundle"), "{error}");
        // The identity is not affected.
        provider.get_svid().await.unwrap();
        agent.send_jwt(&bundles(&[("own.test", &own)]));
        eventually_async("the bundle comes", async || jwt(&provider, &token, "orders").await.is_ok()).await;
    }
}

#[tokio::test]
async fn documents_are_believed_no_longer_than_ones_own_svid_is_valid() {
    let ca = Ca::new("own.test");
    let own = Authority::new("k1");
    let mut agent = Agent::with(&ca.update(&ca.svid_for("/a", Duration::from_secs(6))));
    agent.send_jwt(&bundles(&[("own.test", &own)]));
    let provider = agent.provider();
    let (chain, token) = (ca.svid("/b").chain, own.token(|_, _| {}));
    x509(&provider, &chain).await.unwrap();
    jwt(&provider, &token, "orders").await.unwrap();
    let keys = provider.key_source();
    assert!(keys.authorities("spiffe://own.test/b").unwrap().is_some());
    agent.stop();
    eventually_async("the SVID expires", async || provider.get_svid().await.is_err()).await;
    assert_eq!(x509(&provider, &chain).await.unwrap_err().kind(), IdentityErrorKind::SvidExpired);
    assert_eq!(jwt(&provider, &token, "orders").await.unwrap_err().kind(), IdentityErrorKind::SvidExpired);
    // An error, which is never taken for "unknown".
    keys.authorities("spiffe://own.test/b").unwrap_err();
}

#[tokio::test]
async fn bundles_can_be_exported_and_asked_as_a_key_source() {
    let (own, peer) = (Ca::new("own.test"), Ca::new("peer.test"));
    let update = own.update(&own.svid("/a"));
    let agent = Agent::with(&update.clone().federated("peer.test", peer.der.clone()));
    let provider = agent.provider();
    let exported = provider.trust_bundles().await.unwrap();
    assert_eq!(exported.trust_domains().collect::<Vec<_>>(), ["own.test", "peer.test"]);
    let read = TrustBundles::from_json(exported.to_json().to_string().as_bytes()).unwrap();
    assert_eq!(read, exported);

    let keys = provider.key_source();
    let certificates = |principal: &str| {
        let authorities = keys.authorities(principal).unwrap();
        authorities.map(|authorities| authorities.certificates().map(<[u8]>::to_vec).collect::<Vec<_>>())
    };
    assert_eq!(certificates("spiffe://own.test/x"), Some(vec![own.der.clone()]));
    assert_eq!(certificates("spiffe://peer.test/x"), Some(vec![peer.der.clone()]));
    for unknown in ["spiffe://other.test/x", "arn:aws:iam::1:role/x", ""] {
        assert_eq!(certificates(unknown), None, "{unknown}");
    }
    assert_eq!(keys.keys("spiffe://own.test/a").unwrap(), None);
    // It follows the agent.
    agent.send(&update);
    eventually_async("the bundle is withdrawn", async || certificates("spiffe://peer.test/x").is_none())
        .await;
}

#[tokio::test]
async fn an_unusable_authority_of_a_federated_domain_takes_nothing_else_away() {
    let (own, peer) = (Ca::new("own.test"), Ca::new("peer.test"));
    // A certificate that is no authority's.
    let mixed = [peer.svid("/leaf").chain[0].clone(), peer.der.clone()].concat();
    let agent = Agent::with(&own.update(&own.svid("/a")).federated("peer.test", mixed));
    let provider = agent.provider();
    provider.sign(b"{}").unwrap();
    let bundle = provider.get_trust_bundle(Some("peer.test")).await.unwrap();
    assert_eq!(bundle.certificates().collect::<Vec<_>>(), [&peer.der]);
    x509(&provider, &peer.svid("/b").chain).await.unwrap();
}
