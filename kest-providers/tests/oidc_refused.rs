//! Tokens that prove nothing: each is refused for its own reason.
#![cfg(feature = "oidc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod oidc_support;

use std::time::Duration;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::identity::IdentityProvider;
use kest_core::keys::Jwk;
use kest_providers::identity::OidcIdentity;
use serde_json::{Value, json};

use self::oidc_support::keys::{Key, b64, hs256, signing_input};
use self::oidc_support::server::Reply;
use self::oidc_support::{DISCOVERY, Issuer, JWKS, TokenFile, changed, now};

/// The error of an identity with that token, whose calls all fail.
fn refusal(issuer: &Issuer, token: &str) -> IdentityError {
    let file = TokenFile::with(token);
    let identity = issuer.identity(&file);
    assert!(identity.sign(b"{}").is_err());
    assert!(identity.attributes().is_none());
    identity.workload_id().unwrap_err()
}

#[track_caller]
fn untrusted(issuer: &Issuer, token: &str, why: &str) {
    let error = refusal(issuer, token);
    assert_eq!(error.kind(), IdentityErrorKind::Untrusted, "{error}");
    assert!(error.to_string().contains(why), "`{why}` is not in: {error}");
}

#[test]
fn the_claims_must_be_right() {
    let issuer = Issuer::new();
    let far = "x".repeat(1_025);
    for (changes, why) in [
        (json!({"iss": "https://example.org"}), "is from issuer `https://example.org`"),
        (json!({"iss": format!("{}/", issuer.url())}), "is from issuer"),
        (json!({"iss": null}), "no `iss`"),
        (json!({"iss": [issuer.url()]}), "no `iss`"),
        (json!({"aud": "sts.amazonaws.com"}), "audience `sts.amazonaws.com`, not for `kest`"),
        (json!({"aud": ["a", "b"]}), "audience `a`, `b`"),
        (json!({"aud": "KEST"}), "audience `KEST`"),
        (json!({"aud": null}), "no `aud`"),
        (json!({"aud": ""}), "no `aud`"),
        (json!({"aud": []}), "no `aud`"),
        (json!({"aud": ["kest", 7]}), "no `aud`"),
        (json!({"sub": null}), "no `sub`"),
        (json!({"sub": 7}), "no `sub`"),
        (json!({"sub": ""}), "`sub` is empty"),
        (json!({"sub": far}), "`sub` is empty or longer"),
        (json!({"sub": " a"}), "white space"),
        (json!({"sub": "a\nb"}), "control"),
        (json!({"exp": null}), "no `exp`"),
        (json!({"exp": "2030-01-01"}), "`exp` is no date"),
        (json!({"exp": -1}), "`exp` is no date"),
        (json!({"exp": 1e300}), "`exp` is no date"),
        (json!({"nbf": now() + 100}), "`nbf`"),
        (json!({"nbf": []}), "`nbf` is no date"),
        (json!({"iat": now() + 100}), "`iat`"),
        (json!({"iat": null}), "no `iat`"),
        (json!({"iat": now() + 10_000, "nbf": null, "exp": now() + 5_000}), "`iat`"),
        (json!({"cnf": "x"}), "`cnf` is no object"),
    ] {
        untrusted(&issuer, &issuer.token_with(changes), why);
    }
    for good in
        [json!({"aud": ["other", "kest"]}), json!({"nbf": null}), json!({"exp": now() as f64 + 300.5})]
    {
        let file = TokenFile::with(&issuer.token_with(good));
        issuer.identity(&file).workload_id().unwrap();
    }
}

#[test]
fn an_expired_token_is_an_error_of_its_own() {
    let issuer = Issuer::new();
    for exp in [0, 1, now() - 1, now()] {
        let error = refusal(&issuer, &issuer.token_with(json!({"exp": exp, "iat": 0, "nbf": 0})));
        assert_eq!(error.kind(), IdentityErrorKind::SvidExpired, "{error}");
        assert!(error.to_string().contains("expired"), "{error}");
    }
    // Clocks may differ by what was said, and no more.
    let build = |file: &TokenFile| issuer.settings(file).leeway(Duration::from_secs(100)).build().unwrap();
    let file =
        TokenFile::with(&issuer.token_with(json!({"exp": now() - 50, "iat": now() + 50, "nbf": now() + 50})));
    assert!(build(&file).workload_id().unwrap_err().to_string().contains("`iat`, `exp`"));
    let file =
        TokenFile::with(&issuer.token_with(json!({"exp": now() - 50, "iat": now() - 60, "nbf": now() + 50})));
    build(&file).workload_id().unwrap();
    let file = TokenFile::with(&issuer.token_with(json!({"exp": now() - 101, "iat": 0, "nbf": 0})));
    assert_eq!(build(&file).workload_id().unwrap_err().kind(), IdentityErrorKind::SvidExpired);
}

