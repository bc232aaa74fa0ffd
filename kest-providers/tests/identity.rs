//! Identity providers against the conformance suite, and broken ones against it too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/log.rs"]
mod log;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kest_core::error::{Error, IdentityError, IdentityErrorKind};
use kest_core::identity::{BoxFuture, IdentityProvider};
use kest_core::jws::{Algorithm, EncodedHeader, Jws};
use kest_core::keys::{Jwk, Jwks, mock_kid};
use kest_providers::conformance::identity::{Check, run, run_with};
use kest_providers::identity::{
    IdentityProviderExt, LazySigningProvider, LocalEd25519Provider, MockIdentityProvider, StaticIdentity,
};
use serde_json::{Value, json};

#[test]
fn every_provider_conforms() {
    run(&MockIdentityProvider::new().unwrap()).unwrap();
    run_with(&LocalEd25519Provider::new().unwrap(), 1_000).unwrap();
    let seeded = LocalEd25519Provider::dangerous_from_seed([7; 32]).unwrap();
    run_with(&seeded.with_workload_id("spiffe://a/b"), 100).unwrap();
    let fixed = StaticIdentity::new("spiffe://my-service").unwrap();
    run_with(&fixed.user(json!({"sub": "system"})), 100).unwrap();
    run_with(&LazySigningProvider::new(LocalEd25519Provider::new), 100).unwrap();
    let shared: Arc<dyn IdentityProvider> = Arc::new(MockIdentityProvider::new().unwrap());
    run_with(&shared, 100).unwrap();
}

#[test]
fn ids_are_the_documented_ones() {
    let id = |provider: &dyn IdentityProvider| provider.workload_id().unwrap().to_string();
    assert_eq!(id(&LocalEd25519Provider::new().unwrap()), "spiffe://kest.internal/local-workload");
    assert_eq!(id(&LocalEd25519Provider::new().unwrap().with_workload_id("arn:x")), "arn:x");
    assert_eq!(id(&MockIdentityProvider::new().unwrap()), "spiffe://kest.internal/mock-workload");
    assert_eq!(id(&StaticIdentity::new("spiffe://s").unwrap()), "spiffe://s");
    let empty = LocalEd25519Provider::new().unwrap().with_workload_id("");
    assert_eq!(empty.workload_id().unwrap_err().kind(), IdentityErrorKind::Missing);
}

#[test]
fn an_ephemeral_key_warns_once() {
    let warning =
        |id: &str| [format!("WARN Using ephemeral Ed25519 key — not for production workload_id={id:?}")];
    let logged = |run: fn()| log::logged_with("workload_id", run);
    let local = logged(|| {
        let provider = LocalEd25519Provider::new().unwrap().with_workload_id("spiffe://a/b");
        provider.sign(b"{}").unwrap();
        provider.workload_id().unwrap();
        provider.sign(b"{}").unwrap();
    });
    assert_eq!(local, warning("spiffe://a/b"));
    for used in [(|provider| drop(provider.workload_id().unwrap())) as fn(LocalEd25519Provider), |provider| {
        drop(provider.public_keys().unwrap())
    }] {
        let local = log::logged_with("workload_id", || used(LocalEd25519Provider::new().unwrap()));
        assert_eq!(local, warning("spiffe://kest.internal/local-workload"));
    }
    let fixed = logged(|| drop(StaticIdentity::new("spiffe://s").unwrap()));
    assert_eq!(fixed, warning("spiffe://s"));
    assert!(logged(|| drop(MockIdentityProvider::new().unwrap())).is_empty());
    assert!(
        logged(|| drop(LocalEd25519Provider::dangerous_from_seed([7; 32]).unwrap().sign(b"{}"))).is_empty()
    );
}

#[test]
fn each_ephemeral_key_is_its_own() {
    let kid = |provider: &LocalEd25519Provider| provider.public_keys().unwrap().0[0].thumbprint();
    let (a, b) = (LocalEd25519Provider::new().unwrap(), LocalEd25519Provider::new().unwrap());
    assert_ne!(kid(&a), kid(&b));
    let seeded = || LocalEd25519Provider::dangerous_from_seed([7; 32]).unwrap();
    assert_eq!(seeded().sign(b"{}").unwrap(), seeded().sign(b"{}").unwrap());
    assert_ne!(kid(&seeded()), kid(&LocalEd25519Provider::dangerous_from_seed([8; 32]).unwrap()));
}

