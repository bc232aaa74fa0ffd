//! Keys, thumbprints and signatures against the examples of their RFCs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;

use ed25519_dalek::{Signer, SigningKey};
use kest_core::jws::{Algorithm, EncodedHeader};
use kest_core::keys::{Jwk, Jwks, KeyError, MOCK_KEY, hmac_sha256, mock_kid};
use serde_json::{Value, json};

fn b64(text: &str) -> Vec<u8> {
    base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).unwrap()
}

fn rfc8037() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/rfc8037/a4.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn rfc_8037_a3_thumbprint() {
    let vector = rfc8037();
    let public: [u8; 32] = b64(vector["jwk_private"]["x"].as_str().unwrap()).try_into().unwrap();
    assert_eq!(Jwk::ed25519(&public).thumbprint(), vector["thumbprint"]);
}

#[test]
fn rfc_8037_a4_signature() {
    let vector = rfc8037();
    let seed: [u8; 32] = b64(vector["jwk_private"]["d"].as_str().unwrap()).try_into().unwrap();
    let key = SigningKey::from_bytes(&seed);
    let jws = vector["jws"].as_str().unwrap();
    let (input, _) = jws.rsplit_once('.').unwrap();
    let encode = |text: &Value| base64_simd::URL_SAFE_NO_PAD.encode_to_string(text.as_str().unwrap());
    assert_eq!(input, format!("{}.{}", encode(&vector["protected"]), encode(&vector["payload"])));
    let made = EncodedHeader::assemble(input.to_owned(), &key.sign(input.as_bytes()).to_bytes());
    assert_eq!(made.as_str(), jws);
}

/// RFC 7638 §3.1.
const RSA_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

