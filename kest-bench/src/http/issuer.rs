//! An issuer of tokens in this process.

use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::routing::get;
use base64_simd::URL_SAFE_NO_PAD;
use kest::http::IdentityLayer;
use kest::identity::BearerVerifier;
use serde_json::json;
use tokio::net::TcpListener;

use crate::Result;

pub(super) struct Issuer {
    url: String,
    key: EcdsaKeyPair,
}

const AUDIENCE: &str = "bench";

impl Issuer {
    /// Publishes its key on a port of this machine. Needs a runtime.
    pub(super) async fn start() -> Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| "the issuer's key cannot be made")?;
        let point = key.public_key().as_ref().get(1..).and_then(|point| point.split_at_checked(32));
        let (x, y) = point.ok_or("the issuer's key is no point of P-256")?;
        let keys = json!({"keys": [
            {"kty": "EC", "crv": "P-256", "x": encoded(x), "y": encoded(y), "kid": "1", "use": "sig", "alg": "ES256"}
        ]})
        .to_string();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let app = Router::new().route("/jwks", get(move || async move { keys }));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, key })
    }

    /// A token that is good for an hour.
    pub(super) fn token(&self) -> Result<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let claims = json!({
            "iss": self.url, "sub": "alice", "aud": AUDIENCE, "client_id": "shop", "scope": "orders:read",
            "iat": now, "nbf": now, "exp": now + 3_600, "jti": "1",
        });
        let header = json!({"alg": "ES256", "kid": "1", "typ": "at+jwt"});
        let input = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = self
            .key
            .sign(&SystemRandom::new(), input.as_bytes())
            .map_err(|_| "the issuer's key cannot sign")?;
        Ok(format!("{input}.{}", encoded(signature)))
    }

    pub(super) fn verifier(&self) -> Result<BearerVerifier> {
        let keys = format!("{}/jwks", self.url);
        Ok(BearerVerifier::builder().issuer_with_jwks(&self.url, keys).audience(AUDIENCE).build()?)
    }

    pub(super) fn layer(&self) -> Result<IdentityLayer> {
        let keys = format!("{}/jwks", self.url);
        Ok(IdentityLayer::builder().issuer_with_jwks(&self.url, keys).audience(AUDIENCE).build()?)
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}
