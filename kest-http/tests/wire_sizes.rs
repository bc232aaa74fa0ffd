//! How many bytes a lineage takes on the wire (spec §12). The table: `--nocapture`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod wire_support;

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use kest_core::__private::{CallSpec, Invocation, begin_sync, run_in_scope};
use kest_core::error::IdentityError;
use kest_core::identity::{BoxFuture, IdentityProvider};
use kest_core::jws::{Algorithm, EncodedHeader, Jws};
use kest_core::keys::{Jwk, Jwks};
use kest_core::{Kest, Passport};
use kest_http::{Parcel, Wire};
use kest_providers::identity::LocalEd25519Provider;
use kest_providers::policy::MockPolicyEngine;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
};
use serde_json::{Value, json};
use wire_support::{Maker, member};

const LENGTHS: [usize; 5] = [1, 5, 10, 20, 50];

/// The values of `kest.passport`, `kest.passport_z` and `kest.passport_d`.
fn sizes(passport: &Passport) -> [usize; 3] {
    let plain = passport.serialize().replace('"', "%22").replace(',', "%2C");
    let sent: Vec<String> = passport.entries().iter().map(|entry| entry.jws().to_owned()).collect();
    let packed = |wire: Wire, key| {
        let header = wire.write_blocking(&Parcel::of(passport.clone()), &[]).unwrap();
        let lineage = wire.read_blocking(&[header.as_bytes()]).unwrap().lineage.unwrap();
        assert!(lineage.entries().eq(&sent), "{key}");
        member(&header, key).unwrap().len()
    };
    let large = || Wire::builder().tier_bytes(1 << 20).header_bytes(1 << 20).always_compressed();
    [
        plain.len(),
        packed(large().build(), "kest.passport_z"),
        packed(large().dense().build(), "kest.passport_d"),
    ]
}

const fn service(
    operation: &'static str,
    function: &'static str,
    policy: &'static [&'static str],
) -> CallSpec {
    CallSpec {
        operation,
        span: "kest.verified.test",
        function,
        policies: policy,
        classification: "system",
        source_type: None,
        added_taints: &[],
        removed_taints: &[],
        trust_override: None,
        sanitizer: false,
        labels: &[],
        config_seen: None,
    }
}

/// What three services of the shop do for an order, and a fourth for the money.
static CALLS: [(usize, CallSpec); 7] = [
    (
        0,
        CallSpec {
            source_type: Some("user_input"),
            added_taints: &["unverified"],
            ..service("place_order", "shop::checkout::place_order", &["shop/order"])
        },
    ),
    (1, service("accept", "orders::intake::accept", &["shop/accept", "kest/allow_trusted"])),
    (1, service("orders.reserve", "orders::stock::reserve", &["shop/accept"])),
    (2, service("charge", "payments::cards::charge", &["shop/charge", "financial/dual_control"])),
    (
        2,
        CallSpec {
            classification: "data",
            ..service("ledger.book", "payments::ledger::book", &["financial/sox"])
        },
    ),
    (
        3,
        CallSpec {
            sanitizer: true,
            classification: "sanitizer",
            removed_taints: &["unverified"],
            ..service("screen", "fraud::screening::screen", &["financial/aml"])
        },
    ),
    (1, service("confirm", "orders::intake::confirm", &["shop/accept"])),
];

/// Calls of four workloads on behalf of a user, on resources, each with a span of its own.
struct Shop {
    kest: Kest,
    workloads: [Arc<dyn IdentityProvider>; 4],
}

impl Shop {
    fn new(identity: impl Fn(String) -> Arc<dyn IdentityProvider>) -> Self {
        let workloads = ["shop", "orders", "payments", "fraud"]
            .map(|name| identity(format!("spiffe://shop.example/ns/prod/sa/{name}")));
        let engine = MockPolicyEngine::allow();
        let identity = workloads[0].clone();
        let kest = Kest::builder().identity(identity).engine(engine).without_config().build().unwrap();
        Self { kest, workloads }
    }

