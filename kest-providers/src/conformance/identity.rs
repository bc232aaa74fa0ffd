//! What every identity provider keeps to. Spec §3, §10.

use std::fmt;
use std::sync::Arc;
use std::thread;

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use kest_core::identity::IdentityProvider;
use kest_core::jws::{Algorithm, Jws};
use kest_core::keys::{Jwk, Jwks, MOCK_KEY, hmac_sha256, mock_kid};
use serde_json::Value;

use super::executor::block_on;

/// One rule of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// The workload id is there, is not empty, and stays the same.
    WorkloadId,
    /// There are public keys, and nothing private in them. A mock has none at all.
    PublicKeys,
    /// Signing gives three base64url segments and a header of `alg`, `kid`, `typ` (and `x5c`).
    Compact,
    /// What was signed is what was given: also when it is empty or large.
    Payload,
    /// `alg` fits the key.
    Algorithm,
    /// `kid` is the thumbprint of a public key.
    KeyId,
    /// `x5c`, where there is one, starts with a certificate of that key.
    Certificate,
    /// The signature verifies with that key.
    Signature,
    /// Different payloads have different signatures.
    Distinct,
    /// The async form signs as well.
    AsyncForm,
    /// Many threads can sign at once.
    Concurrency,
    /// `Debug` is short and shows no key.
    Debug,
}

/// A rule that a provider breaks.
pub type ConformanceFailure = super::ConformanceFailure<Check>;

const SIGNS: usize = 4_000;
const THREADS: usize = 8;

/// Holds a provider to every rule. It signs some 4,000 times: see [`run_with`] for one that pays for each.
///
/// Signatures are checked here, independently of the provider: EdDSA, the mock's HS256, and with the feature `aws-lc`
/// ES256, ES384, RS256 and PS256. Two signatures of one payload may differ, as ECDSA's do. A chain in `x5c` is not
/// validated, only the key of its first certificate compared.
///
/// # Errors
/// The first rule that the provider breaks.
pub fn run(provider: &dyn IdentityProvider) -> Result<(), ConformanceFailure> {
    run_with(provider, SIGNS)
}

/// [`run`] with another number of concurrent signatures. An async form that needs a run-time must be able to find it
/// from this thread.
///
/// # Errors
/// The first rule that the provider breaks.
pub fn run_with(provider: &dyn IdentityProvider, signs: usize) -> Result<(), ConformanceFailure> {
    if let Some(ready) = provider.ready() {
        block_on(ready).map_err(|error| broken(Check::WorkloadId, error))?;
    }
    let id = workload_id(provider)?;
    let keys = public_keys(provider)?;
    let large = vec![b'x'; 64 * 1024];
    let payloads: [&[u8]; 5] = [b"{}", b"{\"a\":1}", b"{\"a\":2}", b"", &large];
    let mut signatures = Vec::new();
    for payload in payloads {
        let jws = provider.sign(payload).map_err(|error| broken(Check::Compact, error))?;
        check_jws(&jws, payload, &keys)?;
        let signature = jws.as_str().rsplit('.').next().unwrap_or_default().to_owned();
        if signatures.contains(&signature) {
            return Err(broken(Check::Distinct, "two payloads have one signature"));
        }
        signatures.push(signature);

        let signed =
            block_on(provider.sign_async(payload)).map_err(|error| broken(Check::AsyncForm, error))?;
        check_jws(&signed, payload, &keys).map_err(|error| broken(Check::AsyncForm, error))?;
    }
    concurrent(provider, &keys, signs)?;
    debug(provider)?;
    if workload_id(provider)? != id {
        return Err(broken(Check::WorkloadId, "it changed between two calls"));
    }
    Ok(())
}

fn broken(check: Check, detail: impl fmt::Display) -> ConformanceFailure {
    ConformanceFailure::new("the identity provider", check, detail)
}

fn workload_id(provider: &dyn IdentityProvider) -> Result<Arc<str>, ConformanceFailure> {
    let id = provider.workload_id().map_err(|error| broken(Check::WorkloadId, error))?;
    if id.trim().is_empty() || id.trim() != &*id || id.chars().any(char::is_control) {
        return Err(broken(Check::WorkloadId, format!("`{}` is no id", id.escape_debug())));
    }
    Ok(id)
}

fn public_keys(provider: &dyn IdentityProvider) -> Result<Jwks, ConformanceFailure> {
    let keys = provider.public_keys().map_err(|error| broken(Check::PublicKeys, error))?;
    // `Jwks::from_json` refuses private members: RFC 7518 §6.2.2, §6.3.2, §6.4.1.
    Jwks::from_json(&keys.to_json()).map_err(|error| broken(Check::PublicKeys, error))?;
    Ok(keys)
}