#[test]
fn rfc_7638_thumbprint_of_an_rsa_key() {
    let jwk = json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
    let jwk = Jwk::from_json(&jwk).unwrap();
    assert_eq!(jwk.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    assert!(
        jwk.accepts(Algorithm::Rs256) && !jwk.accepts(Algorithm::Ps256) && !jwk.accepts(Algorithm::EdDsa)
    );
    assert_eq!(jwk.kid(), Some("2011-04-29"));
}

/// RFC 4231 §4.2 to §4.8, without the truncated one.
#[test]
fn rfc_4231_hmac() {
    let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let cases: [(&[u8], &[u8], &str); 6] = [
        (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            &std::array::from_fn::<u8, 25, _>(|n| n as u8 + 1),
            &[0xcd; 50],
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            &[0xaa; 131],
            b"This is a test using a larger than block-size key and a larger than block-size data. \
              The key needs to be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ];
    for (key, message, expected) in cases {
        assert_eq!(hex(hmac_sha256(key, message)), expected);
    }
}

#[test]
fn the_mock_kid_is_the_thumbprint_of_the_mock_key() {
    let k = base64_simd::URL_SAFE_NO_PAD.encode_to_string(MOCK_KEY);
    assert_eq!(mock_kid().len(), 43);
    let oct = Jwk::from_json(&json!({"kty": "oct", "k": k, "alg": "HS256"}));
    assert!(matches!(oct, Err(KeyError::Private { member: "k" })), "the mock key is nobody's anchor");
}

/// RFC 8410 §10.1, and a P-256 and an RSA key as OpenSSL writes them.
#[test]
fn pem_is_a_subject_public_key_info() {
    let x = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE";
    let jwk = Jwk::from_json(&json!({"kty": "OKP", "crv": "Ed25519", "x": x})).unwrap();
    assert_eq!(
        jwk.to_pem().unwrap(),
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
         -----END PUBLIC KEY-----\n"
    );
    let p256 = json!({
        "kty": "EC", "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    });
    let spki = Jwk::from_json(&p256).unwrap().to_spki();
    let head = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE";
    assert!(base64_simd::STANDARD.encode_to_string(&spki).starts_with(head));
    assert_eq!(spki.len(), 91);
    let rsa = Jwk::from_json(&json!({"kty": "RSA", "n": RSA_N, "e": "AQAB"})).unwrap();
    let pem = rsa.to_pem().unwrap();
    assert!(
        pem.starts_with("-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"),
        "{pem}"
    );
    assert!(pem.contains("AgMBAAE=") || pem.contains("IDAQAB\n"), "{pem}");
    assert!(pem.lines().all(|line| line.len() <= 64));
    assert_eq!(rsa.to_spki().len(), 294);
}

#[test]
fn json_goes_round() {
    let public: [u8; 32] = SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes();
    let jwk = Jwk::ed25519(&public);
    let json = jwk.to_json();
    assert_eq!(json["kid"], jwk.thumbprint());
    assert_eq!((&json["use"], &json["alg"], &json["kty"]), (&json!("sig"), &json!("EdDSA"), &json!("OKP")));
    let back = Jwk::from_json(&json).unwrap();
    assert_eq!(back.thumbprint(), jwk.thumbprint());
    assert_eq!(back.to_json(), json);
    let set = Jwks(vec![back]);
    assert_eq!(Jwks::from_json(&set.to_json()).unwrap(), set);
}

#[test]
fn unusable_keys_are_refused() {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let okp = |extra: Value| {
        let mut jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        jwk.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Jwk::from_json(&jwk)
    };
    assert!(okp(json!({})).is_ok());
    assert!(okp(json!({"key_ops": ["verify"], "use": "sig", "x5t": "ignored"})).is_ok());
    assert!(matches!(okp(json!({"d": "AA"})), Err(KeyError::Private { member: "d" })));
    assert!(matches!(okp(json!({"alg": "ES256"})), Err(KeyError::Mismatch { .. })));
    assert!(matches!(okp(json!({"alg": "none"})), Err(KeyError::Unsupported { what: "alg", .. })));
    assert!(matches!(okp(json!({"use": "enc"})), Err(KeyError::Purpose { .. })));
    assert!(matches!(okp(json!({"key_ops": ["sign"]})), Err(KeyError::Purpose { .. })));
    assert!(matches!(okp(json!({"kty": "EC"})), Err(KeyError::Unsupported { what: "crv", .. })));
    assert!(matches!(okp(json!({"crv": "X25519"})), Err(KeyError::Unsupported { what: "crv", .. })));
    assert!(matches!(okp(json!({"x": "AQ"})), Err(KeyError::Malformed { member: "x", .. })));
    // Padded, and with bits set that stand for nothing.
    assert!(matches!(okp(json!({"x": format!("{x}=")})), Err(KeyError::Malformed { member: "x", .. })));
    assert!(matches!(
        okp(json!({"x": x.replace("URo", "URp")})),
        Err(KeyError::Malformed { member: "x", .. })
    ));
    // Not on the curve, and of small order.
    assert!(matches!(
        okp(json!({"x": "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"})),
        Err(KeyError::Malformed { .. })
    ));
    assert!(matches!(
        okp(json!({"x": "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"})),
        Err(KeyError::Malformed { .. })
    ));
    let rsa = |n: &str, e: &str| Jwk::from_json(&json!({"kty": "RSA", "n": n, "e": e}));
    assert!(rsa(RSA_N, "AQAB").is_ok());
    assert!(matches!(rsa(&RSA_N[..172], "AQAB"), Err(KeyError::Malformed { member: "n", .. })), "1024 bits");
    assert!(matches!(rsa(RSA_N, "AQ"), Err(KeyError::Malformed { member: "e", .. })), "e = 1");
    assert!(matches!(rsa(RSA_N, "Ag"), Err(KeyError::Malformed { member: "e", .. })), "e = 2");
    let ec = json!({"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"});
    assert!(matches!(Jwk::from_json(&ec), Err(KeyError::Malformed { .. })));
    for not_a_set in [json!([]), json!({}), json!({"keys": {}}), json!({"keys": [1]})] {
        assert!(Jwks::from_json(&not_a_set).is_err(), "{not_a_set}");
    }
}
