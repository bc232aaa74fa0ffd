//! `Jwk::from_spki`: what `to_spki` writes, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use kest_core::jws::Algorithm;
use kest_core::keys::{Jwk, KeyError};
use proptest::prelude::*;
use serde_json::{Value, json};

/// RFC 7517 §A.1, RFC 8037 §A.2; the P-384 key is the base point.
fn keys() -> Vec<Jwk> {
    let read = |jwk: Value| Jwk::from_json(&jwk).unwrap();
    vec![
        read(json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})),
        read(json!({
            "kty": "EC", "crv": "P-256",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        })),
        read(json!({
            "kty": "EC", "crv": "P-384",
            "x": "qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3",
            "y": "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f",
        })),
        rsa(&[0xb1; 256], &[1, 0, 1]),
    ]
}

fn rsa(n: &[u8], e: &[u8]) -> Jwk {
    let b64 = |bytes: &[u8]| base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes);
    Jwk::from_json(&json!({"kty": "RSA", "n": b64(n), "e": b64(e)})).unwrap()
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [&head[..], content].concat()
}

fn spki(algorithm: &[u8], bits: &[u8]) -> Vec<u8> {
    der(0x30, &[der(0x30, algorithm), der(0x03, bits)].concat())
}

fn rsa_spki(n: &[u8], e: &[u8]) -> Vec<u8> {
    let key = der(0x30, &[der(2, n), der(2, e)].concat());
    spki(RSA, &[&[0][..], &key].concat())
}

const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
const P256: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

#[test]
fn keys_go_round() {
    let algorithms = [Some(Algorithm::EdDsa), Some(Algorithm::Es256), Some(Algorithm::Es384), None];
    for (key, alg) in keys().into_iter().zip(algorithms) {
        let back = Jwk::from_spki(&key.to_spki()).unwrap();
        assert_eq!(back.thumbprint(), key.thumbprint());
        assert_eq!(back.to_spki(), key.to_spki());
        assert_eq!((back.algorithm(), back.kid()), (alg, None));
    }
    assert!(keys()[3].accepts(Algorithm::Rs256) && keys()[3].accepts(Algorithm::Ps256));
}

#[test]
fn what_is_cut_or_continued_is_refused() {
    for key in keys() {
        let spki = key.to_spki();
        for end in 0..spki.len() {
            assert!(Jwk::from_spki(&spki[..end]).is_err(), "{end}");
        }
        let longer = [&spki[..], &[0]].concat();
        assert!(matches!(Jwk::from_spki(&longer), Err(KeyError::Spki { why: "is followed by more" })));
    }
}