fn check_jws(jws: &Jws, payload: &[u8], keys: &Jwks) -> Result<(), ConformanceFailure> {
    let mut segments = jws.as_str().split('.');
    let (Some(header), Some(body), Some(signature), None) =
        (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return Err(broken(Check::Compact, "a compact JWS has three segments"));
    };
    let decode = |check, segment: &str| {
        URL_SAFE_NO_PAD.decode_to_vec(segment).map_err(|_| broken(check, "a segment is not base64url"))
    };
    let header = decode(Check::Compact, header)?;
    let header: Value = serde_json::from_slice(&header).map_err(|error| broken(Check::Compact, error))?;
    let text = |name: &str| {
        let member = header.get(name).and_then(Value::as_str);
        member.ok_or_else(|| broken(Check::Compact, format!("the header has no `{name}`")))
    };
    let members = header.as_object().into_iter().flatten();
    if let Some((name, _)) =
        members.into_iter().find(|(name, _)| !["alg", "kid", "typ", "x5c"].contains(&name.as_str()))
    {
        return Err(broken(Check::Compact, format!("the header has a member `{name}`")));
    }
    if text("typ")? != "JWS" {
        return Err(broken(Check::Compact, "`typ` is not `JWS`"));
    }
    if decode(Check::Payload, body)? != payload {
        return Err(broken(Check::Payload, "the signed payload is not the one that was given"));
    }
    let alg: Algorithm = text("alg")?.parse().map_err(|error| broken(Check::Algorithm, error))?;
    let kid = text("kid")?;
    let input = jws.as_str().rsplit_once('.').map_or("", |(input, _)| input).as_bytes();
    let signature = decode(Check::Signature, signature)?;
    if alg == Algorithm::Hs256 {
        return check_mock(kid, input, &signature, keys);
    }
    let Some(key) = keys.0.iter().find(|key| key.thumbprint() == kid) else {
        return Err(broken(Check::KeyId, format!("`{kid}` is the thumbprint of none of the public keys")));
    };
    if !key.accepts(alg) {
        return Err(broken(Check::Algorithm, format!("`{alg}` does not fit the key")));
    }
    if let Some(chain) = header.get("x5c") {
        check_leaf(chain, kid)?;
    }
    key.verify(alg, input, &signature).map_err(|error| broken(Check::Signature, error))
}

/// RFC 7515 §4.1.6: certificates in standard base64, that of the signing key first.
fn check_leaf(chain: &Value, kid: &str) -> Result<(), ConformanceFailure> {
    let decode = |certificate: &Value| STANDARD.decode_to_vec(certificate.as_str()?).ok();
    let chain: Option<Vec<_>> = chain.as_array().and_then(|chain| chain.iter().map(decode).collect());
    let Some([leaf, ..]) = chain.as_deref() else {
        return Err(broken(Check::Certificate, "`x5c` is no list of certificates in standard base64"));
    };
    let leaf = Jwk::from_certificate(leaf).map_err(|error| broken(Check::Certificate, error))?;
    if leaf.thumbprint() != kid {
        return Err(broken(
            Check::Certificate,
            "the first certificate in `x5c` is not that of the `kid` key",
        ));
    }
    Ok(())
}

/// A mock declares itself: by its algorithm, its `kid`, and by having no public key.
fn check_mock(kid: &str, input: &[u8], signature: &[u8], keys: &Jwks) -> Result<(), ConformanceFailure> {
    if kid != mock_kid() {
        return Err(broken(Check::KeyId, "an HS256 signature is not the mock key's"));
    }
    if !keys.0.is_empty() {
        return Err(broken(Check::PublicKeys, "a mock has public keys, which somebody could anchor"));
    }
    if signature != hmac_sha256(MOCK_KEY, input) {
        return Err(broken(Check::Signature, "the mock signature does not verify"));
    }
    Ok(())
}

fn concurrent(provider: &dyn IdentityProvider, keys: &Jwks, signs: usize) -> Result<(), ConformanceFailure> {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|worker| {
                scope.spawn(move || {
                    for turn in (worker..signs).step_by(THREADS) {
                        let payload = format!("{{\"turn\":{turn}}}");
                        let jws = provider
                            .sign(payload.as_bytes())
                            .map_err(|error| broken(Check::Concurrency, error))?;
                        if jws.payload_segment() != URL_SAFE_NO_PAD.encode_to_string(&payload) {
                            return Err(broken(Check::Concurrency, "a thread got another's payload"));
                        }
                        // Checking is slower than signing: a sample shows a key that is not safe to share.
                        if turn % 16 == 0 {
                            check_jws(&jws, payload.as_bytes(), keys)
                                .map_err(|error| broken(Check::Concurrency, error))?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap_or_else(|_| Err(broken(Check::Concurrency, "a thread panicked")))?;
        }
        Ok(())
    })
}

fn debug(provider: &dyn IdentityProvider) -> Result<(), ConformanceFailure> {
    for shown in [format!("{provider:?}"), format!("{provider:#?}")] {
        let lower = shown.to_lowercase();
        for word in ["signingkey", "secret", "private", "seed"] {
            if lower.contains(word) {
                return Err(broken(Check::Debug, format!("`Debug` mentions `{word}`")));
            }
        }
        // The bytes of a key, as a derived `Debug` would list them.
        let words = shown.split(|c: char| !c.is_alphanumeric());
        let numbers = words.filter(|word| word.parse::<u8>().is_ok()).count();
        if shown.len() > 4_096 || numbers >= 32 {
            return Err(broken(Check::Debug, "`Debug` is long, or lists bytes"));
        }
    }
    Ok(())
}