    fn orders(&self, entries: usize) -> Passport {
        let scope = self.kest.enter();
        let random = |bytes: &mut [u8]| aws_lc_rs::rand::fill(bytes).unwrap();
        let (mut trace, mut order) = ([0; 16], [0; 4]);
        random(&mut trace);
        random(&mut order);
        let user: Value = json!({ "sub": "alice@example.com", "role": "customer", "tenant": "emea-17" });
        for turn in 0..entries {
            let (workload, spec) = &CALLS[if turn == 0 { 0 } else { 1 + (turn - 1) % 6 }];
            let mut span = [0; 8];
            random(&mut span);
            let span = SpanContext::new(
                TraceId::from_bytes(trace),
                SpanId::from_bytes(span),
                TraceFlags::SAMPLED,
                true,
                TraceState::NONE,
            );
            let _active = Context::new().with_remote_span_context(span).attach();
            let order = format!("order-{}", u32::from_be_bytes(order) as usize + turn / 7);
            let amount = json!({ "amount_cents": 12_900 + 137 * turn, "currency": "EUR" });
            let call = Invocation::new(spec)
                .identity(Arc::clone(&self.workloads[*workload]))
                .user(&user)
                .agent("checkout-web-app")
                .resource_id(&*order)
                .resource_attr(&amount)
                .input("order", &json!({ "id": order, "turn": turn }));
            run_in_scope(begin_sync(call).unwrap(), |()| false, || ());
        }
        scope.passport()
    }
}

/// Signs with P-256 under a certificate, as a provider with an SVID of SPIRE does.
#[derive(Debug)]
struct Svid {
    id: Arc<str>,
    header: EncodedHeader,
    key: EcdsaKeyPair,
    jwk: Jwk,
}

impl Svid {
    fn of(authority: &CertifiedIssuer<'_, KeyPair>, id: String) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&[(DnType::CountryName, "US"), (DnType::OrganizationName, "SPIRE")]);
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().unwrap())];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyAgreement,
        ];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, authority).unwrap();
        let jwk = Jwk::from_spki(&key.subject_public_key_info()).unwrap();
        let header = EncodedHeader::with_x5c(Algorithm::Es256, &jwk.thumbprint(), &[leaf.der().to_vec()]);
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der()).unwrap();
        Self { id: id.into(), header, key, jwk }
    }
}

impl IdentityProvider for Svid {
    fn workload_id(&self) -> Result<Arc<str>, IdentityError> {
        Ok(Arc::clone(&self.id))
    }

    fn sign(&self, payload: &[u8]) -> Result<Jws, IdentityError> {
        let sign = |input: &[u8]| Ok(self.key.sign(&SystemRandom::new(), input).unwrap());
        self.header.sign(payload, sign)
    }

    fn sign_async<'a>(&'a self, payload: &'a [u8]) -> BoxFuture<'a, Result<Jws, IdentityError>> {
        Box::pin(async move { self.sign(payload) })
    }

    fn public_keys(&self) -> Result<Jwks, IdentityError> {
        Ok(Jwks(vec![self.jwk.clone()]))
    }
}

fn name(parts: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in parts {
        name.push(kind.clone(), *value);
    }
    name
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(&[(DnType::CountryName, "US"), (DnType::OrganizationName, "SPIFFE")]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    CertifiedIssuer::self_signed(params, key).unwrap()
}

#[test]
fn the_dense_form_takes_a_fraction_of_the_bytes() {
    let maker = Maker::new();
    let shop = Shop::new(|id| Arc::new(LocalEd25519Provider::new().unwrap().with_workload_id(id)));
    let authority = authority();
    let attested = Shop::new(|id| Arc::new(Svid::of(&authority, id)));
    println!("| lineage | entries | plain | compressed | dense | Python |");
    println!("|---|---:|---:|---:|---:|---:|");
    // What `kest` 0.3.0 for Python sends of a chain of one function.
    let python = [Some(936), Some(1664), Some(2744), None, Some(11412)];
    for (name, make) in [
        ("one function", &(|length| maker.chain(length)) as &dyn Fn(usize) -> Passport),
        ("a mix", &|length| shop.orders(length)),
        ("a mix under SVIDs", &|length| attested.orders(length)),
    ] {
        for (length, python) in LENGTHS.into_iter().zip(python) {
            let [plain, compressed, dense] = sizes(&make(length));
            let theirs = python.map_or("–".to_owned(), |bytes| bytes.to_string());
            println!("| {name} | {length} | {plain} | {compressed} | {dense} | {theirs} |");
            assert!(dense * 2 < compressed, "{name}, {length}: {dense} of {compressed}");
            assert!(
                python.is_none_or(|bytes| name != "one function" || dense * 2 < bytes),
                "{length}: {dense}"
            );
        }
    }
    let fits = |passport: Passport| sizes(&passport)[2] <= 4096;
    assert!(fits(maker.chain(35)) && fits(shop.orders(18)) && fits(attested.orders(10)), "in one header");
}
