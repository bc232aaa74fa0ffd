//! For each check of the verifier a passport that only this check refuses, next to one that it accepts.

mod meaning;
mod schema;

use std::time::Duration;

use kest_core::jws::{Algorithm, EncodedHeader, Jws};
use kest_core::keys::{MOCK_KEY, hmac_sha256, mock_kid};
use kest_core::verify::{Anchors, Authority, Grant, Verifier, VerifierBuilder};
use serde_json::{Value, json};

use super::{NOW_MS, Workload, entry_id};

/// Who verifies what, and what comes of it. Everything in it can be written as JSON.
pub struct Case {
    pub name: &'static str,
    pub passport: Vec<String>,
    pub anchors: Value,
    pub options: Value,
    /// Entry, step and failure, or null for what is accepted.
    pub expect: Value,
}

/// Builds the verifier that `options` describes.
pub fn verifier(anchors: &Value, options: &Value) -> Verifier {
    builder(anchors, options).build()
}

pub fn builder(anchors: &Value, options: &Value) -> VerifierBuilder {
    let anchors = Anchors::from_json(anchors.to_string().as_bytes()).unwrap();
    let mut builder = Verifier::builder().keys(anchors);
    for (name, value) in options.as_object().unwrap() {
        builder = match name.as_str() {
            "expected_tip" => builder.expected_tip(value.as_str().unwrap()).unwrap(),
            "linear" => builder.linear(),
            "strict" => builder.strict(),
            "accept_mock" => builder.dangerous().accept_mock(),
            "ingress" => builder.ingress(
                value["now_ms"].as_u64().unwrap(),
                Duration::from_millis(value["max_age_ms"].as_u64().unwrap()),
                Duration::from_millis(value["skew_ms"].as_u64().unwrap()),
            ),
            "authority" => {
                let grant = |kind: &Value| match kind.as_str() {
                    Some("own") => Grant::own(),
                    Some("federated") => Grant::federated(),
                    _ => Grant::none(),
                };
                let rules = value.as_object().unwrap().iter().map(|(pattern, kind)| (pattern, grant(kind)));
                builder.authority(Authority::new(rules).unwrap())
            }
            other => panic!("{other}"),
        };
    }
    builder
}

struct Table {
    w: Workload,
    cases: Vec<Case>,
}

impl Table {
    fn refuse(
        &mut self,
        name: &'static str,
        passport: &[&str],
        entry: impl Into<Option<usize>>,
        step: &str,
        failure: &str,
    ) {
        let expect = json!({"entry": entry.into(), "step": step, "failure": failure});
        self.push(name, passport, json!({}), expect);
    }

    fn push(&mut self, name: &'static str, passport: &[&str], options: Value, expect: Value) {
        self.cases.push(Case {
            name,
            passport: passport.iter().map(|jws| (*jws).to_owned()).collect(),
            anchors: self.w.anchors().to_json(),
            options,
            expect,
        });
    }

    /// A lone root that an edit has spoiled.
    fn root(&mut self, name: &'static str, failure: &str, edit: impl FnOnce(&mut Value)) {
        let mut payload = self.w.root(0);
        edit(&mut payload);
        let jws = self.w.sign(&payload);
        let step = match failure {
            schema if schema.starts_with("Schema/") => "schema",
            "TooManyParents" | "TooManyTaints" => "schema",
            _ => "semantics",
        };
        self.refuse(name, &[jws.as_str()], 0, step, failure);
    }

    /// A root, and a child that an edit has spoiled.
    fn child(
        &mut self,
        name: &'static str,
        options: Value,
        step: &str,
        failure: &str,
        edit: impl FnOnce(&mut Value),
    ) {
        let root = self.w.sign(&self.w.root(0));
        let mut payload = self.w.child(1, &[&root]);
        edit(&mut payload);
        let child = self.w.sign(&payload);
        let expect = json!({"entry": 1, "step": step, "failure": failure});
        self.push(name, &[root.as_str(), child.as_str()], options, expect);
    }
}