/// RFC 8037 appendix A: the key of its seed.
#[test]
fn a_seed_gives_the_key_that_rfc_8037_names() {
    let seed =
        base64_simd::URL_SAFE_NO_PAD.decode_to_vec("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let provider = LocalEd25519Provider::dangerous_from_seed(seed.try_into().unwrap()).unwrap();
    let key = &provider.public_keys().unwrap().0[0];
    assert_eq!(key.to_json()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn debug_shows_no_key() {
    let seed = [0xa7; 32];
    let shown = format!("{0:?}{0:#?}", LocalEd25519Provider::dangerous_from_seed(seed).unwrap());
    let base64 = base64_simd::URL_SAFE_NO_PAD.encode_to_string(seed);
    for form in [base64.as_str(), "a7a7", "A7A7", "167, 167", "167,\n"] {
        assert!(!shown.contains(form), "{shown}");
    }
    assert!(shown.contains("kid"), "{shown}");
}

#[test]
fn the_mock_is_deterministic_and_cannot_be_anchored() {
    let (a, b) = (MockIdentityProvider::new().unwrap(), MockIdentityProvider::new().unwrap());
    assert_eq!(a.sign(b"{\"a\":1}").unwrap(), b.sign(b"{\"a\":1}").unwrap());
    assert!(a.public_keys().unwrap().0.is_empty());
    assert_eq!(a.public_key().unwrap_err().kind(), IdentityErrorKind::Missing);
}

#[test]
fn a_static_identity_says_who_acts() {
    let identity = StaticIdentity::new("spiffe://s")
        .unwrap()
        .user(json!({"sub": "system", "role": "service-account"}))
        .agent("scheduler")
        .task("nightly");
    let attributes = identity.attributes().unwrap();
    assert_eq!(attributes.user.as_ref().unwrap()["role"], "service-account");
    assert_eq!(attributes.agent, Some(Value::from("scheduler")));
    assert_eq!(attributes.task, Some(Value::from("nightly")));
    assert!(LocalEd25519Provider::new().unwrap().attributes().is_none());
}

#[test]
fn conveniences_work_on_trait_objects() {
    let provider: Box<dyn IdentityProvider> =
        Box::new(LocalEd25519Provider::dangerous_from_seed([1; 32]).unwrap());
    let pem = provider.public_key().unwrap();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{pem}");
    let jws = provider.sign_payload(&json!({"b": 1, "a": "ä"})).unwrap();
    assert_eq!(jws, provider.sign("{\"a\":\"ä\",\"b\":1}".as_bytes()).unwrap());
    let error = provider.sign_payload(&f64::NAN).unwrap_err();
    assert!(matches!(error, Error::Canonicalization(_)), "{error}");
}

#[test]
fn a_lazy_provider_is_made_once_on_first_use() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let provider = LazySigningProvider::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        LocalEd25519Provider::new()
    });
    assert_eq!(made.load(Ordering::SeqCst), 0);
    assert!(format!("{provider:?}").contains("None"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| provider.sign(b"{}").unwrap());
        }
    });
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

#[test]
fn a_lazy_provider_tries_again_after_a_failure() {
    let tries = AtomicUsize::new(0);
    let provider = LazySigningProvider::new(move || {
        if tries.fetch_add(1, Ordering::SeqCst) < 4 {
            return Err(IdentityError::new(
                IdentityErrorKind::Connection,
                "the agent's socket is not there yet",
            ));
        }
        StaticIdentity::new("spiffe://late").map(|identity| identity.user("alice"))
    });
    let run = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(provider.workload_id().unwrap_err().kind(), IdentityErrorKind::Connection);
    assert_eq!(provider.sign(b"{}").unwrap_err().kind(), IdentityErrorKind::Connection);
    assert_eq!(run.block_on(provider.sign_async(b"{}")).unwrap_err().kind(), IdentityErrorKind::Connection);
    assert!(provider.attributes().is_none());
    assert_eq!(&*provider.workload_id().unwrap(), "spiffe://late");
    assert_eq!(provider.attributes().unwrap().user, Some(Value::from("alice")));
    run_with(&provider, 100).unwrap();
}

