//! `tests/vectors/verify_signatures/`: entries signed with ECDSA and RSA by another implementation, and what must
//! become of them. `tests/interop/python/sign_vectors.py` made them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;

use std::path::Path;

use kest_core::keys::KeyError;
use kest_core::verify::{Anchors, UnverifiedPassport};
use serde_json::{Value, json};
use verify_support::{cases, name_of};

fn vectors() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/verify_signatures");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect()
}

/// What becomes of a vector, in the form of its `expect`.
fn verdict(vector: &Value) -> Value {
    if let Err(error) = Anchors::from_json(vector["anchors"].to_string().as_bytes()) {
        let KeyError::Principal { source, .. } = error else { panic!("{error:?}") };
        let failure = format!("{source:?}").split(' ').next().unwrap().to_owned();
        return json!({"entry": null, "step": "anchors", "failure": failure});
    }
    let verifier = cases::verifier(&vector["anchors"], &vector["options"]);
    let passport = UnverifiedPassport::deserialize(&vector["passport"].to_string()).unwrap();
    match passport.verify(&verifier) {
        Ok(_) => Value::Null,
        Err(error) => json!({
            "entry": error.entry(),
            "step": error.step().as_str(),
            "failure": name_of(error.failure()),
        }),
    }
}

#[cfg(feature = "aws-lc")]
#[test]
fn every_file_gets_its_verdict() {
    let vectors = vectors();
    let wrong: Vec<String> = vectors
        .iter()
        .map(|vector| (vector, verdict(vector)))
        .filter(|(vector, found)| *found != vector["expect"])
        .map(|(vector, found)| format!("{}: {found} instead of {}", vector["name"], vector["expect"]))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let accepted = vectors.iter().filter(|vector| vector["expect"].is_null()).count();
    assert!(accepted >= 16 && vectors.len() - accepted >= 50, "{accepted} of {}", vectors.len());
}

/// Nothing is accepted; what can be told without checking a signature is told as with the feature.
#[cfg(not(feature = "aws-lc"))]
#[test]
fn without_aws_lc_nothing_is_accepted() {
    for vector in vectors() {
        let (found, expected) = (verdict(&vector), &vector["expect"]);
        let unchecked = json!({"entry": 0, "step": "signatures", "failure": "UnsupportedAlgorithm"});
        let same = match expected["failure"].as_str() {
            None | Some("Signature") => false,
            // Found on reading the key, and for this curve only with the feature.
            Some("Malformed") => vector["name"] != "es256_key_off_its_curve",
            Some(_) => true,
        };
        assert_eq!(found, if same { expected.clone() } else { unchecked }, "{}", vector["name"]);
    }
}

/// Every bit of the signature counts; every seventh is tried.
#[cfg(feature = "aws-lc")]
#[test]
fn no_bit_of_a_signature_may_change() {
    for vector in vectors() {
        let name = vector["name"].as_str().unwrap();
        if !matches!(name, "accepted_es256" | "accepted_es384" | "accepted_rs256" | "accepted_ps256") {
            continue;
        }
        let verifier = cases::verifier(&vector["anchors"], &vector["options"]);
        let jws = vector["passport"][0].as_str().unwrap();
        let (input, signature) = jws.rsplit_once('.').unwrap();
        let signature = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(signature).unwrap();
        for bit in (0..signature.len() * 8).step_by(7) {
            let mut other = signature.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let other = base64_simd::URL_SAFE_NO_PAD.encode_to_string(other);
            let passport: UnverifiedPassport = [format!("{input}.{other}")].into_iter().collect();
            let error = passport.verify(&verifier).unwrap_err();
            assert_eq!(name_of(error.failure()), "Signature", "{name}, bit {bit}");
        }
    }
}
