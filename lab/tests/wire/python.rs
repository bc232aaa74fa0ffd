//! The Python package among our services: what it keeps, and that what it loses is noticed.

use std::io::Write as _;

use base64_simd::URL_SAFE;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use kest::policy::MockPolicyEngine;
use kest::{Error, Kest, Passport, kest_verified};
use kest_lab::{
    Folder, Hop, HopConfig, Lab, PythonHop, Step, Via, audit_mixed, call, local_anchors, local_identity,
    operations, send,
};
use serde_json::Value;

use crate::{local, problem, start};

const FIRST: &str = "spiffe://kest.internal/python/first";
const SECOND: &str = "spiffe://kest.internal/python/second";

/// Two hops of ours and two of theirs, who know each other's keys.
struct Mixed {
    a: Hop,
    b: Hop,
    first: PythonHop,
    second: PythonHop,
    anchors: Value,
    _folder: Folder,
}

impl Mixed {
    fn start() -> Option<Self> {
        let lab = Lab::from_env()?;
        let folder = Folder::new();
        let [first, second] = [FIRST, SECOND].map(|id| PythonHop::start(&lab, id));
        let mut anchors = local_anchors(&["a", "b"]);
        for python in [&first, &second] {
            anchors.as_object_mut().unwrap().append(python.anchors().as_object_mut().unwrap());
        }
        let config = |name: &str| HopConfig {
            anchors: Some(anchors.clone()),
            allow: vec!["spiffe://kest.internal/*".to_owned()],
            hosts: [&first, &second].map(|python| format!("127.0.0.1:{}", python.port())).to_vec(),
            python: true,
            ..local(name, &[])
        };
        let [a, b] = ["a", "b"].map(|name| start(&folder, config(name)));
        Some(Self { a, b, first, second, anchors, _folder: folder })
    }

    /// By way of a hop in Python.
    fn by(&self, python: &PythonHop, then: impl Into<Vec<Step>>) -> Step {
        call(Via::Http1, python.origin(), then)
    }
}

#[test]
fn a_chain_goes_on_through_it_and_verifies_at_the_end() {
    let Some(mixed) = Mixed::start() else { return };
    // In the middle, and that twice.
    let to_b = || [call(Via::Http1, mixed.b.origin(), [])];
    let at_b = mixed.a.ask(&[], [mixed.by(&mixed.first, to_b())]).good()["answers"][0]["answers"][0].take();
    assert_eq!(at_b["standing"], "Bound");
    assert_eq!(operations(&at_b["passport"]), ["a", "python", "b"]);
    let verified = audit_mixed(&at_b["passport"], &mixed.anchors);
    let principals: Vec<&str> = verified.entries().iter().map(|entry| entry.principal()).collect();
    assert_eq!(principals[1], FIRST);
    assert_eq!(verified.entries()[1].runtime.name.as_ref(), "kest-python");

    let and_on = [call(Via::Http1, mixed.b.origin(), [mixed.by(&mixed.second, [])])];
    // At the end.
    let at_end =
        mixed.a.ask(&[], [mixed.by(&mixed.first, and_on)]).good()["answers"][0]["answers"][0]["answers"][0]
            .take();
    assert_eq!(operations(&at_end["passport"]), ["a", "python", "b", "python"]);
    assert_eq!(audit_mixed(&at_end["passport"], &mixed.anchors).entries()[3].principal(), SECOND);
}

/// Behind one of ours that compresses, the first hop in Python leaves a stale lineage beside the fresh one, and the
/// second goes on from the stale one: what the first has recorded is no longer there.
#[test]
fn what_the_second_of_two_in_a_row_loses_is_refused_by_who_comes_next() {
    let Some(mixed) = Mixed::start() else { return };
    let to_b = || [call(Via::Http1, mixed.b.origin(), [])];
    let answer = mixed.a.ask(&[], [mixed.by(&mixed.first, [mixed.by(&mixed.second, to_b())])]);
    assert_eq!(answer.status, 502);
    let refused = answer
        .body
        .pointer("/answered/body/answered/body/answered")
        .unwrap_or_else(|| panic!("{}", answer.body));
    assert_eq!(
        (&refused["status"], problem(&refused["body"])),
        (&400.into(), "malformed-lineage"),
        "{refused}"
    );
}

/// A lineage whose padding is percent-encoded is none to it, though it takes over the tip: its own entry then names a
/// parent that does not come along.
#[test]
fn a_lineage_that_it_does_not_decode_is_missed_by_who_comes_next() {
    let Some(mixed) = Mixed::start() else { return };
    let (passport, padded) = padded();
    let tip = passport.tips()[0].hash();
    let ask = |passport_z: &str| {
        let baggage = format!("kest.passport_z={passport_z},kest.chain_tip={tip}");
        let headers = [("baggage", &*baggage), ("content-type", "application/json")];
        let plan = serde_json::to_string(&[call(Via::Http1, mixed.b.origin(), [])]).unwrap();
        let answer = send(mixed.first.port(), "POST", "/call", &headers, &plan).unwrap();
        (answer.status, serde_json::from_str::<Value>(&answer.body).unwrap())
    };
    let (status, taken) = ask(&padded);
    assert_eq!(status, 200, "{taken}");
    assert_eq!(operations(&taken["answers"][0]["passport"]), ["step", "python", "b"]);

    let (status, missed) = ask(&padded.replace('=', "%3D"));
    assert_eq!(status, 502, "{missed}");
    let refused = &missed["answered"];
    assert_eq!(
        (&refused["status"], problem(&refused["body"])),
        (&400.into(), "malformed-lineage"),
        "{refused}"
    );
}

#[kest_verified(policy = unchecked(["any"]), source_type = "system")]
fn step() -> Result<(), Error> {
    Ok(())
}

/// A passport of `a`, and as the Python package would send it, with padding.
fn padded() -> (Passport, String) {
    let kest = Kest::builder().identity(local_identity("a")).engine(MockPolicyEngine::allow());
    let kest = kest.without_config().build().unwrap();
    loop {
        let lineage = kest.enter();
        step().unwrap();
        let passport = lineage.passport();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(passport.serialize().as_bytes()).unwrap();
        let text = URL_SAFE.encode_to_string(zlib.finish().unwrap());
        if text.ends_with('=') {
            return (passport, text);
        }
    }
}
