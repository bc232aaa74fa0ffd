//! A verifier that remembers has the same verdict and the same report as one that does not, whatever it saw before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use kest_core::jws::Jws;
use kest_core::keys::{Jwk, Jwks};
use kest_core::verify::{
    Anchors, Authority, FnKeySource, Grant, Limits, Remembered, Step, UnverifiedPassport, Verdict, Verifier,
    VerifierBuilder, VerifyFailure,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use verify_support::{NOW_MS, Workload, cases, entry_id, name_of, passport};

/// All that there is to see of a verification.
fn outcome(passport: &UnverifiedPassport, verifier: VerifierBuilder) -> String {
    match passport.clone().verify(&verifier.build()) {
        Ok(verified) => format!(
            "{:?} {:?} {:?} {}",
            verified.report(),
            verified.entries(),
            verified.effective(),
            verified.passport().serialize()
        ),
        Err(error) => {
            format!("{:?} {:?} {:?} {:?}", error.entry(), error.step(), error.failure(), error.report())
        }
    }
}

/// Every check has a vector that only it refuses. They share most of their entries, so a memory that all of them fill
/// and ask has every opportunity to be wrong.
#[test]
fn every_vector_gets_the_verdict_it_gets_without() {
    let mut vectors: Vec<(String, UnverifiedPassport, Value, Value)> = Vec::new();
    for case in cases::all() {
        vectors.push((case.name.to_owned(), passport(&case.passport), case.anchors, case.options));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/verify_signatures");
    for file in std::fs::read_dir(folder).unwrap() {
        let vector: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        if Anchors::from_json(vector["anchors"].to_string().as_bytes()).is_ok() {
            let passport = UnverifiedPassport::deserialize(&vector["passport"].to_string()).unwrap();
            let [anchors, options] = [&vector["anchors"], &vector["options"]].map(Value::clone);
            vectors.push((vector["name"].to_string(), passport, anchors, options));
        }
    }
    assert!(vectors.len() > 150, "{}", vectors.len());
    let remembered = Remembered::new(1_000);
    for round in 0..3 {
        for (name, passport, anchors, options) in &vectors {
            let build = || cases::builder(anchors, options);
            let (plain, found) =
                (outcome(passport, build()), outcome(passport, build().remember(remembered.clone())));
            assert_eq!(found, plain, "{name}, round {round}");
        }
    }
    assert!(remembered.len() > 30, "{}", remembered.len());
}

/// What verifies, and what is changed before it does so again.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    Truncate(prop::sample::Index),
    Behead(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Repeat(prop::sample::Index),
    Character(prop::sample::Index, prop::sample::Index, u8),
    /// The signature of another entry.
    Signature(prop::sample::Index, prop::sample::Index),
    /// The header and the signature of another workload's key, over the same payload.
    Resign(prop::sample::Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        3 => Just(Change::Nothing),
        1 => place().prop_map(Change::Truncate),
        1 => place().prop_map(Change::Behead),
        1 => (place(), place()).prop_map(|(one, other)| Change::Swap(one, other)),
        1 => place().prop_map(Change::Repeat),
        2 => (place(), place(), 0x2d_u8..0x7b).prop_map(|(entry, at, to)| Change::Character(entry, at, to)),
        1 => (place(), place()).prop_map(|(to, from)| Change::Signature(to, from)),
        2 => (place(), 1_u8..4).prop_map(|(entry, number)| Change::Resign(entry, number)),
    ]
}

fn changed(mut entries: Vec<String>, change: &Change) -> Vec<String> {
    let at = |index: &prop::sample::Index, entries: &[String]| index.index(entries.len());
    match change {
        Change::Nothing => {}
        Change::Truncate(end) => entries.truncate(at(end, &entries)),
        Change::Behead(start) => drop(entries.drain(..at(start, &entries))),
        Change::Swap(one, other) => {
            let (one, other) = (at(one, &entries), at(other, &entries));
            entries.swap(one, other);
        }
        Change::Repeat(which) => entries.push(entries[at(which, &entries)].clone()),
        Change::Character(entry, place, to) => {
            let entry = at(entry, &entries);
            let place = place.index(entries[entry].len());
            entries[entry].replace_range(place..=place, &char::from(*to).to_string());
        }
        Change::Signature(to, from) => {
            let (to, from) = (at(to, &entries), at(from, &entries));
            let signature = entries[from].rsplit('.').next().unwrap().to_owned();
            let input = entries[to].rsplit_once('.').unwrap().0.to_owned();
            entries[to] = format!("{input}.{signature}");
        }
        Change::Resign(entry, number) => {
            let entry = at(entry, &entries);
            let payload = entries[entry].split('.').nth(1).unwrap();
            let payload = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).unwrap();
            entries[entry] = Workload::new(*number).sign_bytes(&payload).to_string();
        }
    }
    entries
}

/// Three workloads, each of whose keys may be its own, another's, both, or unknown.
fn anchors(keys: [u8; 3]) -> Anchors {
    let mut anchors = Anchors::new();
    for (number, keys) in (1..).zip(keys) {
        let own = Workload::new(number);
        let other = Workload::new(number % 3 + 1).jwk();
        let keys = match keys {
            0 => continue,
            1 => vec![other],
            2 => vec![other, own.jwk()],
            _ => vec![own.jwk()],
        };
        anchors.insert(&own.id, Jwks(keys)).unwrap();
    }
    anchors
}

fn with(builder: VerifierBuilder, option: u8) -> VerifierBuilder {
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    match option {
        0 => builder.strict(),
        1 => builder.linear(),
        2 => builder.ingress(NOW_MS + 5, Duration::from_millis(2), Duration::from_millis(1)),
        3 => builder.ingress(NOW_MS + 1, Duration::from_secs(60), Duration::ZERO),
        4 => builder.limits(limits(|limits| limits.entry_bytes = 1_000)),
        5 => builder.limits(limits(|limits| limits.parents = 1)),
        6 => builder.limits(limits(|limits| limits.taint_bytes = 2)),
        7 => builder.limits(limits(|limits| limits.taints = 0)),
        8 => builder.authority(Authority::new([("spiffe://example.org/w1", Grant::federated())]).unwrap()),
        9 => builder.dangerous().skip_signatures(),
        10 => builder.dangerous().accept_mock(),
        11 => builder.threads(3),
        _ => builder,
    }
}

/// A lineage of three workloads, of which the second is another implementation; every entry has the two before it as
/// parents, and some have taints.
fn lineage(length: u64) -> Vec<String> {
    let workloads = [1, 2, 3].map(Workload::new);
    let mut entries: Vec<Jws> = Vec::new();
    for number in 0..length {
        let w = &workloads[number as usize % 3];
        let parents: Vec<&Jws> = entries.iter().rev().take(2).collect();
        let mut payload = if parents.is_empty() { w.root(number) } else { w.child(number, &parents) };
        if number > 1 {
            payload["taints"] = json!(["pii"]);
        }
        if number == 2 {
            payload["added_taints"] = json!(["pii"]);
        }
        if number % 3 == 1 {
            payload = Workload::foreign(payload);
        }
        entries.push(w.sign(&payload));
    }
    entries.iter().map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_came_before_the_outcome_is_the_same(
        most in prop_oneof![Just(4_usize), Just(10_000)],
        rounds in prop::collection::vec((1_u64..8, change(), [0_u8..9, 0_u8..9, 0_u8..9], 0_u8..16), 1..24),
    ) {
        let remembered = Remembered::new(most);
        for (length, change, keys, option) in &rounds {
            let passport = passport(&changed(lineage(*length), change));
            let build = || with(Verifier::builder().keys(anchors(*keys)), *option);
            let plain = outcome(&passport, build());
            // Hashed before or not.
            let asked = passport.clone();
            prop_assert!(asked.new_to(&build().remember(remembered.clone()).build()) <= passport.len());
            prop_assert_eq!(&outcome(&asked, build().remember(remembered.clone())), &plain);
            prop_assert_eq!(outcome(&passport, build().remember(remembered.clone())), plain);
            prop_assert!(remembered.len() <= most);
        }
    }
}

#[test]
fn a_key_that_was_rotated_away_is_refused_although_it_is_remembered() {
    let w = Workload::new(1);
    let current = Arc::new(AtomicU8::new(1));
    let source = {
        let (id, current) = (w.id.clone(), Arc::clone(&current));
        FnKeySource::new(move |principal: &str| {
            let key = Workload::new(current.load(Ordering::SeqCst)).jwk();
            Ok((principal == id).then(|| Jwks(vec![key])))
        })
    };
    let remembered = Remembered::new(100);
    let verifier = Verifier::builder().keys(source).remember(remembered.clone()).build();
    let chain = passport(&w.chain(5));
    chain.clone().verify(&verifier).unwrap();
    assert_eq!(remembered.len(), 5);
    chain.clone().verify(&verifier).unwrap();
    current.store(2, Ordering::SeqCst);
    let error = chain.clone().verify(&verifier).unwrap_err();
    assert_eq!(
        (error.entry(), error.step(), name_of(error.failure())),
        (Some(0), Step::Signatures, "UnknownKey".into())
    );
    // A foreign entry has no `kid` to go by.
    let foreign = passport(&[w.sign(&Workload::foreign(w.root(0)))]);
    let error = foreign.clone().verify(&verifier).unwrap_err();
    assert_eq!(name_of(error.failure()), "Signature");
    current.store(1, Ordering::SeqCst);
    foreign.clone().verify(&verifier).unwrap();
    current.store(2, Ordering::SeqCst);
    assert_eq!(name_of(foreign.verify(&verifier).unwrap_err().failure()), "Signature");
    current.store(1, Ordering::SeqCst);
    chain.verify(&verifier).unwrap();
}

#[test]
fn new_entries_are_counted_and_counting_them_decides_nothing() {
    let w = Workload::new(1);
    let remembered = Remembered::new(100);
    let verifier = Verifier::builder().keys(w.anchors()).remember(remembered.clone()).build();
    let chain: Vec<String> = w.chain(6).iter().map(ToString::to_string).collect();
    let (last, before) = chain.split_last().unwrap();
    let mut lineage = passport(before);
    assert_eq!((lineage.len(), lineage.new_to(&verifier)), (5, 5));
    assert_eq!(lineage.bytes(), before.iter().map(String::len).sum::<usize>());
    lineage.clone().verify(&verifier).unwrap();
    let forgetful = Verifier::builder().keys(w.anchors()).build();
    assert_eq!((lineage.new_to(&verifier), lineage.new_to(&forgetful)), (0, 5));
    assert_eq!(lineage, passport(before), "what was worked out is no part of it");
    // Added after the others were hashed: a good entry, and one that carries the signature of another.
    let signature = |jws: &str| jws.rsplit_once('.').unwrap().1.to_owned();
    let mut forged = lineage.clone();
    forged.add_signature(last.replace(&signature(last), &signature(&before[0])));
    assert_eq!(forged.new_to(&verifier), 1);
    let error = forged.verify(&verifier).unwrap_err();
    assert_eq!((error.entry(), error.step()), (Some(5), Step::Signatures));
    lineage.add_signature(last.as_str());
    assert_eq!(lineage.new_to(&verifier), 1);
    lineage.clone().verify(&verifier).unwrap();
    assert_eq!(lineage.new_to(&verifier), 0);
    // Counted as remembered, and then no more; and nothing new, under keys that have not signed it.
    remembered.clear();
    lineage.clone().verify(&verifier).unwrap();
    let id = w.id.clone();
    let others = move |principal: &str| Ok((principal == id).then(|| Jwks(vec![Workload::new(2).jwk()])));
    let others = Verifier::builder().keys(FnKeySource::new(others)).remember(remembered).build();
    assert_eq!(lineage.new_to(&others), 0);
    let error = lineage.verify(&others).unwrap_err();
    assert_eq!((error.entry(), error.step()), (Some(0), Step::Signatures));
}

#[test]
fn what_is_refused_is_not_remembered_although_its_signature_is_good() {
    let w = Workload::new(1);
    let remembered = Remembered::new(100);
    let hour = Duration::from_secs(3_600);
    let builder = || Verifier::builder().keys(w.anchors()).remember(remembered.clone());
    let late = builder().ingress(NOW_MS + 7_200_000, hour, Duration::from_secs(30)).build();
    let error = passport(&w.chain(3)).verify(&late).unwrap_err();
    assert_eq!(error.step(), Step::Time);
    assert!(remembered.is_empty());
    passport(&w.chain(3)).verify(&builder().build()).unwrap();
    assert_eq!(remembered.len(), 3);
}

#[test]
fn many_short_pieces_count_by_what_they_take() {
    let w = Workload::new(1);
    let remembered = Remembered::new(100);
    let verifier = Verifier::builder().keys(w.anchors()).remember(remembered.clone()).build();
    for number in 0..60 {
        let mut payload = w.root(number);
        for label in 0..320 {
            payload["labels"][format!("{label:04x}")] = json!("");
        }
        passport(&[w.sign(&payload)]).verify(&verifier).unwrap();
    }
    assert!((1..=100 * 4_096 / (320 * 96)).contains(&remembered.len()), "{}", remembered.len());
}

#[test]
fn a_source_that_fails_fails_although_everything_is_remembered() {
    let w = Workload::new(1);
    let remembered = Remembered::new(100);
    let chain = passport(&w.chain(3));
    chain
        .clone()
        .verify(&Verifier::builder().keys(w.anchors()).remember(remembered.clone()).build())
        .unwrap();
    let failing = FnKeySource::new(|_: &str| Err(kest_core::keys::KeyError::Missing { member: "keys" }));
    let builder = || Verifier::builder().remember(remembered.clone());
    let error = chain.clone().verify(&builder().keys(failing).build()).unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::Keys { .. }), "{error}");
    let error = chain.verify(&builder().build()).unwrap_err();
    assert!(matches!(error.failure(), VerifyFailure::UnknownPrincipal { .. }), "{error}");
}

