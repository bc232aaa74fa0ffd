//! What AWS can answer, and what comes of it: a kind, a message with the way out, and never a signature.
use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::fake::{
    CALLER, Fake, KEY_ARN, Key, Reply, SECRET, TOKEN, caller_is, kms_error, signature_is, sts_error,
};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::identity::IdentityProvider;
use kest_core::verify::KeySource;
use kest_providers::identity::AwsWorkloadIdentity;
use kest_providers::identity::aws::{KmsKeys, ProvideCredentials};

/// Fails at one action, in one way.
fn failing(at: &'static str, reply: impl Fn() -> Reply + Send + Sync + 'static) -> Fake {
    let key = Key::p256();
    Fake::start(move |request| if request.action == at { reply() } else { key.answer(request) })
}

fn sign(fake: &Fake) -> IdentityError {
    let identity = fake.identity().timeout(Duration::from_secs(20)).build().unwrap();
    let error = identity.sign(b"{}").unwrap_err();
    let shown = format!("{error} {error:?} {}", error.source().map(ToString::to_string).unwrap_or_default());
    for secret in [SECRET, TOKEN, "AKIDEXAMPLE", "\u{1b}"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(!error.to_string().ends_with('.') && error.to_string().len() < 700, "{error}");
    error
}

fn expect(error: &IdentityError, kind: IdentityErrorKind, parts: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn every_refusal_of_kms_has_its_kind() {
    use IdentityErrorKind::{Connection, Missing, Refused, Signing, SvidExpired, Throttled};
    for (status, code, kind, parts) in [
        (400, "DisabledException", Signing, &["is disabled", "enable-key", KEY_ARN] as &[&str]),
        (400, "KMSInvalidStateException", Signing, &["pending deletion", KEY_ARN]),
        (400, "NotFoundException", Missing, &["there is no KMS key", KEY_ARN, "region"]),
        (400, "InvalidKeyUsageException", Signing, &["SIGN_VERIFY", KEY_ARN]),
        (400, "AccessDeniedException", Refused, &["`kms:Sign`", KEY_ARN, "IAM policy"]),
        (400, "ExpiredTokenException", SvidExpired, &["have expired"]),
        (400, "UnrecognizedClientException", Refused, &["does not accept the credentials"]),
        (400, "InvalidSignatureException", Refused, &["clock"]),
        (400, "ThrottlingException", Throttled, &["127.0.0.1", "quota"]),
        (400, "LimitExceededException", Throttled, &["quota"]),
        (429, "Whatever", Throttled, &["quota"]),
        (500, "KMSInternalException", Connection, &["unavailable", "127.0.0.1"]),
        (500, "KeyUnavailableException", Connection, &["unavailable"]),
        (503, "Whatever", Connection, &["unavailable"]),
        (400, "New\u{202e}Exception", Signing, &["`New\\u{202e}Exception`", KEY_ARN]),
    ] {
        let fake = failing("Sign", move || kms_error(status, code));
        expect(&sign(&fake), kind, parts);
        assert!((1..=3).contains(&fake.count("Sign")), "{code}: {} attempts", fake.count("Sign"));
    }
    let fake = failing("GetPublicKey", || kms_error(400, "AccessDeniedException"));
    expect(&sign(&fake), Refused, &["`kms:GetPublicKey`", "`alias/signing`"]);
    assert_eq!(fake.count("Sign"), 0);
}

#[test]
fn every_refusal_of_sts_has_its_kind() {
    use IdentityErrorKind::{Connection, Refused, SvidExpired, Throttled, Untrusted};
    for (status, code, kind, parts) in [
        (403, "AccessDenied", Refused, &["`sts:GetCallerIdentity`"] as &[&str]),
        (403, "ExpiredToken", SvidExpired, &["have expired"]),
        (403, "InvalidClientTokenId", Refused, &["credentials"]),
        (403, "SignatureDoesNotMatch", Refused, &["clock"]),
        (403, "RequestExpired", Refused, &["clock"]),
        (400, "Throttling", Throttled, &["quota"]),
        (500, "InternalFailure", Connection, &["unavailable"]),
    ] {
        let fake = failing("GetCallerIdentity", move || sts_error(status, code));
        expect(&sign(&fake), kind, parts);
        assert_eq!(fake.count("Sign"), 0);
    }
    for (arn, account) in [(CALLER, "999999999999"), ("not an arn", "123456789012"), ("", "")] {
        let fake = failing("GetCallerIdentity", move || caller_is(arn, account));
        expect(&sign(&fake), Untrusted, &["`GetCallerIdentity`"]);
    }
}

#[test]
fn a_key_must_be_what_it_is_said_to_be() {
    use IdentityErrorKind::{Signing, Untrusted};
    let publishes = |spec, usage, arn| {
        let key = Key::p256();
        failing("GetPublicKey", move || key.published(spec, usage, arn))
    };
    for (fake, kind, parts) in [
        (publishes("ECC_NIST_P256", "ENCRYPT_DECRYPT", KEY_ARN), Signing, &["`ENCRYPT_DECRYPT`"] as &[&str]),
        (publishes("ECC_NIST_P256", "KEY_AGREEMENT", KEY_ARN), Signing, &["`KEY_AGREEMENT`"]),
        (
            publishes("ECC_SECG_P256K1", "SIGN_VERIFY", KEY_ARN),
            Signing,
            &["`ECC_SECG_P256K1`", "`ECC_NIST_P256`"],
        ),
        (publishes("ECC_NIST_P521", "SIGN_VERIFY", KEY_ARN), Signing, &["`ECC_NIST_P521`"]),
        (publishes("RSA_2048", "SIGN_VERIFY", KEY_ARN), Untrusted, &["`RSA_2048`"]),
        (publishes("ECC_NIST_P384", "SIGN_VERIFY", KEY_ARN), Untrusted, &["`ECC_NIST_P384`"]),
        (publishes("ECC_NIST_P256", "SIGN_VERIFY", "alias/signing"), Untrusted, &["no key ARN"]),
        (publishes("ECC_NIST_P256", "SIGN_VERIFY", ""), Untrusted, &["no key ARN"]),
    ] {
        expect(&sign(&fake), kind, parts);
        assert_eq!(fake.count("Sign"), 0);
    }
    let fake = failing("GetPublicKey", || {
        Reply::Json(
            200,
            serde_json::json!({"KeyId": KEY_ARN, "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY",
                "PublicKey": "MAA="}),
        )
    });
    expect(&sign(&fake), Untrusted, &["a public key that cannot be used"]);

    let fake = failing("", || Reply::Silence);
    let error = fake.identity().rsa_pss().build().unwrap().workload_id().unwrap_err();
    expect(&error, Signing, &["PS256", "`ECC_NIST_P256`"]);
}

#[test]
fn a_signature_that_does_not_fit_is_not_given_out() {
    let other =
        aws_lc_rs::signature::EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING)
            .unwrap();
    let random = aws_lc_rs::rand::SystemRandom::new();
    let of_another_key = other.sign(&random, b"other").unwrap().as_ref().to_vec();
    for (signature, why) in [
        (of_another_key, "does not fit the key"),
        (vec![0; 64], "is malformed"),
        (vec![], "is malformed"),
        (vec![0x30, 0x06, 0x02, 0x01, 0x81, 0x02, 0x01, 0x01], "is malformed"),
    ] {
        let fake = failing("Sign", move || signature_is(&signature));
        expect(&sign(&fake), IdentityErrorKind::Signing, &[why, KEY_ARN]);
    }
    let fake = failing("Sign", || Reply::Json(200, serde_json::json!({"KeyId": KEY_ARN})));
    expect(&sign(&fake), IdentityErrorKind::Signing, &["is missing"]);
    for key in [Key::ed25519(), Key::rsa()] {
        let fake = Fake::start(move |request| match &*request.action {
            "Sign" => signature_is(&[7; 256]),
            _ => key.answer(request),
        });
        expect(&sign(&fake), IdentityErrorKind::Signing, &["does not fit the key"]);
    }
}

#[test]
fn broken_answers_are_connection_errors() {
    const HALF: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: 400\r\n\r\n{\"Ke";
    const NO_JSON: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: 3\r\n\r\n<a>";
    for reply in [HALF, NO_JSON, "", "SSH-2.0-x\r\n"] {
        for at in ["GetCallerIdentity", "GetPublicKey", "Sign"] {
            let fake = failing(at, move || Reply::Raw(reply));
            expect(&sign(&fake), IdentityErrorKind::Connection, &["127.0.0.1"]);
        }
    }
}

#[test]
fn a_silent_server_is_given_up() {
    for at in ["GetCallerIdentity", "GetPublicKey", "Sign"] {
        let fake = failing(at, || Reply::Silence);
        let identity = fake.identity().timeout(Duration::from_millis(400)).build().unwrap();
        let begun = Instant::now();
        let error = identity.sign(b"{}").unwrap_err();
        expect(&error, IdentityErrorKind::Connection, &["400ms", at, &fake.url()]);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn nobody_at_the_endpoint() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let fake = failing("", || Reply::Silence);
    let identity = fake.identity().endpoint_url(format!("http://127.0.0.1:{port}")).build().unwrap();
    expect(
        &identity.sign(b"{}").unwrap_err(),
        IdentityErrorKind::Connection,
        &[&format!("127.0.0.1:{port}"), "endpoint"],
    );
    let identity = fake.identity().endpoint_url("https://kms.invalid").build().unwrap();
    expect(&identity.sign(b"{}").unwrap_err(), IdentityErrorKind::Connection, &["kms.invalid"]);
}

/// Fails to give credentials.
#[derive(Debug)]
struct Nobody(fn() -> CredentialsError);

impl ProvideCredentials for Nobody {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::ready(Err((self.0)()))
    }
}

#[test]
fn credentials_that_cannot_be_had() {
    use IdentityErrorKind::{Connection, Missing, Refused};
    let fake = failing("", || Reply::Silence);
    for (why, kind, part) in [
        ((|| CredentialsError::not_loaded_no_source()) as fn() -> _, Missing, "no AWS credentials"),
        (|| CredentialsError::invalid_configuration("x"), Missing, "configured wrongly"),
        (|| CredentialsError::provider_timed_out(Duration::from_secs(1)), Connection, "not answered"),
        (|| CredentialsError::provider_error("x"), Refused, "the role"),
        (|| CredentialsError::unhandled("x"), Refused, "the role"),
    ] {
        let identity = fake.identity().credentials_provider(Nobody(why)).build().unwrap();
        expect(&identity.sign(b"{}").unwrap_err(), kind, &[part]);
    }
    assert_eq!(fake.count("GetCallerIdentity"), 0);
}

#[test]
fn settings_are_checked_before_anything_is_contacted() {
    for builder in [
        AwsWorkloadIdentity::builder().kms_key_id(""),
        AwsWorkloadIdentity::builder().kms_key_id("a b"),
        AwsWorkloadIdentity::builder().kms_key_id("alias/a").region("EU"),
        AwsWorkloadIdentity::builder().kms_key_id("alias/a").endpoint_url("http://user:word@host"),
        AwsWorkloadIdentity::builder().kms_key_id("alias/a").timeout(Duration::ZERO),
    ] {
        let error = builder.build().unwrap_err();
        assert!(!error.to_string().contains("word@"), "{error}");
        expect(&error, IdentityErrorKind::Missing, &[]);
    }
}

#[test]
fn an_endpoint_elsewhere_is_asked_by_https_alone() {
    let identity = AwsWorkloadIdentity::builder().kms_key_id("alias/a");
    let keys = |url| KmsKeys::builder().key(CALLER, KEY_ARN).endpoint_url(url).build();
    let elsewhere = "http://kms.example.org";
    for error in [
        identity.endpoint_url(elsewhere).build().unwrap_err(),
        keys(elsewhere).unwrap_err(),
        keys("http://localhost.example.org").unwrap_err(),
    ] {
        expect(&error, IdentityErrorKind::Refused, &["`.endpoint_url(…)`", "use `https`"]);
    }
    keys("https://kms.example.org").unwrap();
    keys("http://[::1]:1").unwrap();
}

/// What an endpoint can send back of the request that it got.
#[test]
fn a_session_token_that_is_echoed_is_not_repeated() {
    let echo = format!(
        "The Canonical String for this request should have been\n'POST\n/\n\nx-amz-security-token:{TOKEN}"
    );
    let on_one_line = echo.replace('\n', " ");
    let as_code = TOKEN.repeat(4);
    for code in
        ["InvalidSignatureException", "ExpiredTokenException", "AccessDeniedException", "Else", &as_code]
    {
        for text in [&echo, &on_one_line] {
            let (code, text) = (code.to_owned(), text.clone());
            let reply = move || Reply::Json(400, serde_json::json!({"__type": code, "message": text}));
            // It looks for the token.
            sign(&failing("Sign", reply));
        }
    }
}

#[test]
fn verifiers_get_keys_from_kms() {
    let (key, broken) = (Key::p256(), Arc::new(AtomicBool::new(false)));
    let (spki, is_broken) = (key.spki(), Arc::clone(&broken));
    let fake = Fake::start(move |request| match is_broken.load(Ordering::SeqCst) {
        true => kms_error(400, "DisabledException"),
        false => key.answer(request),
    });
    let source = |ttl| {
        let builder = KmsKeys::builder().key(CALLER, KEY_ARN).endpoint_url(fake.url()).ttl(ttl);
        builder.credentials_provider(super::fake::credentials()).build().unwrap()
    };
    let (cached, fresh) = (source(Duration::from_secs(600)), source(Duration::ZERO));
    assert_eq!(cached.keys("arn:aws:sts::1:assumed-role/x/y").unwrap(), None);
    assert_eq!(fake.count("GetPublicKey"), 0, "what an entry says is not looked up");
    for _ in 0..3 {
        assert_eq!(cached.keys(CALLER).unwrap().unwrap().0[0].to_spki(), spki);
    }
    assert_eq!(fake.count("GetPublicKey"), 1);
    for _ in 0..3 {
        assert!(fresh.keys(CALLER).unwrap().is_some());
    }
    assert_eq!(fake.count("GetPublicKey"), 4);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let anchors = runtime.block_on(cached.anchors()).unwrap();
    broken.store(true, Ordering::SeqCst);
    let error = fresh.keys(CALLER).unwrap_err();
    assert!(error.source().unwrap().to_string().contains("is disabled"), "{error}");
    assert!(runtime.block_on(cached.anchors()).is_err());
    assert_eq!(anchors.keys(CALLER).unwrap().unwrap().0[0].to_spki(), spki);
    assert!(KmsKeys::builder().key("", KEY_ARN).build().is_err());
    assert!(KmsKeys::builder().key(CALLER, "").build().is_err());
}