#[track_caller]
fn refused(spki: &[u8], text: &str) {
    let error = Jwk::from_spki(spki).unwrap_err();
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn every_other_form_is_refused() {
    let [ed25519, p256, ..] = &keys()[..] else { panic!("four keys") };
    let point = p256.to_spki()[26..].to_vec();
    assert_eq!(point[0], 4);
    let bits = [&[0][..], &point].concat();
    assert_eq!(spki(P256, &bits), p256.to_spki());
    // The parameters: another curve, none, and some where none belong.
    let secp256k1 = [&P256[..9], &[6, 5, 0x2b, 0x81, 4, 0, 10]].concat();
    refused(&spki(&secp256k1, &bits), "unsupported key algorithm identifier");
    refused(&spki(&P256[..9], &bits), "unsupported key algorithm identifier");
    let ed25519_bits = [&[0][..], ed25519.as_ed25519().unwrap()].concat();
    refused(&spki(&[6, 3, 0x2b, 0x65, 0x70, 5, 0], &ed25519_bits), "unsupported key algorithm identifier");
    refused(&spki(&[6, 3, 0x2b, 0x65, 0x6e], &ed25519_bits), "unsupported key algorithm identifier");
    // The point: compressed, at infinity, hybrid, cut, and of another curve.
    let compressed = [&[0, 2 | (point[64] & 1)][..], &point[1..33]].concat();
    refused(&spki(P256, &compressed), "compressed point; write it uncompressed");
    refused(&spki(P256, &[0, 0]), "no point of its curve");
    refused(&spki(P256, &[&[0, 6][..], &point[1..]].concat()), "no point of its curve");
    refused(&spki(P256, &bits[..65]), "no point of its curve");
    refused(&spki(P256, &[0]), "no point of its curve");
    let p384_bits = [&[0][..], &keys()[2].to_spki()[23..]].concat();
    refused(&spki(P256, &p384_bits), "no point of its curve");
    // The bit string: unused bits, empty, another type.
    refused(&spki(P256, &[&[1][..], &point].concat()), "holds no whole key");
    refused(&spki(P256, &[]), "holds no whole key");
    refused(&der(0x30, &[der(0x30, P256), der(0x04, &bits)].concat()), "holds no whole key");
    refused(&der(0x31, &[der(0x30, P256), der(0x03, &bits)].concat()), "is no sequence");
    refused(&der(0x30, &[der(0x31, P256), der(0x03, &bits)].concat()), "names no algorithm");
    let third = der(0x30, &[der(0x30, P256), der(0x03, &bits), der(5, &[])].concat());
    refused(&third, "is followed by more");
    // Weak, and not in its canonical form.
    let identity: [u8; 33] = std::array::from_fn(|n| u8::from(n == 1));
    refused(&spki(&[6, 3, 0x2b, 0x65, 0x70], &identity), "is a weak key");
    let over: [u8; 33] = std::array::from_fn(|n| if n == 0 { 0 } else { 0xff });
    refused(&spki(&[6, 3, 0x2b, 0x65, 0x70], &over), "is not the canonical form of its point");
}

#[test]
fn rsa_keys_have_a_size() {
    let n = |bytes: usize, first: u8| [&[0, first][..], &vec![0xff; bytes - 1]].concat();
    let small = |bytes: usize, first: u8| [&[first][..], &vec![0xff; bytes - 1]].concat();
    let e: &[u8] = &[1, 0, 1];
    for ok in [rsa_spki(&n(256, 0x80), e), rsa_spki(&n(1024, 0x80), e), rsa_spki(&n(256, 0x80), &[3])] {
        assert_eq!(Jwk::from_spki(&ok).unwrap().to_spki(), ok);
    }
    refused(&rsa_spki(&n(128, 0x80), e), "is outside 2048 to 8192 bits");
    refused(&rsa_spki(&small(256, 0x7f), e), "is outside 2048 to 8192 bits");
    refused(&rsa_spki(&small(1025, 1), e), "is outside 2048 to 8192 bits");
    refused(&rsa_spki(&n(256, 0x80), &[1]), "is no usable exponent");
    refused(&rsa_spki(&n(256, 0x80), &[4]), "is no usable exponent");
    refused(&rsa_spki(&n(256, 0x80), &[1, 0, 0, 0, 1]), "is no usable exponent");
    let mut even = n(256, 0x80);
    even[256] = 0xfe;
    refused(&rsa_spki(&even, e), "`n` is even");
    // Negative, zero, and with a zero too many.
    refused(&rsa_spki(&small(256, 0x80), e), "holds no RSA key");
    refused(&rsa_spki(&[0], e), "holds no RSA key");
    refused(&rsa_spki(&[&[0][..], &n(256, 0x80)].concat(), e), "holds no RSA key");
    let three = der(0x30, &[der(2, &n(256, 0x80)), der(2, e), der(2, e)].concat());
    refused(&spki(RSA, &[&[0][..], &three].concat()), "holds more than an RSA key");
    let twice = [&[0][..], &der(0x30, &[der(2, &n(256, 0x80)), der(2, e)].concat()), &[0]].concat();
    refused(&spki(RSA, &twice), "holds more than an RSA key");
    // Without the NULL that RFC 3279 §2.3.1 asks for.
    let key = [&[0][..], &der(0x30, &[der(2, &n(256, 0x80)), der(2, e)].concat())].concat();
    refused(&spki(&RSA[..11], &key), "unsupported key algorithm identifier");
}

#[test]
fn lengths_are_as_short_as_can_be() {
    let spki = keys()[0].to_spki();
    let long = [&[0x30, 0x81, spki[1]][..], &spki[2..]].concat();
    refused(&long, "has a length that DER does not allow");
    refused(&[0x30, 0x80, 0, 0], "has a length that DER does not allow");
    refused(&[0x3f, 0x81, 0], "has a tag that no key has");
    refused(&[], "ends too early");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Whatever is read is what would be written.
    #[test]
    fn one_key_has_one_form(
        which in 0..4_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 0..4),
    ) {
        let mut spki = keys()[which].to_spki();
        for (index, flip) in flips {
            *index.get_mut(&mut spki) ^= flip;
        }
        if let Ok(key) = Jwk::from_spki(&spki) {
            prop_assert_eq!(key.to_spki(), spki);
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(key) = Jwk::from_spki(&bytes) {
            prop_assert_eq!(key.to_spki(), bytes);
        }
    }
}