#[test]
fn the_same_text_is_checked_again_under_the_key_of_another_principal() {
    // Whoever anchors the signer's name with another key does not trust this signature, whoever else did.
    let (w, other) = (Workload::new(1), Workload::new(2));
    let remembered = Remembered::new(100);
    let root = w.sign(&Workload::foreign(w.root(0)));
    let verify = |key: Jwk| {
        let mut anchors = Anchors::new();
        anchors.insert(&w.id, Jwks(vec![key])).unwrap();
        passport(&[&root]).verify(&Verifier::builder().keys(anchors).remember(remembered.clone()).build())
    };
    verify(w.jwk()).unwrap();
    for _ in 0..2 {
        assert_eq!(name_of(verify(other.jwk()).unwrap_err().failure()), "Signature");
    }
    verify(w.jwk()).unwrap();
}

#[test]
fn many_at_the_same_time_get_what_each_alone_gets() {
    let remembered = Remembered::new(64);
    let lineages: Vec<(UnverifiedPassport, bool)> = (1..20_u64)
        .map(|length| {
            let spoiled = length % 3 == 0;
            let mut entries = lineage(length);
            if spoiled {
                let last = entries.pop().unwrap();
                let (input, _) = last.rsplit_once('.').unwrap();
                entries.push(format!("{input}.{}", "A".repeat(86)));
            }
            (passport(&entries), spoiled)
        })
        .collect();
    let verifier = Verifier::builder().keys(anchors([3; 3])).remember(remembered.clone()).build();
    thread::scope(|scope| {
        for start in 0..8_usize {
            let (lineages, verifier, remembered) = (&lineages, &verifier, &remembered);
            scope.spawn(move || {
                for turn in 0..60 {
                    let (passport, spoiled) = &lineages[(start * 7 + turn * 5) % lineages.len()];
                    let verified = passport.clone().verify(verifier);
                    assert_eq!(verified.is_err(), *spoiled, "{verified:?}");
                    assert!(remembered.len() <= 64);
                    if start == 0 && turn % 10 == 9 {
                        remembered.clear();
                    }
                }
            });
        }
    });
}