#[test]
fn the_algorithm_is_the_keys_and_never_the_tokens_choice() {
    let issuer = Issuer::new();
    let (rsa, ec) = (Key::rsa("rsa", "RS256"), Key::p256("ec"));
    issuer.publish(&[&rsa, &ec]);
    let claims = issuer.claims();
    let header = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid, "typ": "JWT"});

    // The public key as a shared secret, in each form that a library might take.
    for key in [&rsa, &ec] {
        let jwk = Jwk::from_json(&key.public()).unwrap();
        let forms =
            [jwk.to_pem().unwrap().into_bytes(), jwk.to_spki(), key.public().to_string().into_bytes()];
        for secret in forms {
            untrusted(&issuer, &hs256(&key.kid, &secret, &claims), "signed with `HS256`");
        }
    }
    for alg in ["none", "None", "NONE", "", "HS384", "HS512", "RS1", "rs256", "ES256K", "RSA-OAEP"] {
        let input = signing_input(&header(alg, "ec"), &claims);
        untrusted(&issuer, &format!("{input}."), "signed with");
        untrusted(&issuer, &ec.jwt_with(&header(alg, "ec"), &claims), "signed with");
    }
    // A good signature under another name, or by a key of another type.
    untrusted(&issuer, &ec.jwt_with(&header("RS256", "ec"), &claims), "does not fit");
    untrusted(&issuer, &rsa.jwt_with(&header("RS256", "ec"), &claims), "does not fit");
    untrusted(&issuer, &rsa.jwt_with(&header("PS256", "rsa"), &claims), "does not fit");
    untrusted(&issuer, &ec.jwt_with(&header("ES384", "ec"), &claims), "does not fit");
    untrusted(&issuer, &ec.jwt_with(&header("ES256", "rsa"), &claims), "does not fit");
    let no_signature = format!("{}.", signing_input(&header("ES256", "ec"), &claims));
    untrusted(&issuer, &no_signature, "signature is not the issuer's");
}

#[test]
fn only_the_issuers_own_keys_count() {
    let issuer = Issuer::new();
    let stranger = Key::p256(&issuer.key.kid);
    untrusted(&issuer, &stranger.jwt(&issuer.claims()), "signature is not the issuer's");
    untrusted(&issuer, &Key::p256("unknown").jwt(&issuer.claims()), "key `unknown`");
    // Keys that the token brings along are not looked at.
    let header = json!({"alg": "ES256", "typ": "JWT", "jwk": stranger.public(), "jku": "http://127.0.0.1:1/", "kid": "x"});
    untrusted(&issuer, &stranger.jwt_with(&header, &issuer.claims()), "key `x`");
    let no_kid = json!({"alg": "ES256", "jwk": stranger.public()});
    untrusted(&issuer, &stranger.jwt_with(&no_kid, &issuer.claims()), "signature is not the issuer's");
    let file = TokenFile::with(&issuer.key.jwt_with(&json!({"alg": "ES256"}), &issuer.claims()));
    issuer.identity(&file).workload_id().expect("without `kid` each fitting key is tried");
    // The token of another issuer, with its own good signature.
    let other = Issuer::new();
    untrusted(&issuer, &other.token(), "is from issuer");
    assert_eq!(other.server.hits(DISCOVERY), 0);
}

