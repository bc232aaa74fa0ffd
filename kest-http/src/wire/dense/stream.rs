//! The text, compressed by RFC 1951 behind a dictionary.
//!
//! The compressor is given the dictionary before the text, and what it says about it is thrown away; the
//! decompressor is given it as a stored block. So any implementation of RFC 1951 will do.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use kest_core::error::PropagationError;

use super::super::{malformed, too_large};
use super::KEY;
use super::dictionary::TEXT;

/// Appends the stream.
pub(super) fn deflate(text: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = Compress::new(Compression::new(6), false);
    let mut dropped = Vec::with_capacity(TEXT.len());
    feed(&mut encoder, TEXT, &mut dropped, FlushCompress::Sync)?;
    feed(&mut encoder, text, to, FlushCompress::Finish)
}

fn feed(encoder: &mut Compress, from: &[u8], to: &mut Vec<u8>, flush: FlushCompress) -> io::Result<()> {
    let begun = encoder.total_in();
    loop {
        to.reserve(256 + from.len() / 4);
        let taken = usize::try_from(encoder.total_in() - begun).unwrap_or(usize::MAX);
        let status = encoder.compress_vec(from.get(taken..).unwrap_or_default(), to, flush)?;
        match status {
            Status::StreamEnd => return Ok(()),
            // A flush is over when there is room left behind it.
            Status::Ok | Status::BufError
                if matches!(flush, FlushCompress::Sync) && to.len() < to.capacity() =>
            {
                return Ok(());
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

/// The text, of at most `limit` bytes, and what stands behind its stream.
///
/// # Errors
/// When there is no whole stream, or it holds more.
pub(super) fn inflate(packed: &[u8], limit: usize) -> Result<(Vec<u8>, &[u8]), PropagationError> {
    const STEP: usize = 16 * 1024;
    let mut decoder = primed()?;
    let before = decoder.total_in();
    let mut text = Vec::new();
    loop {
        let taken = usize::try_from(decoder.total_in() - before).unwrap_or(usize::MAX);
        let made = text.len();
        // One byte beyond the limit, to see that there is one.
        text.reserve_exact((limit.saturating_add(1) - made).min(STEP.max(made)));
        let status = decoder
            .decompress_vec(packed.get(taken..).unwrap_or_default(), &mut text, FlushDecompress::None)
            .map_err(|error| malformed(format!("`{KEY}` holds no deflate stream")).with_source(error))?;
        if text.len() > limit {
            return Err(too_large(format!(
                "`{KEY}` inflates to more than {limit} bytes (`inflated_bytes`); nothing of it was read"
            )));
        }
        let taken_now = usize::try_from(decoder.total_in() - before).unwrap_or(usize::MAX);
        match status {
            Status::StreamEnd => return Ok((text, packed.get(taken_now..).unwrap_or_default())),
            Status::Ok | Status::BufError if taken_now == taken && text.len() == made => {
                return Err(malformed(format!("`{KEY}` ends in the middle of its deflate stream")));
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

/// A decompressor that has seen the dictionary.
fn primed() -> Result<Decompress, PropagationError> {
    // RFC 1951 §3.2.4: a stored block that is not the last.
    let length = u16::try_from(TEXT.len()).unwrap_or(u16::MAX);
    let [low, high] = length.to_le_bytes();
    let mut block = vec![0, low, high, !low, !high];
    block.extend_from_slice(TEXT);
    let mut decoder = Decompress::new(false);
    // One byte more, so that the block is taken to its end.
    let mut dictionary = Vec::with_capacity(TEXT.len() + 1);
    let status = decoder.decompress_vec(&block, &mut dictionary, FlushDecompress::None);
    match status {
        Ok(Status::Ok | Status::BufError) if dictionary == TEXT => Ok(decoder),
        Ok(_) => Err(malformed(format!("`{KEY}` cannot be read: the dictionary was not taken"))),
        Err(error) => Err(malformed(format!("`{KEY}` cannot be read")).with_source(error)),
    }
}
