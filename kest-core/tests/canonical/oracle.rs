//! The writer and the readers against `serde_json` and `serde_json_canonicalizer`, on what chance brings up.

use std::collections::HashSet;
use std::fmt;

use kest_core::canonical::{CanonicalReader, cmp_keys, parse_canonical, parse_strict, to_value, write_value};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(8785),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn written(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_value(&mut out, value).unwrap();
    out
}

/// Characters that matter here more often than chance would have it.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => proptest::char::range('a', 'e'),
        2 => proptest::char::range('\0', '\u{7f}'),
        1 => proptest::sample::select(vec!['"', '\\', '/', '\u{7f}', '\u{80}', '\u{2028}', '\u{d7ff}', '\u{e000}',
            '\u{fb33}', '\u{ffff}', '\u{10000}', '\u{1f600}', '\u{10ffff}']),
        1 => any::<char>(),
    ];
    proptest::collection::vec(character, 0..12).prop_map(String::from_iter)
}

fn number() -> impl Strategy<Value = Number> {
    const EDGE: i64 = 1 << 53;
    prop_oneof![
        (-EDGE..=EDGE).prop_map(Number::from),
        (-1000..1000).prop_map(Number::from),
        any::<f64>().prop_filter_map("finite", Number::from_f64),
        (-1000..1000, 0..30)
            .prop_filter_map("finite", |(n, e)| Number::from_f64(f64::from(n) * 10_f64.powi(e - 10))),
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number().prop_map(Value::Number),
        text().prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::vec((text(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Any JSON, refusing an object with a name twice: what `serde_json` alone lets pass.
struct NoDuplicates;

impl<'de> Deserialize<'de> for NoDuplicates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for NoDuplicates {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, _)) = members.next_entry::<String, Self>()? {
            if !names.insert(name) {
                return Err(serde::de::Error::custom("twice"));
            }
        }
        Ok(self)
    }
}

/// The long way to what `parse_strict` does.
fn strict_by_the_oracle(text: &[u8]) -> Option<Value> {
    serde_json::from_slice::<NoDuplicates>(text).ok()?;
    serde_json::from_slice(text).ok()
}

/// The long way to what `parse_canonical` does: parse, write again, compare.
fn canonical_by_the_oracle(text: &[u8]) -> bool {
    strict_by_the_oracle(text)
        .is_some_and(|value| serde_json_canonicalizer::to_vec(&value).is_ok_and(|again| again == text))
}

fn check(text: &[u8]) {
    let shown = String::from_utf8_lossy(text);
    let canonical = parse_canonical(text);
    assert_eq!(canonical.is_ok(), canonical_by_the_oracle(text), "{shown}: {canonical:?}");
    if let Ok(value) = &canonical {
        assert_eq!(written(value), text, "{shown}");
        assert_eq!(parse_strict(text).as_ref().ok().and_then(Value::as_str), value.as_str(), "{shown}");
    }
    let skipped = CanonicalReader::new(text).and_then(|mut reader| {
        reader.skip_value()?;
        reader.finish()
    });
    assert_eq!(skipped, canonical.map(drop), "{shown}");
    let strict = parse_strict(text);
    assert_eq!(strict.as_ref().ok(), strict_by_the_oracle(text).as_ref(), "{shown}: {strict:?}");
}

/// One small change to a text.
#[derive(Clone, Debug)]
enum Change {
    Put(usize, u8),
    Set(usize, u8),
    Cut(usize),
    Swap(usize, usize),
    Repeat(usize, usize),
    Splice(usize, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let byte = || {
        prop_oneof![
            3 => proptest::sample::select(b" \n\t\"\\/{}[]:,0123456789+-.eEabfnrtu".to_vec()),
            1 => any::<u8>(),
        ]
    };
    let pieces = [
        "\\u0041",
        "\\u001f",
        "\\u001F",
        "\\u000a",
        "\\/",
        "\\n",
        "\\\"",
        "\\ud83d\\ude00",
        "\\ud800",
        "1.0",
        "-0",
        "0.1",
        "e+21",
        "1e5",
        "9007199254740993",
        "100000000000000000",
        ",\"a\":1",
        "{}",
        "[]",
        "null",
        "\u{fb33}",
        "\u{1f600}",
    ];
    prop_oneof![
        (any::<usize>(), byte()).prop_map(|(at, byte)| Change::Put(at, byte)),
        (any::<usize>(), byte()).prop_map(|(at, byte)| Change::Set(at, byte)),
        any::<usize>().prop_map(Change::Cut),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Change::Swap(a, b)),
        (any::<usize>(), 1..12_usize).prop_map(|(at, len)| Change::Repeat(at, len)),
        (any::<usize>(), proptest::sample::select(pieces.to_vec()))
            .prop_map(|(at, piece)| Change::Splice(at, piece)),
    ]
}

fn changed(mut text: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let len = text.len();
        match *change {
            Change::Put(at, byte) => text.insert(at % (len + 1), byte),
            Change::Splice(at, piece) => {
                let at = at % (len + 1);
                text.splice(at..at, piece.bytes());
            }
            _ if len == 0 => {}
            Change::Set(at, byte) => text[at % len] = byte,
            Change::Cut(at) => drop(text.remove(at % len)),
            Change::Swap(a, b) => text.swap(a % len, b % len),
            Change::Repeat(at, count) => {
                let at = at % len;
                let piece = text[at..len.min(at + count)].to_vec();
                text.splice(at..at, piece);
            }
        }
    }
    text
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn trees_are_written_as_the_oracle_writes_them(value in json()) {
        let ours = written(&value);
        prop_assert_eq!(&ours, &serde_json_canonicalizer::to_vec(&value).unwrap());
        prop_assert_eq!(to_value(&value).unwrap(), value);
    }

    #[test]
    fn what_is_written_is_canonical(value in json()) {
        let text = written(&value);
        let back = parse_canonical(&text).unwrap();
        prop_assert_eq!(written(&back), text.clone());
        let strict = parse_strict(&text).unwrap();
        prop_assert_eq!(serde_json_canonicalizer::to_vec(&strict).unwrap(), text);
    }

    #[test]
    fn any_spelling_is_brought_to_the_same_text(value in json()) {
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        prop_assert_eq!(parse_strict(&pretty).unwrap(), value);
        check(&pretty);
    }

    #[test]
    fn names_compare_as_utf16(a in text(), b in text()) {
        prop_assert_eq!(cmp_keys(&a, &b), a.encode_utf16().cmp(b.encode_utf16()));
    }
}

proptest! {
    #![proptest_config(config(8_000))]

    #[test]
    fn changed_text_is_taken_exactly_if_it_round_trips(
        value in json(),
        changes in proptest::collection::vec(change(), 1..4),
    ) {
        check(&changed(written(&value), &changes));
    }

    #[test]
    fn junk_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        check(&bytes);
    }

    #[test]
    fn junk_of_json_tokens_is_read_without_panic(
        tokens in proptest::collection::vec(
            proptest::sample::select(vec![
                "{", "}", "[", "]", ":", ",", "\"", "\"a\"", "\"b\"", "\\", "\\u", "00", "1", "-", "0", ".", "e", "+", "true",
                "null", " ", "\\n", "\u{e9}", "\"\":", "\"a\":",
            ]),
            0..16,
        ),
    ) {
        check(tokens.concat().as_bytes());
    }
}
