//! What must hold for every passport, and for every text that is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod verify_support;

use std::collections::HashSet;

use kest_core::entry::KestEntry;
use kest_core::jws::Jws;
use kest_core::keys::Jwk;
use kest_core::verify::{Anchors, UnverifiedPassport, Verifier};
use proptest::prelude::*;
use serde_json::Value;
use verify_support::{Workload, passport};

/// A DAG of `edges.len() + 1` entries; each number picks the parents of an entry among the earlier ones.
fn dag(w: &Workload, edges: &[u32]) -> Vec<(Jws, HashSet<String>)> {
    let mut entries: Vec<(Jws, HashSet<String>)> = vec![(w.sign(&w.root(0)), HashSet::new())];
    for (number, edge) in (1..).zip(edges) {
        let parents: Vec<&Jws> = entries
            .iter()
            .rev()
            .enumerate()
            .filter(|(n, _)| edge >> n & 1 == 1)
            .map(|(_, (jws, _))| jws)
            .collect();
        let payload = if parents.is_empty() { w.root(number) } else { w.child(number, &parents) };
        let hashes = parents.iter().map(|parent| parent.hash_hex()).collect();
        let jws = w.sign(&payload);
        entries.push((jws, hashes));
    }
    entries
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |n| n.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from("0")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn junk_never_panics(text in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let w = Workload::new(1);
        let verifier = Verifier::new(w.anchors());
        if let Ok(junk) = UnverifiedPassport::deserialize(&text) {
            prop_assert!(junk.is_empty() || junk.verify(&verifier).is_err());
        }
        prop_assert!(KestEntry::from_payload(&bytes).is_err());
        prop_assert!(passport(&[&text]).verify(&verifier).is_err());
        prop_assert!(passport(&[w.sign_bytes(&bytes)]).verify(&verifier).is_err());
        let _ = Anchors::from_json(&bytes).is_ok();
        let _ = Jwk::from_json(&Value::from(text)).is_ok();
    }

    #[test]
    fn no_member_takes_any_value(index in 0_usize..18, value in json_value(), foreign in any::<bool>()) {
        let w = Workload::new(1);
        let mut payload = if foreign { Workload::foreign(w.root(0)) } else { w.root(0) };
        let name = payload.as_object().unwrap().keys().nth(index).unwrap().clone();
        let before = payload[&name].clone();
        payload[&name] = value;
        let Ok(bytes) = kest_core::canonical::to_vec(&payload) else { return Ok(()) };
        let verdict = passport(&[w.sign_bytes(&bytes)]).verify(&Verifier::new(w.anchors()));
        let texts = |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
        // The only members of a root whose value is the signer's own choice, the last ones in a foreign entry alone.
        let free = match name.as_str() {
            "operation" | "classification" | "timestamp_ms" | "trust_score" => true,
            "metadata" => foreign,
            "environment" | "otel_context" => foreign && payload[&name].is_object(),
            "content_hash" | "input_hash" => foreign && payload[&name].is_string(),
            "added_taints" | "taints" => foreign && texts(&payload[&name]),
            // To remove what is not there is nobody's loss.
            "removed_taints" => texts(&payload[&name]),
            _ => false,
        };
        prop_assert!(free || payload[&name] == before || verdict.is_err(), "{name}");
    }

    #[test]
    fn any_single_character_mutation_is_refused(position in any::<prop::sample::Index>(), with in any::<char>(), ascii in 0x20_u8..0x7f, plain in any::<bool>()) {
        let w = Workload::new(1);
        let good = passport(&w.chain(2));
        let text = good.serialize();
        let mut mutated: Vec<char> = text.chars().collect();
        let index = position.index(mutated.len());
        mutated[index] = if plain { char::from(ascii) } else { with };
        let mutated: String = mutated.into_iter().collect();
        match UnverifiedPassport::deserialize(&mutated) {
            Err(_) => {}
            Ok(same) if same == good => prop_assert_eq!(mutated, text),
            Ok(other) => prop_assert!(other.verify(&Verifier::new(w.anchors())).is_err(), "{}", mutated),
        }
    }

    #[test]
    fn exactly_the_topological_orders_verify(edges in prop::collection::vec(0_u32..8, 1..6), seed in any::<[u8; 6]>()) {
        let w = Workload::new(1);
        let entries = dag(&w, &edges);
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_key(|index| seed[*index % 6].wrapping_mul(31).wrapping_add(*index as u8));
        let mut seen = HashSet::new();
        let topological = order.iter().all(|index| {
            let (jws, parents) = &entries[*index];
            seen.insert(jws.hash_hex());
            parents.iter().all(|parent| seen.contains(parent))
        });
        let shuffled: Vec<&Jws> = order.iter().map(|index| &entries[*index].0).collect();
        let verdict = passport(&shuffled).verify(&Verifier::new(w.anchors()));
        prop_assert_eq!(verdict.is_ok(), topological, "{:?}", verdict.err());
        if let Ok(verified) = passport(&shuffled).verify(&Verifier::new(w.anchors())) {
            // What goes out again is the same history, in an order that verifies again.
            let again = UnverifiedPassport::deserialize(&verified.passport().serialize()).unwrap();
            prop_assert_eq!(again.entries().collect::<HashSet<_>>(), shuffled.iter().map(|jws| jws.as_str()).collect());
            prop_assert!(again.verify(&Verifier::new(w.anchors())).is_ok());
        }
    }
}

#[test]
fn every_character_of_a_signature_counts() {
    let w = Workload::new(1);
    let jws = w.sign(&w.root(0)).to_string();
    let verifier = Verifier::new(w.anchors());
    let start = jws.rfind('.').unwrap() + 1;
    for position in start..jws.len() {
        for with in [b'A', b'B', b'Q', b'g', b'w', b'-', b'_', b'9'] {
            let mut bytes = jws.clone().into_bytes();
            if bytes[position] == with {
                continue;
            }
            bytes[position] = with;
            let mutated = String::from_utf8(bytes).unwrap();
            assert!(passport(&[mutated]).verify(&verifier).is_err(), "{position} {with}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let w = Workload::new(1);
    let good: Vec<String> = w.chain(140).iter().map(ToString::to_string).collect();
    for threads in [1, 3, 1000] {
        let verifier = Verifier::builder().keys(w.anchors()).threads(threads).build();
        let verified = passport(&good).verify(&verifier).unwrap();
        assert_eq!(verified.entries().len(), 140);
        let mut bad = good.clone();
        for index in [139, 40] {
            let flipped = if bad[index].ends_with('A') { "Q" } else { "A" };
            let end = bad[index].len() - 1;
            bad[index].replace_range(end.., flipped);
            // A changed entry has another hash, so leave its children out.
            bad.truncate(index + 1);
            let error = passport(&bad).verify(&verifier).unwrap_err();
            assert_eq!(error.entry(), Some(index), "{threads} threads: {error}");
        }
    }
}
