//! One service behind the layers, and one that checks the same signatures by hand.

use std::io::Read as _;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use base64_simd::URL_SAFE_NO_PAD;
use flate2::read::ZlibDecoder;
use kest::http::LineageLayer;
use kest::identity::{BearerVerifier, IdentityProvider as _};
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;

use super::issuer::Issuer;
use crate::Result;
use crate::chain::Maker;

/// Serves on a port of this machine.
pub(super) async fn serve(app: Router) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(port)
}

async fn hello() -> &'static str {
    "hello"
}

/// Behind both layers, as they are by default.
pub(super) fn layered(maker: &Maker, issuer: &Issuer) -> Result<Router> {
    Ok(Router::new().route("/", get(hello)).layer(issuer.layer()?).layer(lineage(maker)?))
}

pub(super) fn lineage(maker: &Maker) -> Result<LineageLayer> {
    let caller = maker.identity.workload_id()?;
    Ok(LineageLayer::builder(maker.kest.clone(), maker.verifier.clone()).allow(&*caller).build()?)
}

/// With nothing in front.
pub(super) fn open() -> Router {
    Router::new().route("/", get(hello))
}

/// With the checks in the handler, and nothing more than they need.
pub(super) fn by_hand(maker: &Maker, issuer: &Issuer) -> Result<Router> {
    let keys = maker.identity.public_keys()?;
    let key = keys.0.first().and_then(|jwk| jwk.as_ed25519()).ok_or("the key is no Ed25519 key")?;
    let key = ParsedPublicKey::new(&ED25519, key).map_err(|_| "aws-lc-rs does not take the key")?;
    let hand = Arc::new(Hand { tokens: issuer.verifier()?, key });
    Ok(Router::new().route("/", get(checked)).with_state(hand))
}

struct Hand {
    tokens: BearerVerifier,
    key: ParsedPublicKey,
}

async fn checked(State(hand): State<Arc<Hand>>, headers: HeaderMap) -> (StatusCode, &'static str) {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let good = match token {
        Some(token) => hand.tokens.verify(token).await.is_ok(),
        None => false,
    };
    let baggage = headers.get("baggage").and_then(|value| value.to_str().ok());
    if good && baggage.is_some_and(|baggage| hand.lineage(baggage).is_some()) {
        (StatusCode::OK, "hello")
    } else {
        (StatusCode::UNAUTHORIZED, "no")
    }
}

impl Hand {
    /// Whether every signature in a `baggage` is good.
    fn lineage(&self, baggage: &str) -> Option<()> {
        let member = |name: &str| baggage.split(',').find_map(|m| m.strip_prefix(name)?.strip_prefix('='));
        let text = match (member("kest.passport"), member("kest.passport_z")) {
            (Some(plain), _) => percent_decode_str(plain).decode_utf8().ok()?.into_owned(),
            (None, Some(packed)) => {
                let mut text = String::new();
                let stream = URL_SAFE_NO_PAD.decode_to_vec(packed).ok()?;
                ZlibDecoder::new(&*stream).read_to_string(&mut text).ok()?;
                text
            }
            (None, None) => return None,
        };
        let entries: Vec<&str> = serde_json::from_str(&text).ok()?;
        entries.iter().try_for_each(|jws| {
            let (input, signature) = jws.rsplit_once('.')?;
            let signature = URL_SAFE_NO_PAD.decode_to_vec(signature).ok()?;
            self.key.verify_sig(input.as_bytes(), &signature).ok()
        })
    }
}