pub fn all() -> Vec<Case> {
    let mut table = Table { w: Workload::new(1), cases: Vec::new() };
    accepted(&mut table);
    envelope(&mut table);
    headers(&mut table);
    schema::schema(&mut table);
    links(&mut table);
    keys(&mut table);
    meaning::semantics(&mut table);
    meaning::authority(&mut table);
    meaning::ends(&mut table);
    table.cases
}

fn accepted(t: &mut Table) {
    let chain = t.w.chain(3);
    let strs: Vec<&str> = chain.iter().map(Jws::as_str).collect();
    let tip = json!({"expected_tip": chain[2].hash_hex(), "linear": true, "strict": true});
    t.push("accepted_chain", &strs, tip, Value::Null);
    t.push("accepted_empty", &[], json!({}), Value::Null);
    let mut source = t.w.root(0);
    source["added_taints"] = json!(["pii", "raw"]);
    source["taints"] = json!(["pii", "raw"]);
    let source = t.w.sign(&source);
    let other = t.w.sign(&t.w.root(1));
    let mut clean = t.w.child(2, &[&source]);
    clean["classification"] = json!("sanitizer");
    clean["removed_taints"] = json!(["raw"]);
    clean["taints"] = json!(["pii"]);
    clean["trust_score"] = json!(95);
    clean["metadata"]["trust"]["override"] = json!(95);
    let clean = t.w.sign(&clean);
    let mut join = t.w.child(3, &[&clean, &other]);
    join["taints"] = json!(["pii"]);
    let join = t.w.sign(&join);
    let mut done = t.w.child(4, &[&join]);
    done["classification"] = json!("completion");
    done["metadata"]["policies"] = json!({});
    done["policy_context"]["function_policies"] = json!([]);
    done["taints"] = json!(["pii"]);
    done["metadata"]["completes"] = json!(entry_id(2));
    done["metadata"]["outcome"] = json!("ok");
    done["content_hash"] = json!(source.hash_hex());
    let done = t.w.sign(&done);
    let dag = [&source, &other, &clean, &join, &done].map(Jws::as_str);
    t.push("accepted_dag", &dag, json!({"expected_tip": done.hash_hex(), "strict": true}), Value::Null);
    let header = EncodedHeader::new(Algorithm::Hs256, mock_kid());
    let payload = kest_core::canonical::to_vec(&t.w.root(0)).unwrap();
    let mock = header.sign(&payload, |input| Ok::<_, ()>(hmac_sha256(MOCK_KEY, input))).unwrap();
    t.push("accepted_mock", &[mock.as_str()], json!({"accept_mock": true}), Value::Null);
    t.cases.last_mut().unwrap().anchors = json!({});
    t.refuse("mock_not_accepted", &[mock.as_str()], 0, "parse", "MockNotAccepted");
    t.push(
        "mock_for_an_anchored_principal",
        &[mock.as_str()],
        json!({"accept_mock": true}),
        json!({"entry": 0, "step": "signatures", "failure": "UnknownKey"}),
    );
}

