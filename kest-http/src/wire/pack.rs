//! `kest.passport_z`: zlib (RFC 1950) in base64url (RFC 4648 §5).

use std::io::{self, Write as _};

use base64_simd::{URL_SAFE, URL_SAFE_NO_PAD};
use flate2::write::ZlibEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};
use kest_core::error::PropagationError;

use super::{malformed, too_large};

const KEY: &str = "kest.passport_z";

/// Packs the JSON text of a passport. The stream has a length that 3 divides, so that base64url needs no padding: `=`
/// would have to be percent-encoded in baggage, and the Python package does not undo that.
pub(super) fn packed(text: &str) -> Result<String, PropagationError> {
    match deflated(text.as_bytes()) {
        Ok(stream) => Ok(URL_SAFE_NO_PAD.encode_to_string(stream)),
        Err(error) => Err(malformed("the lineage could not be compressed").with_source(error)),
    }
}

/// RFC 1951 §3.2.4: a stored block of no bytes, where the stream is at a byte boundary.
const EMPTY_BLOCK: [u8; 5] = [0, 0, 0, 0xff, 0xff];

fn deflated(text: &[u8]) -> io::Result<Vec<u8>> {
    // An empty block of fixed codes, and the checksum.
    const TAIL: usize = 2 + 4;
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(text.len()), Compression::new(6));
    encoder.write_all(text)?;
    encoder.flush()?;
    let boundary = encoder.get_ref().len();
    // White space behind the array is JSON, and costs a byte each in a block of fixed codes.
    let missing = (3 - (boundary + TAIL) % 3) % 3;
    encoder.write_all(b"  ".get(..missing).unwrap_or_default())?;
    let mut stream = encoder.finish()?;
    // Should the encoder have chosen another kind of block: each empty one adds 5 bytes, which is 2 of 3.
    let blocks = stream.len() % 3;
    stream.splice(boundary..boundary, EMPTY_BLOCK.repeat(blocks));
    Ok(stream)
}

/// Unpacks what came. Never more than `limit` bytes are made of it.
///
/// # Errors
/// When it is not base64url of exactly one whole zlib stream of UTF-8 text, or the text would be longer than `limit`.
pub(super) fn unpacked(value: &str, limit: usize) -> Result<String, PropagationError> {
    let stream = if value.ends_with('=') {
        URL_SAFE.decode_to_vec(value.as_bytes())
    } else {
        URL_SAFE_NO_PAD.decode_to_vec(value.as_bytes())
    };
    let stream = stream.map_err(|_| malformed(format!("`{KEY}` is no base64url")))?;
    String::from_utf8(inflated(&stream, limit)?)
        .map_err(|_| malformed(format!("`{KEY}` holds no text: it is no UTF-8")))
}

fn inflated(stream: &[u8], limit: usize) -> Result<Vec<u8>, PropagationError> {
    const STEP: usize = 16 * 1024;
    let mut decoder = Decompress::new(true);
    let mut text = Vec::new();
    loop {
        // One byte beyond the limit, to see that there is one.
        let room = limit.saturating_add(1).saturating_sub(text.len());
        if room == 0 {
            return Err(too_large(format!(
                "`{KEY}` inflates to more than {limit} bytes (`inflated_bytes`); nothing of it was read"
            )));
        }
        text.reserve_exact(room.min(STEP.max(text.len())));
        let taken = usize::try_from(decoder.total_in()).unwrap_or(usize::MAX);
        let made = text.len();
        let rest = stream.get(taken..).unwrap_or_default();
        let status = decoder
            .decompress_vec(rest, &mut text, FlushDecompress::None)
            .map_err(|error| malformed(format!("`{KEY}` is no zlib stream")).with_source(error))?;
        let taken_now = usize::try_from(decoder.total_in()).unwrap_or(usize::MAX);
        match status {
            Status::StreamEnd if taken_now == stream.len() => break,
            Status::StreamEnd => {
                return Err(malformed(format!("`{KEY}` has bytes behind the end of its zlib stream")));
            }
            Status::Ok | Status::BufError if taken_now == taken && text.len() == made => {
                return Err(malformed(format!("`{KEY}` ends in the middle of its zlib stream")));
            }
            Status::Ok | Status::BufError => {}
        }
    }
    if text.len() > limit {
        return Err(too_large(format!(
            "`{KEY}` inflates to more than {limit} bytes (`inflated_bytes`); nothing of it was read"
        )));
    }
    Ok(text)
}
