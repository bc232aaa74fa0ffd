//! Real passports, and a strict reader of W3C Baggage that shares nothing with the one under test.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use kest_core::__private::{CallSpec, Invocation, begin_sync, run_in_scope};
use kest_core::claim::{BoxFuture, ClaimCache, ClaimId};
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::verify::{Anchors, UnverifiedPassport, VerifiedPassport, Verifier};
use kest_core::{Kest, Passport};
use kest_http::{Parcel, Wire};
use kest_providers::identity::LocalEd25519Provider;
use kest_providers::policy::MockPolicyEngine;

pub(crate) struct Maker {
    pub(crate) kest: Kest,
    verifier: Verifier,
}

impl Maker {
    pub(crate) fn new() -> Self {
        let identity = Arc::new(LocalEd25519Provider::new().unwrap());
        let verifier = Verifier::builder().keys(Anchors::from_provider(&*identity).unwrap()).build();
        let engine = MockPolicyEngine::allow();
        let kest = Kest::builder().identity(identity).engine(engine).without_config().build().unwrap();
        Self { kest, verifier }
    }

    /// So many calls, one after the other.
    pub(crate) fn chain(&self, entries: usize) -> Passport {
        let scope = self.kest.enter();
        for _ in 0..entries {
            call(|| ());
        }
        scope.passport()
    }

    /// A lineage with so many tips.
    pub(crate) fn fan(&self, tips: usize) -> Passport {
        let mut all = Passport::new();
        for _ in 0..tips {
            all.merge(&self.chain(1));
        }
        all
    }

    pub(crate) fn verified(&self, passport: UnverifiedPassport) -> VerifiedPassport {
        passport.verify(&self.verifier).unwrap()
    }

    /// Why the verifier refuses it.
    pub(crate) fn refuses(&self, passport: UnverifiedPassport) -> String {
        passport.verify(&self.verifier).unwrap_err().to_string()
    }
}

/// A protected call.
pub(crate) fn call<T>(body: impl FnOnce() -> T) -> T {
    const SPEC: CallSpec = CallSpec {
        operation: "accounts.transfer",
        span: "kest.verified.test",
        function: "tests::protected",
        policies: &["kest/allow_trusted"],
        classification: "system",
        source_type: Some("internal"),
        added_taints: &[],
        removed_taints: &[],
        trust_override: None,
        sanitizer: false,
        labels: &[],
        config_seen: None,
    };
    run_in_scope(begin_sync(Invocation::new(&SPEC)).unwrap(), |_| false, body)
}

pub(crate) fn write(wire: &Wire, passport: &Passport) -> String {
    wire.write_blocking(&Parcel::of(passport.clone()), &[]).unwrap()
}

pub(crate) fn hashes(passport: &Passport) -> Vec<String> {
    passport.entries().iter().map(|entry| entry.hash()).collect()
}

/// The value of a member as it stands in the header.
pub(crate) fn member<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    header.split(',').find_map(|member| member.strip_prefix(key)?.strip_prefix('='))
}

pub(crate) fn keys(header: &str) -> Vec<&str> {
    header.split(',').filter_map(|member| member.split('=').next()).collect()
}

/// The tiers in a header.
pub(crate) fn tiers(header: &str) -> Vec<&str> {
    let tier = |key: &&str| {
        ["kest.passport", "kest.passport_z", "kest.passport_d", "kest.claim_check"].contains(key)
    };
    keys(header).into_iter().filter(tier).collect()
}

/// Whether a header is one by the grammar of <https://www.w3.org/TR/baggage/#definition>, with nothing in it that
/// need not be.
pub(crate) fn is_strict_baggage(header: &str) -> bool {
    let octet = |c: u8| matches!(c, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    let token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c as char))
    };
    let value = |text: &str| {
        text.bytes().all(octet)
            && text
                .split('%')
                .skip(1)
                .all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit()))
    };
    header.split(',').all(|member| {
        let mut parts = member.split(';');
        parts.next().unwrap().split_once('=').is_some_and(|(k, v)| token(k) && value(v))
            && parts.all(|part| part.split_once('=').map_or(token(part), |(k, v)| token(k) && value(v)))
    })
}

/// What the Python package makes of a header (`KestMiddleware`, `BaggageManager.unpack`): no escape is undone.
pub(crate) fn as_python_reads(header: &str) -> (String, String) {
    let mut found = std::collections::HashMap::new();
    for part in header.split(',') {
        if let Some((key, value)) = part.split_once('=') {
            found.insert(key.trim(), value.trim());
        }
    }
    let packed = found["kest.passport_z"];
    assert_eq!(packed.len() % 4, 0, "python's decoder wants whole groups of four");
    let stream = URL_SAFE_NO_PAD.decode_to_vec(packed).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::ZlibDecoder::new(&*stream), &mut text).unwrap();
    (text, found["kest.chain_tip"].to_owned())
}

/// A cache that says what it is told to say.
pub(crate) struct Fixed {
    pub(crate) kept: Option<Arc<str>>,
    pub(crate) shared: bool,
}

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fixed")
    }
}

impl ClaimCache for Fixed {
    fn put(&self, _: &ClaimId, _: &str, _: Duration) -> Result<(), PropagationError> {
        Err(PropagationError::new(PropagationErrorKind::Cache, "the test's cache takes nothing"))
    }

    fn get(&self, _: &ClaimId) -> Result<Option<Arc<str>>, PropagationError> {
        Ok(self.kept.clone())
    }

    fn put_async<'a>(
        &'a self,
        claim: &'a ClaimId,
        passport: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), PropagationError>> {
        Box::pin(async move { self.put(claim, passport, ttl) })
    }

    fn get_async<'a>(
        &'a self,
        claim: &'a ClaimId,
    ) -> BoxFuture<'a, Result<Option<Arc<str>>, PropagationError>> {
        Box::pin(async move { self.get(claim) })
    }

    fn is_shared(&self) -> bool {
        self.shared
    }
}