fn envelope(t: &mut Table) {
    let root = t.w.sign(&t.w.root(0));
    let root = root.as_str();
    let [header, payload, signature] = root.split('.').collect::<Vec<_>>()[..] else { panic!() };
    t.refuse("two_segments", &[&format!("{header}.{payload}")], 0, "parse", "Segments");
    t.refuse("fourth_segment", &[&format!("{root}.")], 0, "parse", "Segments");
    t.refuse("junk_base64", &[&format!("{header}.{payload}.{}*", &signature[1..])], 0, "parse", "Base64");
    t.refuse("padded_base64", &[&format!("{root}==")], 0, "parse", "Base64");
    // 86 characters carry four bits more than 64 bytes; setting one of them changes no byte.
    let last = signature.bytes().last().unwrap();
    let loose = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').find(|c| *c == last + 1).unwrap();
    let loose = format!("{}{}", &root[..root.len() - 1], char::from(loose));
    t.refuse("non_canonical_base64", &[&loose], 0, "parse", "Base64");
    let canonical = kest_core::canonical::to_vec(&t.w.root(0)).unwrap();
    let text = String::from_utf8(canonical).unwrap();
    let spaced = t.w.sign_bytes(text.replacen(':', ": ", 1).as_bytes());
    t.refuse("non_canonical_payload", &[spaced.as_str()], 0, "parse", "Payload");
    let twice = t.w.sign_bytes(text.replacen("\"taints\":[],", "\"taints\":[],\"taints\":[],", 1).as_bytes());
    t.refuse("duplicate_json_keys", &[twice.as_str()], 0, "parse", "Payload");
    let large = {
        let mut payload = t.w.root(0);
        payload["labels"]["note"] = json!("x".repeat(64 * 1024));
        t.w.sign(&payload)
    };
    t.refuse("payload_too_large", &[large.as_str()], 0, "parse", "TooLarge");
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    t.refuse(
        "wrong_signature",
        &[&format!("{header}.{payload}.{flipped}{}", &signature[1..])],
        0,
        "signatures",
        "Signature",
    );
    t.refuse("empty_signature", &[&format!("{header}.{payload}.")], 0, "signatures", "Signature");
}

