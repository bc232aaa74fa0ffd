//! Identities of AWS with KMS and STS as ministack plays them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod cloud;

use std::cell::Cell;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use aws_sdk_kms::types::KeyUsageType;
use cloud::{Cloud, REGION, credentials};
use kest::conformance::identity::run_with;
use kest::error::IdentityErrorKind;
use kest::identity::aws::KmsKeys;
use kest::identity::{AwsWorkloadIdentity, BedrockAgentIdentity, IdentityProvider};
use kest::policy::MockPolicyEngine;
use kest::verify::{Anchors, KeySource, UnverifiedPassport, VerifiedPassport, Verifier, VerifyError};
use kest::{Error, Kest, Passport, kest_verified};
use serde_json::json;
use tokio::runtime::Builder;

thread_local! {
    static RAN: Cell<u32> = const { Cell::new(0) };
}

#[kest_verified(policy = "kest", source_type = "system", user = json!({"note": "x".repeat(note)}))]
fn act(note: usize) -> Result<(), Error> {
    RAN.set(RAN.get() + 1);
    Ok(())
}

#[kest_verified(policy = "kest", source_type = "system")]
async fn act_later() -> Result<(), Error> {
    RAN.set(RAN.get() + 1);
    Ok(())
}

fn kest(identity: impl IdentityProvider + 'static) -> Kest {
    Kest::builder()
        .identity(Arc::new(identity))
        .engine(MockPolicyEngine::allow())
        .without_config()
        .build()
        .unwrap()
}

/// A protected call with an entry of some size, and the passport if its body ran.
fn call(kest: &Kest, note: usize) -> Result<Passport, Error> {
    let before = RAN.get();
    let scope = kest.enter();
    let result = act(note);
    let passport = scope.passport();
    assert_eq!(
        RAN.get() - before,
        u32::from(result.is_ok()),
        "the body runs if and only if the call is signed"
    );
    assert_eq!(passport.entries().len(), usize::from(result.is_ok()));
    result.map(|()| passport)
}

/// A call that must fail in this way, without its body.
fn refused(kest: &Kest, note: usize, kind: IdentityErrorKind, parts: &[&str]) {
    match call(kest, note).unwrap_err() {
        Error::Identity(error) => {
            assert_eq!(error.kind(), kind, "{error}");
            for part in parts {
                assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
            }
        }
        other => panic!("{other}"),
    }
}

fn verify(passport: &Passport, keys: impl KeySource + 'static) -> Result<VerifiedPassport, VerifyError> {
    let verifier = Verifier::builder().keys(keys).strict().build();
    UnverifiedPassport::deserialize(&passport.serialize()).unwrap().verify(&verifier)
}

#[test]
fn every_kind_of_key_signs_and_others_verify_it() {
    let Some(cloud) = Cloud::start() else { return };
    for (spec, pss, alg) in [
        ("ECC_NIST_EDWARDS25519", false, "EdDSA"),
        ("ECC_NIST_P256", false, "ES256"),
        ("ECC_NIST_P384", false, "ES384"),
        ("RSA_2048", false, "RS256"),
        ("RSA_3072", false, "RS256"),
        ("RSA_4096", false, "RS256"),
        ("RSA_2048", true, "PS256"),
    ] {
        let key = cloud.signing_key(spec);
        let builder = cloud.identity(&key);
        let identity = if pss { builder.rsa_pss() } else { builder }.build().unwrap();
        if spec != "ECC_NIST_EDWARDS25519" {
            run_with(&identity, 32).unwrap_or_else(|error| panic!("{spec}: {error}"));
        }
        let public = identity.public_keys().unwrap().0[0].clone();
        let spki = cloud.spki(&key);
        assert_eq!(public.to_spki(), spki);
        let runtime = Builder::new_current_thread().build().unwrap();
        let signed = [
            identity.sign(b"{}").unwrap(),
            identity.sign(&[b'x'; 2_000]).unwrap(),
            runtime.block_on(identity.sign_async(b"{\"a\":1}")).unwrap(),
        ];
        let thumbprint = public.thumbprint();
        assert_eq!(
            cloud.jwcrypto(alg, &spki, &signed).unwrap_or_else(|error| panic!("{spec}: {error}")),
            format!("2 {thumbprint}\n2000 {thumbprint}\n7 {thumbprint}\n")
        );
        // What checks them can also say no.
        let other = cloud.spki(&cloud.signing_key(spec));
        assert!(cloud.jwcrypto(alg, &other, &signed).unwrap_err().contains("does not verify"));

        let id = identity.workload_id().unwrap();
        let passport = call(&kest(identity), 10).unwrap();
        let keys = KmsKeys::builder().key(&*id, &key).endpoint_url(cloud.proxy.url());
        verify(&passport, keys.credentials_provider(credentials()).build().unwrap())
            .unwrap_or_else(|error| panic!("{spec}: {error}"));
    }
}

