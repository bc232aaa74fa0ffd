//! Passports against programs that nobody here wrote: PyJWT, jwcrypto, rfc8785, jcs and the Python Kest from PyPI,
//! jose and canonicalize from npm. Spec §2–§4, §13.
//!
//! `KEST_INTEROP=1` runs it; `KEST_INTEROP_PYTHON` is a Python with `tests/interop/python/requirements.txt` installed,
//! `KEST_INTEROP_NODE_PATH` the `node_modules` of `tests/interop/node/package.json`. `.ci/run` makes both. What was
//! compared is added to the file `KEST_INTEROP_REPORT`, a line each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "interop/peers.rs"]
mod peers;
#[path = "interop/workloads.rs"]
mod workloads;

use kest::Passport;
use kest::verify::{Anchors, Axis, UnverifiedPassport, Verdict, VerifiedPassport, Verifier};
use serde_json::Value;

use peers::{Folder, interop, node, python, report};
use workloads::{Case, cases};

/// Changes to a record, and the key that did not sign it: what each peer must refuse of each record.
const TAMPERED: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pyjwt_and_jwcrypto_accept_every_record_and_no_changed_one() {
    if !interop() {
        return;
    }
    let cases = cases().await;
    let expected = Expected::of(&cases);
    let folder = Folder::with("python", &cases);
    let counted = python("check.py", &[folder.path()]).expect("the peers agree");
    expected.check(&counted, &["pyjwt", "jwcrypto"], &["rfc8785", "jcs"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jose_accepts_every_record_and_no_changed_one() {
    if !interop() {
        return;
    }
    let cases = cases().await;
    let expected = Expected::of(&cases);
    let folder = Folder::with("node", &cases);
    let counted = node("check.mjs", &[folder.path()]).expect("the peers agree");
    expected.check(&counted, &["jose"], &["canonicalize"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checks_of_the_peers_can_fail() {
    if !interop() {
        return;
    }
    let case = cases().await.swap_remove(0);
    let good: Vec<String> = case.passport.entries().iter().map(|entry| entry.jws().to_owned()).collect();
    let mut swapped = good.clone();
    swapped.swap(0, 1);
    let mut changed = good.clone();
    let last = changed[1].pop().unwrap();
    // The last character of an Ed25519 signature carries two bits: it is `A`, `Q`, `g` or `w`.
    changed[1].push(if last == 'A' { 'Q' } else { 'A' });
    for (name, entries, complaint) in [
        ("swapped", swapped, "does not stand before it"),
        ("changed", changed, "refuses it"),
        ("cut", good[1..].to_vec(), "does not stand before it"),
    ] {
        let folder = Folder::empty(name);
        folder.write(
            "spoiled",
            &serde_json::to_string(&entries).unwrap(),
            &case.anchors.to_json().to_string(),
        );
        for (peer, outcome) in
            [("python", python("check.py", &[folder.path()])), ("node", node("check.mjs", &[folder.path()]))]
        {
            let error = outcome.expect_err("a spoiled passport is refused");
            assert!(error.contains("disagreement: spoiled: entry"), "{peer}, {name}: {error}");
            assert!(error.contains(complaint), "{peer}, {name}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_kest_accepts_our_passports_and_refuses_spoiled_ones() {
    if !interop() {
        return;
    }
    let cases = cases().await;
    let folder = Folder::with("python-kest", &cases);
    let answer = python("kest_peer.py", &["verify", folder.path()]).expect("the Python Kest agrees");
    let counted = &answer["counted"];
    assert_eq!(counted["accepted"], cases.len());
    for what in ["reordered", "payload", "signature"] {
        assert_eq!(counted[format!("refused {what}")], cases.len(), "{what}");
    }
    let linked = cases.iter().filter(|case| linear_start(&case.passport)).count();
    assert!(linked > 0);
    assert_eq!(counted["refused truncated"], linked);
    for case in &cases {
        let entries = case.passport.entries();
        let scores: Vec<u8> = entries.iter().map(|entry| entry.trust_score()).collect();
        let mut taints: Vec<&str> =
            entries.iter().flat_map(|entry| entry.taints().iter().map(|t| &**t)).collect();
        taints.sort_unstable();
        taints.dedup();
        assert_eq!(answer["read"][case.name]["trust_scores"], serde_json::json!(scores), "{}", case.name);
        assert_eq!(answer["read"][case.name]["taints"], serde_json::json!(taints), "{}", case.name);
    }
    report(&format!(
        "python kest accepted {} passports and refused {} spoiled ones",
        cases.len(),
        3 * cases.len() + linked
    ));
}

#[test]
fn passports_made_by_the_python_kest_verify() {
    if !interop() {
        return;
    }
    let folder = Folder::empty("python-made");
    python("kest_peer.py", &["make", folder.path()]).expect("the Python Kest makes passports");
    let made = folder.read();
    let names: Vec<&str> = made.iter().map(|(name, _, _)| name.as_str()).collect();
    assert_eq!(names, ["async", "chain", "claim_checked", "fan_in", "with_identity", "with_trace"]);
    let mut records = 0;
    for (name, passport, anchors) in &made {
        let verified = verify(passport, anchors).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(verified.entries().iter().all(|entry| !entry.is_own()), "{name}");
        records += verified.entries().len();
        refuse_spoiled(name, passport, anchors);
    }
    let fan_in = &made[3];
    assert_eq!(verify(&fan_in.1, &fan_in.2).unwrap().entries()[2].parent_ids().len(), 2);
    report(&format!("python kest made {records} records that verify"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lineage_goes_from_rust_to_python_and_back() {
    if !interop() {
        return;
    }
    let cases = cases().await;
    let (ours, theirs) = (Folder::with("from-rust", &cases), Folder::empty("through-python"));
    python("kest_peer.py", &["extend", ours.path(), theirs.path()]).expect("the Python Kest goes on");
    let extended = theirs.read();
    assert_eq!(extended.len(), cases.len());
    let mut records = 0;
    for (name, passport, anchors) in &extended {
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let verified = verify(passport, anchors).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(verified.entries().len(), case.passport.len() + 2, "{name}");
        let [take, _] = verified.entries().last_chunk::<2>().unwrap();
        let mut tips: Vec<String> = case.passport.tips().iter().map(|tip| tip.hash()).collect();
        tips.reverse();
        assert_eq!(take.parent_ids(), tips, "{name}: it goes on from our tips");
        refuse_spoiled(name, passport, anchors);

        let (outcome, home) =
            workloads::plain().scope(verified.scope(async { workloads::carry_on() }).with_passport()).await;
        outcome.unwrap();
        let home = verify(&home.serialize(), anchors).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (last, before) = home.entries().split_last().unwrap();
        assert!(last.is_own() && before.last().is_some_and(|entry| !entry.is_own()), "{name}");
        assert_eq!(last.parent_ids(), [verified.tips()[0].hash()], "{name}");
        records += home.entries().len();
    }
    report(&format!("lineages through python kest and back hold {records} records"));
}

/// What is in the passports, as our own verifier reads them.
#[derive(Default)]
struct Expected {
    passports: usize,
    records: usize,
    roots: usize,
    links: usize,
    canonical: usize,
    deviations: usize,
    completions: usize,
    sanitised: usize,
}

impl Expected {
    fn of(cases: &[Case]) -> Self {
        let mut expected = Self { passports: cases.len(), ..Self::default() };
        for case in cases {
            let verified = UnverifiedPassport::deserialize(&case.passport.serialize())
                .unwrap()
                .verify(&Verifier::new(case.anchors.clone()))
                .unwrap_or_else(|error| panic!("{}: {error}", case.name));
            for entry in verified.entries() {
                expected.records += 1;
                expected.roots += usize::from(entry.is_root());
                expected.links += entry.parents.len();
                expected.deviations += entry.policy_context.deviations.len();
                expected.completions += usize::from(&*entry.classification == "completion");
                expected.sanitised += usize::from(!entry.removed_taints.is_empty());
                let labels = ["kest.identity", "kest.resource_attr"];
                expected.canonical += 1 + labels.iter().filter(|label| entry.label(label).is_some()).count();
            }
        }
        assert!(expected.roots + expected.links > expected.records, "there are joins");
        assert!(expected.deviations > 0 && expected.completions > 0 && expected.sanitised > 0);
        expected
    }

    fn check(&self, counted: &Value, verifiers: &[&str], canonicalisers: &[&str]) {
        assert_eq!(counted["passports"], self.passports);
        assert_eq!(counted["records"], self.records);
        assert_eq!(counted["roots"], self.roots);
        assert_eq!(counted["links"], self.links);
        for peer in verifiers {
            assert_eq!(counted[format!("{peer} accepted")], self.records);
            assert_eq!(counted[format!("{peer} refused")], TAMPERED * self.records);
            report(&format!(
                "{peer} accepted {} records and refused {} changed ones",
                self.records,
                TAMPERED * self.records
            ));
        }
        for peer in canonicalisers {
            assert_eq!(counted[format!("{peer} canonical")], self.canonical);
            report(&format!("{peer} wrote {} texts as they stand", self.canonical));
        }
    }
}

fn verify(passport: &str, anchors: &str) -> Result<VerifiedPassport, Box<dyn std::error::Error>> {
    let verifier = Verifier::new(Anchors::from_json(anchors.as_bytes())?);
    let verified = UnverifiedPassport::deserialize(passport)?.verify(&verifier)?;
    let pass = |axis: &Axis| axis.verdict == Verdict::Pass;
    let found = verified.report();
    assert!(pass(&found.signatures) && pass(&found.links) && pass(&found.identity), "{found}");
    Ok(verified)
}

/// Our verifier refuses what was done to a good passport.
fn refuse_spoiled(name: &str, passport: &str, anchors: &str) {
    let entries: Vec<String> = serde_json::from_str(passport).unwrap();
    let mut changed = entries.clone();
    let entry = changed.last_mut().unwrap();
    let dot = entry.rfind('.').unwrap();
    let first = if entry[dot + 1..].starts_with('A') { "B" } else { "A" };
    entry.replace_range(dot + 1..dot + 2, first);
    let mut reordered = entries.clone();
    reordered.reverse();
    for (what, entries) in [("signature", changed), ("order", reordered), ("front", entries[1..].to_vec())] {
        let text = serde_json::to_string(&entries).unwrap();
        assert!(verify(&text, anchors).is_err(), "{name}: {what}");
    }
}

/// Whether the second entry has the first as its only parent.
fn linear_start(passport: &Passport) -> bool {
    let entries = passport.entries();
    entries.get(1).is_some_and(|second| second.parent_hashes() == [entries[0].hash()])
}