#[test]
fn a_verifier_gets_a_memory_unless_it_has_one() {
    let w = Workload::new(1);
    let (own, other) = (Remembered::new(100), Remembered::new(100));
    let chain = passport(&w.chain(2));
    let builder = || Verifier::builder().keys(w.anchors());
    chain.clone().verify(&builder().build().remembering(&other)).unwrap();
    assert_eq!((own.len(), other.len()), (0, 2));
    other.clear();
    chain.verify(&builder().remember(own.clone()).build().remembering(&other)).unwrap();
    assert_eq!((own.len(), other.len()), (2, 0));
}

#[test]
fn large_entries_count_as_several() {
    let w = Workload::new(1);
    let remembered = Remembered::new(100);
    let verifier = Verifier::builder().keys(w.anchors()).remember(remembered.clone()).build();
    let mut bytes = Vec::new();
    for number in 0..60 {
        let mut payload = w.root(number);
        payload["labels"]["note"] = json!("x".repeat(30_000));
        let jws = w.sign(&payload);
        bytes.push(jws.as_str().len());
        passport(&[jws]).verify(&verifier).unwrap();
    }
    let most = 100 * 4_096 / bytes[0];
    assert!((1..=most).contains(&remembered.len()), "{} of {most}", remembered.len());
}

#[test]
fn skipped_signatures_are_said_to_be_skipped_and_count_for_nothing() {
    let w = Workload::new(1);
    let mut root = w.root(0);
    root["metadata"]["trust"]["source_type"] = json!("system");
    root["trust_score"] = json!(100);
    root["added_taints"] = json!(["pii"]);
    root["taints"] = json!(["pii"]);
    let root = w.sign(&root);
    let mut clean = w.child(1, &[&root]);
    clean["classification"] = json!("sanitizer");
    clean["removed_taints"] = json!(["pii"]);
    clean["trust_score"] = json!(95);
    clean["metadata"]["trust"]["override"] = json!(95);
    let forged: Vec<String> = [root.clone(), w.sign(&clean)]
        .iter()
        .map(|jws| format!("{}.{}", jws.as_str().rsplit_once('.').unwrap().0, "A".repeat(86)))
        .collect();
    // The child names the root that was signed.
    let mut child = clean;
    child["parent_ids"] = json!([sha256_hex(&forged[0])]);
    let child = w.sign(&child).to_string();
    let forged = [forged[0].clone(), child];
    let remembered = Remembered::new(100);
    let own = Authority::new([("spiffe://example.org", Grant::own())]).unwrap();
    for authority in [Authority::default(), own] {
        // Nobody is anchored.
        let builder = Verifier::builder().authority(authority).remember(remembered.clone());
        let verified = passport(&forged).verify(&builder.dangerous().skip_signatures().build()).unwrap();
        let report = verified.report();
        assert_eq!(report.signatures.verdict, Verdict::NotChecked);
        assert!(report.signatures.reason.contains("told to skip signatures"), "{}", report.signatures.reason);
        assert_eq!(report.identity.verdict, Verdict::NotChecked);
        assert!(report.identity.reason.contains("no principal is known"), "{}", report.identity.reason);
        assert_eq!(report.semantics.verdict, Verdict::NotChecked);
        assert_eq!(report.links.verdict, Verdict::Pass);
        let scores: Vec<u8> = verified.effective().iter().map(|effective| effective.trust_score).collect();
        assert_eq!(scores, [10, 10], "no more than a request without lineage");
        assert!(verified.effective().iter().all(|effective| *effective.taints == ["pii".into()]));
    }
    assert!(remembered.is_empty());
    // The same, had nobody said anything dangerous.
    let error = passport(&forged).verify(&Verifier::builder().keys(w.anchors()).build()).unwrap_err();
    assert_eq!((error.entry(), name_of(error.failure())), (Some(0), "Signature".to_owned()));
}

