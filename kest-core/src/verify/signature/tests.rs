//! What the many entries of few SVIDs cost.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType};

use super::*;
use crate::jws::EncodedHeader;
use crate::verify::bundle::TrustBundles;
use crate::verify::jose::Parser;

const NOW_S: u64 = 1_795_304_503;
const PRINCIPAL: &str = "spiffe://example.org/orders";

fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The header of an SVID that is valid for an hour after `from_s`.
fn header(ca: &CertifiedIssuer<'static, KeyPair>, from_s: u64) -> EncodedHeader {
    let at = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(PRINCIPAL.try_into().unwrap())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = (at(from_s), at(from_s + 3_600));
    let leaf = params.signed_by(&key, ca).unwrap();
    EncodedHeader::with_x5c(Algorithm::EdDsa, "kid", &[leaf.der().to_vec()])
}

/// Of another implementation, and of that time: short, and its signature is not looked at here.
fn entry(header: &EncodedHeader, at_ms: u64) -> String {
    let payload = format!(
        concat!(
            r#"{{"added_taints":[],"classification":"system","content_hash":"","entry_id":"#,
            r#""019a0b0c-0d0e-7f10-8112-000000000001","environment":{{}},"input_hash":"","labels":{{"principal":"{}","#,
            r#""trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}},"metadata":{{}},"operation":"op","otel_context":{{}},"#,
            r#""parent_ids":["0"],"policy_context":{{"app_policies":[],"deviations":[],"enterprise_policies":[],"#,
            r#""function_policies":[],"platform_policies":[]}},"removed_taints":[],"runtime":{{"name":"other","version":"1"}},"#,
            r#""schema_version":"0.3.0","taints":[],"timestamp_ms":{},"trust_score":10}}"#,
        ),
        PRINCIPAL, at_ms
    );
    header.sign(payload.as_bytes(), |_| Ok::<_, ()>([0; 64])).unwrap().into_string()
}

/// How many chains are validated for these entries.
fn validations(ca: &CertifiedIssuer<'static, KeyPair>, entries: &[String]) -> usize {
    let mut bundles = TrustBundles::new();
    bundles.insert(Authorities::from_der("example.org", [ca.der()]).unwrap()).unwrap();
    let verifier = Verifier::new(bundles);
    let mut parser = Parser::new(&verifier.options.limits, false);
    let parsed: Vec<Parsed> = entries.iter().map(|jws| parser.parse(jws, None).unwrap()).collect();
    let principals = Principals::collect(&parsed);
    assert_eq!(principals.ids, [PRINCIPAL]);
    let resolved = resolve(&verifier, &principals, &parsed).map_err(|(_, _, failure)| failure).unwrap();
    assert_eq!(resolved.leaf_of.len(), entries.len());
    assert!(resolved.leaf_of.iter().all(|leaf| resolved.leaves.get(*leaf).is_some()));
    resolved.leaves.len()
}

#[test]
fn ten_thousand_entries_of_one_svid_cost_one_validation() {
    let ca = ca();
    let header = header(&ca, NOW_S);
    let entries: Vec<String> = (0..10_000).map(|n| entry(&header, NOW_S * 1_000 + n)).collect();
    assert_eq!(validations(&ca, &entries), 1);
}

#[test]
fn svids_cost_one_validation_each_in_whatever_order_they_come() {
    let ca = ca();
    let headers: Vec<EncodedHeader> = (0..20).map(|n| header(&ca, NOW_S + n * 60)).collect();
    // More of them than headers are remembered while entries are parsed.
    let entries: Vec<String> =
        (0..2_000).map(|n| entry(&headers[n % headers.len()], (NOW_S + 1_800) * 1_000)).collect();
    assert_eq!(validations(&ca, &entries), 20);
}
