//! What a zlib bomb takes in memory. A test binary of its own: the allocator counts for the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::io::Write as _;

use base64_simd::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use kest_core::error::PropagationErrorKind;
use kest_http::Wire;
use peak_alloc::PeakAlloc;

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