/// A provider that breaks one rule.
#[derive(Debug)]
struct Broken {
    fault: Fault,
    inner: LocalEd25519Provider,
    calls: AtomicUsize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    EmptyId,
    ChangingId,
    NoSignature,
    StubSignature,
    WrongKid,
    WrongAlgorithm,
    OtherPayload,
    SamePayload,
    NoKeys,
    OtherKey,
    MockWithKeys,
    AsyncOther,
    FailsUnderLoad,
    LongDebug(&'static str),
}

impl Broken {
    fn with(fault: Fault) -> Self {
        let inner = LocalEd25519Provider::dangerous_from_seed([9; 32]).unwrap();
        Self { fault, inner, calls: AtomicUsize::new(0) }
    }

    fn stub(alg: Algorithm, kid: &str, payload: &[u8]) -> Jws {
        EncodedHeader::new(alg, kid).sign(payload, |_| Ok::<_, ()>([1; 64])).unwrap()
    }
}

impl IdentityProvider for Broken {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        match self.fault {
            Fault::EmptyId => Ok("".into()),
            Fault::ChangingId => Ok(self.calls.fetch_add(1, Ordering::SeqCst).to_string().into()),
            _ => self.inner.workload_id(),
        }
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        let kid = Jwk::thumbprint(&self.inner.public_keys()?.0[0]);
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::NoSignature => {
                Ok(EncodedHeader::new(Algorithm::EdDsa, &kid).sign(payload, |_| Ok::<_, ()>([])).unwrap())
            }
            Fault::StubSignature => Ok(Self::stub(Algorithm::EdDsa, &kid, payload)),
            Fault::WrongKid => Ok(Self::stub(Algorithm::EdDsa, "spiffe://a/b", payload)),
            Fault::WrongAlgorithm => Ok(Self::stub(Algorithm::Es256, &kid, payload)),
            Fault::OtherPayload => self.inner.sign(b"{\"other\":1}"),
            Fault::SamePayload => self.inner.sign(b"{}"),
            Fault::MockWithKeys => Ok(Self::stub(Algorithm::Hs256, mock_kid(), payload)),
            Fault::FailsUnderLoad if calls > 50 => {
                Err(IdentityError::new(IdentityErrorKind::Signing, "busy"))
            }
            _ => self.inner.sign(payload),
        }
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        match self.fault {
            Fault::AsyncOther => Box::pin(async { self.inner.sign(b"{\"other\":1}") }),
            _ => Box::pin(async move { self.sign(payload) }),
        }
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        match self.fault {
            Fault::NoKeys => Ok(Jwks::default()),
            Fault::OtherKey => LocalEd25519Provider::new()?.public_keys(),
            _ => self.inner.public_keys(),
        }
    }
}

#[test]
fn broken_providers_fail_each_for_its_reason() {
    run_with(&Broken::with(Fault::None), 100).unwrap();
    for (fault, check) in [
        (Fault::EmptyId, Check::WorkloadId),
        (Fault::ChangingId, Check::WorkloadId),
        (Fault::NoSignature, Check::Signature),
        (Fault::StubSignature, Check::Signature),
        (Fault::WrongKid, Check::KeyId),
        (Fault::WrongAlgorithm, Check::Algorithm),
        (Fault::OtherPayload, Check::Payload),
        (Fault::SamePayload, Check::Payload),
        (Fault::NoKeys, Check::KeyId),
        (Fault::OtherKey, Check::KeyId),
        (Fault::MockWithKeys, Check::PublicKeys),
        (Fault::AsyncOther, Check::AsyncForm),
        (Fault::FailsUnderLoad, Check::Concurrency),
        (Fault::LongDebug("SigningKey([...])"), Check::Debug),
        (
            Fault::LongDebug(
                "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32",
            ),
            Check::Debug,
        ),
    ] {
        let failure = run_with(&Broken::with(fault), 100).unwrap_err();
        assert_eq!(failure.check(), check, "{fault:?}: {failure}");
    }
}