#[test]
fn what_is_no_token_is_refused() {
    let issuer = Issuer::new();
    let good = issuer.token();
    let segments: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = segments[..] else { panic!("three segments") };
    let input = |header: &str, claims: &str| format!("{}.{}.{signature}", b64(header), b64(claims));
    for (token, why) in [
        ("x".to_owned(), "three segments"),
        (format!("{header}.{claims}"), "three segments"),
        (format!("{good}.x"), "three segments"),
        (format!("{header}=.{claims}.{signature}"), "base64url"),
        (format!("{header}.{claims}.{signature}="), "base64url"),
        (format!("{header}.{claims}.*"), "base64url"),
        (format!("..{signature}"), "no JSON object"),
        (input("[]", "{}"), "no JSON object"),
        (input("{}", "7"), "no JSON object"),
        (input(r#"{"alg":"ES256","alg":"ES256"}"#, "{}"), "stands in it twice"),
        (input(r#"{"alg":"ES256"}"#, r#"{"sub":"a","sub":"b"}"#), "stands in it twice"),
        (input("{}", "{}"), "no `alg`"),
        (input(r#"{"alg":7}"#, "{}"), "no `alg`"),
        (input(r#"{"alg":"ES256","kid":7}"#, "{}"), "no `kid`"),
        (input(r#"{"alg":"ES256","crit":["exp"],"exp":1}"#, "{}"), "`crit`"),
        (input(r#"{"alg":"ES256","typ":"logout+jwt"}"#, "{}"), "of type `logout+jwt`"),
        (input(r#"{"alg":"ES256","typ":7}"#, "{}"), "no `typ`"),
        (input(r#"{"alg":"ES256"}"#, "{}"), "no `iss`"),
        ("a".repeat(64 * 1024 + 1), "larger than 65536"),
    ] {
        untrusted(&issuer, &token, why);
    }
    assert_eq!(issuer.server.hits(DISCOVERY), 0, "nobody is asked about what is no token");
    for typ in ["jwt", "at+jwt", "application/at+JWT"] {
        let file = TokenFile::with(
            &issuer.key.jwt_with(&json!({"alg": "ES256", "kid": "first", "typ": typ}), &issuer.claims()),
        );
        issuer.identity(&file).workload_id().unwrap();
    }
}

#[test]
fn what_is_no_file_with_a_token_is_refused() {
    let issuer = Issuer::new();
    for empty in ["", " \n"] {
        assert_eq!(refusal(&issuer, empty).kind(), IdentityErrorKind::Missing);
    }
    let file = TokenFile::none();
    let error = issuer.identity(&file).workload_id().unwrap_err();
    assert_eq!(error.kind(), IdentityErrorKind::Missing);
    assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
    file.put([0xff, 0xfe]);
    assert_eq!(issuer.identity(&file).workload_id().unwrap_err().kind(), IdentityErrorKind::Untrusted);
    let folder =
        OidcIdentity::builder().token_path(std::env::temp_dir()).issuer(issuer.url()).build().unwrap();
    let error = folder.workload_id().unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
}

#[test]
fn an_issuer_that_cannot_be_believed_is_refused() {
    let spoilt: [(&str, Reply, IdentityErrorKind, &str); 7] = [
        (
            JWKS,
            Reply::Redirect(302, "https://example.org".to_owned()),
            IdentityErrorKind::Untrusted,
            "redirects",
        ),
        (
            JWKS,
            Reply::Chunked(vec![b' '; 1024 * 1024 + 1].into()),
            IdentityErrorKind::Untrusted,
            "larger than",
        ),
        (JWKS, Reply::text("{}"), IdentityErrorKind::Untrusted, "JWK set"),
        (JWKS, Reply::Status(500), IdentityErrorKind::Connection, "status 500"),
        (JWKS, Reply::Status(429), IdentityErrorKind::Throttled, "status 429"),
        (DISCOVERY, Reply::Status(404), IdentityErrorKind::Connection, "status 404"),
        (
            DISCOVERY,
            Reply::json(&json!({"issuer": "https://example.org", "jwks_uri": "https://example.org/j"})),
            IdentityErrorKind::Untrusted,
            "that of `https://example.org`",
        ),
    ];
    for (path, reply, kind, why) in spoilt {
        let issuer = Issuer::new();
        issuer.server.set(path, reply);
        let error = refusal(&issuer, &issuer.token());
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(why), "`{why}`: {error}");
    }
}

#[test]
fn any_audience_must_be_said_and_there_must_be_one() {
    let issuer = Issuer::new();
    let file = TokenFile::with(&issuer.token_with(json!({"aud": "sts.amazonaws.com"})));
    let any = || issuer.settings(&file).any_audience().build().unwrap();
    any().workload_id().unwrap();
    file.put(issuer.token_with(json!({"aud": Value::Null})));
    assert!(any().workload_id().is_err());
    file.put(issuer.sign(changed(issuer.claims(), json!({"aud": "b"}))));
    let several = issuer.settings(&file).audience("a").audience("b").build().unwrap();
    several.workload_id().unwrap();
}
