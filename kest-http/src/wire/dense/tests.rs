use kest_core::error::PropagationErrorKind::{self, Malformed, TooLarge};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

const LIMIT: usize = 1 << 20;

fn back(entries: &[String]) -> Vec<String> {
    let packed = packed(entries.iter().map(String::as_str)).unwrap();
    unpacked(&packed, LIMIT, 256).unwrap()
}

fn jws(header: &[u8], payload: &[u8], signature: &[u8]) -> String {
    [header, payload, signature].map(|part| URL_SAFE_NO_PAD.encode_to_string(part)).join(".")
}

fn hash(entry: &str) -> String {
    Sha256::digest(entry).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A form made by hand.
fn by_hand(text: &[u8], beside: &[u8]) -> String {
    let mut bytes = vec![VERSION];
    stream::deflate(text, &mut bytes).unwrap();
    bytes.extend(beside);
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

fn refused(value: &str, kind: PropagationErrorKind, says: &str) {
    let error = unpacked(value, LIMIT, 256).expect_err(says);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error}\nis not: {says}");
}

#[test]
fn the_dictionary_is_that_of_form_1() {
    assert_eq!(
        hash(std::str::from_utf8(&dictionary::TEXT.escape_ascii().collect::<Vec<u8>>()).unwrap()),
        "0b4d422b6130856f077976dd46684b4cd6eaf56bf5d73c12e80a16a6791c4ea0",
        "another dictionary needs another form"
    );
}

#[test]
fn what_two_payloads_share_and_what_has_no_pattern_is_not_written_out() {
    let first = jws(br#"{"alg":"none"}"#, br#"{"parent_ids":["0"]}"#, &[7; 64]);
    let hex = "0af7651916cd43dd8448eb211c80319c";
    let key = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
    let certificate = base64_simd::STANDARD.encode_to_string([&[0x30, 0x82][..], &[9; 200]].concat());
    let payload = format!(
        r#"{{"entry_id":"019abcde-f012-7abc-8def-0123456789ab","k":"{key}","parent_ids":["{}"],"s":"b7ad6b7169203331",
        "h":"sha256:{}","t":"{hex}","timestamp_ms":1764105318418,"u":"{hex}","x5c":["{certificate}"]}}"#,
        hash(&first),
        hash("x"),
    );
    let second = jws(br#"{"alg":"none"}"#, payload.as_bytes(), &[8; 64]);
    let mut writer = write::Writer::default();
    writer.entry(&first);
    let at = writer.text.len();
    writer.entry(&second);
    let text = writer.text[at..].escape_ascii().to_string();
    for written in [&hash(&first), &hash("x"), hex, key, &certificate, "019abcde", "b7ad", "17641053", "alg"]
    {
        assert!(!text.contains(written), "{written} in {text}");
    }
    assert!(text.starts_with("\\x12\\x00{"), "the header of the first: {text}");
    assert!(text.contains(r#"[\"\x02\x00\"]"#), "the hash of the first: {text}");
    assert!(text.contains(r#"\"u\":\"\x03\x04\""#), "the fifth value again: {text}");
    assert_eq!(writer.beside.len(), 64 + 10 + 32 + 8 + 32 + 16 + 64);
    assert_eq!(back(&[first.clone(), second.clone()]), [first, second]);
}

#[test]
fn what_looks_like_a_shorter_form_and_is_none_comes_back_as_it_was() {
    let sha = hash("x");
    let key = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
    for payload in [
        sha.to_uppercase(),
        format!("{sha}0"),
        format!("x{sha}"),
        format!("{sha}g"),
        format!("-{sha}-"),
        sha.clone(),
        "019abcde-f012-4abc-8def-0123456789ab".to_owned(),
        "019ABCDE-F012-7ABC-8DEF-0123456789AB".to_owned(),
        "019abcde-f012-7abc-8def-0123456789ab0".to_owned(),
        "019abcde-f012-7abc-8def0-123456789ab".to_owned(),
        "019abcdef-012-7abc-8def-0123456789ab".to_owned(),
        "019abcde-".to_owned(),
        "ffffffff-ffff-7fff-ffff-ffffffffffff 00000000-0000-7000-0000-000000000000".to_owned(),
        "[:1764105318418,:0764105318418,:9999999999999,: 1764105318418,:17641053184180]".to_owned(),
        // The last character of 43 may say nothing (RFC 4648 §3.5).
        format!("\"{key}\" \"{}l\"", &key[..42]),
        "\"MI\" \"MII=\" \"MIIa\" \"MI==\" \"MIIB\"MIIB".to_owned(),
        (0..=40).map(char::from).collect(),
        "\u{0}\u{1}\u{2}\u{3}".repeat(9),
    ] {
        for payload in [payload.clone(), format!("\"{payload}\""), format!("{payload}{payload}")] {
            let entry = jws(b"{}", payload.as_bytes(), b"s");
            let twice = [entry.clone(), entry, jws(payload.as_bytes(), b"", b"")];
            assert_eq!(back(&twice), twice, "{payload}");
        }
    }
}

#[test]
fn strings_that_are_no_jws_come_back_as_they_were() {
    let odd = [
        "",
        ".",
        "..",
        "...",
        "e30.e30",
        "e30.e30.e30.e30",
        "e30.e31.AA",
        "e30=.e30.AA",
        "AB.e30.AA",
        "\u{0}\u{1f}é",
    ];
    assert_eq!(back(&odd.map(str::to_owned)), odd);
    assert_eq!(back(&[]), [""; 0]);
}

#[test]
fn what_would_grow_by_being_taken_apart_stays_a_string() {
    let entry = jws(&[3; 90], &[0; 900], &[1]);
    let mut writer = write::Writer::default();
    writer.entry(&entry);
    assert!(writer.beside.is_empty() && writer.text.len() == entry.len() + 2);
    // What was tried and taken back is not referred to.
    let hex = "0af7651916cd43dd8448eb211c80319c";
    let grows = jws(b"{}", format!("{hex}{}", "\u{0}".repeat(200)).as_bytes(), b"");
    let entries = [grows, jws(b"{}", hex.as_bytes(), b""), jws(b"{}", hex.as_bytes(), b"")];
    assert_eq!(back(&entries), entries);
}

#[test]
fn forms_that_this_version_does_not_know() {
    for version in [0, 2, 255] {
        let value = URL_SAFE_NO_PAD.encode_to_string([version, 3, 0]);
        refused(&value, Malformed, &format!("is of form {version}"));
        refused(&value, Malformed, "update the receiver");
    }
    refused("", Malformed, "is empty");
    for value in ["AQ==", "A", "AQ+/", "AR", "AQ A"] {
        refused(value, Malformed, "is no base64url without padding");
    }
}

#[test]
fn streams_that_are_cut_or_none() {
    let entry = jws(b"{}", br#"{"parent_ids":["0"]}"#, &[5; 64]);
    let value = packed([&*entry].into_iter()).unwrap();
    let whole = URL_SAFE_NO_PAD.decode_to_vec(&value).unwrap();
    for length in 1..whole.len() {
        let error = unpacked(&URL_SAFE_NO_PAD.encode_to_string(&whole[..length]), LIMIT, 256).unwrap_err();
        assert_eq!(error.kind(), Malformed);
        assert!(error.to_string().contains("ends in the middle of its"), "{length}: {error}");
    }
    let longer = [&*whole, b"x"].concat();
    refused(&URL_SAFE_NO_PAD.encode_to_string(longer), Malformed, "bytes behind its end");
    refused(&URL_SAFE_NO_PAD.encode_to_string([VERSION, 7]), Malformed, "no deflate stream");
    // A stored block of nothing, and not the last.
    refused(&URL_SAFE_NO_PAD.encode_to_string([VERSION, 0, 0, 0, 255, 255]), Malformed, "its deflate stream");
}

#[test]
fn texts_that_say_what_they_cannot() {
    for (text, beside, says) in [
        (&b"\x00"[..], 0, "entry of form 0"),
        (b"{", 0, "entry of form 123"),
        (b"\x10", 0, "in the middle of an entry"),
        (b"\x10a", 0, "in the middle of an entry"),
        (b"\x10\x01", 0, "in the middle of an entry"),
        (b"\x10\x01a\x00", 0, "plain anyway"),
        (b"\x10\x0b\x00", 0, "the mark 11, which stands for nothing"),
        (b"\x10\x0f\x00", 0, "the mark 15, which stands for nothing"),
        (b"\x10\xff\x00", 0, "no UTF-8"),
        (b"\x10\x02\x00\x00", 0, "an entry that it does not have"),
        (b"\x10a\x00\x10\x02\x01\x00", 0, "an entry that it does not have"),
        (b"\x10a\x00\x10\x02\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x00", 0, "an entry that it does not have"),
        (b"\x10\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", 0, "number that is too large"),
        (b"\x10\x03\x00\x00", 0, "a value that it does not have"),
        (b"\x10\x04\x03\x01\x00", 8, "a value that it does not have"),
        (b"\x10\x04\x00", 7, "in the middle of its signatures"),
        (b"\x10\x06\x00", 31, "in the middle of its signatures"),
        (b"\x10\x07\x01\x00", 10, "a time that is none"),
        (b"\x10\x09\x01\x00", 0, "a time that is none"),
        (b"\x10\x09\x80\x80\x80\x80\x80\x80\x80\x01\x00", 0, "a time that is none"),
        (b"\x10\x09\x02\x09\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x00", 0, "a time that is none"),
        (b"\x10\x0a\x05abc\x00", 0, "in the middle of an entry"),
        (b"\x12\x00\x00\x00", 0, "a header that it does not have"),
        (b"\x11{}\x00{}\x00\x00\x12\x01{}\x00\x00", 0, "a header that it does not have"),
        (b"\x11{}\x00{}\x00\x41", 64, "in the middle of its signatures"),
        (b"\x11{}\x00{}\x00\x40", 65, "bytes behind its end"),
        (b"", 1, "bytes behind its end"),
    ] {
        refused(&by_hand(text, &vec![0; beside]), Malformed, says);
    }
    // A header that stands for itself would be one of an entry that is not yet there.
    refused(&by_hand(b"\x11{}\x00{}\x00\x00\x11{}", &[]), Malformed, "in the middle of an entry");
}

#[test]
fn more_than_a_limit_is_refused_before_it_is_made() {
    let three = ["e30.e30.AA"; 3];
    let value = packed(three.into_iter()).unwrap();
    let json = 3 * (three[0].len() + 3);
    assert_eq!(unpacked(&value, json, 3).unwrap(), three);
    let error = unpacked(&value, json - 1, 3).unwrap_err();
    assert_eq!(error.kind(), TooLarge);
    let error = unpacked(&value, json, 2).unwrap_err();
    assert!(
        error.kind() == TooLarge && error.to_string().contains("more than 2 entries (`entries`)"),
        "{error}"
    );

    refused(&by_hand(&vec![b'a'; LIMIT + 1], &[]), TooLarge, "inflates to more than 1048576 bytes");
    let again = [&b"\x10\x06"[..], &b"\x03\x00".repeat(20_000)].concat();
    refused(&by_hand(&again, &[0; 32]), TooLarge, "stands for more than 1048576 bytes");
    let hashes = [&b"\x10a\x00\x11"[..], &b"\x02\x00".repeat(20_000)].concat();
    refused(&by_hand(&hashes, &[]), TooLarge, "stands for more than 1048576 bytes");
    let headers = [&b"\x11"[..], &[b'h'; 40_000], b"\x00\x00\x00", &b"\x12\x00\x00\x00".repeat(40)].concat();
    refused(&by_hand(&headers, &[]), TooLarge, "stands for more than 1048576 bytes");
    let mut certificate = b"\x10\x0a".to_vec();
    certificate.extend([
        0x80 | (900_000 & 0x7f) as u8,
        0x80 | (900_000 >> 7 & 0x7f) as u8,
        (900_000 >> 14) as u8,
    ]);
    certificate.extend(vec![7; 900_000]);
    refused(&by_hand(&certificate, &[]), TooLarge, "stands for more than 1048576 bytes");
}

/// Bytes of which many mean something to the form.
fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        proptest::collection::vec(0_u8..24, 0..6),
        "[0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{64}|\"[A-Za-z0-9_-]{43}\"|:[0-9]{13}"
            .prop_map(String::into_bytes),
        "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}".prop_map(String::into_bytes),
        "\"MI([A-Za-z0-9+/]{4}){0,9}[A-Za-z0-9+/]{2}={0,2}\"".prop_map(String::into_bytes),
        Just([b'0'; 64].to_vec()),
    ];
    proptest::collection::vec(piece, 0..most).prop_map(|pieces| pieces.join(&b'"'))
}

fn entry() -> impl Strategy<Value = String> {
    let header = prop_oneof![Just(b"{}".to_vec()), bytes(4)];
    prop_oneof![
        1 => any::<String>(),
        1 => "[A-Za-z0-9._-]{0,80}",
        4 => (header, bytes(8), bytes(4)).prop_map(|(header, payload, signature)| jws(&header, &payload, &signature)),
    ]
}

proptest! {
    #[test]
    fn every_list_of_strings_comes_back(mut entries in proptest::collection::vec(entry(), 0..8), named in any::<prop::sample::Index>()) {
        if !entries.is_empty() {
            let parent = hash(&entries[named.index(entries.len())]);
            entries.push(jws(b"{}", format!("{{\"parent_ids\":[\"{parent}\",\"{parent}\"]}}").as_bytes(), &[1; 64]));
        }
        prop_assert_eq!(back(&entries), entries);
    }

    #[test]
    fn arbitrary_bytes_are_entries_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let value = URL_SAFE_NO_PAD.encode_to_string([&[VERSION][..], &bytes].concat());
        let _ = unpacked(&value, 10_000, 16);
    }

    #[test]
    fn arbitrary_texts_are_entries_that_fit_or_an_error(text in bytes(30), beside in bytes(9), form in 16_u8..19) {
        let text = [&[form][..], &text].concat();
        if let Ok(entries) = unpacked(&by_hand(&text, &beside), 2_000, 4) {
            prop_assert!(entries.len() <= 4);
            prop_assert!(entries.iter().map(|entry| entry.len() + 3).sum::<usize>() <= 2_000);
            prop_assert_eq!(back(&entries), entries);
        }
    }
}