#[test]
fn a_key_that_cannot_sign_stops_the_call() {
    let Some(cloud) = Cloud::start() else { return };
    let key = cloud.signing_key("ECC_NIST_P256");
    let workload = kest(cloud.identity(&key).build().unwrap());
    call(&workload, 10).unwrap();
    cloud.disable(&key);
    refused(&workload, 10, IdentityErrorKind::Signing, &["is disabled", &key]);
    cloud.enable(&key);
    call(&workload, 10).unwrap();
    cloud.delete(&key);
    refused(&workload, 10, IdentityErrorKind::Signing, &["pending deletion", &key]);

    let usage = KeyUsageType::EncryptDecrypt;
    let encrypts = kest(cloud.identity(&cloud.key("RSA_2048", usage.clone())).build().unwrap());
    refused(&encrypts, 10, IdentityErrorKind::Signing, &["`ENCRYPT_DECRYPT`"]);
    let symmetric = kest(cloud.identity(&cloud.key("SYMMETRIC_DEFAULT", usage)).build().unwrap());
    refused(&symmetric, 10, IdentityErrorKind::Signing, &["does not sign"]);
    let nobody = kest(cloud.identity("alias/nobody").build().unwrap());
    refused(&nobody, 10, IdentityErrorKind::Missing, &["`alias/nobody`"]);
    let curve = kest(cloud.identity(&cloud.signing_key("ECC_SECG_P256K1")).build().unwrap());
    refused(&curve, 10, IdentityErrorKind::Signing, &["`ECC_SECG_P256K1`", "`ECC_NIST_P256`"]);
    let key = cloud.signing_key("ECC_NIST_P256");
    let pss = kest(cloud.identity(&key).rsa_pss().build().unwrap());
    refused(&pss, 10, IdentityErrorKind::Signing, &["PS256"]);
}

#[test]
fn a_moved_alias_switches_no_key() {
    let Some(cloud) = Cloud::start() else { return };
    let (old, new) = (cloud.signing_key("ECC_NIST_P256"), cloud.signing_key("RSA_2048"));
    cloud.alias("alias/signing", &old);
    let identity = Arc::new(cloud.identity("alias/signing").build().unwrap());
    let workload = kest(Arc::clone(&identity));
    let anchors = Anchors::from_provider(&*identity).unwrap();
    cloud.repoint("alias/signing", &new);
    let passport = call(&workload, 10).unwrap();
    verify(&passport, anchors).unwrap();
    // Who asks for the alias now gets the other key, which signed nothing.
    let id = identity.workload_id().unwrap();
    let keys = KmsKeys::builder().key(&*id, "alias/signing").region(REGION).endpoint_url(cloud.proxy.url());
    let moved = keys.credentials_provider(credentials()).build().unwrap();
    let error = verify(&passport, moved).unwrap_err();
    assert!(error.to_string().contains("key"), "{error}");
    // And who starts now signs with it.
    let next = cloud.identity("alias/signing").build().unwrap();
    assert_eq!(next.public_keys().unwrap().0[0].to_spki(), cloud.spki(&new));
}

#[test]
fn large_entries_need_a_key_that_signs_digests() {
    let Some(cloud) = Cloud::start() else { return };
    let edwards = kest(cloud.identity(&cloud.signing_key("ECC_NIST_EDWARDS25519")).build().unwrap());
    call(&edwards, 100).unwrap();
    refused(&edwards, 4_096, IdentityErrorKind::Signing, &["4096", "`ECC_NIST_P256`"]);
    call(&edwards, 100).unwrap();
    for spec in ["ECC_NIST_P256", "RSA_2048"] {
        let identity = Arc::new(cloud.identity(&cloud.signing_key(spec)).build().unwrap());
        let passport = call(&kest(Arc::clone(&identity)), 40_000).unwrap();
        verify(&passport, Anchors::from_provider(&*identity).unwrap()).unwrap();
    }
}

