//! RFC 8785 canonical form: writing it, refusing what it cannot carry, and reading nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "canonical/numbers.rs"]
mod numbers;
#[path = "canonical/oracle.rs"]
mod oracle;
#[path = "canonical/reader.rs"]
mod reader;
#[path = "canonical/refused.rs"]
mod refused;

use std::cmp::Ordering;

use kest_core::canonical::{
    cmp_keys, parse_canonical, parse_strict, to_string, to_vec, write_str, write_u64, write_value,
};
use serde_json::{Map, Value, json};

/// Input and expected output of one sample under `tests/vectors/jcs`.
macro_rules! sample {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!("../../tests/vectors/jcs/input/", $name, ".json")).as_slice(),
            include_bytes!(concat!("../../tests/vectors/jcs/output/", $name, ".json")).as_slice(),
        )
    };
}

const SAMPLES: [(&str, &[u8], &[u8]); 7] = [
    sample!("arrays"),
    sample!("french"),
    sample!("sorting"),
    sample!("structures"),
    sample!("unicode"),
    sample!("values"),
    sample!("weird"),
];

fn written(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_value(&mut out, value).unwrap();
    out
}

fn literal(s: &str) -> String {
    let mut out = Vec::new();
    write_str(&mut out, s);
    String::from_utf8(out).unwrap()
}

/// The same value gives the same bytes, whatever order and spelling it came in, and they are the RFC's.
#[test]
fn tc_10_rfc8785_determinism() {
    for (name, input, expected) in SAMPLES {
        let value = parse_strict(input).unwrap();
        let first = written(&value);
        assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(expected), "{name}");
        for _ in 0..10 {
            assert_eq!(to_vec(&value).unwrap(), first, "{name}");
        }
        assert_eq!(written(&parse_canonical(&first).unwrap()), first, "{name}");
        assert_eq!(written(&parse_strict(&first).unwrap()), first, "{name}");
    }

    let names = ["trace_id", "labels", "entry_id", "\u{20ac}", "1", "\u{1f600}", "\u{fb33}"];
    let object = |names: &[&str]| {
        Value::Object(names.iter().map(|name| ((*name).to_owned(), json!(name))).collect::<Map<_, _>>())
    };
    let forward = written(&object(&names));
    for turn in 1..names.len() {
        let mut turned = names;
        turned.rotate_left(turn);
        assert_eq!(written(&object(&turned)), forward);
        turned.reverse();
        assert_eq!(written(&object(&turned)), forward);
    }
}

/// RFC 8785 §3.2.4: the sample of §3.2.2 as bytes.
#[test]
fn the_rfc_sample_has_the_published_bytes() {
    const PUBLISHED: &str = "\
        7b 22 6c 69 74 65 72 61 6c 73 22 3a 5b 6e 75 6c 6c 2c 74 72 75 65 2c 66 61 6c 73 65 5d 2c 22 6e 75 6d 62 \
        65 72 73 22 3a 5b 33 33 33 33 33 33 33 33 33 2e 33 33 33 33 33 33 33 2c 31 65 2b 33 30 2c 34 2e 35 2c 30 \
        2e 30 30 32 2c 31 65 2d 32 37 5d 2c 22 73 74 72 69 6e 67 22 3a 22 e2 82 ac 24 5c 75 30 30 30 66 5c 6e 41 \
        27 42 5c 22 5c 5c 5c 5c 5c 22 2f 22 7d";
    let bytes: Vec<u8> =
        PUBLISHED.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let (_, input, _) = SAMPLES.into_iter().find(|(name, _, _)| *name == "values").unwrap();
    assert_eq!(written(&parse_strict(input).unwrap()), bytes);
}