#[test]
fn without_signatures_everything_else_is_still_checked() {
    let w = Workload::new(1);
    let skipping = |builder: VerifierBuilder| builder.dangerous().skip_signatures().build();
    let chain = w.chain(3);
    let refused = |entries: &[&str], verifier: &Verifier| {
        let error = passport(entries).verify(verifier).unwrap_err();
        (error.step(), name_of(error.failure()))
    };
    let plain = skipping(Verifier::builder());
    let strs: Vec<&str> = chain.iter().map(Jws::as_str).collect();
    assert_eq!(refused(&strs[1..], &plain), (Step::Links, "UnknownParent".to_owned()));
    assert_eq!(refused(&["a.b"], &plain), (Step::Parse, "Segments".to_owned()));
    let tip = skipping(Verifier::builder().expected_tip(&chain[1].hash_hex()).unwrap());
    assert_eq!(refused(&strs, &tip), (Step::Completeness, "Tip".to_owned()));
    let late = Verifier::builder().ingress(NOW_MS + 600_000, Duration::from_secs(60), Duration::ZERO);
    assert_eq!(refused(&strs, &skipping(late)), (Step::Time, "TooOld".to_owned()));
    let strict = skipping(Verifier::builder().strict());
    assert_eq!(refused(&strs, &strict), (Step::Authority, "RootAuthority".to_owned()));
    let mut raised = w.child(1, &[&chain[0]]);
    raised["trust_score"] = json!(81);
    let raised = w.sign(&raised);
    assert_eq!(refused(&[strs[0], raised.as_str()], &plain), (Step::Semantics, "RaisedTrust".to_owned()));
    let mut twice = w.child(1, &[&chain[0]]);
    twice["entry_id"] = json!(entry_id(0));
    let twice = w.sign(&twice);
    assert_eq!(refused(&[strs[0], twice.as_str()], &plain), (Step::Links, "RepeatedEntryId".to_owned()));
    // A principal to whom nothing is granted is not better off for not having signed.
    let rules = Authority::new([("spiffe://example.org", Grant::none())]).unwrap();
    let verified = passport(&strs).verify(&skipping(Verifier::builder().authority(rules))).unwrap();
    assert!(verified.effective().iter().all(|effective| effective.trust_score == 0));
    // Nor is an empty passport anything but empty.
    let empty = passport::<&str>(&[]).verify(&plain).unwrap();
    assert_eq!(empty.report().signatures.reason, "the passport is empty");
}

fn sha256_hex(text: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