fn headers(t: &mut Table) {
    let kid = t.w.jwk().thumbprint();
    let payload = t.w.root(0);
    let foreign = Workload::foreign(payload.clone());
    let cases = [
        ("alg_none", format!(r#"{{"alg":"none","kid":"{kid}","typ":"JWS"}}"#), "Algorithm"),
        ("alg_mock", format!(r#"{{"alg":"mock","kid":"{kid}","typ":"JWS"}}"#), "Algorithm"),
        ("alg_missing", format!(r#"{{"kid":"{kid}","typ":"JWS"}}"#), "HeaderMalformed"),
        (
            "crit_header",
            format!(r#"{{"alg":"EdDSA","crit":["exp"],"exp":1,"kid":"{kid}","typ":"JWS"}}"#),
            "HeaderMember",
        ),
        ("b64_header", format!(r#"{{"alg":"EdDSA","b64":true,"kid":"{kid}","typ":"JWS"}}"#), "HeaderMember"),
        (
            "unknown_header",
            format!(r#"{{"alg":"EdDSA","cty":"json","kid":"{kid}","typ":"JWS"}}"#),
            "HeaderMember",
        ),
        ("typ_missing", format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#), "HeaderMalformed"),
        ("typ_other", format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"JWT"}}"#), "HeaderMalformed"),
        ("kid_missing", r#"{"alg":"EdDSA","typ":"JWS"}"#.to_owned(), "HeaderMalformed"),
        ("kid_not_a_string", r#"{"alg":"EdDSA","kid":7,"typ":"JWS"}"#.to_owned(), "HeaderMalformed"),
        (
            "x5c_malformed",
            format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"JWS","x5c":["-_"]}}"#),
            "HeaderMalformed",
        ),
        (
            "duplicate_header",
            format!(r#"{{"alg":"EdDSA","alg":"EdDSA","kid":"{kid}","typ":"JWS"}}"#),
            "HeaderJson",
        ),
        ("header_not_an_object", "[]".to_owned(), "HeaderMalformed"),
    ];
    for (name, header, failure) in cases {
        let jws = t.w.sign_with_header(&header, &payload);
        t.refuse(name, &[&jws], 0, "parse", failure);
    }
    // In a foreign header too: a key never comes with its signature.
    for (name, member) in [
        ("foreign_jwk_header", r#""jwk":{"kty":"OKP"}"#),
        ("foreign_jku_header", r#""jku":"https://example.org/keys""#),
        ("foreign_x5u_header", r#""x5u":"https://example.org/cert""#),
        ("foreign_crit_header", r#""crit":["exp"]"#),
    ] {
        let jws = t.w.sign_with_header(&format!(r#"{{"alg":"EdDSA",{member}}}"#), &foreign);
        t.refuse(name, &[&jws], 0, "parse", "HeaderMember");
    }
    let jws = t.w.sign_with_header(r#"{"alg":"EdDSA","cty":"json"}"#, &foreign);
    t.push("accepted_foreign_header", &[&jws], json!({}), Value::Null);
}

fn links(t: &mut Table) {
    let chain = t.w.chain(4);
    let [a, b, c, d] = [0, 1, 2, 3].map(|index: usize| chain[index].as_str());
    t.refuse("truncated_front", &[b, c, d], 0, "links", "UnknownParent");
    t.refuse("reordered", &[a, c, b], 1, "links", "UnknownParent");
    t.refuse("missing_middle", &[a, b, d], 2, "links", "UnknownParent");
    t.refuse("duplicate_entry", &[a, b, b], 2, "links", "DuplicateEntry");
    let mut again = t.w.child(0, &[&chain[0]]);
    again["timestamp_ms"] = json!(NOW_MS + 9);
    let again = t.w.sign(&again);
    t.refuse("repeated_entry_id", &[a, again.as_str()], 1, "links", "RepeatedEntryId");
}

fn keys(t: &mut Table) {
    let stranger = Workload::new(2);
    let jws = stranger.sign(&stranger.root(0));
    t.refuse("unknown_principal", &[jws.as_str()], 0, "principals", "UnknownPrincipal");
    let payload = t.w.root(0);
    let forged = stranger.sign(&payload);
    t.refuse("unknown_key", &[forged.as_str()], 0, "signatures", "UnknownKey");
    let kid = t.w.jwk().thumbprint();
    let forged =
        stranger.sign_with_header(&format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"JWS"}}"#), &payload);
    t.refuse("signed_with_another_key", &[&forged], 0, "signatures", "Signature");
    let foreign = stranger.sign_with_header(r#"{"alg":"EdDSA"}"#, &Workload::foreign(payload.clone()));
    t.refuse("foreign_signed_with_another_key", &[&foreign], 0, "signatures", "Signature");
    let confused = t.w.sign_with_header(&format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWS"}}"#), &payload);
    t.refuse("alg_does_not_fit_the_key", &[&confused], 0, "signatures", "AlgorithmMismatch");
    let x5c = |der: &[u8]| {
        let der = base64_simd::STANDARD.encode_to_string(der);
        format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"JWS","x5c":["{der}"]}}"#)
    };
    let broken = t.w.sign_with_header(&x5c(&[0x30, 0x03, 2, 1]), &payload);
    t.refuse("certificate_truncated", &[&broken], 0, "signatures", "Certificate");
    let other = t.w.sign_with_header(&x5c(&certificate(&stranger.jwk().to_spki())), &payload);
    t.refuse("certificate_of_another_key", &[&other], 0, "signatures", "CertificateKey");
    let right = t.w.sign_with_header(&x5c(&certificate(&t.w.jwk().to_spki())), &payload);
    t.push("accepted_certificate", &[&right], json!({}), Value::Null);
}

/// As much of a certificate as carries a key: RFC 5280 §4.1.
fn certificate(spki: &[u8]) -> Vec<u8> {
    let der = |tag: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap();
        let mut out = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
        out.extend_from_slice(content);
        out
    };
    let algorithm = der(0x30, &[0x06, 3, 0x2b, 0x65, 0x70]);
    let time = |text: &str| der(0x17, text.as_bytes());
    let fields = [
        der(0xa0, &der(2, &[2])),
        der(2, &[1]),
        algorithm.clone(),
        der(0x30, &[]),
        der(0x30, &[time("261121000000Z"), time("361121000000Z")].concat()),
        der(0x30, &[]),
        spki.to_vec(),
    ];
    der(0x30, &[der(0x30, &fields.concat()), algorithm, der(3, &[&[0_u8][..], &[7; 64]].concat())].concat())
}
