//! Whether an issuer has signed a token. RFC 7515 §5.2, RFC 8725 §3.1.

use std::time::Duration;

use kest_core::keys::{Jwk, Jwks};
use kest_core::text::Quoted;

use super::claims::{self, Claims};
use super::failure::Failure;
use super::token::Unchecked;
use crate::jwks::Remote;

/// How many keys one token may make us try, where it names none.
const KEYS_TRIED: usize = 8;

/// The claims of a token that this issuer has signed, and that is good now. Its audience is not looked at.
pub(super) async fn signed_claims(
    token: &Unchecked<'_>,
    issuer: &str,
    keys: &Remote,
    leeway: Duration,
) -> Result<Claims, Failure> {
    let mut set = keys.current().await?;
    let names = |set: &Jwks| set.0.iter().any(|key| key.kid() == token.kid.as_deref());
    // OpenID Connect Core §10.1.1: a key that is not known is the sign of a rotation.
    if token.kid.is_some()
        && !names(&set)
        && let Some(newer) = keys.newer().await?
    {
        set = newer;
    }
    verify(token, &set)?;
    Claims::read(&token.claims, issuer, leeway, claims::now())
}

fn verify(token: &Unchecked<'_>, set: &Jwks) -> Result<(), Failure> {
    let candidates = candidates(token.kid.as_deref(), set)?;
    let fitting: Vec<&Jwk> = candidates.into_iter().filter(|key| key.accepts(token.alg)).collect();
    if fitting.is_empty() {
        let alg = token.alg;
        return Err(Failure::untrusted(format!("the token's `alg` `{alg}` does not fit the issuer's key")));
    }
    let mut tried = fitting.into_iter().take(KEYS_TRIED);
    if tried.any(|key| key.verify(token.alg, token.input, &token.signature).is_ok()) {
        Ok(())
    } else {
        Err(Failure::untrusted("the token's signature is not the issuer's"))
    }
}

/// The keys that the token may be signed with: never none.
fn candidates<'s>(kid: Option<&str>, set: &'s Jwks) -> Result<Vec<&'s Jwk>, Failure> {
    let Some(kid) = kid else { return Ok(set.0.iter().collect()) };
    let mut found: Vec<&Jwk> = set.0.iter().filter(|key| key.kid() == Some(kid)).collect();
    if found.is_empty() {
        found = set.0.iter().filter(|key| key.kid().is_none()).collect();
    }
    if found.is_empty() {
        return Err(Failure::untrusted(format!(
            "the token is signed by a key {} that its issuer does not publish",
            Quoted(kid)
        )));
    }
    Ok(found)
}
