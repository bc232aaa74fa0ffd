//! A Cedar text before it is parsed: where its statements begin, and how far they nest.

use cedar_policy::ffi::DetailedError;
use kest_core::error::PolicyUnavailable;

use super::{Source, refuse};

/// The line on which each statement begins.
pub(super) fn lines(text: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    let mut inside = false;
    scan(text, |line, byte| {
        if !inside && !byte.is_ascii_whitespace() {
            lines.push(line);
        }
        inside = byte != b';' && (inside || !byte.is_ascii_whitespace());
    });
    lines
}

/// Where an error is, as far as the library says.
pub(super) fn place(source: &Source, error: &DetailedError) -> String {
    let Source { file, text, .. } = source;
    let Some(before) = error.source_locations.first().and_then(|at| text.get(..at.loc.start)) else {
        return file.clone();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("{file}:{line}:{column}")
}

const MAX_NESTING: usize = 64;
const MAX_CHAIN: usize = 1_000;

/// What the library reads recursively must not exhaust the stack.
pub(super) fn check_nesting(source: &Source) -> Result<(), PolicyUnavailable> {
    let (mut nesting, mut chain, mut word) = (0_usize, 0, Vec::new());
    let mut fault = None;
    scan(&source.text, |line, byte| {
        match byte {
            b';' => (nesting, chain) = (0, 0),
            b'(' | b'[' | b'{' => nesting += 1,
            b')' | b']' | b'}' => nesting = nesting.saturating_sub(1),
            _ => {}
        }
        let sign = matches!(byte, b'&' | b'|' | b'+' | b'-' | b'*' | b'!' | b'.' | b'[');
        chain += usize::from(sign);
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            word.push(byte);
        } else {
            // Of the conditions of a policy the library makes a row of `&&`.
            chain += usize::from(matches!(&*word, b"if" | b"when" | b"unless"));
            word.clear();
        }
        if nesting > MAX_NESTING {
            fault.get_or_insert((line, format!("brackets are nested more than {MAX_NESTING} deep")));
        }
        if chain > MAX_CHAIN {
            fault.get_or_insert((line, format!("a policy has more than {MAX_CHAIN} operators")));
        }
    });
    match fault {
        Some((line, what)) => Err(refuse(format!("{}:{line}: {what}; divide it", source.file))),
        None => Ok(()),
    }
}

/// Every byte outside comments with its line; of a string only its quotes.
fn scan(text: &str, mut each: impl FnMut(usize, u8)) {
    let mut line = 1;
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'/' if bytes.peek() == Some(&b'/') => while bytes.next_if(|byte| *byte != b'\n').is_some() {},
            b'"' => {
                each(line, byte);
                while let Some(inner) = bytes.next() {
                    match inner {
                        b'\n' => line += 1,
                        b'\\' => line += usize::from(bytes.next() == Some(b'\n')),
                        b'"' => break,
                        _ => {}
                    }
                }
                each(line, b'"');
            }
            _ => {
                each(line, byte);
                line += usize::from(byte == b'\n');
            }
        }
    }
}

#[cfg(test)]
mod tests;
