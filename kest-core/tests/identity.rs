//! What a hook asks of an identity provider, and when. Spec §6, §10.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use kest_core::Kest;
use kest_core::error::{Error, IdentityError, IdentityErrorKind};
use kest_core::identity::{BoxFuture, IdentityAttributes, IdentityProvider, OidcSubject, Svid};
use kest_core::jws::Jws;
use kest_core::keys::Jwks;
use support::{TestEngine, TestIdentity, op, payload, sync};

/// Has no identity until it was waited for.
#[derive(Debug, Default)]
struct Late {
    arrived: AtomicBool,
    unreachable: bool,
    blocked: AtomicUsize,
    attributes: IdentityAttributes,
}

impl IdentityProvider for Late {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        if !self.arrived.swap(true, Ordering::SeqCst) {
            self.blocked.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Arc::from("late"))
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        TestIdentity.sign(payload)
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        TestIdentity.sign_async(payload)
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        TestIdentity.public_keys()
    }

    fn attributes(&self) -> Option<&IdentityAttributes> {
        Some(&self.attributes)
    }

    fn ready(&self) -> Option<BoxFuture<'_, Result<(), IdentityError>>> {
        (!self.arrived.load(Ordering::SeqCst)).then(|| {
            Box::pin(async {
                tokio::task::yield_now().await;
                if self.unreachable {
                    return Err(IdentityError::new(IdentityErrorKind::Connection, "the agent is away"));
                }
                self.arrived.store(true, Ordering::SeqCst);
                Ok(())
            }) as BoxFuture<'_, _>
        })
    }
}

fn under(identity: &Arc<Late>) -> Kest {
    Kest::builder().identity(Arc::clone(identity)).engine(TestEngine).without_config().build().unwrap()
}

#[tokio::test]
async fn an_async_call_waits_for_its_identity_instead_of_blocking() {
    let identity = Arc::new(Late::default());
    under(&identity).scope(op("a", async {})).await.unwrap();
    assert_eq!(identity.blocked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_call_whose_identity_does_not_come_does_not_run() {
    let identity = Arc::new(Late { unreachable: true, ..Late::default() });
    let ran = AtomicBool::new(false);
    let error =
        under(&identity).scope(op("a", async { ran.store(true, Ordering::SeqCst) })).await.unwrap_err();
    assert!(matches!(&error, Error::Identity(e) if e.kind() == IdentityErrorKind::Connection), "{error}");
    assert!(!ran.load(Ordering::SeqCst));
}

#[test]
fn a_call_that_is_not_async_lets_the_provider_block() {
    let identity = Arc::new(Late::default());
    let _scope = under(&identity).enter();
    sync("a", || ()).unwrap();
    assert_eq!(identity.blocked.load(Ordering::SeqCst), 1);
}

#[test]
fn the_issuer_of_an_identity_stands_in_every_entry() {
    let subject = OidcSubject { issuer: "https://id.example".into(), subject: "late".into() };
    let attributes = IdentityAttributes { oidc: Some(subject), ..IdentityAttributes::default() };
    let identity = Arc::new(Late { attributes, ..Late::default() });
    let scope = under(&identity).enter();
    sync("a", || sync("b", || ()).unwrap()).unwrap();
    for entry in scope.passport().entries() {
        let labels = &payload(entry.jws())["labels"];
        assert_eq!(labels["kest.oidc.iss"], "https://id.example");
        assert_eq!(labels["kest.oidc.sub"], "late");
    }
}

#[test]
fn a_provider_without_bundles_vouches_for_no_document() {
    for svid in [Svid::X509(&[]), Svid::Jwt { token: "e30.e30.secret", audience: "me" }] {
        let mut verdict = pin!(TestIdentity.verify_svid(svid));
        let std::task::Poll::Ready(verdict) = verdict.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("refusing takes no time");
        };
        let error = verdict.unwrap_err();
        assert_eq!(error.kind(), IdentityErrorKind::Refused);
        assert!(error.to_string().contains("`SpireProvider`"), "{error}");
        assert!(!format!("{svid:?}").contains("secret"));
    }
}
