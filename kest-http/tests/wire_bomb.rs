//! What a zlib bomb takes in memory. A test binary of its own: the allocator counts for the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::io::Write as _;

use base64_simd::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};
use kest_core::error::PropagationErrorKind;
use kest_http::Wire;
use peak_alloc::PeakAlloc;
use sha2::{Digest as _, Sha256};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// A stream that inflates to so many MiB.
fn bomb(mebibytes: usize, of: u8) -> String {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    let block = vec![of; 1 << 20];
    for _ in 0..mebibytes {
        encoder.write_all(&block).unwrap();
    }
    URL_SAFE_NO_PAD.encode_to_string(encoder.finish().unwrap())
}

// One test: others beside it would be counted too.
#[test]
fn what_comes_compressed_costs_no_more_than_the_limit_allows() {
    a_bomb_costs_little_more_than_the_limit_and_a_refusal();
    what_is_within_the_limit_costs_little_more_than_its_text();
    parents_cost_little_more_than_the_text_and_its_entries();
    what_is_dense_costs_little_more_than_its_text_and_its_entries();
}

fn a_bomb_costs_little_more_than_the_limit_and_a_refusal() {
    const MIB: usize = 1 << 20;
    let tip = "0".repeat(64);
    for (mebibytes, header_bytes) in [(5, 8192), (32, 1 << 20)] {
        let wire = Wire::builder().header_bytes(header_bytes).build();
        for of in [b'[', b' '] {
            let header = format!("kest.passport_z={},kest.chain_tip={tip}", bomb(mebibytes, of));
            assert!(header.len() <= header_bytes, "the header alone is not what is refused");
            ALLOCATED.reset_peak_usage();
            let before = ALLOCATED.current_usage();
            let error = wire.read_blocking(&[header.as_bytes()]).unwrap_err();
            let peak = ALLOCATED.peak_usage() - before;
            assert_eq!(error.kind(), PropagationErrorKind::TooLarge, "{error}");
            assert!(error.to_string().contains("`inflated_bytes`"), "{error}");
            assert!(
                peak < 2 * MIB + MIB / 4 + 4 * header.len(),
                "{peak} bytes for a bomb of {mebibytes} MiB"
            );
        }
    }
}

fn what_is_within_the_limit_costs_little_more_than_its_text() {
    const MIB: usize = 1 << 20;
    let tip = "0".repeat(64);
    // 1 MiB of tiny strings, of empty arrays, of one string: nothing of it becomes a tree of values.
    for item in ["\"\",", "[],", "0,", "\"a\","] {
        let mut text = "[".to_owned();
        while text.len() < MIB - 8 {
            text.push_str(item);
        }
        text.push_str("\"\"]");
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        let packed = URL_SAFE_NO_PAD.encode_to_string(encoder.finish().unwrap());
        let header = format!("kest.passport_z={packed},kest.chain_tip={tip}");
        ALLOCATED.reset_peak_usage();
        let before = ALLOCATED.current_usage();
        Wire::default().read_blocking(&[header.as_bytes()]).unwrap_err();
        let peak = ALLOCATED.peak_usage() - before;
        assert!(peak < 2 * MIB + MIB / 4, "{peak} bytes for {item}");
    }
}

fn parents_cost_little_more_than_the_text_and_its_entries() {
    const MIB: usize = 1 << 20;
    let hash = format!("\"{}\",", "0".repeat(64));
    // So many parents in an entry, and so many such entries.
    for (parent, parents, entries, says) in [
        ("\"\",", 261_000, 1, "more than 65536 bytes"),
        ("\"\",", 21_000, 12, "names no parents"),
        ("\"0\",", 16_000, 12, "more than 256 parents"),
        (&*hash, 970, 12, "more than 256 parents"),
        (&*hash, 257, 40, "more than 256 parents"),
    ] {
        let payload = format!("{{\"parent_ids\":[{}\"0\"]}}", parent.repeat(parents));
        let entry = format!("a.{}.c", URL_SAFE_NO_PAD.encode_to_string(payload));
        let tip: String = Sha256::digest(entry.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("[{}]", vec![format!("\"{entry}\""); entries].join(","));
        assert!(text.len() <= MIB, "the inflated text is not what is refused");
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text.as_bytes()).unwrap();
        let packed = URL_SAFE_NO_PAD.encode_to_string(encoder.finish().unwrap());
        let header = format!("kest.passport_z={packed},kest.chain_tip={tip}");
        assert!(header.len() <= 8192, "{} bytes of {parent}", header.len());
        ALLOCATED.reset_peak_usage();
        let before = ALLOCATED.current_usage();
        let error = Wire::default().read_blocking(&[header.as_bytes()]).unwrap_err();
        let peak = ALLOCATED.peak_usage() - before;
        assert!(error.to_string().contains(says), "{parent}: {error}");
        assert!(peak < 3 * MIB + MIB / 4, "{peak} bytes for {parents} of {parent}");
    }
}

fn what_is_dense_costs_little_more_than_its_text_and_its_entries() {
    const MIB: usize = 1 << 20;
    let header = |text: &[u8], beside: &[u8]| {
        let mut encoder = DeflateEncoder::new(vec![1], Compression::best());
        encoder.write_all(text).unwrap();
        let bytes = [&*encoder.finish().unwrap(), beside].concat();
        format!(
            "kest.passport_d={},kest.chain_tip={}",
            URL_SAFE_NO_PAD.encode_to_string(bytes),
            "0".repeat(64)
        )
    };
    let of = |head: &[u8], again: &[u8], bytes: usize| [head, &again.repeat(bytes / again.len())].concat();
    for (what, text) in [
        ("32 MiB", vec![b'a'; 32 * MIB]),
        ("one string", of(b"\x10", b"a", MIB - 16)),
        ("one payload", of(b"\x11{}\0", b"a", MIB - 16)),
        ("entries without end", of(b"", b"\x10\0", MIB)),
        ("hashes", of(b"\x10a\0\x11{}\0", b"\x02\0", MIB - 16)),
        ("values", of(b"\x10\x06\0\x11{}\0", b"\x03\0", MIB - 16)),
        ("headers", of(&[b"\x11", &[b'h'; 60_000][..], b"\0\0\0"].concat(), b"\x12\0\0\0", MIB / 2)),
        ("times", of(b"\x10", b"\x09\0", MIB - 16)),
        ("bytes", of(b"\x10\x0a\xff\xff\x3b", b"a", 983_039)),
        ("bytes that fit", of(b"\x11\x0a\xc0\xcf\x24", b"a", 600_000)),
        ("lengths", of(b"", b"\x10\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 512)),
        ("signatures", of(b"", b"\x11\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 512)),
    ] {
        let header = header(&text, &[0; 32]);
        let wire = Wire::builder().header_bytes(MIB).build();
        ALLOCATED.reset_peak_usage();
        let before = ALLOCATED.current_usage();
        wire.read_blocking(&[header.as_bytes()]).unwrap_err();
        let peak = ALLOCATED.peak_usage() - before;
        assert!(peak < 3 * MIB + MIB / 4 + 4 * header.len(), "{peak} bytes for {what}");
    }
}