#[test]
fn a_busy_kms_stops_the_call_and_a_free_one_lets_it_through() {
    let Some(cloud) = Cloud::start() else { return };
    let workload = kest(cloud.identity(&cloud.signing_key("ECC_NIST_P256")).build().unwrap());
    call(&workload, 10).unwrap();
    let signed = cloud.proxy.count("sign");
    cloud.proxy.throttle(true);
    refused(&workload, 10, IdentityErrorKind::Throttled, &["kms:Sign", "quota"]);
    assert_eq!(cloud.proxy.count("sign"), signed + 3, "three attempts");
    cloud.proxy.throttle(false);
    call(&workload, 10).unwrap();
}

#[test]
fn an_unreachable_kms_stops_the_call() {
    let Some(cloud) = Cloud::start() else { return };
    let key = cloud.signing_key("ECC_NIST_P256");
    let known = kest(cloud.identity(&key).timeout(Duration::from_secs(2)).build().unwrap());
    call(&known, 10).unwrap();
    cloud.stop();
    refused(&known, 10, IdentityErrorKind::Connection, &[&cloud.proxy.url()]);
    let unknown = kest(cloud.identity(&key).timeout(Duration::from_secs(2)).build().unwrap());
    refused(&unknown, 10, IdentityErrorKind::Connection, &[&cloud.proxy.url()]);
}

#[test]
fn hooks_of_both_kinds_work_in_every_run_time() {
    let Some(cloud) = Cloud::start() else { return };
    let key = cloud.signing_key("ECC_NIST_P256");
    for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        // Fresh each time, so that also the first contact is made from here.
        let sync = kest(cloud.identity(&key).build().unwrap());
        runtime.block_on(async { call(&sync, 10).map(drop) }).unwrap();
        let spawned = sync.clone();
        runtime.block_on(runtime.spawn(async move { call(&spawned, 10).map(drop) })).unwrap().unwrap();
        let later = kest(cloud.identity(&key).build().unwrap());
        let (result, passport) = runtime.block_on(later.scope(act_later()).with_passport());
        result.unwrap();
        assert_eq!(passport.entries().len(), 1);
        drop(runtime);
        call(&later, 10).unwrap();
    }
}

#[test]
fn fifty_first_uses_ask_once() {
    let Some(cloud) = Cloud::start() else { return };
    let workload = kest(cloud.identity(&cloud.signing_key("ECC_NIST_P256")).build().unwrap());
    let barrier = Barrier::new(50);
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                barrier.wait();
                call(&workload, 10).unwrap();
            });
        }
    });
    assert_eq!(cloud.proxy.count("getcalleridentity"), 1);
    assert_eq!(cloud.proxy.count("getpublickey"), 1);
    assert_eq!(cloud.proxy.count("sign"), 50);
}

#[test]
fn agents_sign_under_their_own_arns() {
    let Some(cloud) = Cloud::start() else { return };
    let key = cloud.signing_key("ECC_NIST_P256");
    cloud.alias("alias/bedrock-agent-signing-key", &key);
    let agent = BedrockAgentIdentity::builder().agent_id("ABCDE12345").agent_alias_id("TSTALIASID");
    let agent = agent.region(REGION).endpoint_url(cloud.proxy.url()).credentials_provider(credentials());
    let agent = Arc::new(agent.build().unwrap());
    run_with(&agent, 16).unwrap();
    let caller: AwsWorkloadIdentity = cloud.identity(&key).build().unwrap();
    let account = caller.workload_id().unwrap().split(':').nth(4).unwrap().to_owned();
    let id = format!("arn:aws:bedrock:{REGION}:{account}:agent-alias/ABCDE12345/TSTALIASID");
    assert_eq!(&*agent.workload_id().unwrap(), id);
    let passport = call(&kest(Arc::clone(&agent)), 10).unwrap();
    let verified = verify(&passport, Anchors::from_provider(&*agent).unwrap()).unwrap();
    assert_eq!(verified.entries().len(), 1);
}
