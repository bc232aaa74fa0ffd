//! `--bundle`: passports of workloads that sign with X.509-SVIDs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kest_core::keys::Jwk;
use kest_core::verify::{Authorities, TrustBundles};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, SignatureAlgorithm,
};
use support::{Lineage, PRINCIPAL, Run, run_in};

const SIGNED_S: u64 = 1_795_304_503;

fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The public key of a lineage, as rcgen wants it.
struct Public([u8; 32]);

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

fn svid(ca: &CertifiedIssuer<'static, KeyPair>, key: &Jwk, until_s: u64) -> Vec<u8> {
    let at = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(PRINCIPAL.try_into().unwrap())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = (at(SIGNED_S - 60), at(until_s));
    params.signed_by(&Public(*key.as_ed25519().unwrap()), ca).unwrap().der().to_vec()
}

/// A folder with `passport.json`, its `anchors.json`, and the bundle of the authority in three forms.
fn folder_of(ca: &CertifiedIssuer<'static, KeyPair>, until_s: u64) -> PathBuf {
    let mut lineage = Lineage::new();
    lineage.chain = vec![svid(ca, &lineage.jwk(), until_s)];
    lineage.add(&[], |_| {}).add(&[0], |_| {});
    let folder = lineage.write();
    write_bundles(&folder, ca);
    folder
}

fn write_bundles(folder: &Path, ca: &CertifiedIssuer<'static, KeyPair>) {
    let authorities = Authorities::from_der("example.org", [ca.der()]).unwrap();
    let mut bundles = TrustBundles::new();
    bundles.insert(authorities.clone()).unwrap();
    fs::write(folder.join("map.json"), bundles.to_json().to_string()).unwrap();
    fs::write(folder.join("spiffe.json"), authorities.to_json().to_string()).unwrap();
    fs::write(folder.join("root.pem"), ca.pem()).unwrap();
    fs::write(folder.join("a=b.json"), bundles.to_json().to_string()).unwrap();
}

fn good() -> PathBuf {
    folder_of(&ca(), SIGNED_S + 60)
}

fn verify(folder: &Path, more: &[&str]) -> Run {
    run_in(folder, &[&["verify", "passport.json"], more].concat())
}

#[test]
fn each_form_of_a_bundle_is_taken() {
    let folder = good();
    for bundle in [
        "map.json",
        "example.org=root.pem",
        "example.org=spiffe.json",
        "./a=b.json",
        "example.org=./root.pem",
        "spiffe://example.org=root.pem",
    ] {
        let run = verify(&folder, &["--bundle", bundle]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{bundle}: {}", run.stdout);
        let identity =
            "identity      pass         its one principal is anchored, by certificates of `example.org`";
        assert!(run.stdout.contains(identity), "{bundle}: {}", run.stdout);
        assert!(run.stdout.contains("certificates were valid at the times asserted"), "{}", run.stdout);
    }
    // Several, and the same one twice.
    let others =
        ["--bundle", "partner.example=root.pem", "--bundle", "example.org=root.pem", "--bundle", "map.json"];
    assert_eq!(verify(&folder, &others).code, 0);
}

#[test]
fn pinned_keys_go_before_bundles() {
    let folder = good();
    let run = verify(&folder, &["--anchors", "anchors.json", "--bundle", "map.json"]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.stdout.contains("its one principal is anchored\n"), "{}", run.stdout);
    assert!(run.stdout.contains("was not validated"), "{}", run.stdout);
}

#[test]
fn a_bad_chain_is_refused_with_what_to_do() {
    let folder = good();
    let run = verify(&folder, &["--bundle", "partner.example=root.pem"]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""));
    assert!(
        run.stdout.contains("get the trust bundle of `example.org` from whoever runs it"),
        "{}",
        run.stdout
    );
    let other = ca();
    write_bundles(&folder, &other);
    let run = verify(&folder, &["--bundle", "map.json"]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("step          principals\n"), "{}", run.stdout);
    assert!(
        run.stdout.contains("identity      fail         entry 0: the certificate chain"),
        "{}",
        run.stdout
    );

    let expired = folder_of(&ca(), SIGNED_S - 1);
    let run = verify(&expired, &["--bundle", "map.json"]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("was expired at the time of the entry, by 1 s"), "{}", run.stdout);
    assert!(run.stdout.contains("to do         an entry outside the validity"), "{}", run.stdout);
}

#[test]
fn somebody_must_be_trusted() {
    let folder = good();
    let run = verify(&folder, &[]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("--anchors") && run.stderr.contains("--bundle"), "{}", run.stderr);
}

#[test]
fn unusable_bundles_are_no_verdict() {
    let folder = good();
    let refused = |bundle: &str, reason: &str| verify(&folder, &["--bundle", bundle]).unusable(reason);
    fs::write(folder.join("empty.pem"), "nothing").unwrap();
    fs::write(folder.join("binary"), [0xff, 0xfe]).unwrap();
    fs::write(folder.join("leaf.pem"), {
        let leaf = base64_simd::STANDARD.encode_to_string(svid(&ca(), &Lineage::new().jwk(), SIGNED_S));
        format!("-----BEGIN CERTIFICATE-----\n{leaf}\n-----END CERTIFICATE-----\n")
    })
    .unwrap();
    refused("missing.json", "cannot read the trust bundle `missing.json`");
    refused("-", "trust bundles are read from files");
    refused("example.org=-", "trust bundles are read from files");
    refused("root.pem", "`root.pem`: the trust bundle cannot be read");
    refused("spiffe.json", "`trust_domains` is missing");
    refused("anchors.json", "`trust_domains` is missing");
    refused("example.org=map.json", "`keys` is missing");
    refused("example.org=empty.pem", "has no certificate");
    refused("example.org=binary", "is not text");
    refused("example.org=leaf.pem", "may not sign others");
    for name in ["Example.org", "spiffe://Example.org", "spiffe://example.org/orders", "./a"] {
        let reason = format!("`{name}` is no trust domain, and no file is named `{name}=root.pem`; write");
        refused(&format!("{name}=root.pem"), &format!("{reason} `example.org=FILE`"));
    }
    refused("spiffe://example.org=missing.pem", "cannot read the trust bundle `missing.pem`");
    // Two bundles of one trust domain.
    fs::write(folder.join("other.pem"), ca().pem()).unwrap();
    let twice = ["--bundle", "example.org=root.pem", "--bundle", "example.org=other.pem"];
    verify(&folder, &twice).unusable("trust domain `example.org` is given twice");
}

#[test]
fn show_takes_bundles_too() {
    let folder = good();
    let shown = run_in(&folder, &["show", "passport.json", "--bundle", "map.json", "--oneline"]);
    assert_eq!(shown.code, 0, "{}", shown.stdout);
    assert!(shown.stdout.starts_with('●'), "{}", shown.stdout);
    let claimed = run_in(&folder, &["show", "passport.json", "--oneline"]);
    assert!(claimed.stdout.ends_with("not verified: give --anchors or --bundle\n"), "{}", claimed.stdout);
}