/// RFC 8785 §3.2.3: the published order of names.
#[test]
fn names_sort_by_utf16_code_units() {
    let sorted = ["\r", "1", "\u{80}", "\u{f6}", "\u{20ac}", "\u{1f600}", "\u{fb33}"];
    for (i, a) in sorted.iter().enumerate() {
        for (j, b) in sorted.iter().enumerate() {
            assert_eq!(cmp_keys(a, b), i.cmp(&j), "{a:?} {b:?}");
        }
    }
    assert_eq!(cmp_keys("", "a"), Ordering::Less);
    assert_eq!(cmp_keys("ab", "a"), Ordering::Greater);
    // A byte order would have these two the other way round.
    assert_eq!(cmp_keys("x\u{10000}", "x\u{ffff}"), Ordering::Less);
    assert_eq!(cmp_keys("x\u{e000}", "x\u{10ffff}"), Ordering::Greater);
    assert_eq!(cmp_keys("\u{d7ff}", "\u{10000}"), Ordering::Less);
}

#[test]
fn every_boundary_pair_of_characters_sorts_as_utf16() {
    let edges: Vec<char> =
        [0x7F_u32, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xEFFF, 0xF000, 0xFFFF, 0x1_0000, 0x10_FFFF]
            .into_iter()
            .flat_map(|point| [point.saturating_sub(1), point, point + 1])
            .filter_map(char::from_u32)
            .collect();
    for &a in &edges {
        for &b in &edges {
            let (a, b) = (format!("k{a}z"), format!("k{b}"));
            assert_eq!(cmp_keys(&a, &b), a.encode_utf16().cmp(b.encode_utf16()), "{a:?} {b:?}");
        }
    }
}

#[test]
fn strings_escape_what_must_be_and_nothing_else() {
    for point in 0..=0x300_u32 {
        let character = char::from_u32(point).unwrap();
        let expected = match character {
            '"' => r#""\"""#.to_owned(),
            '\\' => r#""\\""#.to_owned(),
            '\u{8}' => r#""\b""#.to_owned(),
            '\t' => r#""\t""#.to_owned(),
            '\n' => r#""\n""#.to_owned(),
            '\u{c}' => r#""\f""#.to_owned(),
            '\r' => r#""\r""#.to_owned(),
            '\0'..='\u{1f}' => format!("\"\\u{point:04x}\""),
            other => format!("\"{other}\""),
        };
        assert_eq!(literal(&character.to_string()), expected);
    }
}

/// Eight bytes are looked at in one step: an escape must be found wherever in the step, and beside, it
/// stands.
#[test]
fn an_escape_is_found_at_every_offset() {
    for len in 0..40 {
        for at in 0..len {
            for special in ["\"", "\\", "\n", "\u{1f}", "\0"] {
                for filler in ["x", " ", "!", "#", "[", "]", "\u{7f}"] {
                    let text = format!("{}{special}{}", filler.repeat(at), filler.repeat(len - at - 1));
                    let written = literal(&text);
                    assert_eq!(written, serde_json::to_string(&text).unwrap());
                    assert_eq!(parse_canonical(written.as_bytes()).unwrap(), json!(text));
                }
            }
        }
    }
}

#[test]
fn unicode_is_not_normalised() {
    assert_eq!(
        to_string(&json!(["A\u{30a}", "\u{c5}", "\u{212b}"])).unwrap(),
        "[\"A\u{30a}\",\"\u{c5}\",\"\u{212b}\"]"
    );
}

#[test]
fn unsigned_integers_are_plain_decimal() {
    for n in (0..1000)
        .chain((0..53).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]))
        .chain([1 << 53])
    {
        let mut out = b"=".to_vec();
        write_u64(&mut out, n);
        assert_eq!(String::from_utf8(out).unwrap(), format!("={n}"));
    }
}

#[test]
fn a_refused_value_leaves_the_output_as_it_was() {
    let mut out = b"kept".to_vec();
    write_value(&mut out, &json!({"a": [1, 2], "b": u64::MAX})).unwrap_err();
    assert_eq!(out, b"kept");
}
